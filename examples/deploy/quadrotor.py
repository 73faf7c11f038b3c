"""Fly in plain MuJoCo: `python quadrotor.py quadrotor.onnx ../../src/rpo_lightning/robots/quadrotor.xml`."""

import json
import sys

import mujoco
import numpy as np
import onnxruntime

TURN = 2 * np.pi / 6.0  # rate at which the reference goes round its figure of eight, 2 m x 1 m [rad/s]


def reference(time: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the reference is and how fast it moves, both (3,) [m, m/s]."""
    angle = TURN * time
    place = np.array([np.sin(angle), 0.5 * np.sin(2 * angle), 2.0])
    return place, TURN * np.array([np.cos(angle), np.cos(2 * angle), 0.0])


def observe(qpos: np.ndarray, qvel: np.ndarray, ways: list[np.ndarray], speed: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the 25 numbers of the file's `observations`, of where the reference is and will be, and its speed."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, qpos[3:7])
    world = [*(way - qpos[:3] for way in ways), speed - qvel[:3], np.eye(3)[2], np.eye(3)[0]]
    base = [vector @ axes.reshape(3, 3) for vector in world]
    return np.concatenate([*base, qvel[3:], last]).astype(np.float32)  # MuJoCo's angular velocity is in the base's axes


def run(policy: str, robot: str, seconds: float = 20.0) -> float:
    """Return how far it is from the reference in the mean, without the first two seconds [m]."""
    session = onnxruntime.InferenceSession(policy)
    dt = json.loads(session.get_modelmeta().custom_metadata_map["dt"])
    model = mujoco.MjModel.from_xml_path(robot)
    substeps = round(dt / model.opt.timestep)
    data, last, errors = mujoco.MjData(model), np.zeros(4), []
    for time in np.arange(0.0, seconds, dt):
        ways = [reference(time + ahead)[0] for ahead in (0.0, 0.2, 0.4)]
        errors.append(np.linalg.norm(ways[0] - data.qpos[:3]))
        obs = observe(data.qpos, data.qvel, ways, reference(time)[1], last)
        action, data.ctrl[:] = (out[0] for out in session.run(["action", "control"], {"obs": obs[None]}))
        last = action
        mujoco.mj_step(model, data, substeps)
    return float(np.mean(errors[round(2.0 / dt) :]))


if __name__ == "__main__":
    print(f"{run(*sys.argv[1:3]):.3f} m from the reference" if len(sys.argv) > 2 else __doc__)
