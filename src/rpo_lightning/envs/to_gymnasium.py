"""Environments of this library as a vector environment of gymnasium, for other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.vector_spec import gymnasium

__all__ = ["GymnasiumVectorEnv"]


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """N environments as `gymnasium.vector.VectorEnv`, with autoreset SAME_STEP.

    Where an episode ends, the observation is the first of the next one, and the infos hold the state reached, as those of
    `gymnasium.vector.SyncVectorEnv` do: "final_obs" (N,) objects, None elsewhere, with the mask "_final_obs", and
    "final_info". With `torch=True` everything is a tensor on the environment's device, and "final_obs" is (N, obs_dim), the
    state reached of all. Nothing carries gradients: for those, step the environment itself.

    Args:
        env: an environment of `rpo_lightning.make`, with auto_reset; it must not be stepped elsewhere.
        torch: give and take torch tensors instead of arrays.

    Raises:
        ValueError: if the environment does not reset itself.
    """

    takes_reset_mask = True

    def __init__(self, env: Any, torch: bool = False) -> None:
        if not getattr(env, "options", {}).get("auto_reset", True):
            raise ValueError(f"{env.name}: gymnasium's SAME_STEP autoreset needs an environment with auto_reset=True")
        self.env, self.torch = env, torch
        self.num_envs: int = env.num_envs
        self.max_episode_steps: int = env.max_episode_steps
        self.device = env.device
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (env.obs_dim,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (env.action_dim,), np.float32)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; return the observations (N, obs_dim) and no infos.

        Args:
            seed: of the starts from here on, of all environments together; None: go on drawing.
            options: {"reset_mask": (N,) bool} starts only those.

        Raises:
            ValueError: for a list of seeds, or an environment that cannot be seeded again.
        """
        if seed is not None:
            if not isinstance(seed, int | np.integer) or not hasattr(self.env, "reseed"):
                raise ValueError(f"{self.env.name}: one integer seeds all environments, got {seed!r}")
            self.env.reseed(int(seed))
        super().reset(seed=None if seed is None else int(seed))
        mask = (options or {}).get("reset_mask")
        with torch.inference_mode(False), torch.no_grad():
            obs = self.env.reset(None if mask is None else torch.as_tensor(mask).to(self.env.device))
            return self._given(obs), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Apply actions (N, action_dim) within [-1, 1]; return observations, rewards, terminated, truncated and infos."""
        # without inference mode, whose tensors the simulator may not change in place later
        with torch.inference_mode(False), torch.no_grad():
            given = torch.as_tensor(actions).to(self.env.device, torch.float32, copy=True)
            step = self.env.step(given)
            done = step.terminated | step.truncated
            infos: dict[str, Any] = {}
            if done.any():
                infos = {"final_obs": self._final(step.final_obs, done), "_final_obs": self._given(done)}
                infos |= {"final_info": {}, "_final_info": self._given(done)}
            reward = step.reward if self.torch else step.reward.double()
            return *map(self._given, (step.obs, reward, step.terminated, step.truncated)), infos

    def close_extras(self, **options: Any) -> None:
        """Close the environment inside."""
        self.env.close()

    def _given(self, values: Tensor) -> Any:
        """Return a copy: what the environment returns is its own memory."""
        values = values.detach().clone()
        return values if self.torch else values.cpu().numpy()

    def _final(self, final_obs: Tensor, done: Tensor) -> Any:
        if self.torch:
            return self._given(final_obs)
        rows = np.full(self.num_envs, None, dtype=object)
        for index in done.nonzero()[:, 0].tolist():
            rows[index] = self._given(final_obs[index])
        return rows
