"""C text of a robot's pairs: one loop per kind over a table, around a function that is traced and differentiated once.

Bodies lie in the local array `bp`, `BODY` scalars each, and contact adds wrenches to `bw`, torque and force, 6 each. The
adjoint reads cotangents of wrenches from `gw` and adds to those of bodies, `gp`. A pair that is apart in all lanes is left
out, and so is a part of it; what it would add is exactly zero.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.emission import block, emit_stage
from rpo_lightning.sim.expressions import Expr, Scalar, Trace, gradient, independent, maximum, where_less
from rpo_lightning.sim.model import Model
from rpo_lightning.sim.pairs.shapes import BODY, Body
from rpo_lightning.sim.pairs.wrenches import Table, pair_shapes, pair_wrench, tables
from rpo_lightning.sim.parameters import Parameters

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
        parameters: those that are arguments of its kernels, in the local arrays `par` and, of cotangents, `gpar`.
        bounded: leave out what is apart; False only to show that this changes nothing.
    """

    def __init__(self, model: Model, parameters: Parameters, bounded: bool = True) -> None:
        self.model, self.parameters, self.bounded = model, parameters, bounded
        self.tables = tables(model)
        self.links = sorted({int(link) for table in self.tables for link in table.links.ravel()})
        self.grid = next((table.grid for table in self.tables if table.grid[0]), (0, 0))

    def declare(self, adjoint: bool) -> str:
        """Return declarations of the arrays and the tables."""
        count = len(self.links)
        text = APART + f"lane bp[{BODY * count}], bw[{6 * count}];\n"
        if adjoint:
            text += f"lane gp[{BODY * count}], gw[{6 * count}];\n"
        for index, table in enumerate(self.tables):
            if adjoint:
                size = len(table.rows) * len(table.kind.parts)
                number = "unsigned short" if size < 1 << 16 else "int"
                text += f"{number} touching_{index}[{size}];\nint count_{index};\n"
            numbers = np.vectorize(self.links.index)(table.links)
            text += _array(f"pair_bodies_{index}", "int", numbers)
            for name, rows in (("pair", table.rows), ("part", table.kind.parts)):
                kept = rows[:, _varying(rows)]
                if kept.size:
                    text += _array(f"{name}_constants_{index}", "float", kept)
        return text

    def look_up(self) -> str:
        """Return the function that finds heights, which reads `par`, if anything needs it."""
        if not self.grid[0]:
            return ""
        named = self.parameters.columns.get("terrain")
        field = "terrains == 1 ? 0 : env" if named is None else _CHOSEN.replace("COLUMN", str(named.start))
        return _HEIGHT.replace("FIELD", field).replace("ROWS", str(self.grid[0])).replace("COLUMNS", str(self.grid[1]))

    def inputs(self, trace: Trace, name: str, width: int) -> list[list[Expr]]:
        """Return the symbols of one of the arrays, by body."""
        return [[trace.input(f"{name}[{width * i + k}]") for k in range(width)] for i in range(len(self.links))]

    def outputs(self, bodies: Sequence[Body], world: Body) -> dict[str, Scalar]:
        """Return what `bp` is filled with."""
        flat = [value for link in self.links for value in (bodies[link] if link >= 0 else world).flat()]
        return {f"bp[{i}]": value for i, value in enumerate(flat)}

    def forward(self, adjoint: bool = False) -> str:
        """Return code for bp -> bw; ahead of `backward`, it also lists what touches."""
        return self._clear("bw", 6) + "".join(self._press(i, table, adjoint) for i, table in enumerate(self.tables))

    def backward(self) -> str:
        """Return code for bp, gw -> gp, after `forward(adjoint=True)` on the same bp."""
        return self._clear("gp", BODY) + "".join(self._pull(i, table) for i, table in enumerate(self.tables))

    def _clear(self, name: str, width: int) -> str:
        return f"for (int i = 0; i < {width * len(self.links)}; ++i) {name}[i] = (lane)(0.0f);\n"

    def _press(self, index: int, table: Table, listed: bool) -> str:
        pair, declared, count = _Pair(self.model, table, self.parameters), set[int](), len(table.kind.parts)
        outputs = _added("to_one", "to_two", pair.wrench)
        gap = table.kind.part_apart(*pair.shapes, pair.part) if table.kind.part_apart is not None else 0.0
        text = _names(index, table)
        text += "".join(self._skip(bound(*pair.shapes), declared) for bound in table.kind.apart)
        text += "lane *to_one = bw + 6 * pair[0], *to_two = bw + 6 * pair[1];\n"
        # what all parts share is computed once
        text += emit_stage({}, declared, ahead=independent([gap, *outputs.values()], pair.part))
        text += f"for (int e = 0; e < {count}; ++e) {{\n" + _part_name(index, table) + self._skip(gap, declared)
        # now it is known where: no force acts, and nothing is passed back, where no lane is past the surface
        deepest = functools.reduce(maximum, (spot.depth for spot in pair.spots))
        text += self._skip(where_less(0.0, deepest, -1.0, 1.0), declared)
        if listed:
            text += f"touching_{index}[count_{index}++] = {count} * p + e;\n"
        text += emit_stage(outputs, declared, accumulate=True) + "}\n"
        head = f"count_{index} = 0;\n" if listed else ""
        return head + f"for (int p = 0; p < {len(table.rows)}; ++p) {{\n{block(text)}}}\n"

    def _pull(self, index: int, table: Table) -> str:
        pair, count = _Pair(self.model, table, self.parameters), len(table.kind.parts)
        seeds = pair.trace.inputs("done", 6) + pair.trace.inputs("undone", 6)
        grads = gradient(pair.wrench, seeds, [*pair.one, *pair.two, *pair.scales])
        outputs = _added("to_one", "to_two", grads[: 2 * BODY])
        scaled = enumerate(grads[2 * BODY :])
        outputs |= {f"gpar[{i}]": x for i, x in scaled if isinstance(x, Expr)}
        text = f"const int p = touching_{index}[k] / {count}, e = touching_{index}[k] % {count};\n"
        text += _names(index, table) + _part_name(index, table)
        text += "const lane *done = gw + 6 * pair[0], *undone = gw + 6 * pair[1];\n"
        text += f"lane *to_one = gp + {BODY} * pair[0], *to_two = gp + {BODY} * pair[1];\n"
        text += emit_stage(outputs, set(), accumulate=True)
        return f"for (int k = 0; k < count_{index}; ++k) {{\n{block(text)}}}\n"

    def _skip(self, gap: Scalar, declared: set[int]) -> str:
        if not isinstance(gap, Expr):
            return ""
        name = f"t{gap.index}"
        # what is never taken at run time leaves the machine code as it is
        taken = f"all_positive({name})" if self.bounded else f"all_positive({name}) & (num_envs < 0)"
        return emit_stage({}, declared, ahead=[gap]) + f"if ({taken}) continue;\n"


class _Pair:
    """One pair of a kind, traced: its row of constants, one part of it, its bodies, where they touch and what that does."""

    def __init__(self, model: Model, table: Table, parameters: Parameters) -> None:
        self.trace = trace = Trace()
        self.part = _symbols(trace, "of_part", table.kind.parts)
        self.one, self.two = trace.inputs("one", BODY), trace.inputs("two", BODY)
        self.scales = trace.inputs("par", parameters.size)
        row, bodies = _symbols(trace, "of_pair", table.rows), (Body.unflatten(self.one), Body.unflatten(self.two))

        def look(i: Scalar, j: Scalar) -> Scalar:
            return trace.node("height", (i, j))

        self.shapes = pair_shapes(table, row, *bodies, look)
        self.spots = table.kind.touch(*self.shapes, self.part)
        factors = parameters.contact_factors(self.scales)
        self.wrench = [x for vector in pair_wrench(model, row, self.spots, *bodies, factors) for x in vector]


def _names(index: int, table: Table) -> str:
    """Return C that names the bodies and constants of pair p."""
    text = f"const int* pair = pair_bodies_{index}[p];\n"
    text += f"const lane *one = bp + {BODY} * pair[0], *two = bp + {BODY} * pair[1];\n"
    return text + (f"const float* of_pair = pair_constants_{index}[p];\n" if _varying(table.rows).any() else "")


def _part_name(index: int, table: Table) -> str:
    return f"const float* of_part = part_constants_{index}[e];\n" if _varying(table.kind.parts).any() else ""


def _added(first: str, second: str, values: Sequence[Scalar]) -> dict[str, Scalar]:
    """Return what is added to the entries of two arrays, without what is constantly zero."""
    width = len(values) // 2
    named = {
        f"{name}[{i}]": x for name, half in ((first, values[:width]), (second, values[width:])) for i, x in enumerate(half)
    }
    return {name: x for name, x in named.items() if isinstance(x, Expr)}


_HEIGHT = """auto height = [&](lane i, lane j) -> lane {
    lane out;
    for (int l = 0; l < lanes; ++l) {
        const int env = first + l < num_envs ? first + l : num_envs - 1;
        const int field = FIELD;
        const float* heights = terrain.data + (size_t)field * (ROWS * COLUMNS);
        at(out, l) = heights[(int)at(i, l) * COLUMNS + (int)at(j, l)];
    }
    return out;
};
"""

# false for what is no number
_CHOSEN = "at(par[COLUMN], l) > 0.0f && at(par[COLUMN], l) < terrains - 0.5f ? (int)(at(par[COLUMN], l) + 0.5f) : 0"


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
