"""Vectors about the world's origin: the same physics near it, and in float32 none far from it, as in the reference."""

import copy

import pytest
import torch

from rpo_lightning.sim import Simulator, dynamics, factorization, kinematics, world_origin
from tests.sim import double, trees

FALLING = """<mujoco><option gravity="0 -9.81 0"/><worldbody><body><freejoint/>
  <inertial pos="0 0 0" mass="20" diaginertia="1 1 1"/>
  <body pos="0.3 0 0"><joint axis="0 0 1" damping="0.1"/><inertial pos="0.1 0 0" mass="0.5" diaginertia=".001 .001 .001"/></body>
  </body></worldbody></mujoco>"""


def both(model):
    """The robot as it is, and with its vectors about the world's origin."""
    other = copy.deepcopy(model)
    other.reference_point = "world"
    return {"robot": model, "world": other}


def reference(tmp_path, xml):
    """A robot that has the rest of the reference's physics."""
    model = trees.load(tmp_path, xml)
    model.free_velocity, model.damping = "world", "explicit"
    return model


def test_the_matrix_and_its_solution_are_the_same(tmp_path):
    models = both(reference(tmp_path, trees.text(["free", "hinge", "ball", "slide", "hinge"], seed=4)))
    q, _, rhs = (t[0].tolist() for t in trees.state(models["world"], 1, seed=2))
    solved = {}
    for name, model in models.items():
        factor, solve = factorization.method(model)
        matrix = dynamics.mass_matrix(model, q, kinematics.reference_point(model, q))
        solved[name] = torch.tensor(solve(factor(factorization.augmented(model, matrix, {})), rhs), dtype=torch.float64)
    assert factorization.method(models["world"]) == (world_origin.cholesky, world_origin.cholesky_solve)
    torch.testing.assert_close(solved["world"], solved["robot"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kept", ["world", "body"])
def test_near_the_origin_steps_and_gradients_are_the_same(tmp_path, kept):
    model = reference(tmp_path, trees.text(["free", "hinge", "hinge"], seed=3, ground=True, limits=True))
    model.free_velocity = kept
    found = {}
    for name, each in both(model).items():
        q, qd, force = (t.float().requires_grad_() for t in trees.state(each, 18, seed=2, scale=0.4))
        new = torch.cat(Simulator(each, 18, 0.02, 8, 4, threads=1).step(q, qd, force), 1)
        weights = torch.randn(new.shape, generator=torch.Generator().manual_seed(0))
        found[name] = new.detach(), *torch.autograd.grad((weights * new).sum(), (q, qd, force))
    expected = double.step(both(model)["world"], q.detach(), qd.detach(), force.detach(), 0.02, 8, 4)
    torch.testing.assert_close(found["world"][0].double(), expected, rtol=2e-4, atol=2e-4)
    for one, two in zip(found["world"][1:], found["robot"][1:], strict=True):
        # but for the entries of a quaternion, whose length means something else about another point
        part = slice(7, None) if one.shape[1] == model.nq else slice(None)
        torch.testing.assert_close(one[:, part], two[:, part], rtol=2e-3, atol=2e-3)


def test_what_falls_far_away_keeps_its_digits_about_the_robot_alone(tmp_path):
    """All parts fall alike, so that nothing turns and the hinge rests: in closed form, at any distance."""
    errors = {}
    for name, model in both(reference(tmp_path, FALLING)).items():
        q = torch.full((3, 8), 0.4)
        q[:, :3] = torch.tensor([0.0, 100.0, 1000.0])[:, None] * torch.tensor([0.83, 0.31, -0.47])
        q[:, 3:7] = torch.nn.functional.normalize(torch.tensor([0.1, -0.2, 0.3, 0.9]), dim=0)
        qdd = Simulator(model, 3, threads=1).acceleration(q, torch.zeros(3, 7), torch.zeros(3, 7))
        errors[name] = qdd[:, [0, 1, 2, 6]].abs().nan_to_num(torch.inf).amax(1).tolist()
    assert max(errors["robot"]) < 3e-4
    assert errors["world"][0] < 3e-4
    assert errors["world"][1] > 3e-3
    assert errors["world"][2] == torch.inf  # the matrix is no longer positive
