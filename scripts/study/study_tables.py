"""The tables of a study: returns next to the paper's, aggregates over tasks, and where every number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from study.figures import draw_intervals
from study.page import Block, Heading, Note, Picture, Table, Text
from study.recorded_runs import Group, RecordedRun, millions
from study.statistics_of_runs import (
    REACH,
    STAY,
    bootstrap_interval,
    interquartile_mean,
    mean_and_deviation,
    moving_average,
    reliability,
)
from study.studies import BUDGET, PAPER, PAPER_RUNS
from study.study_figures import MEASURES, Section, count

RESULT_CELLS = ("environment steps", "seeds", "return, sampled", "return, deterministic")


def notes(section: Section) -> list[Block]:
    """Say which runs are missing or incomplete, and whether their times compare."""
    there = {(group.task, group.name) for group in section.groups if group.complete}
    missing = [
        f"{variant.label} on {', '.join(tasks)}"
        for variant in section.study.variants
        if (tasks := [task for task in section.tasks if (task, variant.name) not in there])
    ]
    blocks: list[Block] = [Note(f"No complete run of: {'; '.join(missing)}.")] if missing else []
    if not all(group.complete for group in section.groups):
        text = (
            "Some runs stopped before their budget was used up. They are marked incomplete, drawn dotted (bars: "
            "hatched), averaged only with runs that stopped at the same step, and left out of aggregates."
        )
        blocks.append(Note(text))
    if len({run.machine for group in section.groups for run in group.runs}) > 1:
        blocks.append(Note("The runs come from different machines: their times do not compare."))
    return blocks


def results_table(section: Section) -> Table:
    """Return final returns next to the paper's, one row per group; what only the paper has is a row as well."""
    rows = []
    for task in section.tasks:
        for variant in section.study.variants:
            paper = paper_cells(task, variant.name)
            groups = section.of(task, variant.name)
            for group in groups:
                times = [f"{group.minutes:.3g} min", f"{group.seconds_per_million:.0f}"]
                rows.append([task, variant.label, *result_cells(group), *times, *paper])
            if not groups and any(paper):
                rows.append([task, variant.label, "not run", "", "", "", "", "", *paper])
    times, papers = ["wall-clock", "s per million steps"], ["paper, sampled", "paper, deterministic", "paper's steps, runs"]
    return Table(["task", "algorithm", *RESULT_CELLS, *times, *papers], rows)


def interquartile_means(section: Section, folder: Path) -> list[Block]:
    """Aggregate normalised final returns over tasks, per variant and share of the full budget, and draw them."""
    evaluation = "deterministic" if section.study.metric == "eval.deterministic" else "sampled"
    table = "table6" if evaluation == "deterministic" else "table1"
    rows, points = [], []
    for (name, share), groups in _by_share(section).items():
        scores = {
            group.task: np.array(finals) / PAPER[table][group.task]["rpo"][0]
            for group in groups
            if group.task in PAPER[table] and (finals := group.finals(evaluation))
        }
        if not scores:
            continue
        value = float(interquartile_mean(np.concatenate(list(scores.values()))))
        interval, cell = None, "none: one seed of a task shows no spread"
        if min(map(len, scores.values())) > 1:
            interval = bootstrap_interval(list(scores.values()))
            cell = f"{interval[0]:.3f} to {interval[1]:.3f}"
        seeds = ", ".join(f"{task} {len(of_task)}" for task, of_task in scores.items())
        rows.append([section.label(name), f"{share:.3g}", f"{value:.3f}", cell, seeds])
        points.append((f"{section.label(name)}, {share:.3g} x budget", section.styles[name], value, interval))
    if not rows:
        return []
    file = f"{section.key}_iqm.png"
    draw_intervals(folder / file, points, f"interquartile mean of return / paper's RPO, {evaluation} actions")
    text = (
        f"Final returns ({evaluation} actions) divided by the paper's RPO mean of the task at its full budget; the mean "
        "over the runs of all tasks without the lowest and the highest quarter (of fewer than four runs, of all). "
        "Intervals: 95 %, bootstrap that draws seeds with replacement within each task; from two or three seeds they come "
        "out too narrow. Rows over different tasks or shares of the budget do not compare."
    )
    return [
        Heading("Interquartile mean over tasks", 3),
        Text(text),
        Picture(file, "Interquartile means; bars are the 95 % intervals, where there are any."),
        Table(["algorithm", "share of the full budget", "IQM", "95 % interval", "seeds"], rows),
    ]


def reliabilities(section: Section, best_known: Mapping[str, float]) -> list[Block]:
    """Count the runs that reach a good return, and those that stay there; `best_known` has the best mean of each task."""
    rows = []
    for (name, share), groups in _by_share(section).items():
        runs = [run for group in groups if group.task in best_known for run in group.runs]
        judged = [(run, reliability(*run.series("eval/return"), best_known[run.task])) for run in runs]
        reached = [(run, result.reached_at) for run, result in judged if result.reached_at is not None]
        first = [f"{run.task} {run.seed}: {millions(steps)} M" for run, steps in reached]
        stayed = sum(result.stayed for _, result in judged)
        cells = [f"{len(first)} of {len(runs)}", f"{stayed} of {len(runs)}", ", ".join(first)]
        rows.append([section.label(name), f"{share:.3g}", *cells])
    if not rows:
        return []
    thresholds = [f"{task} {REACH * best_known[task]:.0f}" for task in section.tasks if task in best_known]
    text = (
        f"A run reaches when an evaluation with sampled actions is at or above {REACH} x the best mean known of the task: "
        f"the paper's at its full budget or ours, whichever is larger. It stays when no later evaluation is below {STAY} x "
        f"that threshold. Thresholds: {', '.join(thresholds)}."
    )
    header = ["algorithm", "share of the full budget", "reach", "reach and stay", "first reached (task seed: steps)"]
    return [Heading("Reliability", 3), Text(text), Table(header, rows)]


def best_known_means(groups: Sequence[Group]) -> dict[str, float]:
    """Return for each task the largest mean return with sampled actions, of the paper's or of ours."""
    best = {task: max(mean for mean, _ in of_task.values()) for task, of_task in PAPER["table1"].items()}
    for group in groups:
        if finals := group.finals("sampled"):
            best[group.task] = max(best.get(group.task, -np.inf), float(np.mean(finals)))
    return best


def extremes(section: Section) -> list[Block]:
    """Return the worst and the last value of the study's quantity of the update."""
    column = section.study.metric
    measure = MEASURES[column]
    rows = []
    for group in section.groups:
        curves = [moving_average(values, section.smooth) for run in group.runs if len(values := run.series(column)[1])]
        if curves:
            worst, last = [measure.extreme(values) for values in curves], [values[-1] for values in curves]
            rows.append([group.task, section.exact_label(group), number(worst), number(last)])
    word = "lowest" if measure.extreme is min else "highest"
    return [Table(["task", "algorithm", f"{measure.axis}: {word} (smoothed)", "last (smoothed)"], rows)] if rows else []


def provenance(section: Section) -> Table:
    """Return commit, machine, time and command of every run, folded away."""
    runs = [run for group in section.groups for run in group.runs]
    commits, machines = sorted({run.short_commit for run in runs}), sorted({run.machine for run in runs})
    hours = sum(run.wall_clock_s for run in runs) / 3600
    return Table(
        ["task", "algorithm", "seed", "environment steps", "wall-clock", "commit", "machine", "command"],
        [_provenance_row(run) for run in runs],
        f"Provenance: {count(len(runs), 'run')}, {hours:.1f} h; commit {', '.join(commits)}; machine {'; '.join(machines)}",
    )


def result_cells(group: Group) -> list[str]:
    """Return the cells under RESULT_CELLS."""
    seeds = ", ".join(str(run.seed) for run in group.runs)
    return [group.length, seeds, number(group.finals("sampled")), number(group.finals("deterministic"))]


def paper_cells(task: str, name: str) -> list[str]:
    """Return the paper's returns, sampled and deterministic, and its budget and number of runs; empty if it has none."""
    if name not in PAPER["table1"].get(task, {}):
        return ["", "", ""]
    values = [PAPER[table][task][name] for table in ("table1", "table6")]
    return [
        *(f"{mean:.0f} +- {deviation:.0f}" for mean, deviation in values),
        f"{millions(BUDGET[task])} M, {PAPER_RUNS[task]}",
    ]


def number(values: Sequence[float]) -> str:
    """Return mean and deviation over seeds; of one seed, that it is one."""
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    digits = 0 if abs(mean) >= 1000 else 1 if abs(mean) >= 10 else 4
    return f"{mean:.{digits}f}" + (" (one seed)" if deviation is None else f" +- {deviation:.{digits}f}")


def _by_share(section: Section) -> dict[tuple[str, float], list[Group]]:
    """Sort complete groups by variant and budget; tasks differ in steps, so the share of the full budget counts.

    Of several schedules of a task at the same budget, the longest counts.
    """
    shares: dict[tuple[str, float], list[Group]] = {}
    for group in section.groups:
        if group.complete:
            same = shares.setdefault((group.name, round(group.budget / BUDGET[group.task], 6)), [])
            if group.task not in {other.task for other in same}:
                same.append(group)
    return shares


def _provenance_row(run: RecordedRun) -> list[str]:
    steps = f"{run.env_steps:,}" if run.env_steps >= run.budget else f"{run.env_steps:,} of {run.budget:,}"
    time = f"{run.wall_clock_s / 60:.3g} min"
    return [run.task, run.name, str(run.seed), steps, time, run.short_commit, run.machine, f"`{run.command}`"]
