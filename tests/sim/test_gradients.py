"""The compiled adjoints against central differences of the compiled kernels, in contact and beyond limits."""

import pytest
import torch

from rpo_lightning.sim import Simulator
from tests.sim import double, trees
from tests.sim.test_dynamics import TREES

ENVS = 8


def scenario(tmp_path, kinds, seed):
    """A robot some of whose spheres are in the ground, with joints beyond their limits."""
    model = trees.load(tmp_path, trees.text(kinds, seed=seed, ground=True, limits=True))
    model.ground = 0.2
    q, qd, force = (t.float() for t in trees.state(model, ENVS, seed=seed + 1, scale=0.7))
    return model, q, qd, force


def moved(tensors, index, by):
    return [t + by if i == index else t for i, t in enumerate(tensors)]


@pytest.mark.parametrize("kinds", TREES, ids=" ".join)
@pytest.mark.parametrize(("substeps", "interval"), [(1, 1), (6, 2), (8, 8)])
def test_step_equals_central_differences(tmp_path, kinds, substeps, interval):
    model, *state = scenario(tmp_path, kinds, seed=11)
    assert model.contacts
    simulator = Simulator(model, ENVS, dt=0.002 * substeps, substeps=substeps, mass_matrix_interval=interval, threads=1)
    generator = torch.Generator().manual_seed(0)
    # weights of the result and directions of the inputs: one number per environment to compare
    weights = [torch.randn(ENVS, size, generator=generator) for size in (model.nq, model.nd)]
    directions = [torch.randn(t.shape, generator=generator) for t in state]

    def value(inputs):
        out = simulator.step(*inputs)
        return sum((w * x).double().sum(1) for w, x in zip(weights, out, strict=True))

    inputs = [t.clone().requires_grad_() for t in state]
    grads = torch.autograd.grad(value(inputs).sum(), inputs)
    for name, grad, direction, index in zip(("q", "qd", "force"), grads, directions, range(3), strict=True):
        exact = (grad * direction).double().sum(1)
        scale = (grad.norm(dim=1) * direction.norm(dim=1)).double()
        errors = []
        for eps in (3e-2, 1e-2, 3e-3, 1e-3, 3e-4):
            shifted = [moved(state, index, s * eps * direction) for s in (1.0, -1.0)]
            with torch.no_grad():
                errors.append((value(shifted[0]) - value(shifted[1])) / (2 * eps) - exact)
        # at each environment the best step size, between rounding and the next contact's onset
        error = torch.stack(errors).abs().amin(0) / scale
        assert error.max() < 1e-2, f"d/d{name}: {error.tolist()}"
        assert scale.min() > 0


@pytest.mark.parametrize("kinds", TREES[:3], ids=" ".join)
def test_acceleration_equals_central_differences_in_double_precision(tmp_path, kinds):
    model, *state = scenario(tmp_path, kinds, seed=21)
    simulator = Simulator(model, ENVS, threads=1)
    weight = torch.randn(ENVS, model.nd, generator=torch.Generator().manual_seed(1))
    inputs = [t.clone().requires_grad_() for t in state]
    grads = torch.autograd.grad((weight * simulator.acceleration(*inputs)).sum(), inputs)
    for index, grad in enumerate(grads):
        direction = torch.randn(grad.shape, generator=torch.Generator().manual_seed(2 + index)).double()
        ends = []
        for sign in (1.0, -1.0):
            ends_at = moved([t.double() for t in state], index, sign * 1e-6 * direction)
            ends.append((weight * double.acceleration(model, *ends_at)).sum(1))
        expected = (ends[0] - ends[1]) / 2e-6
        error = (grad.double() * direction).sum(1) - expected
        assert (error.abs() / (grad.norm(dim=1) * direction.norm(dim=1))).max() < 1e-3


def test_contact_and_limits_are_really_active(tmp_path):
    model, q, qd, force = scenario(tmp_path, TREES[0], seed=11)
    simulator = Simulator(model, ENVS, threads=1)
    active = simulator.acceleration(q, qd, force)
    model.ground = -50.0
    lifted = Simulator(model, ENVS, threads=1).acceleration(q, qd, force)
    assert ((active - lifted).norm(dim=1) > 1e-2).sum() >= ENVS // 2
    for link in model.links:
        link.lower, link.upper = -50.0, 50.0
    free = Simulator(model, ENVS, threads=1).acceleration(q, qd, force)
    assert ((lifted - free).norm(dim=1) > 1e-2).sum() >= ENVS // 2
