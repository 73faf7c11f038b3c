"""Run an exported policy of Ant on plain MuJoCo: `python ant.py ant.onnx ../../src/rpo_lightning/robots/ant.xml`."""

import json
import sys
from collections.abc import Sequence

import mujoco
import numpy as np
import onnxruntime


def rotated(quat: np.ndarray, vector: Sequence[float]) -> np.ndarray:
    """Return a vector (3,) turned by a quaternion wxyz."""
    result = np.zeros(3)
    mujoco.mju_rotVecQuat(result, np.array(vector, dtype=float), quat)
    return result


def observe(qpos: np.ndarray, qvel: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the 37 numbers of the file's `observations` from MuJoCo's state; y is up, `start` is the start pose."""
    inverse, turn = np.zeros(4), np.zeros(4)
    mujoco.mju_negQuat(inverse, start[[6, 3, 4, 5]])  # this package's quaternions are xyzw
    mujoco.mju_mulQuat(turn, qpos[3:7], inverse)  # from the start pose to the present one
    up, ahead = rotated(turn, [0, 1, 0]), rotated(turn, [1, 0, 0])
    away = np.array([1e4 + start[0], start[2]]) - qpos[[0, 2]]
    heading = ahead[[0, 2]] @ away / np.linalg.norm(away)
    spin = rotated(qpos[3:7], qvel[3:6])  # MuJoCo's is in the body's axes
    parts = [qpos[1:2], qpos[[4, 5, 6, 3]], qvel[:3], spin, qpos[7:], 0.1 * qvel[6:], [up[1], heading], np.zeros(8)]
    return np.concatenate(parts).astype(np.float32)


def run(policy: str, robot: str, seconds: float = 10.0) -> float:
    """Return how far the robot comes [m]."""
    session = onnxruntime.InferenceSession(policy)
    told = {name: json.loads(session.get_modelmeta().custom_metadata_map[name]) for name in ("dt", "start")}
    model = mujoco.MjModel.from_xml_path(robot)
    substeps = round(told["dt"] / model.opt.timestep)
    model.opt.timestep = told["dt"] / substeps  # the policy acts every dt, exactly
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    for _ in range(round(seconds / told["dt"])):
        obs = observe(data.qpos, data.qvel, np.array(told["start"]))
        data.ctrl[:] = session.run(["control"], {"obs": obs[None]})[0][0]
        mujoco.mj_step(model, data, substeps)
    return data.qpos[0]


if __name__ == "__main__":
    print(f"{run(*sys.argv[1:3]):.2f} m in 10 s" if len(sys.argv) > 2 else __doc__)
