"""What `trainer.accelerator: auto` means: the CPU until a GPU has been seen to compute the same, then what was faster."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rpo_lightning.sim.devices import why_no_cuda

__all__ = ["chosen"]

PACKAGE = Path(__file__).resolve().parents[1]
RECORD = PACKAGE.parents[1] / "results/benchmarks/gpu.json"
"""What `make gpu` has found, in a working copy."""
PACKAGED = PACKAGE / "benchmarks/gpu.json"
"""The same in an installed package, if there was one when it was built."""

PARTS = ("golden", "gradients", "updates", "equal", "resume")
"""Parts of that record which say that a GPU computes what the CPU does."""


def chosen(task: str, num_envs: int) -> tuple[str, str | None]:
    """Return "cpu" or "cuda" and, where there is a choice, a line that says why.

    Args:
        task: its name or class path; one that was not measured goes by all those that were.
        num_envs: per process; the nearest number that was measured counts.
    """
    if not torch.cuda.is_available():
        return "cpu", None
    if (blind := why_no_cuda()) is not None:
        return "cpu", f"accelerator auto means the CPU: {blind}."
    record = PACKAGED if PACKAGED.is_file() else RECORD
    content = _content(record)
    missing = [name for name in PARTS if _part(content, name).get("status") != "passed"]
    rows = _part(content, "choice").get("rows", [])
    if missing or not rows:
        there = f"in {record.name} passes {', '.join(missing) or 'choice'}"
        until = there if record.is_file() else f"has written results/benchmarks/{record.name}"
        return "cpu", f"accelerator auto means the CPU until `make gpu` {until}; the GPU: --trainer.accelerator cuda"
    row = _nearest(rows, task, num_envs)
    taken, other = ("cuda", "cpu") if row["cuda_steps_per_s"] > row["cpu_steps_per_s"] else ("cpu", "cuda")
    figures = " against ".join(f"{row[f'{each}_steps_per_s']:,.0f}".replace(",", " ") for each in (taken, other))
    return taken, (
        f"accelerator auto means {taken}, by {record.name}: {row['task']} with {row['num_envs']} environments made "
        f"{figures} steps/s on {content['machine']}; --trainer.accelerator {other} takes the other"
    )


def _content(record: Path) -> dict[str, Any]:
    """Return a record of a check on a GPU; nothing if the file is none."""
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("device") == "cuda" else {}


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    parts = content.get("parts")
    return parts.get(name, {}) if isinstance(parts, dict) else {}


def _nearest(rows: Sequence[dict[str, Any]], task: str, num_envs: int) -> dict[str, Any]:
    """Return the measurement that says most of a task and a number; of several the worst for the GPU."""
    own = [row for row in rows if row["task"] == task] or rows
    factors = [abs(math.log(row["num_envs"] / num_envs)) for row in own]
    nearest = [row for row, factor in zip(own, factors, strict=True) if factor == min(factors)]
    return min(nearest, key=lambda row: row["cuda_steps_per_s"] / row["cpu_steps_per_s"])
