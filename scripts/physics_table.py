"""Put Table 1 under three kinds of physics into docs/results.md, from what validate_physics.py has written beside policies.

python scripts/physics_table.py
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from report import put_between_markers
from study.page import markdown_table
from study.recorded_runs import millions
from study.studies import PAPER, STUDIES
from study.variants import Variant

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- physics:begin -->", "<!-- physics:end -->"
TASKS = ("hopper", "ant", "anymal", "humanoid")
TABLES = {"sampled": "table1", "deterministic": "table6"}
FOLDERS = (".", "studies/budget_0.2")
"""Of results/, which have runs."""
YOUNG = Variant("rpo", "RPO", "first_million")
EXACT = Variant("rpo", "RPO trained under exact physics", "exact_physics")
HEAD = (
    *("", "actions", "the paper's, with digits at any distance", "vectors about the world's origin"),
    *("where those episodes end", "exact physics", "paper (10 M; Hopper 20 M)"),
)


def table(results: Path) -> str:
    """Return the rows of every policy of Table 1 that was measured, seed by seed, as Markdown."""
    rows = []
    for task, variant, folder in product(TASKS, (*STUDIES["table1"].variants, YOUNG, EXACT), FOLDERS):
        for path in sorted((results / folder / task / variant.name).glob("seed_*/physics.json")):
            found = json.loads(path.read_text())["eval"]
            summary = json.loads(path.with_name("summary.json").read_text())
            name = f"{task}, {variant.label}, seed {summary['seed']}, {millions(summary['env_steps'])} M steps"
            for kind, published in TABLES.items():
                mean, deviation = PAPER[published][task][variant.algorithm]
                near, world, exact = (found[physics][kind] for physics in ("near", "world", "exact"))
                first = [name if kind == "sampled" else "", kind]
                paper = f"{mean:.0f} +- {deviation:.0f}"
                rows.append([*first, _return(near), _return(world), _end(world), _return(exact), paper])
    return markdown_table(HEAD, rows)


def _return(found: dict[str, Any]) -> str:
    """Return the mean, and the deviation over episodes in brackets."""
    return f"{found['mean']:.0f} ({found['std']:.0f})"


def _end(found: dict[str, Any]) -> str:
    """Return where and when episodes end that break down; the median, and between what nine in ten are."""
    low, middle, high = found["forward"]
    if not found["broken"]:
        return f"the 1000th step, {middle:.0f} m"
    step = found["steps"][1]
    share = f"{found['broken']} of {found['episodes']} break down"
    return f"step {step:.0f}, {middle:.0f} m ({low:.0f} to {high:.0f}); {share}"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(put_between_markers(PAGE.read_text(), table(ROOT / "results"), BEGIN, END))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
