"""The figure and the table of what `reproduce.py toy_gaussian` measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from study.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, Plot, PlotLine, Style, draw_plots
from study.page import Block, Picture, Table

STYLES = {
    "score, fresh samples": Style(ORANGE, "s"),
    "score, reused": Style(PURPLE, "v"),
    "score, reused, clipped (PPO)": Style(RED, "^"),
    "pathwise, fresh samples": Style(GREEN, "D"),
    "pathwise, reused": Style(SKY, "P"),
    "pathwise, reused, clipped (RPO)": Style(BLUE, "o"),
    "pathwise, learned Q": Style(SKY, "*"),
    "pathwise, learned Q, KL bound (REPPO)": Style(BLACK, "X"),
}
GAP = "distance of the objective from its optimum"
ERROR = "squared error / squared gradient"
TOP = 100.0


def toy_gaussian_blocks(record: Path, folder: Path) -> list[Block]:
    """Draw what was measured into `folder`, and return it with the table of the last values.

    Raises:
        ValueError: if the file does not hold that.
    """
    try:
        content = json.loads(record.read_text())
        known, learned = content["known"], content["learned"]
        drawn = min(curve["samples"][-1] for curve in known.values())
        plots = [
            _climbs("Known Q, by updates", known, "updates"),
            _climbs("Known Q, by samples drawn", known, "samples", drawn),
            _climbs("Q learned from noisy samples, by updates", learned, "updates"),
            _errors("Estimates from fresh samples", content["dimension"], "dimensions of the action", doubling=True),
            _errors("Estimates from reused samples", content["kl"], "KL(old || new) [nats]"),
            _errors("A rippled Q, 4 dimensions", content["frequency"], "frequency of the ripple of 0.2 on Q"),
        ]
        table = _table(content, drawn)
        file = "toy_gaussian.png"
        draw_plots(folder / file, plots)
        caption = (
            "Plain gradient ascent on a known objective. Lines are medians, bands the middle half, of "
            f"{content['repetitions']} climbs (seed {content['seed']}). Every update uses as many samples; reused ones are "
            "drawn anew for every eighth. RPO has the exact dQ/du, as from a differentiable simulator, also where Q is "
            "learned. Errors: mean square error of the gradient that one update estimates, over the square of the exact "
            f"gradient, from {content['batches']:,} estimates; at 1 the error is as large as the gradient."
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record} is no record of reproduce.py toy_gaussian: {error!r}") from error
    return [Picture(file, caption), table]


def _climbs(title: str, curves: dict[str, Any], x: str, last: float = float("inf")) -> Plot:
    lines: list[PlotLine] = []
    for label, curve in curves.items():
        shown = sum(at <= last for at in curve[x])
        band = [curve["low"][:shown], curve["high"][:shown]]
        lines.append((label, STYLES[label], curve[x][:shown], curve["median"][:shown], band))
    return Plot(title, {"updates": "updates", "samples": "samples drawn"}[x], GAP, lines, TOP)


def _errors(title: str, errors: dict[str, Any], xlabel: str, doubling: bool = False) -> Plot:
    lines: list[PlotLine] = [(label, STYLES[label], errors["x"], values, []) for label, values in errors["error"].items()]
    return Plot(title, xlabel, ERROR, lines, TOP, doubling)


def _table(content: dict[str, Any], drawn: int) -> Table:
    """Return the gaps at the end, and where the fresh samples are as many as the reused ones at their end."""
    rows = []
    steps = sorted(content["last_median"], key=float)
    for problem in ("known", "learned"):
        for label, curve in content[problem].items():
            at = max(i for i, samples in enumerate(curve["samples"]) if samples <= drawn)
            same = f"{curve['median'][at]:.2g}" if problem == "known" else ""
            end = f"{curve['median'][-1]:.2g} [{curve['low'][-1]:.2g}, {curve['high'][-1]:.2g}]"
            others = [f"{content['last_median'][step][label]:.2g}" if problem == "known" else "" for step in steps]
            rows.append([f"{problem} Q", label, end, f"{curve['diverged']:.0%}", same, *others])
    header = ["problem", "method", f"gap after {_updates(content)} updates", "diverged", f"gap after {drawn} samples"]
    return Table([*header, *(f"step size {step}" for step in steps)], rows)


def _updates(content: dict[str, Any]) -> int:
    return int(next(iter(content["known"].values()))["updates"][-1])
