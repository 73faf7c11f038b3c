"""Run an exported policy of examples/walker on plain MuJoCo: `python walker.py walker.onnx ../walker/walker.xml`."""

import json
import sys

import mujoco
import numpy as np
import onnxruntime


def observe(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """Return the file's 17 `observations`: all but the forward position, and velocities in 10 m/s or 10 rad/s."""
    return np.concatenate([qpos[1:], 0.1 * qvel]).astype(np.float32)


def run(policy: str, robot: str, seconds: float = 10.0) -> float:
    """Return how far the robot comes [m]."""
    session = onnxruntime.InferenceSession(policy)
    dt = json.loads(session.get_modelmeta().custom_metadata_map["dt"])
    model = mujoco.MjModel.from_xml_path(robot)
    substeps = round(dt / model.opt.timestep)
    model.opt.timestep = dt / substeps  # the policy acts every dt, exactly
    data = mujoco.MjData(model)
    for _ in range(round(seconds / dt)):
        data.ctrl[:] = session.run(["control"], {"obs": observe(data.qpos, data.qvel)[None]})[0][0]
        mujoco.mj_step(model, data, substeps)
    return data.qpos[0]


if __name__ == "__main__":
    print(f"{run(*sys.argv[1:3]):.2f} m in 10 s" if len(sys.argv) > 2 else __doc__)
