"""Measure how near policies keep to what they are to reach or to follow, and write it beside each: tracking.json.

    python scripts/evaluate_tracking.py results/arm_reach/rpo/seed_0/policy.pt results/quadrotor/rpo/seed_1/policy.pt

128 episodes with the mode of the policy, from starts of a seed that no training has. Of the arm, the distance of the tool
from its target in the last step of each target's time, and 0.4 s after it was given. Of the quadrotor, the distance from
the reference on a level figure of eight, 2 m long and 1 m wide, once round in 6 s, without the first 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from measured_policies import measure_policies
from torch import Tensor

from rpo_lightning.envs.quadrotor import Quadrotor
from rpo_lightning.trained_policy import Policy

EIGHT = {"figure_length": (2.0, 2.0), "figure_height": (0.0, 0.0), "figure_seconds": (6.0, 6.0), "hovering": 0.0}
WAYS = ("target from tool x", "reference from base x")
"""What each calls the first coordinate of the way to the target."""
SETTLED = 2.0
"""How long the quadrotor may take to the figure [s]."""
SOON = 0.4
"""When the arm should be there already [s]."""


@torch.no_grad()
def distances(policy: Policy, env: Any) -> tuple[Tensor, Tensor]:
    """Return how far each environment is from its target (T, N) [m] after each step, and which (N,) have not failed."""
    way = next(at for at, row in enumerate(env.observation_table()) if row.name in WAYS)
    obs, alive, far = env.detach(), torch.ones(env.num_envs, dtype=torch.bool), []
    for _ in range(env.max_episode_steps):
        taken = env.step(policy.act(obs))
        obs, alive = taken.obs, alive & ~taken.terminated
        far.append(taken.final_obs[:, way : way + 3].norm(dim=1))
    return torch.stack(far), alive


def of_arm(far: Tensor, env: Any) -> dict[str, float]:
    """Return the figures of an arm, of distances (T, N) [m]."""
    each = far.unflatten(0, (-1, round(env.options["target_seconds"] / env.dt)))
    end, soon = each[:, -1].flatten(), each[:, round(SOON / env.dt) - 1].flatten()
    return {
        "distance": end.mean().item(),
        "median": end.median().item(),
        "below_95": end.quantile(0.95).item(),
        "largest": end.max().item(),
        "within_2_cm": (end < 0.02).float().mean().item(),
        "distance_soon": soon.mean().item(),
    }


def of_quadrotor(far: Tensor, env: Any) -> dict[str, float]:
    """Return the figures of a quadrotor, of distances (T, N) [m]."""
    each = far[round(SETTLED / env.dt) :].mean(0)
    return {"distance": each.mean().item(), "worst_episode": each.max().item()}


def measure(policy: Policy, env: Any) -> dict[str, float]:
    """Return the figures of one episode in each environment, which must not reset by itself.

    Raises:
        SystemExit: for a policy of another task.
    """
    if env.name not in ("arm_reach", "quadrotor"):
        raise SystemExit(f"a policy of {env.name}; of arm_reach and quadrotor distances are known")
    far, alive = distances(policy, env)
    figures = of_arm(far, env) if env.name == "arm_reach" else of_quadrotor(far[:, alive], env)
    return {"episodes": env.num_envs, "failed": int((~alive).sum()), **figures}


def main(arguments: Sequence[str] | None = None) -> None:
    measure_policies(__doc__, measure, "tracking.json", lambda cls: EIGHT if cls is Quadrotor else {}, arguments)


if __name__ == "__main__":
    main()
