"""What a robot's pairs do to its bodies: the tables of pairs, and the wrenches computed row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rpo_lightning.sim.algebra import ZERO, Vector, cross, vector
from rpo_lightning.sim.contact import Material, contact_force
from rpo_lightning.sim.expressions import Scalar
from rpo_lightning.sim.model import Model
from rpo_lightning.sim.pairs.kinds import KINDS, Kind
from rpo_lightning.sim.pairs.shapes import Body, Shape, Spot, constants, placed, split

__all__ = ["Table", "pair_shapes", "pair_wrench", "tables", "wrenches"]

_AS_THEY_ARE = Material(1.0, 1.0, 1.0, 1.0)

Heights = Callable[[Scalar, Scalar], Scalar]


@dataclass
class Table:
    """The pairs of one kind.

    Attributes:
        kind: how they touch. links: (n, 2) which touch, -1 for the world. rows: (n, `CONSTANTS`).
        grid: rows and columns of the height field, if it is one of them.
    """

    kind: Kind
    links: np.ndarray
    rows: np.ndarray
    grid: tuple[int, int]


def tables(model: Model) -> list[Table]:
    """Return a robot's pairs, by kind.

    Raises:
        ValueError: for a pair of kinds that is not simulated, and for a second height field.
    """
    kinds = KINDS[model.detection]
    found: dict[tuple[str, str], list[tuple[tuple[int, int], np.ndarray, tuple[int, int]]]] = {}
    fields = {g for pair in model.pairs for g in (pair.first, pair.second) if model.geoms[g].kind == "hfield"}
    if len(fields) > 1:
        raise ValueError(
            f"one height field is simulated, not {len(fields)}: " + ", ".join(model.geoms[g].name for g in sorted(fields))
        )
    for pair in model.pairs:
        first, second = model.geoms[pair.first], model.geoms[pair.second]
        key = first.kind, second.kind
        if key not in kinds:
            raise ValueError(f"contact of {first.name} ({key[0]}) with {second.name} ({key[1]}) is not simulated")
        found.setdefault(key, []).append(((first.link, second.link), constants(model, pair), second.heights.shape))
        if kinds[key].both_ways:
            swapped = type(pair)(**{**vars(pair), "first": pair.second, "second": pair.first})
            found[key].append(((second.link, first.link), constants(model, swapped), (0, 0)))
    return [
        Table(kinds[key], np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), rows[0][2])
        for key, rows in found.items()
    ]


def pair_shapes(table: Table, row: Sequence[Scalar], first: Body, second: Body, heights: Heights) -> tuple[Shape, Shape]:
    """Return the two shapes of one pair where they are."""
    one, two, _ = split(row)
    return placed(first, one, heights, table.grid), placed(second, two, heights, table.grid)


def pair_wrench(
    model: Model,
    row: Sequence[Scalar],
    spots: Sequence[Spot],
    first: Body,
    second: Body,
    factors: Material = _AS_THEY_ARE,
) -> tuple[Vector, Vector, Vector, Vector]:
    """Return torque and force (3,) on the first body and on the second, about the reference point [N m, N].

    The constants of `row` are multiplied by `factors`.
    """
    material = Material(*(constant * factor for constant, factor in zip(split(row)[2], factors, strict=True)))
    total = [ZERO, ZERO, ZERO, ZERO]
    for spot in spots:
        velocity = first.linear + cross(first.angular, spot.first) - second.linear - cross(second.angular, spot.second)
        force = contact_force(spot.depth, spot.normal, velocity, material, model.law, model.friction) * spot.weight
        added = cross(spot.first, force), force, -1.0 * cross(spot.second, force), -1.0 * force
        total = [one + two for one, two in zip(total, added, strict=True)]
    return total[0], total[1], total[2], total[3]


def wrenches(model: Model, bodies: Sequence[Body], world: Body, heights: np.ndarray) -> list[tuple[Vector, Vector]]:
    """Return (torque, force) of contact on every link, about the reference point, in double precision.

    Args:
        model: the robot.
        bodies: its links, of floats.
        world: the body at rest that carries what is fixed.
        heights: (rows, columns) of its height field, of any shape if it has none.
    """
    total = [(ZERO, ZERO) for _ in bodies]
    for table in tables(model):
        for links, row in zip(table.links, table.rows.tolist(), strict=True):
            pair = [bodies[link] if link >= 0 else world for link in links]

            def look(i: Scalar, j: Scalar) -> Scalar:
                return float(heights[int(i), int(j)])  # type: ignore[arg-type,index]

            for part in table.kind.parts.tolist():
                spots = table.kind.touch(*pair_shapes(table, row, pair[0], pair[1], look), part)
                turn_one, push_one, turn_two, push_two = pair_wrench(model, row, spots, pair[0], pair[1])
                for link, turn, push in ((links[0], turn_one, push_one), (links[1], turn_two, push_two)):
                    if link >= 0:
                        total[link] = total[link][0] + turn, total[link][1] + push
    return [(vector(turn), vector(push)) for turn, push in total]
