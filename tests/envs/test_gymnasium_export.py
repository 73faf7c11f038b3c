"""Our environments as gymnasium's: to the letter what SyncVectorEnv would give, and the way back loses nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import rpo_lightning
from rpo_lightning.envs.to_gymnasium import GymnasiumVectorEnv
from rpo_lightning.envs.vector_adapter import VectorAdapter
from tests.envs.counters import vector_env
from tests.toy import PointMass

ROOT = Path(__file__).parents[2]
N = 3


def exported_counters() -> GymnasiumVectorEnv:
    return GymnasiumVectorEnv(VectorAdapter(vector_env("sync_same"), episode_length=50))


def assert_identical(ours: Any, theirs: Any, where: str = "") -> None:
    """Compare kinds, shapes, types and values, of floats up to our float32."""
    assert type(ours) is type(theirs), where
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key, value in theirs.items():
            assert_identical(ours[key], value, f"{where}[{key!r}]")
    elif isinstance(theirs, np.ndarray) and theirs.dtype == object:
        assert ours.dtype == object, where
        assert ours.shape == theirs.shape, where
        for index, value in enumerate(theirs):
            assert_identical(ours[index], value, f"{where}[{index}]")
    elif theirs is not None:
        # sub-environments choose the precision of observations, here float64
        expected = theirs.astype(np.float32) if ours.dtype == np.float32 else theirs
        assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape), where
        assert (ours == expected).all(), where


def test_steps_and_infos_are_those_of_a_sync_vector_env() -> None:
    ours, theirs = exported_counters(), vector_env("sync_same")
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP is theirs.metadata["autoreset_mode"]
    first, infos = ours.reset()
    assert first.tolist() == [[2.0, 0.0, 0.0, 0.0]] * N  # the adapter had begun the first
    assert infos == {}
    theirs.reset()
    theirs.reset()
    action, same = np.full((N, 2), 0.5, np.float32), np.tile(np.float32([4.0, 0.375]), (N, 1))
    for step in range(12):
        given, expected = ours.step(action), theirs.step(same)
        for index, (one, other) in enumerate(zip(given, expected, strict=True)):
            assert_identical(one, other, f"step {step}, part {index}")
    assert given[1].dtype == np.float64


def test_spaces_and_actions_are_gymnasiums() -> None:
    env = GymnasiumVectorEnv(rpo_lightning.make("cartpole", num_envs=N))
    assert env.single_action_space == gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert env.single_observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (N, 1), np.float32)
    obs, _ = env.reset(seed=1)
    assert env.observation_space.contains(obs)
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])
    assert isinstance(env, gymnasium.vector.VectorEnv)
    env.close()


def test_a_seed_decides_the_starts() -> None:
    env = GymnasiumVectorEnv(rpo_lightning.make("cartpole", num_envs=N, seed=4))
    one, again, other = (env.reset(seed=seed)[0] for seed in (4, np.int64(4), 5))
    assert (one == again).all()
    assert (one != other).any()
    assert (env.reset()[0] != other).any()
    assert (one == rpo_lightning.make("cartpole", num_envs=N, seed=4).detach().numpy()).all()
    with pytest.raises(ValueError, match=r"one integer seeds all environments, got \[1, 2, 3\]"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="one integer seeds"):
        exported_counters().reset(seed=1)


def test_reset_takes_gymnasiums_mask() -> None:
    env = GymnasiumVectorEnv(rpo_lightning.make("cartpole", num_envs=N, seed=4))
    before = env.step(np.zeros((N, 1)))[0]
    after, _ = env.reset(options={"reset_mask": np.array([True, False, False])})
    assert (after != before).any(axis=1).tolist() == [True, False, False]


def test_what_it_gives_is_the_callers_to_change() -> None:
    env, other = (GymnasiumVectorEnv(rpo_lightning.make("cartpole", num_envs=N, seed=4)) for _ in range(2))
    for vectors in (env, other):
        obs = vectors.reset()[0]
        if vectors is env:
            obs[:] = 7.0
    # the reward is computed from the observation before
    assert (env.step(np.ones((N, 1)))[1] == other.step(np.ones((N, 1)))[1]).all()


def test_tensors_stay_tensors_and_carry_no_graph() -> None:
    env = GymnasiumVectorEnv(PointMass(N, episode_length=2), torch=True)
    with torch.inference_mode():
        obs, _ = env.reset()
        env.step(torch.zeros(N, 1))
        obs, reward, terminated, truncated, infos = env.step(torch.zeros(N, 1))
    parts = (obs, reward, terminated, truncated, infos["final_obs"], infos["_final_obs"])
    assert all(isinstance(part, torch.Tensor) and not part.is_inference() for part in parts)
    assert infos["final_obs"].shape == (N, 3)
    assert (infos["final_obs"] != obs).any()
    assert not env.step(torch.zeros(N, 1, requires_grad=True))[0].requires_grad
    assert not env.env.q.requires_grad  # nor does a graph grow inside


def test_an_environment_that_runs_on_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an environment with auto_reset=True"):
        GymnasiumVectorEnv(rpo_lightning.make("cartpole", num_envs=N, auto_reset=False))


@pytest.mark.parametrize("torch_tensors", [False, True])
def test_there_and_back_is_the_same_to_the_bit(torch_tensors: bool) -> None:
    options = {"num_envs": 4, "seed": 7, "episode_length": 5}
    ours = rpo_lightning.make("cartpole", **options)
    back = VectorAdapter(GymnasiumVectorEnv(rpo_lightning.make("cartpole", **options), torch_tensors), seed=7)
    assert back.max_episode_steps == 5
    assert torch.equal(ours.detach(), back.detach())
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        action = torch.rand(4, 1, generator=generator) * 3 - 1.5
        for one, other in zip(ours.step(action)[:-1], back.step(action)[:-1], strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        assert torch.equal(ours.progress, back.progress)
    mask = torch.tensor([True, False, True, False])
    assert torch.equal(ours.reset(mask), back.reset(mask))


def test_another_library_trains_on_cartpole(tmp_path: Path) -> None:
    if importlib.util.find_spec("skrl") is None:
        pytest.skip("the example's library is not installed")
    command = [sys.executable, str(ROOT / "examples/other_library/skrl_ppo.py"), "--num_envs", "16", "--updates", "8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # episodes of 240 steps: one in each environment ended
    assert re.search(r"^4096 steps, 16 episodes, return -\d+ at first", done.stdout, re.MULTILINE), done.stdout
