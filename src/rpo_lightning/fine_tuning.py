"""Begin a run with the weights of another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.policies import read_policy
from rpo_lightning.pretrained import find
from rpo_lightning.trained_policy import build

__all__ = ["init_from"]

SAMPLES, TOLERANCE = 64, 1e-3
"""Of the comparison with where the weights come from: observations, and the largest difference of an action or a spread."""


def init_from(module: Any, path: str | Path) -> str:
    """Give a module, before it trains, the weights and the normalisers of another run; counters and optimizers stay new.

    A checkpoint has everything, a `policy.pt` the actor and the normaliser of observations. What an algorithm moves while it
    trains and has an option for (a temperature, RPO's KL coefficient) begins as configured.

    Args:
        module: the algorithm; remembers where its weights are from as `source`.
        path: a `policy.pt`, a checkpoint, or a task with a pretrained policy.

    Returns:
        a sentence that says what was taken, and names what does not fit.

    Raises:
        ValueError: if there is no such policy, its sizes are others, or its actor does not fit.
    """
    file = find(path)
    metadata, weights = read_policy(file)
    for name, what in (("obs_dim", "observations"), ("action_dim", "actions")):
        if (theirs := metadata[name]) != (ours := getattr(module, name)):
            raise ValueError(
                f"{file} cannot be where to begin: it was trained with {theirs} {what}, and this task has {ours}."
            )
    # networks and normalisers; what the algorithm itself holds are steps and coefficients, which training moves
    own = {name: value for name, value in module.state_dict().items() if "." in name}
    parts = {name.split(".")[0]: _misfit(name.split(".")[0], own, weights) for name in own}
    if (misfit := parts["actor"]) is not None:
        raise ValueError(f"{file} cannot be where to begin: its actor is another one, {misfit}.")
    taken = {name: value for name, value in weights.items() if name in own and parts[name.split(".")[0]] is None}
    module.load_state_dict(taken, strict=False)
    module.source = {"path": str(path), **{name: metadata[name] for name in ("task", "algorithm", "env_steps")}}
    fitting, fresh = (sorted(part for part, fault in parts.items() if (fault is None) == fits) for fits in (True, False))
    sentence = f"beginning with {', '.join(fitting)} of {file} ({metadata['algorithm']} on {metadata['task']})"
    sentence += f"; new, for it has nothing that fits: {', '.join(fresh)}" if fresh else ""
    return f"{sentence}{_otherwise(module, metadata, weights, file)}."


def _misfit(part: str, own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str | None:
    """Return where a part of the module differs in its shapes from what a file holds, or None."""
    names = [name for name in dict.fromkeys([*own, *theirs]) if name.split(".")[0] == part]
    for name in names:
        if name not in own or name not in theirs:
            return f"{name} is only in {'it' if name in theirs else 'the configured one'}"
        if own[name].shape != theirs[name].shape:
            return f"{name} is {tuple(theirs[name].shape)} in it and {tuple(own[name].shape)} as configured"
    return None


@torch.no_grad()
def _otherwise(module: Any, metadata: dict[str, Any], weights: dict[str, Tensor], file: Path) -> str:
    """Return what is to be said of weights that fit and mean something else here: another activation, or kind of spread."""
    source = build(metadata, file)
    source.load_state_dict({name: value for name, value in weights.items() if name in source.state_dict()}, strict=False)
    generator = torch.Generator().manual_seed(0)
    obs = source.normalizer.inverse(torch.randn(SAMPLES, module.obs_dim, generator=generator))
    theirs, _ = source.remembering_policy(obs, obs.new_zeros(SAMPLES, source.state_size))
    ours, _ = module.remembering_policy(obs, obs.new_zeros(SAMPLES, module.state_size))
    different = [
        what
        for what, then, now in (("actions", theirs.mode, ours.mode), ("exploration", theirs.std, ours.std))
        if (then - now).abs().max() > TOLERANCE
    ]
    return f"; its weights give other {' and other '.join(different)} here" if different else ""
