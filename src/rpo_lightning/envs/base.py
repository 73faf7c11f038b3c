"""The life cycle that all environments share: the order of things in one step, ends, resets, what is broken, and state.

A backend says how the world moves and how it begins anew: `articulated` (this library's engine), `dmc.control_task` (MuJoCo)
and `vector_adapter` (vector environments of gymnasium). A task is a subclass of a backend.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rpo_lightning.envs.arguments import (
    check_history,
    check_returned,
    check_tensor,
    checked_mask,
    checked_options,
    checked_progress,
    spread_limits,
)
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.history import History, aged
from rpo_lightning.envs.protocol import STATE_LIMIT, Step
from rpo_lightning.envs.starts import StartBank, Starts
from rpo_lightning.envs.tables import ActionRow, Quantity, named, numbered_actions
from rpo_lightning.sim import resolve_device

__all__ = ["BaseEnv", "Reached", "Reward", "below", "sound"]

Terms = Mapping[str, Tensor]
"""Named terms of a reward, (N,) each."""

Reward = Tensor | Terms | tuple[Tensor, Terms]
"""A reward (N,), or its named terms, which are added, or a reward with what it is made of where that is no sum."""

log = logging.getLogger("rpo_lightning")
_FILLING = 32  # steps between two fillings of the stores of what is drawn
_SAID: set[tuple[str, str]] = set()  # task and quantity whose breaking has been explained in this process


class Reached(NamedTuple):
    """Where a step led, before anything broken is replaced.

    Attributes:
        state: what else must be sound, (N, ...) each. obs: (N, obs_dim). privileged: (N, P).
        reward: as a task returns it. failed: (N,) bool. cut: (N,) bool, by a time limit that is not ours; None: nowhere.
    """

    state: tuple[Tensor, ...]
    obs: Tensor
    privileged: Tensor
    reward: Reward
    failed: Tensor
    cut: Tensor | None = None


class BaseEnv(ABC):
    """N environments with one life cycle (`rpo_lightning.envs.protocol.Env`).

    What breaks (a state, observation, action or reward that is not finite or beyond 1e6) ends alone: `invalid`, terminated,
    with reward 0, observation 0 and gradient 0; the first reward or observation of a task that does is named in the log.
    Random starts come from a bank on the device that the CPU's generator fills ahead. A step on a GPU asks for nothing that
    is there: all is done by masks, and what only a few environments need is done for all. On a CPU, where to look costs
    nothing, it is left out where nobody needs it.

    With the option `history` k what is observed are the last k observations, newest first; before an episode's start lies
    its first one. `obs_dim` of an environment is the width of all, that of a task's class the width of one, which is what
    its methods make and get.

    Attributes, besides the arguments: those of `Env`, `options` as completed, `history` k, and `invalid_reward` (N,) bool:
    the reward alone was broken. What methods return is the environment's own memory: do not change it in place.

    Args:
        num_envs: number of environments N.
        device: "cpu" or "cuda[:k]".
        seed: of the environment's own random generator (starts).
        options: episode_length (None: the task's own), shortest_episode (None; else the time limits of the environments
            are spread from that to it, each shorter than the one before by the same factor; it cuts evaluations off as
            well, so that it belongs into `data.training`), auto_reset (True), history (1: how many of the last observations
            are seen), and what else `option_defaults` of the task has.

    Raises:
        TypeError: for an option that the task has not. ValueError: for a bad value.
    """

    name: ClassVar[str]
    obs_dim: ClassVar[int]
    action_dim: ClassVar[int]
    privileged_dim: int = 0  # of a task without options; `privileged_width` says it with them
    differentiable: ClassVar[bool]
    episode_length: ClassVar[int] = 1000
    rows_are_apart: bool = True  # whether nothing that happens in one environment touches another
    _keeps_time: bool = True  # whether episodes can be cut here, and their progress be moved

    def __init__(self, num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any) -> None:
        self.options = checked_options(self.name, options, self.option_defaults())
        if num_envs < 1:
            raise ValueError(f"{self.name}: num_envs must be at least 1, got {num_envs}")
        self.num_envs, self.device = num_envs, resolve_device(device)
        self.history: int = self.options.get("history", 1)
        self._width = self.obs_dim  # of one observation
        self.obs_dim = self._width * self.history  # type: ignore[misc]  # of the class it is one's
        self.privileged_dim = self.privileged_width(options)
        self.max_episode_steps: int = self.options["episode_length"] or self.episode_length
        self._time_limits: Tensor | None = None  # of each environment, where they differ
        if (shortest := self.options.get("shortest_episode")) is not None:
            limits = spread_limits(self.name, shortest, self.max_episode_steps, num_envs)
            self._time_limits = limits.to(self.device)
        self.generator = torch.Generator().manual_seed(seed)  # of the CPU: the same starts on every device
        self._looks = self.device.type == "cpu"  # whether to look at a value waits for nothing
        self._steps = 0  # since the stores were filled
        self.invalid = self.invalid_reward = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._progress = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self._obs = torch.zeros(num_envs, self._width, device=self.device)
        self._history = History(self.history, self._obs)
        self._privileged = torch.zeros(num_envs, self.privileged_dim, device=self.device)

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given; one that would change nothing is no option."""
        return {"episode_length": None, "shortest_episode": None, "auto_reset": True, "history": 1}

    @classmethod
    def observation_width(cls, options: Mapping[str, Any]) -> int:
        """Return how much is observed of environments with these options, known before any is built."""
        if "history" not in cls.option_defaults():
            return cls.obs_dim  # an option of that name means something else
        check_history(cls.name, options.get("history", 1))
        return cls.obs_dim * options.get("history", 1)

    @classmethod
    def privileged_width(cls, options: Mapping[str, Any]) -> int:
        """Return how much only the critic sees of environments with these options, known before any is built."""
        return cls.privileged_dim

    # ---- what a backend defines ----------------------------------------------------------------------------------

    @abstractmethod
    def _advance(self, action: Tensor) -> Reached:
        """Move by one step under `action` (N, action_dim), which may be broken or beyond [-1, 1]."""

    @abstractmethod
    def _begin(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Begin new episodes where `mask` (N,), cutting their graph; return (obs, privileged) of all N, without a graph.

        Only those of the episodes that begin count; they are sound, as `_shown` makes them.
        """

    def _stores(self) -> dict[str, tuple[StartBank, Callable[[], Starts]]]:
        """Return what is drawn ahead, by names for the state, each with what draws it for all environments."""
        return {}

    def _contain(self) -> None:  # noqa: B027 (not every backend has a state of its own)
        """Give the environments in `invalid` a harmless state, without touching the others."""

    def _cut(self) -> None:  # noqa: B027 (not every backend has a graph)
        """Let no gradient go back through the environments in `invalid`."""

    @abstractmethod
    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress), each (N, ...)."""

    # ---- what a task may tell ------------------------------------------------------------------------------------

    def quantities(self) -> Sequence[Quantity]:
        """Name what is observed, a row for each entry, with the pieces of `envs.tables`; nothing: they are numbered.

        A subclass that observes something else names it anew.
        """
        return ()

    def privileged_quantities(self) -> Sequence[Quantity]:
        """Name what only the critic sees, as `quantities` does, without the parameters that an option may add."""
        return ()

    def observation_table(self) -> list[Quantity]:
        """Return what each entry of the observation is, obs_dim rows.

        Raises:
            ValueError: if the task names another number of them.
        """
        return aged(named(type(self), "quantities", "observe", self.quantities(), self._width), self.history)

    def privileged_table(self) -> list[Quantity]:
        """Return what each entry of what only the critic sees is, privileged_dim rows.

        Raises:
            ValueError: if the task names another number of them.
        """
        width, rows = type(self).privileged_dim, self.privileged_quantities()
        return named(type(self), "privileged_quantities", "observe_privileged", rows, width)

    def action_table(self) -> list[ActionRow]:
        """Return what each entry of an action stands for, action_dim rows."""
        return numbered_actions(self.action_dim)

    # ---- the environment's surface -------------------------------------------------------------------------------

    @property
    def progress(self) -> Tensor:
        """Steps of the present episodes, (N,) int64; can be set, to let time limits fall apart."""
        return self._progress

    @progress.setter
    def progress(self, steps: Tensor) -> None:
        if not self._keeps_time:
            raise ValueError(f"{self.name}: time limits cannot be moved where sub-environments are only reset together")
        self._progress = checked_progress(self.name, steps, self.num_envs, self.device)

    @property
    def time_limits(self) -> Tensor | int:
        """Steps after which episodes end: of each environment (N,) int64 with `shortest_episode`, else of all."""
        return self.max_episode_steps if self._time_limits is None else self._time_limits

    @property
    def privileged(self) -> Tensor:
        """What only the critic sees of the present state, (N, privileged_dim)."""
        return self._privileged

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start the environments in `mask` (N,) bool anew, all if None; return the observation (N, obs_dim)."""
        chosen = checked_mask(mask, self.num_envs, self.device)
        if mask is None:
            self.detach()
        self._fill(now=True)
        self._restart(chosen)
        self._fill(now=True)
        return self._history.of(self._obs)

    def step(self, action: Tensor) -> Step:
        """Apply `action` (N, action_dim), clipped to [-1, 1], for one step."""
        check_tensor(self.name, "action", action, (self.num_envs, self.action_dim), self.device)
        self._steps += 1
        if self._steps == _FILLING:
            self._fill()
        before = self._obs
        reached = self._advance(action)
        self._history.add(before)
        obs, privileged = reached.obs, reached.privileged
        reward, names, terms = _added(reached.reward)
        with torch.no_grad():
            parts = (*reached.state, obs, privileged, action, reward[:, None])
            whole = torch.cat(parts, dim=1).abs() <= STATE_LIMIT
            self.invalid = ~whole.all(dim=1)
        self.invalid_reward = self.invalid
        auto_reset = self.options.get("auto_reset", True)
        if not self._looks or self.invalid.any():
            self.invalid_reward = whole[:, :-1].all(dim=1) & self.invalid
            if self._looks:
                self._explain(reached, action)
            self._cut()
            if not auto_reset:
                self._contain()
            obs, privileged = (_blank(part, self.invalid[:, None]) for part in (obs, privileged))
            self._history.blank(self.invalid)
            reward, terms = reward.masked_fill(self.invalid, 0.0), _blank(terms, self.invalid)
        self._obs, self._privileged = obs, privileged
        final_obs = self._history.of(obs)
        self._progress = self._progress + 1
        terminated = reached.failed | self.invalid
        truncated = self._progress >= self.time_limits if self._keeps_time else torch.zeros_like(terminated)
        if reached.cut is not None:
            truncated = truncated | reached.cut
        if auto_reset:
            self._restart(terminated | truncated)
        seen = final_obs if self._obs is obs else self._history.of(self._obs)
        named_terms = dict(zip(names, terms.unbind(), strict=True)) if names else None
        return Step(seen, reward, terminated, truncated, final_obs, self._privileged, privileged, named_terms)

    def detach(self) -> Tensor:
        """Cut the graph at the present state; return its observation (N, obs_dim)."""
        self._obs, self._privileged = self._obs.detach(), self._privileged.detach()
        self._history.detach()
        return self._history.of(self._obs)

    def ghosts(self) -> list[Ghost]:
        """Return what is drawn where the targets are now, always the same kinds; by default nothing."""
        return []

    def reseed(self, seed: int) -> None:
        """Let all that is drawn from here on be of another seed."""
        self.generator.manual_seed(seed)
        self._draw_anew()

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on, what is drawn and not yet used and the random generator included."""
        stores = {name: bank.state_dict() for name, (bank, _) in self._stores().items()}
        return {
            **{f"{name}.{key}": value for name, state in stores.items() for key, value in state.items()},
            "steps": torch.tensor(self._steps),
            "progress": self._progress.clone(),
            "obs": self._obs.detach().clone(),
            **({"past": self._history.past.detach().clone()} if self.history > 1 else {}),
            "privileged": self._privileged.detach().clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, on this device or another.

        Raises:
            ValueError: if the state is of another task or number of environments.
        """
        own, stores = self.state_dict(), self._stores()
        older = "steps" not in state and any(f"{name}.used" in state for name in stores)
        if older:
            state = {**own, **state}
        if missing := own.keys() - state.keys():
            raise ValueError(f"{self.name}: the state lacks {', '.join(sorted(missing))}")
        for key, value in own.items():
            # there may be more or fewer rows in store
            first = int(key.partition(".")[0] in stores)
            if state[key].shape[first:] != value.shape[first:]:
                raise ValueError(f"{self.name}: {key} must have shape {tuple(value.shape)}, got {tuple(state[key].shape)}")
        self._progress, self._obs, self._privileged = (
            state[key].to(self.device, copy=True) for key in ("progress", "obs", "privileged")
        )
        if self.history > 1:
            self._history.past = state["past"].to(self.device, copy=True)
        self.generator.set_state(state["generator"].cpu())
        self._steps = int(state["steps"])
        if older:
            self._draw_anew()
            log.warning(f"{self.name}: the state is of an older version, so starts that were in store are drawn anew.")
            return
        for name, (bank, _) in stores.items():
            kept = {key.removeprefix(f"{name}."): state[key] for key in own if key.startswith(f"{name}.")}
            bank.load_state_dict(kept, self.device)

    def close(self) -> None:  # noqa: B027 (not every backend holds something)
        """Give back threads, processes and memory; once is enough, more does no harm."""

    # ---- inside --------------------------------------------------------------------------------------------------

    def _continue_with(self, obs: Tensor, privileged: Tensor) -> Tensor:
        """Take what is seen of a state that was set, as if episodes began there; return the observation (N, obs_dim)."""
        self._obs, self._privileged = obs, privileged
        self._history.begin(obs)
        return self._history.of(obs)

    def _fill(self, now: bool = False) -> None:
        """Draw ahead what has been used, of which the host may wait to be told `now`."""
        self._steps = 0
        for bank, draw in self._stores().values():
            bank.fill(draw, now)

    def _draw_anew(self) -> None:
        """Forget what is drawn ahead, and draw it with the generator as it is."""
        for bank, _ in self._stores().values():
            bank.clear()
        self._fill(now=True)

    def _restart(self, mask: Tensor) -> None:
        """Begin new episodes where `mask` (N,)."""
        if self._looks and not mask.any():
            return
        obs, privileged = self._begin(mask)
        here = mask[:, None]
        self._history.begin(obs, mask)
        self._obs = torch.where(here, obs, self._obs)
        if self.privileged_dim:
            self._privileged = torch.where(here, privileged, self._privileged)
        self._progress = self._progress.masked_fill(mask, 0)

    def _shown(self, obs: Tensor, privileged: Tensor, begun: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is seen of starts: zeros where something is broken, which is said once of those `begun` (N,)."""
        whole = sound(obs, privileged)
        if self._looks and not whole[begun].all():
            for what, values in {"observation": obs, "privileged observation": privileged}.items():
                self._say_once(f"first {what}", values, begun, ". Zeros are seen in place of such a start.")
        return torch.where(whole[:, None], obs, 0.0), torch.where(whole[:, None], privileged, 0.0)

    @torch.no_grad()
    def _explain(self, reached: Reached, action: Tensor) -> None:
        """Say once what of a task breaks by itself."""
        reward, names, stacked = _added(reached.reward)
        moved = sound(*reached.state, action)
        parts = {f"reward {name!r}": part[:, None] for name, part in zip(names, stacked, strict=True)}
        parts = parts or {"reward": reward[:, None]}
        for what, values in ({"observation": reached.obs, "privileged observation": reached.privileged} | parts).items():
            sequel = "Each time this ends the episode, with reward 0; nan/invalid_envs counts how often."
            self._say_once(what, values, moved, f", though the state is sound. {sequel}")

    def _say_once(self, what: str, values: Tensor, among: Tensor, sequel: str) -> None:
        """Say once of a task and a quantity (N, W) where it is broken `among` (N,) some environments, and what follows."""
        bad = ~(values.abs() <= STATE_LIMIT) & among[:, None]
        count = int(bad.any(1).sum())
        if count == 0 or (self.name, what) in _SAID:
            return
        _SAID.add((self.name, what))
        columns = bad.any(0).nonzero()[:, 0].tolist()
        where = f" {', '.join(map(str, columns))}" if "observation" in what else ""
        example = values[bad][0].item()
        log.warning(f"{self.name}: {what}{where} is {example:g} in {count} of {self.num_envs} environments{sequel}")

    def _judged(self, method: str, call: Callable[..., Any], *given: Tensor) -> Any:
        """Return what a method of the task returns, called on copies.

        Raises:
            ValueError: if it changes in place what it is given.
        """
        copies = [part.clone() for part in given]
        versions = [copy._version for copy in copies]  # counts writes, also those that change no value today
        returned = call(*copies)
        if versions != [copy._version for copy in copies]:
            raise ValueError(f"{self.name}: {method} must not change in place what it is given")
        return returned

    def _check_returned(self, method: str, value: Any, width: int | None = None, dtype: torch.dtype = torch.float32) -> None:
        shape = (self.num_envs,) if width is None else (self.num_envs, width)
        if method == "reward" and isinstance(value, tuple) and len(value) == 2:
            value, terms = value
            self._check_returned(method, terms)
        if isinstance(value, Mapping):
            for name, part in value.items():
                check_returned(self.name, f"{method}'s {name!r}", part, shape, dtype)
        else:
            check_returned(self.name, method, value, shape, dtype)


def _added(reward: Reward) -> tuple[Tensor, list[str], Tensor]:
    """Return a reward (N,), the sum of its K terms if it is one, their names, and the terms (K, N) without their graph."""
    if isinstance(reward, Tensor):
        return reward, [], reward.new_zeros(0, len(reward))
    total, terms = reward if isinstance(reward, tuple) else (None, reward)
    stacked = torch.stack(list(terms.values()))
    return stacked.sum(0) if total is None else total, list(terms), stacked.detach()


def _blank(part: Tensor, mask: Tensor) -> Tensor:
    """Return a part with zeros, without a gradient, where a mask says so."""
    return part.masked_fill(mask, 0.0) if part.numel() else part


def sound(*parts: Tensor) -> Tensor:
    """Return (N,) bool: rows of all parts (N, ...) that are finite and within the limit."""
    return (torch.cat(parts, dim=1).abs() <= STATE_LIMIT).all(dim=1)


def below(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a state whose keys begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
