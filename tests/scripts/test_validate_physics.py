"""Policies under three kinds of physics, and the table of it."""

import json
import shutil

import physics_table
import pytest
import torch
import validate_physics

from rpo_lightning import make
from rpo_lightning.callbacks.evaluation import EVALUATION_SEED, evaluate
from rpo_lightning.trained_policy import load_policy
from tests.recorded import RESULTS


def test_a_policy_is_evaluated_under_each_physics(tmp_path):
    policy = shutil.copy(RESULTS / "cartpole/rpo/seed_0/policy.pt", tmp_path)
    validate_physics.main([policy, "--episodes=3"])
    found = json.loads((tmp_path / "physics.json").read_text())["eval"]
    assert list(found) == ["near", "world", "exact"]
    as_validate = evaluate(load_policy(policy).module, lambda **given: make("cartpole", **given), 3)
    assert found["near"]["sampled"]["mean"] == pytest.approx(as_validate["mean"], abs=0.01)
    # nothing turns a cart, and it stays near the origin
    assert found["world"]["deterministic"]["mean"] == pytest.approx(found["near"]["deterministic"]["mean"], rel=0.02)
    assert found["exact"]["sampled"]["steps"] == [240.0, 240.0, 240.0]
    with pytest.raises(SystemExit, match="arm_reach is no task of DFlex"):
        validate_physics.main([str(RESULTS / "arm_reach/rpo/seed_0/policy.pt")])


def test_where_an_episode_ended_is_that_of_the_first():
    env = make(validate_physics.watched("cartpole", exact=True), 2, seed=EVALUATION_SEED, physics="right", threads=1)
    assert env.simulator.mass_matrix_interval == 1
    away = env.q.clone()
    away[:, 0] = torch.tensor([0.5, 0.7])
    env.set_state(away, torch.zeros_like(env.qd), progress=torch.tensor([239, 0]))
    for _ in range(3):
        env.step(torch.zeros(2, 1))
    assert env.ends["steps"].tolist() == [1.0, 3.0]
    assert env.ends["forward"][0] == 0.5
    assert env.ends["forward"][1] == pytest.approx(0.7, abs=0.05)


def test_episodes_that_break_down_are_counted():
    env = make(validate_physics.watched("hopper", exact=False), 2, reference_point="world", threads=1)
    far = env.q.clone()
    far[1, 0] = 3e4
    env.set_state(far, torch.zeros_like(env.qd))
    for _ in range(2):
        env.step(torch.zeros(2, 3))
    assert env.broken.tolist() == [False, True]
    assert env.ends["steps"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("row", json.loads((RESULTS / "benchmarks/reference_distance.json").read_text())["rows"])
def test_recorded_policies_end_about_where_they_do_in_the_reference(row):
    found = json.loads((RESULTS / row["policy"] / "physics.json").read_text())["eval"]
    ours = found["world"]["sampled"]
    assert ours["broken"] > 0.85 * ours["episodes"]
    assert abs(ours["mean"] - row["mean"]) < 0.5 * ours["std"]
    assert ours["forward"][0] < row["forward"][0]
    assert ours["forward"][1] == pytest.approx(sum(row["forward"]) / 2, rel=0.15)
    assert found["near"]["sampled"]["broken"] == 0


def test_a_row_says_where_episodes_end(tmp_path):
    run = tmp_path / "humanoid/rpo/seed_3"
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"seed": 3, "env_steps": 3_688_448}))
    whole = {
        "mean": 9000.4,
        "std": 10.0,
        "episodes": 128,
        "broken": 0,
        "steps": [1000.0] * 3,
        "forward": [170.0, 180.0, 190.0],
    }
    ended = {**whole, "mean": 7000.0, "broken": 100, "steps": [500.0, 600.0, 700.0], "forward": [90.0, 110.0, 120.0]}
    kinds = {"near": whole, "world": ended, "exact": whole}
    figures = {name: {"sampled": each, "deterministic": whole} for name, each in kinds.items()}
    (run / "physics.json").write_text(json.dumps({"eval": figures}))
    rows = physics_table.table(tmp_path).splitlines()[2:]
    assert rows[0] == (
        "| humanoid, RPO, seed 3, 3.69 M steps | sampled | 9000 (10) | 7000 (10) | step 600, 110 m (90 to 120); 100 of 128 break down "
        "| 9000 (10) | 8638 +- 422 |"
    )
    assert "| the 1000th step, 180 m | 9000 (10) | 8806 +- 362 |" in rows[1]
