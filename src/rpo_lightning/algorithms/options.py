"""What an algorithm's options may be, checked once for Python and the command line, before anything is built."""

from __future__ import annotations

import math
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Range", "above", "at_least", "check_options", "within"]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included unless open; infinite ones only if told."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    infinite: bool = False

    def __contains__(self, value: float) -> bool:
        above_low = value > self.low if self.low_open else value >= self.low
        below_high = value < self.high if self.high_open else value <= self.high
        return above_low and below_high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.low_open else 'at least'} {self.low:g}"
        return f"within {'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"


def at_least(low: float, infinite: bool = False) -> Range:
    """Return the numbers from `low` on; with `infinite` infinity too, where that switches a bound off."""
    return Range(low, infinite=infinite)


def above(low: float, infinite: bool = False) -> Range:
    """Return the numbers beyond `low`; infinity as in `at_least`."""
    return Range(low, low_open=True, infinite=infinite)


def within(low: float, high: float, low_open: bool = False, high_open: bool = False) -> Range:
    """Return the numbers between two bounds."""
    return Range(low, high, low_open, high_open)


def check_options(cls: type, given: Mapping[str, Any]) -> None:
    """Check the values of a class's constructor by their annotations and by `ranges` of the class and its bases.

    Literals name their choices, numbers must be finite unless their range says otherwise, None stands only where the
    annotation has it.

    Raises:
        ValueError: for a value that cannot be used, naming class, option and what is possible.
    """
    kinds: dict[str, Any] = {}
    ranges: dict[str, Range] = {}
    for base in reversed(cls.__mro__):
        if "__init__" in vars(base) and base is not object:
            try:
                hints = typing.get_type_hints(vars(base)["__init__"])
            except NameError:  # a name that is imported for type checkers alone: what it annotates goes unchecked
                hints = {}
            kinds |= {name: kind for name, kind in hints.items() if name != "return"}
        ranges |= vars(base).get("ranges", {})
    for name, value in given.items():
        if (wrong := _fault(value, kinds.get(name, Any), ranges.get(name))) is not None:
            raise ValueError(f"{cls.__name__}: {name} must be {wrong}, not {value!r}.")


def _fault(value: Any, kind: Any, allowed: Range | None) -> str | None:
    """Return what a value must be and is not, or None."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        faults = [_fault(value, each, allowed) for each in arguments if each is not type(None)]
        nothing = ["null"] if type(None) in arguments else []
        return None if None in faults else " or ".join(dict.fromkeys([*filter(None, faults), *nothing]))
    if origin is Literal:
        return None if value in arguments else f"one of {', '.join(map(str, arguments))}"
    if kind is bool:
        return None if isinstance(value, bool) else "true or false"
    if kind in (int, float):
        return _number_fault(value, kind, allowed)
    if origin is tuple or (origin is not None and isinstance(origin, type) and issubclass(origin, Sequence)):
        inner = [each for each in arguments if each is not Ellipsis]
        if isinstance(value, str) or not isinstance(value, Sequence):
            return "a list"
        if origin is tuple and Ellipsis not in arguments and len(value) != len(inner):
            return f"{len(inner)} numbers"
        pairs = zip(value, inner if len(inner) == len(value) else inner * len(value), strict=False)
        return next((f"a list of numbers that are {f}" for each, k in pairs if (f := _fault(each, k, allowed))), None)
    return "given" if value is None and kind is not Any else None


def _number_fault(value: Any, kind: type, allowed: Range | None) -> str | None:
    kinds = numbers.Integral if kind is int else numbers.Real  # NumPy's scalars are numbers too
    finite_only = allowed is None or not allowed.infinite
    if not isinstance(value, kinds) or isinstance(value, bool) or math.isnan(value) or (finite_only and math.isinf(value)):
        return "a whole number" if kind is int else "a number"
    return None if allowed is None or float(value) in allowed else str(allowed)
