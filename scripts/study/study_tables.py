"""The tables of a study: returns next to the paper's, quantities of the update, and where every number comes from."""

from __future__ import annotations

from collections.abc import Sequence

from study.page import Block, Note, Table
from study.recorded_runs import Group, RecordedRun, millions
from study.statistics_of_runs import mean_and_deviation, moving_average
from study.studies import BUDGET, DMC, PAPER_RUNS, published
from study.study_figures import MEASURES, Section, count

FAR = ("humanoid", "anymal")
"""Tasks whose robots come as far as the paper's simulator breaks down."""
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
    if far := [task for task in FAR if section.of(task)]:
        text = (
            f"Ours and the paper's returns do not compare on {' and '.join(far)}: the paper's simulator breaks down where "
            "the robot is far from the origin, and its episodes end there; ours does so only with reference_point: world. "
            "docs/results.md has the same policies under both."
        )
        blocks.append(Note(text))
    if len(commits := sorted({run.short_commit for group in section.groups for run in group.runs})) > 1:
        text = f"The runs ended on different commits, {', '.join(commits)}: which one on which is under Provenance."
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
    tables = [published(table, task) for table in ("table1", "table6")]
    if not any(name in table for table in tables):
        return ["", "", ""]
    runs = "up to 10" if task.startswith(DMC) else str(PAPER_RUNS[task])
    cells = [_published_cell(table[name]) if name in table else "" for table in tables]
    return [*cells, f"{millions(BUDGET[task])} M, {runs}"]


def _published_cell(value: tuple[float, float | None]) -> str:
    mean, deviation = value
    return f"{mean:.0f}" if deviation is None else f"{mean:.0f} +- {deviation:.0f}"


def number(values: Sequence[float]) -> str:
    """Return mean and deviation over seeds; of one seed, that it is one."""
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    digits = 0 if abs(mean) >= 1000 else 1 if abs(mean) >= 10 else 4
    return f"{mean:.{digits}f}" + (" (one seed)" if deviation is None else f" +- {deviation:.{digits}f}")


def _provenance_row(run: RecordedRun) -> list[str]:
    steps = f"{run.env_steps:,}" if run.env_steps >= run.budget else f"{run.env_steps:,} of {run.budget:,}"
    time = f"{run.wall_clock_s / 60:.3g} min"
    return [run.task, run.name, str(run.seed), steps, time, run.short_commit, run.machine, f"`{run.command}`"]
