"""Where bodies are while a robot file is read: frames of floats, from MuJoCo's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rpo_lightning.sim.algebra import quat_multiply, rotation

__all__ = ["IDENTITY", "Place", "matrix", "multiply", "xyzw"]

IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def xyzw(wxyz: np.ndarray) -> np.ndarray:
    """Return MuJoCo's quaternion in our order."""
    return np.roll(wxyz, -1)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product of two quaternions."""
    return np.array(quat_multiply(a.tolist(), b.tolist()))


def matrix(quat: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of a quaternion."""
    return rotation(quat.tolist()).astype(float)


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
        return Place(self.link, self.pos + matrix(self.quat) @ pos, multiply(self.quat, xyzw(wxyz)))
