"""Long straight-line code in pieces: functions of bounded length that hand values on through an array in memory.

Compilers take time and memory that grow faster than the length of a function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rpo_lightning.sim.emission import block, emit_stage, literal, statement
from rpo_lightning.sim.expressions import Expr, Scalar

__all__ = ["WHOLE", "Stage", "emit", "is_cut"]

Stage: TypeAlias = Mapping[str, Scalar] | str
"""What to compute, by the C lvalue that receives it; or C text that runs between two such."""

WHOLE = 16000
"""Statements of the longest block that is left whole where it may be cut."""

PIECE = 500
"""Statements of the longest piece; the shortest has half as many."""

_ARRAY = re.compile(r"(\w+)\[\d+\]")


def emit(*stages: Stage, cut: bool = False) -> str:
    """Print a C block that runs stages one after the other; each reads all before it writes anything.

    Args:
        stages: what to compute, all of one trace.
        cut: whether a long block may be in pieces, which changes the last bits of what it computes.
    """
    orders = _orders(stages)
    if cut and sum(map(len, orders)) > WHOLE:
        return _Cut(stages, orders).text()
    declared: set[int] = set()
    return block("".join(s if isinstance(s, str) else emit_stage(s, declared) for s in stages))


def is_cut(source: str) -> bool:
    """Tell whether a kernel's text has pieces."""
    return "auto piece_" in source


def _orders(stages: Sequence[Stage]) -> list[list[Expr]]:
    """Return for each stage the nodes it has to compute, inputs left out, in the order of their creation."""
    seen: set[int] = set()
    orders: list[list[Expr]] = []
    for stage in stages:
        order: list[Expr] = []
        stack = [] if isinstance(stage, str) else [x for x in stage.values() if isinstance(x, Expr)]
        while stack:
            node = stack.pop()
            if node.index not in seen and node.op != "input":
                seen.add(node.index)
                order.append(node)
                stack.extend(a for a in node.args if isinstance(a, Expr))
        orders.append(sorted(order, key=lambda node: node.index))
    return orders


@dataclass
class _Piece:
    """Positions first ... last - 1 of the order, the arrays that they touch and their text."""

    first: int
    last: int
    arrays: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)


class _Cut:
    """One block in pieces."""

    def __init__(self, stages: Sequence[Stage], orders: list[list[Expr]]) -> None:
        self.stages = stages
        self.order: list[Expr | None] = []  # None: the end of a stage, where what can be written only there is written
        self.bounds: list[tuple[int, int]] = []
        for order in orders:
            first = len(self.order)
            self.order += [*order, None]
            self.bounds.append((first, len(self.order)))
        self.place = {node.index: at for at, node in enumerate(self.order) if node is not None}
        self.last: dict[int, int] = {}  # position of the last use of a node
        for at, node in enumerate(self.order):
            if node is not None:
                self.last.update((a.index, at) for a in node.args if isinstance(a, Expr))
        self.writes: dict[int, list[tuple[str, Scalar]]] = {}
        for stage, bound in zip(stages, self.bounds, strict=True):
            if not isinstance(stage, str):
                self._place_writes(stage, *bound)

    def _place_writes(self, outputs: Mapping[str, Scalar], first: int, last: int) -> None:
        """Write each output as soon as it is known and what stood there is no longer read."""
        read: dict[str, int] = {}
        for at, node in enumerate(self.order[first:last], first):
            users = outputs.values() if node is None else node.args  # outputs that are inputs are written at the end
            read.update((a.args[0], at) for a in users if isinstance(a, Expr) and a.op == "input")
        for name, x in outputs.items():
            at = last - 1
            if isinstance(x, Expr) and x.op != "input":
                at = max(first, self.place[x.index], read.get(name, 0))
                self.last[x.index] = max(at, self.last.get(x.index, 0))
            self.writes.setdefault(at, []).append((name, x))

    def text(self) -> str:
        """Return the block."""
        pieces = {first: list(self._pieces(first, last)) for first, last in self.bounds}
        slots = self._fill([piece for found in pieces.values() for piece in found])
        parts = []
        number = 0
        for stage, (first, _) in zip(self.stages, self.bounds, strict=True):
            if isinstance(stage, str):
                parts.append(stage)
                continue
            for piece in pieces[first]:
                names = sorted(piece.arrays)
                parameters = ", ".join(f"lane* __restrict__ {name}" for name in names)
                body = "".join(piece.lines)
                parts.append(f"auto piece_{number} = [&]({parameters}) __attribute__((noinline)) -> void {block(body)};\n")
                parts.append(f"piece_{number}({', '.join(names)});\n")
                number += 1
        return f"{{\nlane m[{max(slots, 1)}];\n{''.join(parts)}}}\n"

    def _pieces(self, first: int, last: int) -> Iterator[_Piece]:
        """Cut where the fewest values have to be handed on."""
        alive = self._alive()
        while last - first > PIECE:
            end = min(range(first + PIECE // 2, first + PIECE + 1), key=lambda at: (alive[at], -at))
            yield _Piece(first, end)
            first = end
        yield _Piece(first, last)

    def _alive(self) -> list[int]:
        """Return how many values are computed before each position and used there or later."""
        change = [0] * (len(self.order) + 2)
        for index, at in self.place.items():
            change[at + 1] += 1
            change[self.last[index] + 1] -= 1
        total = 0
        return [total := total + step for step in change]

    def _fill(self, pieces: list[_Piece]) -> int:
        """Write the text of the pieces; return how many values stand in memory at once."""
        of_place = [k for k, piece in enumerate(pieces) for _ in range(piece.first, piece.last)]
        slot: dict[int, int] = {}
        free: list[int] = []
        count = 0
        leaving: dict[int, list[int]] = {}
        for k, piece in enumerate(pieces):
            free += leaving.pop(k, [])
            here: set[int] = set()

            def use(x: Scalar, piece: _Piece = piece, here: set[int] = here) -> str:
                if not isinstance(x, Expr) or x.index in here:
                    return literal(x)
                here.add(x.index)
                if x.op == "input":
                    self._touch(piece, x.args[0])
                    piece.lines.append(statement(x))
                else:
                    piece.arrays.add("m")
                    piece.lines.append(f"const lane t{x.index} = m[{slot[x.index]}];\n")
                return literal(x)

            for at in range(piece.first, piece.last):
                node = self.order[at]
                if node is not None:
                    for a in node.args:
                        use(a)
                    here.add(node.index)
                    piece.lines.append(statement(node))
                    until = of_place[self.last[node.index]]
                    if until > k:
                        if not free:
                            free.append(count)
                            count += 1
                        slot[node.index] = free.pop()
                        leaving.setdefault(until + 1, []).append(slot[node.index])
                        piece.arrays.add("m")
                        piece.lines.append(f"m[{slot[node.index]}] = t{node.index};\n")
                written = [(name, use(x)) for name, x in self.writes.get(at, [])]
                for name, x in written:
                    self._touch(piece, name)
                    piece.lines.append(f"{name} = {x};\n")
        return count

    def _touch(self, piece: _Piece, name: str) -> None:
        found = _ARRAY.fullmatch(name)
        if found:
            piece.arrays.add(found[1])
