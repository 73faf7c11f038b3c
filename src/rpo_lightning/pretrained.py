"""Policies that come with the package, by the names of their tasks."""

from __future__ import annotations

from pathlib import Path

from rpo_lightning.discovery import PACKAGE, nearest

__all__ = ["FILES", "find", "names"]

FILES = {
    "ant": "ant/rpo/seed_0",
    "anymal": "anymal/rpo/seed_0",
    "arm_reach": "arm_reach/rpo/seed_0",
    "biped": "biped/rpo/seed_0",
    "cartpole": "cartpole/rpo/seed_0",
    "cheetah": "cheetah/rpo/seed_0",
    "dmc/acrobot_swingup": "dmc/acrobot_swingup/ppo/seed_0",
    "dmc/ball_in_cup_catch": "dmc/ball_in_cup_catch/sac/seed_0",
    "dmc/cartpole_balance": "dmc/cartpole_balance/sac/seed_0",
    "dmc/cartpole_balance_sparse": "dmc/cartpole_balance_sparse/sac/seed_0",
    "dmc/cartpole_swingup": "studies/budget_0.11/dmc/cartpole_swingup/reppo-cpu128/seed_0",
    "dmc/cartpole_swingup_sparse": "dmc/cartpole_swingup_sparse/sac/seed_0",
    "dmc/cheetah_run": "studies/budget_0.2/dmc/cheetah_run/reppo-cpu/seed_0",
    "dmc/finger_spin": "dmc/finger_spin/sac/seed_0",
    "dmc/finger_turn_easy": "dmc/finger_turn_easy/sac/seed_0",
    "dmc/finger_turn_hard": "dmc/finger_turn_hard/sac/seed_0",
    "dmc/fish_swim": "dmc/fish_swim/sac/seed_0",
    "dmc/hopper_stand": "dmc/hopper_stand/sac/seed_0",
    "dmc/pendulum_swingup": "dmc/pendulum_swingup/sac/seed_0",
    "dmc/reacher_easy": "dmc/reacher_easy/sac/seed_0",
    "dmc/reacher_hard": "dmc/reacher_hard/sac/seed_0",
    "dmc/walker_run": "dmc/walker_run/sac/seed_0",
    "dmc/walker_stand": "dmc/walker_stand/sac/seed_0",
    "dmc/walker_walk": "dmc/walker_walk/sac/seed_0",
    "double_pendulum": "double_pendulum/rpo/seed_0",
    "hand_reorient": "hand_reorient/rpo/seed_0",
    "hopper": "hopper/rpo/seed_0",
    "humanoid": "humanoid/rpo/seed_0",
    "quadrotor": "quadrotor/rpo/seed_0",
    "quadruped": "quadruped/rpo/seed_0",
    "quadruped_rough": "quadruped_rough/rpo/seed_1",
}
"""Task -> the folder of its best recorded run in `results/`, whose policy.pt a wheel holds as `pretrained/<task>.pt`."""


def names() -> list[str]:
    """Return the tasks that have a policy here."""
    return [name for name in FILES if _file(name).is_file()]


def find(path: str | Path) -> Path:
    """Return the file of a policy: a path, or the name of a task that has one.

    Raises:
        ValueError: if there is none.
    """
    if (file := Path(path)).is_file():
        return file
    if str(path) in names():
        return _file(str(path))
    if file.exists():
        raise ValueError(f"{path} is a folder, no policy.")
    known = names()
    hint = nearest(str(path), known) or f" Policies of this package: {', '.join(known)}."
    raise ValueError(f"No policy at {path}.{hint}")


def _file(name: str) -> Path:
    """Return where a policy is: packaged with an installed wheel, in `results/` of a working copy."""
    packaged = PACKAGE / "pretrained" / f"{name}.pt"
    return packaged if packaged.is_file() else PACKAGE.parents[1] / "results" / FILES[name] / "policy.pt"
