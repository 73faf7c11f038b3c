"""The linear system of the joint accelerations: a factorisation that keeps the tree's sparsity, and its adjoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rpo_lightning.sim.expressions import Scalar, recip
from rpo_lightning.sim.model import Model
from rpo_lightning.sim.world_origin import cholesky, cholesky_solve

__all__ = ["Matrix", "augmented", "factor_loops", "factorize", "mass_matrix_gradient", "method", "solve"]

Matrix: TypeAlias = dict[tuple[int, int], Scalar]
"""Entries (row, column) with column <= row; what is missing is zero."""


def augmented(model: Model, matrix: Matrix, damping: Matrix) -> Matrix:
    """Return a mass matrix with the joints' armature on its diagonal, and what implicit damping adds to it."""
    out = dict(matrix)
    for index, link in enumerate(model.links):
        for dof in range(model.qd_start[index], model.qd_start[index + 1]):
            out[dof, dof] = out[dof, dof] + link.armature
    for entry, added in damping.items():
        out[entry] = out[entry] + added
    return out


def method(model: Model) -> tuple[Callable[[Matrix], Matrix], Callable[[Matrix, Sequence[Scalar]], list[Scalar]]]:
    """Return how a robot's mass matrix is factored, and how the system is solved with that."""
    return (cholesky, cholesky_solve) if model.reference_point == "world" else (factorize, solve)


def factorize(matrix: Matrix) -> Matrix:
    """Factor a matrix = L^T D L, leaves first, which keeps the tree's sparsity (Featherstone 2008, 6.5).

    Returns the entries of L below its unit diagonal and, on the diagonal, 1 / D.
    """
    h, count = dict(matrix), 1 + max(row for row, _ in matrix)
    columns = _row_columns(h)
    for k in range(count - 1, -1, -1):
        h[k, k] = recip(h[k, k])
        for i in reversed(columns[k]):
            factor = h[k, i] * h[k, k]
            for j in columns[k]:
                if j <= i:
                    h[i, j] = h[i, j] - factor * h[k, j]
            h[k, i] = factor
    return h


_LOOPS = """{{
#pragma clang fp contract(fast)
static const int row[] = {{{rows}}}, column[] = {{{columns}}};
for (int k = ND - 1; k >= 0; --k) {{
    lane* below = f + row[k];
    const int n = row[k + 1] - row[k] - 1;
    const lane inverse = (lane)(1.0f) / below[n];
    for (int i = n - 1; i >= 0; --i) {{
        lane* other = f + row[column[row[k] + i]];  // its columns are the first of row k
        const lane factor = below[i] * inverse;
        for (int j = 0; j <= i; ++j) other[j] -= factor * below[j];
        below[i] = factor;
    }}
    below[n] = inverse;
}}
}}
"""


def factor_loops(entries: Sequence[tuple[int, int]]) -> str:
    """Return `factorize` as C that turns `f` in place: from the entries, armature included, in their order."""
    rows = [k for k, (row, _) in enumerate(entries) if k == 0 or row != entries[k - 1][0]]
    numbers = ", ".join(map(str, [*rows, len(entries)])), ", ".join(str(column) for _, column in entries)
    return _LOOPS.format(rows=numbers[0], columns=numbers[1])


def _row_columns(matrix: Matrix) -> dict[int, list[int]]:
    columns: dict[int, list[int]] = {}
    for row, column in sorted(matrix):
        columns.setdefault(row, [])
        if column < row:
            columns[row].append(column)
    return columns


def solve(factors: Matrix, rhs: Sequence[Scalar]) -> list[Scalar]:
    """Return x with (L^T D L) x = rhs."""
    columns, x = _row_columns(factors), list(rhs)
    for i in range(len(x) - 1, -1, -1):
        for j in columns[i]:
            x[j] = x[j] - factors[i, j] * x[i]
    x = [factors[i, i] * value for i, value in enumerate(x)]
    for i in range(len(x)):
        for j in columns[i]:
            x[i] = x[i] - factors[i, j] * x[j]
    return x


def mass_matrix_gradient(entries: Sequence[tuple[int, int]], x: Sequence[Scalar], adjoint: Sequence[Scalar]) -> list[Scalar]:
    """Return the cotangent of the mass matrix's entries, given that of the right-hand side of `M x = tau`.

    From dx = M^-1 (dtau - dM x): each lower entry stands for both halves of the symmetric matrix.
    """
    return [-(adjoint[i] * x[j] + adjoint[j] * x[i]) if i != j else -(adjoint[i] * x[i]) for i, j in entries]
