"""What a random pose may be, by the rule that most tasks of the suite share (dm_control/suite/utils, Apache-2.0)."""

from __future__ import annotations

import math

import mujoco
import torch
from torch import Tensor

__all__ = ["pose_range"]


def pose_range(model: mujoco.MjModel) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest (nq,) positions, in m and rad, that a random pose is drawn from, float64.

    A joint with limits may be anywhere within them, a hinge without them at any angle in [-pi, pi]. Free joints and slides
    without limits stay where the model has them.
    """
    low, high = torch.from_numpy(model.qpos0.copy()), torch.from_numpy(model.qpos0.copy())
    for joint in range(model.njnt):
        address = int(model.jnt_qposadr[joint])
        if model.jnt_limited[joint]:
            low[address], high[address] = model.jnt_range[joint].tolist()
        elif model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
            low[address], high[address] = -math.pi, math.pi
    return low, high
