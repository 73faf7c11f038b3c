"""How gradients grow over the horizon."""

import math

import pytest
import torch

from rpo_lightning.check_env import check
from rpo_lightning.check_env.gradients import compare
from rpo_lightning.check_env.growth import gradient_norms, growth_factor
from rpo_lightning.check_env.subject import random_actions
from tests.check_env.subjects import GRADIENTS, GROWTH, Linear, N, complaints


@pytest.mark.parametrize("growth", [0.9, 1.0, 1.2])
def test_growth_of_a_linear_environment_is_its_factor(growth):
    cls = type("Mine", (Linear,), {"growth": growth})
    report = check(cls, N, 12)
    found = report[GROWTH].result
    assert [horizon for horizon, _ in found] == [1, 2, 4, 8, 12]
    for horizon, norms in found:
        torch.testing.assert_close(norms, torch.full((N,), growth ** (horizon - 1)))
    text = f"per step the median changes by a factor of {growth:.3f}, the 90th percentile by {growth:.3f}"
    assert text in str(report[GROWTH])
    assert ("warning" in str(report[GROWTH])) == (growth == 1.2)
    assert not report.failed


def test_fitted_factor():
    assert growth_factor([1, 2, 4, 32], [3 * 1.1**h for h in (1, 2, 4, 32)]) == pytest.approx(1.1)
    assert growth_factor([1, 2, 4], [1.0, 4.0, math.inf]) == pytest.approx(4.0)
    assert math.isnan(growth_factor([1, 2], [0.0, 0.0]))


class InfiniteGradient(Linear):
    """From step 4 on, the root of what is zero is added to some: its gradient is infinite."""

    def step(self, action):
        step = super().step(action)
        zero = (self.q - self.q.detach()) * (torch.arange(self.num_envs) % 2)[:, None]
        return step if self.progress[0] % 16 < 4 else step._replace(final_obs=self.q + zero.abs().sqrt())


def test_gradients_that_are_not_finite_are_counted():
    env = InfiniteGradient(N)
    found = gradient_norms(env, env.state_dict(), random_actions(env, 8, 0), 1)
    assert [int((~norms.isfinite()).sum()) for _, norms in found] == [0, 0, N, N]
    report = check(InfiniteGradient, N, 8)
    assert "failed: 100% of the gradients are not finite" in complaints(report, GROWTH)
    assert "failed: the gradient over 4 steps is not finite in 8 of 8" in complaints(report, GRADIENTS)
    assert len(report[GRADIENTS].result[4].exact) == 0


def test_an_exploded_environment_is_left_out_of_the_gradients():
    env = Linear(N)
    env.invalid = torch.arange(N) == 2
    actions = random_actions(env, 2, 0)
    assert [len(norms) for _, norms in gradient_norms(env, env.state_dict(), actions, 1)] == [N - 1, N - 1]
    assert len(compare(env, env.state_dict(), actions, torch.ones(1, N, 2), 1).exact) == N - 1
