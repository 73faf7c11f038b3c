"""What of a robot file touches what: points on the ground, and pairs of shapes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np

from rpo_lightning.sim.mjcf.frames import Place
from rpo_lightning.sim.mjcf.laws import Laws
from rpo_lightning.sim.mjcf.refusals import Refusals, label, listed, owned, since
from rpo_lightning.sim.mjcf.shapes import hull, kind, points, shapes, thinned
from rpo_lightning.sim.mjcf.touching import Touching
from rpo_lightning.sim.model import Contact, Geom, Pair
from rpo_lightning.sim.pairs import ordered

__all__ = ["Touches", "read_contacts"]

log = logging.getLogger("rpo_lightning")

_SHAPES = ("sphere", "capsule", "box", "cylinder", "ellipsoid", "mesh", "plane", "hfield")
_BY_POINTS = ("sphere", "capsule", "box")  # on the ground
# which of two a margin makes larger; the first four exactly
_GROWN = ("sphere", "capsule", "mesh", "plane", "box", "cylinder", "ellipsoid", "hfield")


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
        mesh_vertices: how many vertices stand for a mesh.
        refuse: what to do with all that is not simulated.
    """

    def fixed(geom: int) -> bool:
        return places[mj.geom_bodyid[geom]].link < 0

    # an explicit pair may be of one link, or of fixed geoms: it moves nothing
    moving = [two for two in touches if places[mj.geom_bodyid[two.first]].link != places[mj.geom_bodyid[two.second]].link]
    kept = [two for two in moving if "self" not in refuse.drop or fixed(two.first) or fixed(two.second)]
    kept = _simulated(mj, kept, refuse)
    _check_surfaces(mj, kept, refuse)
    laws.check(sorted({geom for two in kept for geom in two[:2]}))
    contacts: list[Contact] = []
    geoms: list[Geom] = []
    pairs: list[Pair] = []
    numbers: dict[tuple[int, float], range] = {}  # of what stands for each geom, as large as it has to be
    meshes = {geom for two in kept for geom in two[:2] if kind(mj, geom) == "mesh"}
    hulls = {mesh: thinned(hull(mj, mesh), mesh_vertices) for mesh in sorted({int(mj.geom_dataid[geom]) for geom in meshes})}
    for two in kept:
        margin = _margin(mj, two)
        geom = two.first if two.second == ground else two.second
        if ground in two[:2] and kind(mj, geom) in _BY_POINTS:
            law = laws.of(two, f"{_label(mj, geom)} touches the ground")
            link = places[mj.geom_bodyid[geom]].link
            contacts += [Contact(link, centre, radius + margin, *law) for centre, radius in points(mj, places, geom)]
            continue
        law = laws.of(two, f"{_label(mj, two.first)} and {_label(mj, two.second)} touch each other")
        grown = min(two[:2], key=lambda g: _GROWN.index(kind(mj, g)))
        ends = [(g, margin if g == grown else 0.0) for g in two[:2]]
        for end in ends:
            if end not in numbers:
                made = shapes(mj, places, *end, {mesh: vertices for mesh, (vertices, _) in hulls.items()})
                numbers[end] = range(len(geoms), len(geoms) + len(made))
                geoms += made
        for first in numbers[ends[0]]:
            for second in numbers[ends[1]]:
                swap = ordered(geoms[first].kind, geoms[second].kind)
                pairs.append(Pair(second, first, *law) if swap else Pair(first, second, *law))
    short = {geom: hulls[int(mj.geom_dataid[geom])][1] for geom in sorted(meshes)}
    if thin := [_label(mj, geom) for geom, gap in short.items() if gap > 0.0]:
        log.warning(
            f"{refuse.path}: of the hull of a mesh {mesh_vertices} vertices touch, up to {max(short.values()):.1g} m "
            f"inside it; mesh_vertices says how many: {listed(thin)}"
        )
    return Touches(contacts, geoms, pairs)


def _label(mj: Any, geom: int) -> str:
    return owned(mj, "geom", geom)


def _margin(mj: Any, two: Touching) -> float:
    """Return at what distance MuJoCo's contact begins to push; a gap, in which it is only reported, does not matter."""
    if mj.opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE:
        return float(mj.opt.o_margin)
    return float(mj.pair_margin[two.pair] if two.pair >= 0 else mj.geom_margin[two.first] + mj.geom_margin[two.second])


def _simulated(mj: Any, touches: Sequence[Touching], refuse: Refusals) -> list[Touching]:
    """Refuse shapes that the engine does not know, say which pairs of them it leaves out, and return the others."""
    strange: dict[int, str] = {}
    geoms = sorted({geom for two in touches for geom in two[:2]})
    fields = [geom for geom in geoms if kind(mj, geom) == "hfield"]
    for geom in geoms:
        if geom in fields[1:]:
            strange[geom] = f"{_label(mj, geom)}, another height field than {_label(mj, fields[0])}"
        elif kind(mj, geom) not in _SHAPES:
            strange[geom] = f"{_label(mj, geom)}, {kind(mj, geom)}"
    refuse("geom", strange.values())
    known = [two for two in touches if two.first not in strange and two.second not in strange]

    def unsimulated(two: Touching) -> bool:
        kinds = {kind(mj, two.first), kind(mj, two.second)}
        return kinds != {"mesh", "plane"} if "mesh" in kinds else ordered(*(kind(mj, geom) for geom in two[:2])) is None

    def named(two: Touching) -> str:
        return " with ".join(f"{_label(mj, geom)} ({kind(mj, geom)})" for geom in two[:2])

    lost = [named(two) for two in known if unsimulated(two)]
    if lost and "pair-kind" not in refuse.drop:
        log.warning(
            f"{refuse.path}: shapes of two such kinds pass through each other here, in MuJoCo they touch "
            f'({len(lost)}: {listed(lost)}); drop=["pair-kind"] says that this is meant'
        )
    return [two for two in known if not unsimulated(two)]


def _check_surfaces(mj: Any, touches: Sequence[Touching], refuse: Refusals) -> None:
    """Refuse sticky geoms and conveyor belts."""
    geoms = sorted({geom for two in touches if two.pair < 0 for geom in two[:2]})
    pairs = sorted({two.pair for two in touches if two.pair >= 0})
    sticky = [_label(mj, g) for g in geoms if since(mj, "geom_adhesion", mj.ngeom)[g] != 0.0]
    sticky += [label("pair", mj.pair(p).name, p) for p in pairs if since(mj, "pair_adhesion", mj.npair)[p] != 0.0]
    refuse("adhesion", sticky)
    every = sorted({geom for two in touches for geom in two[:2]})
    refuse("surfacevel", (_label(mj, g) for g in every if np.any(since(mj, "geom_surfacevel", mj.ngeom)[g] != 0.0)))
