"""Statistics of runs against hand computation."""

import math

import numpy as np
import pytest
from scipy import stats
from study.statistics_of_runs import (
    bootstrap_interval,
    interquartile_mean,
    mean_and_deviation,
    moving_average,
    on_common_grid,
    reliability,
)


def test_interquartile_mean():
    assert interquartile_mean(np.array([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0])) == pytest.approx(3.5)  # of 2, 3, 4, 5
    assert interquartile_mean(np.array([1.0, 2.0, 9.0])) == pytest.approx(4.0)  # n/4 rounds down: nothing is left out
    for n in range(1, 30):
        scores = np.random.default_rng(n).normal(size=n)
        assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25), abs=1e-12)


def test_bootstrap_interval_has_the_width_of_the_known_case():
    # Of two seeds 0 and 1 on one task, the mean of a draw is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_interval([np.array([0.0, 1.0])]) == (0.0, 1.0)
    # Many normal scores: the trimmed mean's standard error is known.
    scores = [np.random.default_rng(task).normal(task, 1.0, size=200) for task in (0, 0)]
    low, high = bootstrap_interval(scores)
    pooled = np.sort(np.concatenate(scores))
    error = math.sqrt(stats.mstats.winsorize(pooled, (0.25, 0.25)).var(ddof=1) / len(pooled)) / 0.5
    assert low < interquartile_mean(pooled) < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_bootstrap_is_stratified_deterministic_and_wants_two_seeds():
    # Without strata, tasks as far apart as these would make the interval about 10 wide.
    low, high = bootstrap_interval([np.array([0.0, 0.1]), np.array([10.0, 10.1])])
    assert high - low < 0.2
    scores = [np.arange(5.0), np.arange(5.0) ** 2]
    assert bootstrap_interval(scores, seed=3) == bootstrap_interval(scores, seed=3)
    with pytest.raises(ValueError, match="two seeds"):
        bootstrap_interval([np.array([1.0, 2.0]), np.array([1.0])])


@pytest.mark.parametrize(
    ("returns", "reached_at", "stayed"),
    [
        ([10, 50, 89, 80], None, False),  # the threshold is 90
        ([10, 90, 120, 82], 2.0, True),  # 81 and above is still near it
        ([10, 90, 80, 120], 2.0, False),  # falls after, and comes back
        ([80, 10, 95, 95], 3.0, True),  # what was before does not count
    ],
)
def test_reliability(returns, reached_at, stayed):
    result = reliability(np.arange(1.0, 5.0), np.array(returns, dtype=float), best_known=100.0)
    assert (result.reached_at, result.stayed) == (reached_at, stayed)


def test_curves_with_other_steps_are_interpolated_where_all_have_values():
    one = np.array([1.0, 3.0, 5.0]), np.array([10.0, 30.0, 50.0])
    other = np.array([2.0, 4.0, 8.0]), np.array([0.0, 4.0, 12.0])
    grid, values = on_common_grid([one, other])
    assert grid.tolist() == [2.0, 3.0, 4.0, 5.0]
    assert values.tolist() == [[20.0, 30.0, 40.0, 50.0], [0.0, 2.0, 4.0, 6.0]]


def test_moving_average_uses_what_there_is():
    assert moving_average(np.array([0.0, 3.0, 6.0, 3.0]), 3).tolist() == [1.5, 3.0, 4.0, 4.5]
    assert moving_average(np.array([1.0, 3.0]), 5).tolist() == [2.0, 2.0]
    assert moving_average(np.array([0.0, 2.0, 4.0]), 2).tolist() == [1.0, 3.0, 4.0]
    assert moving_average(np.array([1.0, 3.0]), 1).tolist() == [1.0, 3.0]


def test_deviation_is_the_samples():
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2.0)))
    assert mean_and_deviation([1.0]) == (1.0, None)
