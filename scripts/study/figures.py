"""Draw the figures of a report with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.transforms import ScaledTranslation

from study.statistics_of_runs import Array

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that fades on white.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"
MARKERS = "sD^vPX*o"


@dataclass(frozen=True)
class Style:
    """How one algorithm or variant looks in every figure."""

    colour: str
    marker: str


ALGORITHMS = {
    "rpo": Style(BLUE, "o"),
    "sapo": Style(ORANGE, "s"),
    "shac": Style(GREEN, "D"),
    "ppo": Style(RED, "^"),
    "gippo": Style(PURPLE, "v"),
    "sac": Style(SKY, "P"),
    "reppo": Style(BLACK, "X"),
}
COLOURS = (ORANGE, GREEN, RED, PURPLE, SKY, BLACK, BLUE)
FREE = [Style(c, MARKERS[(i + turn) % len(MARKERS)]) for turn in range(len(MARKERS)) for i, c in enumerate(COLOURS)]
"""What variants get, in this order: all colours, each with its marker, then the same with other markers."""
LEGEND_CHARACTERS = 64
"""Of two legend columns that fit below a panel."""


def assign_styles(studies: Iterable[Sequence[str]]) -> dict[str, Style]:
    """Give each name one style: algorithms theirs, a variant the first whose colour nothing in its studies has.

    That is its algorithm's if that is free. Where the colours do not suffice, they repeat with another marker.
    """
    styles = dict(ALGORITHMS)
    together: dict[str, set[str]] = {}
    for names in studies:
        for name in names:
            together.setdefault(name, set()).update(names)
    for name, others in together.items():
        taken = [styles[other] for other in others if other in styles]
        colours = {style.colour for style in taken}
        wanted = [ALGORITHMS.get(name.split("-")[0], FREE[0]), *FREE]
        fresh = [style for style in wanted if style.colour not in colours]
        styles.setdefault(name, (fresh or [style for style in FREE if style not in taken])[0])
    return styles


@dataclass(frozen=True)
class Line:
    """One curve: a group of runs."""

    label: str
    style: Style
    x: Array
    mean: Array
    band: Sequence[Array]
    """Lower and upper edge; empty for a single seed."""
    complete: bool
    raw: Array | None = None
    """What was smoothed, if it is to be seen behind."""


PlotLine = tuple[str, Style, Sequence[float], Sequence[float], Sequence[Sequence[float]]]
"""Label, style, x, y, and lower and upper edge of a band, or nothing."""


@dataclass(frozen=True)
class Plot:
    """One panel of any quantities; y is logarithmic."""

    title: str
    xlabel: str
    ylabel: str
    lines: Sequence[PlotLine]
    top: float
    """Largest y that is shown."""
    doubling: bool = False
    """Whether x is 1, 2, 4, ..., evenly spaced."""


@dataclass(frozen=True)
class Level:
    """A horizontal line: the paper's final value of an algorithm."""

    value: float
    style: Style


@dataclass(frozen=True)
class Over:
    """What curves are drawn over: a column of curve.csv, and how its axis is labelled."""

    column: str
    label: str
    unit: float


STEPS, HOURS = Over("env_steps", "environment steps [million]", 1e6), Over("wall_clock_s", "wall-clock [h]", 3600.0)


@dataclass(frozen=True)
class Panel:
    """What is drawn of one task."""

    title: str
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    levels_label: str = ""


def draw_curves(
    path: Path, panels: Sequence[Panel], ylabel: str, scale: str = "linear", markers: bool = True, over: Over = STEPS
) -> None:
    """Draw one panel per task; `scale` is linear, log or share (0 to 1)."""
    figure, axes = _grid(len(panels), 3.9 + 0.2 * max(len(panel.lines) for panel in panels))
    for ax, panel in zip(axes, panels, strict=True):
        for level in panel.levels:
            ax.axhline(level.value, color=level.style.colour, linestyle=(0, (5, 4)), linewidth=1, zorder=1)
        for line in panel.lines:
            _draw_line(ax, line, markers, over.unit)
        if panel.levels:
            ax.plot([], [], color="0.4", linestyle=(0, (5, 4)), linewidth=1, label=panel.levels_label)
        if scale == "log":
            _log_axis(ax)
        elif scale == "share":
            ax.set_ylim(0, 1.02)
        ax.set_xlim(left=0)
        ax.set_title(panel.title)
        ax.set_xlabel(over.label)
        ax.set_ylabel(ylabel)
        _legend_below(ax)
    _save(figure, path)


def draw_bars(path: Path, panels: Mapping[str, Sequence[tuple[str, Style, float, bool]]]) -> None:
    """Draw a panel per quantity with a bar per row (label, style, value, whether the run is complete)."""
    height = max(len(rows) for rows in panels.values())
    figure, axes = _grid(len(panels), 1 + 0.4 * height)
    for ax, (quantity, rows) in zip(axes, panels.items(), strict=True):
        for y, (_, style, value, complete) in enumerate(rows):
            bar = ax.barh(y, value, 0.7, color=style.colour, alpha=1 if complete else 0.4, hatch=None if complete else "//")
            ax.bar_label(bar, fmt=lambda x: f"{x:.0f}" if x >= 100 else f"{x:.3g}", padding=3)
        ax.set_yticks(range(len(rows)), [label for label, *_ in rows])
        ax.invert_yaxis()
        ax.margins(x=0.12)
        ax.set_xlabel(quantity)
        ax.grid(axis="y", visible=False)
    _save(figure, path)


def draw_estimates(path: Path, shifts: Sequence[float], gradients: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw one panel per parameter: estimators with two standard errors, over the exact gradient."""
    figure, axes = _grid(len(gradients), 4.6)
    for ax, (parameter, record) in zip(axes, gradients.items(), strict=True):
        ax.plot(shifts, record["exact"], color=BLACK, linewidth=1.2, label="exact")
        estimators = [name for name in record if name != "exact"]
        for name, style in zip(estimators, ALGORITHMS.values(), strict=False):
            means, errors = record[name]["mean"], [2 * error for error in record[name]["standard_error"]]
            # open markers: estimates that agree lie on each other
            look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markerfacecolor": "none"}
            ax.errorbar(shifts, means, errors, linestyle="none", markersize=8, label=name, **look)
        ax.set_title(f"gradient by the {parameter.replace('_', ' ')}")
        ax.set_xlabel("shift of the new policy's mean")
        ax.set_ylabel("gradient")
        _legend_below(ax)
    _save(figure, path)


def draw_plots(path: Path, plots: Sequence[Plot]) -> None:
    """Draw one panel per plot."""
    figure, axes = _grid(len(plots), 4.6)
    for ax, plot in zip(axes, plots, strict=True):
        for label, style, x, y, band in plot.lines:
            every = max(len(x) // 10, 1)
            look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 5, "markevery": every}
            ax.plot(x, y, linewidth=1.6, label=label, zorder=3, **look)
            if band:
                lower, upper = band
                ax.fill_between(x, lower, upper, color=style.colour, alpha=0.18, linewidth=0, zorder=2)
        _log_axis(ax)
        ax.set_ylim(top=min(ax.get_ylim()[1], plot.top))
        if plot.doubling:
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter("{x:g}")
        ax.set_title(plot.title)
        ax.set_xlabel(plot.xlabel)
        ax.set_ylabel(plot.ylabel)
        _legend_below(ax)
    _save(figure, path)


def draw_intervals(path: Path, rows: Sequence[tuple[str, Style, float, tuple[float, float] | None]], xlabel: str) -> None:
    """Draw a point per row (label, style, value, interval), and its interval where there is one."""
    figure, ax = plt.subplots(figsize=(7, 0.9 + 0.4 * len(rows)), layout="constrained")
    for y, (_, style, value, interval) in enumerate(rows):
        if interval is not None:
            ax.plot(interval, [y, y], color=style.colour, linewidth=6, alpha=0.4, solid_capstyle="butt")
        ax.plot(value, y, style.marker, color=style.colour, markersize=7)
    ax.set_yticks(range(len(rows)), [label for label, *_ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    tidy(ax)
    _save(figure, path)


def _draw_line(ax: Axes, line: Line, markers: bool, unit: float) -> None:
    x = line.x / unit
    if line.raw is not None:
        ax.plot(x, line.raw, color=line.style.colour, linewidth=0.7, alpha=0.35, zorder=2)
    ax.plot(
        x,
        line.mean,
        color=line.style.colour,
        marker=line.style.marker,
        markersize=5,
        # many points: about ten markers, enough to tell lines of one colour apart
        markevery=1 if markers and len(x) <= 30 else max(len(x) // 10, 1),
        linewidth=1.6,
        linestyle="-" if line.complete else ":",
        label=line.label,
        zorder=3,
    )
    if line.band:
        lower, upper = line.band
        ax.fill_between(x, lower, upper, color=line.style.colour, alpha=0.18, linewidth=0, zorder=2)


def _log_axis(ax: Axes) -> None:
    """Make y logarithmic, with labels such as 0.2 that can be read off also when a decade is not full."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.tick_params(which="minor", labelsize=8, labelcolor="0.4")


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, 2)
    rows = math.ceil(count / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(6.4 * columns, height * rows), layout="constrained", squeeze=False)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[:count]:
        tidy(ax)
    return figure, axes[:count]


def _legend_below(ax: Axes) -> None:
    """Put the legend under the axes, where it covers nothing."""
    labels = ax.get_legend_handles_labels()[1]
    half = (len(labels) + 1) // 2
    narrow = len(labels) > 3 and max(map(len, labels[:half])) + max(map(len, labels[half:])) <= LEGEND_CHARACTERS
    columns = 2 if narrow else 1
    below_label = ax.transAxes + ScaledTranslation(0, -0.42, ax.figure.dpi_scale_trans)  # inches
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below_label, ncols=columns, frameon=False, fontsize=9
    )


def tidy(ax: Axes) -> None:
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
