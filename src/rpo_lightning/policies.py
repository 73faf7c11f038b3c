"""What acts, apart from what learns: its file `policy.pt`, and reading it back from there or from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rpo_lightning import __version__
from rpo_lightning.checkpoints import check_checkpoint, read_file
from rpo_lightning.files import write_tensors

if TYPE_CHECKING:
    from rpo_lightning.runs import Run

__all__ = ["load_weights", "policy_state", "read_policy", "write_policy"]

POLICY_PREFIXES = ("actor.", "normalizer.")
"""What of a module's state acts: the actor's weights and the observation normaliser."""


def policy_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the actor's weights and the normaliser's statistics by their names in the module."""
    state = module.state_dict()
    return {name: value.detach().cpu().clone() for name, value in state.items() if name.startswith(POLICY_PREFIXES)}


def write_policy(path: Path, module: Any, run: Run) -> None:
    """Write `policy.pt`: final weights and normaliser, with what is needed to build and to run them."""
    content = {
        "task": run.task,
        "algorithm": run.algorithm,
        "seed": run.seed,
        "obs_dim": int(module.obs_dim),
        "action_dim": int(module.action_dim),
        "env_steps": int(module.env_steps),
        "policy": policy_state(module),
        "model": {"class_path": module.class_path, "init_args": module.options},
        "version": __version__,
        **{name: value for name, value in module.facts.items() if name not in ("task", "seed")},
    }
    write_tensors(path, content)


def read_policy(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what the file of a policy says of it, and weights by their names in the module.

    Args:
        path: a `policy.pt`, or a checkpoint, whose weights are all those of the module.

    Returns:
        numbers, text, lists and mappings: task, algorithm, seed, env_steps, obs_dim, action_dim, `model` and `env` by class
        path or name with their `init_args`, version, commit, and those of `deployment.task_facts`; and the weights.

    Raises:
        ValueError: if the file is neither, or of a version whose files do not say how to build the policy.
    """
    content = _content(path)
    if "policy" in content:
        return {key: value for key, value in content.items() if key != "policy"}, content["policy"]
    state = content["rpo_lightning"]
    told = {name: state[name] for name in ("algorithm", "env_steps", "obs_dim", "action_dim", "version")}
    model = {"class_path": state["class_path"], "init_args": state["options"]}
    return {**told, "model": model, **state["facts"]}, content["state_dict"]


def load_weights(module: Any, path: Path) -> dict[str, Any]:
    """Load what acts from a checkpoint (`*.ckpt`) or an evidence policy (`policy.pt`); return the file's content.

    Raises:
        ValueError: if the file is neither, or was made for another algorithm, network or robot.
    """
    content = _content(path)
    if "policy" in content:
        for key, ours in (("algorithm", module.name), ("obs_dim", module.obs_dim), ("action_dim", module.action_dim)):
            if content[key] != ours:
                raise ValueError(f"{path} has {key} {content[key]}, but the configuration's model has {ours}.")
        state, expected = content["policy"], set(policy_state(module))
        module.env_steps = content["env_steps"]
    else:
        module.on_load_checkpoint(content)
        state, expected = content["state_dict"], set(module.state_dict())
    if expected != set(state):
        odd = sorted(expected ^ set(state))
        raise ValueError(f"{path} does not fit the configuration's model: {odd[0]} is only in one of them.")
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path} does not fit the configuration's model: {detail}") from error
    return content


def _content(path: Path) -> dict[str, Any]:
    """Return the content of a policy.pt or a checkpoint of this version."""
    content = read_file(path)
    if "policy" not in content:
        check_checkpoint(content, path)
    known = content if "policy" in content else content["rpo_lightning"]
    if "model" not in known and "class_path" not in known:
        raise ValueError(
            f"{path} was written by an older version of rpo-lightning and does not say how its network is built: train "
            "again, or use the version that wrote it."
        )
    return content
