"""Reach in plain MuJoCo: `python arm_reach.py arm_reach.onnx ../../src/rpo_lightning/robots/arm.xml`."""

import json
import sys

import mujoco
import numpy as np
import onnxruntime


def observe(data: mujoco.MjData, start: np.ndarray, target: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the 27 numbers of the file's `observations`; `start` is the start pose."""
    parts = [data.qpos - start, data.qvel, target - data.site("tool").xpos, target, last]
    return np.concatenate(parts).astype(np.float32)


def run(policy: str, robot: str, targets: int = 50) -> float:
    """Return how far the tool is from targets, 1 s after each is given, in the mean [m]."""
    session = onnxruntime.InferenceSession(policy)
    told = {name: json.loads(session.get_modelmeta().custom_metadata_map[name]) for name in ("dt", "start")}
    model, start, random = mujoco.MjModel.from_xml_path(robot), np.array(told["start"]), np.random.default_rng(0)
    substeps = round(told["dt"] / model.opt.timestep)
    data, elsewhere, last, errors = mujoco.MjData(model), mujoco.MjData(model), np.zeros(7), []
    data.qpos[:] = start
    while len(errors) < targets:
        # where the tool is at random joint angles, if that is clear of the ground and of the base
        elsewhere.qpos[:] = start + random.uniform(-1.0, 1.0, 7) * [1.3, 0.7, 0.7, 0.7, 0.7, 0.7, 0.0]
        mujoco.mj_kinematics(model, elsewhere)
        target = elsewhere.site("tool").xpos
        if target[2] < 0.05 or np.linalg.norm(target[:2]) < 0.25:
            continue
        for _ in range(round(1.0 / told["dt"])):
            mujoco.mj_kinematics(model, data)
            obs = observe(data, start, target, last)
            action, data.ctrl[:] = (out[0] for out in session.run(["action", "control"], {"obs": obs[None]}))
            last = action
            mujoco.mj_step(model, data, substeps)
        mujoco.mj_kinematics(model, data)
        errors.append(np.linalg.norm(target - data.site("tool").xpos))
    return float(np.mean(errors))


if __name__ == "__main__":
    print(f"{run(*sys.argv[1:3]):.4f} m from the targets" if len(sys.argv) > 2 else __doc__)
