r"""Make of a policy one for a task whose actions reach further, to begin training with: the controls stay nearly the same.

python scripts/wider_actions.py results/quadruped/rpo-one_observation/seed_0/policy.pt \
    --task quadruped_rough --output flat.pt

An action that is to be a share s of what tanh(u) was needs u' = atanh(s tanh(u)), and a spread by which the control is
spread as before. The actor's last layer is fitted to these by least squares over what the policy meets on its own task, and
the normaliser of the last action is scaled. Said is by how much the controls differ then, root mean squares in their unit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rpo_lightning import make
from rpo_lightning.deployment import task_facts
from rpo_lightning.files import write_tensors
from rpo_lightning.policies import policy_state
from rpo_lightning.trained_policy import Policy, load_policy

ENVS, STEPS = 128, 300


@torch.no_grad()
def met(policy: Policy, seed: int) -> Tensor:
    """Return what a policy sees of its own task (ENVS * STEPS, D)."""
    task, seen = policy.metadata["env"], []
    env = make(task["name"], ENVS, seed=seed, **task["init_args"])
    obs = env.detach()
    for _ in range(STEPS):
        seen.append(obs)
        obs = env.step(policy.act(obs)).obs
    return torch.cat(seen)


@torch.no_grad()
def widen(policy: Policy, share: float, obs: Tensor) -> tuple[float, float]:
    """Let a policy act `share` times as much, by its last layer and its normaliser; return what is off, and of how much.

    Args:
        policy: with an actor of this package whose spread depends on the state; it is changed.
        share: within 0 ... 1.
        obs: (M, D) that it meets.

    Returns:
        root mean squares over `obs` of what the new actions are off, and of what they should be, in the old unit.
    """
    layers, normalizer = policy.module.actor.mlp, policy.module.normalizer
    features = torch.nn.Sequential(*list(layers)[:-1])(normalizer(obs))
    mean, log_std = layers[-1](features).chunk(2, dim=1)
    action = mean.tanh()
    slope = share * (1.0 - action.square()) / (1.0 - (share * action).square())
    wanted = torch.cat([(share * action).atanh(), log_std + slope.log()], dim=1)
    ones = torch.ones(len(features), 1)
    fitted = torch.linalg.lstsq(torch.cat([features, ones], dim=1).double(), wanted.double()).solution.float()
    layers[-1].weight.copy_(fitted[:-1].T)
    layers[-1].bias.copy_(fitted[-1])
    last = [row for row, (name, *_) in enumerate(policy.metadata["observations"]) if "last action" in name]
    normalizer.mean[last] *= share
    normalizer.var[last] *= share**2
    acted = obs.clone()
    acted[:, last] *= share
    off = policy.act(acted) / share - action
    return off.square().mean().sqrt().item(), action.square().mean().sqrt().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the policy and say how near it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--task", required=True, help="whose actions reach further")
    parser.add_argument("--output", required=True, type=Path)
    given = parser.parse_args(arguments)
    policy, env = load_policy(given.policy), make(given.task, 1)
    unit = policy.metadata["action_scale"]
    off, size = widen(policy, unit / env.action_scale, met(policy, 0))
    told = {**policy.metadata, **task_facts(env), "task": given.task, "env": {"name": given.task, "init_args": {}}}
    write_tensors(given.output, {**told, "policy": policy_state(policy.module)})
    print(f"{given.output}: controls of {unit * size:.3f} about the start pose are off by {unit * off:.3f}")


if __name__ == "__main__":
    main()
