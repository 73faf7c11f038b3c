"""What is said of robots that load and would do little; and URDF files."""

import logging
import re
from pathlib import Path

import mujoco
import pytest
import torch

from rpo_lightning.sim import Joint, load_mjcf
from tests.sim import double, mujoco_witness, trees
from tests.sim.test_mjcf import CONTACT, PLANE, body, load

FREE, MOTOR = '<freejoint name="f"/>', '<actuator><motor name="m" joint="j" gear="5"/></actuator>'
LEG = '<geom size="0.1" contype="0" conaffinity="{}"/><body name="leg" pos="0 0 -.1"><joint name="j"/><geom name="g" size="0.1" contype="0" conaffinity="{}"/></body>'
FLOOR = PLANE.replace("/>", ' contype="1" conaffinity="0"/>')


def said(caplog, tmp_path, world, rest="", **options):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        load(tmp_path, world, rest, **options)
    messages = [record.getMessage() for record in caplog.records]
    assert all(message.startswith(f"{tmp_path / 'robot.xml'}: ") and "\n" not in message for message in messages)
    return [message.partition(": ")[2] for message in messages]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


def test_a_robot_that_stands_and_is_driven_needs_no_word(tmp_path, caplog):
    assert said(caplog, tmp_path, FLOOR + body(FREE + LEG.format(1, 1)), CONTACT + MOTOR) == []
    assert said(caplog, tmp_path, body(FREE + LEG.format(1, 1)), CONTACT + MOTOR + '<option gravity="0 0 0"/>') == []


def test_a_robot_that_falls_for_ever(tmp_path, caplog):
    (line,) = said(caplog, tmp_path, body(FREE + LEG.format(1, 1)), CONTACT + MOTOR)
    assert line == (
        'f falls for ever: there is no ground; add <geom type="plane" size="0 0 1"/> to the worldbody, or load the scene that '
        "includes this file"
    )
    (line,) = said(caplog, tmp_path, FLOOR + body(FREE + LEG.format(0, 0)), CONTACT + MOTOR)
    assert line == "f falls for ever: no geom of it may touch anything fixed; mind contype and conaffinity"


def test_what_dropping_loses_is_said_where_nothing_is_left_to_stand_on(tmp_path, caplog):
    post = '<geom name="post" type="cylinder" size="1 1"/>'
    foot, drop = '<geom name="foot" type="cylinder" size=".05 .02"/>', {"drop": ["pair-kind"]}
    world = post + body('<joint name="j"/>' + foot)
    (line,) = said(caplog, tmp_path, world, CONTACT + MOTOR, **drop)
    assert line == (
        "with drop=['pair-kind'] nothing is left that the robot could stand on or bump into; in MuJoCo geom 'foot' of body "
        "number 1 would touch its surroundings"
    )
    assert said(caplog, tmp_path, post + PLANE + body('<joint name="j"/>' + foot), CONTACT + MOTOR, **drop) == []


POST, BALL = '<geom name="post" type="cylinder" size="1 1"/>', '<geom name="ball" size="1"/>'
MESH = '<asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset>'


@pytest.mark.parametrize(
    ("world", "rest", "named"),
    [
        (
            POST + FLOOR,
            '<geom name="foot" type="cylinder" size=".05 .02"/>',
            "geom 'post' of body 'world' (cylinder) with geom 'foot'",
        ),
        (BALL + FLOOR, '<geom name="foot" type="mesh" mesh="m"/>', "geom 'ball' of body 'world' (sphere) with geom 'foot'"),
    ],
)
def test_shapes_that_pass_through_each_other_are_named_and_the_rest_touches(tmp_path, caplog, world, rest, named):
    world += body('<joint name="j"/>' + rest)
    (line,) = said(caplog, tmp_path, world, CONTACT + MOTOR + MESH)
    assert line.startswith("shapes of two such kinds pass through each other here, in MuJoCo they touch (1: " + named)
    assert said(caplog, tmp_path, world, CONTACT + MOTOR + MESH, drop=["pair-kind"]) == []


def test_a_robot_that_nothing_drives(tmp_path, caplog):
    (line,) = said(caplog, tmp_path, body())
    assert line == (
        "it has no actuator, so that actions do nothing; add an <actuator> with a <motor> or <position> for each joint"
    )
    muscle = '<actuator><muscle joint="j" lengthrange="0 1"/></actuator>'
    (line,) = said(caplog, tmp_path, body(), muscle, drop=["actuator"])
    assert line == "no motor is left: with drop=['actuator'] none of its 1 actuators acts"


@pytest.mark.parametrize(
    ("joint", "motor", "most"),
    [
        ('actuatorfrcrange="-20 20"', "", 20),
        ("", 'forcerange="-7 3"', 7),
        ('actuatorfrcrange="-20 20"', 'gear="5"', None),
        ('actuatorfrcrange="-20 20"', 'ctrlrange="-20 20"', None),
        ('actuatorfrcrange="-1 1"', "", None),
        ("", "", None),
    ],
)
def test_a_motor_of_one_newton_metre_on_a_joint_that_takes_more(tmp_path, caplog, joint, motor, most):
    world, rest = body(f'<joint name="j" {joint}/>'), f'<actuator><motor name="m" joint="j" {motor}/></actuator>'
    lines = said(caplog, tmp_path, world, rest)
    expected = f"a unit of action is 1 N m for m, though their joints take up to {most}: say ctrlrange or gear where the actuator is defined"
    assert lines == ([expected] if most else [])


URDF = """<robot name="r">{}<link name="trunk"><inertial><origin xyz="0.1 0 0" rpy="0.1 0.2 0.3"/><mass value="3"/>
    <inertia ixx="0.1" iyy="0.2" izz="0.15" ixy="0.01" ixz="0" iyz="0"/></inertial>
    <collision><geometry><sphere radius="0.1"/></geometry></collision></link>
  <link name="leg"><inertial><origin xyz="0 0 -0.2"/><mass value="1"/><inertia ixx="0.02" iyy="0.02" izz="0.01" ixy="0" ixz="0" iyz="0"/>
    </inertial></link>
  <joint name="hip" type="revolute"><origin xyz="0 0.1 0" rpy="0.3 0 0"/><axis xyz="0 1 0"/><parent link="trunk"/><child link="leg"/>
    <limit lower="-1" upper="2" effort="30" velocity="9"/><dynamics damping="0.4" friction="0.1"/></joint></robot>"""
FLOATING = '<link name="world"/><joint name="base" type="floating"><parent link="world"/><child link="trunk"/></joint>'


@pytest.mark.parametrize("root", ["", FLOATING])
def test_a_urdf_moves_as_mujoco_reads_it_and_its_welded_root_is_named(tmp_path, caplog, root):
    path = tmp_path / "robot.urdf"
    path.write_text(URDF.format(root))
    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        model = load_mjcf(path, limit=(100, 1))
    welded = f"{path}: its root 'trunk' is welded to the world, as MuJoCo reads a URDF; if it can move, add {FLOATING}"
    assert (welded in [record.getMessage() for record in caplog.records]) == (not root)
    assert [link.joint for link in model.links] == [Joint.FREE, Joint.REVOLUTE][not root :]
    hip = model.links[-1]
    assert (hip.name, hip.lower, hip.upper, hip.damping, hip.frictionloss) == ("hip", -1.0, 2.0, 0.4, 0.1)
    assert hip.force_range == (-30.0, 30.0)
    for link in model.links:
        link.limit_ke = link.limit_kd = link.frictionloss = 0.0
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(path)))
    q, qd, force = trees.state(model, 4, seed=1)
    expected = mujoco_witness.acceleration(witness, model, q, qd, force)
    torch.testing.assert_close(double.acceleration(model, q, qd, force), expected, rtol=1e-8, atol=1e-8)


def test_a_scene_gives_a_urdf_a_base_a_ground_and_motors(tmp_path):
    """The one in docs/own_robot.md."""
    text = (Path(__file__).parents[2] / "docs" / "own_robot.md").read_text()
    (scene,) = re.findall(r"```xml\n(<mujoco>\n  <asset><model name=\"robot\".*?)```", text, re.DOTALL)
    (tmp_path / "robot.urdf").write_text(URDF.format(""))
    (tmp_path / "scene.xml").write_text(scene)
    model = load_mjcf(tmp_path / "scene.xml", contact=(1e4, 1e3, 1e2, 0.8), limit=(100, 1))
    assert [(link.name, link.joint, link.mass) for link in model.links] == [
        ("base", Joint.FREE, 3.0),
        ("my_hip", Joint.REVOLUTE, 1.0),
    ]
    assert [actuator.control for actuator in model.actuators] == [(-30.0, 30.0)]
    assert len(model.contacts) == 1


def test_a_urdf_that_mujoco_cannot_read_is_answered_in_a_line(tmp_path):
    path = tmp_path / "robot.urdf"
    path.write_text(URDF.format("").replace('<sphere radius="0.1"/>', '<mesh filename="package://r/none.stl"/>'))
    with pytest.raises(ValueError, match=r"MuJoCo cannot read it: .*none.stl.*; meshes are .* meshdir=") as error:
        load_mjcf(path)
    assert "\n" not in str(error.value)


def test_a_mocap_body_that_acts_is_said_to_rest(tmp_path, caplog):
    """It touches, or carries what is tied to the robot; one that is only seen, or whose tie is not active, needs no word."""
    line = (
        "nothing moves a mocap body here: body 'm' stays where the file puts it, and holds what is tied to it there; with joints "
        "and actuators in the place of mocap it can be moved"
    )
    leg = body('<joint name="j"/><geom size="0.1"/>', attributes='name="b"')
    mocap = '<body name="m" mocap="true"><body name="n"><geom size="0.1" {}/></body></body>'
    ghost = mocap.format('contype="0" conaffinity="0"')
    tie = '<equality><connect body1="n" body2="b" anchor="0 0 0" {}/></equality>'
    assert said(caplog, tmp_path, leg + mocap.format(""), CONTACT + MOTOR) == [line]
    assert said(caplog, tmp_path, leg + ghost, MOTOR + tie.format(""), equality=(9, 1)) == [line]
    assert said(caplog, tmp_path, leg + ghost, MOTOR + tie.format('active="false"')) == []
    made = load(tmp_path, leg + ghost, MOTOR + tie.format(""), equality=(9, 1))
    assert [(tie.first, tie.second) for tie in made.ties] == [(-1, 0)]
