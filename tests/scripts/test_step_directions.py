"""scripts/step_directions.py: steps of a given KL, and which direction climbs most for it."""

from __future__ import annotations

import pytest
import step_directions
import torch

from rpo_lightning.algorithms import NAPG
from rpo_lightning.losses import regenerate
from rpo_lightning.rollout import Collector, RolloutDataModule
from tests.algorithms.drivers import make_algorithm, make_trainer
from tests.toy import PointMass


@pytest.fixture
def steps() -> tuple[step_directions.Steps, list[torch.Tensor]]:
    """Return a small policy's steps, and the gradient of a window."""
    module = make_algorithm("napg")
    batch = Collector(PointMass(8, seed=1), horizon=8, seed=1).collect(module)
    policy = module.actor(module.normalizer(batch.obs))
    objective = (batch.action_grad * regenerate(policy, batch.sample)).sum(-1).mean()
    return step_directions.Steps(module, batch.obs), list(torch.autograd.grad(objective, list(module.actor.parameters())))


@pytest.mark.parametrize("kl", [0.01, 0.3])
def test_a_step_goes_as_far_as_it_is_told_and_back(steps, kl) -> None:
    steps, gradient = steps
    length = steps.go_to(gradient, kl)
    assert steps.go(gradient, length) == pytest.approx(kl, rel=1e-3)
    assert steps.go(gradient, 0.0) == 0.0
    for param, start in zip(steps.params, steps.start, strict=True):
        assert torch.equal(param, start)


def test_the_natural_direction_climbs_most_for_its_kl(steps) -> None:
    steps, gradient = steps
    climbs = {}
    for name, way in {
        "gradient": gradient,
        "signs": [each.sign() for each in gradient],
        "natural": steps.natural(gradient),
    }.items():
        length = steps.go_to(way, 1e-3)
        climbs[name] = length * sum((part * slope).sum().item() for part, slope in zip(way, gradient, strict=True))
    assert climbs["natural"] > 1.2 * max(climbs["gradient"], climbs["signs"]) > 0.0


def test_the_table_is_printed(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step_directions, "DISTANCES", (0.01, 0.1))
    trainer = make_trainer(tmp_path)
    trainer.fit(NAPG(5, 1, 8, hidden=(16, 16)), RolloutDataModule("cartpole", num_envs=2, horizon=4, iterations_per_epoch=1))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    step_directions.main(["cartpole", "--ckpt_path", str(tmp_path / "last.ckpt"), "--robots=2", "--horizon=4", "--steps=3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5].startswith("cartpole, 2 robots: -")
    assert lines[-4].split() == ["direction", "0.01", "0.1"]
    assert [line.split()[0] for line in lines[-3:]] == ["gradient", "signs", "natural"]
    assert all(len(line.split()) == 3 for line in lines[-3:])
