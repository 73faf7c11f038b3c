"""Say how much of the action-gradient is signal, by horizon, and how well critics know the slope of what lies beyond it.

    python scripts/gradient_signal.py ant                                    # the policy of the package
    python scripts/gradient_signal.py my_robot.MyRobot --ckpt_path runs/mine/checkpoints/last.ckpt   # and its critics

From states that the policy visits it acts on K times, each time with other noise but the same first sample u. The
gradient of the discounted return of h steps by u differs between these continuations: only their mean is a slope of the
policy's return, the rest is noise that a window averages over. The share of signal is |E g|^2 / E|g|^2, both summed over
states.

With critics it says too how many robots a window needs: by the gradients that each robot alone would move the policy by, the
number whose mean has as much noise as signal (the simple noise scale of arXiv 1812.06162, eq. 2.9, in robots). Several times
as many robots make a step little better, and steps rarer.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

import rpo_lightning
from rpo_lightning.checkpoints import read_file
from rpo_lightning.losses import regenerate, shortened
from rpo_lightning.pretrained import find
from rpo_lightning.rollout import Collector
from rpo_lightning.seeding import normal

ROBOTS = 64
"""So many show how far the gradients of single ones lie apart."""
CUT = 10.0
"""Gradients longer than so many medians are shortened to that, for the second column."""


class Rollout(NamedTuple):
    """What follows T steps from S states, K times each; rows are S K, those of a state side by side."""

    first: Tensor
    """The first samples u, (S K, A)."""
    returns: Tensor
    """Discounted sums of the rewards up to each step, (T, S K)."""
    values: Tensor | None
    """Discounted values by the critics of the states reached, 0 where there is no future, (T, S K); None without critics."""


def signal_share(grads: Tensor) -> float:
    """Return |E g|^2 / E|g|^2 of gradients (S, K, A), without the bias of a mean of K; NaN where all are 0."""
    count = grads.shape[1]
    power = grads.square().sum(-1).mean(1)
    of_mean = grads.mean(1).square().sum(-1)
    return (((count * of_mean - power) / (count - 1)).sum() / power.sum()).item()


def cosine(known: Tensor, true: Tensor) -> float:
    """Return the median over states of the cosine between the means over continuations of gradients (S, K, A)."""
    return torch.cosine_similarity(known.mean(1), true.mean(1), dim=-1).median().item()


@torch.no_grad()
def visit(env: Any, module: Any, steps: int, continuations: int, generator: torch.Generator) -> None:
    """Bring an environment of S K rows to S states that the policy visits, each in K rows."""
    state = torch.zeros(env.num_envs, module.state_size, device=env.device)
    env.progress = torch.randint(steps, (env.num_envs,), generator=generator).to(env.device)
    for _ in range(steps):
        policy, state = module.remembering_policy(env.detach(), state)
        env.step(policy.action(policy.from_noise(normal(policy.mean.shape, generator, like=policy.mean))))
    rows = torch.arange(env.num_envs) // continuations * continuations
    whole = env.num_envs

    def alike(part: Any) -> Any:
        return part[rows.to(part.device)] if isinstance(part, Tensor) and part.shape[:1] == (whole,) else part

    env.load_state_dict(tree_map(alike, env.state_dict()))


def roll_out(env: Any, module: Any, steps: int, continuations: int, critics: bool, generator: torch.Generator) -> Rollout:
    """Act for so many steps from where the environment is, with a graph to the first samples."""
    obs, state = env.detach(), torch.zeros(env.num_envs, module.state_size, device=env.device)
    noise = normal((steps, env.num_envs, env.action_dim), generator, like=obs)
    noise[0] = noise[0].view(-1, continuations, env.action_dim)[:, :1].expand(-1, continuations, -1).flatten(0, 1)
    delta = torch.zeros_like(noise[0], requires_grad=True)
    going, total = torch.ones(env.num_envs, device=env.device), torch.zeros(env.num_envs, device=env.device)
    returns, values = [], []
    for t, drawn in enumerate(noise):
        policy, state = module.remembering_policy(obs, state)
        sample = policy.from_noise(drawn) + (delta if t == 0 else 0.0)
        step = env.step(policy.action(sample))
        total = total + module.discount**t * going * step.reward
        going = going * (~(step.terminated | env.invalid)).float()
        returns.append(total)
        if critics:
            seen = step.final_privileged if module.privileged_dim else None
            values.append(module.discount ** (t + 1) * going * module.value(step.final_obs, seen))
        obs = step.obs
    return Rollout(delta, torch.stack(returns), torch.stack(values) if critics else None)


def gradients(outcome: Tensor, first: Tensor, continuations: int) -> Tensor:
    """Return d outcome / d u (S, K, A) of an outcome (S K,); what is not finite is 0."""
    (grad,) = torch.autograd.grad(outcome.sum(), first, retain_graph=True)
    return grad.nan_to_num(0.0, 0.0, 0.0).view(-1, continuations, grad.shape[-1])


def measure(
    env: Any, module: Any, horizons: list[int], continuations: int, critics: bool, seed: int
) -> list[dict[str, float]]:
    """Return a row for each horizon: `horizon`, `length` (median), `signal`, `signal_cut`, and with critics `slope`.

    `slope` compares what the critics say of the state after h steps with as many further steps as the longest horizon has.
    """
    generator, longest = torch.Generator().manual_seed(seed), max(horizons)
    visit(env, module, env.max_episode_steps // 4, continuations, generator)
    found = roll_out(env, module, 2 * longest if critics else longest, continuations, critics, generator)
    rows = []
    for horizon in horizons:
        grads = gradients(found.returns[horizon - 1], found.first, continuations)
        length = grads.norm(dim=-1).median().item()
        rows.append({"horizon": horizon, "length": length, "signal": signal_share(grads)})
        rows[-1]["signal_cut"] = signal_share(shortened(grads, CUT)[0])
        if found.values is not None:
            beyond = found.returns[horizon + longest - 1] - found.returns[horizon - 1]
            true = gradients(beyond, found.first, continuations)
            told = gradients(found.values[horizon - 1], found.first, continuations)
            rows[-1]["slope"] = cosine(told, shortened(true, CUT)[0])
    return rows


def noise_scale(grads: Tensor) -> float:
    """Return E|g - E g|^2 / |E g|^2 of gradients (N, P), without the bias of a mean of N."""
    count, power, of_mean = len(grads), grads.square().sum(1).mean(), grads.mean(0).square().sum()
    signal = (count * of_mean - power) / (count - 1)
    return ((power - signal) / signal).item()


def policy_gradients(env: Any, module: Any, horizon: int, seed: int) -> Tensor:
    """Return by what each of N robots alone would move the policy (N, P), from a window of H steps."""
    batch = Collector(env, horizon, seed).collect(module)
    assert batch.action_grad is not None
    policy = module.over_window(module.normalizer(batch.obs), batch)
    surrogate = (batch.action_grad * regenerate(policy, batch.sample)).sum(-1).mean(0)
    params = list(module.actor.parameters())
    rows = [torch.autograd.grad(robot, params, retain_graph=True) for robot in surrogate]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def trained(task: str, path: str) -> tuple[Any, dict[str, Any], bool]:
    """Return an algorithm, the options of the task if it was trained in that, and whether its critics are there."""
    policy = rpo_lightning.load_policy(path)
    module, told = policy.module.requires_grad_(False), policy.metadata["env"]
    content = read_file(find(path))
    critics = "state_dict" in content and hasattr(module, "value")
    if critics:
        module.load_state_dict(content["state_dict"])
    return module, told["init_args"] if told["name"] == task else {}, critics


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="a task, or a class path")
    parser.add_argument("--ckpt_path", help="policy.pt, checkpoint (with critics), or a name (default: the task's)")
    parser.add_argument("--horizons", default="1,4,8,16,32", help="steps, separated by commas")
    parser.add_argument("--states", type=int, default=48)
    parser.add_argument("--continuations", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    path = given.ckpt_path or given.task
    module, options, critics = trained(given.task, path)
    env = rpo_lightning.make(given.task, num_envs=given.states * given.continuations, seed=given.seed, **options)
    if not env.differentiable:
        parser.error(f"{given.task} has no gradients.")
    horizons = sorted(int(each) for each in given.horizons.split(","))
    rows = measure(env, module, horizons, given.continuations, critics, given.seed)
    print(f"{given.task}, {path}: {given.states} states, {given.continuations} continuations each")
    print(
        "horizon  median length  signal  cut to ten medians" + ("  cosine of the critics' slope beyond" if critics else "")
    )
    for row in rows:
        slope = f"{row['slope']:36.2f}" if critics else ""
        print(f"{row['horizon']:7d}  {row['length']:13.3g}  {row['signal']:6.2f}  {row['signal_cut']:18.2f}{slope}")
    if critics and module.needs_action_grad:
        module.actor.requires_grad_(True)
        robots = rpo_lightning.make(given.task, num_envs=ROBOTS, seed=given.seed, **options)
        visit(robots, module, robots.max_episode_steps // 4, 1, torch.Generator().manual_seed(given.seed))
        needed = noise_scale(policy_gradients(robots, module, horizons[-1], given.seed))
        print(f"a window of {horizons[-1]} steps: noise equals signal with {needed:.2g} robots")


if __name__ == "__main__":
    main()
