"""Environments of this library as a vector environment of stable-baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.vector_spec import gymnasium

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError("stable-baselines3 is not installed: pip install stable-baselines3") from error

__all__ = ["StableBaselinesVecEnv", "to_stable_baselines"]


class StableBaselinesVecEnv(VecEnv):
    """N environments as stable-baselines3's `VecEnv`, which `to_stable_baselines` makes."""

    def __init__(self, env: Any) -> None:
        if not getattr(env, "options", {}).get("auto_reset", True):
            raise ValueError(f"{env.name}: stable-baselines3 needs an environment with auto_reset=True")
        self.env = env
        self.actions: np.ndarray | None = None
        self.render_mode = None
        super().__init__(
            env.num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, (env.obs_dim,), np.float32),
            gymnasium.spaces.Box(-1.0, 1.0, (env.action_dim,), np.float32),
        )

    def reset(self) -> np.ndarray:
        """Start new episodes in all environments; return the observations (N, obs_dim)."""
        seed = self._seeds[0]
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        with torch.inference_mode(False), torch.no_grad():
            if seed is not None:
                self.env.reseed(seed)
            return _array(self.env.reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Keep actions (N, action_dim) for `step_wait`."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Apply the actions; return observations after resets, rewards, ends, and what else is known of each."""
        with torch.inference_mode(False), torch.no_grad():
            step = self.env.step(torch.tensor(self.actions, dtype=torch.float32, device=self.env.device))
            final, terminated, truncated = _array(step.final_obs), _array(step.terminated), _array(step.truncated)
            infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
            done = terminated | truncated
            for index in done.nonzero()[0]:
                limit = bool(truncated[index] and not terminated[index])
                infos[index] = {"terminal_observation": final[index], "TimeLimit.truncated": limit}
            return _array(step.obs), _array(step.reward), done, infos

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the starts from the next reset on, of all environments together.

        Raises:
            ValueError: for an environment that cannot be seeded again.
        """
        if seed is not None and not hasattr(self.env, "reseed"):
            raise ValueError(f"{self.env.name} cannot be seeded again: make it with seed={seed}")
        self._seeds = [seed] * self.num_envs
        return self._seeds

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environments, which share one object, once for each of `indices`."""
        value = getattr(self if attr_name == "render_mode" else self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the object that all environments share.

        Raises:
            ValueError: for some of the environments only.
        """
        self._all(indices)
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the object that all environments share, once, and return its answer for each of them.

        Raises:
            ValueError: for some of the environments only.
        """
        self._all(indices)
        return [getattr(self.env, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Return False for each: the single environments have no wrappers of gymnasium."""
        return [False for _ in self._get_indices(indices)]

    def _all(self, indices: Any) -> None:
        if len(set(self._get_indices(indices))) < self.num_envs:
            raise ValueError(f"{self.env.name}: all environments are one object, so indices {indices} alone cannot be meant")


def to_stable_baselines(env: Any) -> StableBaselinesVecEnv:
    """Return N environments as a `VecEnv` of stable-baselines3, for its algorithms and wrappers.

    Where an episode ends the observation is the first of the next one; infos hold "terminal_observation", and
    "TimeLimit.truncated": whether the time limit alone has ended it. `seed(k)` counts from the next reset. Wrap it in
    `VecMonitor` for returns, in `VecNormalize` for normalised observations. Nothing carries gradients.

    Args:
        env: an environment of `rpo_lightning.make`, with auto_reset; it must not be stepped elsewhere.

    Raises:
        ValueError: if the environment does not reset itself. ImportError: without stable-baselines3 or gymnasium.
    """
    return StableBaselinesVecEnv(env)


def _array(values: Tensor) -> np.ndarray:
    """Return a copy: what the environment returns is its own memory."""
    return values.detach().cpu().numpy().copy()
