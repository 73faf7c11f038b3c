"""Values of states, as RPO, NAPG, SHAC, SAPO and GI-PPO hold them: an ensemble, targets, the regression."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from rpo_lightning.seeding import permutation

__all__ = ["Critics", "follow"]

log = logging.getLogger("rpo_lightning")


class Critics(nn.Module):
    """An ensemble of state values, fitted by regression.

    Args:
        ensemble: normalised critic inputs (..., K) -> values (C, ...).
        epochs: L, passes over a window.
        minibatches: steps per pass.
        reduction: of the ensemble in the critics' own targets; the actor always uses the mean.
        smoothing: values come from a copy of the ensemble, which keeps this share of itself in every iteration; 0: from
            the ensemble.
        shuffle: whether minibatches are random instead of consecutive in time.
        precision: of the hidden layers in the regression; bf16 is faster where the processor has it.
        unit: what the ensemble's 1 is worth in rewards: first weights give values of its order.
    """

    def __init__(
        self,
        ensemble: nn.Module,
        epochs: int,
        minibatches: int,
        reduction: Literal["mean", "min"],
        smoothing: float,
        shuffle: bool,
        precision: Literal["32", "bf16"],
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.target = copy.deepcopy(ensemble).requires_grad_(False) if smoothing > 0.0 else None
        self.epochs, self.minibatches = epochs, minibatches
        self.reduction, self.smoothing, self.shuffle, self.precision = reduction, smoothing, shuffle, precision
        self.unit = unit
        self._told = False

    def values(self, y: Tensor) -> Tensor:
        """Return every critic's value (C, ...) at normalised inputs (..., K)."""
        return self.unit * (self.ensemble if self.target is None else self.target)(y)

    def mean(self, y: Tensor) -> Tensor:
        """Return the mean of the critics (...,), which the actor climbs."""
        return self.values(y).mean(0)

    def bootstrap(self, y: Tensor) -> Tensor:
        """Return the value (...,) that targets bootstrap from."""
        values = self.values(y)
        return values.mean(0) if self.reduction == "mean" else values.amin(0)

    def fit(self, y: Tensor, target: Tensor, step: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
        """Take L passes of regression, mean squared error over critics; return the mean loss ().

        Args:
            y: normalised critic inputs (H, N, K).
            target: (H, N).
            step: takes one gradient step down a loss.
            generator: for the order of shuffled minibatches.
        """
        y, target = y.flatten(0, 1), target.flatten()
        minibatches = self._minibatches(len(y))
        losses = []
        for _ in range(self.epochs):
            if self.shuffle:
                order = permutation(len(y), generator, y.device)
                y, target = y[order], target[order]
            for y_part, target_part in zip(y.tensor_split(minibatches), target.tensor_split(minibatches), strict=True):
                with torch.autocast(y.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                    value = self.unit * self.ensemble(y_part)
                loss = (value - target_part).square().mean()
                step(loss)
                losses.append(loss.detach())
        if self.target is not None:
            follow(self.target, self.ensemble, 1.0 - self.smoothing)
        return torch.stack(losses).mean()

    def _minibatches(self, samples: int) -> int:
        """Return how many minibatches there are, no more than samples."""
        if samples < self.minibatches and not self._told:
            self._told = True
            log.warning(f"critic_minibatches is {self.minibatches}, but a window has {samples} steps: {samples} are made.")
        return min(self.minibatches, samples)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, share: float) -> None:
    """Move every weight of `slow` by `share` of the way to that of `fast`."""
    for mine, theirs in zip(slow.parameters(), fast.parameters(), strict=True):
        mine.lerp_(theirs, share)
