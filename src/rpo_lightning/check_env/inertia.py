"""What a robot weighs where it is pushed: joint-space inertia and Jacobians in double precision."""

from __future__ import annotations

import numpy as np

from rpo_lightning.sim import Model
from rpo_lightning.sim.algebra import ZERO, cross, vector
from rpo_lightning.sim.kinematics import kinematics
from rpo_lightning.sim.rebuilds import joint_inertia

__all__ = ["Pose"]


class Pose:
    """A robot standing still.

    Attributes:
        inertia: (nd, nd) joint-space mass matrix, armature included.

    Args:
        model: the robot.
        q: (nq,) its pose.
    """

    def __init__(self, model: Model, q: np.ndarray) -> None:
        self._model, self._frames = model, kinematics(model, q.tolist(), ZERO)
        self.inertia = joint_inertia(model, q)

    def place(self, link: int, points: np.ndarray) -> np.ndarray:
        """Return where points (K, 3) of a link are in the world, (K, 3) [m]."""
        if link < 0:
            return points
        frame = self._frames[link]
        return frame.position.astype(float) + points @ frame.rotation.astype(float).T

    def jacobian(self, link: int, point: np.ndarray) -> np.ndarray:
        """Return (3, nd): the velocity that each rate gives to a link's material at a point (3,) of the world."""
        columns = np.zeros((3, self._model.nd))
        while link >= 0:
            for dof, (w, v) in enumerate(self._frames[link].columns, self._model.qd_start[link]):
                columns[:, dof] = (v + cross(w, vector(point))).astype(float)
            link = self._model.links[link].parent
        return columns

    def effective(self, dof: int) -> float:
        """Return the inertia that a force on one degree of freedom meets while all others give way, 1 / (M^-1)_ii."""
        row = np.zeros((1, self._model.nd))
        row[0, dof] = 1.0
        return 1.0 / self.response(row)

    def response(self, rows: np.ndarray) -> float:
        """Return the largest eigenvalue of R M^-1 R^T for rows R (K, nd): what pushing along them together accelerates."""
        if not rows.any():
            return 0.0
        return float(np.linalg.eigvalsh(rows @ np.linalg.solve(self.inertia, rows.T))[-1])
