"""Small files that once were refused, misread or useless: each loads with its right value, or says at once what is to be done."""

import re

import mujoco
import pytest
import torch

from rpo_lightning.sim import load_mjcf
from tests.sim import double, mujoco_witness, trees

CONTACT, LIMIT = {"contact": (900, 50, 20, 0.5)}, {"limit": (70, 3)}
ROD = '<geom name="rod" type="capsule" fromto="0 0 0 0 0 -.3" size=".03"/>'
FLOOR = '<geom name="floor" type="plane" size="5 5 .1"/>'


def arm(joint="", geoms=ROD, actuator="", world=""):
    return (
        f'<mujoco><compiler angle="radian" autolimits="true"/><worldbody>{world}<body name="b" pos="0 0 1"><joint name="j" {joint}/>{geoms}'
        f"</body></worldbody><actuator>{actuator}</actuator></mujoco>"
    )


HINGE = 'axis="0 1 0"'
# name -> text, options without which it says what is missing, (motors, contact points, pairs)
LOADED = {
    "actfrc": (arm(f'{HINGE} actuatorfrcrange="-20 20"', actuator='<motor joint="j"/>'), {}, (1, 0, 0)),
    "actfrc50": (arm(f'{HINGE} actuatorfrcrange="-20 20"', actuator='<motor joint="j" gear="50"/>'), {}, (1, 0, 0)),
    "balllimit": (arm('type="ball" range="0 1"'), LIMIT, (0, 0, 0)),
    "ballmotor": (arm('type="ball"', actuator='<motor joint="j" gear="1 0 0"/>'), {}, (1, 0, 0)),
    "box_ground": (
        '<mujoco><worldbody><geom name="ground" type="box" size="5 5 .1"/><body pos="0 0 1"><freejoint/><geom size=".1"/></body>'
        "</worldbody></mujoco>",
        CONTACT,
        (0, 0, 1),
    ),
    "damper": (
        arm(HINGE, actuator='<motor joint="j" gear="10"/><damper joint="j" kv="5" ctrlrange="0 1"/>'),
        {},
        (2, 0, 0),
    ),
    "fall": (
        '<mujoco><worldbody><body name="trunk"><freejoint/><geom type="box" size=".1 .1 .05" mass="1"/><body name="leg" pos=".1 0 0">'
        f'<joint name="j" {HINGE}/><geom type="capsule" fromto="0 0 0 0 0 -.2" size=".02" mass=".2"/></body></body></worldbody></mujoco>',
        {},
        (0, 0, 0),
    ),
    "feetgone": (
        f'<mujoco><worldbody>{FLOOR}<body name="shin" pos="0 0 1"><freejoint/><geom type="cylinder" size=".02 .1"/>'
        '<geom name="foot" type="ellipsoid" size=".05 .02 .02" pos="0 0 -.1"/></body></worldbody></mujoco>',
        CONTACT,
        (0, 0, 2),
    ),
    "fixed_base": (
        '<mujoco><worldbody><body name="base"><geom name="basegeom" type="box" size=".1 .1 .1"/><body name="b" pos="0 0 .2">'
        f'<joint name="j" {HINGE}/><geom name="rod" type="capsule" fromto="0 0 0 0 0 .3" size=".03"/></body></body></worldbody></mujoco>',
        {},
        (0, 0, 0),
    ),
    "frictionloss": (arm(f'{HINGE} frictionloss=".2"'), {}, (0, 0, 0)),
    "geom": (
        arm(HINGE, '<geom name="c1" type="cylinder" size=".05 .1"/><geom type="ellipsoid" size=".1 .1 .1"/>', world=FLOOR),
        CONTACT,
        (0, 0, 2),
    ),
    "limit": (arm(f'{HINGE} range="-1 1"'), LIMIT, (0, 0, 0)),
    "margin": (arm(HINGE, '<geom name="s" size=".1" margin="0.02"/>', world=FLOOR), CONTACT, (0, 1, 0)),
    "mirror_two_trees": (
        f'<mujoco><worldbody>{FLOOR}<body name="b" pos="0 0 1"><freejoint/><geom size=".1"/></body><body name="c" pos="0 0 2"><freejoint/>'
        '<geom size=".1"/></body></worldbody></mujoco>',
        CONTACT,
        (0, 2, 1),
    ),
    "motor_ctrlrange_lopsided": (arm(HINGE, actuator='<motor joint="j" gear="10" ctrlrange="0 12"/>'), {}, (1, 0, 0)),
    "motor_norange_force": (arm(HINGE, actuator='<motor joint="j" gear="10" forcerange="-3 3"/>'), {}, (1, 0, 0)),
    "no_plane": (arm('type="free"'), {}, (0, 0, 0)),
    "position": (arm(HINGE, actuator='<position joint="j" kp="50" kv="2"/>'), {}, (1, 0, 0)),
    "thrown": (
        '<mujoco><worldbody><body name="box"><freejoint/><geom type="box" size=".2 .1 .05" mass="10"/></body></worldbody></mujoco>',
        {},
        (0, 0, 0),
    ),
    "twomotors": (arm(HINGE, actuator='<motor joint="j" gear="10"/><motor joint="j" gear="5"/>'), {}, (2, 0, 0)),
    "velocity": (arm(HINGE, actuator='<velocity joint="j" kv="2"/>'), {}, (1, 0, 0)),
}
REFUSED = {
    "intvelocity": (
        arm(HINGE, actuator='<intvelocity joint="j" kp="20" actrange="-1 1"/>'),
        "(1: actuator number 0 (activation dynamics integrator))",
    ),
    "motor_filter": (
        arm(HINGE, actuator='<general joint="j" dyntype="filter" dynprm=".1" gainprm="5"/>'),
        "(1: actuator number 0 (activation dynamics filter))",
    ),
    "massless": (
        f'<mujoco><worldbody><body name="b"><joint name="j" {HINGE}/><inertial mass="0" pos="0 0 0" diaginertia="0 0 0"/><body pos="0 0 .3">'
        '<joint axis="1 0 0"/><geom size=".1"/></body></body></worldbody></mujoco>',
        "MuJoCo cannot read it: Error: mass and inertia of moving bodies must be larger than",
    ),
}


@pytest.mark.parametrize("name", LOADED)
def test_it_loads_and_moves_as_in_mujoco(tmp_path, name):
    text, options, expected = LOADED[name]
    path = tmp_path / "robot.xml"
    path.write_text(text)
    for key in options:
        with pytest.raises(
            ValueError, match=rf"(?s){key}: there are no constants, .*Change the file, or load it with .*: {key}=\("
        ):
            load_mjcf(path)
    model = load_mjcf(path, **options)
    assert tuple(map(len, (model.actuators, model.contacts, model.pairs))) == expected
    model.contacts, model.geoms, model.pairs = [], [], []
    for link in model.links:
        link.limit_ke = link.limit_kd = link.frictionloss = 0.0
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(path)))
    q, qd, force = trees.state(model, 4, seed=1)
    control = torch.rand(4, len(model.actuators), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    acceleration = mujoco_witness.acceleration(witness, model, q, qd, force, control)
    exact = double.acceleration(model, q, qd, force, control)
    torch.testing.assert_close(exact, acceleration, rtol=1e-8, atol=1e-8 * acceleration.abs().max().item())


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_reason(tmp_path, name):
    text, reason = REFUSED[name]
    path = tmp_path / "robot.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_mjcf(path)


def test_a_margin_is_a_larger_radius_and_friction_loss_a_constant(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(LOADED["margin"][0])
    assert [contact.radius for contact in load_mjcf(path, **CONTACT).contacts] == [pytest.approx(0.12)]
    path.write_text(LOADED["frictionloss"][0])
    assert [link.frictionloss for link in load_mjcf(path).links] == [0.2]
    path.write_text(LOADED["balllimit"][0])
    assert [link.upper for link in load_mjcf(path, **LIMIT).links] == [1.0]
