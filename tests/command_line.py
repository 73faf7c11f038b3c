"""Start the command line on a toy task: in this process for most tests, in its own where the process matters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from rpo_lightning.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]
RUN = Path("runs/point_mass/rpo/seed_0")
STEPS_PER_ITERATION = 8 * 8
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
"""Twelve iterations in three epochs; an episode has 20 steps."""


def write_config(folder: Path, text: str = TINY) -> None:
    """Write tiny.yaml into `folder`."""
    (folder / "tiny.yaml").write_text(text)


def call(command: str, *options: str) -> None:
    """Run a command in this process, with tiny.yaml of the working directory."""
    main([command, "--config", "tiny.yaml", *options])


def spawn(folder: Path, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    """Start `python -m rpo_lightning.cli` in `folder`, one torch thread."""
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "rpo_lightning.cli", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        process.wait(timeout=120)
    return process


def state(path: Path) -> dict[str, torch.Tensor]:
    """Return every parameter and buffer of a checkpoint."""
    return torch.load(path, weights_only=True)["state_dict"]


def differing(first: Path, second: Path) -> list[str]:
    """Name the parameters and buffers in which two checkpoints differ by a single bit."""
    left, right = state(first), state(second)
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]
