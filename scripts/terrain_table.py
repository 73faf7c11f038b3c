"""How policies of the quadruped walk on each kind of ground: falls, and errors of velocity.

python scripts/terrain_table.py results/quadruped_rough/rpo/seed_0/policy.pt [OTHER ...]

One episode in each environment, as long as the task's, with its noise and pushes, and robots as the preset draws them; the
same starts for all policies. Those whose actions reach less far, as those of level ground, act as they have learned.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor

from rpo_lightning import load_policy, make
from rpo_lightning.envs.legged.terrain import HARDEST, KINDS

PRESET = Path(__file__).parents[1] / "configs" / "parts" / "quadruped_rough.yaml"


@torch.no_grad()
def measure(path: str, levels: Sequence[float], episodes: int, seed: int, length: int | None = None) -> Tensor:
    """Return falls [share] and errors of velocity [m/s] and of turning [rad/s], (kinds, levels, 3).

    Errors are means over the steps before a fall. `length` is that of the episodes in steps; None: the task's.
    """
    policy, kinds = load_policy(path), len(KINDS)
    options = {"randomize": yaml.safe_load(PRESET.read_text())["env"]["init_args"]["randomize"], "auto_reset": False}
    options |= {} if length is None else {"episode_length": length}
    env = make("quadruped_rough", num_envs=kinds * len(levels) * episodes, seed=seed, **options)
    share = policy.metadata["action_scale"] / env.action_scale
    last = ["last action" in row.name for row in env.observation_table()]
    units = torch.where(torch.tensor(last), 1.0 / share, 1.0)
    rows = torch.arange(env.num_envs) // kinds  # of one kind
    env.difficulty = torch.tensor(levels)[rows % len(levels)]
    obs, running = env.reset(), torch.ones(env.num_envs, dtype=torch.bool)
    total, steps = torch.zeros(env.num_envs, 2), torch.zeros(env.num_envs)
    for _ in range(env.max_episode_steps):
        step = env.step(share * policy.act(units * obs))
        seen, running = step.final_privileged, running & ~step.terminated
        error = torch.stack([(seen[:, 45:47] - seen[:, 6:8]).norm(dim=1), (seen[:, 2] - seen[:, 8]).abs()], 1)
        total, steps = total + torch.where(running[:, None], error, 0.0), steps + running
        obs = step.obs
    each = torch.cat([(~running).float()[:, None], total / steps.clamp(min=1.0)[:, None]], 1)
    return each.view(episodes, len(levels), kinds, 3).mean(0).transpose(0, 1)


def table(found: Sequence[Tensor], levels: Sequence[float]) -> list[str]:
    """Return the lines of a table of what was measured of policies: a row for each kind and level, one for level ground."""

    def cells(figures: Sequence[Tensor]) -> str:
        told = (f" {100.0 * falls:.0f} %, {speed:.2f}, {turn:.2f} |" for falls, speed, turn in (f.tolist() for f in figures))
        return "".join(told)

    lines = ["| ground | difficulty |" + " falls, m/s, rad/s |" * len(found), "| --- | --- |" + " --- |" * len(found)]
    for kind, name in enumerate(KINDS):
        if name not in HARDEST:
            lines.append(f"| {name} | |" + cells([each[kind].mean(0) for each in found]))
            continue
        most, unit = (HARDEST[name], "degrees") if name == "slopes" else (100.0 * HARDEST[name], "cm")
        lines += [
            f"| {name} | {level:g}: {level * most:.1f} {unit} |" + cells([each[kind, row] for each in found])
            for row, level in enumerate(levels)
        ]
    return [*lines, "| all | |" + cells([each.mean((0, 1)) for each in found])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--levels", nargs="+", type=float, default=[0.2, 0.4, 0.6, 0.8, 1.0])
    parser.add_argument("--episodes", type=int, default=128, help="for each kind and level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=int, help="of episodes, in steps; the task's")
    given = parser.parse_args(arguments)
    found = [measure(path, given.levels, given.episodes, given.seed, given.length) for path in given.policies]
    print("\n".join(table(found, given.levels)))


if __name__ == "__main__":
    main()
