"""examples/deploy/quadruped.py: it observes what the environment does, and its robot walks as commanded."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.export import export
from rpo_lightning.sim import to_mujoco
from rpo_lightning.trained_policy import load_policy

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
ROBOT = ROOT / "src/rpo_lightning/robots/quadruped.xml"
POLICY = ROOT / "results/quadruped/rpo/seed_0/policy.pt"


def test_it_observes_what_the_environment_does(monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOY))
    script = importlib.import_module("quadruped")
    assert Path(script.__file__).parent == DEPLOY
    env = rpo_lightning.make("quadruped", num_envs=8, threads=1, noise=0.0, push=0.0)
    obs, action, stand = env.reset(), torch.zeros(8, 12), env.start_q[0, 7:].numpy()
    for _ in range(5):
        qpos, qvel = (part.numpy() for part in to_mujoco(env.model, env.q.double(), env.qd.double()))
        rows = zip(qpos, qvel, env.target.numpy(), action.numpy(), strict=True)
        seen = np.stack([script.observe(a, b, stand, command, last) for a, b, command, last in rows])
        np.testing.assert_allclose(seen, obs.numpy(), rtol=1e-5, atol=1e-5)
        action = torch.rand(8, 12) - 0.5
        obs = env.step(action).obs
    sys.modules.pop("quadruped")


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_its_robot_walks_as_commanded_without_torch_and_this_package(cone, tmp_path):
    text = (DEPLOY / "quadruped.py").read_text()
    assert len(text.splitlines()) <= 65
    lines = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    assert {alias.name for node in lines for alias in node.names} == {"json", "mujoco", "numpy", "onnxruntime", "sys"}
    export(load_policy(POLICY), tmp_path / "policy.onnx", "onnx")
    short = text.replace(
        "EPISODES, SECONDS, COMMAND_SECONDS = 16, 20.0, 5.0", "EPISODES, SECONDS, COMMAND_SECONDS = 3, 10.0, 5.0"
    )
    assert short != text
    (tmp_path / "short.py").write_text(short)
    command = [sys.executable, "-I", "short.py", "policy.onnx", str(ROBOT), cone]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    velocity, turning, fell = map(float, re.match(r"(\S+) m/s and (\S+) rad/s off, (\d+) of 3 fell", done.stdout).groups())
    assert (velocity < 0.3, turning < 0.3, fell) == (True, True, 0), done.stdout
    command = f"python examples/deploy/quadruped.py quadruped.onnx {ROBOT.relative_to(ROOT)}"
    assert command in (ROOT / "docs" / "deploy.md").read_text()


def test_it_keeps_the_observations_that_a_policy_with_a_history_sees(monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOY))
    script = importlib.import_module("quadruped")
    fed = []

    class Session:
        def __init__(self, policy):
            self.custom_metadata_map = {"dt": "0.02", "history": "3", "start": str(list(range(19)))}

        def get_modelmeta(self):
            return self

        def run(self, names, feed):
            fed.append(feed["obs"][0])
            return np.full((1, 12), 0.1 * len(fed), np.float32), np.zeros((1, 12))

    monkeypatch.setattr(script.onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(script, "EPISODES", 2)
    monkeypatch.setattr(script, "SECONDS", 0.08)
    script.run("policy.onnx", str(ROBOT))
    sys.modules.pop("quadruped")
    rows = np.stack(fed).reshape(2, 4, 3, 45)
    for episode in rows:
        np.testing.assert_array_equal(episode[0], np.tile(episode[0, :1], (3, 1)))
        np.testing.assert_array_equal(episode[1:, 1:], episode[:-1, :-1])
        assert (episode[1:, 0] != episode[1:, 1]).any(1).all()
