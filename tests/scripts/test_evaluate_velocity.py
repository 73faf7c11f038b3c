"""What scripts/evaluate_velocity.py measures of motions that are known."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluate_velocity
import pytest
import torch

from rpo_lightning import load_policy, make


def test_figures_of_robots_that_stand_are_their_commands():
    env = make("quadruped", 8, threads=1, auto_reset=False, episode_length=60, noise=0.0, push=0.0, standing=0.0)
    command = env.target.clone()
    still = SimpleNamespace(act=lambda obs: torch.zeros(8, 12))
    figures = evaluate_velocity.measure(still, env)
    assert (figures["episodes"], figures["falls"], figures["action_change"]) == (8, 0, 0.0)
    assert figures["velocity_error"] == pytest.approx(command[:, :2].norm(dim=1).mean().item(), abs=0.1)
    assert figures["turning_error_settled"] == pytest.approx(command[:, 2].abs().mean().item(), abs=0.02)
    assert 0.0 < figures["sliding"] < 0.1


def test_what_has_fallen_counts_no_more():
    env = make("quadruped", 8, threads=1, auto_reset=False, episode_length=100, noise=0.0, push=0.0, stochastic_init=False)
    folding = SimpleNamespace(act=lambda obs: torch.tensor([0.0, 1.0, 1.0] * 4).expand(8, -1))
    figures = evaluate_velocity.measure(folding, env)
    assert figures["falls"] == 8
    assert figures["action_change"] > 0.0
    short = make("quadruped", 8, threads=1, auto_reset=False, episode_length=60, noise=0.0, push=0.0, stochastic_init=False)
    assert evaluate_velocity.measure(folding, short)["velocity_error"] == pytest.approx(figures["velocity_error"], abs=1e-4)


def test_a_task_without_commands_is_refused():
    with pytest.raises(SystemExit, match="cartpole walks by no commands"):
        evaluate_velocity.measure(SimpleNamespace(), make("cartpole", 2, threads=1))


def test_commands_change_every_five_seconds_whatever_the_training_had(tmp_path, monkeypatch, capsys):
    policy = tmp_path / "policy.pt"
    policy.write_bytes((Path(__file__).parents[2] / "results/quadruped/rpo/seed_0/policy.pt").read_bytes())
    trained = load_policy(policy).metadata["env"]["init_args"]["command_seconds"]
    looked_at: list[tuple[float, float]] = []

    def look(policy: Any, env: Any) -> dict[str, float]:
        looked_at.append((env.options["command_seconds"], env.options["history"]))
        return {}

    monkeypatch.setattr(evaluate_velocity, "measure", look)
    evaluate_velocity.main([str(policy), "--episodes=2"])
    assert looked_at == [(5.0, 3)]
    assert trained == 2.5
    assert json.loads((tmp_path / "walking.json").read_text()).keys() == {"commit"}
