"""What scripts/terrain_table.py measures."""

import terrain_table
import torch

from rpo_lightning import load_policy


def test_a_policy_of_level_ground_acts_as_it_has_learned(monkeypatch):
    found = terrain_table.measure("quadruped", [0.0], 4, seed=0, length=150)
    assert found.shape == (5, 1, 3)
    assert found[..., 0].sum() == 0.0
    assert found[..., 1].max() < 0.5
    policy = load_policy("quadruped")
    policy.metadata["action_scale"] = 1.0  # as if it had learned with what the task has
    monkeypatch.setattr(terrain_table, "load_policy", lambda path: policy)
    assert terrain_table.measure("quadruped", [0.0], 4, seed=0, length=150)[..., 1].mean() > found[..., 1].mean() + 0.05


def test_a_table_has_a_row_for_each_kind_and_level():
    figures = torch.tensor([0.25, 0.5, 0.125]).expand(5, 2, 3)
    lines = terrain_table.table([figures, figures], [0.5, 1.0])
    assert len(lines) == 2 + 1 + 4 * 2 + 1
    assert lines[2] == "| flat | | 25 %, 0.50, 0.12 | 25 %, 0.50, 0.12 |"
    assert lines[6] == "| slopes | 1: 20.0 degrees | 25 %, 0.50, 0.12 | 25 %, 0.50, 0.12 |"
