"""What scripts/evaluate_tracking.py measures of motions that are known."""

from types import SimpleNamespace

import evaluate_tracking
import pytest
import torch

from rpo_lightning import make


def test_an_arm_that_stays_is_as_far_off_as_its_targets_are():
    env = make("arm_reach", 4, threads=1, auto_reset=False, stochastic_init=False)
    still = SimpleNamespace(act=lambda obs: torch.zeros(4, 7))
    tool, targets, step = env.tool_position(env.q), [], env.step
    env.step = lambda action: (targets.append(env.target.clone()), step(action))[1]
    far, alive = evaluate_tracking.distances(still, env)
    away = (torch.stack(targets) - tool).norm(dim=2)  # (T, N): the arm carries its weight, so it does not sink
    assert alive.all()
    assert torch.allclose(far, away, atol=5e-3)
    figures = evaluate_tracking.of_arm(far, env)
    assert figures["distance"] == pytest.approx(away[49::50].mean().item(), abs=5e-3)
    assert figures["distance_soon"] == pytest.approx(away[19::50].mean().item(), abs=5e-3)
    assert figures["within_2_cm"] == (away[49::50] < 0.02).float().mean()


def test_a_quadrotor_without_thrust_has_failed_and_is_not_counted():
    env = make("quadrotor", 4, threads=1, auto_reset=False, episode_length=150)
    # the first robot alone is let fall
    hover = torch.full((4, 4), 0.8 * 9.81 / 8.0 - 1.0)
    falling = SimpleNamespace(act=lambda obs: torch.cat([torch.full((1, 4), -1.0), hover[1:]]))
    far, alive = evaluate_tracking.distances(falling, env)
    assert not alive[0]
    assert far.shape == (150, 4)
    assert far[40, 0] > 0.5  # by 3 m after 0.8 s
    kept = torch.tensor([[9.0], [9.0], [0.25], [0.75]]).expand(4, 2).repeat_interleave(50, dim=0)
    assert evaluate_tracking.of_quadrotor(kept, env) == {"distance": 0.5, "worst_episode": 0.5}
