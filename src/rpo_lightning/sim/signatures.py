"""What each kernel reads and writes: one line an argument, from which wrapper, C locals, prologue and epilogue follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LOCALS", "SIGNATURES", "Signature"]

LOCALS = {
    "q": "NQ", "qd": "ND", "u": "ND", "c": "NU", "par": "NP", "o": "3", "f": "NH", "a": "ND",
    "ga": "ND", "gq": "NQ", "gqd": "ND", "gu": "ND", "gc": "NU", "gpar": "NP", "gh": "NH",
    "s": "NS", "gs": "NS",
}  # fmt: skip
"""Arrays of a kernel and their sizes: state, force, controls, parameters, reference point, factor of the mass matrix,
accelerations; then their cotangents; what is measured, and its cotangent."""


@dataclass(frozen=True)
class Signature:
    """Arguments of a kernel and its locals.

    A launch passes the arrays of `loads`, `passes` and `stores`, the number of environments, the first block, `scalars`.

    Attributes:
        loads: array argument -> the local that starts as this environment's row of it.
        stores: array argument -> the local that is written to this environment's row of it at the end.
        passes: array arguments that the kernel's text reads and writes by itself.
        scalars: argument -> its type, as Python and C call it.
        scratch: further locals.
    """

    loads: Mapping[str, str]
    stores: Mapping[str, str]
    passes: tuple[str, ...] = ()
    scalars: Mapping[str, str] = field(default_factory=dict)
    scratch: tuple[str, ...] = ()

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the array arguments, in the order of a launch."""
        return (*self.loads, *self.passes, *self.stores)

    def prologue(self, sizes: Mapping[str, int]) -> str:
        """Return C that declares the locals and fills those of `loads`; what is of size 0 by `sizes` does not exist."""
        used = {*self.loads.values(), *self.stores.values(), *self.scratch}
        declared = ", ".join(f"{name}[{size}]" for name, size in LOCALS.items() if name in used and sizes.get(size, 1))
        return f"lane {declared};\n{_copies('load', self.loads, sizes)}"

    def epilogue(self, sizes: Mapping[str, int]) -> str:
        """Return C that writes the locals of `stores`."""
        return _copies("store", self.stores, sizes)


def _copies(what: str, arrays: Mapping[str, str], sizes: Mapping[str, int]) -> str:
    there = ((array, local, LOCALS[local]) for array, local in arrays.items() if sizes.get(LOCALS[local], 1))
    return " ".join(f"{what}({local}, {array}.data, {size});" for array, local, size in there) + "\n"


_TERRAIN = {"terrains": "int"}  # how many there are: one for all environments or one for each
_STEP_SIZES = {"dt": "float", "substeps": "int", "interval": "int", **_TERRAIN}

_INPUTS = {"force": "u", "control": "c", "parameters": "par"}
_COTANGENTS = {"out_force": "gu", "out_control": "gc", "out_parameters": "gpar"}

SIGNATURES = {
    "step": Signature(
        loads={"q_in": "q", "qd_in": "qd", **_INPUTS},
        passes=("terrain", "trajectory"),
        stores={"q_out": "q", "qd_out": "qd"},
        scalars={"record": "int", **_STEP_SIZES},
        scratch=("o", "f"),
    ),
    "step_adjoint": Signature(
        loads={"adj_q": "gq", "adj_qd": "gqd", **_INPUTS},
        passes=("terrain", "trajectory"),
        stores={"out_q": "gq", "out_qd": "gqd", **_COTANGENTS},
        scalars=_STEP_SIZES,
        scratch=("q", "qd", "o", "f", "gh"),
    ),
    "acceleration": Signature(
        loads={"q_in": "q", "qd_in": "qd", **_INPUTS},
        passes=("terrain",),
        stores={"out": "a"},
        scalars=_TERRAIN,
        scratch=("o", "f"),
    ),
    "acceleration_adjoint": Signature(
        loads={"q_in": "q", "qd_in": "qd", **_INPUTS, "adj": "ga"},
        passes=("terrain",),
        scalars=_TERRAIN,
        stores={"out_q": "gq", "out_qd": "gqd", **_COTANGENTS},
        scratch=("o", "f", "gh", "a"),
    ),
    "sensors": Signature(loads={"q_in": "q", "qd_in": "qd"}, stores={"out": "s"}),
    "sensors_adjoint": Signature(loads={"q_in": "q", "qd_in": "qd", "adj": "gs"}, stores={"out_q": "gq", "out_qd": "gqd"}),
}
