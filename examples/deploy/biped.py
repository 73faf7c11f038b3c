"""An exported policy of the biped in plain MuJoCo: `python biped.py biped.onnx ../../src/rpo_lightning/robots/biped.xml`."""

import json
import sys

import mujoco
import numpy as np
import onnxruntime

EPISODES, SECONDS, STRIDE = 16, 20.0, 1.25  # cycles of the gait in a second: the clock is the task's


def inward(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return a vector (3,) of world axes in those of a body turned by a quaternion wxyz."""
    back, result = np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(back, quat)
    mujoco.mju_rotVecQuat(result, vector, back)
    return result


def observe(
    qpos: np.ndarray, qvel: np.ndarray, stand: np.ndarray, command: np.ndarray, last: np.ndarray, seconds: float
) -> np.ndarray:
    """Return the file's 47 `observations`; MuJoCo's angular velocity is in the body's axes already."""
    down, turn = inward(qpos[3:7], np.array([0.0, 0.0, -1.0])), 2.0 * np.pi * STRIDE * seconds
    clock = [np.sin(turn), np.cos(turn)]
    return np.concatenate([qvel[3:6], down, command, qpos[7:] - stand, qvel[6:], last, clock]).astype(np.float32)


def run(policy: str, robot: str, cone: str = "pyramidal") -> str:
    """Return what became of 16 episodes of 20 s, each of one command: 0.4 to 0.8 m/s, turning by up to 0.3 rad/s."""
    session, rng = onnxruntime.InferenceSession(policy), np.random.default_rng(0)
    told = {name: json.loads(session.get_modelmeta().custom_metadata_map[name]) for name in ("dt", "start", "history")}
    model, stand = mujoco.MjModel.from_xml_path(robot), np.array(told["start"])[7:]
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model.opt.cone = getattr(mujoco.mjtCone, f"mjCONE_{cone.upper()}")
    data, measured, falls = mujoco.MjData(model), [], 0
    for _ in range(EPISODES):
        mujoco.mj_resetDataKeyframe(model, data, 0)
        action, seen = np.zeros(12, np.float32), np.zeros(0, np.float32)
        command = np.array([rng.uniform(0.4, 0.8), 0.0, rng.uniform(-0.3, 0.3)])
        for step in range(round(SECONDS / told["dt"])):
            obs = observe(data.qpos, data.qvel, stand, command, action, step * told["dt"])
            seen = np.tile(obs, told["history"]) if step == 0 else np.concatenate([obs, seen])[: len(seen)]
            action, control = (out[0] for out in session.run(["action", "control"], {"obs": seen[None]}))
            data.ctrl[:] = control
            mujoco.mj_step(model, data, round(told["dt"] / model.opt.timestep))
            velocity = inward(data.qpos[3:7], data.qvel[:3])[:2]
            touching = (data.contact.geom > 0).all(1).any()  # geom 0 is the ground
            measured.append((velocity[0], np.hypot(*(velocity - command[:2])), abs(data.qvel[5] - command[2]), touching))
            if inward(data.qpos[3:7], np.array([0.0, 0.0, 1.0]))[2] < 0.5 or data.qpos[2] < 0.5:
                falls += 1
                break
    speed, off, turning, touched = np.mean(measured, axis=0)
    return (
        f"{speed:.3f} m/s, {off:.3f} m/s and {turning:.3f} rad/s off, {falls} of {EPISODES} fell; "
        f"legs touched each other in {touched:.1%} of steps"
    )


if __name__ == "__main__":
    print(run(*sys.argv[1:4]) if len(sys.argv) > 2 else __doc__)
