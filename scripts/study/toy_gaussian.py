"""Score-function and pathwise updates where the gradient is known: the toy study of REPPO's paper (arXiv 2507.11019).

One state. A Gaussian policy climbs E[Q(u)] + ENTROPY x its entropy; Q(u) is -|u - goal|^2 / 2, with a ripple where asked
for. Per update all methods use equally many samples and the same step of plain gradient ascent, so that what differs is the
estimate of the gradient of E[Q]; that of the entropy is exact. Samples are fresh, or those of an older policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rpo_lightning.losses import clipped_surrogate, gaussian_kl, importance_ratio, inside_clip, regenerate
from rpo_lightning.nn import Gaussian

ENTROPY = 0.1
"""Weight of the entropy: the best standard deviation is its root."""
SAMPLES, REUSE = 16, 8
"""Samples per update; updates on the same samples, where they are reused."""
UPDATES, EVERY, STEP_SIZE = 320, 8, 0.05
"""Of a climb, EVERY how many of which the gap is recorded."""
OTHER_STEP_SIZES = (0.02, 0.1)
CEILING = 1000.0
"""Distances from the optimum count as at most this: a climb beyond it, or that is not a number, has diverged."""
KL_BOUND = 0.1
"""REPPO's default."""
RIDGE = 1e-3
Surrogate = Callable[["Batch", Gaussian, torch.Generator], Tensor]


@dataclass(frozen=True)
class Problem:
    """Q and what is known of it; `distance` is that of the goal from the first mean, 0, in each of `dims` dimensions."""

    dims: int = 4
    distance: float = 1.0
    ripple: float = 0.0
    frequency: float = 0.0
    noise: float = 0.0
    """Standard deviation of the noise on observed values."""

    def value(self, u: Tensor) -> Tensor:
        """Return Q (...,) at u (..., A)."""
        away = u - self.distance
        return (self.ripple * (self.frequency * away).cos() - 0.5 * away.square()).sum(-1)

    def expectation(self, policy: Gaussian) -> Tensor:
        """Return the exact E[Q] (...,), with its graph."""
        away, variance = policy.mean - self.distance, policy.std.square()
        smoothed = self.ripple * (-0.5 * self.frequency**2 * variance).exp() * (self.frequency * away).cos()
        return (smoothed - 0.5 * (away.square() + variance)).sum(-1)

    def objective(self, policy: Gaussian) -> Tensor:
        """Return the exact E[Q] + ENTROPY x entropy (...,)."""
        return self.expectation(policy) + ENTROPY * policy.sample_entropy().sum(-1)

    def gap(self, policy: Gaussian) -> Tensor:
        """Return how far the objective is below its largest value (...,); of a problem without ripple."""
        best = torch.full_like(policy.mean, self.distance), torch.full_like(policy.mean, 0.5 * math.log(ENTROPY))
        return self.objective(Gaussian(*best)) - self.objective(policy)


class Batch(NamedTuple):
    """Samples of a policy, in each of R repetitions."""

    old: Gaussian
    """That drew them, (R, 1, A)."""
    action: Tensor
    """u, (R, n, A)."""
    slope: Tensor
    """The exact dQ/du, which a differentiable simulator supplies, (R, n, A)."""
    advantage: Tensor
    """The observed value less the mean of those of the other samples, (R, n)."""


def draw(problem: Problem, policy: Gaussian, samples: int, generator: torch.Generator) -> Batch:
    """Return `samples` of `policy` (R, 1, A) in each repetition."""
    old = policy.detach()
    action = old.from_noise(_noise(old, samples, generator)).requires_grad_()
    value = problem.value(action)
    (slope,) = torch.autograd.grad(value.sum(), action)
    observed = value.detach() + problem.noise * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    advantage = (observed - observed.mean(1, keepdim=True)) * samples / (samples - 1)
    return Batch(old, action.detach(), slope, advantage)


def score(batch: Batch, new: Gaussian, generator: torch.Generator, clip: float = math.inf) -> Tensor:
    """Return the ratio times the advantage (R, n), whose gradient is the score-function estimate; with `clip`, PPO's."""
    log_ratio = new.log_prob(batch.action) - batch.old.log_prob(batch.action)
    return clipped_surrogate(log_ratio, batch.advantage, clip)


def pathwise(
    batch: Batch, new: Gaussian, generator: torch.Generator, clip_low: float = math.inf, clip_high: float = math.inf
) -> Tensor:
    """Return (R, n), whose gradient is dQ/du times that of the regenerated action, weighted by the ratio: RPO's."""
    ratio = importance_ratio(new, batch.old, batch.action)
    weight = ratio * inside_clip(ratio, clip_low, clip_high)
    return weight * (batch.slope * regenerate(new, batch.action)).sum(-1)


def through_learned(batch: Batch, new: Gaussian, generator: torch.Generator) -> Tensor:
    """Return (R, n) values of fresh samples by a cubic that is fitted to the batch: REPPO's way, its critic in small.

    Its error is that of the noise, and grows with the third power of the distance from the batch.
    """
    seen = _cubic(batch.old, batch.action)
    penalty = RIDGE * torch.eye(seen.shape[-1], dtype=seen.dtype)
    coefficients = torch.linalg.solve(seen.mT @ seen + penalty, seen.mT @ batch.advantage[..., None])
    action = new.from_noise(_noise(new, batch.action.shape[1], generator))
    return (_cubic(batch.old, action) @ coefficients).squeeze(-1)


@dataclass(frozen=True)
class Method:
    """A way to climb.

    Args:
        label: text of a legend.
        surrogate: its gradient is the estimate.
        reuse: updates on the samples of one policy.
        kl_bound: beyond this KL(old || new) an update only decreases the KL, REPPO's switch.
    """

    label: str
    surrogate: Surrogate
    reuse: int = REUSE
    kl_bound: float = math.inf


PPO_CLIPPED = Method("score, reused, clipped (PPO)", partial(score, clip=0.2))
RPO_CLIPPED = Method("pathwise, reused, clipped (RPO)", partial(pathwise, clip_low=0.8, clip_high=1.0))
KNOWN = (
    Method("score, fresh samples", score, 1),
    Method("score, reused", score),
    PPO_CLIPPED,
    Method("pathwise, fresh samples", pathwise, 1),
    Method("pathwise, reused", pathwise),
    RPO_CLIPPED,
)
LEARNED = (
    PPO_CLIPPED,
    RPO_CLIPPED,
    Method("pathwise, learned Q", through_learned),
    Method("pathwise, learned Q, KL bound (REPPO)", through_learned, kl_bound=KL_BOUND),
)
KNOWN_PROBLEM, LEARNED_PROBLEM, LEARNED_SAMPLES = Problem(), Problem(dims=2, distance=2.0, noise=0.5), 32


def climb(
    problem: Problem,
    method: Method,
    repetitions: int,
    seed: int = 0,
    samples: int = SAMPLES,
    step_size: float = STEP_SIZE,
    updates: int = UPDATES,
) -> Tensor:
    """Return the gap to the optimum before each update and after the last, (updates + 1, R)."""
    generator = torch.Generator().manual_seed(seed)
    mean, log_std = (torch.zeros(repetitions, 1, problem.dims, dtype=torch.float64) for _ in range(2))
    gaps = []
    for update in range(updates):
        new = Gaussian(mean.requires_grad_(), log_std.requires_grad_())
        gaps.append(problem.gap(new).detach())
        if update % method.reuse == 0:
            batch = draw(problem, new, samples, generator)
        objective = method.surrogate(batch, new, generator).mean(1) + ENTROPY * new.sample_entropy().sum((1, 2))
        kl = gaussian_kl(batch.old, new).squeeze(1)
        objective = torch.where(kl.detach() < method.kl_bound, objective, -kl)
        steps = torch.autograd.grad(objective.sum(), (mean, log_std))
        mean, log_std = ((old + step_size * step).detach() for old, step in zip((mean, log_std), steps, strict=True))
    gaps.append(problem.gap(Gaussian(mean, log_std)))
    return torch.stack(gaps).squeeze(-1).nan_to_num(nan=CEILING).clamp(max=CEILING)


def gradients(surrogate: Surrogate, batch: Batch, new: Gaussian) -> Tensor:
    """Return the estimates (R, 2 A) of the gradient by mean and logarithmic standard deviation of `new` (R, 1, A)."""
    leaves = [parameter.detach().requires_grad_() for parameter in (new.mean, new.log_std)]
    estimate = surrogate(batch, Gaussian(*leaves), torch.Generator().manual_seed(0)).mean(1).sum()
    return torch.cat(torch.autograd.grad(estimate, leaves), -1).squeeze(1)


def exact_gradient(problem: Problem, new: Gaussian) -> Tensor:
    """Return the gradient (2 A,) of E[Q] at `new` (1, 1, A)."""
    leaves = [parameter.detach().requires_grad_() for parameter in (new.mean, new.log_std)]
    return torch.cat(torch.autograd.grad(problem.expectation(Gaussian(*leaves)).sum(), leaves), -1).flatten()


def relative_error(problem: Problem, method: Method, shift: float, batches: int, seed: int = 0) -> float:
    """Return the mean square error of the estimate over the square of the gradient.

    The samples are those of N(0, 1), the gradient is that at N(shift, 1), and the shift is towards the goal.
    """
    start = torch.zeros(batches, 1, problem.dims, dtype=torch.float64)
    old, new = Gaussian(start, start), Gaussian(start + shift / math.sqrt(problem.dims), start)
    batch = draw(problem, old, SAMPLES, torch.Generator().manual_seed(seed))
    exact = exact_gradient(problem, Gaussian(new.mean[:1], new.log_std[:1]))
    error = (gradients(method.surrogate, batch, new) - exact).square().sum(-1).mean()
    return (error / exact.square().sum()).item()


DIMENSIONS = (1, 2, 4, 8, 16, 32, 64)
KLS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
RIPPLE, FREQUENCIES = 0.2, tuple(range(0, 41, 5))
FRESH, REUSED = (KNOWN[0], KNOWN[3]), (KNOWN[1], PPO_CLIPPED, KNOWN[4], RPO_CLIPPED)


def measure(repetitions: int = 200, batches: int = 2000, seed: int = 0, updates: int = UPDATES) -> dict[str, Any]:
    """Return what the figure shows: climbs, and errors of the estimates.

    Args:
        repetitions: climbs of each method.
        batches: estimates behind each error.
        seed: of everything random.
        updates: of a climb.
    """

    def climbs(problem: Problem, methods: Sequence[Method], samples: int, step_size: float = STEP_SIZE) -> dict[str, Any]:
        return {
            method.label: _quartiles(climb(problem, method, repetitions, seed, samples, step_size, updates), method, samples)
            for method in methods
        }

    def errors(methods: Sequence[Method], xs: Sequence[float], cases: Sequence[tuple[Problem, float]]) -> dict[str, Any]:
        found = {
            method.label: [_digits(relative_error(problem, method, shift, batches, seed)) for problem, shift in cases]
            for method in methods
        }
        return {"x": list(xs), "error": found}

    known = {str(step): climbs(KNOWN_PROBLEM, KNOWN, SAMPLES, step) for step in (*OTHER_STEP_SIZES, STEP_SIZE)}
    return {
        "seed": seed,
        "repetitions": repetitions,
        "batches": batches,
        "known": known[str(STEP_SIZE)],
        "learned": climbs(LEARNED_PROBLEM, LEARNED, LEARNED_SAMPLES),
        "last_median": {step: {label: curve["median"][-1] for label, curve in of.items()} for step, of in known.items()},
        "dimension": errors(FRESH, DIMENSIONS, [(Problem(dims=dims), 0.0) for dims in DIMENSIONS]),
        "kl": errors(REUSED, KLS, [(Problem(), math.sqrt(2.0 * kl)) for kl in KLS]),
        "frequency": errors(FRESH, FREQUENCIES, [(Problem(ripple=RIPPLE, frequency=each), 0.0) for each in FREQUENCIES]),
    }


def _quartiles(gaps: Tensor, method: Method, samples: int) -> dict[str, Any]:
    low, median, high = (
        [_digits(value) for value in gaps[::EVERY].quantile(share, 1).tolist()] for share in (0.25, 0.5, 0.75)
    )
    at = list(range(0, len(gaps), EVERY))
    drawn = [samples * math.ceil(update / method.reuse) for update in at]
    diverged = (gaps[-1] >= CEILING).double().mean().item()
    return {"updates": at, "samples": drawn, "low": low, "median": median, "high": high, "diverged": diverged}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _noise(policy: Gaussian, samples: int, generator: torch.Generator) -> Tensor:
    repetitions, _, dims = policy.mean.shape
    return torch.randn(repetitions, samples, dims, generator=generator, dtype=policy.mean.dtype)


def _cubic(old: Gaussian, action: Tensor) -> Tensor:
    """Return all products of at most three dimensions (R, n, F) of the actions, in standard deviations from the old mean."""
    z = (action - old.mean) / old.std
    z = torch.cat([torch.ones_like(z[..., :1]), z], -1)
    chosen = torch.combinations(torch.arange(z.shape[-1]), 3, with_replacement=True)
    return z[..., chosen].prod(-1)
