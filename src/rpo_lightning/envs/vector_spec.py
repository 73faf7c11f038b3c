"""What is known of a vector environment of gymnasium before its first step: spaces, time limit, and how it resets."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import gymnasium
except ImportError as error:
    raise ImportError("gymnasium is not installed: pip install 'rpo-lightning[gymnasium]'") from error

__all__ = ["dimensions", "gymnasium", "is_gymnasiums_own", "reports_final_obs", "takes_reset_mask", "time_limit"]

SAME_STEP, NEXT_STEP, DISABLED = "SameStep", "NextStep", "Disabled"


def dimensions(observation: Any, action: Any, name: str) -> tuple[int, int]:
    """Return (obs_dim, action_dim) of a sub-environment's spaces.

    Raises:
        ValueError: if they are not one-dimensional Boxes, or an action has no finite bounds.
    """
    for what, space, hint in (
        ("observation", observation, "; gymnasium.wrappers.FlattenObservation makes one"),
        ("action", action, ""),
    ):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"{name}: the {what} space must be a one-dimensional Box, not {space}{hint}")
    if not np.issubdtype(action.dtype, np.floating):
        raise ValueError(f"{name}: actions must be floats, not {action.dtype}")
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        raise ValueError(f"{name}: the action space needs finite bounds to be mapped to [-1, 1], not {action}")
    return observation.shape[0], action.shape[0]


def time_limit(env: Any, wanted: int | None, masked: bool, name: str) -> int:
    """Return the steps after which an episode is cut off: the smaller one of `wanted` and what the environment says.

    Raises:
        ValueError: if there is none, or `wanted` cannot be enforced because no masked reset (`masked`) is there to do it.
    """
    if wanted is not None and wanted < 1:
        raise ValueError(f"{name}: episode_length must be at least 1, got {wanted}")
    known = _own_time_limit(env)
    if wanted is None and known is None:
        raise ValueError(f"{name}: no time limit is known, give episode_length")
    limit = min(limit for limit in (wanted, known) if limit is not None)
    if known is not None and limit < known and not masked:
        raise ValueError(f"{name}: episode_length {wanted} cannot be enforced, give the environment itself that limit")
    return limit


def is_gymnasiums_own(env: Any) -> bool:
    """Tell whether `env`, or what it wraps, runs single environments; such a one takes a seed for each."""
    return isinstance(_base(env), gymnasium.vector.SyncVectorEnv | gymnasium.vector.AsyncVectorEnv)


def takes_reset_mask(env: Any) -> bool:
    """Tell whether a masked reset is known to start those sub-environments, and only them, at once."""
    base = _base(env)
    if isinstance(base, gymnasium.vector.AsyncVectorEnv):
        # without shared memory the worker carries out the reset that is due all the same; one of the user's might
        own_worker = getattr(base, "worker", None) is None
        return own_worker and (_autoreset_mode(env) != NEXT_STEP or base.shared_memory)
    return is_gymnasiums_own(env) or getattr(base, "takes_reset_mask", False) or _autoreset_mode(env) == DISABLED


def reports_final_obs(env: Any, masked: bool, name: str) -> bool:
    """Tell whether the state reached stands in the infos, as in SAME_STEP, and not in the observation.

    Raises:
        ValueError: if the mode is unknown, or needs masked resets (`masked`) that are not there.
    """
    mode = _autoreset_mode(env)
    if mode not in (SAME_STEP, NEXT_STEP, DISABLED):
        raise ValueError(
            f"{name}: metadata['autoreset_mode'] of the vector environment must be one of gymnasium.vector.AutoresetMode, "
            f"got {mode!r}"
        )
    if mode != SAME_STEP and not masked:
        raise ValueError(
            f"{name}: with autoreset {mode} the step after an episode's end would reset instead of moving, which is no "
            "transition; make it with AutoresetMode.SAME_STEP, or, if its reset(options={'reset_mask': ...}) starts only "
            "those at once, pass reset_mask=True"
        )
    return mode == SAME_STEP


def _autoreset_mode(env: Any) -> Any:
    mode = env.metadata.get("autoreset_mode")
    return getattr(mode, "value", mode)


def _base(env: Any) -> Any:
    return getattr(env, "unwrapped", env)


def _own_time_limit(env: Any) -> int | None:
    base = _base(env)
    first = getattr(base, "envs", [None])[0]
    for holder in (getattr(env, "spec", None), getattr(first, "spec", None), base):
        if (limit := getattr(holder, "max_episode_steps", None)) is not None:
            return int(limit)
    return None
