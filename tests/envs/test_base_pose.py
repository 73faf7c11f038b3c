"""The base's pose and velocity against MuJoCo's, for both ups, and against the simulator's own motion."""

import math

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.envs.base_pose import BasePose
from rpo_lightning.sim import Simulator, load_mjcf, to_mujoco

FILE = """<mujoco><option gravity="{gravity}"/><custom><numeric name="contact" data="1000 100 10 0.5"/></custom><worldbody>
  <geom type="plane" size="1 1 1" zaxis="{up}" pos="{ground}"/>
  <body name="base" pos="0.3 0.5 0.7"><freejoint/><geom type="box" size="0.2 0.1 0.05" mass="3"/>
  <body pos="0.2 0 0"><joint axis="0 1 0"/><geom size="0.02" mass="0.1"/></body></body></worldbody></mujoco>"""
UPS = {"z": ("0 0 -9.81", "0 0 1", "0 0 0.1"), "y": ("0 -9.81 0", "0 1 0", "0 0.1 0")}


@pytest.fixture(params=UPS)
def robot(request, tmp_path):
    gravity, up, ground = UPS[request.param]
    path = tmp_path / "robot.xml"
    path.write_text(FILE.format(gravity=gravity, up=up, ground=ground))
    model = load_mjcf(path)
    return request.param, path, model, BasePose(model)


def states(model, n=12):
    generator = torch.Generator().manual_seed(0)
    q, qd = torch.randn(n, model.nq, generator=generator), torch.randn(n, model.nd, generator=generator)
    q[:, 3:7] = torch.nn.functional.normalize(q[:, 3:7], dim=1)
    return q, qd


def test_height_velocity_and_axes_are_mujocos(robot):
    up, path, model, base = robot
    q, qd = states(model)
    mj = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(mj)
    for row, (qpos, qvel) in enumerate(zip(*to_mujoco(model, q, qd), strict=True)):
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(mj, data)
        matrix = data.xmat[1].reshape(3, 3)
        velocity, local = np.zeros(6), np.zeros(6)
        mujoco.mj_objectVelocity(mj, data, mujoco.mjtObj.mjOBJ_XBODY, 1, velocity, 0)
        mujoco.mj_objectVelocity(mj, data, mujoco.mjtObj.mjOBJ_XBODY, 1, local, 1)
        one = slice(row, row + 1)
        np.testing.assert_allclose(base.position(q)[row], data.xpos[1], atol=1e-6)
        assert base.height(q)[row].item() == pytest.approx(data.xpos[1]["xyz".index(up)] - 0.1, abs=1e-6)
        np.testing.assert_allclose(base.velocity(q, qd)[row], velocity[3:], atol=1e-5)
        np.testing.assert_allclose(base.local(q[one], base.velocity(q, qd)[one])[0], local[3:], atol=1e-5)
        np.testing.assert_allclose(base.local(q[one], base.angular_velocity(qd)[one])[0], local[:3], atol=1e-5)
        np.testing.assert_allclose(base.down(q)[row], -matrix["xyz".index(up)], atol=1e-5)


def test_turning_about_up_adds_to_the_heading_and_tilting_does_not_move_it(robot):
    _, _, model, base = robot
    q = torch.tensor(model.start, dtype=torch.float32).repeat(5, 1)
    yaw = torch.tensor([0.0, 0.5, -1.0, 3.0, -3.0])
    turned = base.turned(q, yaw, torch.zeros(5, 3))
    torch.testing.assert_close(base.heading(turned), yaw, atol=1e-5, rtol=0)
    torch.testing.assert_close(base.down(turned), base.down(q), atol=1e-5, rtol=0)
    tilted = base.turned(q, yaw, 0.3 * torch.eye(3)[[0] * 5])
    cosine = (base.down(tilted) * base.down(q)).sum(1)
    torch.testing.assert_close(cosine, torch.full((5,), math.cos(0.3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(base.position(tilted), base.position(q))


def test_a_twist_moves_the_base_as_it_says(robot):
    _, _, model, base = robot
    q = base.turned(states(model, 3)[0], torch.ones(3), torch.zeros(3, 3))
    q[:, :3] += 3.0
    velocity, spin = torch.tensor([[1.0, 2.0, 3.0]]).repeat(3, 1), torch.tensor([[0.5, -1.0, 2.0]]).repeat(3, 1)
    qd = torch.zeros(3, model.nd)
    qd[:, :6] = base.twist(q, velocity, spin)
    torch.testing.assert_close(base.velocity(q, qd), velocity, atol=1e-5, rtol=0)
    after, _ = Simulator(model, 3, 1e-4, 1, threads=1).step(q, qd, torch.zeros(3, model.nd))
    torch.testing.assert_close((after - q)[:, :3] / 1e-4, velocity, atol=2e-2, rtol=0)


def test_a_robot_without_a_free_base_is_refused():
    from importlib.resources import files

    with pytest.raises(ValueError, match="is not free, so it has no base that moves"):
        BasePose(load_mjcf(files("rpo_lightning") / "robots" / "cartpole.xml"))
