"""A vector environment of gymnasium as an environment here.

What it makes of the autoreset modes, given that `Step` holds the state reached and the state after the reset together:

* SAME_STEP has both: the state reached is in the infos.
* DISABLED: the state reached is what the step returned, and `reset` with a mask starts the ended ones at once.
* NEXT_STEP would spend the next step on the reset. That step is no transition, and there is no reward, end or bootstrap that
  would make it one for a learner. gymnasium's own vector environments obey a masked reset in this mode too, which also
  cancels the reset that is due; so they are treated like DISABLED and the step never happens. Others are refused.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.base import BaseEnv, Reached, sound
from rpo_lightning.envs.gymnasium_tables import action_rows, observation_rows, seconds_of_a_step
from rpo_lightning.envs.tables import ActionRow, Quantity
from rpo_lightning.envs.vector_spec import dimensions, is_gymnasiums_own, reports_final_obs, takes_reset_mask, time_limit

__all__ = ["VectorAdapter"]

log = logging.getLogger("rpo_lightning")


class VectorAdapter(BaseEnv):
    """N sub-environments behind `gymnasium.vector.VectorEnv`, with actions in [-1, 1] and float32 tensors.

    Actions are mapped affinely to the bounds of the action space. Foreign simulators cannot be saved: after
    `load_state_dict` all begin new episodes.

    Attributes, besides those of `BaseEnv`: `vector_env`.

    Args:
        env: a `gymnasium.vector.VectorEnv` of arrays or torch tensors, with one-dimensional Box spaces.
        device: of the tensors given and taken.
        seed: of the starts; of gymnasium's own vector environments every sub-environment gets one derived from it.
        episode_length: time limit [steps]; None: that of the environment.
        reset_mask: whether `env.reset(options={"reset_mask": ...})` starts only those sub-environments, and at once; None:
            what is known of gymnasium's own.

    Raises:
        ValueError: for spaces, bounds, a time limit or an autoreset mode that cannot be used.
    """

    name: ClassVar[str] = "gymnasium"
    differentiable: ClassVar[bool] = False

    def __init__(
        self,
        env: Any,
        device: str | torch.device = "cpu",
        seed: int = 0,
        episode_length: int | None = None,
        reset_mask: bool | None = None,
    ) -> None:
        sizes = dimensions(env.single_observation_space, env.single_action_space, self.name)
        vars(self).update(zip(("obs_dim", "action_dim"), sizes, strict=True))  # of a task they are its class's
        super().__init__(env.num_envs, device, seed, episode_length=episode_length)
        self.vector_env, self.dt = env, seconds_of_a_step(env)
        self._masked = self._keeps_time = takes_reset_mask(env) if reset_mask is None else reset_mask
        self.max_episode_steps = time_limit(env, episode_length, self._masked, self.name)
        self._same_step = reports_final_obs(env, self._masked, self.name)
        space = env.single_action_space
        low, high = torch.tensor(space.low), torch.tensor(space.high)
        # in the space's own precision: a bound of float64 may lie below its float32
        self._bounds: tuple[Tensor, ...] = (low, high, high / 2 + low / 2, high / 2 - low / 2)
        self.seed, self._made = seed, 0
        self._nothing = torch.zeros(self.num_envs, 0, device=self.device)
        self._start(seed)
        # also at the interpreter's end, before multiprocessing ends the processes that would have to answer
        self._closing = weakref.finalize(self, _close, env)

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of all vector environments."""
        return {"episode_length": None}

    # ---- the environment's surface -------------------------------------------------------------------------------

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start the sub-environments in `mask` (N,) bool anew, all if None; return the observation (N, obs_dim).

        Raises:
            ValueError: for a mask, if the environment takes none.
        """
        if not (self._masked or mask is None or mask.all()):
            raise ValueError(f"{self.name}: these sub-environments can only be reset together")
        return super().reset(mask)

    def ends(self, terminated: Tensor, truncated: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the environment's own flags (N,) mean here: failed without a future, or cut off."""
        return terminated, truncated

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress); q and qd are (N, 0), since a foreign simulator's state is unknown."""
        return self._nothing, self._nothing, self._progress

    def reseed(self, seed: int) -> None:
        """Refuse: what a seed decides of a foreign simulator is unknown.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name}: one integer seeds it when it is made; it cannot be seeded again, with {seed}")

    def quantities(self) -> list[Quantity]:
        """Name what is observed, as far as the environment tells: gymnasium's own MuJoCo tasks do."""
        return observation_rows(self.vector_env)

    def action_table(self) -> list[ActionRow]:
        """Return what each entry of an action stands for: the bounds of the action space at least."""
        return action_rows(self.vector_env)

    def state_dict(self) -> dict[str, Any]:
        """Return the seed and the number of steps, which set the episodes that `load_state_dict` begins."""
        return {"num_envs": self.num_envs, "seed": self.seed, "steps": self._made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin new episodes, other ones than at the run's start but the same each time this state is loaded.

        Raises:
            ValueError: if the state is of another kind or number of environments.
        """
        if state.keys() != self.state_dict().keys() or state["num_envs"] != self.num_envs:
            raise ValueError(f"{self.name}: the state is not of {self.num_envs} environments of this kind")
        self.seed, self._made = state["seed"], state["steps"]
        if self._made:
            log.warning(f"{self.name}: a foreign simulator cannot be restored, so all environments begin new episodes.")
        self._start(self.seed if not self._made else int(_seeds((self.seed, self._made), 1)[0]))

    def close(self) -> None:
        """Close the vector environment, with the processes it may have."""
        self._closing()

    # ---- what another kind of vector environment does differently --------------------------------------------------

    def reset_some(self, mask: Tensor) -> Any:
        """Start the sub-environments in `mask` (N,) bool, one at least; return the observations of all."""
        return self.vector_env.reset(options={"reset_mask": mask.cpu().numpy()})[0]

    # ---- inside --------------------------------------------------------------------------------------------------

    def _start(self, seed: int) -> None:
        """Begin all episodes; neighbouring seeds share no sub-environment's seed, as seed + i would make them."""
        own = is_gymnasiums_own(self.vector_env)
        obs, _ = self.vector_env.reset(seed=_seeds((seed,), self.num_envs) if own else seed)
        self._takes_tensors = isinstance(obs, Tensor)
        self._obs, _ = self._shown(self._floats(obs), self._nothing, torch.ones_like(self.invalid))
        self._bounds = tuple(t.to(obs.device) if isinstance(obs, Tensor) else t for t in self._bounds)
        self._progress = torch.zeros_like(self._progress)
        self.invalid = self.invalid_reward = torch.zeros_like(self.invalid)
        self._fresh, self._first = self.invalid, self._obs  # which have begun by themselves, and with what

    @torch.no_grad()
    def _advance(self, action: Tensor) -> Reached:
        usable = sound(action)[:, None]
        given = self.vector_env.step(self._scaled(torch.where(usable, action, 0.0)))
        self._obs, reward = self._floats(given[0]), self._floats(given[1])
        terminated, truncated = self.ends(self._flags(given[2]), self._flags(given[3]))
        itself = terminated | truncated
        self._fresh = itself if self._same_step else torch.zeros_like(itself)
        self._first = self._obs
        obs = self._final_obs(self._obs, itself, given[4]) if self._fresh.any() else self._obs
        self._made += 1
        return Reached((), obs, self._nothing, reward, terminated, truncated)

    def _begin(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        if not mask.any():  # a foreign simulator has to be told
            return self._obs, self._nothing
        due = mask & ~self._fresh
        obs = torch.where(self._fresh[:, None], self._first, self._obs)
        if due.all():
            obs = self._floats(self.vector_env.reset()[0])
        elif self._masked and due.any():  # without a mask one that cannot be started runs on
            obs = torch.where(due[:, None], self._floats(self.reset_some(due)), obs)
        self._fresh = torch.zeros_like(self._fresh)
        return self._shown(obs, self._nothing, mask)

    def _final_obs(self, obs: Tensor, ended: Tensor, info: dict[str, Any]) -> Tensor:
        """Return `obs` with the states that the `ended` ones reached, as gymnasium or older libraries report them."""
        found = info.get("final_obs", info.get("final_observation"))
        if found is None:
            raise RuntimeError(f"{self.name}: an episode ended, but the infos hold neither final_obs nor final_observation")
        if isinstance(found, np.ndarray) and found.dtype == object:
            rows = [torch.as_tensor(np.asarray(found[i])) for i in ended.nonzero()[:, 0].tolist()]
            return obs.index_put((ended,), torch.stack(rows).to(obs))
        return torch.where(ended[:, None], self._floats(found), obs)

    def _scaled(self, action: Tensor) -> Any:
        low, high, middle, reach = self._bounds
        wanted = (middle + reach * action.to(middle)).clamp(low, high)
        return wanted if self._takes_tensors else wanted.numpy()

    def _floats(self, values: Any) -> Tensor:
        # copied: the memory may be the environment's own
        return torch.as_tensor(values).to(self.device, torch.float32, copy=True)

    def _flags(self, values: Any) -> Tensor:
        return torch.as_tensor(values).to(self.device, torch.bool, copy=True)


def _seeds(entropy: tuple[int, ...], count: int) -> list[int]:
    return [int(seed) for seed in np.random.SeedSequence(entropy).generate_state(count)]


def _close(env: Any) -> None:
    """Close a vector environment, whose processes a signal to all of them may have ended already."""
    with contextlib.suppress(EOFError, ConnectionError):
        env.close()
