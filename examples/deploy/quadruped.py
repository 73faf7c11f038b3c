"""An exported policy of the quadruped in plain MuJoCo: `python quadruped.py quadruped.onnx ROBOT.xml [elliptic]`."""

import json
import sys

import mujoco
import numpy as np
import onnxruntime

EPISODES, SECONDS, COMMAND_SECONDS = 16, 20.0, 5.0


def inward(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return a vector (3,) of world axes in those of a body turned by a quaternion wxyz."""
    back, result = np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(back, quat)
    mujoco.mju_rotVecQuat(result, vector, back)
    return result


def observe(qpos: np.ndarray, qvel: np.ndarray, stand: np.ndarray, command: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the file's 45 `observations`; MuJoCo's angular velocity is in the body's axes already."""
    down = inward(qpos[3:7], np.array([0.0, 0.0, -1.0]))
    return np.concatenate([qvel[3:6], down, command, qpos[7:] - stand, qvel[6:], last]).astype(np.float32)


def run(policy: str, robot: str, cone: str = "pyramidal") -> str:
    """Return what became of 16 episodes of 20 s, each of four commands up to 1 m/s and 1 rad/s."""
    session, rng = onnxruntime.InferenceSession(policy), np.random.default_rng(0)
    told = {name: json.loads(session.get_modelmeta().custom_metadata_map[name]) for name in ("dt", "start", "history")}
    model, stand = mujoco.MjModel.from_xml_path(robot), np.array(told["start"])[7:]
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model.opt.cone = getattr(mujoco.mjtCone, f"mjCONE_{cone.upper()}")
    data, errors, falls = mujoco.MjData(model), [], 0
    for _ in range(EPISODES):
        mujoco.mj_resetDataKeyframe(model, data, 0)
        action, seen = np.zeros(12, np.float32), np.zeros(0, np.float32)
        for step in range(round(SECONDS / told["dt"])):
            if step % round(COMMAND_SECONDS / told["dt"]) == 0:
                command = rng.uniform(-1.0, 1.0, 3)
            obs = observe(data.qpos, data.qvel, stand, command, action)
            seen = np.tile(obs, told["history"]) if step == 0 else np.concatenate([obs, seen])[: len(seen)]
            action, control = (out[0] for out in session.run(["action", "control"], {"obs": seen[None]}))
            data.ctrl[:] = control
            mujoco.mj_step(model, data, round(told["dt"] / model.opt.timestep))
            error = np.array([*inward(data.qpos[3:7], data.qvel[:3])[:2], data.qvel[5]]) - command
            errors.append((np.hypot(*error[:2]), abs(error[2])))
            if inward(data.qpos[3:7], np.array([0.0, 0.0, 1.0]))[2] < 0.5 or data.qpos[2] < 0.16:
                falls += 1
                break
    return "{:.3f} m/s and {:.3f} rad/s off, {} of {} fell".format(*np.mean(errors, axis=0), falls, EPISODES)


if __name__ == "__main__":
    print(run(*sys.argv[1:4]) if len(sys.argv) > 2 else __doc__)
