"""Reference values of the DeepMind Control tasks: states with the observation and reward that dm_control itself gives them.

    python3 -m venv /tmp/venv_dmc && /tmp/venv_dmc/bin/pip install "mujoco==3.17.0" "dm_control==1.0.50"
    MUJOCO_GL=disable OMP_NUM_THREADS=1 /tmp/venv_dmc/bin/python scripts/record_dmc.py

Needs exactly these versions, in an environment of their own: `suite.load` fails under mujoco 4. Writes one file a task,
`tests/data/dmc/<task>.npz`, the same at every call up to the last digits of another machine:

* `qpos` (64, nq), `qvel` (64, nv), `action` (64, nu), `obs` (64, D), `reward` (64,): observation and reward after
  `mj_forward` at exactly that state, with that control, zero `qacc_warmstart` and the options of dm_control's own XML. The
  first 32 are states of random-action episodes; the last 32 are set where the task may pay, every other one above 0.5.
* `target` (64, 2 or 3), where one moves: what the task drew in the state's episode, in the world: reacher x, y; finger_turn
  x, z; fish x, y, z. `target_size` (): its radius, the same in all episodes.
* `touch_playground` (64, 2), hopper and finger: the observation's touch part under Playground's options. It is the only part
  of any observation that depends on the solver or the friction cone (a log of contact forces); no reward does.
* `start_qpos` (256, nq), `start_qvel` (256, nv), `start_target` (256, 2 or 3): float32, starts under dm_control's options.
* `trajectory_qpos` (21, nq), `trajectory_qvel` (21, nv), cartpole, pendulum and cheetah: a start (zero `qacc_warmstart`) and
  the states after 20 control steps with `trajectory_action` (20, nu), all under Playground's options; `trajectory_obs`
  (20, D) and `trajectory_reward` (20,) after each step.
* JSON: `obs_names` (name -> size, in order), `names` (actuators, joints), `versions`, `info`: time steps, `episode_steps`,
  `playground` (the options), `model_changes`: entries of the model that `initialize_episode` sets: their value, or "random".
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from dm_control import suite
from dm_control.rl.control import Environment

Arrays = dict[str, Any]
Random = np.random.RandomState
Craft = Callable[[Any, str, Random], None]
"""Set a state where a task may pay: physics at the start of an episode, the task's name in its domain, random."""

VERSIONS = {"mujoco": "3.17.0", "dm_control": "1.0.50"}
FOUND = {name: version(name) for name in (*VERSIONS, "numpy")}
SEED = 20250711
EPISODES, STATES_PER_EPISODE, CRAFTED, STARTS, TRAJECTORY = 8, 4, 32, 256, 20
HIGH_REWARD = 0.5
TARGET_AXES = {"reacher": ["x", "y"], "finger": ["x", "z"], "fish": ["x", "y", "z"]}
EULER, IMPLICITFAST = int(mujoco.mjtIntegrator.mjINT_EULER), int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
PLAYGROUND = {
    "cartpole": {"timestep": 0.01, "iterations": 1, "ls_iterations": 4, "integrator": EULER},
    "pendulum": {"timestep": 0.01, "iterations": 4, "ls_iterations": 8, "integrator": EULER},
    "cheetah": {"timestep": 0.01, "iterations": 4, "ls_iterations": 8, "integrator": EULER},
    "hopper": {"timestep": 0.005, "iterations": 4, "ls_iterations": 10, "integrator": EULER},
    "finger": {"timestep": 0.005, "iterations": 2, "ls_iterations": 8, "integrator": IMPLICITFAST},
}
"""`mjOption` in MuJoCo Playground's XML files (playground 0.2.0), all with the damping's flag off and pyramidal cones. What
else they disable, contacts of cartpole and pendulum, gravity of finger, dm_control does too."""


def craft_pole(physics: Any, task: str, random: Random) -> None:
    """Poles of cartpole, pendulum and acrobot: upright, give or take a little or more."""
    physics.data.qpos[:] = random.choice([0.1, 0.5]) * random.randn(physics.model.nq)
    physics.data.qvel[:] = 0.7 * random.randn(physics.model.nv)


def craft_reacher(physics: Any, task: str, random: Random) -> None:
    """The finger near the target, the elbow to either side: inverse kinematics of two links of 0.12 m."""
    x, y = physics.named.model.geom_pos["target", ["x", "y"]]
    wrist = random.choice([-1, 1]) * np.arccos((x * x + y * y) / (2 * 0.12**2) - 1)
    physics.data.qpos[:] = np.array([np.arctan2(y, x) - wrist / 2, wrist]) + 0.3 * random.randn(2)
    physics.data.qvel[:] = random.randn(2)


def craft_cheetah(physics: Any, task: str, random: Random) -> None:
    """As it has settled on the floor, but moving forward."""
    physics.data.qvel[:] += random.randn(physics.model.nv)
    physics.data.qvel[0] = random.uniform(-2.0, 14.0)


def craft_walker(physics: Any, task: str, random: Random) -> None:
    """On its feet, knees bent a little, moving at up to one and a half of the task's speed."""
    data = physics.named.data
    physics.data.qpos[:] = 0.15 * random.randn(physics.model.nq)
    data.qpos["rootz"] = random.uniform(-0.3, 0.05)
    data.qpos[["right_knee", "left_knee"]] = -random.uniform(0.0, 0.5, 2)
    physics.data.qvel[:] = 0.5 * random.randn(physics.model.nv)
    data.qvel["rootx"] = random.uniform(-0.5, 1.5) * {"stand": 1.0, "walk": 1.0, "run": 8.0}[task]


def craft_hopper(physics: Any, task: str, random: Random) -> None:
    """On its foot, which is about to touch the floor or is a little in it, moving at up to one and a half times 2 m/s."""
    data = physics.named.data
    physics.data.qpos[:] = 0.15 * random.randn(physics.model.nq)
    data.qpos["rooty"] = 0.05 * random.randn()
    data.qpos[["hip", "knee", "ankle"]] = np.array([-0.5, 1.0, -0.5]) * random.uniform(0.1, 1.0) + 0.05 * random.randn(3)
    physics.forward()
    data.qpos["rootz"] -= data.xpos["foot", "z"] - random.uniform(0.03, 0.045)
    physics.data.qvel[:] = 0.5 * random.randn(physics.model.nv)
    data.qvel["rootx"] = random.uniform(-1.0, 3.0)


def craft_humanoid(physics: Any, task: str, random: Random) -> None:
    """Standing, moving in any direction at up to one and a half of the task's speed."""
    qpos, qvel = physics.data.qpos, physics.data.qvel
    qpos[:] = physics.model.qpos0 + 0.08 * random.randn(physics.model.nq)
    qpos[2] = random.uniform(1.1, 1.35)
    qpos[3:7] /= np.linalg.norm(qpos[3:7])
    qvel[:] = 0.3 * random.randn(physics.model.nv)
    speed, heading = random.uniform(0.0, 1.5) * {"stand": 0.5, "walk": 1.0, "run": 10.0}[task], random.uniform(-np.pi, np.pi)
    qvel[:2] = speed * np.cos(heading), speed * np.sin(heading)


def craft_ball_in_cup(physics: Any, task: str, random: Random) -> None:
    """The ball in the cup, on its rim or just out of it: the target is 0.025 m around 0.35 m above the ball's own zero."""
    cup = random.uniform(-0.2, 0.2, 2)
    physics.data.qpos[:] = np.append(cup, cup + np.array([0.0, 0.35]) + random.uniform(-0.035, 0.035, 2))
    physics.data.qvel[:] = random.randn(physics.model.nv)


def craft_finger(physics: Any, task: str, random: Random) -> None:
    """The hinge fast, or its tip in the target; the finger on the body that it turns, where such a pose is soon found."""
    data, joints = physics.named.data, ["proximal", "distal"]
    x, _, z = data.site_xpos["target"] - data.xpos["spinner"]
    data.qpos["hinge"] = random.uniform(-np.pi, np.pi) if task == "spin" else 0.4 * random.randn() - np.arctan2(x, z)
    physics.data.qvel[:] = random.randn(3)
    if task == "spin":
        data.qvel["hinge"] = random.uniform(-30.0, 5.0)
    for _ in range(200):
        data.qpos[joints] = random.uniform(*physics.named.model.jnt_range[joints].T)
        physics.forward()
        if physics.data.ncon and min(contact.dist for contact in physics.data.contact) > -0.01:
            break


def craft_fish(physics: Any, task: str, random: Random) -> None:
    """The mouth near the target, the fish upright more or less."""
    qpos, data = physics.data.qpos, physics.named.data
    quat = np.array([1.0, 0.0, 0.0, 0.0]) + 0.3 * random.randn(4)
    qpos[3:7] = quat / np.linalg.norm(quat)
    qpos[7:] = random.uniform(-0.5, 0.5, physics.model.nq - 7)
    physics.forward()
    qpos[:3] += data.geom_xpos["target"] - data.geom_xpos["mouth"] + 0.05 * random.randn(3)
    physics.data.qvel[:] = 0.5 * random.randn(physics.model.nv)


TASKS: dict[str, tuple[Craft, str]] = {
    "cartpole": (craft_pole, "balance balance_sparse swingup swingup_sparse"),
    "pendulum": (craft_pole, "swingup"),
    "reacher": (craft_reacher, "easy hard"),
    "cheetah": (craft_cheetah, "run"),
    "walker": (craft_walker, "stand walk run"),
    "hopper": (craft_hopper, "stand hop"),
    "humanoid": (craft_humanoid, "stand walk run"),
    "acrobot": (craft_pole, "swingup swingup_sparse"),
    "ball_in_cup": (craft_ball_in_cup, "catch"),
    "finger": (craft_finger, "spin turn_easy turn_hard"),
    "fish": (craft_fish, "swim"),
}


class Recorder:
    """One task of dm_control and what is recorded of it."""

    def __init__(self, domain: str, task: str, seed: int) -> None:
        self.domain, self.task = domain, task
        self.env = suite.load(domain, task, task_kwargs={"random": seed})
        self.physics, self.data, self.model = self.env.physics, self.env.physics.data, self.env.physics.model
        self.random = Random(seed + 1)
        self.has_target = domain in TARGET_AXES and task != "spin"

    def record(self) -> Arrays:
        """Return everything that the task's file holds."""
        dt, steps = self.env.control_timestep(), round(self.env._step_limit)
        info = {"timestep": self.physics.timestep(), "control_timestep": dt, "episode_steps": steps}
        arrays, info["model_changes"] = self.starts()
        arrays |= stacked(self.episode_states() + self.crafted_states())
        if self.has_target:
            named = self.physics.named.model
            arrays["target_size"] = (named.site_size if self.domain == "finger" else named.geom_size)["target", 0]
        sizes = {name: int(np.size(value)) for name, value in self.env.task.get_observation(self.physics).items()}
        # From here on the model has Playground's options.
        info["playground"] = PLAYGROUND.get(self.domain)
        for key, value in PLAYGROUND.get(self.domain, {}).items():
            setattr(self.model.opt, key, value)
        self.model.opt.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP
        if "touch" in sizes:
            states = zip(arrays["qpos"], arrays["qvel"], arrays["action"], strict=True)
            arrays["touch_playground"] = np.stack([self.forward(*state)["touch"] for state in states])
        if self.domain in ("cartpole", "pendulum", "cheetah"):
            arrays |= self.trajectory(dt)
        kinds = {"actuator": self.model.nu, "joint": self.model.njnt}
        names = {f"{kind}s": [self.model.id2name(index, kind) for index in range(size)] for kind, size in kinds.items()}
        strings = {"obs_names": sizes, "names": names, "info": info, "versions": FOUND}
        return arrays | {key: np.array(json.dumps(value)) for key, value in strings.items()}

    def starts(self) -> tuple[Arrays, dict[str, Any]]:
        """Return episode starts, and the entries of the model that starting sets: their value, or "random"."""
        model = self.model.ptr
        fields = [name for name in dir(model) if isinstance(getattr(model, name), np.ndarray) and not name.endswith("rgba")]
        before = {name: getattr(model, name).copy() for name in fields}
        changes: dict[str, Any] = {}
        rows = []
        for _ in range(STARTS):
            self.env.reset()
            rows.append(self.snapshot())
            for name in fields:
                now = getattr(model, name)
                for index in np.argwhere(now != before[name]):
                    key, value = f"{name}{index.tolist()}", float(now[tuple(index)])
                    changes[key] = value if changes.get(key, value) == value else "random"
        return {f"start_{key}": value.astype(np.float32) for key, value in stacked(rows).items()}, changes

    def episode_states(self) -> list[Arrays]:
        """Return states of episodes of random actions, each held for five steps."""
        states = []
        for _ in range(EPISODES):
            self.env.reset()
            for _ in range(STATES_PER_EPISODE):
                for _ in range(self.random.randint(1, 8)):
                    action = self.random.uniform(-1.0, 1.0, self.model.nu)
                    for _ in range(5):
                        self.env.step(action)
                states.append(self.state())
        return states

    def crafted_states(self) -> list[Arrays]:
        """Return states that `TASKS` crafts, each of its own episode; every other one is drawn until its reward is high."""
        states: list[Arrays] = []
        while len(states) < CRAFTED:
            self.env.reset()
            TASKS[self.domain][0](self.physics, self.task, self.random)
            candidate = self.state()
            if len(states) % 2 == 0 or candidate["reward"] > HIGH_REWARD:
                states.append(candidate)
        return states

    def trajectory(self, dt: float) -> Arrays:
        """Return the first steps of an episode, with the options the model has now."""
        env = Environment(self.physics, self.env.task, control_timestep=dt)
        env.reset()
        self.data.qacc_warmstart[:] = 0.0
        rows, states = [], [self.snapshot()]
        for _ in range(TRAJECTORY):
            step = env.step(action := self.random.uniform(-1.0, 1.0, self.model.nu))
            rows.append({"action": action, "obs": flat(step.observation), "reward": float(step.reward)})
            states.append(self.snapshot())
        return {f"trajectory_{key}": value for key, value in (stacked(rows) | stacked(states)).items()}

    def state(self) -> Arrays:
        """Return the state the physics is in, and its observation and reward with a random action."""
        entry, action = self.snapshot(), self.random.uniform(-1.0, 1.0, self.model.nu)
        obs = flat(self.forward(entry["qpos"], entry["qvel"], action))
        return entry | {"action": action, "obs": obs, "reward": np.squeeze(self.env.task.get_reward(self.physics))}

    def forward(self, qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray) -> Arrays:
        """Compute everything at this state and return the observation. The model, so the target, stays as it is."""
        self.data.qpos[:], self.data.qvel[:], self.data.qacc_warmstart[:] = qpos, qvel, 0.0
        self.physics.set_control(action)
        self.physics.forward()
        return self.env.task.get_observation(self.physics)

    def snapshot(self) -> Arrays:
        """Return the state, and where the target of the episode is."""
        entry, model = {"qpos": self.data.qpos.copy(), "qvel": self.data.qvel.copy()}, self.physics.named.model
        if self.has_target:
            position = model.site_pos if self.domain == "finger" else model.geom_pos
            entry["target"] = np.array(position["target", TARGET_AXES[self.domain]])
        return entry


def flat(observation: Arrays) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in observation.values()])


def stacked(rows: list[Arrays]) -> Arrays:
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "tests/data/dmc", help="folder")
    args = parser.parse_args()
    if not VERSIONS.items() <= FOUND.items():
        sys.exit(f"needs {VERSIONS}, found {FOUND}")
    args.output.mkdir(parents=True, exist_ok=True)
    pairs = [(domain, task) for domain, (_, tasks) in TASKS.items() for task in tasks.split()]
    for number, (domain, task) in enumerate(pairs):
        arrays = Recorder(domain, task, SEED + 10 * number).record()
        path = args.output / f"{domain}_{task}.npz"
        np.savez_compressed(path, **arrays)
        reward, size = arrays["reward"], path.stat().st_size // 1024
        rewards = f"reward {reward.min():.3f} to {reward.max():.3f}, mean {reward.mean():.3f}"
        print(f"{number + 1:2}/{len(pairs)} {path.stem}: obs {arrays['obs'].shape}, {rewards}, {size} KB", flush=True)


if __name__ == "__main__":
    main()
