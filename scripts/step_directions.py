"""Say what a step of the policy is worth, by its direction and by how far it goes.

    python scripts/step_directions.py ant --ckpt_path runs/ant/napg/seed_0/checkpoints/last.ckpt

A window of few robots has a gradient. Along it, along its signs (what Adam's first step is), and along the natural gradient
the policy goes until KL(old || new), over the states of another window, is 0.01, 0.1, ... Then it acts from states that it
visits, without noise, and what it gets more of reward per step than before is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from gradient_signal import policy_gradients, trained, visit
from torch import Tensor

import rpo_lightning
from rpo_lightning.algorithms.natural import natural_step
from rpo_lightning.losses import gaussian_kl
from rpo_lightning.rollout import Collector

DISTANCES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""KL(old || new) [nats] of the steps."""
HALVINGS = 25


class Steps:
    """Move a module's actor from where it is and back.

    Args:
        module: a trained algorithm with critics.
        obs: raw observations (T, N, D) over which the KL is a mean.
    """

    def __init__(self, module: Any, obs: Tensor) -> None:
        self.module, self.x = module, module.normalizer(obs)
        self.params = list(module.actor.parameters())
        self.start = [param.detach().clone() for param in self.params]
        self.old = module.actor(self.x).detach()

    @torch.no_grad()
    def go(self, direction: Sequence[Tensor], length: float) -> float:
        """Go so far from the start; return KL(old || new)."""
        for param, start, part in zip(self.params, self.start, direction, strict=True):
            param.copy_(start + length * part)
        return gaussian_kl(self.old, self.module.actor(self.x)).mean().item()

    def go_to(self, direction: Sequence[Tensor], kl: float) -> float:
        """Go until the KL is that; return the length."""
        near, far = 0.0, 1e-6
        while self.go(direction, far) < kl:
            far *= 2.0
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            near, far = (middle, far) if self.go(direction, middle) < kl else (near, middle)
        self.go(direction, near)
        return near

    def natural(self, gradient: Sequence[Tensor]) -> list[Tensor]:
        """Return the natural direction of a gradient."""
        objective = sum((param * part).sum() for param, part in zip(self.params, gradient, strict=True))
        none, radius = torch.tensor(0.0), torch.tensor(0.1)
        return list(natural_step(objective, self.module.actor(self.x), self.params, none, radius, 10, 0.1)[3:])


@torch.no_grad()
def reward_per_step(env: Any, state: dict[str, Any], module: Any, steps: int) -> float:
    """Return the mean reward of so many steps without noise, from a state of the environment."""
    env.load_state_dict(state)
    obs, total = env.detach(), 0.0
    for _ in range(steps):
        step = env.step(module.policy(obs).mode)
        obs, total = step.obs, total + step.reward.mean().item()
    return total / steps


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", help="a task, or a class path")
    parser.add_argument("--ckpt_path", required=True, help="a checkpoint, which has the critics")
    parser.add_argument("--robots", type=int, default=16, help="of the window with the gradient")
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--steps", type=int, default=200, help="over which rewards are counted")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    module, options, _ = trained(given.task, given.ckpt_path)
    module.actor.requires_grad_(True)

    def visited(count: int, seed: int) -> Any:
        env = rpo_lightning.make(given.task, num_envs=count, seed=seed, **options)
        visit(env, module, env.max_episode_steps // 4, 1, torch.Generator().manual_seed(seed))
        return env

    whole = policy_gradients(visited(given.robots, given.seed), module, given.horizon, given.seed).mean(0)
    other = Collector(visited(16, given.seed + 1), given.horizon, given.seed + 1).collect(module)
    steps = Steps(module, other.obs)
    parts = whole.split([param.numel() for param in steps.params])
    gradient = [part.view_as(param) for part, param in zip(parts, steps.params, strict=True)]
    directions = {"gradient": gradient, "signs": [part.sign() for part in gradient], "natural": steps.natural(gradient)}
    env = visited(96, given.seed + 2)
    state = env.state_dict()
    before = reward_per_step(env, state, module, given.steps)
    print(f"{given.task}, {given.robots} robots: {before:.3f} of reward per step; more of it after a step of KL ...")
    print("direction " + "".join(f"{kl:>9g}" for kl in DISTANCES))
    for name, direction in directions.items():
        gains = []
        for kl in DISTANCES:
            steps.go_to(direction, kl)
            gains.append(reward_per_step(env, state, module, given.steps) - before)
        print(f"{name:10}" + "".join(f"{gain:9.3f}" for gain in gains))
    steps.go(gradient, 0.0)


if __name__ == "__main__":
    main()
