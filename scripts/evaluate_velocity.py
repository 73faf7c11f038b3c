"""Measure how well policies walk as commanded, and write it beside each: walking.json.

    python scripts/evaluate_velocity.py results/quadruped/rpo/seed_0/policy.pt ...

128 episodes with the mode of the policy, on the robots, pushes and noise that it was trained with, from starts of a seed
that no training has. A command is in force for 5 s. The error of a step is the distance of the base's horizontal
velocity, in its own axes, from the command in force [m/s], and that of its rate of turning [rad/s]; means are over all steps
before a fall, the change from one command to the next included, and, settled, without the first second of each. Sliding is
the speed of soles at or below the ground, the change of action the root mean square of a joint's, from one step to the
next [rad].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from measured_policies import measure_policies

from rpo_lightning.envs.legged.velocity_task import VelocityTask
from rpo_lightning.trained_policy import Policy


def asked(task: type) -> dict[str, float]:
    """Return the options that replace those of the training: a command is in force for 5 s, whatever it was there."""
    return {"command_seconds": 5.0} if issubclass(task, VelocityTask) else {}


@torch.no_grad()
def measure(policy: Policy, env: Any) -> dict[str, float]:
    """Return the figures of one episode in each environment, which must not reset by itself.

    Raises:
        SystemExit: for a task that hears no commands.
    """
    if not isinstance(env, VelocityTask):
        raise SystemExit(f"{env.name} walks by no commands; evaluate_tracking.py measures arm_reach and quadrotor.")
    names = [row.name for row in env.privileged_table()]
    own, sole = names.index("velocity x"), names.index(f"{env.feet[0]} height")
    moving, feet = names.index(f"{env.feet[0]} velocity x"), len(env.feet)
    obs, alive = env.detach(), torch.ones(env.num_envs, dtype=torch.bool)
    last = torch.zeros(env.num_envs, env.action_dim)
    sums: dict[str, torch.Tensor] = {}
    for step in range(env.max_episode_steps):
        command, action = env.target, policy.act(obs)
        taken = env.step(action)
        obs, seen = taken.obs, env.privileged
        error = torch.cat([seen[:, own : own + 2], seen[:, 2:3]], dim=1) - command
        speed = env.base.horizontal(seen[:, moving : moving + 3 * feet].view(-1, feet, 3)).norm(dim=2)
        touching = seen[:, sole : sole + feet] <= 0.0
        settled = alive & (step % env._command_steps >= round(1.0 / env.dt))
        change = env.action_scale * (action - last).square().mean(1).sqrt()
        last = action
        for name, values, where in (
            ("commanded", command[:, 0], alive),
            ("forward", seen[:, own], alive),
            ("velocity_error", error[:, :2].norm(dim=1), alive),
            ("turning_error", error[:, 2].abs(), alive),
            ("velocity_error_settled", error[:, :2].norm(dim=1), settled),
            ("turning_error_settled", error[:, 2].abs(), settled),
            ("sliding", speed, touching & alive[:, None]),
            ("action_change", change, alive),
        ):
            counted = torch.stack([values[where].sum().double(), where.sum().double()])
            sums[name] = sums.get(name, torch.zeros(2, dtype=torch.float64)) + counted
        alive = alive & ~taken.terminated
    figures = {name: (total / count).item() for name, (total, count) in sums.items()}
    return {"episodes": env.num_envs, "falls": int((~alive).sum()), **figures}


def main(arguments: Sequence[str] | None = None) -> None:
    measure_policies(__doc__, measure, "walking.json", asked, arguments)


if __name__ == "__main__":
    main()
