"""examples/deploy/arm_reach.py and quadrotor.py: they observe what the environments do, and reach and fly in plain MuJoCo."""

import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

import rpo_lightning
from rpo_lightning.envs.quadrotor import figure
from rpo_lightning.export import export
from rpo_lightning.sim import to_mujoco
from rpo_lightning.trained_policy import load_policy

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
ROBOTS = {"arm_reach": "arm", "quadrotor": "quadrotor"}


def robot(task):
    return ROOT / "src/rpo_lightning/robots" / f"{ROBOTS[task]}.xml"


@pytest.fixture
def script(request, monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOY))
    yield __import__(request.param)
    sys.modules.pop(request.param)


def states(env, policy):
    """Yield what the environment shows, MuJoCo's state and the last action, for a few steps of a policy."""
    obs, action = env.reset(), np.zeros((env.num_envs, env.action_dim))
    for _ in range(20):
        qpos, qvel = to_mujoco(env.model, env.q.double(), env.qd.double())
        yield obs.numpy(), qpos.numpy(), qvel.numpy(), action
        action = policy.act(obs)
        obs, action = env.step(action).obs, action.numpy()


@pytest.mark.parametrize("script", ["arm_reach"], indirect=True)
def test_the_arms_script_observes_what_the_environment_does(script):
    env, policy = rpo_lightning.make("arm_reach", num_envs=4, threads=1), load_policy("arm_reach")
    data = mujoco.MjData(model := mujoco.MjModel.from_xml_path(str(robot("arm_reach"))))
    start = np.array(policy.metadata["start"])
    for obs, qpos, qvel, last in states(env, policy):
        for row in range(env.num_envs):
            data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
            mujoco.mj_kinematics(model, data)
            seen = script.observe(data, start, env.target[row].numpy(), last[row])
            np.testing.assert_allclose(seen, obs[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("script", ["quadrotor"], indirect=True)
def test_the_quadrotors_script_observes_what_the_environment_does(script):
    env, policy = rpo_lightning.make("quadrotor", num_envs=4, threads=1), load_policy("quadrotor")
    for obs, qpos, qvel, last in states(env, policy):
        ways = [figure(env.target, ahead)[0].numpy() for ahead in (0.0, 0.2, 0.4)]
        speed = figure(env.target)[1].numpy()
        for row in range(env.num_envs):
            seen = script.observe(qpos[row], qvel[row], [way[row] for way in ways], speed[row], last[row])
            np.testing.assert_allclose(seen, obs[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("script", ["quadrotor"], indirect=True)
def test_the_quadrotors_script_follows_a_figure_of_the_tasks(script):
    env = rpo_lightning.make("quadrotor", num_envs=1)
    row = env.target.new_tensor([[0.0, 0.0, 2.0, 1.0, 0.5, 0.0, 0.0, script.TURN, 0.0]])
    for time in (0.0, 1.0, 2.5):
        place, speed = script.reference(time)
        np.testing.assert_allclose(np.stack([place, speed]), np.stack([x[0] for x in figure(row, time)]), atol=1e-6)


@pytest.mark.parametrize(("name", "most"), [("arm_reach", 0.02), ("quadrotor", 0.1)])
def test_they_reach_and_fly_without_this_package(name, most, tmp_path):
    assert len((DEPLOY / f"{name}.py").read_text().splitlines()) <= 50
    export(load_policy(name), tmp_path / "policy.onnx", "onnx")
    command = [sys.executable, "-I", str(DEPLOY / f"{name}.py"), "policy.onnx", str(robot(name))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0.0 < float(done.stdout.split()[0]) < most
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert f"python examples/deploy/{name}.py {name}.onnx {robot(name).relative_to(ROOT)}" in page
