"""examples/deploy/biped.py: it observes what the environment does, and its robot walks as commanded."""

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
from rpo_lightning.envs.legged.biped import Biped
from rpo_lightning.export import export
from rpo_lightning.sim import to_mujoco
from rpo_lightning.trained_policy import load_policy

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
ROBOT = ROOT / "src/rpo_lightning/robots/biped.xml"
POLICY = ROOT / "results/biped/rpo/seed_0/policy.pt"


def test_it_observes_what_the_environment_does(monkeypatch):
    monkeypatch.syspath_prepend(str(DEPLOY))
    script = importlib.import_module("biped")
    assert Path(script.__file__).parent == DEPLOY
    assert Biped.stride == script.STRIDE
    env = rpo_lightning.make("biped", num_envs=8, threads=1, noise=0.0)
    obs, action, stand = env.reset(), torch.zeros(8, 12), env.start_q[0, 7:].numpy()
    for step in range(5):
        qpos, qvel = (part.numpy() for part in to_mujoco(env.model, env.q.double(), env.qd.double()))
        rows = zip(qpos, qvel, env.target.numpy(), action.numpy(), strict=True)
        seen = np.stack([script.observe(a, b, stand, command, last, step * env.dt) for a, b, command, last in rows])
        np.testing.assert_allclose(seen, obs.numpy(), rtol=1e-5, atol=1e-5)
        action = 0.2 * (torch.rand(8, 12) - 0.5)
        obs = env.step(action).obs
    sys.modules.pop("biped")


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_its_robot_walks_as_commanded_without_torch_and_this_package(cone, tmp_path):
    text = (DEPLOY / "biped.py").read_text()
    assert len(text.splitlines()) <= 65
    lines = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    assert {alias.name for node in lines for alias in node.names} == {"json", "mujoco", "numpy", "onnxruntime", "sys"}
    export(load_policy(POLICY), tmp_path / "policy.onnx", "onnx")
    short = text.replace("EPISODES, SECONDS, STRIDE = 16, 20.0, 1.25", "EPISODES, SECONDS, STRIDE = 3, 10.0, 1.25")
    assert short != text
    (tmp_path / "short.py").write_text(short)
    command = [sys.executable, "-I", "short.py", "policy.onnx", str(ROBOT), cone]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.match(r"(\S+) m/s, (\S+) m/s and (\S+) rad/s off, (\d+) of 3 fell", done.stdout)
    speed, velocity, turning, fell = map(float, found.groups())
    assert (speed > 0.4, velocity < 0.3, turning < 0.4, fell) == (True, True, True, 0), done.stdout
    command = f"python examples/deploy/biped.py biped.onnx {ROBOT.relative_to(ROOT)}"
    assert command in (ROOT / "docs" / "deploy.md").read_text()
