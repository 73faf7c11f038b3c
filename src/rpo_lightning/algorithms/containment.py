"""What keeps a run sound where numbers are not finite: unusable windows, refused gradients, and when to give up."""

from __future__ import annotations

import torch

from rpo_lightning.rollout import RolloutBatch

__all__ = ["QUANTITIES", "NonFiniteError", "unusable"]

QUANTITIES = ("obs", "privileged", "sample", "reward", "bonus", "next_value", "action_grad")
"""What an update reads of a window."""


class NonFiniteError(RuntimeError):
    """Training cannot go on: too many windows or updates in a row were unusable."""


def unusable(batch: RolloutBatch) -> list[str]:
    """Return the quantities of a window that hold a value which is not finite; one transfer from the device."""
    present = {name: value for name in QUANTITIES if (value := getattr(batch, name)) is not None}
    flags = torch.stack([value.isfinite().all() for value in present.values()]).tolist()
    return [name for name, finite in zip(present, flags, strict=True) if not finite]
