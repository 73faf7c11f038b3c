"""Collecting one window with a single backward pass through the simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor

from rpo_lightning.envs.protocol import STATE_LIMIT, Env
from rpo_lightning.nn import Gaussian
from rpo_lightning.rollout.batch import RolloutBatch
from rpo_lightning.seeding import normal
from rpo_lightning.transfers import sent

__all__ = ["Agent", "Collector", "Env", "Window"]


class Agent(Protocol):
    """What the collector asks of an algorithm. Observations are raw, leading dimensions arbitrary."""

    needs_action_grad: bool
    state_size: int

    def check_window(self, horizon: int, num_envs: int) -> None:
        """Raise a ValueError for windows that cannot be learned from."""
        ...

    def behaviour(self, obs: Tensor, state: Tensor) -> tuple[Gaussian, Tensor]:
        """Return the action distribution that explores, and the next hidden state (N, state_size)."""
        ...

    def next_value(self, window: Window) -> Tensor:
        """Return the values (H, N) that critic targets bootstrap from; only those of states that are alive count."""
        ...

    def reward_bonus(self, policy: Any, generator: torch.Generator) -> Tensor:
        """Return the scaled bonus added to the reward."""
        ...

    def window_objective(self, window: Window) -> Tensor:
        """Return what the action-gradients are gradients of, summed over environments."""
        ...


@dataclass
class Window:
    """What values and an objective are made of; time-major tensors that carry the simulation's graph."""

    obs: Tensor
    """Raw observations acted on, (H, N, D)."""
    privileged: Tensor
    """What only critics see beside them, (H, N, P)."""
    reward: Tensor
    """Rewards and bonus, (H, N)."""
    truncated: Tensor
    """Episode ended by the time limit at this step, (H, N) bool."""
    done: Tensor
    """Episode ended at this step, either way, (H, N) bool."""
    alive: Tensor
    """The state reached has a value: not failed, nor broken, (H, N) bool."""
    reached: Tensor
    """Raw observation of the state reached, before any reset; 0 where it is not alive, (H, N, D)."""
    reached_privileged: Tensor
    """What only critics see of it, likewise, (H, N, P)."""


class Collector:
    """Run a policy for windows of H steps; episodes continue across windows.

    Args:
        env: environments, already reset.
        horizon: H.
        seed: of the exploration noise.
        random_progress: begin every environment at a random step of its first episode, so that their time limits do not
            fall together.
        noise_correlation: of the exploration noise of one step with that of the next, within [0, 1); the noise of each
            stays standard normal.
    """

    def __init__(
        self, env: Env, horizon: int, seed: int, random_progress: bool = False, noise_correlation: float = 0.0
    ) -> None:
        self.env = env
        self.horizon = horizon
        self.windows = 0
        self.generator = torch.Generator().manual_seed(seed)
        self._policy_state: Tensor | None = None
        self.noise_correlation = noise_correlation
        self._last_noise = torch.full((env.num_envs, env.action_dim), torch.nan, device=env.device)
        """Of the step before, (N, A); NaN: there was none, or it does not matter."""
        self.random_progress = random_progress
        self._spread_progress()
        self._length = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
        self._sums: dict[str, Tensor] = {"return": torch.zeros_like(self._length)}
        """Of the running episodes, (N,) each: what the return is, and after the first window the reward's terms."""
        self._match_episodes()

    def check(self, agent: Agent) -> None:
        """Check that the environment gives what the agent learns from.

        Raises:
            ValueError: the agent needs action-gradients and the environment has none, or it cannot learn from such windows.
        """
        if agent.needs_action_grad and not self.env.differentiable:
            raise ValueError(
                f"{type(self.env).__name__} is not differentiable, but {type(agent).__name__} learns from "
                "action-gradients: choose a differentiable environment or another algorithm."
            )
        agent.check_window(self.horizon, self.env.num_envs)

    def collect(self, agent: Agent) -> RolloutBatch:
        """Collect one window.

        Raises:
            ValueError: the agent needs action-gradients and the environment has none.
        """
        self.check(agent)
        started = perf_counter()
        with torch.set_grad_enabled(agent.needs_action_grad):
            fields = self._roll_out(agent)
        self.windows += 1
        seed = torch.randint(2**31, (), generator=self.generator)
        return RolloutBatch(**fields, seed=int(seed), rollout_time=perf_counter() - started)

    def _roll_out(self, agent: Agent) -> dict[str, Any]:
        env = self.env
        start_state, start_context = tuple(tensor.detach().clone() for tensor in env.get_state()), _context(env)
        obs = env.detach()
        privileged = env.privileged
        state = self._policy_state
        if state is None:
            state = obs.new_zeros(env.num_envs, agent.state_size)
        policy_state = state
        noise = self._correlated(self._noise(obs))
        # Gradient of the return with respect to this zero is the action-gradient dR/du, all steps at once.
        delta = torch.zeros_like(noise, requires_grad=agent.needs_action_grad)

        untold = torch.zeros_like(env.invalid)  # where the environment does not tell what broke it
        before, policies, samples, steps, broken = [], [], [], [], []
        for noise_t, delta_t in zip(noise, delta.unbind(), strict=True):
            policy, state = agent.behaviour(obs, state)
            sample = policy.from_noise(noise_t) + delta_t
            step = env.step(policy.action(sample))
            before.append((obs, privileged))
            policies.append((policy.mean, policy.log_std))
            samples.append(sample.detach())
            steps.append(step)
            broken.append((env.invalid.clone(), getattr(env, "invalid_reward", untold).clone()))
            obs, privileged = step.obs, _present(step.privileged, step.obs)
            if agent.state_size:
                state = state.masked_fill((step.terminated | step.truncated)[:, None], 0.0)
        self._policy_state = state.detach()

        policy = type(policy)(*_stacked(policies))
        observation, seen_by_critics = _stacked(before)
        final_obs, final_privileged = _stacked([(step.final_obs, _present(step.final_privileged, obs)) for step in steps])
        reward, terminated, truncated = _stacked([(step.reward, step.terminated, step.truncated) for step in steps])
        invalid, invalid_reward = _stacked(broken)
        named = [step.reward_terms or {} for step in steps]
        terms = {name: torch.stack([each[name] for each in named]).detach() for name in named[-1]}
        bonus = agent.reward_bonus(policy, self.generator)

        sound = (torch.cat([final_obs, final_privileged], -1).detach().abs() <= STATE_LIMIT).all(-1)
        alive, done = ~terminated & sound, terminated | truncated
        reached, reached_privileged = (torch.where(alive[..., None], each, 0.0) for each in (final_obs, final_privileged))
        window = Window(observation, seen_by_critics, reward + bonus, truncated, done, alive, reached, reached_privileged)
        with torch.no_grad():
            next_value = torch.where(alive, agent.next_value(window), 0.0)

        action_grad, nonfinite = None, torch.zeros_like(terminated)
        if agent.needs_action_grad:
            (action_grad,) = torch.autograd.grad(agent.window_objective(window), delta)
            nonfinite = ~action_grad.isfinite().all(-1)
            action_grad = torch.where(nonfinite[..., None], 0.0, action_grad)

        reward = reward.detach()
        episode_length, ended = self._episodes({"return": reward, **{f"reward/{name}": terms[name] for name in terms}}, done)
        return {
            "obs": observation.detach(),
            "privileged": seen_by_critics.detach(),
            "policy_state": policy_state,
            "sample": torch.stack(samples),
            "mean": policy.mean.detach(),
            "log_std": policy.log_std.detach(),
            "reward": reward,
            "reward_terms": terms,
            "bonus": bonus.detach(),
            "terminated": terminated,
            "truncated": truncated,
            "invalid": invalid,
            "invalid_reward": invalid_reward,
            "final_obs": torch.where(sound[..., None], final_obs, 0.0).detach(),
            "final_privileged": torch.where(sound[..., None], final_privileged, 0.0).detach(),
            "alive": alive,
            "next_value": next_value,
            "action_grad": action_grad,
            "nonfinite_grad": nonfinite,
            "episode_return": ended["return"],
            "episode_length": episode_length,
            "episode_terms": {name: ended[f"reward/{name}"] for name in terms},
            "start_state": start_state,
            "start_context": start_context,
        }

    def _noise(self, obs: Tensor) -> Tensor:
        """Draw what explores in a window (H, N, A)."""
        return normal((self.horizon, self.env.num_envs, self.env.action_dim), self.generator, like=obs)

    def _correlated(self, noise: Tensor) -> Tensor:
        """Return the noise (H, N, A) of an autoregressive process of first order, from independent noise of that shape."""
        if self.noise_correlation == 0.0:
            return noise
        fresh = math.sqrt(1.0 - self.noise_correlation**2)
        last, steps = self._last_noise, []
        for each in noise:
            last = torch.where(last.isnan(), each, self.noise_correlation * last + fresh * each)
            steps.append(last)
        self._last_noise = last
        return torch.stack(steps)

    def _episodes(self, parts: dict[str, Tensor], done: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the lengths (H, N) of the episodes that ended and sums of `parts` over them, NaN elsewhere.

        Sums of the others are carried on.
        """
        if parts.keys() != self._sums.keys():  # the first window, or a task that is paid for other things than before
            known = torch.where(self._length > 0, torch.nan, self._sums["return"])
            self._sums = {"return": known, **dict.fromkeys(list(parts)[1:], known)}
        # in double precision, in which differences of sums over the window keep the digits of each episode's
        added = torch.stack([*parts.values(), torch.ones_like(parts["return"])], -1).double()
        before = torch.stack([*(self._sums[name] for name in parts), self._length], -1).double()
        total = torch.cat([-before[None], added.cumsum(0)])  # what to take off, where no episode has ended in the window
        time = torch.arange(1, len(done) + 1, device=done.device)[:, None]
        ends = torch.where(done, time, 0).cummax(0).values  # how many steps up to the last end
        begun = torch.cat([torch.zeros_like(ends[:1]), ends])[..., None].expand(-1, -1, total.shape[-1])
        since = total[1:] - total.gather(0, begun[:-1])
        ended = torch.where(done[..., None], since, torch.nan).to(parts["return"].dtype)
        *sums, length = ended.unbind(-1)
        *carried, self._length = (total[-1] - total.gather(0, begun[-1:])[0]).unbind(-1)
        self._sums = dict(zip(parts, carried, strict=True))
        return length, dict(zip(parts, sums, strict=True))

    def close(self) -> None:
        """Close the environments, with whatever threads or processes they have."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the environment's and the generator's state and the running episodes."""
        return {
            "env": self.env.state_dict(),
            "generator": self.generator.get_state(),
            "windows": self.windows,
            "policy_state": self._policy_state,
            "last_noise": self._last_noise,
            "sums": dict(self._sums),
            "length": self._length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"].cpu())
        self.windows = state["windows"]
        policy_state = state["policy_state"]
        self._policy_state = None if policy_state is None else policy_state.to(self.env.device)
        if (last_noise := state.get("last_noise")) is not None:  # which older checkpoints lack
            self._last_noise = last_noise.to(self.env.device)
        self._sums = {name: each.to(self.env.device) for name, each in state["sums"].items()}
        self._length = state["length"].to(self.env.device)
        begun_anew = bool(self._length.any()) and not bool(self.env.progress.any())
        if begun_anew:  # a foreign simulator, whose episodes all begin now
            self._spread_progress()
        self._match_episodes()

    def _spread_progress(self) -> None:
        """Let the environments be at random steps of their episodes, if that was asked for."""
        if self.random_progress:
            env = self.env
            steps = torch.randint(env.max_episode_steps, (env.num_envs,), generator=self.generator)
            limits = getattr(env, "time_limits", env.max_episode_steps)  # of each, where they differ
            env.progress = sent(steps, env.device) % limits

    def _match_episodes(self) -> None:
        """Begin to count where the environments are; sums whose beginning is unknown become NaN until the next reset."""
        progress = self.env.get_state()[2].to(self._length.dtype)
        unknown = torch.where(progress == 0, 0.0, torch.nan)
        self._sums = {name: torch.where(self._length == progress, each, unknown) for name, each in self._sums.items()}
        self._length = progress


def _present(privileged: Tensor | None, obs: Tensor) -> Tensor:
    """Return privileged observations (N, P), of no width where there are none."""
    return obs[..., :0] if privileged is None else privileged


def _context(env: Env) -> dict[str, Tensor]:
    """Return what a step depends on beside the state: the robots' constants and what they are to reach, if there are any."""
    context = {}
    for name in ("parameters", "target"):
        each = getattr(env, name, None)
        if isinstance(each, Tensor) and each.shape[:1] == (env.num_envs,) and each.numel():
            context[name] = each.detach().clone()
    return context


def _stacked(rows: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the columns, time first."""
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))
