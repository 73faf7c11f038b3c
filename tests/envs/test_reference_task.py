"""The paper's tasks with the right physics: near to much finer steps, where the reference's are not."""

import pytest
import torch

from rpo_lightning.envs import make
from rpo_lightning.sim import Simulator


def after(env, simulator):
    """Where ten random actions lead, from fast starts."""
    generator = torch.Generator().manual_seed(0)
    q, qd = env.start_q.clone(), 0.5 * torch.randn(env.qd.shape, generator=generator)
    qd[:, 3] += 4.0
    for _ in range(10):
        action = 2.0 * torch.rand(env.num_envs, env.action_dim, generator=generator) - 1.0
        q, qd = simulator.step(q, qd, *env._drive(action))
    return torch.cat([q, qd], dim=1)


def test_the_right_physics_are_near_to_much_finer_steps():
    envs = {physics: make("ant", 16, physics=physics, threads=1) for physics in ("paper", "right")}
    right = envs["right"]
    exact = after(right, Simulator(right.model, 16, right.dt, 128, 1, threads=1))
    errors = {name: (after(env, env.simulator) - exact).norm(dim=1).median().item() for name, env in envs.items()}
    assert errors["right"] < 0.15 * errors["paper"], errors


@pytest.mark.parametrize(
    ("option", "choices"), [("physics", "'paper' or 'right'"), ("reference_point", "'robot' or 'world'")]
)
def test_another_value_is_refused(option, choices):
    with pytest.raises(ValueError, match=f"ant: {option} must be {choices}, got 'real'"):
        make("ant", 1, **{option: "real"})


@pytest.mark.parametrize("task", ["cartpole", "hopper", "anymal", "cheetah", "double_pendulum", "humanoid"])
def test_every_task_of_the_paper_has_the_option(task):
    model = make(task, 1, physics="right", threads=1).model
    assert (model.free_velocity, model.damping, model.reference_point) == ("body", "implicit", "robot")
    assert make(task, 1, reference_point="world", threads=1).model.reference_point == "world"


def test_about_the_worlds_origin_an_episode_ends_where_the_state_is_no_longer_finite():
    """As the reference's do, and what was paid until then counts. A hopper near the origin, and one that has left it."""
    env = make("hopper", 2, reference_point="world", auto_reset=False, stochastic_init=False, threads=1)
    assert env.may_break
    assert not make("hopper", 1, threads=1).may_break
    start = env.q.clone()
    start[1, 0] = 3e4
    env.set_state(start, env.qd)
    step = env.step(torch.zeros(2, 3))
    assert env.invalid.tolist() == [False, True]
    assert step.terminated.tolist() == [False, True]
    robot = make("hopper", 2, auto_reset=False, stochastic_init=False, threads=1)
    robot.set_state(start, robot.qd)
    assert robot.step(torch.zeros(2, 3)).terminated.tolist() == [False, False]


def test_the_matrix_is_rebuilt_often_enough_by_default(tmp_path):
    model = make("ant", 1, threads=1).model
    assert Simulator(model, 1).mass_matrix_interval == 4
    assert Simulator(model, 1, substeps=2).mass_matrix_interval == 1
    assert Simulator(model, 1, substeps=64).mass_matrix_interval == 16
    assert make("ant", 1, threads=1).simulator.mass_matrix_interval == 16
    assert make("ant", 1, physics="right", threads=1).simulator.mass_matrix_interval == 4
