"""The scripts of examples/deploy: their observations are the environments' own, and they run without this package."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rpo_lightning
from rpo_lightning.export import export
from rpo_lightning.sim import to_mujoco
from rpo_lightning.trained_policy import load_policy

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
REPPO = ROOT / "results/studies/budget_0.06/ant/reppo-action_grad/seed_0/policy.pt"
POLICIES = {"ant": REPPO, "walker": ROOT / "results/walker/rpo/seed_0/policy.pt"}
ROBOTS = {"ant": ROOT / "src/rpo_lightning/robots/ant.xml", "walker": ROOT / "examples/walker/walker.xml"}


@pytest.mark.parametrize("name", POLICIES)
def test_they_observe_what_the_environment_does(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "walker"))
    sys.modules.pop("walker", None)
    env = rpo_lightning.make({"ant": "ant", "walker": "walker.Walker"}[name], num_envs=16, threads=1)
    policy = load_policy(POLICIES[name])
    obs = env.reset()
    monkeypatch.syspath_prepend(str(DEPLOY))
    sys.modules.pop("walker", None)  # the task's module; the script has the same name
    script = importlib.import_module(name)
    assert Path(script.__file__).parent == DEPLOY
    start = [np.array(policy.metadata["start"])] if name == "ant" else []
    for _ in range(20):
        qpos, qvel = to_mujoco(env.model, env.q.double(), env.qd.double())
        seen = np.stack([script.observe(*row, *start) for row in zip(qpos.numpy(), qvel.numpy(), strict=True)])
        np.testing.assert_allclose(seen, obs.numpy(), rtol=1e-5, atol=1e-5)
        obs = env.step(policy.act(obs)).obs
    sys.modules.pop(name)


@pytest.mark.parametrize("name", POLICIES)
def test_they_need_neither_torch_nor_this_package_and_the_robot_moves_forward(name, tmp_path):
    text = (DEPLOY / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 50
    lines = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        each
        for node in lines
        for each in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert modules <= {"collections.abc", "json", "mujoco", "numpy", "onnxruntime", "sys"}
    export(load_policy(POLICIES[name]), tmp_path / "policy.onnx", "onnx")
    command = [sys.executable, "-I", str(DEPLOY / f"{name}.py"), "policy.onnx", str(ROBOTS[name])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metres = float(done.stdout.split()[0])
    assert metres > {"ant": 5.0, "walker": 0.5}[name]  # 10.5 and 1.3 were measured
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert f"python examples/deploy/{name}.py {name}.onnx {ROBOTS[name].relative_to(ROOT)}" in page
