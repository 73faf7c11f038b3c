"""Loss terms of the actor: pure functions of tensors with leading dimensions (H, N)."""

import math

import torch
from torch import Tensor

from rpo_lightning.nn import Gaussian

__all__ = [
    "clipped_surrogate",
    "entropy_bonus",
    "gaussian_kl",
    "importance_ratio",
    "inside_clip",
    "regenerate",
    "shortened",
    "weighted_mean",
]

LOG_RATIO_LIMIT = 20.0


def regenerate(policy: Gaussian, sample: Tensor, source: Gaussian | None = None) -> Tensor:
    """Regenerate stored samples u (..., A) by the policy: equal to u, but carrying d/dtheta (RPO eq. 10).

    The noise f^-1(u) = (u - mean) / std that yields u is held fixed.

    Args:
        policy: that regenerates.
        sample: u.
        source: take the noise that yields u from this policy instead; the result is then no longer u.
    """
    source = (policy if source is None else source).detach()
    return policy.from_noise((sample - source.mean) / source.std)


def importance_ratio(new: Gaussian, old: Gaussian, sample: Tensor) -> Tensor:
    """Return pi_new / pi_old (...,) at u (..., A), jointly over dimensions, cut from the graph."""
    new, old = new.detach(), old.detach()
    log_ratio = new.log_prob(sample) - old.log_prob(sample)
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def inside_clip(ratio: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Mark the ratios within [1 - clip_low, 1 + clip_high], ends included (RPO eq. 11)."""
    return (ratio >= 1.0 - clip_low) & (ratio <= 1.0 + clip_high)


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return PPO's objective (...,): min(rho A, clip(rho, 1 - clip, 1 + clip) A), rho = exp(log_ratio) with its graph.

    arXiv 1707.06347, eq. 7.
    """
    # Beyond the limit the exponential, and its derivative times 0, would not be numbers.
    ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def gaussian_kl(old: Gaussian, new: Gaussian) -> Tensor:
    """Return KL(old || new) (...,), summed over dimensions; the tanh leaves it unchanged."""
    variance_ratio = (2.0 * (old.log_std - new.log_std)).exp()
    distance = ((old.mean - new.mean) / new.std).square()
    return (new.log_std - old.log_std + 0.5 * (variance_ratio + distance - 1.0)).sum(-1)


def entropy_bonus(entropy: Tensor, target: float, offset: bool = True) -> Tensor:
    """Scale an entropy (...,) in nats to the bonus b: 0 at -target and 1 at +target.

    Args:
        entropy: h, in nats.
        target: |H_bar|, the magnitude of the target entropy.
        offset: False: b = h / target.
    """
    return (entropy + target) / (2.0 * target) if offset else entropy / target


def shortened(grads: Tensor, limit: float | Tensor) -> tuple[Tensor, Tensor]:
    """Shorten gradients (..., A) longer than `limit` times the median length of those that are not 0.

    Returns:
        The gradients, and the share () that was shortened.
    """
    if not isinstance(limit, Tensor) and math.isinf(limit):
        return grads, grads.new_zeros(())
    length = grads.norm(dim=-1, keepdim=True)
    longest = limit * length.masked_fill(length == 0.0, torch.nan).nanmedian()
    longest = torch.where(longest.isnan(), torch.inf, longest)
    return grads * (longest / length.clamp(min=1e-30)).clamp(max=1.0), (length > longest).to(grads.dtype).mean()


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of values, each first multiplied by its weight if there is one."""
    return values.mean() if weight is None else (weight * values).mean()
