"""Points of robots against MuJoCo's, and their velocities against its Jacobians and against differences."""

from importlib.resources import files

import mujoco
import numpy as np
import pytest
import torch

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


def test_gradients_of_points_equal_differences():
    model = load_mjcf(str(ROBOTS / "quadruped.xml"))
    points = Points(model, [(3, np.array([0.0, 0.0, -0.213])), (0, np.zeros(3))])
    for module in points._levels:
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(module, name, value.double())
    points._at = [(links, places.double()) for links, places in points._at]
    q, qd = (state.double().requires_grad_() for state in states(model, 2))
    assert torch.autograd.gradcheck(lambda *state: points(*state), (q, qd))


def test_a_ball_joint_on_the_way_is_refused(tmp_path):
    file = tmp_path / "ball.xml"
    file.write_text(
        '<mujoco><worldbody><body name="b"><joint name="swing" type="ball"/><geom size="0.1" pos="0 0 -1"/></body>'
        '<geom type="plane" size="1 1 1"/></worldbody></mujoco>'
    )
    model = load_mjcf(file, contact=(1000.0, 10.0, 10.0, 0.5))
    with pytest.raises(ValueError, match="ball joint"):
        Points(model, [(0, np.zeros(3))])
