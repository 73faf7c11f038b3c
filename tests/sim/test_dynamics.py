"""The physics against an independent witness (MuJoCo) and the compiled kernels against the physics in double precision."""

import math

import mujoco
import numpy as np
import pytest
import torch
import warp as wp

from rpo_lightning.sim import Simulator, dynamics, kernels, kinematics, prelude
from rpo_lightning.sim.composite import composite_mass_matrix
from tests.sim import double, mujoco_witness, trees

TREES = [
    ["free", "hinge", "slide", "ball"],
    ["hinge", "hinge", "two hinges", "fixed", "ball", "slide"],
    ["ball", "fixed", "hinge", "ball"],
    ["free", "ball", "fixed", "two hinges", "hinge", "slide"],
    ["slide", "ball", "hinge"],
    ["fixed", "hinge", "hinge"],
]


@pytest.mark.parametrize("kinds", TREES, ids=" ".join)
@pytest.mark.parametrize("gravity", ["0 -9.81 0", "1 2 -9"])
def test_accelerations_equal_mujocos(tmp_path, kinds, gravity):
    xml = trees.text(kinds, seed=len(kinds), gravity=gravity)
    model = trees.load(tmp_path, xml)
    q, qd, force = trees.state(model, 8, seed=1)
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_string(xml))
    expected = mujoco_witness.acceleration(witness, model, q, qd, force)
    exact = double.acceleration(model, q, qd, force)
    torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())
    compiled = Simulator(model, 8, threads=1).acceleration(q.float(), qd.float(), force.float()).double()
    error = (compiled - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-4


@pytest.mark.parametrize("kinds", TREES[:3], ids=" ".join)
def test_a_step_equals_double_precision(tmp_path, kinds):
    model = trees.load(tmp_path, trees.text(kinds, seed=3, ground=True, limits=True))
    assert model.contacts
    q, qd, force = trees.state(model, 18, seed=2, scale=0.4)
    new_q, new_qd = Simulator(model, 18, 0.02, 8, 3, threads=1).step(q.float(), qd.float(), force.float())
    expected = double.step(model, q, qd, force, 0.02, 8, 3)
    torch.testing.assert_close(torch.cat([new_q, new_qd], 1).double(), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kinds", TREES, ids=" ".join)
def test_composite_bodies_have_the_mass_matrix_that_is_summed_over_links(kinds, tmp_path):
    model = trees.load(tmp_path, trees.text(kinds, seed=6))
    q = trees.state(model, 1, seed=1)[0][0].tolist()
    frames = kinematics.kinematics(model, q, kinematics.reference_point(model, q))
    columns = [dynamics._own_columns(frame) for frame in frames]
    summed = dynamics._summed_mass_matrix(model, frames)
    composite = composite_mass_matrix(model, [f.position for f in frames], [f.rotation for f in frames], columns)
    assert summed.keys() == composite.keys()
    for entry, value in summed.items():
        assert composite[entry] == pytest.approx(value, rel=1e-12, abs=1e-12)


def energy(model, q, qd):
    """Kinetic and potential energy of every environment, double precision."""
    out = []
    for a, b in zip(q.double().tolist(), qd.double().tolist(), strict=True):
        origin = np.zeros(3, dtype=object)
        b = dynamics.inner_rates(model, a, b, origin)
        mass = dynamics.mass_matrix(model, a, origin)
        frames = kinematics.kinematics(model, a, origin)
        kinetic = sum((1.0 if i == j else 2.0) * 0.5 * value * b[i] * b[j] for (i, j), value in mass.items())
        com = [
            frame.position + frame.rotation @ link.com.astype(object)
            for link, frame in zip(model.links, frames, strict=True)
        ]
        out.append(kinetic - sum(link.mass * (x @ model.gravity) for link, x in zip(model.links, com, strict=True)))
    return torch.tensor(out)


def test_energy_is_kept_without_losses(tmp_path):
    xml = trees.text(["free", "ball", "hinge"], seed=5).replace("damping", "margin").replace("stiffness", "group")
    for word in ('margin="0.2"', 'margin="0.3"', 'group="4"', 'springref="0.2"', 'armature="0.02"', 'armature="0.03"'):
        xml = xml.replace(word, "")
    model = trees.load(tmp_path, xml)
    q, qd, _ = (t.float() for t in trees.state(model, 4, seed=6))
    simulator = Simulator(model, 4, dt=0.02, substeps=200, mass_matrix_interval=1, threads=1)
    before = energy(model, q, qd)
    for _ in range(10):
        q, qd = simulator.step(q, qd, torch.zeros_like(qd))
    torch.testing.assert_close(energy(model, q, qd), before, rtol=5e-3, atol=5e-3)


def test_a_falling_sphere_follows_the_contact_law(tmp_path):
    xml = """<mujoco><option gravity="0 0 -9.81"/><custom><numeric name="contact" data="900 50 20 0.5"/></custom><worldbody>
      <geom type="plane" size="1 1 1"/><body><freejoint/><inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>
      <geom size="0.1"/></body></worldbody></mujoco>"""
    model = trees.load(tmp_path, xml)
    z, u, slide = 0.07, -0.4, torch.tensor([0.3, 0.0, 5.0])
    q = torch.tensor([[0.0, 0.0, z, 0, 0, 0, 1]]).repeat(3, 1)
    qd = torch.zeros(3, 6)
    qd[:, 3], qd[:, 5] = slide, u
    depth = 0.1 - z
    normal = 900 * depth + 50 * depth * -u
    friction = torch.minimum(20 * slide, torch.tensor(0.5 * 900 * depth))
    qdd = Simulator(model, 3, threads=1).acceleration(q, qd, torch.zeros(3, 6))
    torch.testing.assert_close(qdd[:, 5], torch.full((3,), normal / 2.0 - 9.81), rtol=1e-5, atol=1e-4)
    # the force acts 0.1 + depth / 2 ... at the lowest point, 0.1 below the centre: it turns the sphere as well
    torch.testing.assert_close(qdd[:, 3] + qdd[:, 1] * z, -friction / 2.0, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(qdd[:, 1], friction * 0.1, rtol=1e-4, atol=1e-5)
    separating = qd.clone()
    separating[:, 5] = 0.4
    qdd = Simulator(model, 3, threads=1).acceleration(q, separating, torch.zeros(3, 6))
    torch.testing.assert_close(qdd[:, 5], torch.full((3,), 900 * depth / 2.0 - 9.81), rtol=1e-5, atol=1e-4)


def test_a_slope_is_as_high_far_away(tmp_path):
    xml = """<mujoco><option gravity="0 0 -9.81"/><custom><numeric name="contact" data="900 50 20 0.5"/></custom><worldbody>
      <geom type="plane" size="1 1 1" zaxis="0.3 0.2 1"/><body><freejoint/>
      <inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/><geom size="0.1"/></body></worldbody></mujoco>"""
    model = trees.load(tmp_path, xml)
    down = torch.linalg.cross(torch.tensor(model.up), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)).float()
    q = torch.zeros(9, 7)
    q[:, :3] = 0.07 * torch.tensor(model.up) + torch.linspace(0.0, 40.0, 9)[:, None] * down
    q[:, 6] = 1.0
    qdd = Simulator(model, 9, threads=1).acceleration(q, torch.zeros(9, 6), torch.zeros(9, 6))
    up = torch.tensor(model.up).float()
    body = qdd[:, 3:] + torch.linalg.cross(qdd[:, :3], q[:, :3])
    expected = (900 * 0.03 / 2.0) + up @ torch.tensor([0.0, 0.0, -9.81])
    torch.testing.assert_close(body @ up, expected.expand(9), rtol=1e-3, atol=0)


def test_digits_survive_height(tmp_path):
    xml = """<mujoco><worldbody><body><freejoint/><geom type="box" size=".1 .1 .05" mass="1"/>
      <body pos=".1 0 0"><joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 -.2" size=".02" mass=".2"/></body>
      </body></worldbody></mujoco>"""
    model = trees.load(tmp_path, xml)
    q = torch.zeros(5, model.nq)
    q[:, 2], q[:, 6] = torch.tensor([0.0, 30.0, 100.0, 300.0, 1000.0]), 1.0
    force = torch.zeros(5, model.nd)
    force[:, 6] = 0.1
    compiled = Simulator(model, 5, threads=1).acceleration(q, torch.zeros(5, model.nd), force)[:, 6]
    exact = double.acceleration(model, q, torch.zeros(5, model.nd), force)[:, 6]
    torch.testing.assert_close(compiled.double(), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("function", ["sine", "cosine"])
def test_sine_and_cosine_of_many_turns(function):
    body = f"lane x[1], y[1]; load(x, q_in.data, 1); y[0] = {function}(x[0]); store(y, out.data, 1);"
    x = torch.linspace(-600.0, 600.0, 20001)
    y = torch.zeros_like(x)
    arrays = [wp.from_torch(t) for t in (x, x, x, x, x, x, y)]
    kernel = kernels.build("acceleration", prelude.PRELUDE + body)
    wp.launch(kernel, dim=math.ceil(len(x) / prelude.LANES["cpu"]), inputs=[*arrays, len(x), 0, 1], device="cpu")
    expected = {"sine": torch.sin, "cosine": torch.cos}[function](x.double())
    assert (y - expected).abs().max() < 3e-7


THROWN = """<mujoco><option gravity="0 0 -9.81"/><worldbody><body name="box"><freejoint/>
  <geom type="box" size=".2 .1 .05" mass="10"/></body></worldbody></mujoco>"""


@pytest.mark.parametrize(("kept", "spins"), [("body", (0.0, 0.0)), ("world", (0.09, 0.81))])
def test_a_thrown_body_does_not_spin(tmp_path, kept, spins):
    """A mass matrix kept for a step holds for a body that has moved on; the reference's does not."""
    xml = THROWN.replace("<worldbody>", f'<custom><text name="free_velocity" data="{kept}"/></custom><worldbody>')
    model = trees.load(tmp_path, xml)
    q, qd = torch.zeros(1, 7), torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    q[:, 6] = 1.0
    simulator = Simulator(model, 1, dt=1 / 60, substeps=16, mass_matrix_interval=16)
    for step in range(10):
        q, qd = simulator.step(q, qd, torch.zeros(1, 6))
        if step in (0, 9):
            assert qd[0, :3].norm().item() == pytest.approx(spins[step == 9], abs=1e-6 if kept == "body" else 0.01)
    if kept == "body":
        assert q[0, 0].item() == pytest.approx(10 / 60, rel=1e-5)


@pytest.mark.parametrize("kept", ["body", "world"])
def test_a_force_on_a_free_body_acts_about_the_world_origin(tmp_path, kept):
    """Also far away, where the equations are taken about another point."""
    xml = THROWN.replace("<worldbody>", f'<custom><text name="free_velocity" data="{kept}"/></custom><worldbody>')
    model = trees.load(tmp_path, xml)
    q = torch.tensor([[30.0, -20.0, 10.0, 0.0, 0.0, 0.0, 1.0]])
    push = torch.tensor([[1.0, 2.0, 103.1]])
    force = torch.cat([torch.linalg.cross(q[:, :3], push), push], dim=1)  # through the centre of mass: no turn
    qdd = Simulator(model, 1).acceleration(q, torch.zeros(1, 6), force)
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.1, 0.2, 0.5]])
    torch.testing.assert_close(qdd, expected, rtol=0, atol=2e-2)


def test_a_file_says_what_a_free_joint_is_solved_for(tmp_path):
    assert trees.load(tmp_path, THROWN).free_velocity == "body"
    xml = THROWN.replace("<worldbody>", '<custom><text name="free_velocity" data="planet"/></custom><worldbody>')
    with pytest.raises(ValueError, match="free_velocity must be 'body' or 'world', got 'planet'"):
        trees.load(tmp_path, xml)


def test_a_spinning_ball_keeps_its_speed(tmp_path):
    """Spin across the velocity turns the velocity of the point at the world's origin, which Euler's steps would let grow."""
    model = trees.load(tmp_path, THROWN.replace("0 0 -9.81", "0 0 0").replace('type="box" size=".2 .1 .05"', 'size=".1"'))
    q, qd = torch.zeros(1, 7), torch.tensor([[0.0, 10.0, 0.0, 1.0, 0.0, 0.0]])
    q[:, 6] = 1.0
    simulator = Simulator(model, 1, dt=1 / 30, substeps=16, mass_matrix_interval=16)
    for _ in range(90):
        q, qd = simulator.step(q, qd, torch.zeros(1, 6))
    speed = qd[0, 3:] + torch.linalg.cross(qd[0, :3], q[0, :3])
    torch.testing.assert_close(speed, torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(q[0, :3], torch.tensor([3.0, 0.0, 0.0]), rtol=0, atol=1e-3)


def test_angle_of_a_point_in_the_first_quadrant():
    body = "lane x[1], y[1]; load(x, q_in.data, 1); load(y, qd_in.data, 1); y[0] = angle(y[0], x[0]); store(y, out.data, 1);"
    turned = torch.linspace(0.0, math.pi / 2, 4001, dtype=torch.float64)
    size = torch.logspace(-6.0, 3.0, 4001, dtype=torch.float64)[torch.randperm(4001)]
    x, y = (size * torch.cos(turned)).clamp(min=0.0).float(), (size * torch.sin(turned)).float()
    out = torch.zeros_like(x)
    kernel = kernels.build("acceleration", prelude.PRELUDE + body)
    arrays = [wp.from_torch(t) for t in (x, y, x, x, x, x, out)]
    wp.launch(kernel, dim=math.ceil(len(x) / prelude.LANES["cpu"]), inputs=[*arrays, len(x), 0, 1], device="cpu")
    torch.testing.assert_close(out.double(), torch.atan2(y.double(), x.double()), rtol=3e-7, atol=1e-9)
