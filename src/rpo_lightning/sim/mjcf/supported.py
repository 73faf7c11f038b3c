"""Which kinds of shapes the engine lets touch each other."""

from __future__ import annotations

from itertools import product

__all__ = ["ordered"]

_KINDS = ("sphere", "capsule", "box", "cylinder", "plane", "hfield")
_SUPPORTED = {
    *(pair for pair in product(_KINDS[:3], repeat=2) if _KINDS.index(pair[0]) <= _KINDS.index(pair[1])),
    ("sphere", "cylinder"),
    *product(_KINDS[:4], ("plane",)),
    *product(_KINDS[:3], ("hfield",)),
}


def ordered(first: str, second: str) -> bool | None:
    """Return whether two kinds must be swapped to be in the engine's order; None: they are not simulated."""
    if (first, second) in _SUPPORTED:
        return False
    return True if (second, first) in _SUPPORTED else None
