"""What a task says of itself to whoever runs a policy without it: written into every file that holds a policy."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["no_facts", "task_facts"]


def no_facts() -> dict[str, Any]:
    """Return what is known of a run without a data module: nothing."""
    nothing = dict.fromkeys(("task", "seed", "env", "commit", "dt", "control", "action_scale"))
    return {**nothing, "observations": [], "history": 1, "actions": [], "start": [], "joints": []}


def task_facts(env: Any) -> dict[str, Any]:
    """Return what a robot's computer has to know of an environment, as numbers, text, lists and mappings.

    Args:
        env: any; what it does not tell is None, or an empty list.

    Returns:
        `dt` [s] between actions. `observations`: [name, unit, frame] of each. `history`: k, how many of them stand side by
        side, the newest first; for those before an episode its first one. `actions`: of each the name, joint, control, unit,
        low, high and law. `control`: scale, offset, low and high (A,), with which an action a stands for the control
        clamp(scale * a + offset, low, high), in the actuators' units. `action_scale`: of offsets from the start pose, None
        where -1 and 1 are the ends of the control range. `start`: q of the start pose. `joints`: their names in q's order.
    """
    observations = [list(each) for each in env.observation_table()] if hasattr(env, "observation_table") else []
    actions = [each._asdict() for each in env.action_table()] if hasattr(env, "action_table") else []
    model: Any = getattr(env, "model", None)
    start, joints = [], []
    if hasattr(model, "links"):  # of this library's engine
        start, joints = model.start.tolist(), [link.name for link in model.links]
    elif hasattr(model, "njnt"):  # MuJoCo's
        start, joints = model.qpos0.tolist(), [model.joint(index).name for index in range(model.njnt)]
    return {
        "dt": _number(env, "dt"),
        "observations": observations,
        "history": getattr(env, "history", 1),
        "actions": actions,
        "control": env.control_map() if hasattr(env, "control_map") else _between_the_ends(actions),
        "action_scale": _number(env, "action_scale"),
        "start": start,
        "joints": joints,
    }


def _number(env: Any, name: str) -> float | None:
    return None if (value := getattr(env, name, None)) is None else float(value)


def _between_the_ends(actions: list[dict[str, Any]]) -> dict[str, list[float]] | None:
    """Return what maps -1 and 1 to the ends of the actuators' ranges, if all have ends."""
    low, high = ([float(row[end]) for row in actions] for end in ("low", "high"))
    if not actions or not all(map(math.isfinite, [*low, *high])):
        return None
    ends = list(zip(low, high, strict=True))
    return {"scale": [(b - a) / 2.0 for a, b in ends], "offset": [(a + b) / 2.0 for a, b in ends], "low": low, "high": high}
