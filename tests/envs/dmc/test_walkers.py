"""What recorded values cannot show of the robots on legs, the arm and the pendulum."""

import math

import mujoco
import pytest
import torch

import rpo_lightning

pytest.importorskip("dm_control")


def make(name, num_envs, **options):
    return rpo_lightning.make(f"dmc/{name}", num_envs=num_envs, seed=0, threads=1, **options)


def idle(env, steps=1):
    for _ in range(steps):
        step = env.step(torch.zeros(env.num_envs, env.action_dim))
    return step


def test_a_reacher_has_its_own_target_for_an_episode():
    env = make("reacher_easy", 64, episode_length=3)
    first = env.target.clone()
    assert len(first.unique(dim=0)) == 64
    assert ((first.norm(dim=1) >= 0.05) & (first.norm(dim=1) < 0.2)).all()
    idle(env, 2)
    assert torch.equal(env.target, first)
    step = idle(env)
    assert step.truncated.all()
    assert not (env.target == first).any()
    # what is left of the old episode belongs to the old target, what is seen of the new one to the new target
    for obs, target in ((step.final_obs, first), (step.obs, env.target)):
        angles = obs[:, :2].cumsum(dim=1)
        finger = 0.12 * torch.stack([angles.cos().sum(dim=1), angles.sin().sum(dim=1)], dim=1)
        torch.testing.assert_close(obs[:, 2:4] + finger, target, rtol=0, atol=1e-6)
    kept = torch.arange(64) < 32
    second = env.target.clone()
    env.reset(~kept)
    assert torch.equal(env.target[kept], second[kept])
    assert not (env.target[~kept] == second[~kept]).any()


@pytest.mark.parametrize(("name", "radius"), [("reacher_easy", 0.06), ("reacher_hard", 0.025)])
def test_a_reacher_is_paid_for_touching_its_target(name, radius):
    env = make(name, 2)
    finger = torch.tensor([0.0, 0.24])
    target = torch.stack([finger - torch.tensor([0.0, 0.98 * radius]), finger - torch.tensor([1.02 * radius, 0.0])])
    env.set_state(torch.tensor([[math.pi / 2, 0.0]]).expand(2, -1), torch.zeros(2, 2), target=target)
    assert idle(env).reward.tolist() == [1.0, 0.0]


def test_no_humanoid_starts_where_it_touches():
    env = make("humanoid_stand", 256)
    data = mujoco.MjData(env.model)
    for pose in env.q.double().numpy():
        data.qpos[:] = pose
        mujoco.mj_forward(env.model, data)
        assert data.ncon == 0


@pytest.mark.parametrize("name", ["walker_stand", "hopper_stand", "humanoid_stand"])
def test_fixed_starts_stand(name):
    env = make(name, 2, stochastic_init=False)
    assert (idle(env).reward > 0.95).all()


def test_a_pendulum_hangs_unless_it_is_thrown():
    env = make("pendulum_swingup", 2, stochastic_init=False)
    obs = idle(env, 5).obs
    torch.testing.assert_close(obs, torch.tensor([[-1.0, 0.0, 0.0]]).expand(2, -1), rtol=0, atol=1e-5)
    for _ in range(100):  # held, the torque is a fifth of what lifts the mass
        step = env.step(torch.ones(2, 1))
        assert (step.obs[:, 0] < -0.5).all()


@pytest.mark.parametrize("name", ["walker_run", "hopper_hop", "humanoid_run"])
def test_wild_robots_do_not_explode(name):
    env = make(name, 32)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        step = env.step(torch.randn(32, env.action_dim, generator=generator).sign())
        assert not env.invalid.any()
        assert ((step.reward >= 0) & (step.reward <= 1)).all()
