"""What of a robot file touches what: points on the ground, and pairs of shapes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rpo_lightning.sim.mjcf.frames import Place
from rpo_lightning.sim.mjcf.laws import Laws
from rpo_lightning.sim.mjcf.refusals import Refusals, label, since
from rpo_lightning.sim.mjcf.shapes import hull, kind, points, shapes
from rpo_lightning.sim.mjcf.touching import Touching
from rpo_lightning.sim.model import Contact, Geom, Pair
from rpo_lightning.sim.pairs import ordered

__all__ = ["Touches", "read_contacts"]

log = logging.getLogger("rpo_lightning")

_SHAPES = ("sphere", "capsule", "box", "cylinder", "mesh", "plane", "hfield")
_BY_POINTS = ("sphere", "capsule", "box")  # on the ground


class Touches(NamedTuple):
    """Points that touch the ground plane; shapes, and which of them touch each other."""

    contacts: list[Contact]
    geoms: list[Geom]
    pairs: list[Pair]


def read_contacts(
    mj: Any,
    places: Mapping[int, Place],
    touches: Sequence[Touching],
    ground: int | None,
    laws: Laws,
    mesh_vertices: int,
    refuse: Refusals,
) -> Touches:
    """Return all that touches, with its constants.

    Args:
        mj: the file as compiled.
        places: where each body is.
        touches: what MuJoCo lets touch.
        ground: the geom that spheres, capsules and boxes touch by points.
        laws: of the constants.
        mesh_vertices: how many vertices the hull of a mesh may have.
        refuse: what to do with all that is not simulated.

    Raises:
        ValueError: for constants that are missing, or for what is not simulated, by name.
    """

    def fixed(geom: int) -> bool:
        return places[mj.geom_bodyid[geom]].link < 0

    # an explicit pair may be of one link, or of fixed geoms: it moves nothing
    moving = [two for two in touches if places[mj.geom_bodyid[two.first]].link != places[mj.geom_bodyid[two.second]].link]
    kept = [two for two in moving if "self" not in refuse.drop or fixed(two.first) or fixed(two.second)]
    kept = _simulated(mj, kept, mesh_vertices, refuse)
    _check_surfaces(mj, kept, refuse)
    laws.check(sorted({geom for two in kept for geom in two[:2]}))
    lost = [two for two in moving if fixed(two.first) or fixed(two.second)]
    if lost and not any(fixed(two.first) or fixed(two.second) for two in kept):
        names = ", ".join(dict.fromkeys(_label(mj, geom) for two in lost for geom in two[:2] if not fixed(geom)))
        log.warning(
            f"{refuse.path}: with drop={refuse.drop} nothing is left that the robot could stand on or bump into; "
            f"in MuJoCo {names} would touch its surroundings"
        )

    contacts: list[Contact] = []
    geoms: list[Geom] = []
    pairs: list[Pair] = []
    numbers: dict[int, range] = {}  # of what stands for each geom
    for two in kept:
        geom = two.first if two.second == ground else two.second
        if ground in two[:2] and kind(mj, geom) in _BY_POINTS:
            law = laws.of(two, f"{_label(mj, geom)} touches the ground")
            link = places[mj.geom_bodyid[geom]].link
            contacts += [Contact(link, centre, radius, *law) for centre, radius in points(mj, places, geom)]
            continue
        law = laws.of(two, f"{_label(mj, two.first)} and {_label(mj, two.second)} touch each other")
        for geom in two[:2]:
            if geom not in numbers:
                made = shapes(mj, places, geom)
                numbers[geom] = range(len(geoms), len(geoms) + len(made))
                geoms += made
        for first in numbers[two.first]:
            for second in numbers[two.second]:
                swap = ordered(geoms[first].kind, geoms[second].kind)
                pairs.append(Pair(second, first, *law) if swap else Pair(first, second, *law))
    return Touches(contacts, geoms, pairs)


def _label(mj: Any, geom: int) -> str:
    return label("geom", mj.geom(geom).name, geom)


def _simulated(mj: Any, touches: Sequence[Touching], mesh_vertices: int, refuse: Refusals) -> list[Touching]:
    """Refuse shapes, and pairs of them, that the engine does not know; return the others."""
    strange: dict[int, str] = {}
    geoms = sorted({geom for two in touches for geom in two[:2]})
    fields = [geom for geom in geoms if kind(mj, geom) == "hfield"]
    for geom in geoms:
        if geom in fields[1:]:
            strange[geom] = f"{_label(mj, geom)}, another height field than {_label(mj, fields[0])}"
        elif kind(mj, geom) not in _SHAPES:
            strange[geom] = f"{_label(mj, geom)}, {kind(mj, geom)}"
        elif kind(mj, geom) == "mesh" and (count := len(hull(mj, geom))) > mesh_vertices:
            strange[geom] = (
                f"{_label(mj, geom)}, a mesh whose hull has {count} vertices, more than mesh_vertices={mesh_vertices}; "
                "its maxhullvert lowers them"
            )
    refuse("geom", strange.values())
    known = [two for two in touches if two.first not in strange and two.second not in strange]

    def unsimulated(two: Touching) -> bool:
        kinds = {kind(mj, two.first), kind(mj, two.second)}
        return kinds != {"mesh", "plane"} if "mesh" in kinds else ordered(*(kind(mj, geom) for geom in two[:2])) is None

    def named(two: Touching) -> str:
        return " with ".join(f"{_label(mj, geom)} ({kind(mj, geom)})" for geom in two[:2])

    refuse("pair-kind", (named(two) for two in known if unsimulated(two)))
    return [two for two in known if not unsimulated(two)]


def _check_surfaces(mj: Any, touches: Sequence[Touching], refuse: Refusals) -> None:
    """Refuse contact at a distance, sticky geoms and conveyor belts; an explicit pair has margins of its own."""
    geoms = sorted({geom for two in touches if two.pair < 0 for geom in two[:2]})
    pairs = sorted({two.pair for two in touches if two.pair >= 0})
    at_distance = [_label(mj, g) for g in geoms if mj.geom_margin[g] != 0.0 or mj.geom_gap[g] != 0.0]
    at_distance += [label("pair", mj.pair(p).name, p) for p in pairs if mj.pair_margin[p] != 0.0 or mj.pair_gap[p] != 0.0]
    if touches and mj.opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE and mj.opt.o_margin != 0.0:
        at_distance.append("option o_margin")
    refuse("margin", at_distance)
    sticky = [_label(mj, g) for g in geoms if since(mj, "geom_adhesion", mj.ngeom)[g] != 0.0]
    sticky += [label("pair", mj.pair(p).name, p) for p in pairs if since(mj, "pair_adhesion", mj.npair)[p] != 0.0]
    refuse("adhesion", sticky)
    every = sorted({geom for two in touches for geom in two[:2]})
    refuse("surfacevel", (_label(mj, g) for g in every if np.any(since(mj, "geom_surfacevel", mj.ngeom)[g] != 0.0)))
