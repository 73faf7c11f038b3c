"""What is drawn of a task, and where it is."""

import sys

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning import envs
from rpo_lightning.envs.gymnasium_env import gymnasium_task
from rpo_lightning.envs.gymnasium_tables import worlds
from rpo_lightning.sim import to_mujoco
from rpo_lightning.view.acting import acting
from rpo_lightning.view.camera import Camera
from rpo_lightning.view.drawing import Drawing
from rpo_lightning.view.filming import film
from rpo_lightning.view.live import Live
from rpo_lightning.view.rotations import between, matrices, product, turned
from rpo_lightning.view.scene import WORLD, Frames
from rpo_lightning.view.stage import Stage
from tests.command_line import REPOSITORY
from tests.toy import PointMass

TASKS = ("ant", "anymal", "cartpole", "cheetah", "double_pendulum", "hand_reorient", "hopper", "humanoid")


def lowest(scene, poses):
    """Height of the lowest point of spheres and capsules that move."""
    ends = []
    for shape in (each for each in scene.shapes if each.kind in ("sphere", "capsule") and each.body != WORLD):
        reach = shape.size[1] if shape.kind == "capsule" else 0.0
        for end in (-reach, reach):
            place = shape.pos + turned(shape.quat, np.array([0.0, 0.0, end]))
            ends.append(poses[shape.body, 2] + turned(poses[shape.body, 3:], place)[2] - shape.size[0])
    return min(ends)


def test_quaternions_turn_as_matrices_do():
    quat = np.array([0.5, 0.5, -0.5, 0.5])
    expected = np.empty(9)
    mujoco.mju_quat2Mat(expected, quat)
    np.testing.assert_allclose(matrices(quat), expected.reshape(3, 3), atol=1e-12)
    other = np.array([0.6, 0.0, 0.8, 0.0])
    np.testing.assert_allclose(matrices(product(quat, other)), matrices(quat) @ matrices(other), atol=1e-12)
    for start in (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0]), np.array([0.0, 0.0, 1.0])):
        np.testing.assert_allclose(turned(between(start, np.array([0.0, 0.0, 1.0])), start), [0.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("name", ["ant", "anymal", "humanoid", "hopper", "cheetah"])
def test_robots_stand_right_side_up_on_the_floor(name):
    env = envs.make(name, num_envs=2, stochastic_init=False)
    drawing = Drawing(env)
    poses = drawing.poses(env)
    assert poses.shape == (2, len(drawing.scene.bodies), 7)
    assert drawing.scene.floor == 0.0
    assert drawing.scene.base == 0
    assert -0.1 < lowest(drawing.scene, poses[0]) < 0.25
    assert drawing.scene.centre[2] > 0.2


def test_poses_are_those_of_mujocos_kinematics_turned_upright():
    env = envs.make("ant", num_envs=2, seed=3)
    drawing = Drawing(env)
    qpos, _ = to_mujoco(env.model, env.q, env.qd)
    data = mujoco.MjData(drawing.mj)
    data.qpos[:] = qpos[1].double().numpy()
    mujoco.mj_forward(drawing.mj, data)
    x, y, z = data.body("left_back_foot").xpos
    body = drawing.scene.bodies.index("left_back_foot")
    np.testing.assert_allclose(drawing.poses(env)[1, body, :3], [x, -z, y], atol=1e-9)


def test_going_ahead_is_to_the_right_in_every_picture():
    env = envs.make("ant", num_envs=1)
    drawing = Drawing(env)
    before = drawing.poses(env)[0, 0, :3]
    env.set_state(env.q + torch.tensor([1.0, *[0.0] * 14]), env.qd)
    np.testing.assert_allclose(drawing.poses(env)[0, 0, :3] - before, [1.0, 0.0, 0.0], atol=1e-6)


def test_every_task_can_be_drawn():
    for name in TASKS:
        scene = Drawing(envs.make(name, num_envs=1)).scene
        assert 0.05 < scene.extent < 5.0, name
        assert {shape.body for shape in scene.shapes} - {WORLD}, name


@pytest.mark.parametrize("name", ["cheetah_run", "humanoid_walk", "ball_in_cup_catch"])
def test_control_tasks_can_be_drawn(name):
    env = envs.make(f"dmc/{name}", num_envs=1)
    try:
        scene = Drawing(env).scene
        assert scene.dt == env.dt
        assert len(scene.bodies) >= 2
    finally:
        env.close()


@pytest.mark.parametrize("name", ["reacher_easy", "finger_turn_hard", "fish_swim"])
def test_balls_of_control_tasks_are_where_their_targets_are(name):
    env = envs.make(f"dmc/{name}", num_envs=2)
    try:
        drawing = Drawing(env)
        ball = drawing.scene.bodies.index("target")
        columns = {"reacher_easy": [0, 1], "finger_turn_hard": [0, 2], "fish_swim": [0, 1, 2]}[name]
        np.testing.assert_allclose(drawing.poses(env)[:, ball, columns], env.target.numpy(), atol=1e-6)
    finally:
        env.close()


def test_the_goal_of_the_hand_is_a_cube_turned_as_it_and_faces_can_be_told_apart():
    env = envs.make("hand_reorient", num_envs=2)
    drawing = Drawing(env)
    goal, cube = (drawing.scene.bodies.index(name) for name in ("goal", "cube"))
    np.testing.assert_allclose(drawing.poses(env)[:, goal, 3:], env.target.numpy()[:, [3, 0, 1, 2]], atol=1e-6)
    for body in (goal, cube):
        assert len({tuple(shape.rgba) for shape in drawing.scene.shapes if shape.body == body}) == 7


def test_own_robots_and_their_goals_are_drawn(monkeypatch):
    for folder in ("walker", "push"):
        monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / folder))
    walker, push = envs.make("walker.Walker", num_envs=1), envs.make("push.Push", num_envs=2)
    assert "torso" in Drawing(walker).scene.bodies
    drawing = Drawing(push)
    np.testing.assert_allclose(drawing.poses(push)[:, 2, :2], push.target.numpy(), atol=1e-6)
    for name in ("walker", "push"):
        del sys.modules[name]


def test_what_touches_with_points_only_is_held_together_by_rods():
    env = envs.make("anymal", num_envs=1)
    scene = Drawing(env).scene
    hips = [index for index, name in enumerate(scene.bodies) if name.endswith("HIP")]
    assert len(hips) == 4
    assert all(any(shape.body == hip for shape in scene.shapes) for hip in hips)
    ant = Drawing(envs.make("ant", num_envs=1))
    assert len(ant.scene.shapes) == ant.mj.ngeom - 1  # the ground is the floor


def test_frames_are_chosen_in_real_time():
    scene = Drawing(envs.make("ant", num_envs=1)).scene
    frames = Frames(scene, np.zeros((61, 1, 9, 7)), np.zeros((61, 1)), np.zeros((61, 1), bool), np.zeros((61, 1, 8)))
    assert frames.seconds == pytest.approx(1.0)
    assert frames.at(60.0).tolist() == list(range(61))
    assert frames.at(30.0).tolist() == list(range(0, 61, 2))
    assert len(frames.at(25.0)) == 26
    assert frames.at(25.0)[-1] == 60


def test_gymnasiums_tasks_on_mujoco_are_drawn_where_they_are_and_can_be_pushed():
    pytest.importorskip("gymnasium")
    env = envs.make(gymnasium_task("Hopper-v5"), num_envs=2, seed=1)
    try:
        live = Live(env, acting("random", env), seed=3)
        first = live.drawing.poses(env)
        for _ in range(5):
            live.step()
        poses = live.drawing.poses(env)
        assert np.abs(poses - first).max() > 0.01
        for (model, data), row in zip(worlds(env), poses, strict=True):
            mujoco.mj_kinematics(model, data)
            names = live.drawing.scene.bodies
            np.testing.assert_allclose(row[:, :3], [data.body(name).xpos for name in names], atol=1e-9)
        assert live.drawing.scene.base == 0
        assert live.drawing.scene.floor == 0.0
        assert live.dt == pytest.approx(0.008)
        before = [data.qvel.copy() for _, data in worlds(env)]
        live.push(2.0)
        after = [data.qvel for _, data in worlds(env)]
        assert 0.0 < abs(after[0][0] - before[0][0]) <= 2.0
        assert np.array_equal(after[1], before[1])
    finally:
        env.close()


def test_what_cannot_be_drawn_is_refused_by_name():
    with pytest.raises(ValueError, match="point_mass: nothing of it can be drawn"):
        Drawing(PointMass(1))
    pytest.importorskip("gymnasium")
    env = envs.make(gymnasium_task("Pendulum-v1"), num_envs=1)
    with pytest.raises(ValueError, match="nothing of it can be drawn"):
        Drawing(env)
    env.close()


def test_ground_that_an_environment_comes_to_later_is_drawn_from_then_on():
    env = envs.make("quadruped_rough", num_envs=2, terrain="stairs", difficulty=0.5, episode_length=3, threads=1)
    drawing = Drawing(env)
    before = list(drawing.scene.bodies)
    assert before[-1] == "terrain 5"
    env.difficulty = torch.tensor([0.5, 1.0])
    env.reset()
    poses = drawing.poses(env)
    assert drawing.scene.bodies == [*before, "terrain 10"]
    assert (poses[:, -2:, 2] == [[0.0, -1000.0], [-1000.0, 0.0]]).all()
    assert drawing.scene.shapes[-1].vertices[:, 2].max() == pytest.approx(0.6, abs=1e-3)
    env.difficulty = torch.tensor([1.0, 0.2])  # of the episode that begins within the film
    frames = film(env, acting("zero", env), 0.1)
    fields = [frames.scene.bodies.index(f"terrain {field}") for field in (5, 10, 2)]
    first, last = frames.poses[0], frames.poses[-1]
    assert (first[:, fields, 2] == 0.0).tolist() == [[True, False, False], [False, True, False]]
    assert (last[:, fields, 2] == 0.0).tolist() == [[False, True, False], [False, False, True]]
    np.testing.assert_array_equal(frames.poses[:, :, fields, 3], 1.0)
    Stage(frames.scene).put(frames.poses[0, 0], np.zeros(3))


def test_each_environment_is_on_its_own_terrain():
    env = envs.make("quadruped_rough", num_envs=3, terrain=["stairs", "flat"], difficulty=1.0)
    drawing = Drawing(env)
    scene, poses = drawing.scene, drawing.poses(env)
    grounds = [scene.bodies.index(name) for name in ("terrain 10", "terrain 21")]
    assert (poses[:, grounds, 2] == [[0.0, -1000.0], [-1000.0, 0.0], [0.0, -1000.0]]).all()
    (stairs,) = (shape for shape in scene.shapes if shape.body == grounds[0])
    field = env.simulator.terrain[10].numpy()
    np.testing.assert_allclose(stairs.vertices[:, 2].reshape(field.shape), field, atol=1e-6)
    np.testing.assert_allclose(stairs.vertices[[0, 1, 129], :2], [[-6.4, -6.4], [-6.3, -6.4], [-6.4, -6.3]], atol=1e-9)
    assert scene.hills == pytest.approx(12.8)
    assert scene.extent < 1.0  # of the robot alone
    # the floor is where the field ends, and the camera goes up and down with the robot
    assert -0.02 < scene.floor < 0.0
    assert Camera().lookat(scene, poses)[0, 2] == pytest.approx(float(env.q[0, 2]), abs=1e-6)
    Stage(scene)
