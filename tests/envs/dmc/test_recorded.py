"""Every task observes, rewards and starts as dm_control's own does: recorded values (scripts/record_dmc.py)."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.envs import env_class
from rpo_lightning.envs.dmc import TASKS
from rpo_lightning.envs.dmc.models import Options
from rpo_lightning.envs.dmc.worlds import State

pytest.importorskip("dm_control")
stats = pytest.importorskip("scipy.stats")
FILES = Path(__file__).parents[2] / "data" / "dmc"
RECORDED = [name for name in TASKS if (FILES / f"{name.removeprefix('dmc/')}.npz").exists()]
MOVING = [name for name in RECORDED if name.removeprefix("dmc/").startswith(("cartpole", "pendulum", "cheetah"))]
CLOSE = {"rtol": 1e-5, "atol": 3e-6}
STARTS, MIXTURES, LIKELY = 256, 16, 1e-4
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


def total(reward):
    """The reward and its factors, where it has any."""
    return reward if isinstance(reward, tuple) else (reward, {})


@every
def test_observations_and_rewards(name):
    values = recorded(name)
    env = make(name, len(values["qpos"]))
    state = sensed(env, values)
    obs, (reward, terms) = env.observe(state), total(env.reward(state, single(values["action"])))
    expected, forces = single(values["obs"]), touch(values)
    expected[:, forces] = single(values.get("touch_playground", values["obs"][:, forces]))
    torch.testing.assert_close(obs, expected, **CLOSE)
    torch.testing.assert_close(reward, single(values["reward"]), **CLOSE)
    assert (reward > 0.5).any()
    assert all(((term >= 0.0) & (term <= 1.0)).all() for term in terms.values())

    # the same through the environment, where the control is zero
    obs[:, forces] = 0.0
    own = env.set_state(state.qpos, state.qvel, target=state.target).clone()
    own[:, forces] = 0.0
    torch.testing.assert_close(own, obs, **CLOSE)
    reward, _ = total(env.reward(env._state(), single(values["action"])))
    torch.testing.assert_close(reward, single(values["reward"]), **CLOSE)


@every
def test_starts(name):
    values, cls = recorded(name), env_class(name)
    # a cheetah settles first, which depends on the solver: here as recorded, with dm_control's options
    options = Options(timestep=json.loads(str(values["info"]))["timestep"], disable=())
    env = type("Recorded", (cls,), {"physics_options": options})(STARTS, threads=1)
    ours = torch.cat([env.q, env.qd, env.target], dim=1).double().numpy()
    parts = [values[key] for key in ("start_qpos", "start_qvel", "start_target") if key in values]
    theirs = np.concatenate(parts, axis=1).astype(np.float64)
    middle, spread = theirs.mean(axis=0), theirs.std(axis=0)
    random = spread > 1e-6
    np.testing.assert_allclose(ours[:, ~random], np.broadcast_to(middle[~random], ours[:, ~random].shape), atol=1e-5)
    # every coordinate, and sums of them, since coordinates may depend on each other
    weights = np.random.default_rng(0).standard_normal((random.sum(), MIXTURES))
    weights = np.concatenate([np.eye(random.sum()), weights], axis=1)
    ours, theirs = (((starts - middle)[:, random] / spread[random]) @ weights for starts in (ours, theirs))
    likely = [stats.ks_2samp(one, other).pvalue for one, other in zip(ours.T, theirs.T, strict=True)]
    assert min(likely) > LIKELY, likely


@every
def test_time_steps(name):
    info, env = json.loads(str(recorded(name)["info"])), make(name, 1)
    assert (env.dt, env.max_episode_steps) == (pytest.approx(info["control_timestep"]), info["episode_steps"])
    assert env.physics.substeps * env.model.opt.timestep == pytest.approx(env.dt)
    for option, value in (info["playground"] or {}).items():
        assert getattr(env.model.opt, option) == value


@pytest.mark.parametrize("name", MOVING)
def test_trajectories(name):
    values = recorded(name)
    env = make(name, 1)
    env.set_state(single(values["trajectory_qpos"][:1]), single(values["trajectory_qvel"][:1]))
    seen = []
    for action in single(values["trajectory_action"]):
        step = env.step(action[None])
        seen.append(torch.cat([env.q, env.qd, step.obs, step.reward[:, None]], dim=1))
    rows = [values["trajectory_qpos"][1:], values["trajectory_qvel"][1:], values["trajectory_obs"]]
    expected = np.concatenate([*rows, values["trajectory_reward"][:, None]], axis=1)
    torch.testing.assert_close(torch.cat(seen), single(expected), rtol=1e-5, atol=1e-5)
