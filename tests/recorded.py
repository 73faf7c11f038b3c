"""The files of results/, and how pages write what is in them: of a run, by its folder, the first seed unless one is named."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from study.studies import PAPER

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
STUDY = "studies/budget_0.2"
Claims = Iterator[tuple[str, str]]
"""Pages, and what stands there."""


def fixed(value, digits=0):
    """A number with so many decimals; halves are rounded up, as by hand."""
    return f"{Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)}"


@functools.cache
def record(path: str):
    """A file of results/."""
    return json.loads((RESULTS / path).read_text())


def summary(run):
    return record(f"{run}/seed_0/summary.json" if "seed_" not in run else f"{run}/summary.json")


def final(run, kind="sampled", digits=0):
    return fixed(summary(run)["eval"][kind]["mean"], digits)


def both(run):
    return f"{final(run)} | {final(run, 'deterministic')}"


def spread(run, kind):
    found = summary(run)["eval"][kind]
    return f"{found['mean']:.0f} +- {found['std']:.0f}"


def paper(task, table="table1", algorithm="rpo"):
    return "{:.0f} +- {:.0f}".format(*PAPER[table][task][algorithm])


def minutes(run, digits=0, clock="wall_clock_s"):
    return f"{summary(run)[clock] / 60:.{digits}f}"


def steps(run):
    return f"{summary(run)['env_steps'] / 1e6:.2g} M"


@functools.cache
def curve(run):
    path = RESULTS / (f"{run}/seed_0" if "seed_" not in run else run) / "curve.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def at(run, million, column="eval/return"):
    """The value of a curve nearest to so many million steps, where it has one."""
    rows = [row for row in curve(run) if row[column]]
    row = min(rows, key=lambda row: abs(float(row["env_steps"]) - 1e6 * million))
    assert abs(float(row["env_steps"]) - 1e6 * million) <= 0.05e6 + 0.02e6 * million, (run, million)
    return fixed(float(row[column]))


def of(run, file="walking"):
    return record(f"{run}/{file}.json")
