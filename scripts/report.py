"""Figures, tables and one self-contained page from the runs under a results folder.

    python scripts/report.py                                     # every study that has something to compare
    python scripts/report.py fig3 table1 --results results/studies/budget_1 --output report
    python scripts/report.py table1 --results results --results results/studies/budget_0.2   # runs of every budget
    python scripts/report.py table1 --readme docs/results.md     # also puts a table between the markers of that file

Writes PNG files, report.md and report.html to the output folder. `studies.py` lists the studies, `reproduce.py` trains them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from study.aggregates import aggregates
from study.figures import assign_styles
from study.measured import MEASURED, find_record
from study.milestones import milestones
from study.page import Block, Heading, Note, Text, markdown_table, to_html, to_markdown
from study.recorded_runs import Group, group, read_runs
from study.studies import BUDGET, STUDIES, find_study
from study.study_figures import MEASURES, Section, figures
from study.study_tables import RESULT_CELLS, extremes, notes, paper_cells, provenance, result_cells, results_table
from study.task_page import write_task_pages

RESULTS = Path("results/studies/budget_0.2")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
INTRODUCTION = (
    "Returns are those of the final weights, means over full episodes. Values over several seeds are mean +- sample "
    "standard deviation (n - 1). The paper's values are those of its tables, at its own budget, which is printed next to "
    "them: for runs with a smaller budget they are a direction, not a target. For tasks of the DeepMind Control Suite "
    "(`dmc/`) they are those of the runs that REPPO's authors released."
)


def make_section(key: str, groups: Sequence[Group], smooth: int) -> Section:
    """Return a study with its runs: on its tasks, and on others on which there is something to compare."""
    study = find_study(key)
    names = [variant.name for variant in study.variants]
    others = sorted({one.task for one in groups} & BUDGET.keys() - set(study.tasks))
    compared = [task for task in others if len({one.name for one in groups if one.task == task} & set(names)) > 1]
    wanted = [(task, name) for task in (*study.tasks, *compared) for name in names]
    found = [one for place in wanted for one in groups if (one.task, one.name) == place]
    styles = assign_styles([variant.name for variant in other.variants] for other in STUDIES.values())
    return Section(key, study, found, styles, smooth)


def head(section: Section) -> list[Block]:
    """Return the heading, and what the paper shows there: a claim to compare with, not a result of these runs."""
    return [Heading(f"{section.key}: {section.study.title}"), Text(section.study.source + section.study.note)]


def section_blocks(section: Section, groups: Sequence[Group], folder: Path) -> list[Block]:
    """Return a study's part of the page; its figures go to `folder`."""
    study = section.study
    blocks = [*head(section), *notes(section), *figures(section, folder)]
    blocks.append(results_table(section))
    if study.metric.startswith("eval"):
        blocks += [*milestones(section), *aggregates(section, groups, folder)]
    elif study.metric == "wall_clock":
        blocks += milestones(section)
    elif study.metric in MEASURES:
        blocks += extremes(section)
    return [*blocks, provenance(section)]


def report(results: Sequence[Path], keys: Sequence[str], output: Path, smooth: int) -> list[Group]:
    """Write the report of the studies named, or of all with something to compare; return the groups of runs found.

    Of the folders of results the first may also have a study's numbers.

    Raises:
        ValueError: if a study is unknown or has no run, or there is none at all.
    """
    found = [read_runs(folder) for folder in results]
    unfinished = [folder for _, folders in found for folder in folders]
    groups = group(run for runs, _ in found for run in runs)
    names = ", ".join(folder.resolve().name for folder in results)
    blocks: list[Block] = [Heading(f"rpo-lightning: {names}", 1), Text(INTRODUCTION)]
    if unfinished:
        blocks.append(Note(f"Left out, because they have not ended: {', '.join(unfinished)}."))
    output.mkdir(parents=True, exist_ok=True)
    written = 0
    for key in keys or STUDIES:
        section = make_section(key, groups, smooth)
        # without being asked for, a study of one curve would only repeat that of another, unless it shows each seed
        if len({one.name for one in section.groups}) > (0 if keys or section.study.per_seed else 1):
            blocks += section_blocks(section, groups, output)
        elif record := find_record(key, results[0]):
            blocks += [*head(section), *MEASURED[key].draw(record, output)]
        elif keys:
            raise ValueError(f"{key}: {names} has no run of this study.")
        else:
            continue
        written += 1
    if not written:
        raise ValueError(f"{names} has no run of any study.")
    (output / "report.md").write_text(to_markdown(blocks))
    (output / "report.html").write_text(to_html(blocks, output))
    return groups


def readme_table(groups: Sequence[Group]) -> str:
    """Return the runs of Table 1, and SAC's, as a Markdown table.

    Raises:
        ValueError: if there is none.
    """
    sections = [make_section(key, groups, smooth=1) for key in ("table1", "fig8")]
    places = [(task, one, section) for section in sections for task in section.tasks for one in section.study.variants]
    rows: dict[tuple[str, str], list[list[str]]] = {}
    for task, variant, section in places:
        sampled, _, size = paper_cells(task, variant.name)
        paper = f"{sampled} ({size} runs)" if sampled else ""
        found = section.of(task, variant.name)
        rows[task, variant.name] = [
            [task, variant.label, *result_cells(one), paper, f"{one.minutes:.3g} min"] for one in found
        ]
    tasks = dict.fromkeys(task for task, _ in rows)
    table = [row for task in tasks for place, group in rows.items() if place[0] == task for row in group]
    if not table:
        raise ValueError("There is no run of table1 to put into the table.")
    machines = sorted({run.machine for section in sections for one in section.groups for run in one.runs})
    head = ["task", "algorithm", *RESULT_CELLS, "paper, sampled", "wall-clock per run"]
    return f"{markdown_table(head, table)}\n\nMachine: {'; '.join(machines)}."


def put_between_markers(text: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """Return `text` with what stands between the markers replaced by `table`.

    Raises:
        ValueError: unless each marker is there once, in order.
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"There must be one {begin} and after it one {end}.")
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def positive(text: str) -> int:
    """Parse a number of rows."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}; all that have something to compare"
    )
    parser.add_argument(
        "--results",
        type=Path,
        action="append",
        help="folder of runs, by default results/studies/budget_0.2; given again, one more, such as results itself",
    )
    parser.add_argument("--output", type=Path, default=Path("report"), help="folder to write to")
    parser.add_argument("--smooth", type=positive, default=3, metavar="N", help="rows of a training curve to average over")
    parser.add_argument("--pages", action="store_true", help="also write a page of every task with all of its runs")
    parser.add_argument("--readme", type=Path, help=f"file with {BEGIN} and {END}, between which the table goes")
    options = parser.parse_args(arguments)
    try:
        if options.readme is not None:
            put_between_markers(options.readme.read_text(), "")  # before any work
        groups = report(options.results or [RESULTS], options.studies, options.output, options.smooth)
        if options.pages:
            write_task_pages(groups, INTRODUCTION, options.output, options.smooth)
        if options.readme is not None:
            options.readme.write_text(put_between_markers(options.readme.read_text(), readme_table(groups)))
    except (ValueError, OSError) as error:
        print(f"report.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{options.output / 'report.html'} and report.md")


if __name__ == "__main__":
    main()
