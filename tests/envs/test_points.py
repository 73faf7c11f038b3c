"""Points of robots against MuJoCo's, and their velocities against its Jacobians and against differences."""

from importlib.resources import files

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.envs.base_pose import BasePose
from rpo_lightning.envs.points import Points
from rpo_lightning.sim import Joint, load_mjcf, to_mujoco

ROBOTS = files("rpo_lightning") / "robots"


def states(model, count=4):
    torch.manual_seed(0)
    q = torch.tensor(model.start).float() + 0.3 * torch.randn(count, model.nq)
    if model.links[0].joint is Joint.FREE:
        q[:, 3:7] = torch.nn.functional.normalize(q[:, 3:7], dim=1)
    return q, torch.randn(count, model.nd)


@pytest.mark.parametrize("name", ["quadruped", "ant", "hopper", "cartpole", "arm"])
def test_points_are_where_mujoco_has_them_and_move_as_there(name):
    path = str(ROBOTS / f"{name}.xml")
    model, mj = load_mjcf(path), mujoco.MjModel.from_xml_path(path)
    data, jacobian = mujoco.MjData(mj), np.zeros((3, mj.nv))
    where = [(link, np.array([0.1, -0.2, 0.3])) for link in reversed(range(len(model.links)))]
    q, qd = states(model)
    positions, velocities = Points(model, where)(q, qd)
    qpos, qvel = to_mujoco(model, q.double(), qd.double())
    for env in range(len(q)):
        data.qpos[:], data.qvel[:] = qpos[env], qvel[env]
        mujoco.mj_forward(mj, data)
        for k, (link, place) in enumerate(where):
            # the body that carries the link's joint: links are joints here, one for each
            body = int(mj.jnt_bodyid[link])
            if link + 1 < mj.njnt and mj.jnt_bodyid[link + 1] == body:
                continue  # a link without a body of its own, between two joints of one
            spot = data.xpos[body] + data.xmat[body].reshape(3, 3) @ place
            np.testing.assert_allclose(positions[env, k], spot, atol=2e-6)
            mujoco.mj_jac(mj, data, jacobian, None, spot, body)
            np.testing.assert_allclose(velocities[env, k], jacobian @ data.qvel, atol=1e-5)


def test_a_state_is_measured_once_and_anew_where_it_has_changed():
    model = load_mjcf(str(ROBOTS / "quadruped.xml"))
    points = Points(model, [(3, np.array([0.0, 0.0, -0.213]))])
    q, qd = states(model)
    with torch.no_grad():
        first = points(q, qd)[0]
        assert points(q, qd)[0] is first
    q.requires_grad_()
    assert points(q, qd)[0].requires_grad
    with torch.no_grad():
        q[:, 0] += 1.0
    torch.testing.assert_close(points(q, qd)[0], first + torch.tensor([1.0, 0.0, 0.0]))
    with torch.inference_mode():
        q = q + 1.0
        before = points(q, qd)[0]
        q[:, 0] += 1.0
        torch.testing.assert_close(points(q, qd)[0], before + torch.tensor([1.0, 0.0, 0.0]))


def test_a_state_that_becomes_a_variable_or_was_gone_back_through_is_measured_anew():
    model = load_mjcf(str(ROBOTS / "quadruped.xml"))
    points = Points(model, [(3, np.array([0.0, 0.0, -0.213]))])
    q, qd = states(model)
    points(q, qd)
    q.requires_grad_()
    gradients = [torch.autograd.grad(points(q, qd)[0].sum(), q)[0] for _ in range(2)]
    assert torch.equal(*gradients)
    assert gradients[0].any()


def test_a_base_moves_as_its_pose_says():
    model = load_mjcf(str(ROBOTS / "ant.xml"))  # y is up
    q, qd = states(model)
    pose, base = BasePose(model), Points(model, []).base(q, qd)
    torch.testing.assert_close(base.turning, pose.local(q, pose.angular_velocity(qd)))
    torch.testing.assert_close(base.down, pose.down(q))
    torch.testing.assert_close(base.velocity, pose.local(q, pose.velocity(q, qd)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(base.height[:, 0], pose.height(q))
