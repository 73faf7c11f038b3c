"""The README's picture: RPO's evaluations during the runs under results/, and the paper's final return.

    python scripts/draw_learning_curves.py

Every run of RPO on the tasks of the paper's Table 1 is a line, as long as the run; the axis is as long as the paper's. The
dashed line and the band around it are the paper's mean and standard deviation over its runs, at the end of the axis.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from study.figures import BLUE, ORANGE, SKY, tidy
from study.recorded_runs import RecordedRun, read_run
from study.studies import BUDGET, published
from study.study_tables import FAR

ROOT = Path(__file__).resolve().parents[1]
TASKS = {"hand_reorient": "Hand Reorient", "hopper": "Hopper", "ant": "Ant", "anymal": "Anymal", "humanoid": "Humanoid"}
"""Tasks that are drawn, and how they are called."""
SHADES = (BLUE, SKY, "#7f9fb5")
"""Of a task's runs, the longest first."""


def find_runs(results: Path) -> dict[str, list[RecordedRun]]:
    """Return the runs of RPO of each task, the longest first.

    Raises:
        ValueError: if a task has none.
    """
    found = {}
    for task in TASKS:
        runs = [read_run(folder) for folder in sorted((results / task / "rpo").glob("seed_*"))]
        found[task] = sorted(runs, key=lambda run: -run.env_steps)
    if missing := [task for task, those in found.items() if not those]:
        raise ValueError(f"{results} has no run of RPO on {', '.join(missing)}.")
    return found


def draw(found: Mapping[str, Sequence[RecordedRun]], path: Path) -> None:
    """Draw a panel for each task."""
    figure, grid = plt.subplots(2, 3, figsize=(11, 5.6), layout="constrained")
    *axes, key = grid.flat
    for ax, (task, runs) in zip(axes, found.items(), strict=True):
        tidy(ax)
        mean, deviation = published("table1", task)["rpo"]
        ax.axhspan(mean - (deviation or 0), mean + (deviation or 0), color=ORANGE, alpha=0.25, linewidth=0)
        ax.axhline(mean, color=ORANGE, linestyle=(0, (5, 3)), linewidth=1.5)
        for run, colour in zip(runs, SHADES, strict=False):
            steps, returns = run.series("eval/return")
            last = np.append(np.diff(steps) > 0.01 * steps[-1], True)  # an evaluation just before the final one is left out
            steps, returns = steps[last], returns[last]
            ax.plot(steps / 1e6, returns, color=colour, linewidth=1.7)
        ax.set_title(TASKS[task] + ("*" if task in FAR else ""), fontsize=12)
        ax.set_xlim(0, BUDGET[task] / 1e6)
        ax.set_ylim(bottom=0)
        ax.locator_params(nbins=5)
    for ax in axes[2:]:
        ax.set_xlabel("million environment steps")
    for ax in axes[::3]:
        ax.set_ylabel("return, sampled actions")
    key.axis("off")
    key.plot([], [], color=BLUE, linewidth=1.7, label="this repository, one seed")
    key.plot([], [], color=SKY, linewidth=1.7, label="further seeds, shorter runs")
    key.plot([], [], color=ORANGE, linestyle=(0, (5, 3)), label="paper, final mean\nand standard deviation")
    key.plot([], [], " ", label="* the paper's simulator breaks down\nfar from the origin, and episodes end")
    key.legend(loc="center left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the runs")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/figures/learning_curves.png", help="file to write")
    options = parser.parse_args(arguments)
    try:
        draw(find_runs(options.results), options.output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(options.output)


if __name__ == "__main__":
    main()
