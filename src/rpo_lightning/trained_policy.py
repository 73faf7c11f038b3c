"""A trained policy in Python: built from its file alone."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.history import History
from rpo_lightning.policies import POLICY_PREFIXES, read_policy
from rpo_lightning.pretrained import find

__all__ = ["Policy", "build", "load_policy"]


class Policy:
    """What has been learned, ready to act: `policy.act(obs)`.

    Observations are raw, as an environment returns them; the normaliser is inside. A policy with a hidden state keeps it
    from one call to the next; `reset` where episodes begin. So does one that was trained with a `history` of k observations
    where it is given them one at a time, (N, D / k), as a robot measures them.

    Attributes: `metadata`, what its file says of it (`rpo_lightning.policies.read_policy`); `module`, the algorithm;
    `obs_dim` D, `action_dim` A, `state_size`, 0 for a policy that remembers nothing, and `history` k.

    Args:
        module: the algorithm with its weights.
        metadata: see above.
    """

    def __init__(self, module: Any, metadata: dict[str, Any]) -> None:
        self.module, self.metadata = module.eval(), metadata
        self.obs_dim, self.action_dim, self.state_size = module.obs_dim, module.action_dim, module.state_size
        self.history: int = metadata.get("history", 1)
        self._state: Tensor | None = None
        self._seen: History | None = None
        self._begun = torch.zeros(0, dtype=torch.bool)  # whose history begins with the next observation

    @torch.no_grad()
    def act(self, obs: Any, deterministic: bool = True, generator: torch.Generator | None = None) -> Any:
        """Return actions in [-1, 1] at observations.

        Args:
            obs: (N, D), or (D,) of a single robot: a tensor, an array or a list; or D / k, see the class.
            deterministic: the mode of the policy instead of a sample.
            generator: of the samples.

        Returns:
            (N, A) or (A,): a tensor on the policy's device for a tensor, else a float32 array.

        Raises:
            ValueError: for another width, or another N than since the last `reset` of a policy with a hidden state.
        """
        seen = torch.as_tensor(obs, dtype=torch.float32, device=self.module.device)
        rows = seen[None] if seen.dim() == 1 else seen
        alone = self.obs_dim // self.history
        if rows.dim() != 2 or rows.shape[1] not in (self.obs_dim, alone):
            or_one = f", or {alone} in place of {self.obs_dim} for one at a time" if self.history > 1 else ""
            shapes = f"(N, {self.obs_dim}) or ({self.obs_dim},){or_one}"
            raise ValueError(f"obs must have shape {shapes}, not {tuple(seen.shape)}.")
        if rows.shape[1] < self.obs_dim:
            rows = self._with_past(rows)
        state = rows.new_zeros(len(rows), self.state_size) if self._state is None else self._state
        if len(state) != len(rows):
            raise ValueError(f"this policy remembers {len(state)} episodes, obs is of {len(rows)}: call reset() between.")
        policy, after = self.module.remembering_policy(rows, state)
        self._state = after if self.state_size else None
        action = policy.mode if deterministic else policy.action(policy.from_noise(policy.noise(generator)))
        action = action[0] if seen.dim() == 1 else action
        return action if isinstance(obs, Tensor) else action.cpu().numpy()

    def reset(self, mask: Any = None) -> None:
        """Forget what was seen: of all episodes, or of those in `mask` (N,) bool, which begin anew."""
        if mask is None:
            self._state = self._seen = None
            return
        here = torch.as_tensor(np.asarray(mask), dtype=torch.bool, device=self.module.device)
        if self._state is not None:
            self._state = self._state.masked_fill(here[:, None], 0.0)
        if self._seen is not None:
            self._begun = self._begun | here

    def _with_past(self, obs: Tensor) -> Tensor:
        """Return observations (N, D / k) with those given before (N, D)."""
        if self._seen is None:
            self._seen, self._begun = History(self.history, obs), torch.zeros(len(obs), dtype=torch.bool, device=obs.device)
        if len(self._seen.past) != len(obs):
            count = len(self._seen.past)
            raise ValueError(f"this policy remembers {count} episodes, obs is of {len(obs)}: call reset() between.")
        self._seen.begin(obs, self._begun)
        self._begun = torch.zeros_like(self._begun)
        stack = self._seen.of(obs)
        self._seen.add(obs)
        return stack


def load_policy(path: str | Path, device: str | torch.device = "cpu") -> Policy:
    """Return the policy in a `policy.pt`, in a checkpoint, or among the pretrained ones by the name of its task.

    Raises:
        ValueError: if there is none, or its network cannot be imported or does not fit its weights.
    """
    file = find(path)
    metadata, weights = read_policy(file)
    module = build(metadata, file)
    acting = {name: value for name, value in weights.items() if name.startswith(POLICY_PREFIXES)}
    own = {name for name in module.state_dict() if name.startswith(POLICY_PREFIXES)}
    try:
        module.load_state_dict(acting, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{file} does not fit its own network: {str(error).splitlines()[-1].strip()}") from error
    if own != acting.keys():
        raise ValueError(f"{file} does not fit its own network: {sorted(own ^ acting.keys())[0]} is only in one of them.")
    return Policy(module.to(device), metadata)


def build(metadata: Mapping[str, Any], file: Path) -> Any:
    """Return the algorithm that a file describes, with its first weights; the random generators are left as they were.

    Args:
        metadata: of `read_policy`.
        file: named in errors.

    Raises:
        ValueError: if it or one of its networks cannot be imported, or does not take these options.
    """
    path = metadata["model"]["class_path"]
    cls = _imported(path, file)
    networks = _networks_of(cls)
    options = {
        name: _network(value, file) if name in networks and value is not None else value
        for name, value in metadata["model"]["init_args"].items()
    }
    try:
        with torch.random.fork_rng(devices=[]):
            return cls(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} is of {path}, which cannot be built with its options: {error}") from error


def _network(value: Any, file: Path) -> Any:
    """Return what an option of `algorithms.resume.plain` stood for: a class, or one with arguments."""
    if isinstance(value, Mapping):
        return partial(_imported(value["class_path"], file), **(value.get("init_args") or {}))
    return _imported(value, file)


def _networks_of(cls: type) -> set[str]:
    """Return the options of an algorithm that make networks."""
    found = set()
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            try:
                hints = typing.get_type_hints(vars(base)["__init__"])
            except NameError:  # a name that is imported for type checkers alone
                continue
            for name, kind in hints.items():
                kinds = {typing.get_origin(each) for each in (kind, *typing.get_args(kind))}
                found |= {name} if Callable in kinds else set()
    return found


def _imported(path: str, file: Path) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{file} was trained with {path}, which cannot be imported here: {error}. Run where its module lies, or put "
            "that folder on PYTHONPATH."
        ) from error
