"""The tanh-squashed Gaussian policy, kept in the space before the tanh."""

from __future__ import annotations

import math
from functools import cached_property

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["SquashedGaussian"]


def _log_tanh_slope(u: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), stable for large |u|."""
    return 2.0 * (math.log(2.0) - u - softplus(-2.0 * u))


class SquashedGaussian:
    """Actions a = tanh(u) with u ~ N(mean, exp(log_std)^2), independent per dimension.

    Everything the algorithms cache and compare lives before the tanh: densities there differ from those of
    a by a factor that all policies share, so ratios and KL are the same and atanh(a) is never needed.

    Args:
        mean: (..., A).
        log_std: (..., A).
    """

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean = mean
        self.log_std = log_std

    @cached_property
    def std(self) -> Tensor:
        """Standard deviation before the tanh, (..., A)."""
        return self.log_std.exp()

    @property
    def mode(self) -> Tensor:
        """The deterministic action tanh(mean), (..., A)."""
        return self.mean.tanh()

    def detach(self) -> SquashedGaussian:
        """Return the same distribution cut from the graph."""
        return SquashedGaussian(self.mean.detach(), self.log_std.detach())

    def pre_tanh(self, noise: Tensor) -> Tensor:
        """Map standard normal noise (..., A) to u = mean + std * noise."""
        return self.mean + self.std * noise

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density (...,) of u (..., A) before the tanh."""
        z = (u - self.mean) / self.std
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def action_log_prob(self, u: Tensor) -> Tensor:
        """Log density (...,) of the action tanh(u)."""
        return self.log_prob(u) - _log_tanh_slope(u).sum(-1)

    def entropy(self, noise: Tensor) -> Tensor:
        """Estimate the entropy (...,) of the action in nats from one noise sample (..., A) per state.

        The Gaussian part is exact and only the tanh's share is sampled; mean and gradient are those of -log pi
        at the sample.
        """
        gaussian = self.log_std + 0.5 * math.log(2 * math.pi * math.e)
        return (gaussian + _log_tanh_slope(self.pre_tanh(noise))).sum(-1)
