"""The arm: its tool is where MuJoCo has it, targets are within reach, and gradients are right."""

from importlib.resources import files

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.envs.arm_reach import ArmReach

WAY = slice(14, 17)


def make(num_envs=4, **options):
    return ArmReach(num_envs, threads=1, **options)


@pytest.fixture(scope="module")
def mj():
    return mujoco.MjModel.from_xml_path(str(files("rpo_lightning") / "robots" / "arm.xml"))


def test_the_tool_is_where_mujoco_has_the_files_site(mj):
    env, data = make(8), mujoco.MjData(mj)
    q = env.q + env.uniform(-1.0, 1.0, 7)
    for angles, place in zip(q, env.tool_position(q), strict=True):
        data.qpos[:] = angles
        mujoco.mj_kinematics(mj, data)
        np.testing.assert_allclose(place, data.site("tool").xpos, atol=2e-6)


def test_what_is_seen_and_paid_of_a_known_state():
    env = make(1, stochastic_init=False)
    target = env.tool_position(env.q) + torch.tensor([[0.03, 0.0, -0.04]])
    qd = torch.arange(7.0)[None]
    obs = env.set_state(env.q + 0.1, qd, target=target)
    torch.testing.assert_close(obs[0, :14], torch.cat([torch.full((7,), 0.1), qd[0]]))
    torch.testing.assert_close(obs[0, WAY], (target - env.tool_position(env.q))[0])
    obs = env.set_state(env.start_q, 0.0 * qd, target=target)
    action = torch.full((1, 7), 0.5)
    paid = env.reward(obs, action)
    assert paid["distance"].item() == pytest.approx(-2.0 * ((0.05**2 + 0.01**2) ** 0.5 - 0.01), abs=1e-5)
    assert paid["jerk"].item() == pytest.approx(-0.05 * 7 * 0.25)
    assert paid["rates"].item() == paid["pose"].item() == 0.0


def test_an_action_of_nothing_holds_the_start_pose():
    """The servos' targets are the start pose's angles, and the arm's weight is carried."""
    env = make(2, stochastic_init=False)
    for _ in range(50):
        env.step(torch.zeros(2, 7))
    torch.testing.assert_close(env.q, env.start_q, atol=1e-4, rtol=0)


def test_targets_can_be_reached_and_are_clear():
    target = make(512, seed=3).target
    assert (target[:, 2] > 0.05).all()
    assert (target[:, :2].norm(dim=1) > 0.25).all()
    shoulder = torch.tensor([0.0, 0.0, 0.33])
    assert (target - shoulder).norm(dim=1).max() < 0.32 + 0.38 + 0.09 + 0.2
    assert (target.std(0) > 0.1).all()  # they are spread over the room
    assert torch.equal(target, make(512, seed=3).target)
    assert not torch.equal(target, make(512, seed=4).target)


def test_where_no_draw_is_clear_the_start_poses_place_is_the_target():
    class Nowhere(ArmReach):
        clear = (5.0, 0.25)

    env = Nowhere(2, threads=1)
    torch.testing.assert_close(env.target, env.tool_position(env.start_q))


def test_a_target_stays_for_its_time():
    env = make(64, target_seconds=0.1)
    first = env.target.clone()
    for step in range(1, 6):
        obs = env.step(torch.zeros(64, 7)).final_obs
        assert torch.equal(obs[:, 17:20], first)  # the step that ends a target still shows it
        assert (env.target == first).all() == (step < 5)
    with pytest.raises(ValueError, match="target_seconds"):
        make(1, target_seconds=0.0)


def test_a_state_continues_to_the_bit():
    one, other = make(4, seed=1, target_seconds=0.06), make(4, seed=2, target_seconds=0.06)
    actions = torch.rand(12, 4, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    for action in actions[:5]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    for action in actions[5:]:
        a, b = one.step(action), other.step(action)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.reward, b.reward)


def test_the_gradient_of_a_return_equals_differences():
    env = make(1, seed=0, reward_from="next")
    start, generator = env.get_state(), torch.Generator().manual_seed(1)
    actions, direction = 0.05 * torch.randn(2, 10, 1, 7, generator=generator)  # no servo comes to its clamp

    def paid(given):
        env.set_state(*start)
        return sum(env.step(action).reward.sum() for action in given)

    given = actions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(paid(given), given)
    step = 0.1
    with torch.no_grad():
        difference = (paid(actions + step * direction) - paid(actions - step * direction)) / (2.0 * step)
    assert abs(difference) > 1e-3
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=2e-2, atol=0)


def test_every_entry_has_a_name():
    names = [row.name for row in make(1).observation_table()]
    assert (names[0], names[7], names[20]) == (
        "turn position less that of the start pose",
        "turn velocity",
        "turn last action",
    )
    assert names[14:20] == [*(f"target from tool {axis}" for axis in "xyz"), *(f"target {axis}" for axis in "xyz")]
