"""A page of everything there is of one task: every run of it, whatever study it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.figures import assign_styles
from study.milestones import milestones
from study.page import Block, Heading, Text, to_html, to_markdown
from study.recorded_runs import Group
from study.studies import BUDGET, STUDIES, Study, Variant
from study.study_figures import Section, figures
from study.study_tables import notes, provenance, results_table


def write_task_pages(groups: Sequence[Group], introduction: str, folder: Path, smooth: int) -> list[Path]:
    """Write a page, as HTML and as Markdown, for each task that has a budget and runs; return the HTML files.

    Args:
        groups: of the runs.
        introduction: what the numbers are.
        folder: where to write.
        smooth: rows of a training curve to average over.
    """
    written = []
    for task in dict.fromkeys(group.task for group in groups if group.task in BUDGET):
        section = task_section(task, groups, smooth)
        blocks: list[Block] = [Heading(f"rpo-lightning: {task}", 1), Text(introduction), *notes(section)]
        blocks += [*figures(section, folder), results_table(section), *milestones(section), provenance(section)]
        page = folder / f"{section.key}.html"
        page.write_text(to_html(blocks, folder))
        page.with_suffix(".md").write_text(to_markdown(blocks))
        written.append(page)
    return written


def task_section(task: str, groups: Sequence[Group], smooth: int) -> Section:
    """Return all runs of a task as those of one study; labels are those of the studies that know a variant."""
    own = [group for group in groups if group.task == task]
    known = {variant.name: variant for study in STUDIES.values() for variant in study.variants}
    variants = tuple(
        known.get(name, Variant(name.partition("-")[0], name, name.partition("-")[2] or None))
        for name in dict.fromkeys(group.name for group in own)
    )
    names = [*([variant.name for variant in study.variants] for study in STUDIES.values()), [one.name for one in variants]]
    study = Study(f"All runs on {task}", variants, "eval/return", "", (task,), source="")
    return Section(f"task_{task.replace('/', '_')}", study, own, assign_styles(names), smooth)
