"""Gradients against finite differences: wrong ones are named, right ones pass."""

import pytest
import torch

from rpo_lightning.check_env import check
from rpo_lightning.check_env.gradients import Comparison, compare
from rpo_lightning.check_env.subject import random_actions
from rpo_lightning.envs.cartpole import Cartpole
from tests.check_env.subjects import GRADIENTS, INTERFACE, SPEED, STABILITY, Linear, N, altered, complaints
from tests.toy import PointMass


class DetachedTerm(PointMass):
    """A twentieth of the reward's gradient is missing."""

    def step(self, action):
        before = self.q
        step = super().step(action)
        return step._replace(
            reward=step.reward + 0.05 * (before - before.detach()).square().sum(1) + 0.05 * before.detach()[:, 0]
        )


DetachedReward = altered("DetachedReward", reward=lambda env, step: step.reward.detach())
SparseReward = altered("SparseReward", reward=lambda env, step: (env.q.abs() < 0.5).float()[:, 0])


class DetachedObservation(PointMass):
    def _observe(self):
        return torch.cat([self.q, self.qd.detach(), self.q.sin()], -1)


class WrongBackward(PointMass):
    """The gradient of one observation is twice what it should be."""

    def _observe(self):
        return torch.cat([self.q, 2 * self.qd - self.qd.detach(), self.q.sin()], -1)


@pytest.mark.parametrize(
    ("cls", "named"),
    [
        (DetachedTerm, "failed: the reward: a wrong gradient"),
        (DetachedReward, "failed: the reward: no gradient by the actions, which do change it"),
        (SparseReward, "failed: the reward has no gradient"),
        (DetachedObservation, "failed: observation 1: no gradient by the actions, which do change it"),
        (WrongBackward, "failed: observation 1: a wrong gradient"),
    ],
)
def test_a_wrong_gradient_is_named(cls, named):
    report = check(cls, 32, 4)
    assert named in complaints(report, GRADIENTS), str(report)
    assert not complaints(report, INTERFACE) + complaints(report, STABILITY)


def test_a_flag_among_the_observations_is_no_mistake():
    class Flagged(PointMass):
        def _observe(self):
            return torch.cat([self.q, self.qd, (self.q > 0.0).to(self.q)], -1)

    assert not check(Flagged, 32, 4).failed


def test_derivatives_of_a_linear_environment_are_exact():
    env = Linear(N, auto_reset=False)
    actions, weights = random_actions(env, 5, 1), torch.ones(1, N, 2)
    found = compare(env, env.state_dict(), actions, weights, seed=2)
    direction = torch.randn(actions.shape, generator=torch.Generator().manual_seed(2))
    direction /= direction.norm(dim=0)
    # action t moves x_s, s > t, by growth^(s - t - 1); the return counts x_s with 0.99^(s - 1), the end x_5 once more
    slopes = [sum(0.99**s * 1.2 ** (s - t) for s in range(t, 5)) + 1.2 ** (4 - t) for t in range(5)]
    expected = (torch.tensor(slopes)[:, None] * direction[:, :, 0]).sum(0)
    torch.testing.assert_close(found.exact[:, 0].float(), expected)
    torch.testing.assert_close(found.measured[0, :, 0].float(), expected, rtol=1e-3, atol=1e-4)
    assert found.error().max() < 1e-3


def test_what_counts_as_an_error():
    exact, measured, scale = torch.zeros(3, 20, 4).double()
    # 0 right in one of two step sizes, 1 flips in one environment, 2 changes in a quarter of them, 3 is hidden by rounding
    exact[:, 0], scale[:, 0], measured[:, 0] = 1.0, 1.0, 1.01
    measured[3, 1] = 5.0
    measured[:5, 2] = 5.0
    measured[:, 3] = 1e-6
    worse = measured.clone()
    worse[:, 0] = 2.0
    found = Comparison(exact, torch.stack([worse, measured]), scale, torch.full_like(exact, 1e-5), nonfinite=0)
    error = found.error()
    torch.testing.assert_close(error[:, 0], torch.full((20,), 0.01 / 1.01).double())
    assert error[3, 1] == 1.0
    assert error[:, 3].max() <= 1e-3
    assert found.unconnected().tolist() == [False, True, True, True]
    assert found.visible().tolist() == [True, False, True, False]


def test_an_environment_that_works_in_place_does_not_change_the_start():
    class InPlace(Linear):
        def step(self, action):
            self.progress += 1
            return super().step(action)

    env = InPlace(N)
    start = env.state_dict()
    compare(env, start, random_actions(env, 2, 0), torch.ones(1, N, 2), 1)
    assert not start["progress"].any()


class SelfResetting(PointMass):
    """Has no option auto_reset; episodes of 10 steps, so that 4 are left after the first 16."""

    def __init__(self, num_envs, device="cpu", seed=0):
        super().__init__(num_envs, device, seed, episode_length=10, limit=100.0)


def test_environments_that_reset_themselves_are_compared_as_far_as_they_get():
    report = check(SelfResetting, 64, 8)
    found = report[GRADIENTS].result
    assert len(found[1].exact) == 64
    assert len(found[4].exact) == 64
    assert len(found[8].exact) == 0
    assert found[4].error().max() < 1e-2
    assert not report.failed
    assert "warning: no environment can be compared over 8 steps" in complaints(report, GRADIENTS)


def test_environments_without_gradients_are_not_asked_for_any():
    class Plain(DetachedReward):
        differentiable = False

    report = check(Plain, N, 4)
    assert not report.failed
    assert report[SPEED].result["timings"][0].backward is None


class RootOfZero(PointMass):
    """The classic: the derivative of a root at 0, here in half of the environments."""

    def step(self, action):
        found = super().step(action)
        half = torch.arange(self.num_envs) % 2
        return found._replace(reward=found.reward + (half * (action[:, 0] - action[:, 0].detach())).clamp(min=0).sqrt())


def test_a_reward_with_gradients_that_are_not_finite_fails():
    report = check(RootOfZero, num_envs=N, horizon=4)
    assert "failed: the gradient over 4 steps is not finite in 8 of 8" in complaints(report, GRADIENTS)
    assert not any(verdict.level == "ok" for verdict in report[GRADIENTS].verdicts)
    assert "explode" not in complaints(report, GRADIENTS)


class Weighed(Cartpole):
    """Has two constants as tensors, and shows its reward how heavy the pole is."""

    parameter_names = ("mass:cart_to_pole", "gravity")

    def reward(self, obs, action):
        return {**super().reward(obs, action), "weight": self.seen(self.parameters)[:, 0]}

    def seen(self, parameters):
        return parameters


class Unseen(Weighed):
    def reward(self, obs, action):
        return 0.01 * action[:, 0] + self.seen(self.parameters)[:, 0]

    def seen(self, parameters):
        return parameters.detach()


class Doubled(Weighed):
    def seen(self, parameters):
        return 2.0 * parameters - parameters.detach()


def test_gradients_by_parameters_are_checked_where_there_are_any():
    report = check(Weighed, N, 4, threads=1)
    assert not complaints(report, GRADIENTS), str(report)
    assert report[GRADIENTS].result["parameters"].error().median() < 1e-2
    assert "the reward and each of 5 observations, over 4 steps by the parameters" in str(report[GRADIENTS])


@pytest.mark.parametrize(
    ("cls", "named"),
    [
        (Unseen, "failed: the reward: no gradient by the parameters, which do change it"),
        (Doubled, "failed: the reward: a wrong gradient by the parameters"),
    ],
)
def test_a_wrong_gradient_by_parameters_is_named(cls, named):
    report = check(cls, N, 4, threads=1)
    assert named in complaints(report, GRADIENTS), str(report)
    assert "by the actions" not in complaints(report, GRADIENTS)
