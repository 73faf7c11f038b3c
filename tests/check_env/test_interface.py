"""What an environment promises, and what is said of one that breaks its word."""

import pytest
import torch

from rpo_lightning.check_env import Section, check
from rpo_lightning.check_env.stability import check_stability
from tests.check_env.subjects import GRADIENTS, INTERFACE, OF_ROBOTS, SECTIONS, N, altered, complaints, subject
from tests.toy import PointMass


@pytest.mark.parametrize("env", [PointMass, "tests.toy.PointMass", "hopper", "cartpole"])
def test_healthy_environments_pass(env):
    report = check(env, num_envs=16, horizon=8)
    assert not report.failed, str(report)
    robot = env in ("hopper", "cartpole")
    titles = tuple(section.title for section in report.sections)
    assert titles == (SECTIONS[:2] + OF_ROBOTS * robot + SECTIONS[2:])
    assert not any(complaints(report, title) for title in titles)
    for steps, found in report[GRADIENTS].result.items():
        assert len(found.exact) == 16, steps
        assert found.error().median() < 1e-3


ColumnReward = altered("ColumnReward", reward=lambda env, step: step.reward[:, None])
FloatFlags = altered("FloatFlags", terminated=lambda env, step: step.terminated.float())
NotFinite = altered("NotFinite", reward=lambda env, step: step.reward / (torch.arange(env.num_envs) != 3))
Crashing = altered("Crashing", reward=lambda env, step: env.missing)


class NarrowObservation(PointMass):
    obs_dim = 4


class NumpyObservation(PointMass):
    def reset(self, mask=None):
        return super().reset(mask).numpy()


class NoDetach(PointMass):
    detach = property()


@pytest.mark.parametrize(
    ("cls", "options", "named"),
    [
        (ColumnReward, {}, "step().reward must be torch.float32 of shape (8,) on cpu, but is torch.float32 (8, 1) on cpu"),
        (FloatFlags, {}, "step().terminated must be torch.bool"),
        (NarrowObservation, {}, "of shape (8, 4) on cpu, but is torch.float32 (8, 3)"),
        (NumpyObservation, {"auto_reset": False}, "reset() must be a torch tensor, but is ndarray"),
        (NotFinite, {}, "step().reward is not finite in 1 of 8 environments"),
        (NoDetach, {}, "the environment lacks detach"),
        (Crashing, {}, "AttributeError: 'Crashing' object has no attribute 'missing'"),
        (PointMass, {"dtype": torch.float64}, "but is torch.float64"),
    ],
)
def test_wrong_shapes_end_the_check(cls, options, named):
    report = check(cls, N, 4, **options)
    assert report.failed
    assert named in complaints(report, INTERFACE)
    assert len(report.sections) == 1


class GlobalNoise(PointMass):
    def step(self, action):
        return super().step(action + 0.01 * torch.randn_like(action))


class Forgetful(PointMass):
    def state_dict(self):
        return super().state_dict() | {"generator": torch.Generator().get_state()}


class ResetsAll(PointMass):
    def reset(self, mask=None):
        return super().reset() if mask is None or mask.any() else super().reset(mask)


class KeepsGraph(PointMass):
    def detach(self):
        return self._observe()


@pytest.mark.parametrize(
    ("cls", "promise"),
    [
        (GlobalNoise, "the same seed gives the same bits"),
        (Forgetful, "load_state_dict continues to the bit"),
        (ResetsAll, "reset(mask) leaves the other environments alone"),
        (KeepsGraph, "detach cuts the graph"),
    ],
)
def test_a_broken_promise_is_named(cls, promise):
    found = complaints(check(cls, N, 2), INTERFACE)
    assert f"failed: not so: {promise}" in found
    if cls is not GlobalNoise:
        assert found.count("failed") == 1


class NoVelocity(PointMass):
    """A system without velocities."""

    def get_state(self):
        q, _, progress = super().get_state()
        return q, q[:, :0], progress


def test_an_environment_may_have_no_velocities():
    section = Section("Stability")
    check_stability(subject(NoVelocity), section)
    assert section.table[1][-1] == "-"
