"""What `rpo-lightning describe` says of a robot."""

import json

import numpy as np
import pytest

from rpo_lightning import cli
from rpo_lightning.describe import described
from rpo_lightning.sim import Actuator, Joint, Link, Model

FILE = """<mujoco><worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 1"><freejoint name="root"/>
  <geom size="0.1" mass="2"/><body name="arm" pos="0.2 0 0"><joint name="j" axis="0 1 0" range="-30 90" limited="true"/>
  <geom size="0.05" pos="0.1 0 0" mass="0.5"/></body></body></worldbody>
  <actuator><motor name="m" joint="j" gear="3" ctrlrange="-2 2" ctrllimited="true"/></actuator></mujoco>"""


def test_a_file_without_constants_is_described_with_constants_that_fit(tmp_path, capsys):
    path = tmp_path / "robot.xml"
    path.write_text(FILE)
    cli.main(["describe", str(path)])
    out = capsys.readouterr().out
    assert "2 links, 2.5 kg; nq 8, nd 7, 1 actuators" in out
    assert "1  j      revolute  root   -0.524 ... 1.57 rad" in out
    assert "0  m         j   -2 ... 2  3 control [N m]" in out
    assert "  root  1\n  j     1" in out
    assert "contact = (" in out
    assert "limit = (" in out


def test_a_task_is_described_by_name(capsys):
    cli.main(["describe", "cartpole"])
    assert "nq 2, nd 2, 1 actuators" in capsys.readouterr().out


def test_what_makes_it_useless_is_said():
    text = described(Model([Link("base", -1, Joint.FREE, mass=1.0, inertia=np.eye(3))]))
    assert "it has no motor" in text
    assert "falls for ever" in text


def test_what_was_said_of_a_file_is_not_repeated_in_other_words(tmp_path, capsys):
    path = tmp_path / "robot.xml"
    path.write_text(
        '<mujoco><worldbody><body><freejoint name="root"/><geom size="0.1" mass="2"/></body></worldbody></mujoco>'
    )
    cli.main(["describe", str(path)])
    out = capsys.readouterr().out
    assert out.count("falls for ever") == 1
    assert "root falls for ever: there is no ground; add" in out
    assert "it has no actuator, so that actions do nothing" in out
    assert "it has no motor" not in out


def test_the_fluid_around_it_is_said(tmp_path, capsys):
    path = tmp_path / "robot.xml"
    options = '<option density="1000" viscosity="0.001" wind="1 0 0.5"/>'
    path.write_text(f'<mujoco>{options}<worldbody><body><freejoint/><geom size="0.1"/></body></worldbody></mujoco>')
    cli.main(["describe", str(path)])
    assert "0 actuators; in a fluid of 1000 kg/m^3, 0.001 Pa s, wind 1 0 0.5 m/s" in capsys.readouterr().out
    assert "fluid" not in described(Model([Link("base", -1, Joint.FREE, mass=1.0, inertia=np.eye(3))]))


def test_the_law_of_a_servo_is_that_of_its_joint():
    link = Link("j", -1, Joint.REVOLUTE, np.array([0.0, 0.0, 1.0]), mass=1.0, inertia=np.eye(3))
    servo = Actuator("s", [(0, 2.0)], 50.0, (1.0, -50.0, -3.0), (-1.0, 1.0), (-10.0, 20.0))
    text = described(Model([link], actuators=[servo]))
    assert "100 control +2 -200 position -12 velocity, within -20 ... 40 N m" in text


def test_a_damper_and_the_limits_of_joints_are_shown():
    axis = np.array([0.0, 0.0, 1.0])
    hinge = Link("j", -1, Joint.REVOLUTE, axis, mass=1.0, inertia=np.eye(3), force_range=(-5.0, 5.0))
    slide = Link("s", 0, Joint.PRISMATIC, axis, mass=1.0, inertia=np.eye(3), force_range=(-np.inf, 7.0))
    damper = Actuator("d", [(0, 2.0)], gain=0.0, gain_slope=(0.0, -0.75), control=(0.0, 1.0))
    both = Actuator("b", [(0, 1.0), (1, 0.5)], gain=4.0, force_range=(-1.0, 1.0))
    lines = described(Model([hinge, slide], actuators=[damper, both])).splitlines()
    (law_of_damper,) = [line for line in lines if line.startswith("  0  d ")]
    (law_of_both,) = [line for line in lines if line.startswith("  1  b ")]
    assert law_of_damper.endswith("  -3 velocity x control [N m], joint within -5 ... 5 N m")
    assert law_of_both.endswith("  4 control, within -1 ... 1, joint j within -5 ... 5 N m, joint s within -inf ... 7 N")


def test_a_task_shows_what_it_observes_before_its_robot(capsys):
    cli.main(["describe", "ant", "--options", '{"episode_length": 5}'])
    out = capsys.readouterr().out
    assert out.startswith("ant: 37 observations, 8 actions; up is y, a step 0.01667 s\n")
    assert "\n  19  hip_1 velocity           10 rad/s  -\n" in out
    assert "\n  0  hip_1     hip_1    -1 ... 1  200 control [N m]\n" in out
    assert out.count("Actions, in [-1, 1]") == 1
    assert out.index("Observations") < out.index("9 links") < out.index("Actions")


def test_a_task_on_mujoco_is_described_by_its_tables_alone(capsys):
    pytest.importorskip("dm_control")
    cli.main(["describe", "dmc/cartpole_swingup"])
    out = capsys.readouterr().out
    assert "\n  1  hinge_1 position cosine  -      -\n" in out
    assert "  0  slide     slider  -1 ... 1  10 control [N]" in out
    assert "links" not in out


def test_what_only_the_critic_sees_is_told(capsys):
    options = {"randomize": {"mass:cart_to_pole": [0.1, 1.0]}, "observe_parameters": True}
    cli.main(["describe", "cartpole", "--options", json.dumps(options)])
    out = capsys.readouterr().out
    assert "What only the critic sees" in out
    assert "mass:cart_to_pole deviation" in out


def test_a_task_that_names_nothing_is_told_how(capsys):
    cli.main(["describe", "tests.toy.PointMass"])
    out = capsys.readouterr().out
    assert "\n  2  obs 2     -     -\n" in out
    assert "a method `quantities` names them" in out
    assert "action 0" in out


def test_tables_for_other_programs(capsys):
    cli.main(["describe", "cartpole", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert found["observations"][4] == {"name": "cart_to_pole velocity", "unit": "rad/s", "frame": ""}
    assert found["actions"][0]["low"] == -1.0
    cli.main(["describe", "cartpole", "--format", "markdown"])
    assert "\n| 4 | cart_to_pole velocity | rad/s | - |\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cartpole", "--format", "html"], "--format must be one of text, markdown, json, not 'html'"),
        (["robot.xml", "--format", "json"], "--format is for tasks; a file is described as text"),
        (["nothing"], "no task is called 'nothing'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit):
        cli.main(["describe", *arguments])
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
