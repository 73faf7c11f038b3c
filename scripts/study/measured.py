"""Studies without runs: what is measured of them, and how it is drawn.

They belong to no budget: `reproduce.py` writes their numbers to `<study>.json` beside the budgets' folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.page import Block


@dataclass(frozen=True)
class Measured:
    """A study without runs.

    Args:
        measure: returns the numbers, and lines about them.
        draw: makes the part of the page from the file of the numbers; figures go to the folder.
    """

    measure: Callable[[], tuple[dict[str, Any], list[str]]]
    draw: Callable[[Path, Path], list[Block]]


# torch and matplotlib are loaded only where they are needed


def _measure_proposition1() -> tuple[dict[str, Any], list[str]]:
    from study import proposition1

    record = proposition1.measure()
    deviations = {name: proposition1.largest_deviation(record, name) for name in proposition1.ESTIMATORS}
    return record, [f"{name}: off by up to {value:.1f} standard errors" for name, value in deviations.items()]


def _draw_proposition1(record: Path, folder: Path) -> list[Block]:
    from study.study_figures import proposition1_figure

    return [proposition1_figure(record, folder)]


def _measure_toy_gaussian() -> tuple[dict[str, Any], list[str]]:
    from study import toy_gaussian

    record = toy_gaussian.measure()
    curves = [(problem, *each) for problem in ("known", "learned") for each in record[problem].items()]
    return record, [
        f"{problem} Q, {label}: {curve['median'][-1]:.2g} below the optimum after {curve['updates'][-1]} updates"
        for problem, label, curve in curves
    ]


def _draw_toy_gaussian(record: Path, folder: Path) -> list[Block]:
    from study.toy_figure import toy_gaussian_blocks

    return toy_gaussian_blocks(record, folder)


MEASURED = {
    "proposition1": Measured(_measure_proposition1, _draw_proposition1),
    "toy_gaussian": Measured(_measure_toy_gaussian, _draw_toy_gaussian),
}


def write_record(study: str, results: Path) -> tuple[Path, list[str]]:
    """Measure a study and write its numbers to a file of `results`; return it, and lines about what came out."""
    record, lines = MEASURED[study].measure()
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{study}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path, lines


def find_record(study: str, results: Path) -> Path | None:
    """Return the file of a study's numbers, in the folder of a budget or beside it; None if there is none."""
    places = [folder / f"{study}.json" for folder in (results, results.parent)] if study in MEASURED else []
    return next((path for path in places if path.exists()), None)
