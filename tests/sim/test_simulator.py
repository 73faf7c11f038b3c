import copy

import numpy as np
import pytest
import torch

from rpo_lightning.sim import Actuator, Joint, Simulator, from_mujoco, to_mujoco
from tests.sim import scenes, trees
from tests.sim.test_actuation import robot as in_a_fluid
from tests.sim.test_dynamics import TREES


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    return trees.load(tmp_path_factory.mktemp("robot"), trees.text(TREES[0], seed=4, ground=True, limits=True))


def step_with_gradients(model, num_envs, threads, state, **options):
    simulator = Simulator(model, num_envs, threads=threads, **options)
    inputs = [t[:num_envs].clone().requires_grad_() for t in state]
    q, qd = simulator.step(*inputs)
    weights = (torch.arange(t.numel()).reshape(t.shape).cos() for t in (q, qd))
    grads = torch.autograd.grad(sum((w * x).sum() for w, x in zip(weights, (q, qd), strict=True)), inputs)
    return [t.detach() for t in (q, qd, *grads)]


def test_threads_change_no_bit(robot):
    state = [t.float() for t in trees.state(robot, 100, seed=1)]
    one = step_with_gradients(robot, 100, 1, state)
    for threads in (2, 3, 16):
        for a, b in zip(one, step_with_gradients(robot, 100, threads, state), strict=True):
            assert torch.equal(a, b)


def test_environments_do_not_see_each_other(robot):
    """Any number of environments, with blocks half full, gives each the same bits."""
    state = [t.float() for t in trees.state(robot, 40, seed=1)]
    everyone = Simulator(robot, 40).step(*state)
    for count in (1, 15, 16, 17, 33):
        some = Simulator(robot, count).step(*(t[:count] for t in state))
        for a, b in zip(everyone, some, strict=True):
            assert torch.equal(a[:count], b)


def test_recording_the_trajectory_changes_no_bit(robot):
    state = [t.float() for t in trees.state(robot, 20, seed=2)]
    simulator = Simulator(robot, 20)
    plain = simulator.step(*state)
    recorded = simulator.step(state[0].clone().requires_grad_(), *state[1:])
    assert torch.equal(plain[0], recorded[0])
    assert torch.equal(plain[1], recorded[1])


def test_the_engine_keeps_its_digits_far_from_the_origin(robot):
    """Moving the robot 140 m along the ground changes its motion by no more than the rounding of its position does."""
    state = [t.float() for t in trees.state(robot, 16, seed=3, scale=0.5)]
    near = step_with_gradients(robot, 16, 1, state)
    assert robot.links[0].joint is Joint.FREE
    away = torch.tensor([128.0, 0.0, -64.0])
    far_state = [t.clone() for t in state]
    far_state[0][:, :3] += away
    # the same motion is another twist about the world origin: v -> v - w x away
    far_state[1][:, 3:6] -= torch.linalg.cross(state[1][:, :3], away.expand(16, 3))
    # and the same force has another torque about it
    far_state[2][:, :3] += torch.linalg.cross(away.expand(16, 3), state[2][:, 3:6])
    q, qd = Simulator(robot, 16, threads=1).step(*far_state)
    back = qd.clone()
    back[:, 3:6] += torch.linalg.cross(qd[:, :3], away.expand(16, 3))
    torch.testing.assert_close(q[:, 3:], near[0][:, 3:], rtol=0, atol=1e-3)
    torch.testing.assert_close(back[:, 6:], near[1][:, 6:], rtol=0, atol=1e-2)


def test_a_mass_matrix_kept_longer_is_another_trajectory(robot):
    state = [t.float() for t in trees.state(robot, 8, seed=5)]
    results = [Simulator(robot, 8, mass_matrix_interval=m).step(*state)[1] for m in (1, 4, 16)]
    assert (results[0] - results[1]).abs().max() > 1e-5
    assert (results[1] - results[2]).abs().max() > 1e-5


def test_step_sizes_share_machine_code(robot):
    state = [t.float() for t in trees.state(robot, 8, seed=5)]
    first = Simulator(robot, 8)
    first.step(*state)
    other = Simulator(robot, 3, dt=0.002, substeps=3, mass_matrix_interval=2)
    other.step(*(t[:3] for t in state))
    assert other._kernels["step"] is first._kernels["step"]


def test_a_model_is_read_when_the_simulator_is_made(robot):
    model = copy.deepcopy(robot)
    state = [t.float() for t in trees.state(robot, 8, seed=5)]
    simulator = Simulator(model, 8)
    model.gravity = np.array([0.0, 5.0, 0.0])
    for a, b in zip(simulator.step(*state), Simulator(robot, 8).step(*state), strict=True):
        assert torch.equal(a, b)


def test_the_digest_knows_everything_that_moves_a_robot(robot):
    twin = copy.deepcopy(robot)
    twin.links[0].name, twin.actuators, twin.start = "other", [Actuator("a", [(0, 1.0)])], robot.start + 1.0
    assert twin.digest() == robot.digest()
    digests = {robot.digest()}
    places = [*((link, name) for link in (0, 1) for name in vars(robot.links[0])), *((-1, name) for name in vars(robot))]
    places += [(2, name) for name in vars(robot.contacts[0])]
    kept = {
        "name",
        "links",
        "contacts",
        "actuators",
        "start",
        "q_start",
        "qd_start",
        "geoms",
        "pairs",
        "tendons",
        "couplings",
        "ties",
        "fluid",
        "fluid_shapes",
    }
    places = [place for place in places if place[1] not in kept]
    for place, name in places:
        changed = copy.deepcopy(robot)
        item = (changed, changed.links[0], changed.links[1], changed.contacts[0])[place + 1]
        old = getattr(item, name)
        if isinstance(old, str):
            new = old + "!"
        elif isinstance(old, tuple):
            new = (-1.0, 1.0)
        elif isinstance(old, list):
            new = old[::-1]
        else:
            new = 0.5 if np.isinf(old).any() else old + 1
        setattr(item, name, new)
        digests.add(changed.digest())
    changed = copy.deepcopy(robot)
    changed.contacts.pop()
    digests.add(changed.digest())
    assert len(digests) == len(places) + 2


def test_the_digest_knows_all_of_a_fluid():
    def fluid(model):
        return [model.fluid, *model.fluid_shapes]

    model = in_a_fluid()
    places = [(i, name) for i, item in enumerate(fluid(model)) for name in vars(item)]
    digests = {model.digest()}
    for i, name in places:
        changed = copy.deepcopy(model)
        old = getattr(fluid(changed)[i], name)
        setattr(fluid(changed)[i], name, (*old[1:], 9.0) if isinstance(old, tuple) else old + 1)
        digests.add(changed.digest())
    assert len(digests) == len(places) + 1


def test_the_digest_knows_all_of_shapes_that_touch():
    model = scenes.scene("box", "hfield", seed=0)
    digests, places = {model.digest()}, 0
    for item in ("geoms", "pairs"):
        for name, old in vars(getattr(model, item)[-1]).items():
            if name not in ("name", "heights"):
                changed = copy.deepcopy(model)
                setattr(getattr(changed, item)[-1], name, old + ("!" if isinstance(old, str) else 1))
                digests.add(changed.digest())
                places += 1
    changed = copy.deepcopy(model)
    changed.geoms[-1].heights = np.zeros((3, 3))
    digests.add(changed.digest())
    assert len(digests) == places + 2
    changed.geoms[-1].heights = np.ones((3, 3))  # heights are an argument of the kernels
    assert changed.digest() in digests


def test_wrong_shapes_are_named(robot):
    simulator = Simulator(robot, 8)
    q, qd, force = (t.float() for t in trees.state(robot, 8, seed=5))
    with pytest.raises(ValueError, match=rf"qd must be a float32 tensor of shape \(8, {robot.nd}\).*float64"):
        simulator.step(q, qd.double(), force)
    with pytest.raises(ValueError, match=r"q must be .* got torch.float32 \(7,"):
        simulator.step(q[:7], qd, force)
    with pytest.raises(ValueError, match="mass_matrix_interval must be in 1 ... substeps=4, got 5"):
        Simulator(robot, 8, substeps=4, mass_matrix_interval=5)
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        Simulator(robot, 0)
    with pytest.raises(ValueError, match="dt must be positive, got nan"):
        Simulator(robot, 8, dt=float("nan"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what a machine without a GPU answers")
def test_a_missing_gpu_is_said_in_one_line(robot):
    with pytest.raises(ValueError, match="no usable CUDA device was found; choose device='cpu'"):
        Simulator(robot, 8, device="cuda")


def test_mujoco_coordinates_and_back(robot):
    q, qd, _ = trees.state(robot, 8, seed=6)
    again = from_mujoco(robot, *to_mujoco(robot, q, qd))
    torch.testing.assert_close(again[0], q)
    torch.testing.assert_close(again[1], qd)


def test_wrong_widths_are_named_by_the_converters(robot):
    with pytest.raises(ValueError, match=rf"coordinates must have shape \(N, {robot.nq}\), got \(2, 3\)"):
        to_mujoco(robot, torch.zeros(2, 3), torch.zeros(2, robot.nd))


def test_gradients_do_not_depend_on_blocks_and_layout(robot):
    state = [t.float() for t in trees.state(robot, 40, seed=1)]
    weights = [torch.randn(40, size, generator=torch.Generator().manual_seed(9)) for size in (robot.nq, robot.nd)]

    def grads(count, inputs):
        inputs = [t[:count].requires_grad_() for t in inputs]
        return torch.autograd.grad(Simulator(robot, count).step(*inputs), inputs, [w[:count] for w in weights])

    everyone = grads(40, [t.clone() for t in state])
    transposed = grads(40, [t.T.contiguous().T.detach() for t in state])
    for a, b in zip(everyone, transposed, strict=True):
        assert torch.equal(a, b)
    for count in (1, 15, 17, 33):
        for a, b in zip(everyone, grads(count, [t.clone() for t in state]), strict=True):
            assert torch.equal(a[:count], b)


def test_cotangents_are_left_alone_and_second_derivatives_refused(robot):
    q, qd, force = (t.float() for t in trees.state(robot, 4, seed=1))
    q.requires_grad_()
    weight = torch.ones_like(qd).requires_grad_()
    (grad,) = torch.autograd.grad(Simulator(robot, 4).step(q, qd, force)[1], q, weight, create_graph=True)
    assert weight.grad is None
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_several_free_robots_in_one_file(tmp_path):
    body = '<body><freejoint/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body>'
    model = trees.load(tmp_path, f"<mujoco><worldbody>{2 * body}</worldbody></mujoco>")
    assert [link.parent for link in model.links] == [-1, -1]
    q = torch.tensor([[0.0, 0, 0, 0, 0, 0, 1, 20.0, 0, 0, 0, 0, 0, 1]])
    qdd = Simulator(model, 1).acceleration(q, torch.zeros(1, 12), torch.zeros(1, 12))
    torch.testing.assert_close(qdd[0, [5, 11]], torch.full((2,), -9.81), rtol=1e-4, atol=0)
