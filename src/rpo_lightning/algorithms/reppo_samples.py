"""What REPPO learns from: the transitions of a window, shuffled into minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rpo_lightning.nn import side_by_side
from rpo_lightning.seeding import permutation

__all__ = ["Samples", "minibatches"]


class Samples(NamedTuple):
    """Transitions of a window, or of a minibatch; leading dimensions (B,)."""

    x: Tensor
    """Normalised observations, (B, D)."""
    z: Tensor
    """What only the critic sees beside them, normalised, (B, P)."""
    sample: Tensor
    """Samples u acted on, (B, A)."""
    mean: Tensor
    log_std: Tensor
    """Of the policy that acted, (B, A)."""
    next_x: Tensor
    """Normalised observations reached, before any reset, (B, D)."""
    next_z: Tensor
    """What only the critic sees of that state, (B, P)."""
    next_action: Tensor
    """Fresh actions there, (B, A)."""
    slope: Tensor
    """Gradient of the scaled return with respect to u, NaN where the simulator supplies none, (B, A)."""
    known: Tensor
    """1 where the state reached has a future, or the option is to go on regardless, (B, 1)."""
    target: Tensor
    """Scaled soft lambda-returns, (B, 1)."""
    advantage: Tensor
    """Of the action taken, mean 0 and deviation 1, where an ablation needs it, (B, 1); else (B, 0)."""

    @property
    def y(self) -> Tensor:
        """What the critic sees, (B, D + P)."""
        return side_by_side(self.x, self.z)

    @property
    def next_y(self) -> Tensor:
        """What the critic sees of the state reached, (B, D + P)."""
        return side_by_side(self.next_x, self.next_z)


def minibatches(samples: Samples, size: int, epochs: int, generator: torch.Generator) -> Iterator[Samples]:
    """Yield the minibatches of all epochs, each epoch in an order of its own.

    Args:
        samples: all transitions (B, ...).
        size: of a minibatch; what does not fill another one is spread over them.
        epochs: passes over the samples.
        generator: of the orders.
    """
    # One matrix, so that a minibatch is gathered at once.
    table, widths = torch.cat(samples, -1), [column.shape[-1] for column in samples]
    count = max(1, len(table) // size)
    for _ in range(epochs):
        order = permutation(len(table), generator, table.device)
        for rows in order.tensor_split(count):
            yield Samples(*table[rows].split(widths, -1))
