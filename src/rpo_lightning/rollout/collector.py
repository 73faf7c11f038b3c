"""Collecting one window with a single backward pass through the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from rpo_lightning.nn import Gaussian
from rpo_lightning.rollout.batch import RolloutBatch

__all__ = ["Agent", "Collector", "Env", "Window"]

STATE_LIMIT = 1e6
"""A reached observation beyond this, or not finite, has value 0."""


class Env(Protocol):
    """What the collector asks of an environment; see `rpo_lightning.envs.base`."""

    num_envs: int
    obs_dim: int
    action_dim: int
    max_episode_steps: int
    device: torch.device
    differentiable: bool
    progress: Tensor
    invalid: Tensor

    def step(self, action: Tensor) -> Any:
        """Return `Step(obs, reward, terminated, truncated, final_obs)`."""
        ...

    def detach(self) -> Tensor:
        """Cut the graph and return the observations (N, D)."""
        ...

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (q, qd, progress)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all state, including the generator's."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


class Agent(Protocol):
    """What the collector asks of an algorithm. Observations are raw, leading dimensions arbitrary."""

    needs_action_grad: bool
    bootstrap_state: Literal["next", "current"]

    def behaviour(self, obs: Tensor) -> Gaussian:
        """Return the action distribution that explores."""
        ...

    def target_value(self, obs: Tensor) -> Tensor:
        """Return the value that critic targets bootstrap from."""
        ...

    def reward_bonus(self, policy: Any, generator: torch.Generator) -> Tensor:
        """Return the scaled bonus added to the reward."""
        ...

    def window_objective(self, window: Window) -> Tensor:
        """Return what the action-gradients are gradients of, summed over environments."""
        ...


@dataclass
class Window:
    """What an objective is made of; time-major tensors that carry the simulation's graph."""

    obs: Tensor
    """Raw observations acted on, (H, N, D)."""
    reward: Tensor
    """Rewards and bonus, (H, N)."""
    done: Tensor
    """Episode ended at this step, (H, N) bool."""
    reached: Tensor
    """Raw observation whose value stands for the state reached, (H, N, D)."""
    alive: Tensor
    """That state has a value: not failed, nor broken, (H, N) bool."""


class Collector:
    """Run a policy for windows of H steps; episodes continue across windows.

    Args:
        env: environments, already reset.
        horizon: H.
        seed: of the exploration noise.
        random_progress: begin every environment at a random step of its first episode, so that their time limits do not
            fall together.
    """

    def __init__(self, env: Env, horizon: int, seed: int, random_progress: bool = False) -> None:
        self.env = env
        self.horizon = horizon
        self.windows = 0
        self.generator = torch.Generator(env.device).manual_seed(seed)
        if random_progress:
            shape, limit = (env.num_envs,), env.max_episode_steps
            env.progress = torch.randint(limit, shape, generator=self.generator, device=env.device)
        self._return = torch.zeros(env.num_envs, device=env.device)
        self._length = torch.zeros(env.num_envs, device=env.device)
        self._match_episodes()

    def check(self, agent: Agent) -> None:
        """Check that the environment gives what the agent learns from.

        Raises:
            ValueError: the agent needs action-gradients and the environment has none.
        """
        if agent.needs_action_grad and not self.env.differentiable:
            raise ValueError(
                f"{type(self.env).__name__} is not differentiable, but {type(agent).__name__} learns from "
                "action-gradients: choose a differentiable environment or another algorithm."
            )

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
        seed = torch.randint(2**31, (), generator=self.generator, device=self.env.device)
        return RolloutBatch(**fields, seed=int(seed), rollout_time=perf_counter() - started)

    def _roll_out(self, agent: Agent) -> dict[str, Any]:
        env, horizon = self.env, self.horizon
        start_state = tuple(tensor.detach().clone() for tensor in env.get_state())
        obs = env.detach()
        shape = (horizon, env.num_envs, env.action_dim)
        noise = torch.randn(shape, generator=self.generator, device=env.device, dtype=obs.dtype)
        # Gradient of the return with respect to this zero is the action-gradient dR/du, all steps at once.
        delta = torch.zeros_like(noise, requires_grad=agent.needs_action_grad)

        observations, means, log_stds, samples, steps, invalid = [], [], [], [], [], []
        for noise_t, delta_t in zip(noise, delta.unbind(), strict=True):
            policy = agent.behaviour(obs)
            sample = policy.sample(noise_t) + delta_t
            step = env.step(policy.action(sample))
            observations.append(obs)
            means.append(policy.mean)
            log_stds.append(policy.log_std)
            samples.append(sample.detach())
            steps.append(step)
            invalid.append(env.invalid.clone())
            obs = step.obs

        policy = type(policy)(torch.stack(means), torch.stack(log_stds))
        observation, final_obs = torch.stack(observations), torch.stack([step.final_obs for step in steps])
        reward = torch.stack([step.reward for step in steps])
        terminated = torch.stack([step.terminated for step in steps])
        truncated = torch.stack([step.truncated for step in steps])
        bonus = agent.reward_bonus(policy, self.generator)

        reached = final_obs
        if agent.bootstrap_state == "current":
            reached = torch.where(truncated[..., None], final_obs, observation)
        sound = (final_obs.detach().abs() <= STATE_LIMIT).all(-1)
        alive = ~terminated & sound
        with torch.no_grad():
            value = agent.target_value(torch.where(alive[..., None], reached, 0.0))
            next_value = torch.where(alive, value, 0.0)

        action_grad, nonfinite = None, torch.zeros_like(terminated)
        if agent.needs_action_grad:
            window = Window(observation, reward + bonus, terminated | truncated, reached, alive)
            (action_grad,) = torch.autograd.grad(agent.window_objective(window), delta)
            nonfinite = ~action_grad.isfinite().all(-1)
            action_grad = torch.where(nonfinite[..., None], 0.0, action_grad)

        reward = reward.detach()
        episode_return, episode_length = self._episodes(reward, terminated | truncated)
        return {
            "obs": observation.detach(),
            "sample": torch.stack(samples),
            "mean": policy.mean.detach(),
            "log_std": policy.log_std.detach(),
            "reward": reward,
            "bonus": bonus.detach(),
            "terminated": terminated,
            "truncated": truncated,
            "invalid": torch.stack(invalid),
            "final_obs": torch.where(sound[..., None], final_obs, 0.0).detach(),
            "alive": alive,
            "next_value": next_value,
            "action_grad": action_grad,
            "nonfinite_grad": nonfinite,
            "episode_return": episode_return,
            "episode_length": episode_length,
            "start_state": start_state,
        }

    def _episodes(self, reward: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """Return the returns and lengths of the episodes that ended, NaN elsewhere; carry on the others."""
        returns, lengths = torch.full_like(reward, torch.nan), torch.full_like(reward, torch.nan)
        for t, (reward_t, done_t) in enumerate(zip(reward, done, strict=True)):
            self._return = self._return + reward_t
            self._length = self._length + 1
            returns[t] = torch.where(done_t, self._return, torch.nan)
            lengths[t] = torch.where(done_t, self._length, torch.nan)
            self._return = torch.where(done_t, 0.0, self._return)
            self._length = torch.where(done_t, 0.0, self._length)
        return returns, lengths

    def state_dict(self) -> dict[str, Any]:
        """Return the environment's and the generator's state and the running episodes."""
        return {
            "env": self.env.state_dict(),
            "generator": self.generator.get_state(),
            "windows": self.windows,
            "return": self._return,
            "length": self._length,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.env.load_state_dict(state["env"])
        self.generator.set_state(state["generator"].cpu())
        self.windows = state["windows"]
        self._return = state["return"].to(self.env.device)
        self._length = state["length"].to(self.env.device)
        self._match_episodes()

    def _match_episodes(self) -> None:
        """Begin to count where the environments are; returns whose beginning is unknown become NaN until the next reset."""
        progress = self.env.get_state()[2].to(self._length.dtype)
        unknown = torch.where(progress == 0, 0.0, torch.nan)
        self._return = torch.where(self._length == progress, self._return, unknown)
        self._length = progress
