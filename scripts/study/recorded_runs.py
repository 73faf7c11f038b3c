"""Runs as they lie under a results folder: `<task>/<algorithm[-variant]>/seed_<k>/`; a task's name may hold a slash."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from study.statistics_of_runs import Array
from study.variants import DMC


@dataclass(frozen=True)
class RecordedRun:
    """What one run left behind."""

    task: str
    name: str
    """Algorithm, or algorithm-variant: the folder's name."""
    seed: int
    env_steps: int
    budget: int
    """The steps it was to take."""
    schedule: int
    """The steps over which its learning rate falls, `total_env_steps` of its configuration: the budget or more."""
    wall_clock_s: float
    commit: str
    machine: str
    command: str
    evaluation: dict[str, dict[str, float]]
    """Of the final weights: sampled, deterministic -> mean, std, episodes, length."""
    columns: dict[str, Array]

    def series(self, column: str, over: str = "env_steps") -> tuple[Array, Array]:
        """Return environment steps, or `wall_clock_s`, and values (n,) of a column of the curve, where it has a value."""
        nothing = np.full(len(self.columns["env_steps"]), math.nan)
        x, values = self.columns.get(over, nothing), self.columns.get(column, nothing)
        there = np.isfinite(values) & np.isfinite(x)
        return x[there], values[there]

    @property
    def short_commit(self) -> str:
        """The commit's first seven digits; what is not a commit, a release, stays whole."""
        digits, _, dirty = self.commit.partition("-")
        is_hash = len(digits) == 40 and set(digits) <= set("0123456789abcdef")
        return digits[:7] + (f"-{dirty}" if dirty else "") if is_hash else self.commit


@dataclass(frozen=True)
class Group:
    """Runs that may be averaged: same task, same variant, same budget and schedule, same length."""

    task: str
    name: str
    budget: int
    schedule: int
    runs: tuple[RecordedRun, ...]

    @property
    def env_steps(self) -> int:
        """Environment steps of each run (of complete runs, the largest: the last window may go over the budget)."""
        return max(run.env_steps for run in self.runs)

    @property
    def complete(self) -> bool:
        """Whether the runs used up their budget."""
        return self.env_steps >= self.budget

    @property
    def length(self) -> str:
        """The environment steps in words: "2 M", "2 M of a schedule of 10 M", or "incomplete: 1 of 10 M"."""
        if not self.complete:
            return f"incomplete: {millions(self.env_steps)} of {millions(self.budget)} M"
        partly = f" of a schedule of {millions(self.schedule)} M" if self.schedule > self.budget else ""
        return f"{millions(self.budget)} M{partly}"

    @property
    def minutes(self) -> float:
        """Mean wall-clock minutes of a run."""
        return float(np.mean([run.wall_clock_s for run in self.runs])) / 60

    @property
    def seconds_per_million(self) -> float:
        """Mean wall-clock seconds per million environment steps."""
        return float(np.mean([run.wall_clock_s / run.env_steps for run in self.runs])) * 1e6

    def finals(self, evaluation: str) -> list[float]:
        """Return the final mean returns of the runs that have this evaluation."""
        return [run.evaluation[evaluation]["mean"] for run in self.runs if evaluation in run.evaluation]


def millions(steps: float) -> str:
    """Return steps in millions with at most three digits."""
    return f"{steps / 1e6:.3g}"


def group(runs: Iterable[RecordedRun]) -> list[Group]:
    """Sort runs into groups, longest budget first; incomplete ones only join others that stopped at the same step."""
    groups: dict[tuple[Any, ...], list[RecordedRun]] = {}
    for run in runs:
        stopped = run.env_steps if run.env_steps < run.budget else math.inf
        groups.setdefault((run.task, run.name, -run.budget, -run.schedule, -stopped), []).append(run)
    return [
        Group(key[0], key[1], -key[2], -key[3], tuple(sorted(groups[key], key=lambda run: run.seed)))
        for key in sorted(groups)
    ]


def read_runs(results: Path) -> tuple[list[RecordedRun], list[str]]:
    """Read every run under `results`; also return the folders of runs that wrote no summary: unfinished, or killed.

    Raises:
        ValueError: if there is no such folder, or a file of a run cannot be read.
    """
    if not results.is_dir():
        raise ValueError(f"There is no folder {results}.")
    runs, unfinished = [], []
    # not any depth: in the folder of all budgets one run lies below several of them
    for folder in sorted([*results.glob("*/*/seed_*"), *results.glob(f"{DMC}*/*/seed_*")]):
        if (folder / "summary.json").exists():
            runs.append(read_run(folder))
        elif (folder / "config.yaml").exists():
            unfinished.append(str(folder.relative_to(results)))
    return runs, unfinished


def read_run(folder: Path) -> RecordedRun:
    """Read one run.

    Raises:
        ValueError: if a file of it cannot be read.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        with (folder / "curve.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
        schedule = config["model"]["init_args"]["total_env_steps"]
        same = ("task", "seed", "env_steps", "wall_clock_s", "commit", "machine", "command")
        return RecordedRun(
            **{name: summary[name] for name in same},
            name=summary["algorithm"],
            budget=min([schedule, *_early_stops(config)]),
            schedule=schedule,
            evaluation=summary["eval"],
            columns=columns,
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{folder} cannot be read as a run: {type(error).__name__} {str(error).splitlines()[0]}") from error


def _early_stops(config: dict[str, Any]) -> list[int]:
    """Return the environment steps after which a callback was to stop the run, if one was."""
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    options = [each.get("init_args", {}) for each in callbacks if each["class_path"].endswith("StopAtBudget")]
    return [each["env_steps"] for each in options if each.get("env_steps") is not None]
