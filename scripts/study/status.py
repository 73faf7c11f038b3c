"""What of a grid is done, running and missing, and what the rest will cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rpo_lightning.provenance import code_version
from study.cell import Cell

Costs = dict[tuple[str, str], float]
"""Seconds per environment step by task and algorithm."""


def status(cells: Sequence[Cell], results: Path) -> list[str]:
    """Return a line per run, and at last what is left.

    The cost to go is that of finished runs of the same algorithm on the same task, anywhere beside `results`; without one it
    is unknown.
    """
    costs, present = measured_costs(results.parent), code_version()
    lines, seconds, unknown, left = [], 0.0, 0, 0
    for cell in cells:
        if cell.finished:
            summary = cell.summary()
            sampled = summary.get("eval", {}).get("sampled")
            state = f"done, return {sampled['mean']:.5g}" if sampled else "done, no evaluation"
            if not (cell.record / "summary.json").exists():
                state += f", in {cell.elsewhere}"
            if (commit := str(summary.get("commit", "unknown"))) != present:
                state += f"; of another commit, {commit[:7]}"
            lines.append(f"{cell}: {state}")
            continue
        left += 1
        taken = min(cell.taken, cell.env_steps)
        cost = costs.get((cell.task, cell.variant.algorithm))
        word = "running" if cell.running else "stopped" if taken else "missing"
        state = f"{word}, {taken / 1e6:.3g} of {cell.env_steps / 1e6:.3g} M steps"
        if cost is None:
            unknown += 1
        else:
            seconds += cost * (cell.env_steps - taken)
            state += f", {hours(cost * (cell.env_steps - taken))} to go"
        lines.append(f"{cell}: {state}")
    known = f"{hours(seconds)} of one run at a time" if left > unknown or not left else ""
    rest = ", ".join(filter(None, [known, f"{unknown} runs of unknown cost" if unknown else ""]))
    return [*lines, f"{len(cells) - left} of {len(cells)} runs are done; to go: {rest}"]


def measured_costs(folder: Path) -> Costs:
    """Return the least seconds per environment step that any finished run below a folder took."""
    costs: Costs = {}
    for path in folder.glob("**/seed_*/summary.json"):
        try:
            summary = json.loads(path.read_text())
            place = summary["task"], str(summary["algorithm"]).partition("-")[0]
            cost = summary["wall_clock_s"] / summary["env_steps"]
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue  # no run of ours
        costs[place] = min(cost, costs.get(place, cost))
    return costs


def hours(seconds: float) -> str:
    """Return a time in minutes or hours."""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
