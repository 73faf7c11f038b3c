"""Distributions that a robot's constants are drawn from, one draw for each episode."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.sim import Parameters

__all__ = ["Randomization", "checked_names"]

_DISTRIBUTIONS = ("uniform", "log_uniform", "normal")
_MEANINGS = ("value", "scale", "add")  # what the two numbers are: the value itself, times the robot's own, added to it
_CUT = 3.0  # [standard deviations] where a normal distribution ends
_TAIL = 0.5 * (1.0 - torch.erf(torch.tensor(_CUT / 2.0**0.5, dtype=torch.float64)).item())

_POSITIVE = ("mass", "inertia", "radius")
_SIGNED = ("com", "gravity", "wind", "gain")  # all others are zero or positive


def checked_names(task: str, randomize: Any) -> tuple[str, ...]:
    """Return the names of the parameters that an option `randomize` draws.

    Raises:
        ValueError: if it is neither None nor a mapping.
    """
    if randomize is not None and not isinstance(randomize, Mapping):
        raise ValueError(f"{task}: randomize must map names of parameters to [low, high], got {randomize!r}")
    return tuple(randomize or ())


class Randomization:
    """From draws in [0, 1) to values of parameters, each by the quantiles of its distribution.

    A distribution is `[low, high]`, uniform, or a mapping with `distribution` (uniform, log_uniform or normal) and one of
    `value`, `scale` and `add`: two numbers, low and high, or mean and standard deviation of a normal one, which ends at
    three of them. They are the value itself, in the parameter's unit, or what the robot's own is multiplied by, or what is
    added to it. For a parameter of three entries each of the two may be three numbers. Which height field is the ground is
    drawn evenly of the whole numbers from low to high.

    Attributes: `columns` (D,) of the drawn entries among all parameters.

    Args:
        task: a name for messages.
        randomize: distributions by name of parameter; None: none.
        parameters: all parameters of the simulator.

    Raises:
        ValueError: for a distribution that does not exist or whose values a robot cannot have.
    """

    def __init__(self, task: str, randomize: Mapping[str, Any] | None, parameters: Parameters) -> None:
        names, columns, own = checked_names(task, randomize), parameters.columns, parameters.values
        self.columns = torch.tensor([i for n in names for i in range(parameters.size)[columns[n]]], dtype=torch.int64)
        parts = [_part(f"{task}: randomize: {n}", n, (randomize or {})[n], own[columns[n]]) for n in names]
        # value = offset + factor x, where x or, of a log-uniform one, its logarithm is start + span b
        table = np.concatenate(parts, axis=1) if parts else np.zeros((6, 0))
        self._offset, self._factor, self._start, self._span, log, normal = torch.as_tensor(table, dtype=torch.float64)
        self._log, self._normal = log > 0.0, normal > 0.0
        self._whole = torch.tensor(
            [n == "terrain" for n in names for _ in range(parameters.size)[columns[n]]], dtype=torch.bool
        )

    def values(self, draws: Tensor) -> Tensor:
        """Return the values (M, D) of draws (M, D) from the uniform distribution within [0, 1)."""
        draws = draws.double()
        base = torch.where(self._normal, torch.special.ndtri(_TAIL + (1.0 - 2.0 * _TAIL) * draws), draws)
        x = self._start + self._span * base
        found = self._offset + self._factor * torch.where(self._log, x.exp(), x)
        return torch.where(self._whole, found.floor(), found).float()


def _part(where: str, name: str, given: Any, own: np.ndarray) -> np.ndarray:
    """Return the rows offset, factor, start, span, log, normal (6, width) of one parameter."""
    given = given if isinstance(given, Mapping) else {"value": given}
    distribution, meaning = given.get("distribution", "uniform"), [key for key in given if key != "distribution"]
    if distribution not in _DISTRIBUTIONS:
        near = difflib.get_close_matches(str(distribution), _DISTRIBUTIONS, n=1, cutoff=0.0)[0]
        known = ", ".join(_DISTRIBUTIONS)
        raise ValueError(
            f"{where}: there is no distribution {distribution!r}, did you mean {near!r}? Distributions: {known}"
        )
    if len(meaning) != 1 or meaning[0] not in _MEANINGS:
        raise ValueError(f"{where}: give one of {', '.join(_MEANINGS)} beside the distribution, got {sorted(given)}")
    first, second = _numbers(where, given[meaning[0]], len(own))
    normal, log = distribution == "normal", distribution == "log_uniform"
    if normal and (second < 0.0).any():
        raise ValueError(f"{where}: a standard deviation is not negative, got {second.min():g}")
    low, high = (first - _CUT * second, first + _CUT * second) if normal else (first, second)
    if (low > high).any():
        at = int((low > high).argmax())
        raise ValueError(f"{where}: low {low[at]:g} is above high {high[at]:g}")
    if log and (low <= 0.0).any():
        raise ValueError(f"{where}: a log_uniform distribution begins above 0, not at {low.min():g}")
    if name == "terrain":
        if distribution != "uniform" or low % 1.0 or high % 1.0:
            raise ValueError(f"{where}: which height field is drawn from low to high, two whole numbers, got {given!r}")
        second = second + 1.0  # all fields are equally long, the last one too
    offset = own if meaning[0] == "add" else np.zeros_like(own)
    factor = own if meaning[0] == "scale" else np.ones_like(own)
    if not factor.any():
        raise ValueError(f"{where}: the robot's own is 0, which no scale changes; give a value")
    _check_possible(where, name, offset + factor * low, offset + factor * high)
    start = np.log(low) if log else first
    span = second if normal else (np.log(high) if log else second) - start
    return np.stack([offset, factor, start, span, np.full_like(own, log), np.full_like(own, normal)])


def _numbers(where: str, given: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return low and high, or mean and standard deviation, (width,) each."""
    ends = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    try:
        first, second = (np.broadcast_to(np.asarray(end, dtype=np.float64), (width,)) for end in ends)
    except (TypeError, ValueError) as error:
        each = " or two lists of three" if width == 3 else ""
        raise ValueError(f"{where}: expected two numbers{each}, got {given!r}") from error
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError(f"{where}: the numbers must be finite, got {given!r}")
    return first, second


def _check_possible(where: str, name: str, *ends: np.ndarray) -> None:
    kind, lowest = name.partition(":")[0], min(end.min() for end in ends)
    if kind not in _SIGNED and (lowest < 0.0 or (lowest == 0.0 and kind in _POSITIVE)):
        bound = "above 0" if kind in _POSITIVE else "0 or more"
        raise ValueError(f"{where}: {kind} must be {bound}, but {lowest:g} can be drawn")
