"""Exported files, run without this package: the same actions, the controls that the simulator gets, the metadata."""

import json
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import rpo_lightning
from rpo_lightning import runs
from rpo_lightning.algorithms import RPO
from rpo_lightning.cli import main
from rpo_lightning.deployment import task_facts
from rpo_lightning.envs import env_class
from rpo_lightning.export import SUFFIXES, DeployedPolicy, export
from rpo_lightning.nn import GRUActor
from rpo_lightning.policies import write_policy
from rpo_lightning.trained_policy import Policy, load_policy
from tests.algorithms.drivers import ALGORITHMS, SMALL
from tests.command_line import refused

ROOT = Path(__file__).parents[2]
OBS, ACTIONS = 5, 3
CONTROL = {"scale": [2.0, 1.0, 0.5], "offset": [0.5, 0.0, -1.0], "low": [-1.0, -1.0, -2.0], "high": [2.0, 1.0, 0.0]}
GRU = "rpo with a GRU"


def trained(name):
    """A policy of the algorithm as after training: no weight or statistic is what it was at first, controls are bounded."""
    torch.manual_seed(1)
    algorithm, options = (RPO, {"actor": partial(GRUActor, hidden=(8,), state_size=6)}) if name == GRU else SMALL[name]
    module = algorithm(OBS, ACTIONS, 1000, **{"hidden": (16, 16), **options})
    module.normalizer.update(torch.randn(100, OBS) * torch.tensor([0.1, 1.0, 3.0, 10.0, 1.0]) + 2.0)
    with torch.no_grad():
        for weight in module.actor.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return Policy(module, {"task": "toy", "control": CONTROL, "dt": 0.02, "observations": [["height", "m", "world"]] * OBS})


def observations():
    """Usual ones, and such as only the normaliser's limits or a saturated tanh can answer."""
    usual = torch.randn(20, OBS, generator=torch.Generator().manual_seed(2))
    return torch.cat([usual, 100.0 * usual, 1e6 * usual, torch.zeros(1, OBS)])


def outside(path, kind, *given):
    """Run an exported file with what a robot's computer has; return outputs as arrays and the metadata."""
    if kind == "onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        feed = dict(zip((each.name for each in session.get_inputs()), given, strict=True))
        texts = session.get_modelmeta().custom_metadata_map
        return session.run(["action", "control", *(["next_state"] if len(given) > 1 else [])], feed), texts
    extra = {"metadata.json": ""}
    if kind == "torchscript":
        network = torch.jit.load(path, _extra_files=extra)
    else:
        network = torch.export.load(path, extra_files=extra).module()
    return [each.numpy() for each in network(*map(torch.as_tensor, given))], json.loads(extra["metadata.json"])


@pytest.mark.parametrize(
    ("name", "kind", "suffix"),
    [
        *((name, "onnx", ".onnx") for name in (*ALGORITHMS, GRU)),
        *((name, kind, end) for name in ("ppo", GRU) for kind, end in (("torchscript", ".pt"), ("torch_export", ".pt2"))),
    ],
)
def test_the_file_acts_as_the_policy_does(name, kind, suffix, tmp_path):
    policy, obs, path = trained(name), observations(), str(tmp_path / f"policy{suffix}")
    weights = {key: value.clone() for key, value in policy.module.state_dict().items()}
    export(policy, path, kind)
    assert all(torch.equal(value, weights[key]) for key, value in policy.module.state_dict().items())
    assert all(weight.requires_grad for weight in policy.module.actor.parameters())
    state = np.zeros((len(obs), policy.state_size), dtype=np.float32)
    for seen in (obs, obs.flip(0)):  # twice: the second sees what a policy remembers
        (action, control, *after), told = outside(path, kind, seen.numpy(), *([state] if policy.state_size else []))
        np.testing.assert_allclose(action, policy.act(seen.numpy()), rtol=0.0, atol=1e-6)
        expected = np.clip(action * CONTROL["scale"] + CONTROL["offset"], CONTROL["low"], CONTROL["high"])
        np.testing.assert_allclose(control, expected, rtol=0.0, atol=1e-6)
        state = after[0] if after else state
    assert np.abs(action).max() <= 1.0
    assert np.abs(action).std() > 0.05
    if policy.state_size:
        assert np.abs(outside(path, kind, seen.numpy(), state + 1.0)[0][0] - action).max() > 0.01
    single = outside(path, kind, seen[:1].numpy(), *([0.0 * state[:1]] if policy.state_size else []))[0][0]
    policy.reset()
    np.testing.assert_allclose(single[0], policy.act(seen[0].numpy()), rtol=0.0, atol=1e-6)
    assert told["task"] == "toy"
    assert float(told["dt"]) == 0.02
    rows = json.loads(told["observations"]) if kind == "onnx" else told["observations"]
    assert rows == [["height", "m", "world"]] * OBS


class Offsets(env_class("anymal")):
    """Actions are offsets from the start pose, within the range."""

    name = "offsets"
    action_scale = 0.5


@pytest.mark.parametrize("env", ["ant", "cartpole", Offsets])
def test_controls_are_what_the_simulator_gets(env):
    env = rpo_lightning.make(env, num_envs=16, threads=1)
    facts = task_facts(env)
    network = DeployedPolicy(Policy(RPO(env.obs_dim, env.action_dim, 1000, hidden=(8,)), facts))
    action = torch.cat(
        [torch.rand(14, env.action_dim) * 2.0 - 1.0, torch.ones(1, env.action_dim), -torch.ones(1, env.action_dim)]
    )
    force, handed = env._drive(action)
    if handed is None:  # motors: the control times the gear is the force
        gears = torch.zeros(env.action_dim, env.model.nd)
        for row, actuator in zip(gears, env.model.actuators, strict=True):
            for dof, coefficient in actuator.moment:
                row[dof] += coefficient * actuator.gain
        torch.testing.assert_close(network.control(action) @ gears, force)
    else:
        torch.testing.assert_close(network.control(action), handed, rtol=0.0, atol=1e-6)
    assert facts["start"] == env.model.start.tolist()
    assert facts["joints"] == [link.name for link in env.model.links]
    assert facts["dt"] == pytest.approx(1 / 60)
    assert facts["action_scale"] == env.action_scale
    assert [row[0] for row in facts["observations"]] == [row.name for row in env.observation_table()]
    assert [row["low"] for row in facts["actions"]] == pytest.approx(network.control(action)[-1].tolist(), abs=1e-6)


def test_the_command_needs_nothing_but_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    policy = trained("sac")
    policy.module.facts["dt"] = 0.02
    write_policy(tmp_path / "policy.pt", policy.module, runs.Run(tmp_path, "toy", "sac", 0, "", ""))
    main(["export", "--ckpt_path", "policy.pt", "--format", "torchscript"])
    said = capsys.readouterr().out
    assert said.startswith("policy.torchscript: sac on toy after 0 steps")
    assert "obs (N, 5)" in said
    assert "every 20 ms" in said
    obs = observations()
    (action, control), told = outside("policy.torchscript", "torchscript", obs)
    np.testing.assert_allclose(action, policy.act(obs.numpy()), rtol=0.0, atol=1e-6)
    assert np.array_equal(control, action)
    assert told["version"] == rpo_lightning.__version__
    for options, words in (
        (
            ("--ckpt_path", "policy.pt", "--format", "torch_export", "--output", "a.bin"),
            "a.bin: torch.export.load reads files",
        ),
        (
            ("--ckpt_path", "policy.pt", "--format", "torchscript", "--output", "a.onnx"),
            "a.onnx is the name of a file of format onnx, not torchscript",
        ),
        (
            ("--ckpt_path", "policy.pt", "--format", "torchscript", "--output", "policy.pt/a.torchscript"),
            "policy.pt: Not a directory",
        ),
        (("--ckpt_path", "polisy.pt"), "No policy at polisy.pt. Policies of this package: ant,"),
        (("--ckpt_path", "hoper"), "Did you mean 'hopper'?"),
    ):
        assert words in refused(capsys, "export", *options)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_file_does_not_say_where_on_the_machine_the_source_lies(kind, tmp_path):
    path = tmp_path / f"policy{SUFFIXES[kind]}"
    export(trained(GRU), path, kind)
    read = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            read = [archive.read(name) for name in archive.namelist()]
    for source in (torch, rpo_lightning):
        assert not any(str(Path(source.__file__).parent).encode() in part for part in read)


def test_an_absent_extra_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'pip install "rpo-lightning\[export\]"'):
        export(trained("rpo"), tmp_path / "policy.onnx", "onnx")


def test_the_recorded_policy_of_ant_acts_the_same_in_a_process_without_this_package(tmp_path):
    policy = load_policy("ant")
    export(policy, tmp_path / "ant.onnx", "onnx")
    env = rpo_lightning.make("ant", num_envs=32, threads=1)
    obs = env.reset()
    for _ in range(5):
        obs = env.step(policy.act(obs)).obs
    np.save(tmp_path / "obs.npy", obs.numpy())
    code = (
        "import sys, numpy, onnxruntime; session = onnxruntime.InferenceSession('ant.onnx');"
        "numpy.save('action.npy', session.run(['action'], {'obs': numpy.load('obs.npy')})[0]);"
        "assert not {'torch', 'rpo_lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    # of 400 products per sum float32 leaves some 2e-6: as much as torch differs from itself between batches of 1 and of 32
    np.testing.assert_allclose(np.load(tmp_path / "action.npy"), policy.act(obs.numpy()), rtol=0.0, atol=1e-5)
