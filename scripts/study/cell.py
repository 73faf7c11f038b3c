"""One run of a grid: its command, its folders, its process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import yaml

from study.studies import Variant, budget_folder

LOG = "train.log"
EVIDENCE = ("summary.json", "curve.csv", "policy.pt", "config.yaml", LOG)
ELSEWHERE = "another process is training it"
GRACE_S = 60.0
"""An interrupted run may finish its iteration; after this it is killed."""


@dataclass(frozen=True)
class Cell:
    """A variant on a task with a seed.

    Args:
        variant: what to train.
        task: on what.
        seed: of the run.
        budget: share of the paper's environment steps.
        runs: folder of all run folders.
        results: folder of all results.
        extra: further options of `rpo-lightning fit`.
    """

    variant: Variant
    task: str
    seed: int
    budget: float
    runs: Path
    results: Path
    extra: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.task}/{self.variant.name}/seed_{self.seed}"

    @property
    def folder(self) -> Path:
        """The run folder; it has no budget, so that a larger one continues the run."""
        return self.runs / str(self)

    @property
    def record(self) -> Path:
        """The folder of the results at this budget."""
        return self.results / budget_folder(self.budget) / str(self)

    @property
    def env_steps(self) -> int:
        """The budget in environment steps."""
        return self.variant.env_steps(self.task, self.budget)

    @property
    def schedule(self) -> int:
        """Environment steps over which the learning rate falls: those of the full run, whatever share is taken."""
        return self.variant.env_steps(self.task, max(self.budget, 1.0))

    def command(self) -> list[str]:
        """Return the command that starts the run and continues it."""
        name = self.variant.variant
        return [
            *("rpo-lightning", "fit", "--config", self.variant.preset(self.task)),
            *("--seed_everything", str(self.seed)),
            *("--model.total_env_steps", str(self.schedule)),
            *("--trainer.default_root_dir", str(self.folder)),
            *("--ckpt_path", "last"),
            # A callback's options have to follow it at once.
            "--trainer.callbacks+=StopAtBudget",
            f"--trainer.callbacks.env_steps={self.env_steps}",
            "--trainer.callbacks+=Evidence",
            f"--trainer.callbacks.results={self.results / budget_folder(self.budget)}",
            *([] if name is None else [f"--trainer.callbacks.variant={name}"]),
            *self.variant.overrides,
            *self.extra,
        ]

    @property
    def elsewhere(self) -> Path:
        """The folder of a run that was trained without a study, beside the studies' results."""
        return self.results.parent / str(self)

    def summary(self) -> dict[str, Any]:
        """Return the summary that lies among the results, or that of the same run `elsewhere`, or nothing."""
        return _summary(self.record) or self._same_run()

    @property
    def finished(self) -> bool:
        """Whether the results hold this run with its whole budget."""
        return self.summary().get("env_steps", 0) >= self.env_steps

    def _same_run(self) -> dict[str, Any]:
        """Return the summary of `elsewhere`, if its weights are those after the last window of this budget and schedule."""
        try:
            summary = _summary(self.elsewhere)
            config = yaml.safe_load((self.elsewhere / "config.yaml").read_text())
            window = config["data"]["num_envs"] * config["data"]["horizon"]
            same = (self.task, self.variant.name, self.seed) == tuple(summary[key] for key in ("task", "algorithm", "seed"))
            same &= config["model"]["init_args"]["total_env_steps"] == self.schedule
            return summary if same and 0 <= summary["env_steps"] - self.env_steps < window else {}
        except (OSError, KeyError, TypeError):
            return {}

    @property
    def running(self) -> bool:
        """Whether a process trains this run at the moment, on this machine or another that shares the folder."""
        try:
            with (self.folder / LOG).open("r+") as log:
                return not _lock(log)
        except OSError:
            return False

    @property
    def taken(self) -> int:
        """Environment steps of the last checkpoint, or 0."""
        if not self.started:
            return 0
        from rpo_lightning.checkpoints import counters  # loads torch, which nothing else here needs

        return int(counters(self.folder / "checkpoints" / "last.ckpt")["env_steps"])

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to continue from."""
        return (self.folder / "checkpoints" / "last.ckpt").exists()

    @property
    def gone_on(self) -> int:
        """Environment steps of the run folder's last checkpoint, if they are a window or more beyond the budget; else 0."""
        if not (done := self.taken):
            return 0
        data = yaml.safe_load((self.folder / "config.yaml").read_text())["data"]
        return done if done >= self.env_steps + data["num_envs"] * data["horizon"] else 0

    def train(self, threads: int | None) -> str | None:
        """Start or continue the run and wait for its end; return what went wrong, if anything did.

        Args:
            threads: OMP_NUM_THREADS; None leaves it as it is.
        """
        if done := self.gone_on:
            return f"it has already taken {done} steps, more than this budget: give a larger --budget or other --runs"
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        with (self.folder / LOG).open("a+", errors="replace") as log:
            if not _lock(log):
                return ELSEWHERE
            print("$", shlex.join(self.command()), file=log, flush=True)
            process = subprocess.Popen(
                [sys.executable, "-m", "rpo_lightning.cli", *self.command()[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            try:
                code = process.wait()
            except BaseException:
                _stop(process)
                raise
            log.seek(0)
            last_line = log.read().splitlines()[-1]
        if code != 0:
            return f"exit code {code}, {last_line}"
        self._collect()
        return None if self.finished else f"it ended before its {self.env_steps} environment steps"

    def _collect(self) -> None:
        """Copy the log to the results, and whatever else is not there because an earlier call had other results."""
        target = self.record
        target.mkdir(parents=True, exist_ok=True)
        for name in EVIDENCE:
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, target / name)


def _summary(folder: Path) -> dict[str, Any]:
    """Return the summary in a folder, or nothing."""
    try:
        return dict(json.loads((folder / "summary.json").read_text()))
    except (OSError, ValueError):
        return {}


def _lock(log: TextIO) -> bool:
    """Return whether nobody else trains this run; whoever has the log as its output holds the lock."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let a run end with its iteration; Ctrl-C has reached it already, other signals have not."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        process.wait(GRACE_S)
    process.kill()
