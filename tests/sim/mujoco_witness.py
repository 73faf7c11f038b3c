"""MuJoCo as an independent witness of our accelerations."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch

from rpo_lightning.sim import Joint, Model, to_mujoco


def without_constraints(mj: Any) -> Any:
    """Switch off contact, limits and friction loss, whose laws are not ours."""
    mj.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    return mj


def acceleration(
    mj: Any, model: Model, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor, control: torch.Tensor | None = None
) -> torch.Tensor:
    """qacc of MuJoCo, turned into the rate of change of our velocities; controls are those of the model's actuators."""
    data = mujoco.MjData(mj)
    qpos, qvel = to_mujoco(model, q.double(), qd.double())
    rows = []
    for n in range(len(q)):
        data.qpos[:], data.qvel[:] = qpos[n].numpy(), qvel[n].numpy()
        if control is not None:
            data.ctrl[:] = control[n].numpy()
        # a force on our twist coordinates, as MuJoCo's: power is the same, sum f qd = sum f' qvel, and qvel = T qd
        everywhere = q[n : n + 1].double().expand(model.nd, -1)
        transform = to_mujoco(model, everywhere, torch.eye(model.nd, dtype=torch.float64))[1].T.numpy()
        data.qfrc_applied[:] = np.linalg.solve(transform.T, force[n].double().numpy())
        mujoco.mj_forward(mj, data)
        rates = np.linalg.solve(transform, data.qacc)
        for index, link in enumerate(model.links):
            if link.joint is Joint.FREE:
                # d/dt of v = v_body - w x p adds - w x dp/dt, dp/dt being MuJoCo's linear velocity
                at = model.dofs(index).start
                rates[at + 3 : at + 6] -= np.cross(qd[n, at : at + 3].double().numpy(), qvel[n, at : at + 3].numpy())
        rows.append(rates)
    return torch.tensor(np.array(rows))
