"""The tables of a study over all its tasks: interquartile means, and how reliably runs reach a good return.

The tasks of RPO's paper and those of the DeepMind Control Suite are judged apart, each as their paper does.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.figures import draw_intervals
from study.page import Block, Heading, Picture, Table, Text
from study.recorded_runs import Group, millions
from study.reppo_studies import BEST_KNOWN, HIGHEST_RETURN, RELEASED_IQM, RELEASED_RELIABILITY
from study.statistics_of_runs import REACH, STAY, bootstrap_interval, interquartile_mean, reliability
from study.studies import BUDGET, PAPER
from study.study_figures import Section
from study.variants import DMC, DMC_TASKS


@dataclass(frozen=True)
class Family:
    """Tasks that are judged alike.

    Args:
        suffix: of headings and, after an underscore, of files.
        evaluation: whose final returns are averaged.
        scale: by what they are divided, for each task that counts.
        unit: the same in words.
        column: of the curve, whose values are to reach a threshold.
        best_known: return of each task that counts, of which the threshold is a share.
        best: the same in words.
        released: whether released runs were judged likewise.
    """

    suffix: str
    evaluation: str
    scale: Mapping[str, float]
    unit: str
    column: str
    best_known: Mapping[str, float]
    best: str
    released: bool


CONTROL_SUITE = Family(
    "DMC",
    "deterministic",
    dict.fromkeys(DMC_TASKS, HIGHEST_RETURN),
    f"{HIGHEST_RETURN:.0f}, the highest possible return",
    "eval/return_deterministic",
    BEST_KNOWN,
    "the best mean released by REPPO's authors, of REPPO or the retuned PPO, whatever ours are",
    released=True,
)


def robots(section: Section, best_known: Mapping[str, float]) -> Family:
    """Return how a study's tasks outside the Control Suite are judged; `best_known` is as `best_known_means` returns it."""
    evaluation = "deterministic" if section.study.metric == "eval.deterministic" else "sampled"
    table = PAPER["table6" if evaluation == "deterministic" else "table1"]
    return Family(
        "",
        evaluation,
        {task: of_task["rpo"][0] for task, of_task in table.items()},
        "the paper's RPO mean of the task at its full budget",
        "eval/return",
        {task: best for task, best in best_known.items() if not task.startswith(DMC)},
        "the paper's at its full budget or ours, whichever is larger",
        released=False,
    )


def aggregates(section: Section, groups: Sequence[Group], folder: Path) -> list[Block]:
    """Return interquartile means and reliability of a section; `groups` are all there are, figures go to `folder`."""
    families = (robots(section, best_known_means(groups)), CONTROL_SUITE)
    means = [block for family in families for block in _interquartile_means(section, family, folder)]
    return means + [block for family in families for block in _reliabilities(section, family)]


def best_known_means(groups: Sequence[Group]) -> dict[str, float]:
    """Return for each task the largest mean return with sampled actions, of the paper's or of ours."""
    best = {task: max(mean for mean, _ in of_task.values()) for task, of_task in PAPER["table1"].items()}
    for group in groups:
        if finals := group.finals("sampled"):
            best[group.task] = max(best.get(group.task, -np.inf), float(np.mean(finals)))
    return best


def _interquartile_means(section: Section, family: Family, folder: Path) -> list[Block]:
    """Aggregate normalised final returns over tasks, per variant and share of the full budget, and draw them."""
    rows, points = [], []
    for (name, share), groups in _by_share(section, family.scale).items():
        scores = {
            group.task: np.array(finals) / family.scale[group.task]
            for group in groups
            if (finals := group.finals(family.evaluation))
        }
        if not scores:
            continue
        value = float(interquartile_mean(np.concatenate(list(scores.values()))))
        interval, cell = None, "none: one seed of a task shows no spread"
        if min(map(len, scores.values())) > 1:
            interval = bootstrap_interval(list(scores.values()))
            cell = f"{interval[0]:.3f} to {interval[1]:.3f}"
        seeds = ", ".join(f"{task} {len(of_task)}" for task, of_task in scores.items())
        released = [_released_mean(name)] if family.released else []
        rows.append([section.label(name), f"{share:.3g}", f"{value:.3f}", cell, *released, seeds])
        points.append((f"{section.label(name)}, {share:.3g} x budget", section.styles[name], value, interval))
    if not rows:
        return []
    file = "_".join(filter(None, (section.key, "iqm", family.suffix.lower()))) + ".png"
    draw_intervals(folder / file, points, f"interquartile mean of return / {family.unit.split(',')[0]}")
    text = (
        f"Final returns ({family.evaluation} actions) divided by {family.unit}; the mean over the runs of all tasks without "
        "the lowest and the highest quarter (of fewer than four runs, of all). Intervals: 95 %, bootstrap that draws seeds "
        "with replacement within each task; from two or three seeds they come out too narrow. Rows over different tasks or "
        "shares of the budget do not compare."
    )
    if family.released:
        text += f" Released: the runs of REPPO's authors over {len(DMC_TASKS)} tasks, divided likewise."
    released = ["released"] if family.released else []
    return [
        Heading(" ".join(filter(None, ("Interquartile mean over tasks", family.suffix))), 3),
        Text(text),
        Picture(file, "Interquartile means; bars are the 95 % intervals, where there are any."),
        Table(["algorithm", "share of the full budget", "IQM", "95 % interval", *released, "seeds"], rows),
    ]


def _reliabilities(section: Section, family: Family) -> list[Block]:
    """Count the runs that reach a good return, and those that stay there."""
    rows = []
    for (name, share), groups in _by_share(section, family.best_known).items():
        runs = [run for group in groups for run in group.runs]
        judged = [(run, reliability(*run.series(family.column), family.best_known[run.task])) for run in runs]
        reached = [(run, result.reached_at) for run, result in judged if result.reached_at is not None]
        first = [f"{run.task} {run.seed}: {millions(steps)} M" for run, steps in reached]
        stayed = sum(result.stayed for _, result in judged)
        cells = [f"{len(first)} of {len(runs)}", f"{stayed} of {len(runs)}"]
        if family.released:
            cells.append(" / ".join(f"{100 * released:.0f} %" for released in RELEASED_RELIABILITY.get(name, ())))
        rows.append([section.label(name), f"{share:.3g}", *cells, ", ".join(first)])
    if not rows:
        return []
    best = family.best_known
    thresholds = [f"{task} {REACH * best[task]:.0f}" for task in section.tasks if task in best]
    actions = "deterministic" if family.column.endswith("deterministic") else "sampled"
    text = (
        f"A run reaches when an evaluation with {actions} actions is at or above {REACH} x the best mean known of the task: "
        f"{family.best}. It stays when no later evaluation is below {STAY} x that threshold. "
        f"Thresholds: {', '.join(thresholds)}."
    )
    if family.released:
        text += f" Released: shares of the runs of REPPO's authors over {len(DMC_TASKS)} tasks."
    released = ["released, reach / and stay"] if family.released else []
    header = ["reach", "reach and stay", *released, "first reached (task seed: steps)"]
    return [
        Heading(" ".join(filter(None, ("Reliability", family.suffix))), 3),
        Text(text),
        Table(["algorithm", "share of the full budget", *header], rows),
    ]


def _released_mean(name: str) -> str:
    """Return the released interquartile mean of a variant; nothing if there is none."""
    if name not in RELEASED_IQM:
        return ""
    value, interval, remark = RELEASED_IQM[name]
    cell = f"{value / HIGHEST_RETURN:.3f}"
    if interval is not None:
        cell += f", {interval[0] / HIGHEST_RETURN:.3f} to {interval[1] / HIGHEST_RETURN:.3f}"
    return cell + (f" ({remark})" if remark else "")


def _by_share(section: Section, tasks: Container[str]) -> dict[tuple[str, float], list[Group]]:
    """Sort the complete groups of `tasks` by variant and budget, of which the share of the full one counts: tasks differ.

    Of several schedules of a task at the same budget, the longest counts.
    """
    shares: dict[tuple[str, float], list[Group]] = {}
    for group in section.groups:
        if group.complete and group.task in tasks:
            same = shares.setdefault((group.name, round(group.budget / BUDGET[group.task], 6)), [])
            if group.task not in {other.task for other in same}:
                same.append(group)
    return shares
