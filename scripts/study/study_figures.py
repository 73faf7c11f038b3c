"""A study with the runs there are of it, and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from study.figures import FREE, HOURS, STEPS, Level, Line, Over, Panel, Style, draw_bars, draw_curves, draw_estimates
from study.page import Block, Picture
from study.recorded_runs import Group, RecordedRun, millions
from study.statistics_of_runs import Array, moving_average, on_common_grid
from study.studies import BUDGET, DMC, Study, published


@dataclass(frozen=True)
class Measure:
    """A column of curve.csv as it is drawn."""

    axis: str
    title: str
    scale: str = "linear"
    extreme: Callable[..., float] = max
    """Which end of a quantity of the update is of interest."""
    paper: str | None = None
    """The paper's table of final values of the same quantity."""


MEASURES = {
    "eval/return": Measure("return, sampled actions", "Evaluations with sampled actions", paper="table1"),
    "eval/return_deterministic": Measure(
        "return, deterministic actions", "Evaluations with deterministic actions", paper="table6"
    ),
    "train/return": Measure("return of training episodes", "Training episodes"),
    "actor/kl": Measure("KL(old || new) [nats]", "KL of an iteration", "log"),
    "actor/effective_samples": Measure("share of effective samples", "Effective samples", "share", min),
    "actor/max_ratio": Measure("largest ratio new / old", "Largest ratio", "log"),
}
CURVES = {
    "eval.sampled": ("eval/return",),
    "eval/return": ("eval/return", "train/return"),
    "eval.deterministic": ("eval/return_deterministic",),
    "train/return": ("train/return", "actor/kl"),
    "actor/kl": ("actor/kl", "train/return"),
    "actor/effective_samples": ("actor/effective_samples", "actor/kl", "eval/return"),
    "actor/max_ratio": ("actor/max_ratio", "actor/effective_samples", "eval/return"),
    "wall_clock": (),
}
"""Metric of a study -> columns that it shows, one figure each."""


@dataclass(frozen=True)
class Section:
    """A study with the runs there are of it."""

    key: str
    study: Study
    groups: Sequence[Group]
    styles: Mapping[str, Style]
    smooth: int
    """Rows of curve.csv over which training curves are averaged."""

    @property
    def tasks(self) -> list[str]:
        """The study's tasks, and others on which there are runs to compare."""
        return list(dict.fromkeys([*self.study.tasks, *(group.task for group in self.groups)]))

    def of(self, task: str, name: str | None = None) -> list[Group]:
        """Return the groups of a task, or of one variant on it."""
        return [group for group in self.groups if group.task == task and name in (None, group.name)]

    def label(self, name: str) -> str:
        """Return the legend's text of a variant."""
        return next(variant.label for variant in self.study.variants if variant.name == name)

    def exact_label(self, group: Group) -> str:
        """Return the legend's text of a group: the variant, and the steps where there is more than one length."""
        several = len(self.of(group.task, group.name)) > 1 or not group.complete
        return f"{self.label(group.name)}, {group.length}" if several else self.label(group.name)


def figures(section: Section, folder: Path) -> list[Block]:
    """Draw the figures of a section into `folder`."""
    if section.study.metric == "wall_clock":
        return _wall_clock(section, folder)
    return [picture for column in CURVES[section.study.metric] for picture in _curves(section, column, folder)]


def proposition1_figure(record: Path, folder: Path) -> Picture:
    """Draw what reproduce.py proposition1 measured: each estimator's mean against the exact gradient.

    Raises:
        ValueError: if the file does not hold that.
    """
    try:
        content = json.loads(record.read_text())
        file = "proposition1.png"
        draw_estimates(folder / file, content["shift"], {name: content[name] for name in ("mean", "log_std")})
        caption = (
            "Gradient of the surrogate by the new policy's mean and logarithmic standard deviation, estimated from "
            f"{content['samples']:,} samples (seed {content['seed']}) of the old policy, which is at shift 0. "
            "Bars: two standard errors."
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record} is no record of reproduce.py proposition1: {error!r}") from error
    return Picture(file, caption)


def _curves(section: Section, column: str, folder: Path, over: Over = STEPS) -> list[Block]:
    """Draw one column of the curves; nothing if no run has it."""
    measure = MEASURES[column]
    panels = []
    for task in section.tasks:
        groups = section.of(task)
        lines = [line for group in groups for line in _lines(section, group, column, over)]
        paper = published(measure.paper, task) if measure.paper else {}
        names = dict.fromkeys(group.name for group in groups)
        levels = [Level(paper[name][0], section.styles[name]) for name in names if name in paper]
        if lines:
            whose = "released" if task.startswith(DMC) else "paper's"
            label = f"{whose} mean at {millions(BUDGET[task])} M steps, same colour"
            panels.append(Panel(title(task), lines, levels, label))
    if not panels:
        return []
    file = f"{section.key}_{column.replace('/', '_')}{'' if over is STEPS else '_hours'}.png"
    evaluated = column.startswith("eval/")
    draw_curves(folder / file, panels, measure.axis, measure.scale, evaluated, over)
    centre = "Geometric mean and deviation of the logarithm" if measure.scale == "log" else "Mean and deviation"
    averaged = "Every seed by itself" if section.study.per_seed else f"{centre} over seeds; no band for a single seed"
    caption = f"{measure.title}. {averaged}."
    if not evaluated:
        caption += f" Moving average over {section.smooth} rows of curve.csv (environment steps: {_windows(section)})."
    if column == "train/return":
        caption += " A value is itself the mean over the last 100 episodes or more, the paper's window."
    return [Picture(file, caption)]


def _windows(section: Section) -> str:
    """Return for each task the environment steps of the moving average, which follow from the rows' typical distance."""
    steps: dict[str, set[str]] = {}
    for group in section.groups:
        rows = group.runs[0].columns["env_steps"]
        steps.setdefault(group.task, set()).add(millions(section.smooth * float(np.median(np.diff(rows, prepend=0)))))
    return ", ".join(f"{task} {' or '.join(sorted(of_task, key=float))} M" for task, of_task in steps.items())


def _lines(section: Section, group: Group, column: str, over: Over) -> list[Line]:
    """Return a group's curve, or one for each of its runs; none if no run has the column."""
    runs = [run for run in group.runs if len(run.series(column, over.column)[0])]
    if not section.study.per_seed:
        return [_line(section, group, column, runs, over)] if runs else []
    label = section.exact_label(group)
    lines = []
    for run, style in zip(runs, FREE, strict=False):
        raw = _drawable(run.series(column, over.column)[1], column)
        line = _line(section, group, column, [run], over)
        lines.append(replace(line, label=f"{label}, seed {run.seed}", style=style, raw=raw))
    return lines


def _drawable(values: Array, column: str) -> Array:
    """Return values with gaps where a logarithmic axis has no place: a KL of 0, or just below by rounding."""
    return np.where(values > 0, values, np.nan) if MEASURES[column].scale == "log" else values


def _line(section: Section, group: Group, column: str, runs: Sequence[RecordedRun], over: Over) -> Line:
    """Return the mean curve of some runs of a group, which have the column."""
    curves = [run.series(column, over.column) for run in runs]
    if not column.startswith("eval/"):
        curves = [(x, moving_average(values, section.smooth)) for x, values in curves]
    grid, values = on_common_grid(curves)
    values = _drawable(values, column)
    logarithmic = MEASURES[column].scale == "log"
    if logarithmic:
        values = np.log(values)
    mean = values.mean(0)
    edges = [mean]
    if len(curves) > 1:
        deviation = values.std(0, ddof=1)
        edges = [mean, mean - deviation, mean + deviation]
    if logarithmic:
        edges = [np.exp(edge) for edge in edges]
    label = f"{section.exact_label(group)} ({count(len(curves), 'seed')})"
    return Line(label, section.styles[group.name], grid, edges[0], edges[1:], group.complete)


def _wall_clock(section: Section, folder: Path) -> list[Block]:
    rates, totals = [], []
    for group in section.groups:
        label, style = f"{title(group.task)}, {section.exact_label(group)}", section.styles[group.name]
        rates.append((label, style, group.seconds_per_million, group.complete))
        totals.append((label, style, group.minutes, group.complete))
    file = f"{section.key}.png"
    draw_bars(folder / file, {"seconds per million environment steps": rates, "minutes in all": totals})
    machines = sorted({run.machine for group in section.groups for run in group.runs})
    caption = f"Wall-clock time, evaluations included, mean over seeds. Machine: {'; '.join(machines)}."
    return [*_curves(section, "eval/return", folder, HOURS), Picture(file, caption)]


def title(task: str) -> str:
    """Return a task's name as a panel shows it."""
    return f"DMC {task.removeprefix(DMC).replace('_', ' ')}" if task.startswith(DMC) else task.capitalize()


def count(amount: int, thing: str) -> str:
    """Return for example "1 run" or "3 runs"."""
    return f"{amount} {thing}{'' if amount == 1 else 's'}"
