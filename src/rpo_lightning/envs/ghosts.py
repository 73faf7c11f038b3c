"""What is drawn where a target is, though nothing is there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Ghost"]


class Ghost(NamedTuple):
    """A shape that stands for a target in pictures.

    Attributes:
        name: of the target. kind: "sphere", "box", "capsule", "cylinder" or "ellipsoid".
        size: as in MJCF [m].
        position: (N, 3) in the task's axes [m]. quat: (N, 4) xyzw; None: not turned.
    """

    name: str
    kind: str
    size: tuple[float, ...]
    position: Tensor
    quat: Tensor | None = None
