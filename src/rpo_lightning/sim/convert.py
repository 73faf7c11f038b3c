"""Between MuJoCo's coordinates and the engine's, and between a twist about the world origin and a body's velocity."""

from __future__ import annotations

import torch

from rpo_lightning.sim.model import Joint, Model
from rpo_lightning.sim.quaternions import quat_rotate

__all__ = ["from_mujoco", "to_mujoco", "velocity_at"]


def from_mujoco(model: Model, qpos: torch.Tensor, qvel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (q, qd) for MuJoCo's (qpos, qvel), each (N, ...).

    MuJoCo has quaternions wxyz and, for a free joint, the velocity of the body's origin and the local angular velocity;
    here quaternions are xyzw and the velocity is a twist about the world origin.

    Raises:
        ValueError: for widths that are not the model's.
    """
    _check_widths(model, qpos, qvel)
    q, qd = qpos.clone(), qvel.clone()
    for index, link in enumerate(model.links):
        start, dof = model.q_start[index], model.qd_start[index]
        if link.joint is Joint.FREE:
            quat = qpos[:, start + 3 : start + 7].roll(-1, dims=1)
            w = quat_rotate(quat, qvel[:, dof + 3 : dof + 6])
            q[:, start + 3 : start + 7], qd[:, dof : dof + 3] = quat, w
            qd[:, dof + 3 : dof + 6] = qvel[:, dof : dof + 3] - torch.linalg.cross(w, qpos[:, start : start + 3])
        elif link.joint is Joint.BALL:
            q[:, start : start + 4] = qpos[:, start : start + 4].roll(-1, dims=1)
    return q, qd


def to_mujoco(model: Model, q: torch.Tensor, qd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return MuJoCo's (qpos, qvel) for (q, qd), each (N, ...); the inverse of `from_mujoco`.

    Raises:
        ValueError: for widths that are not the model's.
    """
    _check_widths(model, q, qd)
    qpos, qvel = q.clone(), qd.clone()
    for index, link in enumerate(model.links):
        start, dof = model.q_start[index], model.qd_start[index]
        if link.joint is Joint.FREE:
            quat, w = q[:, start + 3 : start + 7], qd[:, dof : dof + 3]
            qpos[:, start + 3 : start + 7] = quat.roll(1, dims=1)
            qvel[:, dof : dof + 3] = velocity_at(w, qd[:, dof + 3 : dof + 6], q[:, start : start + 3])
            inverse = torch.cat([-quat[:, :3], quat[:, 3:]], dim=1)
            qvel[:, dof + 3 : dof + 6] = quat_rotate(inverse, w)
        elif link.joint is Joint.BALL:
            qpos[:, start : start + 4] = q[:, start : start + 4].roll(1, dims=1)
    return qpos, qvel


def velocity_at(w: torch.Tensor, v: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Return the velocity (N, 3) of a body's point at `position` (N, 3), given its twist (w, v) about the world origin.

    The rates of a free joint are such a twist, each (N, 3) [rad/s, m/s]; at its coordinates the point is the body's origin.
    """
    return v + torch.linalg.cross(w, position)


def _check_widths(model: Model, q: torch.Tensor, qd: torch.Tensor) -> None:
    for what, tensor, width in (("coordinates", q, model.nq), ("velocities", qd, model.nd)):
        if tensor.dim() != 2 or tensor.shape[1] != width:
            raise ValueError(f"{what} must have shape (N, {width}), got {tuple(tensor.shape)}")
