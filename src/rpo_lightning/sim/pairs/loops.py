"""C text of a robot's pairs: one loop per kind over a table, around a function that is traced and differentiated once.

Bodies lie in the local array `bp`, `BODY` scalars each, and contact adds wrenches to `bw`, torque and force, 6 each. The
adjoint reads cotangents of wrenches from `gw` and adds to those of bodies, `gp`. A pair that is apart in all lanes is left
out, and so is a part of it; what it would add is exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.expressions import Expr, Scalar, Trace, block, emit_stage, gradient, independent
from rpo_lightning.sim.model import Model
from rpo_lightning.sim.pairs.shapes import BODY, Body
from rpo_lightning.sim.pairs.wrenches import Table, pair_shapes, pair_wrench, tables

__all__ = ["APART", "Loops"]

APART = """
#if defined(__CUDA_ARCH__)
auto all_positive = [](lane x) -> bool { return x > 0.0f; };
#else
auto all_positive = [](lane x) -> bool { return __builtin_reduce_and(x > (lane)(0.0f)) != 0; };
#endif
"""


class Loops:
    """The contact of one robot's pairs as text.

    Args:
        model: the robot.
        bounded: leave out what is apart; False only to show that this changes nothing.
    """

    def __init__(self, model: Model, bounded: bool = True) -> None:
        self.model, self.bounded = model, bounded
        self.tables = tables(model)
        self.links = sorted({int(link) for table in self.tables for link in table.links.ravel()})
        self.grid = next((table.grid for table in self.tables if table.grid[0]), (0, 0))

    def declare(self, adjoint: bool) -> str:
        """Return declarations of the arrays, the tables, and the look-up of heights."""
        count = len(self.links)
        text = APART + f"lane bp[{BODY * count}], bw[{6 * count}];\n"
        if adjoint:
            text += f"lane gp[{BODY * count}], gw[{6 * count}];\n"
        for index, table in enumerate(self.tables):
            numbers = np.vectorize(self.links.index)(table.links)
            text += _array(f"pair_bodies_{index}", "int", numbers)
            for name, rows in (("pair", table.rows), ("part", table.kind.parts)):
                kept = rows[:, _varying(rows)]
                if kept.size:
                    text += _array(f"{name}_constants_{index}", "float", kept)
        if self.grid[0]:
            text += _HEIGHT.replace("ROWS", str(self.grid[0])).replace("COLUMNS", str(self.grid[1]))
        return text

    def inputs(self, trace: Trace, name: str, width: int) -> list[list[Expr]]:
        """Return the symbols of one of the arrays, by body."""
        return [[trace.input(f"{name}[{width * i + k}]") for k in range(width)] for i in range(len(self.links))]

    def outputs(self, bodies: Sequence[Body], world: Body) -> dict[str, Scalar]:
        """Return what `bp` is filled with."""
        flat = [value for link in self.links for value in (bodies[link] if link >= 0 else world).flat()]
        return {f"bp[{i}]": value for i, value in enumerate(flat)}

    def forward(self) -> str:
        """Return code for bp -> bw."""
        return self._clear("bw", 6) + "".join(self._loop(i, table, False) for i, table in enumerate(self.tables))

    def backward(self) -> str:
        """Return code for bp, gw -> gp."""
        return self._clear("gp", BODY) + "".join(self._loop(i, table, True) for i, table in enumerate(self.tables))

    def _clear(self, name: str, width: int) -> str:
        return f"for (int i = 0; i < {width * len(self.links)}; ++i) {name}[i] = (lane)(0.0f);\n"

    def _loop(self, index: int, table: Table, adjoint: bool) -> str:
        trace = Trace()
        row = _symbols(trace, "of_pair", table.rows)
        part = _symbols(trace, "of_part", table.kind.parts)
        ends = [trace.inputs("one", BODY), trace.inputs("two", BODY)]
        first, second = (Body.unflatten(end) for end in ends)

        def look(i: Scalar, j: Scalar) -> Scalar:
            return trace.node("height", (i, j))

        shapes = pair_shapes(table, row, first, second, look)
        wrench = [x for v in pair_wrench(self.model, table, row, part, first, second, look) for x in v]
        if adjoint:
            added = gradient(wrench, trace.inputs("done", 6) + trace.inputs("undone", 6), [*ends[0], *ends[1]])
        else:
            added = wrench
        width = len(added) // 2
        outputs = {f"to_one[{i}]": x for i, x in enumerate(added[:width])}
        outputs |= {f"to_two[{i}]": x for i, x in enumerate(added[width:])}
        outputs = {name: x for name, x in outputs.items() if isinstance(x, Expr)}
        gap = table.kind.part_apart(*shapes, part) if table.kind.part_apart is not None else 0.0

        declared: set[int] = set()
        text = f"for (int p = 0; p < {len(table.rows)}; ++p) {{\n"
        inside = f"const int* pair = pair_bodies_{index}[p];\n"
        inside += f"const lane *one = bp + {BODY} * pair[0], *two = bp + {BODY} * pair[1];\n"
        if _varying(table.rows).any():
            inside += f"const float* of_pair = pair_constants_{index}[p];\n"
        inside += "".join(self._skip(bound(*shapes), declared) for bound in table.kind.apart)
        if adjoint:
            inside += "const lane *done = gw + 6 * pair[0], *undone = gw + 6 * pair[1];\n"
        place, to = (BODY, "gp") if adjoint else (6, "bw")
        inside += f"lane *to_one = {to} + {place} * pair[0], *to_two = {to} + {place} * pair[1];\n"
        # what all parts share is computed once
        inside += emit_stage({}, declared, ahead=independent([gap, *outputs.values()], part))
        inside += f"for (int e = 0; e < {len(table.kind.parts)}; ++e) {{\n"
        if _varying(table.kind.parts).any():
            inside += f"const float* of_part = part_constants_{index}[e];\n"
        inside += self._skip(gap, declared) + emit_stage(outputs, declared, accumulate=True) + "}\n"
        return text + block(inside) + "}\n"

    def _skip(self, gap: Scalar, declared: set[int]) -> str:
        if not isinstance(gap, Expr):
            return ""
        name = f"t{gap.index}"
        # what is never taken at run time leaves the machine code as it is
        taken = f"all_positive({name})" if self.bounded else f"all_positive({name}) & (num_envs < 0)"
        return emit_stage({}, declared, ahead=[gap]) + f"if ({taken}) continue;\n"


_HEIGHT = """auto height = [&](lane i, lane j) -> lane {
    lane out;
    for (int l = 0; l < lanes; ++l) {
        const int env = first + l < num_envs ? first + l : num_envs - 1;
        const size_t start = terrains == 1 ? 0 : (size_t)env * (ROWS * COLUMNS);
        at(out, l) = terrain.data[start + (int)at(i, l) * COLUMNS + (int)at(j, l)];
    }
    return out;
};
"""


def _varying(rows: np.ndarray) -> np.ndarray:
    """Return which columns of a table differ between rows; the others are folded into the code."""
    return np.any(rows != rows[:1], axis=0)


def _symbols(trace: Trace, name: str, rows: np.ndarray) -> list[Scalar]:
    varying = _varying(rows)
    place = np.cumsum(varying) - 1
    return [trace.input(f"(lane)({name}[{place[k]}])") if varying[k] else float(rows[0, k]) for k in range(rows.shape[1])]


def _array(name: str, kind: str, rows: np.ndarray) -> str:
    suffix = "f" if kind == "float" else ""
    text = ", ".join("{" + ", ".join(f"{x!r}{suffix}" for x in row) + "}" for row in rows.tolist())
    return f"static const {kind} {name}[{rows.shape[0]}][{rows.shape[1]}] = {{{text}}};\n"
