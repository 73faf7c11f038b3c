"""Expressions as C that compiles for a vector of CPU lanes and for a CUDA thread alike, one statement a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rpo_lightning.sim.expressions import Expr, Scalar

__all__ = ["assigned", "block", "emit_stage", "literal", "statement"]

_FORMATS = {
    "+": "{} + {}",
    "-": "{} - {}",
    "*": "{} * {}",
    "neg": "-{}",
    "recip": "(lane)(1.0f) / {}",
    "sqrt": "square_root({})",
    "sin": "sine({})",
    "cos": "cosine({})",
    "angle": "angle({}, {})",
    "nearest": "nearest({})",
    "frozen": "{}",
    "height": "height({}, {})",
    "where": "({} < {}) ? {} : {}",
}


def assigned(name: str, values: Sequence[Scalar]) -> dict[str, Scalar]:
    """Return values by the C lvalues `name[0]`, `name[1]`, ... that receive them."""
    return {f"{name}[{i}]": value for i, value in enumerate(values)}


def block(text: str) -> str:
    """Return a C block of its own around what `emit_stage` printed."""
    # one statement per operation would keep the compiler from fusing products and sums; a GPU compiler fuses anyway
    return "{\n#pragma clang fp contract(fast)\n" + text + "}\n"


def emit_stage(
    outputs: Mapping[str, Scalar], declared: set[int], accumulate: bool = False, ahead: Sequence[Expr] = ()
) -> str:
    """Print C that computes `outputs` from what an earlier stage of the same trace declared, and what that lacks.

    Args:
        outputs: what to compute, by the C lvalue that receives it.
        declared: indices of the nodes that stand already; those printed here are added.
        accumulate: whether lvalues grow by what is computed instead of being set to it.
        ahead: nodes to compute for later stages.
    """
    needed: set[int] = set()
    stack = [*ahead, *(x for x in outputs.values() if isinstance(x, Expr))]
    nodes = stack[0].trace.nodes if stack else []
    while stack:
        node = stack.pop()
        if node.index not in needed and node.index not in declared:
            needed.add(node.index)
            stack.extend(a for a in node.args if isinstance(a, Expr))
    declared |= needed

    sign = "+=" if accumulate else "="
    lines = [statement(nodes[index]) for index in sorted(needed)]
    return "".join(lines + [f"{name} {sign} {literal(x)};\n" for name, x in outputs.items()])


def literal(x: Scalar) -> str:
    """Return what stands for x in C."""
    return f"t{x.index}" if isinstance(x, Expr) else f"(lane)({float(x)!r}f)"


def statement(node: Expr) -> str:
    """Return the C that computes a node from its arguments."""
    value = node.args[0] if node.op == "input" else _FORMATS[node.op].format(*map(literal, node.args))
    return f"const lane t{node.index} = {value};\n"
