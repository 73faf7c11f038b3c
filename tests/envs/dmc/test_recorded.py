"""Every task observes, rewards and starts as dm_control's own does: recorded values (scripts/record_dmc.py)."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.envs.dmc import TASKS
from rpo_lightning.envs.dmc.physics import State

pytest.importorskip("dm_control")
stats = pytest.importorskip("scipy.stats")
FILES = Path(__file__).parents[2] / "data" / "dmc"
RECORDED = [name for name in TASKS if (FILES / f"{name.removeprefix('dmc/')}.npz").exists()]
MOVING = [name for name in RECORDED if name.partition("/")[2].partition("_")[0] in ("cartpole", "pendulum", "cheetah")]
STARTS, MIXTURES, LIKELY = 1024, 16, 1e-4
every = pytest.mark.parametrize("name", RECORDED)


@functools.cache
def recorded(name):
    with np.load(FILES / f"{name.removeprefix('dmc/')}.npz") as file:
        return dict(file)


def single(array):
    return torch.from_numpy(array).float()


def make(name, num_envs):
    return rpo_lightning.make(name, num_envs=num_envs, seed=0, threads=1)


def sensed(env, values):
    """The recorded states, under the recorded actions: contact forces depend on them."""
    engine = env.engine
    sensordata = engine.sense(values["qpos"], values["qvel"], np.zeros_like(values["qvel"]), values["action"])
    target = single(values["target"]) if "target" in values else env.target
    return State(single(values["qpos"]), single(values["qvel"]), target, single(sensordata), env._addresses)


def touch(values):
    """Which columns of an observation are contact forces."""
    first = 0
    for name, size in json.loads(str(values["obs_names"])).items():
        if name == "touch":
            return slice(first, first + size)
        first += size
    return slice(0, 0)


def test_there_is_a_recording_of_every_task():
    assert sorted(RECORDED) == sorted(TASKS)


@every
def test_observations_and_rewards(name):
    values = recorded(name)
    env = make(name, len(values["qpos"]))
    state = sensed(env, values)
    obs, reward = env.observe(state), env.reward(state, single(values["action"]))
    expected, forces = single(values["obs"]), touch(values)
    expected[:, forces] = single(values.get("touch_playground", values["obs"][:, forces]))
    torch.testing.assert_close(obs, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(reward, single(values["reward"]), rtol=1e-5, atol=1e-5)
    assert (reward > 0.5).any()

    # the same through the environment, where the control is zero
    obs[:, forces] = 0.0
    own = env.set_state(state.qpos, state.qvel, target=state.target).clone()
    own[:, forces] = 0.0
    torch.testing.assert_close(own, obs, rtol=1e-5, atol=1e-5)
    reward = env.reward(env._state(), single(values["action"]))
    torch.testing.assert_close(reward, single(values["reward"]), rtol=1e-5, atol=1e-5)


@every
def test_starts(name):
    values = recorded(name)
    env = make(name, STARTS)
    ours = torch.cat([env.q, env.qd, env.target], dim=1).double().numpy()
    parts = [values[key] for key in ("start_qpos", "start_qvel", "start_target") if key in values]
    theirs = np.concatenate(parts, axis=1).astype(np.float64)
    middle, spread = theirs.mean(axis=0), theirs.std(axis=0)
    random = spread > 1e-6
    np.testing.assert_allclose(ours[:, ~random], np.broadcast_to(middle[~random], ours[:, ~random].shape), atol=1e-5)
    ours, theirs = (((starts - middle) / np.maximum(spread, 1e-6))[:, random] for starts in (ours, theirs))
    # every coordinate, and sums of some of them: coordinates may depend on each other
    mixtures = np.random.default_rng(0).standard_normal((random.sum(), MIXTURES))
    for one, other in zip((ours @ np.c_[np.eye(random.sum()), mixtures]).T, (theirs @ np.c_[np.eye(random.sum()), mixtures]).T, strict=True):
        assert stats.ks_2samp(one, other).pvalue > LIKELY


@pytest.mark.parametrize("name", MOVING)
def test_trajectories(name):
    values = recorded(name)
    env = make(name, 1)
    env.set_state(single(values["trajectory_qpos"][:1]), single(values["trajectory_qvel"][:1]))
    for time, action in enumerate(single(values["trajectory_action"])):
        step = env.step(action[None])
        for own, key, row in (
            (env.q, "qpos", time + 1),
            (env.qd, "qvel", time + 1),
            (step.obs, "obs", time),
            (step.reward, "reward", time),
        ):
            expected = single(values[f"trajectory_{key}"])[row : row + 1]
            torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3, msg=lambda text: f"{key} {time}: {text}")
