"""Hand Reorient against what was recorded from the reference simulator (rewarped 1.3.0), and its own promises."""

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.sim import Simulator, dynamics, kinematics, quat_multiply
from rpo_lightning.sim.algebra import rotation, vector
from rpo_lightning.sim.pairs.shapes import Body
from rpo_lightning.sim.pairs.wrenches import pair_shapes, tables, wrenches

RECORDING = Path(__file__).parents[1] / "data" / "rewarped_hand.npz"
ROBOT = Path(rpo_lightning.__file__).parent / "robots" / "hand_reorient.xml"
BODIES = [12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 16]  # the reference's number of each link's body
N = 4
PARTS = [(slice(i, i + 4), slice(i, i + 4)) for i in (0, 4, 8, 12)] + [(slice(16, 23), slice(16, 22))]  # thumb ... cube


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
    assert [(a.moment, a.gain * a.control[1]) for a in model.actuators] == [([(dof, 2.0)], 1.0) for dof in range(16)]
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
        for body, frame in zip(BODIES, kinematics.kinematics(model, q.tolist(), zero), strict=True):
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
#
# The reference finds contacts that are none: an edge beside a box has depth 0 along a normal that belongs to another face.
# Rounding decides the sign and so whether their damping acts, in the reference as here. Where one is near, only that
# finger, the thumb or the cube is left out of a tight comparison.


def test_pairs_are_those_of_the_reference():
    model, right = make().model, make(physics="right").model
    kinds = Counter((model.geoms[pair.first].kind, model.geoms[pair.second].kind) for pair in model.pairs)
    assert kinds == {("box", "box"): 136, ("sphere", "box"): 68, ("sphere", "sphere"): 6}
    assert {(pair.ke, pair.kd, pair.kf, pair.mu) for pair in model.pairs} == {(500.0, 100.0, 100.0, 0.5)}
    assert touching(right) - touching(model) == {frozenset({"cube", "link_0"})}
    apart = [{"palm", "link_12"}, {"palm", "link_0"}, {"link_1", "link_2"}, {"link_3", "tip_3"}]
    assert not touching(right) & set(map(frozenset, apart))
    assert touching(model) >= set(map(frozenset, [{"palm", "link_13"}, {"link_2", "tip_3"}, {"tip_3", "tip_15"}]))


def touching(model):
    return {frozenset(model.geoms[geom].name for geom in (pair.first, pair.second)) for pair in model.pairs}


class Found(NamedTuple):
    """A contact: environment, names of two shapes, depth [m], where on the first, normal out of the second."""

    env: int
    names: tuple[str, str]
    depth: float
    point: np.ndarray
    normal: np.ndarray


def number(name):
    """The reference's number of the body that a shape is on, -1 for the world."""
    return {"palm": -1, "cube": 16}.get(name) or int(name.partition("_")[2])


def shape_name(shape):
    if shape in (1, 42):
        return "palm" if shape == 1 else "cube"
    finger, place = divmod((shape - 3) // 2, 5)
    return f"tip_{4 * finger + 3}" if place == 4 else f"link_{4 * finger + place}"


def body_at(golden, env, number):
    if number < 0:
        pose, twist = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), np.zeros(6)
    else:
        pose, twist = (golden[f"substep/{key}"][env, number].double().numpy() for key in ("body_q", "body_v_s"))
    turn = rotation(pose[3:].tolist())
    return Body(vector(pose[:3]), turn, vector(twist[:3]), vector(twist[3:]))


@pytest.fixture(scope="module")
def recorded_contacts(golden):
    found = []
    columns = [golden[f"substep/contact_{key}"].tolist() for key in ("shape0", "shape1", "point0", "point1", "normal")]
    for one, two, point_one, point_two, normal in zip(*columns, strict=True):
        env, names = one // 43, (shape_name(one % 43), shape_name(two % 43))
        ends = []
        for name, point, inward in zip(names, (point_one, point_two), (-1.0, 1.0), strict=True):
            body = body_at(golden, env, number(name))
            end = body.position + body.rotation @ vector(point)
            ends.append(end + inward * (0.012 if "tip" in name else 0.0) * vector(normal))
        depth = -float(vector(normal) @ (ends[0] - ends[1]))
        found.append(Found(env, names, depth, ends[0].astype(float), np.array(normal)))
    return found


@pytest.fixture(scope="module")
def undecided(recorded_contacts):
    """(environment, index into `PARTS`) of what rounding pushes or not."""
    near = {(c.env, number(name)) for c in recorded_contacts if abs(c.depth) < 1e-6 for name in c.names}
    return {(env, 4 if body == 16 else 3 - body // 4) for env, body in near if body >= 0}


def test_contacts_are_found_as_the_reference_finds_them(golden, recorded_contacts):
    model, ours = make().model, {}
    for env in range(N):
        for table in tables(model):
            for links, row in zip(table.links.tolist(), table.rows.tolist(), strict=True):
                numbers = [BODIES[link] if link >= 0 else -1 for link in links]
                shapes = pair_shapes(table, row, *(body_at(golden, env, n) for n in numbers), None)
                kinds = ["link" if shape.size[1] else "tip" for shape in shapes]
                fixed = {-1: "palm", 16: "cube"}
                names = tuple(fixed.get(n) or f"{kind}_{n}" for n, kind in zip(numbers, kinds, strict=True))
                for part in table.kind.parts.tolist():
                    for spot in table.kind.touch(*shapes, part):
                        found = Found(env, names, float(spot.depth), spot.first.astype(float), spot.normal.astype(float))
                        ours.setdefault((env, names), []).append(found)
    theirs = {}
    for contact in recorded_contacts:
        theirs.setdefault((contact.env, contact.names), []).append(contact)
    deep = 0
    for key in ours.keys() | theirs.keys():
        one, two = (sorted((c for c in found.get(key, []) if c.depth > 1e-6), key=depth) for found in (ours, theirs))
        assert len(one) == len(two), key
        for mine, recorded in zip(one, two, strict=True):
            assert mine.depth == pytest.approx(recorded.depth, abs=1e-6)
            assert mine.point == pytest.approx(recorded.point, abs=1e-4)
            assert mine.normal == pytest.approx(recorded.normal, abs=1e-5)
        deep += len(one)
    assert deep == 32


def depth(contact):
    return contact.depth


def test_wrenches(golden, recorded_contacts):
    model = make().model
    near = {(c.env, number(name)) for c in recorded_contacts if abs(c.depth) < 1e-6 for name in c.names}
    pressed = 0
    for env in range(N):
        bodies = [body_at(golden, env, n) for n in BODIES]
        ours = wrenches(model, bodies, body_at(golden, env, -1), np.zeros((0, 0)))
        for n, wrench in zip(BODIES, ours, strict=True):
            if (env, n) not in near:
                recorded = -golden["substep/body_contact_f"][env, n].numpy()  # there it is subtracted from forces
                assert np.concatenate(wrench).astype(float) == pytest.approx(recorded, rel=1e-4, abs=1e-4)
                pressed += bool(recorded.any())
    assert pressed == 4


def applied(actions):
    return torch.cat([2.0 * actions, torch.zeros(N, 6)], dim=1)


def test_accelerations_and_one_substep(golden, undecided):
    state = golden["contact/joint_q"][0], golden["contact/joint_qd"][0], applied(golden["contact/actions"][0])
    env = make()
    acceleration, recorded = env.simulator.acceleration(*state), golden["substep/joint_qdd"]
    q, qd = Simulator(env.model, N, golden["substep/dt"].item(), 1, 1).step(*state)
    assert len(undecided) < 10
    for e in range(N):
        for part, (at, dofs) in enumerate(PARTS):
            if (e, part) not in undecided:
                # a cube that flies turns by what is left of torques of 3 N m about the world's origin
                rest = 0.01 if part == 4 else 0.0
                error = (acceleration[e, dofs] - recorded[e, dofs]).norm()
                assert error < 1e-4 * recorded[e, dofs].norm() + rest, (e, part)
                torch.testing.assert_close(q[e, at], golden["substep/joint_q_next"][e, at], rtol=0, atol=1e-6)
                torch.testing.assert_close(qd[e, dofs], golden["substep/joint_qd_next"][e, dofs], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("group", "bounds"),  # steps and tolerance of each environment; wider where an edge slides along another
    [
        ("reset", ((9, 1e-4), (9, 1e-4), (5, 1e-4), (4, 1e-4))),
        ("contact", ((9, 1e-4), (3, 3e-3), (9, 1e-4), (3, 3e-3))),
    ],
)
def test_fingers_and_cube_move_as_recorded(golden, group, bounds):
    env, actions = make(auto_reset=False), golden[f"{group}/actions"]
    place(env, golden, group)
    for t in range(9):
        step = env.step(actions[t])
        for e, (steps, tolerance) in enumerate(bounds):
            if t < steps:
                q, obs = golden[f"{group}/joint_q"][t + 1, e], golden[f"{group}/obs"][t + 1, e]
                torch.testing.assert_close(env.q[e, 4:], q[4:], rtol=0, atol=tolerance)
                torch.testing.assert_close(step.obs[e, 48:56], obs[48:56], rtol=0, atol=tolerance)
                assert step.reward[e].item() == pytest.approx(golden[f"{group}/reward"][t, e].item(), abs=tolerance)


def test_every_step_of_every_recording_ends_nearby(golden):
    for group in ("reset", "contact"):
        steps = len(golden[f"{group}/actions"])
        running = ~(golden[f"{group}/done"].cumsum(0) > 0)
        env = make(steps * N, auto_reset=False)
        before = [golden[f"{group}/{key}"][:-1].flatten(0, 1) for key in ("joint_q", "joint_qd")]
        env.set_state(*before, target=golden[f"{group}/goal_states"][:-1].flatten(0, 1)[:, 3:])
        env.step(golden[f"{group}/actions"].flatten(0, 1))
        error = (env.q.view(steps, N, -1) - golden[f"{group}/joint_q"][1:]).abs()[running]
        moved = (before[0].view(steps, N, -1) - golden[f"{group}/joint_q"][1:]).abs()[running]
        assert error.quantile(0.8) < 1e-5
        assert error[:, 16:].mean() < 0.02 * moved[:, 16:].mean()
        assert error[:, :16].mean() < 0.02 * moved[:, :16].mean()


def test_rewards_of_a_rollout(golden):
    for group, steps in (("reset", 8), ("contact", 16)):
        env = make(auto_reset=False)
        place(env, golden, group)
        rewards = torch.stack([env.step(golden[f"{group}/actions"][t]).reward for t in range(steps)])
        torch.testing.assert_close(rewards, golden[f"{group}/reward"][:steps], rtol=0, atol=0.01)


# relative errors by environment; the reference's own two ways of a step differ by up to 2.3
@pytest.mark.parametrize(
    ("group", "horizon", "bounds"),
    [
        ("reset", 1, (1e-3, 1e-3, 1e-3, 1e-3)),
        ("reset", 4, (1e-3, 1e-3, 1e-3, 1e-3)),
        ("contact", 1, (1e-3, 0.3, 1e-3, 0.3)),
        ("contact", 4, (1e-3, 0.3, 1e-3, 0.3)),
        ("contact", 16, (1e-3, 0.7, 1e-3, 0.7)),
    ],
)
def test_gradients_of_the_discounted_return(golden, group, horizon, bounds):
    env, actions = make(auto_reset=False), golden[f"{group}/actions"].clone().requires_grad_()
    place(env, golden, group)
    total = sum(0.99**t * env.step(actions[t]).reward for t in range(horizon))
    (grad,) = torch.autograd.grad(total.sum(), actions)
    ours, reference = (g[:horizon].transpose(0, 1).flatten(1) for g in (grad, golden[f"{group}/grad_fixed_H{horizon}"]))
    error = (ours - reference).norm(dim=1) / reference.norm(dim=1)
    assert (error <= torch.tensor(bounds)).all(), error.tolist()


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
