"""How many operators a rollout is made of, and how often the host would wait for a device, with its branches taken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

import rpo_lightning
from rpo_lightning import algorithms
from rpo_lightning.algorithms.base import RLModule
from rpo_lightning.callbacks import Curriculum
from rpo_lightning.driver import PlainDriver
from rpo_lightning.envs.base import BaseEnv
from rpo_lightning.rollout import Collector
from tests.host_waits import Operators, Transfers

N, HORIZON = 8, 8
SMALL: dict[str, dict[str, Any]] = {
    "RPO": {"hidden": (8,), "critic_epochs": 1, "actor_epochs": 2},
    "REPPO": {"hidden": (8,), "critic_width": 8, "epochs": 1, "minibatch_size": 64},
}


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let environments do what they do where a look at a value is a wait."""
    whole = BaseEnv.__init__

    def blind(self: Any, *args: Any, **options: Any) -> None:
        whole(self, *args, **options)
        self._looks = False

    monkeypatch.setattr(BaseEnv, "__init__", blind)


def waits(task: str, algorithm: str = "RPO", callback: Any = None, **options: Any) -> list[Counter[str]]:
    """Return what the host waits for in each of some iterations; episodes end within all of them."""
    operators = Operators()
    transfers = Transfers(operators)
    with operators, transfers:
        env = rpo_lightning.make(task, N, episode_length=3, **options)
    module: RLModule = getattr(algorithms, algorithm)(
        env.obs_dim, env.action_dim, 10_000, privileged_dim=env.privileged_dim, **SMALL[algorithm]
    )
    module.driver = PlainDriver(module)
    collector, found = Collector(env, HORIZON, seed=0, random_progress=True), []
    trainer = type("Trainer", (), {"datamodule": type("Data", (), {"collector": collector})})
    for _ in range(6):  # so that the stores are filled on the way
        operators.waits.clear(), transfers.found.clear()
        with operators, transfers:
            batch = collector.collect(module)
            outputs = module.training_step(batch, 0)
            if callback is not None:
                callback.on_train_batch_end(trainer, module, outputs, batch, 0)
        assert batch.truncated.any()
        found.append(operators.waits + transfers.found)
    return found[1:]


ROUGH = {"terrain": ["stairs"], "push_seconds": 0.04, "command_seconds": 0.06}


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("ant", {}),
        ("cartpole", {"history": 3, "action_delay": [0, 2], "randomize": {"gravity": {"scale": [0.9, 1.1]}}}),
        ("quadrotor", {}),
        ("arm_reach", {"target_seconds": 0.04}),
        ("quadruped", {"push_seconds": 0.04, "command_seconds": 0.06}),
        ("quadruped_rough", ROUGH),
    ],
)
def test_an_iteration_waits_three_times(task: str, options: dict[str, Any]) -> None:
    found = waits(task, callback=Curriculum(0.5, 0.1) if task == "quadruped_rough" else None, **options)
    assert max(sum(each.values()) for each in found) <= 3, found


def test_a_learner_without_action_gradients_waits_no_oftener() -> None:
    found = waits("hopper", "REPPO")
    assert max(sum(each.values()) for each in found) <= 3, found


def launches(task: str, **options: Any) -> int:
    """Return how many operators of a step launch something; episodes end in some of the steps, as nobody can tell."""
    env = rpo_lightning.make(task, N, **options)
    env.detach()
    env.progress = torch.arange(N) + env.max_episode_steps - N
    action, counts, ended = torch.zeros(N, env.action_dim), [], 0
    for _ in range(4):
        with Operators() as operators:
            step = env.step(action)
        counts.append(operators.launches.total())
        ended += int(step.truncated.sum())
    assert ended >= 4
    return max(counts)


@pytest.mark.parametrize(
    ("task", "most"), [("cartpole", 38), ("hopper", 40), ("ant", 41), ("cheetah", 30), ("quadruped", 130)]
)
def test_a_step_and_its_restarts_are_so_many_operators(task: str, most: int) -> None:
    assert launches(task) <= most
