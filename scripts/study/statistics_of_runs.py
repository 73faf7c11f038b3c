"""Statistics over training runs: interquartile mean, bootstrap interval, reliability, curves on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
REACH, STAY = 0.9, 0.9
"""The threshold is REACH x the best known mean; a run stays while it is above STAY x the threshold."""


def interquartile_mean(scores: Array) -> Array:
    """Return the mean of `scores` (..., n) without the lowest and highest quarter.

    As in rliable and scipy.stats.trim_mean, n/4 is rounded down on either side.
    """
    cut = scores.shape[-1] // 4
    return np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut].mean(-1)


def bootstrap_interval(scores_by_task: Sequence[Array], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval (percentiles) of the interquartile mean over all runs of all tasks.

    Stratified: seeds are drawn with replacement within each task, as many as it has.

    Raises:
        ValueError: if a task has a single seed; drawing from one run shows no spread.
    """
    if min(len(scores) for scores in scores_by_task) < 2:
        raise ValueError("an interval needs at least two seeds of every task")
    generator = np.random.default_rng(seed)
    drawn = [scores[generator.integers(len(scores), size=(RESAMPLES, len(scores)))] for scores in scores_by_task]
    means = interquartile_mean(np.concatenate(drawn, axis=1))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Reliability:
    """Whether and when a run reached a threshold, and whether it stayed near it."""

    reached_at: float | None
    """Environment steps of the first evaluation at or above the threshold."""
    stayed: bool
    """It reached the threshold, and no later evaluation was below STAY x threshold."""


def reliability(steps: Array, returns: Array, best_known: float) -> Reliability:
    """Judge one run's evaluations against REACH x the best known mean return of its task."""
    threshold = REACH * best_known
    above = np.flatnonzero(returns >= threshold)
    if not above.size:
        return Reliability(None, False)
    first = above[0]
    return Reliability(float(steps[first]), bool((returns[first:] >= STAY * threshold).all()))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and sample standard deviation (n - 1); None for the deviation of a single value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), deviation


def moving_average(values: Array, window: int) -> Array:
    """Average `values` (n,) over up to `window` neighbours, centred; fewer at the ends."""
    at = np.arange(len(values))
    begin, end = np.maximum(at - (window - 1) // 2, 0), np.minimum(at + window // 2 + 1, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[end] - sums[begin]) / (end - begin)


def on_common_grid(curves: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Interpolate curves (steps, values) linearly to one grid (n,); return it and the values (curves, n).

    The grid is every step at which some curve has a value, where all of them have begun and none has ended, so that no
    curve is extended; it is empty if they do not overlap.
    """
    begin, end = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.unique(np.concatenate([steps for steps, _ in curves]))
    grid = grid[(grid >= begin) & (grid <= end)]
    return grid, np.stack([np.interp(grid, steps, values) for steps, values in curves])
