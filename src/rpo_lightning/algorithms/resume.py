"""What a checkpoint says of the options it was trained with, and what becomes of those that have changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rpo_lightning import __version__

__all__ = ["Resumed", "apply_options", "changed_options", "check_shapes", "checked_state"]


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on, and with what other options than those of its checkpoint."""

    env_steps: int
    changes: dict[str, tuple[Any, Any]]
    """Option -> (then, now)."""


def checked_state(checkpoint: Mapping[str, Any], algorithm: str, obs_dim: int, action_dim: int) -> dict[str, Any]:
    """Return what an algorithm has put into a checkpoint, if it can be continued by this one.

    Raises:
        ValueError: the checkpoint is of another algorithm, of other dimensions or of an older version.
    """
    state = checkpoint.get("rpo_lightning", {})
    then, now = (state.get("algorithm"), state.get("obs_dim"), state.get("action_dim")), (algorithm, obs_dim, action_dim)
    if then != now:
        raise ValueError(
            "This checkpoint is of algorithm {}, obs_dim {}, action_dim {}, but the run is {}, {}, {}: "
            "choose its own config or start a new run.".format(*then, *now)
        )
    if "options" not in state or not isinstance(state.get("episodes"), Mapping):
        raise ValueError(
            f"This checkpoint was written by an older version than {__version__}, whose state this one cannot continue: "
            "start a new run, or continue it with the version that wrote it."
        )
    return state


def check_shapes(saved: Mapping[str, Tensor], own: Mapping[str, Tensor], changes: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose networks are not those configured.

    Raises:
        ValueError: with the first state that differs, and the options that were changed.
    """
    names = [name for name in (*own, *saved) if name not in saved or name not in own or saved[name].shape != own[name].shape]
    if not names:
        return
    there, here = (f"has {tuple(s[names[0]].shape)}" if names[0] in s else "lacks it" for s in (saved, own))
    changed = ", ".join(f"{name} {then} -> {now}" for name, (then, now) in changes.items())
    raise ValueError(
        f"This checkpoint does not fit the model: {names[0]}: the checkpoint {there}, the model {here}"
        f"{f' (changed options: {changed})' if changed else ''}. Resume with the options that it was trained with."
    )


def changed_options(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the options of which both know a value, and not the same."""
    return {name: (then[name], value) for name, value in now.items() if name in then and then[name] != value}


def apply_options(
    checkpoint: dict[str, Any],
    changes: Mapping[str, tuple[Any, Any]],
    moved_by_training: Mapping[str, str],
    state: Mapping[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    """Put what is configured now into a checkpoint that is about to be loaded.

    Args:
        checkpoint: of the Trainer's layout; changed.
        changes: of `changed_options`.
        moved_by_training: option -> name of the state that it is the first value of. What training has made of it stays,
            unless the option itself was changed.
        state: of the module as configured now, by name.
        optimizers: as configured now: their rates, betas and decay count, not the checkpoint's.
    """
    for option, name in moved_by_training.items():
        if option in changes and name in checkpoint.get("state_dict", {}):
            checkpoint["state_dict"][name] = state[name]
    for saved, fresh in zip(checkpoint.get("optimizer_states", []), optimizers, strict=False):
        for group, configured in zip(saved["param_groups"], fresh.param_groups, strict=False):
            group.update({key: value for key, value in configured.items() if key != "params"})
