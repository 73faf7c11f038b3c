"""What is known of a vector environment's observations and actions: much of MuJoCo's tasks, else numbers and bounds."""

from __future__ import annotations

from typing import Any

import mujoco

from rpo_lightning.envs import tables
from rpo_lightning.envs.tables import ActionRow, Quantity, numbered, numbered_actions

__all__ = ["action_rows", "observation_rows", "seconds_of_a_step", "worlds"]


def observation_rows(env: Any) -> list[Quantity]:
    """Return a row for each entry of a `gymnasium.vector.VectorEnv`'s observation; `obs[0]`, ... where nothing is known.

    Tasks on MuJoCo say in `observation_structure` how much of which array they show.
    """
    width = env.single_observation_space.shape[0]
    single = _single(env)
    structure, model = getattr(single, "observation_structure", None), _model(single)
    if isinstance(structure, dict) and model is not None:
        known = {"qpos": tables.positions(model), "qvel": tables.velocities(model)}
        known["qpos"] = known["qpos"][structure.get("skipped_qpos", 0) :]
        rows: list[Quantity] = []
        for name, count in structure.items():
            if not name.startswith("skipped"):
                rows += known[name] if len(known.get(name, ())) == count else numbered(name, count)
        if len(rows) == width:  # not so where a wrapper shows something else
            return rows
    return [Quantity(f"obs[{index}]") for index in range(width)]


def action_rows(env: Any) -> list[ActionRow]:
    """Return a row for each entry of an action, -1 and 1 being the bounds of the action space."""
    space = env.single_action_space
    low, high, model = space.low.tolist(), space.high.tolist(), _model(_single(env))
    if model is not None and model.nu == len(low):
        return tables.action_rows(model, low, high)
    rows = numbered_actions(len(low))
    return [row._replace(low=first, high=last) for row, first, last in zip(rows, low, high, strict=True)]


def seconds_of_a_step(env: Any) -> float | None:
    """Return how long an action holds [s], if the environment tells; tasks on MuJoCo do."""
    seconds = getattr(_single(env), "dt", None)
    return float(seconds) if isinstance(seconds, int | float) else None


def worlds(env: Any) -> list[tuple[mujoco.MjModel, mujoco.MjData]]:
    """Return MuJoCo's model and state of each sub-environment of a `VectorAdapter`; nothing of any other environment.

    Nothing either if they live in processes of their own, or not on MuJoCo.
    """
    singles = _singles(getattr(env, "vector_env", None))
    found = [(model, single.data) for single in singles if (model := _model(single)) is not None]
    return found if len(found) == len(singles) else []


def _singles(env: Any) -> list[Any]:
    """Return the environments, if they live in this process."""
    return [getattr(each, "unwrapped", each) for each in getattr(getattr(env, "unwrapped", env), "envs", ())]


def _single(env: Any) -> Any:
    """Return one of the environments, if they live in this process."""
    return next(iter(_singles(env)), None)


def _model(single: Any) -> mujoco.MjModel | None:
    model = getattr(single, "model", None)
    return model if isinstance(model, mujoco.MjModel) else None
