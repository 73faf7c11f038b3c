"""Where bodies are while a robot file is read: frames of floats, from MuJoCo's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rpo_lightning.sim.algebra import rotation
from rpo_lightning.sim.quaternions import quat_product

__all__ = ["IDENTITY", "Place", "matrix", "xyzw"]

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def xyzw(wxyz: np.ndarray) -> np.ndarray:
    """Return MuJoCo's quaternion in our order."""
    return np.roll(wxyz, -1)


def matrix(quat: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of a quaternion."""
    return rotation(list(quat)).astype(float)


class Place(NamedTuple):
    """A frame on a link.

    Attributes:
        link: the link, -1 for the world. pos, quat: the frame in the link's, [m] and xyzw.
    """

    link: int
    pos: np.ndarray
    quat: np.ndarray

    def at(self, pos: np.ndarray, wxyz: np.ndarray) -> Place:
        """Return the frame that MuJoCo gives relative to this one."""
        return Place(self.link, self.pos + matrix(self.quat) @ pos, np.array(quat_product(self.quat, xyzw(wxyz))))
