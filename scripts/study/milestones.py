"""When runs first come to shares of the paper's final return: in environment steps, and on the clock."""

from __future__ import annotations

import numpy as np

from study.page import Block, Heading, Table, Text
from study.recorded_runs import Group, RecordedRun, millions
from study.statistics_of_runs import RESAMPLES, Array
from study.studies import PAPER
from study.study_figures import Section

SHARES = (0.8, 0.9, 1.0)


def milestones(section: Section) -> list[Block]:
    """Return a table with a row for each group of a study on the paper's tasks."""
    rows = [
        [group.task, section.exact_label(group), *(_cell(group, share) for share in SHARES)]
        for group in section.groups
        if group.task in PAPER["table1"]
    ]
    if not rows:
        return []
    text = (
        "The first evaluation with sampled actions at or above these shares of the mean that the paper's RPO ends with, the "
        "same for all algorithms of a task: environment steps, and minutes since the run began. Over several seeds: how "
        "many of them come there, and of those the mean with a 95 % interval (bootstrap over seeds; from two or three it is "
        "too narrow)."
    )
    heads = [f"{100 * share:.0f} % of the paper's RPO" for share in SHARES]
    return [Heading("Steps and minutes to the paper's return", 3), Text(text), Table(["task", "algorithm", *heads], rows)]


def first_reached(run: RecordedRun, threshold: float) -> tuple[float, float] | None:
    """Return environment steps and seconds at which an evaluation is first at or above a threshold, or None."""
    steps, returns = run.series("eval/return")
    seconds, _ = run.series("eval/return", over="wall_clock_s")
    above = np.flatnonzero(returns >= threshold)
    return (float(steps[above[0]]), float(seconds[above[0]])) if above.size else None


def _cell(group: Group, share: float) -> str:
    threshold = share * PAPER["table1"][group.task]["rpo"][0]
    there = [place for run in group.runs if (place := first_reached(run, threshold)) is not None]
    if not there:
        return "never" if len(group.runs) == 1 else f"0 of {len(group.runs)}"
    steps, seconds = np.array(there).T
    if len(group.runs) == 1:
        return f"{millions(steps[0])} M, {seconds[0] / 60:.3g} min"
    least, most = _interval(steps)
    within = f" ({millions(least)} to {millions(most)})" if len(there) > 1 else ""
    count = f"{len(there)} of {len(group.runs)}: "
    return f"{count}{millions(float(steps.mean()))} M{within}, {seconds.mean() / 60:.3g} min"


def _interval(values: Array) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by bootstrap."""
    generator = np.random.default_rng(0)
    means = values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
