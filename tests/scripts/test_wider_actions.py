"""Policies whose actions are to reach further."""

from pathlib import Path

import torch
import wider_actions

from rpo_lightning import load_policy, make
from rpo_lightning.fine_tuning import init_from

# what rough ground was begun with: it sees one observation, as that task does
LEVEL = Path(__file__).parents[2] / "results/quadruped/rpo-one_observation/seed_0/policy.pt"


def test_controls_stay_nearly_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wider_actions, "ENVS", 16)
    monkeypatch.setattr(wider_actions, "STEPS", 60)
    file = tmp_path / "flat.pt"
    wider_actions.main([str(LEVEL), "--task=quadruped_rough", f"--output={file}"])
    assert "about the start pose are off by 0.0" in capsys.readouterr().out
    before, after = load_policy(LEVEL), load_policy(file)
    assert (after.metadata["task"], after.metadata["action_scale"]) == ("quadruped_rough", 1.0)
    env = make("quadruped", 16, seed=5, threads=1)
    obs = env.detach()
    for _ in range(50):
        obs = env.step(before.act(obs)).obs
    seen = obs.clone()
    seen[:, 33:45] *= 0.5  # the last action
    wanted, got = 0.5 * before.act(obs), after.act(seen)
    assert (got - wanted).square().mean().sqrt() < 0.15 * wanted.square().mean().sqrt()
    # as spread as before
    old, new = (p.module.remembering_policy(x, x.new_zeros(16, 0))[0] for p, x in ((before, obs), (after, seen)))
    spread = [each.std * (1.0 - each.mean.tanh().square()) for each in (old, new)]
    assert (2.0 * spread[1] / spread[0]).log().abs().mean() < 0.3
    module = load_policy(file).module
    assert "actor, normalizer" in init_from(module, file)
    assert torch.isfinite(got).all()
