"""Scalar expressions that record themselves: the physics is traced once and becomes straight-line code.

The engine writes its equations as ordinary Python arithmetic. Run on floats they compute; run on `Expr` they build a
graph with constants folded, zeros removed and equal sub-expressions shared, so a robot's sparsity costs nothing at run
time. `gradient` differentiates such a graph in reverse mode; `emission` prints it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, Union

import numpy as np

__all__ = [
    "Expr",
    "Scalar",
    "Trace",
    "angle",
    "cos",
    "frozen",
    "gradient",
    "independent",
    "maximum",
    "minimum",
    "nearest",
    "recip",
    "sin",
    "sqrt",
    "where_less",
]

Scalar: TypeAlias = Union["Expr", float]


class Trace:
    """The nodes of one graph, in the order of their creation (so arguments precede their users)."""

    def __init__(self) -> None:
        self.nodes: list[Expr] = []
        self._known: dict[tuple, Expr] = {}

    def input(self, name: str) -> Expr:
        """Return the symbol that prints as `name`."""
        return self.node("input", (name,))

    def inputs(self, name: str, count: int) -> list[Expr]:
        """Return the symbols `name[0]` ... `name[count - 1]`."""
        return [self.input(f"{name}[{i}]") for i in range(count)]

    def node(self, op: str, args: tuple) -> Expr:
        """Return the node for `op(args)`, an existing one if the same was asked for before."""
        key = (op, *args)
        found = self._known.get(key)
        if found is None:
            found = Expr(self, op, args, len(self.nodes))
            self.nodes.append(found)
            self._known[key] = found
        return found


class Expr:
    """A node of a `Trace`: an operation and its arguments (other nodes or floats)."""

    __slots__ = ("args", "index", "op", "trace")

    def __init__(self, trace: Trace, op: str, args: tuple, index: int) -> None:
        self.trace, self.op, self.args, self.index = trace, op, args, index

    def __add__(self, other: Scalar) -> Scalar:
        if not isinstance(other, Expr):
            return self if other == 0.0 else self.trace.node("+", (self, float(other)))
        if other.op == "neg":
            return self - other.args[0]
        if self.op == "neg":
            return other - self.args[0]
        return self.trace.node("+", (self, other) if self.index <= other.index else (other, self))

    __radd__ = __add__

    def __sub__(self, other: Scalar) -> Scalar:
        if not isinstance(other, Expr):
            return self + (-other)
        if other is self:
            return 0.0
        return self + other.args[0] if other.op == "neg" else self.trace.node("-", (self, other))

    def __rsub__(self, other: float) -> Scalar:
        return -self if other == 0.0 else self.trace.node("-", (float(other), self))

    def __mul__(self, other: Scalar) -> Scalar:
        if isinstance(other, np.ndarray):
            return NotImplemented  # the array multiplies its elements one by one
        if not isinstance(other, Expr):
            if other == 0.0:
                return 0.0
            if other == 1.0:
                return self
            if other == -1.0:
                return -self
            if self.op == "neg":
                return self.args[0] * -other
            return self.trace.node("*", (self, float(other)))
        if self.op == "neg":
            return -(self.args[0] * other)
        if other.op == "neg":
            return -(self * other.args[0])
        return self.trace.node("*", (self, other) if self.index <= other.index else (other, self))

    __rmul__ = __mul__

    def __truediv__(self, other: Scalar) -> Scalar:
        return self * recip(other)

    def __rtruediv__(self, other: float) -> Scalar:
        return recip(self) * other

    def __neg__(self) -> Scalar:
        return self.args[0] if self.op == "neg" else self.trace.node("neg", (self,))


def recip(x: Scalar) -> Scalar:
    """Return 1 / x."""
    return x.trace.node("recip", (x,)) if isinstance(x, Expr) else 1.0 / x


def sqrt(x: Scalar) -> Scalar:
    """Return the square root; its derivative at 0 is infinite, so guard the argument."""
    return x.trace.node("sqrt", (x,)) if isinstance(x, Expr) else math.sqrt(x)


def sin(x: Scalar) -> Scalar:
    """Return the sine of x [rad]."""
    return x.trace.node("sin", (x,)) if isinstance(x, Expr) else math.sin(x)


def cos(x: Scalar) -> Scalar:
    """Return the cosine of x [rad]."""
    return x.trace.node("cos", (x,)) if isinstance(x, Expr) else math.cos(x)


def angle(y: Scalar, x: Scalar) -> Scalar:
    """Return the angle of the point (x, y) from the x axis [rad]; neither may be negative, nor both 0."""
    if isinstance(x, Expr) or isinstance(y, Expr):
        return (x if isinstance(x, Expr) else y).trace.node("angle", (y, x))  # type: ignore[union-attr]
    return math.atan2(y, x)


def nearest(x: Scalar) -> Scalar:
    """Return x rounded to an integer; its derivative is taken as 0."""
    return x.trace.node("nearest", (x,)) if isinstance(x, Expr) else float(round(x))


def frozen(x: Scalar) -> Scalar:
    """Return x as a constant: its derivative is taken as 0."""
    return x.trace.node("frozen", (x,)) if isinstance(x, Expr) else x


def where_less(a: Scalar, b: Scalar, then: Scalar, otherwise: Scalar) -> Scalar:
    """Return `then` where a < b, else `otherwise`; gradients follow the branch taken, a tie takes `otherwise`."""
    if not isinstance(a, Expr) and not isinstance(b, Expr):
        return then if a < b else otherwise
    if not isinstance(then, Expr) and not isinstance(otherwise, Expr) and then == otherwise:
        return then
    trace = a.trace if isinstance(a, Expr) else b.trace  # type: ignore[union-attr]
    return trace.node("where", (a, b, then, otherwise))


def minimum(a: Scalar, b: Scalar) -> Scalar:
    """Return the smaller one; on a tie the gradient goes to b."""
    return where_less(a, b, a, b)


def maximum(a: Scalar, b: Scalar) -> Scalar:
    """Return the larger one; on a tie the gradient goes to b."""
    return where_less(b, a, a, b)


def gradient(outputs: Sequence[Scalar], seeds: Sequence[Scalar], inputs: Sequence[Scalar]) -> list[Scalar]:
    """Return d(sum of seeds * outputs) / d(inputs), by reverse mode over the graph.

    Args:
        outputs: what is differentiated.
        seeds: cotangent of each output; constants or nodes of the same trace.
        inputs: nodes to differentiate by; what they are computed from is not followed. A constant has gradient 0.
    """
    adjoint: dict[int, Scalar] = {}

    def accumulate(target: Scalar, value: Scalar) -> None:
        if isinstance(target, Expr):
            adjoint[target.index] = adjoint.get(target.index, 0.0) + value

    for output, seed in zip(outputs, seeds, strict=True):
        accumulate(output, seed)
    symbols = [x for x in inputs if isinstance(x, Expr)]
    wanted = {x.index for x in symbols}
    trace = symbols[0].trace
    for index in range(max(adjoint, default=-1), -1, -1):
        node, g = trace.nodes[index], adjoint.get(index)
        if g is None or index in wanted:
            continue
        _backward(node, g, accumulate)
    return [adjoint.get(x.index, 0.0) if isinstance(x, Expr) else 0.0 for x in inputs]


def _backward(node: Expr, g: Scalar, accumulate: Callable[[Scalar, Scalar], None]) -> None:
    op, args = node.op, node.args
    if op == "+":
        accumulate(args[0], g)
        accumulate(args[1], g)
    elif op == "-":
        accumulate(args[0], g)
        accumulate(args[1], -g)
    elif op == "*":
        for this, that in (args, args[::-1]):
            if isinstance(this, Expr):
                accumulate(this, g * that)
    elif op == "neg":
        accumulate(args[0], -g)
    elif op == "recip":
        accumulate(args[0], -(g * (node * node)))
    elif op == "sqrt":
        accumulate(args[0], g * (0.5 * recip(node)))
    elif op == "sin":
        accumulate(args[0], g * cos(args[0]))
    elif op == "cos":
        accumulate(args[0], -(g * sin(args[0])))
    elif op == "angle":
        y, x = args
        square = recip(x * x + y * y)
        accumulate(y, g * (x * square))
        accumulate(x, -(g * (y * square)))
    elif op == "where":
        a, b, then, otherwise = args
        if isinstance(then, Expr):
            accumulate(then, where_less(a, b, g, 0.0))
        if isinstance(otherwise, Expr):
            accumulate(otherwise, where_less(a, b, 0.0, g))


def independent(outputs: Sequence[Scalar], symbols: Sequence[Scalar]) -> list[Expr]:
    """Return the nodes that `outputs` are computed from without any of `symbols`, but for those that only lead to others."""
    trace = next(x for x in outputs if isinstance(x, Expr)).trace
    moved = {x.index for x in symbols if isinstance(x, Expr)}
    for node in trace.nodes:
        if any(isinstance(a, Expr) and a.index in moved for a in node.args):
            moved.add(node.index)
    found: dict[int, Expr] = {}
    seen: set[int] = set()
    stack = [x for x in outputs if isinstance(x, Expr)]
    while stack:
        node = stack.pop()
        if node.index not in moved:
            found[node.index] = node
        elif node.index not in seen:
            seen.add(node.index)
            stack.extend(a for a in node.args if isinstance(a, Expr))
    return list(found.values())
