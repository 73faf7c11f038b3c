"""Whole runs of the command line on the device."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from gpu.part import Row, Settings

TINY = ("--data.num_envs=16", "--data.horizon=8", "--data.iterations_per_epoch=2")
EVALUATE_FEW = ("--trainer.callbacks+=Evaluation", "--trainer.callbacks.episodes=2")


def ant(settings: Settings) -> Iterator[Row]:
    """RPO on Ant to 2 M environment steps of its schedule of 10 M: return and wall-clock."""
    stop = ("--trainer.callbacks+=StopAtBudget", f"--trainer.callbacks.env_steps={settings.choose(2_000_000, 256)}")
    options = settings.choose(("ant.yaml", *stop), ("cartpole.yaml", *stop, *TINY, *EPISODES["cartpole"]))
    row = run(settings, *options)
    yield {**row, "ok": row["return"] >= settings.choose(5000.0, -1e9)}


def cheetah(settings: Settings) -> Iterator[Row]:
    """REPPO on dmc/cheetah_run with batches of 131 thousand until the return is 900, or for four minutes."""
    stop: tuple[str, ...] = ("--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping",)
    given = {"monitor": "eval/return_deterministic", "mode": "max", "stopping_threshold": 900, "patience": 1_000_000}
    stop += tuple(f"--trainer.callbacks.{key}={value}" for key, value in given.items())
    large = ("reppo/dmc/cheetah_run.yaml", *stop, "--trainer.max_time=00:00:03:40", "--data.horizon=128")
    small = ("reppo/dmc/cartpole_balance.yaml", *stop, "--trainer.max_epochs=1", *TINY, *EPISODES["dmc/cartpole_balance"])
    yield run(settings, *settings.choose(large, small))


EPISODES = {
    task: (f"--data.env={json.dumps({'name': task, 'init_args': {'episode_length': 20}})}",)
    for task in ("cartpole", "dmc/cartpole_balance")
}


def run(settings: Settings, preset: str, *options: str) -> Row:
    """Train in a folder of its own and return what the evidence says."""
    with tempfile.TemporaryDirectory() as folder:
        place = ("--trainer.default_root_dir", folder, "--trainer.logger=false", "--trainer.enable_progress_bar=false")
        command = [sys.executable, "-m", "rpo_lightning.cli", "fit", "--config", preset, *options, *place]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, f"--trainer.accelerator={settings.device}"], capture_output=True, text=True, cwd=folder
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
        summary = json.loads((Path(folder) / "summary.json").read_text())
        with (Path(folder) / "curve.csv").open() as file:
            best = max(float(row["eval/return"]) for row in csv.DictReader(file) if row["eval/return"])
    evaluation = summary["eval"]
    return {
        "task": summary["task"],
        "algorithm": summary["algorithm"],
        "env_steps": summary["env_steps"],
        "return": evaluation["sampled"]["mean"],
        "deterministic": evaluation["deterministic"]["mean"],
        "best": best,
        "wall_clock_s": summary["wall_clock_s"],
        "with_start_s": seconds,
    }
