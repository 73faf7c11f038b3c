"""What is measured of a state: the kernels against the same equations in double precision, and their differences."""

import numpy as np
import pytest
import torch

from rpo_lightning.sim import Sensors, sensing
from tests.sim import trees

PLACES = [(2, np.array([0.1, -0.2, 0.3])), (0, np.zeros(3)), (1, np.array([0.0, 0.3, 0.0]))]
N = 21  # a full block of 16 lanes and a part of another


@pytest.fixture(scope="module", params=["free", "slide"])
def robot(request, tmp_path_factory):
    return trees.load(tmp_path_factory.mktemp("robot"), trees.text([request.param, "hinge", "ball"], seed=4))


def witness(model, q, qd):
    return np.array([sensing.sensed(model, PLACES, *state) for state in zip(q.tolist(), qd.tolist(), strict=True)], float)


def test_the_kernel_measures_what_the_equations_say(robot):
    q, qd, _ = trees.state(robot, N, seed=1, scale=0.4)
    base, positions, velocities = Sensors(robot, PLACES)(q.float(), qd.float())
    assert base.shape == (N, 10 if robot.nq == 12 else 0)
    seen = torch.cat([base, positions.flatten(1), velocities.flatten(1)], dim=1)
    np.testing.assert_allclose(seen, witness(robot, q.double(), qd.double()), rtol=1e-5, atol=1e-5)


def test_its_adjoint_is_that_of_differences(robot):
    q, qd, _ = (part.double() for part in trees.state(robot, N, seed=2, scale=0.4))
    inputs = [part.float().requires_grad_() for part in (q, qd)]
    seen = torch.cat([part.flatten(1) for part in Sensors(robot, PLACES)(*inputs)], dim=1)
    seeds = torch.randn(seen.shape)
    found = torch.cat(torch.autograd.grad(seen, inputs, seeds), dim=1)
    state, h = torch.cat([q, qd], dim=1), 1e-6
    for column in range(state.shape[1]):
        change = torch.zeros_like(state)
        change[:, column] = h
        ends = [witness(robot, *(state + way * change).split([robot.nq, robot.nd], dim=1)) for way in (1, -1)]
        slope = (seeds.numpy() * (ends[0] - ends[1])).sum(1) / (2 * h)
        np.testing.assert_allclose(found[:, column], slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("robot", ["free"], indirect=True)
def test_far_from_the_origin_velocities_keep_their_digits(robot):
    q, qd, _ = trees.state(robot, N, seed=3, scale=0.4)
    near = Sensors(robot, PLACES)(q.float(), qd.float())
    away = torch.tensor([100.0, -50.0, 0.0]).expand(N, 3)
    q, qd = q.clone(), qd.clone()
    q[:, :3] += away
    qd[:, 3:6] -= torch.linalg.cross(qd[:, :3], away.to(qd))
    far = Sensors(robot, PLACES)(q.float(), qd.float())
    torch.testing.assert_close(far[0][:, :9], near[0][:, :9], atol=2e-4, rtol=0)
    torch.testing.assert_close(far[2], near[2], atol=2e-4, rtol=0)


def test_a_state_of_another_shape_is_refused(robot):
    with pytest.raises(ValueError, match=r"qd must be a float32 tensor of shape \(2, "):
        Sensors(robot, PLACES)(torch.zeros(2, robot.nq), torch.zeros(2, 1))
