"""The biped: it stands, and its soles are where MuJoCo has them."""

from importlib.resources import files

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.envs.legged import terms
from rpo_lightning.envs.legged.biped import Biped
from rpo_lightning.sim import to_mujoco

QUIET = {"noise": 0.0, "push": 0.0}
ROBOT = str(files("rpo_lightning") / "robots" / "biped.xml")


def make(num_envs=2, **options):
    return Biped(num_envs, threads=1, **{**QUIET, **options})


def test_it_stands_for_seconds_in_its_start_pose():
    env = make(stochastic_init=False, commands=((0.0, 0.0),) * 3)
    for _ in range(250):
        step = env.step(torch.zeros(2, 12))
        assert not step.terminated.any()
    assert env.base.position(env.q)[0, :2].norm() < 0.1
    assert env.base.height(env.q)[0].item() == pytest.approx(0.72, abs=0.02)
    assert env.base.down(env.q)[0, 2] < -0.99
    assert (env.q[:, 7:] - env.start_q[:, 7:]).abs().max() < 0.1


def test_soles_are_where_mujoco_has_their_corners():
    mj = mujoco.MjModel.from_xml_path(ROBOT)
    data, jacobian = mujoco.MjData(mj), np.zeros((3, mj.nv))
    env = make(4)
    torch.manual_seed(0)
    q = env.q + torch.nn.functional.pad(0.3 * torch.randn(4, 12), (7, 0))
    qd = torch.randn(4, 18)
    heights, velocities = env.soles(q, qd)
    qpos, qvel = to_mujoco(env.model, q.double(), qd.double())
    for robot in range(4):
        data.qpos[:], data.qvel[:] = qpos[robot], qvel[robot]
        mujoco.mj_forward(mj, data)
        for foot, side in enumerate(("left", "right")):
            corners = [f"{side}_{end}_{edge}" for end in ("heel", "toe") for edge in ("left", "right")]
            spots = np.array([data.geom(corner).xpos for corner in corners])
            lowest = spots[:, 2].min() - 0.015
            # the least of four, rounded off: between it and what is added where all but one are far higher
            assert -1e-6 < heights[robot, foot].item() - lowest < 0.003 * np.log(4.0) + 1e-6
            moves = []
            for corner, spot in zip(corners, spots, strict=True):
                mujoco.mj_jac(mj, data, jacobian, None, spot, mj.geom(corner).bodyid[0])
                moves.append(jacobian @ data.qvel)
            np.testing.assert_allclose(velocities[robot, foot], np.mean(moves, axis=0), atol=1e-5)


def test_the_lowest_of_several_heights():
    heights = torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.1, 0.2]])
    torch.testing.assert_close(terms.lowest(heights, 0.003), torch.tensor([0.1, 0.003 * np.log(3.0)]), check_dtype=False)
    assert torch.equal(terms.lowest(heights[:, :1], 0.003), heights[:, 0])


def test_feet_must_touch_in_equally_many_points():
    class Limping(Biped):
        feet = ("left_ankle_roll", "pelvis")

    with pytest.raises(ValueError, match=r"equally many points.*left_ankle_roll, .*right_ankle_roll"):
        Limping(1)


def test_the_foot_that_should_swing_is_paid_for_its_height():
    env = make(2)
    seen = torch.cat([env.detach(), env.privileged], dim=1)
    seen[:, [45, 46]] = seen[:, [47 + 45, 47 + 46]] = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # left swings, and right
    heights = slice(47 + 51, 47 + 53)
    seen[:, heights] = torch.tensor([[env.swing, 0.0], [0.0, env.swing]])
    gait = env.weights["gait"]
    assert (env.reward(seen, torch.zeros(2, 12))["gait"] > 0.02 * gait).all()
    seen[:, heights] = 0.0
    assert (env.reward(seen, torch.zeros(2, 12))["gait"] < 0.9 * gait).all()
    seen[:, heights] = torch.tensor([[0.0, env.swing], [env.swing, 0.0]])
    assert (env.reward(seen, torch.zeros(2, 12))["gait"] < 1.9 * gait).all()


def test_feet_nearer_than_they_should_be_sideways_cost():
    left = torch.tensor([[0.09, -0.09], [0.05, -0.05], [0.02, 0.02], [-0.1, 0.1]])
    torch.testing.assert_close(terms.spacing(left, 0.1), torch.tensor([0.0, 0.0, 1.0, 9.0]))
    torch.testing.assert_close(terms.spacing(torch.tensor([[0.0, 0.0, 0.1, 0.05]]), 0.1), torch.tensor([1.25]))


def rolled(env, angles):
    """Return starts with both legs turned inward at the hips by angles (N,) [rad]."""
    q, links = env.start_q.clone(), [link.name for link in env.model.links]
    q[:, 6 + links.index("left_hip_roll")], q[:, 6 + links.index("right_hip_roll")] = -angles, angles
    return q


def test_feet_are_apart_in_the_axes_of_the_base_wherever_it_heads():
    env = make(4)
    q = env.base.turned(
        rolled(env, torch.tensor([0.0, 0.0, 0.2, 0.2])), torch.tensor([0.0, 2.0, 0.0, 2.0]), torch.zeros(4, 3)
    )
    env.set_state(q, env.qd)
    cost = env.reward(torch.cat([env.detach(), env.privileged], dim=1), torch.zeros(4, 12))["spacing"]
    left = env.base.local(q, env._points(q, env.qd)[0]).view(4, 2, 4, 3).mean(2)[:, :, 1]
    torch.testing.assert_close(left[:2], torch.tensor([[0.09, -0.09]]).expand(2, 2), atol=1e-4, rtol=0.0)
    assert (left[2:, 0] < left[2:, 1]).all()  # crossed
    torch.testing.assert_close(cost, env.weights["spacing"] * terms.spacing(left, env.apart))
    assert (cost[:2] == 0.0).all()


def test_legs_that_twist_or_lean_aside_cost_and_those_that_step_do_not():
    env, names = make(12), [link.name for link in Biped.load_robot().links]
    env.set_state(env.start_q + torch.nn.functional.pad(0.2 * torch.eye(12), (7, 0)), torch.zeros_like(env.qd))
    cost = env.reward(torch.cat([env.detach(), env.privileged], dim=1), torch.zeros(12, 12))["straight"]
    aside = torch.tensor([name.endswith(("yaw", "roll")) for name in names[1:]])
    torch.testing.assert_close(cost, env.weights["straight"] * 0.04 * aside)


def test_legs_that_are_pressed_together_do_not_pass_through_each_other():
    env = make(1, stochastic_init=False)
    inward = torch.zeros(1, 12)
    inward[:, 1], inward[:, 7] = -0.6, 0.6  # hips roll by 0.3 rad: feet would be 0.18 m beyond each other
    for _ in range(15):
        env.step(inward)
        left = env._sideways(env.q[:, 7:] - env.start_q[:, 7:])[0]
        assert left[0] - left[1] > 0.075  # shoes are 0.09 m wide


def test_terms_of_the_reward_have_the_slopes_of_differences():
    env = make(16)
    torch.manual_seed(0)
    for _ in range(5):  # off the start, with feet that touch and move
        env.step(0.5 * torch.randn(16, 12))
    q, qd = env.q.detach(), env.qd.detach()
    action = 0.3 * torch.randn(16, 12)

    def paid(coordinates, rates):
        seen = torch.cat([env.set_state(coordinates, rates), env.privileged], dim=1)
        return env.reward(seen, action)

    angles, moves = torch.randn(16, env.model.nq), torch.randn(16, env.model.nd)
    angles[:, 3:7] = 0.0  # a quaternion stays of length 1
    leaves = q.clone().requires_grad_(), qd.clone().requires_grad_()
    here, step = paid(*leaves), 2e-4
    ahead, behind = paid(q + step * angles, qd + step * moves), paid(q - step * angles, qd - step * moves)
    assert set(here) == set(Biped.weights)
    for name, term in here.items():
        assert term.isfinite().all()
        if name == "jerk":
            continue  # of actions alone
        grads = torch.autograd.grad(term.sum(), leaves, retain_graph=True, allow_unused=True)
        parts = (0.0 if grad is None else (grad * way).sum(1) for grad, way in zip(grads, (angles, moves), strict=True))
        slope, difference = sum(parts), (ahead[name] - behind[name]) / (2.0 * step)
        torch.testing.assert_close(slope, difference, atol=2e-2, rtol=2e-2, msg=lambda text, name=name: f"{name}: {text}")
