"""Fluids push as MuJoCo's do, at any size and speed. `test_actuation` has gradients by state and by the fluid's constants."""

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.sim import FluidBox, FluidEllipsoid, Joint, Link, Model, Simulator, load_mjcf
from tests.sim import double, mujoco_witness, trees

ENVS = 8
OLD = tuple(map(int, mujoco.__version__.split(".")[:2])) < (4, 0)  # whose Kutta lift vanishes for small shapes
COEFFICIENTS = f'fluidcoef="0.4 0.3 1.2 {0.0 if OLD else 0.9} 0.7"'
GEOMS = {
    "sphere": 'size="0.1"',
    "capsule": 'type="capsule" size="0.03 0.1"',
    "cylinder": 'type="cylinder" size="0.1 0.02"',
    "box": 'type="box" size="0.1 0.05 0.02"',
    "ellipsoid": 'type="ellipsoid" size="0.02 0.05 0.1"',
}


def fins(shape="none", scale=1.0, option='density="900" viscosity="3" wind="0.4 -0.3 0.2"'):
    """A body with a fixed fin, and one on a hinge that has one of each kind of geom; lengths times `scale`."""

    def geom(size):
        head, _, numbers = size.rpartition('size="')
        scaled = " ".join(str(scale * float(x)) for x in numbers.rstrip('"').split())
        return f'<geom {head}size="{scaled}" pos="0 {0.1 * scale} 0" euler="20 30 40" fluidshape="{shape}" {COEFFICIENTS}/>'

    every = "".join(map(geom, GEOMS.values()))
    return f"""<mujoco><option gravity="0 0 -3" {option}/><default><geom contype="0" conaffinity="0"/></default><worldbody>
        <body gravcomp="0.5"><freejoint/>{geom(GEOMS["box"])}<body pos="{0.2 * scale} 0 0" euler="10 20 30">{geom(GEOMS["ellipsoid"])}</body>
        <body pos="0 {0.3 * scale} 0"><joint axis="1 2 3"/>{every}</body></body><body mocap="true">{geom(GEOMS["sphere"])}</body>
        </worldbody></mujoco>"""


def load(tmp_path, text, **options):
    path = tmp_path / "robot.xml"
    path.write_text(text)
    return load_mjcf(path, **options), mujoco.MjModel.from_xml_path(str(path))


def error(found, expected):
    return ((found - expected).norm(dim=1) / expected.norm(dim=1)).max()


@pytest.mark.parametrize("shape", ["none", "ellipsoid"])
@pytest.mark.parametrize(("scale", "speed"), [(1.0, 1.0), (0.02, 1.0), (1.0, 1e-3), (0.02, 1e-3)])
def test_accelerations_equal_mujocos(tmp_path, shape, scale, speed):
    model, witness = load(tmp_path, fins(shape, scale))
    assert [type(part) for part in model.fluid_shapes] == ([FluidBox] * 3 if shape == "none" else [FluidEllipsoid] * 7)
    q, qd, force = trees.state(model, ENVS, seed=0)
    qd, force = speed * qd, speed * 0.01 * scale**3 * force
    expected = mujoco_witness.acceleration(witness, model, q, qd, force)
    assert error(double.acceleration(model, q, qd, force), expected) < 1e-8
    without, _ = load(tmp_path, fins(shape, scale), drop=["fluid"])
    assert not without.fluid_shapes
    assert error(double.acceleration(without, q, qd, force), expected) > 1e-3
    if scale == speed == 1.0:
        compiled = Simulator(model, ENVS, threads=1).acceleration(q.float(), qd.float(), force.float())
        assert error(compiled.double(), expected) < 1e-4


@pytest.mark.parametrize("flags", ['spring="disable"', 'damper="disable"', 'spring="disable" damper="disable"'])
def test_without_springs_and_dampers_mujoco_has_neither_fluid_nor_compensated_weight(tmp_path, flags):
    text = fins().replace("<default>", f"<option><flag {flags}/></option><default>", 1)
    model, witness = load(tmp_path, text)
    q, qd, force = trees.state(model, ENVS, seed=0)
    expected = mujoco_witness.acceleration(witness, model, q, qd, force)
    assert error(double.acceleration(model, q, qd, force), expected) < 1e-8


def test_gradients_at_rest_are_finite(tmp_path):
    """Drag has a corner there, and the direction of the flow is undefined."""
    text = """<mujoco><option density="900" viscosity="2"/><default><geom contype="0" conaffinity="0"/></default><worldbody>
        <body><freejoint/><geom type="ellipsoid" size="0.02 0.1 0.2" fluidshape="ellipsoid"/></body></worldbody></mujoco>"""
    model, _ = load(tmp_path, text)
    model.fluid_shapes.append(FluidBox(0, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3])))
    simulator = Simulator(model, 1, 0.002, 1, 1, threads=1, parameters=["density", "wind"])
    q, qd = (
        torch.tensor(model.start, dtype=torch.float32)[None].requires_grad_(),
        torch.zeros(1, model.nd, requires_grad=True),
    )
    parameters = simulator.default_parameters()[None].requires_grad_()
    total = torch.cat(simulator.step(q, qd, torch.zeros(1, model.nd), parameters=parameters), dim=1).sum()
    grads = torch.autograd.grad(total, (q, qd, parameters))
    assert all(grad.isfinite().all() and grad.abs().max() > 1e-8 for grad in grads)


def test_a_ball_sinks_at_the_speed_of_its_drag(tmp_path):
    """m g = rho A v^2 / 2 for the side of its box; twice the density slows it by the root of two."""
    text = """<mujoco><option density="50"/><worldbody><body><joint type="slide" axis="0 0 1"/>
        <geom size="0.1" density="800" contype="0" conaffinity="0"/></body></worldbody></mujoco>"""
    model, _ = load(tmp_path, text)
    simulator = Simulator(model, 2, threads=1, parameters=["density"])
    q, qd, none = (torch.zeros(2, 1) for _ in range(3))
    for _ in range(240):
        q, qd = simulator.step(q, qd, none, parameters=torch.tensor([[50.0], [100.0]]))
    side = model.fluid_shapes[0].sides[0]
    assert side == pytest.approx(0.1 * np.sqrt(2.4))  # whose inertia is that of the ball
    expected = np.sqrt(2.0 * model.links[0].mass * 9.81 / (torch.tensor([50.0, 100.0]) * side**2))
    torch.testing.assert_close(-qd[:, 0], expected.float(), rtol=1e-3, atol=0.0)


def test_a_robot_without_a_fluid_has_no_constants_of_one():
    link = Link("j", -1, Joint.PRISMATIC, np.array([0.0, 1.0, 0.0]), mass=2.0, inertia=np.eye(3))
    with pytest.raises(ValueError, match="parameters: wind: there is no fluid; <option density="):
        Simulator(Model([link]), 1, parameters=["wind"])
