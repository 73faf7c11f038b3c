"""Tasks of gymnasium by name, from making them to training on them."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

import rpo_lightning
from rpo_lightning import envs
from rpo_lightning.algorithms import PPO, RPO, SAC
from rpo_lightning.check_env import Section, check_interface
from rpo_lightning.check_env.subject import Subject
from rpo_lightning.envs import gymnasium_env
from rpo_lightning.envs.gymnasium_env import gymnasium_task
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.trajectories import record
from tests.algorithms.drivers import run_fabric
from tests.command_line import refused
from tests.envs.counters import Counter, vector_env

PENDULUM = "gymnasium/Pendulum-v1"


def counters(num_envs: int, kind: str = "sync_same", lengths: tuple[int, ...] = (3, 5, 2)) -> gymnasium.vector.VectorEnv:
    """A vector environment of one's own."""
    vectors = vector_env(kind, lengths[:num_envs])
    vectors.max_episode_steps = 50
    return vectors


def play(env: Any, steps: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(steps, env.num_envs, env.action_dim, generator=generator) * 2 - 1
    return torch.stack([torch.cat([step.final_obs, step.reward[:, None]], 1) for step in map(env.step, actions)])


def test_name_and_dimensions_are_known_before_and_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = envs.env_class(PENDULUM)
    assert (cls.name, cls.obs_dim, cls.action_dim, cls.differentiable) == (PENDULUM, 3, 1, False)
    monkeypatch.setattr(gymnasium_env.gymnasium, "make", None)
    assert envs.env_class(PENDULUM) is cls


def test_it_moves_as_gymnasium_moves_it() -> None:
    env = rpo_lightning.make(PENDULUM, num_envs=3, seed=5)
    assert (env.num_envs, env.max_episode_steps) == (3, 200)
    single = gymnasium.make("Pendulum-v1")
    obs, _ = single.reset(seed=env.vector_env.np_random_seed[1])
    assert torch.equal(torch.tensor(obs), env.detach()[1])
    for k in range(3):
        step = env.step(torch.full((3, 1), 0.25 * k))
        obs, reward, *_ = single.step([0.5 * k])  # torques go up to 2
        assert torch.equal(torch.tensor(obs), step.obs[1])
        assert step.reward[1].item() == pytest.approx(reward)


def test_processes_of_their_own_change_nothing() -> None:
    make = functools.partial(rpo_lightning.make, PENDULUM, num_envs=2, episode_length=300)
    one, other = make(), make(asynchronous=True)
    assert isinstance(other.vector_env, gymnasium.vector.AsyncVectorEnv)
    assert one.max_episode_steps == other.max_episode_steps == 300
    assert torch.equal(play(one), play(other))
    other.close()


def test_arguments_are_gymnasiums_and_options_of_other_tasks_are_refused() -> None:
    env = rpo_lightning.make(PENDULUM, num_envs=2, episode_length=5, g=1.0)
    assert env.max_episode_steps == 5
    assert [counter.unwrapped.g for counter in env.vector_env.envs] == [1.0, 1.0]
    ends = torch.stack([env.step(torch.zeros(2, 1)).truncated.all() for _ in range(10)])
    assert ends.nonzero()[:, 0].tolist() == [4, 9]
    longer = rpo_lightning.make(PENDULUM, num_envs=2, episode_length=203)  # the task's own is 200
    ends = torch.stack([longer.step(torch.zeros(2, 1)).truncated.all() for _ in range(203)])
    assert ends.nonzero()[:, 0].tolist() == [202]
    for option in ("friction", "stochastic_init", "threads"):
        words = f"^{PENDULUM}: .*unexpected keyword argument '{option}'.*Options: episode_length, asynchronous, those of"
        with pytest.raises(TypeError, match=words) as error:
            rpo_lightning.make(PENDULUM, num_envs=2, **{option: 1})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gymnasium/Pendulun-v1", "gymnasium/Pendulun-v1: Environment `Pendulun` doesn't exist. Did you mean: `Pendulum`?"),
        (
            "gymnasium/CartPole-v1",
            r"gymnasium/CartPole-v1: the action space must be a one-dimensional Box, not Discrete\(2\)",
        ),
        ("gymnasium/Blackjack-v1", "gymnasium/Blackjack-v1: the observation space must be a one-dimensional Box, not Tuple"),
        ("maniskill/PickCube-v1", "task 'maniskill/PickCube-v1': ManiSkill is not installed: pip install mani_skill"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line(name: str, message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match=message):
        rpo_lightning.make(name, num_envs=2)
    assert name in refused(capsys, "fit", "--config", "ppo/ant.yaml", "--data.env", name)


def test_mujoco_warns_once_and_not_for_every_sub_environment(capfd: pytest.CaptureFixture, caplog: Any) -> None:
    pytest.importorskip("mujoco")
    gymnasium_env._say_once.cache_clear()
    cls = gymnasium_task("HalfCheetah-v5")
    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        for asynchronous in (False, True):
            cls(num_envs=3, asynchronous=asynchronous).close()
    said = [record.message for record in caplog.records]
    assert len(said) == len(set(said)) <= 1  # MuJoCo before 4.0 says nothing
    assert "WARNING" not in "".join(capfd.readouterr())


def test_processes_are_closed_in_order_at_the_end() -> None:
    """They inherit what Lightning does at SIGTERM, and so do not end when multiprocessing ends them."""
    code = f"""
import signal, torch, rpo_lightning
signal.signal(signal.SIGTERM, lambda *given: None)
env = rpo_lightning.make({PENDULUM!r}, num_envs=2, asynchronous=True)
env.step(torch.zeros(2, 1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_environment_that_is_gone_has_closed_its_processes() -> None:
    env = rpo_lightning.make(PENDULUM, num_envs=2, asynchronous=True)
    vectors = env.vector_env
    del env
    assert vectors.closed


def test_classes_are_found_without_touching_the_process_generators() -> None:
    gymnasium.register("SeedingCounter-v0", entry_point=Seeding, max_episode_steps=9)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    gymnasium_task("SeedingCounter-v0")
    rpo_lightning.make("gymnasium/SeedingCounter-v0", num_envs=2)
    assert torch.equal(torch.rand(1), expected)


class Seeding(Counter):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(9)


def test_a_class_of_ones_own_has_its_arguments_dimensions() -> None:
    gymnasium.register("CounterWithWidth-v0", entry_point=Wide)
    with pytest.raises(
        ValueError, match="with these arguments there are 6 observations and 2 actions, without them 4 and 2"
    ):
        rpo_lightning.make("gymnasium/CounterWithWidth-v0", num_envs=2, episode_length=9, width=6)
    cls = gymnasium_task("CounterWithWidth-v0", width=6)
    Wide.closed = 0
    with pytest.raises(ValueError, match="with these arguments there are 5"):
        cls(num_envs=2, episode_length=9, width=5)
    assert Wide.closed == 2
    made = []

    def make_env(num_envs: int, seed: int) -> Any:
        made.append(cls(num_envs=num_envs, seed=seed, episode_length=9))
        return made[0]

    record(PPO(6, 2, total_env_steps=1, hidden=[8]), make_env, 2)
    assert Wide.closed == 4
    assert (cls.name, cls.obs_dim) == ("gymnasium/CounterWithWidth-v0", 6)
    assert cls(num_envs=2, episode_length=9).detach().shape == (2, 6)


def test_wrappers_of_sub_environments_are_arguments_too() -> None:
    gymnasium.register("SquareCounter-v0", entry_point=lambda: Wide((2, 2)), max_episode_steps=9)
    with pytest.raises(ValueError, match="must be a one-dimensional Box.*FlattenObservation makes one"):
        gymnasium_task("SquareCounter-v0")
    cls = gymnasium_task("SquareCounter-v0", wrappers=[gymnasium.wrappers.FlattenObservation])
    assert cls(num_envs=2).detach().tolist() == [[-9.0] * 4] * 2


class Wide(Counter):
    closed = 0

    def close(self) -> None:
        Wide.closed += 1

    def __init__(self, width: int | tuple[int, int] = 4) -> None:
        super().__init__(3)
        self.observation_space = gymnasium.spaces.Box(-9, 9, width if isinstance(width, tuple) else (width,))

    def _observe(self, action: Any) -> Any:
        return self.observation_space.low


@pytest.mark.parametrize("kind", ["sync_same", "sync_next"])
def test_a_function_that_makes_vector_environments_is_a_task(kind: str) -> None:
    cls = gymnasium_task(counters, "mine", kind=kind)
    assert (cls.name, cls.obs_dim, cls.action_dim) == ("mine", 4, 2)
    data = RolloutDataModule(cls, num_envs=3, horizon=8)
    data.attach(PPO(data.obs_dim, data.action_dim, total_env_steps=100, hidden=(8,))).setup("fit")
    assert data.env_name == "mine"
    batch = next(iter(data.train_dataloader()))
    assert (batch.reward > 100).all()  # a reset would have given 0


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [(PPO, {"minibatch_size": 16}), (SAC, {"replay_size": 100, "batch_size": 16, "gradient_rounds": 2})],
)
def test_algorithms_without_action_gradients_train_on_it(algorithm: Any, options: dict[str, Any]) -> None:
    data = RolloutDataModule(PENDULUM, num_envs=4, horizon=8, iterations_per_epoch=2)
    module = algorithm(data.obs_dim, data.action_dim, total_env_steps=64, hidden=(8,), **options)
    before = [param.clone() for param in module.actor.parameters()]
    metrics = run_fabric(module, data)
    assert module.env_steps == 64
    assert metrics[-1]["nan/invalid_envs"] == metrics[-1]["nan/skipped_updates"] == 0
    assert all((new != old).any() for new, old in zip(module.actor.parameters(), before, strict=True))
    recorded = record(module, data.make_env, episodes=2)
    assert recorded.obs.shape == (200, 2, 3)
    assert recorded.q.shape == (200, 2, 0)


def test_rpo_refuses_it_in_a_sentence() -> None:
    data = RolloutDataModule(PENDULUM, num_envs=4, horizon=8)
    data.attach(RPO(data.obs_dim, data.action_dim, total_env_steps=64, hidden=(8,)))
    with pytest.raises(ValueError, match="Pendulum-v1 is not differentiable, but RPO learns from action-gradients"):
        data.setup("fit")


def test_it_keeps_every_promise_but_exact_resuming() -> None:
    section = Section("interface")
    check_interface(Subject(envs.env_class(PENDULUM), 4, "cpu", 0, {}), section)
    broken = [verdict.text for verdict in section.verdicts if verdict.level != "ok"]
    assert len(section.verdicts) == 5
    assert len(broken) == 1
    assert "load_state_dict continues to the bit" in broken[0]


def test_the_command_of_the_page_trains(folder: Path) -> None:
    from rpo_lightning.cli import main

    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text()
    (line,) = [line.split(" #")[0].split() for line in page.splitlines() if line.startswith("rpo-lightning fit")]
    short = [
        f"--data.env={PENDULUM}",  # whose simulator is always there
        "--model.init_args.total_env_steps=128",
        "--data.num_envs=4",
        "--data.horizon=16",
    ]
    main([*line[1:], *short, "--trainer.callbacks=Evaluation", "--trainer.callbacks.episodes=2"])
    (run,) = (folder / "runs" / "gymnasium" / "Pendulum-v1" / "ppo").iterdir()
    assert json.loads((run / "summary.json").read_text())["task"] == PENDULUM
