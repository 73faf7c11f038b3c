"""Slow, literal versions of what the package computes in batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rpo_lightning.rollout import Env
from rpo_lightning.rollout.collector import STATE_LIMIT


def window_objective(
    env: Env,
    agent: Any,
    noise: Tensor,
    entropy_noise: Tensor,
    delta: Tensor | None = None,
    bonus: bool = True,
) -> Tensor:
    """Return each environment's window objective (N,): a sum over segments whose discounts start at 1.

    Args:
        env: at the window's start; it is stepped.
        agent: an RPO.
        noise: of the actions, (H, N, A).
        entropy_noise: of the entropy estimate, (H, N, A).
        delta: added to the samples before the tanh, (H, N, A).
        bonus: whether the entropy bonus is part of the reward.
    """
    horizon, num_envs = noise.shape[:2]
    objective = [torch.zeros((), dtype=noise.dtype) for _ in range(num_envs)]
    accumulated, discount = list(objective), [1.0] * num_envs
    obs = env.detach()
    for t in range(horizon):
        policy = agent.policy(obs)
        u = policy.from_noise(noise[t])
        if delta is not None:
            u = u + delta[t]
        step = env.step(u.tanh())
        reward = step.reward
        if bonus:
            entropy = policy.entropy(entropy_noise[t])
            reward = reward + agent.entropy_coef * (entropy / agent.target_entropy + 1) / 2
        for n in range(num_envs):
            accumulated[n] = accumulated[n] + discount[n] * reward[n]
            done = bool(step.terminated[n] or step.truncated[n])
            if done or t == horizon - 1:
                reached = step.final_obs[n]
                usable = bool(reached.isfinite().all()) and float(reached.detach().abs().max()) <= STATE_LIMIT
                if usable and not step.terminated[n]:
                    accumulated[n] = accumulated[n] + discount[n] * agent.discount * agent.value(reached)
                objective[n] = objective[n] + accumulated[n]
                accumulated[n], discount[n] = torch.zeros_like(objective[n]), 1.0
            else:
                discount[n] *= agent.discount
        obs = step.obs
    return torch.stack(objective)


def window_noise(collector: Any, action_dim: int) -> tuple[Tensor, Tensor]:
    """Return the action noise and the entropy noise (H, N, A) that the next window of an RPO will draw."""
    generator = collector.generator.clone_state()
    env = collector.env
    shape = (collector.horizon, env.num_envs, action_dim)
    return (
        torch.randn(shape, generator=generator, dtype=env.dtype),
        torch.randn(shape, generator=generator, dtype=env.dtype),
    )


def brute_force_lambda_return(reward: Tensor, next_value: Tensor, done: Tensor, discount: float, td_lambda: float) -> Tensor:
    """Return TD(lambda) targets (H, N) as the mixture of n-step returns, one environment and step at a time."""
    horizon, num_envs = reward.shape
    target = torch.zeros_like(reward)
    for n in range(num_envs):
        for t in range(horizon):
            last = t
            while not done[last, n] and last < horizon - 1:
                last += 1
            n_step, total = [], 0.0
            for k in range(t, last + 1):
                total += discount ** (k - t) * float(reward[k, n])
                n_step.append(total + discount ** (k - t + 1) * float(next_value[k, n]))
            weights = [(1 - td_lambda) * td_lambda**i for i in range(len(n_step) - 1)]
            weights.append(td_lambda ** (len(n_step) - 1))
            target[t, n] = sum(w * g for w, g in zip(weights, n_step, strict=True))
    return target


def brute_force_advantages(
    reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, discount: float, td_lambda: float
) -> Tensor:
    """Return generalised advantages (H, N) by A_t = delta_t + discount lambda A_{t+1}, one at a time and with the graph.

    Args:
        reward: (H, N).
        value: of the state acted on, (H, N).
        next_value: of the state reached, (H, N).
        done: (H, N) bool; no A_{t+1} beyond it.
        discount: gamma.
        td_lambda: lambda.
    """
    horizon, num_envs = reward.shape
    rows: list[list[Tensor]] = []
    for t in reversed(range(horizon)):
        row = [reward[t, n] + discount * next_value[t, n] - value[t, n] for n in range(num_envs)]
        if rows:
            row = [a if done[t, n] else a + discount * td_lambda * rows[-1][n] for n, a in enumerate(row)]
        rows.append(row)
    return torch.stack([torch.stack(row) for row in reversed(rows)])


def closed_loop_advantages(env: Env, agent: Any, noise: Tensor, delta: Tensor) -> Tensor:
    """Return the advantages (H, N) of a window acted out step by step, with their graph back to `delta`.

    Args:
        env: at the window's start; it is stepped.
        agent: a GIPPO.
        noise: of the actions, (H, N, A).
        delta: added to the samples before the tanh, (H, N, A).
    """
    horizon, num_envs = noise.shape[:2]
    reward, value, next_value, done = [], [], [], []
    obs = env.detach()
    for t in range(horizon):
        step = env.step((agent.policy(obs).from_noise(noise[t]) + delta[t]).tanh())
        reward.append(step.reward)
        value.append(agent.value(obs))
        reached = step.final_obs
        if agent.bootstrap_state == "current":
            reached = torch.stack([reached[n] if step.truncated[n] else obs[n] for n in range(num_envs)])
        future = agent.value(reached)
        next_value.append(torch.stack([0.0 * v if step.terminated[n] else v for n, v in enumerate(future)]))
        done.append(step.terminated | step.truncated)
        obs = step.obs
    tensors = [torch.stack(rows) for rows in (reward, value, next_value, done)]
    return brute_force_advantages(*tensors, agent.discount, agent.td_lambda)
