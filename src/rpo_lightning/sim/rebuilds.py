"""How often the mass matrix of a robot is rebuilt where nobody says so."""

from __future__ import annotations

import numpy as np

from rpo_lightning.sim.algebra import ZERO
from rpo_lightning.sim.dynamics import mass_matrix
from rpo_lightning.sim.model import Model

__all__ = ["friction_is_steep", "joint_inertia", "usual_interval"]

_REBUILDS = 4  # of the mass matrix a step: after 12 steps of Ant 1.0 % from 128-fold finer ones, as with 16; with 1 3.0 %
_STEEP = 2.0  # of h c / I, where explicit damping becomes unstable


def usual_interval(model: Model, h: float, substeps: int) -> int:
    """Return how many substeps a mass matrix serves: a quarter of the step, or one where what is in it changes too fast.

    Implicit damping is part of it, as it is at the rebuild: that of servos ends where a force is clamped, and dry friction's
    is small for a joint that moves and large for one that rests, so that a light one would tremble for some substeps.

    Args:
        model: the robot.
        h: length of a substep [s].
        substeps: of a step.
    """
    fresh = model.damping_switches or (model.damping == "implicit" and friction_is_steep(model, h))
    return 1 if fresh else max(1, substeps // _REBUILDS)


def friction_is_steep(model: Model, h: float) -> bool:
    """Tell whether dry friction of some joint or tendon, in the start pose, has to act implicitly in substeps of `h` [s]."""
    joints = [link for link in model.links for _ in range(link.joint.dofs)]
    rows = [(link.frictionloss, unit) for link, unit in zip(joints, np.eye(model.nd), strict=True)]
    for tendon in model.tendons:
        along = np.zeros(model.nd)
        for dof, coefficient in tendon.moment:
            along[dof] += coefficient
        rows.append((tendon.frictionloss, along))
    if not any(loss for loss, _ in rows):
        return False
    damped = joint_inertia(model, model.start) + h * np.diag([link.damping + link.limit_kd for link in joints])
    inverse = np.linalg.pinv(damped, hermitian=True)
    return max(h * loss * float(row @ inverse @ row) for loss, row in rows) > _STEEP * model.friction_width


def joint_inertia(model: Model, q: np.ndarray) -> np.ndarray:
    """Return the joint-space mass matrix (nd, nd) in a pose (nq,), armature included."""
    inertia = np.diag([float(link.armature) for link in model.links for _ in range(link.joint.dofs)])
    for (row, column), value in mass_matrix(model, q.tolist(), ZERO).items():
        inertia[row, column] += float(value)  # type: ignore[arg-type]  # of floats
        inertia[column, row] = inertia[row, column]
    return inertia
