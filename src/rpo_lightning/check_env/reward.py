"""What the reward is made of under random actions."""

from __future__ import annotations

import torch

from rpo_lightning.check_env.report import Section
from rpo_lightning.check_env.subject import Subject, random_actions

__all__ = ["check_reward"]

_STEPS = 64


@torch.no_grad()
def check_reward(subject: Subject, section: Section) -> None:
    """Show the reward of a step and its named terms, over all environments and steps of episodes from their starts.

    The section's result is the mean of each by name, "reward" that of the whole.
    """
    env, found = subject.make(), list[dict[str, torch.Tensor]]()
    for action in random_actions(env, _STEPS, subject.seed):
        step = env.step(action)
        found.append({"reward": step.reward, **(step.reward_terms or {})})
    values = {name: torch.stack([each[name] for each in found]) for name in found[-1]}
    section.result = {name: value.mean().item() for name, value in values.items()}
    section.table = [("", "mean of a step", "smallest", "largest")]
    for name, value in values.items():
        numbers = (section.result[name], value.min().item(), value.max().item())
        section.table.append((name, *(f"{number:.3g}" for number in numbers)))
