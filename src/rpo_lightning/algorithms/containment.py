"""What keeps a run sound where numbers are not finite: windows are looked through, and a run that cannot learn gives up."""

from __future__ import annotations

from typing import NamedTuple

import torch

from rpo_lightning.rollout import RolloutBatch

__all__ = ["CURES", "QUANTITIES", "Findings", "NonFiniteError", "largest", "look_through"]

QUANTITIES = ("obs", "privileged", "sample", "reward", "bonus", "next_value", "action_grad")
"""What an update reads of a window."""

CURES = (
    "A smaller learning rate, tighter clipping, a smaller time step, and rewards of moderate size, without roots and "
    "quotients at 0, are the usual cures; rpo-lightning check-env looks at the task."
)


class NonFiniteError(RuntimeError):
    """Training cannot go on: too many windows or updates in a row were unusable."""


class Findings(NamedTuple):
    """What is not finite in a window."""

    broken: list[str]
    """Quantities that hold a value which is not finite: nothing can be learned from the window."""
    repaired: float
    """Share of samples that had to be repaired, of the quantity where it is largest."""
    of_what: str
    """That quantity."""

    def unusable(self, tolerated: float) -> bool:
        """Tell whether nothing can be learned from the window, of whose samples a share `tolerated` may be repaired."""
        return bool(self.broken) or self.repaired > tolerated


def look_through(batch: RolloutBatch) -> Findings:
    """Find what is not finite in a window; one transfer from the device."""
    present = {name: value for name in QUANTITIES if (value := getattr(batch, name)) is not None}
    flags = [(~value.isfinite()).any().float() for value in present.values()]
    *broken, invalid, gradients = torch.stack(
        [*flags, batch.invalid.float().mean(), batch.nonfinite_grad.float().mean()]
    ).tolist()
    repaired, of_what = max((invalid, "state or reward"), (gradients, "action_grad"))
    return Findings([name for name, bad in zip(present, broken, strict=True) if bad], repaired, of_what)


def largest(batch: RolloutBatch) -> str:
    """Name the two largest of what an update read: what is not finite after it was often only large before."""
    present = {name: value for name in QUANTITIES if (value := getattr(batch, name)) is not None and value.numel()}
    sizes = {name: float(value.abs().max()) for name, value in present.items()}
    names = sorted(sizes, key=lambda each: -sizes[each])[:2]
    return f"a window with {' and '.join(f'{name} up to {sizes[name]:.3g}' for name in names)}"
