"""What each kernel reads and writes: one line an argument, from which wrapper, C locals, prologue and epilogue follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LOCALS", "SIGNATURES", "Signature"]

LOCALS = {
    "q": "NQ", "qd": "ND", "u": "ND", "o": "3", "f": "NH", "a": "ND",
    "ga": "ND", "gq": "NQ", "gqd": "ND", "gu": "ND", "gh": "NH",
}  # fmt: skip
"""Arrays of a kernel and their sizes: state, force, reference point, factor, accelerations; then their cotangents."""


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

    def prologue(self) -> str:
        """Return C that declares the locals and fills those of `loads`."""
        used = {*self.loads.values(), *self.stores.values(), *self.scratch}
        declared = ", ".join(f"{name}[{size}]" for name, size in LOCALS.items() if name in used)
        loaded = (f"load({local}, {array}.data, {LOCALS[local]});" for array, local in self.loads.items())
        return f"lane {declared};\n{' '.join(loaded)}\n"

    def epilogue(self) -> str:
        """Return C that writes the locals of `stores`."""
        return " ".join(f"store({local}, {array}.data, {LOCALS[local]});" for array, local in self.stores.items()) + "\n"


_TERRAIN = {"terrains": "int"}  # how many there are: one for all environments or one for each
_STEP_SIZES = {"dt": "float", "substeps": "int", "interval": "int", **_TERRAIN}

SIGNATURES = {
    "step": Signature(
        loads={"q_in": "q", "qd_in": "qd", "force": "u"},
        passes=("terrain", "trajectory"),
        stores={"q_out": "q", "qd_out": "qd"},
        scalars={"record": "int", **_STEP_SIZES},
        scratch=("o", "f"),
    ),
    "step_adjoint": Signature(
        loads={"adj_q": "gq", "adj_qd": "gqd", "force": "u"},
        passes=("terrain", "trajectory"),
        stores={"out_q": "gq", "out_qd": "gqd", "out_force": "gu"},
        scalars=_STEP_SIZES,
        scratch=("q", "qd", "o", "f", "gh"),
    ),
    "acceleration": Signature(
        loads={"q_in": "q", "qd_in": "qd", "force": "u"},
        passes=("terrain",),
        stores={"out": "a"},
        scalars=_TERRAIN,
        scratch=("o", "f"),
    ),
    "acceleration_adjoint": Signature(
        loads={"q_in": "q", "qd_in": "qd", "force": "u", "adj": "ga"},
        passes=("terrain",),
        scalars=_TERRAIN,
        stores={"out_q": "gq", "out_qd": "gqd", "out_force": "gu"},
        scratch=("o", "f", "gh", "a"),
    ),
}
