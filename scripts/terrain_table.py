"""How policies of the quadruped walk on each kind of ground: falls, and errors of velocity.

python scripts/terrain_table.py results/quadruped_rough/rpo/seed_0/policy.pt [OTHER ...]

One episode in each environment, as long as the task's, with its noise and pushes, and robots as the preset draws them; the
same starts for all policies.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml

from rpo_lightning import load_policy, make
from rpo_lightning.envs.legged.terrain import KINDS

PRESET = Path(__file__).parents[1] / "configs" / "parts" / "quadruped_rough.yaml"


@torch.no_grad()
def measure(path: str, levels: list[float], episodes: int, seed: int) -> torch.Tensor:
    """Return falls [share] and errors of velocity [m/s] and of turning [rad/s], (kinds, levels, 3).

    Errors are means over the steps before a fall.
    """
    policy, kinds, randomize = (
        load_policy(path),
        len(KINDS),
        yaml.safe_load(PRESET.read_text())["env"]["init_args"]["randomize"],
    )
    env = make("quadruped_rough", num_envs=kinds * len(levels) * episodes, seed=seed, randomize=randomize, auto_reset=False)
    rows = torch.arange(env.num_envs) // kinds  # of one kind
    env.difficulty = torch.tensor(levels)[rows % len(levels)]
    obs, running = env.reset(), torch.ones(env.num_envs, dtype=torch.bool)
    total, steps = torch.zeros(env.num_envs, 2), torch.zeros(env.num_envs)
    for _ in range(env.max_episode_steps):
        step = env.step(policy.act(obs))
        seen, running = step.final_privileged, running & ~step.terminated
        error = torch.stack([(seen[:, 45:47] - seen[:, 6:8]).norm(dim=1), (seen[:, 2] - seen[:, 8]).abs()], 1)
        total, steps = total + torch.where(running[:, None], error, 0.0), steps + running
        obs = step.obs
    each = torch.cat([(~running).float()[:, None], total / steps.clamp(min=1.0)[:, None]], 1)
    return each.view(episodes, len(levels), kinds, 3).mean(0).transpose(0, 1)


def main() -> None:
    """Print a table with a row for each kind and level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--levels", nargs="+", type=float, default=[0.3, 0.6, 1.0])
    parser.add_argument("--episodes", type=int, default=16, help="for each kind and level")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = [measure(path, given.levels, given.episodes, given.seed) for path in given.policies]
    print("| ground | difficulty |" + " falls, m/s, rad/s |" * len(found))
    print("| --- | --- |" + " --- |" * len(found))
    for kind, name in enumerate(KINDS):
        for level, difficulty in enumerate(given.levels):
            cells = (
                f" {100.0 * falls:.0f} %, {speed:.2f}, {turn:.2f} |"
                for falls, speed, turn in (f[kind, level] for f in found)
            )
            print(f"| {name} | {difficulty:g} |" + "".join(cells))
    print(
        "| all | |" + "".join(f" {100.0 * f:.0f} %, {v:.2f}, {t:.2f} |" for f, v, t in (each.mean((0, 1)) for each in found))
    )


if __name__ == "__main__":
    main()
