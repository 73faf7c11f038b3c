"""The adapter of ManiSkill, on a stand-in with the same constructor, infos and resets; the simulator itself was not there."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

import rpo_lightning
from rpo_lightning import envs
from rpo_lightning.envs import maniskill
from tests.envs.counters import Batched, truth

LENGTHS = (3, 5, 2)
made: list[dict[str, Any]] = []


class StandIn(Batched):
    """As `mani_skill.vector.wrappers.gymnasium.ManiSkillVectorEnv` of 3.0.1: tensors, `final_observation`, `env_idx`."""

    def __init__(self, env: str, num_envs: int = 1, auto_reset: bool = True, **options: Any) -> None:
        made.append({"env": env, "num_envs": num_envs, **options})
        super().__init__(LENGTHS[:num_envs])
        self.max_episode_steps = options.get("max_episode_steps", 50)

    @property
    def unwrapped(self) -> Any:
        return self.counters[0]  # the simulator, which is no vector environment

    @property
    def spec(self) -> Any:
        return self


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["mani_skill", "mani_skill.envs", "mani_skill.vector", "mani_skill.vector.wrappers"]
    for name in [*names, "mani_skill.vector.wrappers.gymnasium"]:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mani_skill.vector.wrappers.gymnasium"].ManiSkillVectorEnv = StandIn
    monkeypatch.setattr(maniskill, "named", maniskill.named.__wrapped__)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made.clear()


def make(**options: Any) -> Any:
    return rpo_lightning.make("maniskill/PickCube-v1", num_envs=3, **options)


def test_it_is_made_as_maniskill_wants_it() -> None:
    cls = envs.env_class("maniskill/PickCube-v1")
    assert (cls.name, cls.obs_dim, cls.action_dim, cls.__name__) == ("maniskill/PickCube-v1", 4, 2, "PickCube-v1")
    make(control_mode="pd_ee_delta_pose", episode_length=20)
    assert made[-1] == {
        "env": "PickCube-v1",
        "num_envs": 3,
        "obs_mode": "state",
        "sim_backend": "physx_cpu",
        "control_mode": "pd_ee_delta_pose",
        "max_episode_steps": 20,
    }
    for device, backend in (("cuda", "physx_cuda"), ("cuda:1", "physx_cuda:1")):
        cls.build(2, torch.device(device), None, {})
        assert made[-1]["sim_backend"] == backend
    cls.build(2, torch.device("cuda"), None, {"sim_backend": "gpu", "obs_mode": "state_dict"})
    assert (made[-1]["sim_backend"], made[-1]["obs_mode"]) == ("gpu", "state_dict")


def test_success_cuts_an_episode_off_and_its_value_goes_on() -> None:
    env = make()
    action = torch.full((3, 2), 0.5)
    for expected in truth(11, action, LENGTHS):
        step = env.step(action)
        assert not step.terminated.any()
        assert torch.equal(step.truncated, expected["terminated"] | expected["truncated"])
        for name in ("obs", "final_obs", "reward"):
            assert torch.equal(getattr(step, name), expected[name])
        assert torch.equal(env.progress, expected["progress"])


def test_some_can_be_reset_by_their_indices() -> None:
    env = make()
    env.step(torch.zeros(3, 2))
    obs = env.reset(torch.tensor([False, True, False]))
    assert obs[:, :2].tolist() == [[1.0, 1.0], [2.0, 0.0], [1.0, 1.0]]
    assert env.progress.tolist() == [1, 0, 1]


def test_a_broken_state_still_has_no_value() -> None:
    env = make()
    action = torch.zeros(3, 2)
    action[0] = torch.nan
    step = env.step(action)
    assert step.terminated.tolist() == env.invalid.tolist() == [True, False, False]
    assert env.vector_env.counters[0].episode == 2


def test_without_maniskill_the_task_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mani_skill.envs", None)
    with pytest.raises(
        ValueError, match=r"^task 'maniskill/PickCube-v1': ManiSkill is not installed: pip install mani_skill$"
    ):
        make()
