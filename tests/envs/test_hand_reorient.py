"""Hand Reorient against what was recorded from the reference simulator (rewarped 1.3.0), and its own promises."""

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.sim import dynamics, quat_multiply

RECORDING = Path(__file__).parents[1] / "data" / "rewarped_hand.npz"
ROBOT = Path(rpo_lightning.__file__).parent / "robots" / "hand_reorient.xml"
BODIES = [12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 16]  # the reference's number of each link's body
N = 4


@pytest.fixture(scope="module")
def golden():
    with np.load(RECORDING) as file:
        return {key: torch.as_tensor(file[key]) for key in file.files}


def make(num_envs=N, **options):
    return rpo_lightning.make("hand_reorient", num_envs=num_envs, **options)


def place(env, golden, group, t=0):
    return env.set_state(
        golden[f"{group}/joint_q"][t], golden[f"{group}/joint_qd"][t], target=golden[f"{group}/goal_states"][t, :, 3:]
    )


# ---- the robot -------------------------------------------------------------------------------------------------------


def test_mujoco_draws_the_file():
    model = mujoco.MjModel.from_xml_path(str(ROBOT))
    assert (model.njnt, model.nu, model.ngeom) == (17, 16, 22)


def test_joints_are_in_the_order_of_the_reference():
    model = make().model
    assert [link.name for link in model.links] == [*(f"joint_{body}" for body in BODIES[:16]), "cube"]
    assert model.actuators == [(dof, 2.0) for dof in range(16)]
    hinges = model.links[:16]
    assert {(h.armature, h.limit_ke, h.limit_kd, h.stop_kd, h.damping) for h in hinges} == {(0.001, 100.0, 0.0, 10.0, 0.0)}
    assert model.links[16].armature == 0.0
    assert model.gravity.tolist() == [0.0, 0.0, -9.81]
    assert model.contacts == []
    assert (model.law, model.detection) == ("rate", "rewarped")


@pytest.mark.parametrize(
    ("double_tips", "finger", "mass", "com", "inertia"),
    [
        (True, 3, 0.0432, 0.02076666, (3.059035e-5, 2.953841e-5, 6.637248e-6, 1.255968e-6, 1.2936e-6, 1.7622e-6)),
        (True, 15, 0.0724, 0.01963094, (9.497847e-5, 7.680545e-5, 3.485832e-5, 8.042076e-6, 5.2283e-6, 1.128353e-5)),
        # 0.0096 kg at the joint and 0.0168 kg at 0.0267 m: one centre of mass, and inertias about it
        (False, 3, 0.0264, 0.01699091, (1.0024358e-5, 8.9724218e-6, 5.669248e-6, 1.255968e-6, 1.2936e-6, 1.7622e-6)),
    ],
)
def test_fingertips_count_twice_in_the_reference(double_tips, finger, mass, com, inertia):
    link = make(double_tips=double_tips).model.links[BODIES.index(finger)]
    got = link.inertia
    assert link.mass == pytest.approx(mass, rel=1e-6)
    assert link.com.tolist() == pytest.approx([0.0, 0.0, com], rel=1e-6)
    ours = [got[0, 0], got[1, 1], got[2, 2], got[0, 1], got[0, 2], got[1, 2]]
    assert ours == pytest.approx(inertia, rel=1e-6)


def test_links_stand_where_the_reference_has_them(golden):
    model, zero = make().model, np.zeros(3, dtype=object)
    for q, bodies in zip(golden["contact/joint_q"][0].double(), golden["substep/body_q"].double(), strict=True):
        for body, frame in zip(BODIES, dynamics._kinematics(model, q.tolist(), zero), strict=True):
            assert frame.position.tolist() == pytest.approx(bodies[body, :3].tolist(), abs=1e-6)
            assert abs(np.dot(frame.quat, bodies[body, 3:])) == pytest.approx(1.0, abs=1e-6)


def full_mass_matrix(model, q):
    matrix = torch.zeros(model.nd, model.nd, dtype=torch.float64)
    for (row, column), value in dynamics.mass_matrix(model, q.tolist(), np.zeros(3, dtype=object)).items():
        matrix[row, column] = matrix[column, row] = value
    return matrix


def test_the_mass_matrix_mixes_up_the_inertias_as_the_reference_does(golden):
    paper, right = make().model, make(mixed_inertias=False).model
    for q, recorded in zip(golden["contact/joint_q"][0].double(), golden["substep/H"].double(), strict=True):
        torch.testing.assert_close(full_mass_matrix(paper, q), recorded, rtol=1e-5, atol=2e-7)
        assert (full_mass_matrix(right, q) - recorded).abs().max() > 1e-3
        torch.testing.assert_close(full_mass_matrix(right, q)[16:, 16:], recorded[16:, 16:], rtol=1e-5, atol=2e-7)


def test_physics_chooses_all_and_each_option_one():
    identity = list(range(17))
    paper, right = make().model, make(physics="right").model
    assert paper.mass_links == BODIES
    assert right.mass_links == identity
    assert (right.law, right.detection) == ("rate", "exact")
    assert right.links[3].mass == pytest.approx(0.0556)
    mixed = make(physics="right", mixed_inertias=True, detection="rewarped").model
    assert (mixed.mass_links, mixed.detection) == (BODIES, "rewarped")
    assert mixed.links[3].mass == pytest.approx(0.0556)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"physics": "wrong"}, "physics must be 'paper' or 'right', got 'wrong'"),
        ({"detection": "none"}, "detection must be 'rewarped', 'exact' or None, got 'none'"),
        ({"double_tips": 1}, "double_tips must be True, False or None, got 1"),
    ],
)
def test_values_that_physics_cannot_have(options, message):
    with pytest.raises(ValueError, match=f"hand_reorient: {message}"):
        make(**options)


# ---- observation, reward, ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["reset", "contact", "episode"])
def test_observations(golden, group):
    steps = len(golden[f"{group}/joint_q"])
    env = make(steps * N)
    recorded = golden[f"{group}/obs"].flatten(0, 1)
    states = [golden[f"{group}/{key}"].flatten(0, 1) for key in ("joint_q", "joint_qd")]
    env.target = golden[f"{group}/goal_states"].flatten(0, 1)[:, 3:]
    torch.testing.assert_close(env.observe(*states, recorded[:, 56:]), recorded, rtol=0, atol=2e-6)


@pytest.mark.parametrize("group", ["reset", "contact", "episode"])
def test_rewards_and_ends_from_recorded_observations(golden, group):
    over = golden[f"{group}/done"].cumsum(0) > 0  # from then on the observation is of the next episode
    env = make(over.numel())
    obs, actions = golden[f"{group}/obs"][1:].flatten(0, 1), golden[f"{group}/actions"].flatten(0, 1)
    reward = sum(env.reward(obs, actions).values()).view(-1, N)
    torch.testing.assert_close(reward[~over], golden[f"{group}/reward"][~over], rtol=1e-6, atol=1e-7)
    failed = env.failed(obs).view(-1, N)
    assert not failed[~over].any()
    assert torch.equal(golden[f"{group}/terminated"], golden[f"{group}/done"])


@pytest.fixture(scope="module")
def cases(golden):
    """The rewards of single states, with the gradients; within 0.02 rad of the tolerance rounding counts a thousandfold."""
    case = {key.removeprefix("reward_unit/"): value for key, value in golden.items() if key.startswith("reward_unit")}
    env = make(len(case["reward"]))
    inputs = [case[key].clone().requires_grad_() for key in ("object_pos", "object_rot", "actions")]
    env.target = case["goal_rot"]
    q = torch.cat([torch.zeros(len(case["reward"]), 16), *inputs[:2]], dim=1)
    obs = env.observe(q, torch.zeros(len(q), 22), inputs[2])
    reward = sum(env.reward(obs, inputs[2]).values())
    grads = torch.autograd.grad(reward.sum(), inputs)
    steep = (case["rot_dist"] - 0.1).abs() < 0.02
    return case, env, obs.detach(), reward.detach(), grads, steep


def test_single_rewards(cases):
    case, _, _, reward, _, steep = cases
    assert 20 < steep.sum() < len(steep) / 2
    torch.testing.assert_close(reward[~steep], case["reward"][~steep], rtol=1e-6, atol=1e-6)
    slope = case["grad_object_rot"].norm(dim=1)
    assert ((reward - case["reward"]).abs() <= 1e-6 + 5e-7 * slope)[steep].all()
    assert reward.max() > 125.0


def test_gradients_of_single_rewards(cases):
    case, _, _, _, grads, steep = cases
    rounding = 1e-5 + 3e-7 / case["rot_dist"].clamp(min=1e-6)  # where the turn is small, so is what its axis is known from
    for name, ours in zip(("object_pos", "object_rot", "actions"), grads, strict=True):
        reference = case[f"grad_{name}"]
        error = (ours - reference).norm(dim=1)
        bound = torch.where(steep, 1e-3, rounding) * reference.norm(dim=1) + 1e-6
        assert (error <= bound).all(), f"{name}: {(error / bound).max():.2g}"


def test_single_ends_and_goals(cases):
    case, env, obs, *_ = cases
    assert torch.equal(env.failed(obs), case["terminated"])
    assert torch.equal(env.target_done(obs), case["goal_reached"])
    assert case["terminated"].any()
    assert case["goal_reached"].any()


def test_reward_is_that_of_the_state_reached_and_of_its_parts():
    env = make(auto_reset=False)
    action = torch.full((N, 16), 0.5)
    step = env.step(action)
    assert torch.equal(step.reward, sum(env.reward(step.final_obs, action).values()))
    assert list(step.reward_terms) == ["place", "turn", "effort", "success"]
    assert torch.equal(step.obs[:, 56:], action)


# ---- motion ----------------------------------------------------------------------------------------------------------


def test_what_nothing_touches_moves_as_recorded(golden):
    """Fingers and cube before they meet; the thumb's links press on the palm from the start."""
    env, actions = make(auto_reset=False), golden["reset/actions"]
    after = [golden[f"reset/joint_{name}"][1:, :, 4:] for name in ("q", "qd")]
    for t in range(4):  # then the first cube is touched
        place(env, golden, "reset", t)
        env.step(actions[t])
        torch.testing.assert_close(env.q[:, 4:], after[0][t], rtol=0, atol=1e-6)
        torch.testing.assert_close(env.qd[:, 4:], after[1][t], rtol=5e-6, atol=1e-4)
    place(env, golden, "reset")
    for t in range(4):
        env.step(actions[t])
        torch.testing.assert_close(env.q[:, 4:], after[0][t], rtol=0, atol=1e-4)


# ---- starts and goals ------------------------------------------------------------------------------------------------


def test_random_starts_have_the_specified_ranges():
    env = make(4000, seed=1)
    lower, upper = (torch.tensor([getattr(link, end) for link in env.model.links[:16]]) for end in ("lower", "upper"))
    share = (env.q[:, :16] / 0.2 - lower) / (upper - lower)
    assert (share.min(), share.max(), share.mean()) == pytest.approx((0.0, 1.0, 0.5), abs=0.01)
    away = env.q[:, 16:19] - torch.tensor([0.0, -0.1, 0.6])
    assert 0.0099 < away.abs().max() <= 0.01001
    assert away.mean().abs() < 3e-4
    assert not env.qd.any()
    for quat in (env.q[:, 19:], env.target):
        x, y = turns(quat)
        assert (x.abs().max(), y.abs().max()) == pytest.approx((math.pi, math.pi), abs=0.01)
        assert (x.abs().mean(), y.abs().mean()) == pytest.approx((math.pi / 2, math.pi / 2), abs=0.06)


def turns(quat):
    """The angles x and y of the turns about x and y whose product a quaternion is."""
    sx, sy = (quat[:, i] for i in (0, 1))
    sxy, cxy = quat[:, 2], quat[:, 3]  # of Rx(x) Ry(y): sin x/2 sin y/2 and cos x/2 cos y/2
    half_sum, half_difference = torch.atan2(sx + sy, cxy - sxy), torch.atan2(sx - sy, cxy + sxy)
    x, y = half_sum + half_difference, half_sum - half_difference
    zero = torch.zeros_like(x)
    about_x = torch.stack([(x / 2).sin(), zero, zero, (x / 2).cos()], dim=1)
    about_y = torch.stack([zero, (y / 2).sin(), zero, (y / 2).cos()], dim=1)
    torch.testing.assert_close(quat_multiply(about_x, about_y).mul(quat).sum(1).abs(), torch.ones(len(quat)))
    return (torch.remainder(angle + math.pi, 2 * math.pi) - math.pi for angle in (x, y))


def test_a_goal_that_is_reached_is_replaced_after_its_step_has_shown_it():
    env = make(seed=5)
    lies = env.q[:, 19:].clone()
    goal = torch.where(torch.tensor([[False], [True], [False], [True]]), lies, env.target)
    env.set_state(env.q, env.qd, target=goal)
    step = env.step(torch.zeros(N, 16))
    assert not (step.terminated | step.truncated).any()
    assert torch.equal(step.obs[:, 48:52], goal)
    assert (env.target != goal).any(1).tolist() == [False, True, False, True]
    assert step.reward_terms["success"].tolist() == pytest.approx([0.0, 125.0, 0.0, 125.0], abs=1e-3)
    assert torch.equal(env.step(torch.zeros(N, 16)).obs[:, 48:52], env.target)


def test_a_dropped_cube_ends_its_episode_and_brings_another_goal():
    env = make(seed=5)
    q = env.q.clone()
    q[2, 18] = 0.3
    goal = env.target
    env.set_state(q, env.qd)
    step = env.step(torch.zeros(N, 16))
    assert step.terminated.tolist() == [False, False, True, False]
    assert torch.equal(step.final_obs[:, 48:52], goal)
    assert (step.obs[:, 48:52] != goal).any(1).tolist() == [False, False, True, False]


def test_episodes_have_600_steps():
    env = make(seed=5)
    env.progress = torch.tensor([597, 598, 599, 0])
    assert env.step(torch.zeros(N, 16)).truncated.tolist() == [False, False, True, False]


def test_resumed_goals_are_the_same():
    env, resumed = make(seed=1), make(seed=2)
    env.reset(torch.tensor([True, False, False, False]))
    resumed.load_state_dict(env.state_dict())
    for _ in range(2):
        env.reset()
        resumed.reset()
        assert torch.equal(env.target, resumed.target)
        assert torch.equal(env.q, resumed.q)
