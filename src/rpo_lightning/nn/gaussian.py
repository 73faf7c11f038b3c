"""Gaussian policies, kept in the space of their samples before tanh or clipping."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rpo_lightning.seeding import normal

__all__ = ["ClippedGaussian", "Gaussian", "SquashedGaussian", "UniformAction"]

Self = TypeVar("Self", bound="Gaussian")


def _log_tanh_slope(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), stable for large |u|."""
    return 2.0 * (math.log(2.0) - u - softplus(-2.0 * u))


class Gaussian:
    """Samples u ~ N(mean, exp(log_std)^2), independent per dimension; subclasses make actions of them.

    Args:
        mean: (..., A).
        log_std: (..., A).
    """

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean = mean
        self.log_std = log_std

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation of u, (..., A)."""
        return self.log_std.exp()

    @property
    def mode(self) -> Tensor:
        """The deterministic action, that of the mean, (..., A)."""
        return self.action(self.mean)

    def detach(self: Self) -> Self:
        """Return the same distribution cut from the graph."""
        return type(self)(self.mean.detach(), self.log_std.detach())

    def noise(self, generator: torch.Generator | None) -> Tensor:
        """Draw the standard normal noise (..., A) of one sample each."""
        return normal(self.mean.shape, generator, like=self.mean)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Map standard normal noise (..., A) to u = mean + std * noise."""
        return self.mean + self.std * noise

    def action(self, u: Tensor) -> Tensor:
        """Map samples u (..., A) to actions in [-1, 1]."""
        raise NotImplementedError

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density (...,) of the sample u (..., A)."""
        z = (u - self.mean) / self.std
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample_entropy(self) -> Tensor:
        """Entropy (..., A) of u in nats, per dimension."""
        return self.log_std + 0.5 * math.log(2 * math.pi * math.e)


class SquashedGaussian(Gaussian):
    """Actions a = tanh(u).

    Everything the algorithms cache and compare lives before the tanh: densities there differ from those of
    a by a factor that all policies share, so ratios and KL are the same and atanh(a) is never needed.
    """

    def action(self, u: Tensor) -> Tensor:
        """Return tanh(u)."""
        return u.tanh()

    def action_log_prob(self, u: Tensor) -> Tensor:
        """Log density (...,) of the action tanh(u)."""
        return self.log_prob(u) - _log_tanh_slope(u).sum(-1)

    def entropy(self, noise: Tensor) -> Tensor:
        """Estimate the entropy (...,) of the action in nats from one noise sample (..., A) per state.

        The Gaussian part is exact and only the tanh's share is sampled; mean and gradient are those of -log pi
        at the sample.
        """
        return (self.sample_entropy() + _log_tanh_slope(self.from_noise(noise))).sum(-1)


class UniformAction(SquashedGaussian):
    """Actions uniform in [-1, 1], for exploration before there is anything to learn from; mean and std are unused."""

    def from_noise(self, noise: Tensor) -> Tensor:
        """Map standard normal noise to u with tanh(u) uniform."""
        bound = 1.0 - torch.finfo(noise.dtype).eps
        return torch.erf(noise / math.sqrt(2.0)).clamp(-bound, bound).atanh()


class ClippedGaussian(Gaussian):
    """Actions are samples clipped to [-1, 1]; densities are those of the sample, as PPO has it."""

    def action(self, u: Tensor) -> Tensor:
        """Return u clipped to [-1, 1]."""
        return u.clamp(-1.0, 1.0)
