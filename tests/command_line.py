"""Start the command line on a toy task: in this process for most tests, in its own where the process matters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rpo_lightning.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]
RUN = Path("runs/point_mass/rpo/seed_0")
LAST = Path("checkpoints/last.ckpt")
TINY = """
model:
  class_path: RPO
  init_args: {total_env_steps: 768, hidden: [8], critic_epochs: 2, critic_minibatches: 2, actor_epochs: 3}
data: {env: tests.toy.PointMass, num_envs: 8, horizon: 8, iterations_per_epoch: 4}
trainer:
  accelerator: cpu
  callbacks:
    - {class_path: Evaluation, init_args: {episodes: 4}}
"""
"""Twelve iterations of 64 steps in three epochs; an episode has at most 20 steps."""

CONSOLE_SCRIPT = "import sys\nfrom rpo_lightning.cli import main\nsys.exit(main())\n"
"""What an installer writes to bin/: the working directory is not on its path, unlike with `python -m`."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with tiny.yaml; one torch thread."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["rpo-lightning"])
    torch.set_num_threads(1)
    yield tmp_path
    # the next test has another `callbacks` folder
    for name in [name for name in sys.modules if name.split(".")[0] == "callbacks"]:
        del sys.modules[name]


def call(command, *options):
    """Run a command in this process, with tiny.yaml of the working directory."""
    main([command, "--config", "tiny.yaml", *options])


def refused(capsys, *arguments):
    """Run a command that must fail with exit code 2 and a single line; return the line."""
    capsys.readouterr()  # what commands before it have said
    with pytest.raises(SystemExit) as error:
        main(list(arguments))
    lines = capsys.readouterr().err.splitlines()
    assert error.value.code == 2
    assert len(lines) == 1, lines
    return lines[0]


def environment():
    """Return the variables of a process that finds this working copy, with one torch thread."""
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}", "OMP_NUM_THREADS": "1"}


def spawn(folder, *arguments, launcher=("-m", "rpo_lightning.cli")):
    """Start the command line in a process of its own, with one torch thread."""
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Wait for a spawned command that must succeed; return what it printed."""
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out, err


def differing(first, second):
    """Name the parameters and buffers in which two run folders' last checkpoints differ by a single bit."""
    left, right = (torch.load(Path(run) / LAST, weights_only=True)["state_dict"] for run in (first, second))
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def events(run):
    """Return TensorBoard's scalars of a run folder: name -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run)).Reload()
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
