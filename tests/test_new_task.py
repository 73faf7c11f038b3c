"""Tasks that `rpo-lightning new-task` writes."""

import importlib
import subprocess
import sys

import pytest
import torch
import yaml

from rpo_lightning import cli
from rpo_lightning.envs.legged.velocity_task import VelocityTask
from tests.command_line import REPOSITORY, environment, refused

LEGS = """<mujoco><compiler angle="radian"/><worldbody><geom type="plane" size="1 1 1"/><body name="trunk" pos="0 0 {height}"><freejoint name="base"/>
  <geom type="box" size="0.2 0.1 0.05" mass="4"/>{legs}</body></worldbody><actuator>{actuators}</actuator></mujoco>"""
LEG = """<body name="{n}" pos="{x} 0.1 0"><joint name="{n}_hip" axis="0 1 0" range="-1 1" limited="true"/>
  <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02" mass="0.5"/><body name="{n}_shin" pos="0 0 -0.2">
  <joint name="{n}_knee" axis="0 1 0" range="-1 1" limited="true"/>
  <geom type="capsule" fromto="0 0 0 0 0 -0.15" size="0.015" mass="0.2"/><geom pos="0 0 -0.2" size="0.02" mass="0.1"/></body></body>"""


def legs(tmp_path, actuator, height=0.4):
    names = [f"{leg}_{joint}" for leg in ("back", "front") for joint in ("hip", "knee")]
    both = "".join(LEG.format(n=name, x=x) for name, x in (("back", -0.2), ("front", 0.2)))
    file = tmp_path / "legs.xml"
    file.write_text(LEGS.format(height=height, legs=both, actuators="".join(actuator.format(j=name) for name in names)))
    return file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("my_", "test_my_"))]:
        del sys.modules[name]


def new(name, robot, *options):
    """Write the files; return the class."""
    cli.main(["new-task", name, "--robot", str(robot), *options])
    importlib.invalidate_caches()
    return getattr(importlib.import_module(name), "".join(part.capitalize() for part in name.split("_")))


def test_a_walker_with_servos_gets_a_task_of_commands(folder, capsys):
    robot = new("my_dog", "quadruped.xml")
    assert issubclass(robot, VelocityTask)
    assert robot.feet == ("FL_calf", "FR_calf", "RL_calf", "RR_calf")
    env = robot(num_envs=2)
    assert (env.obs_dim, env.action_dim) == (45, 12)
    text = (folder / "my_dog.py").read_text()
    assert "\n  9   FL_hip position less that of the start pose    rad    -\n" in text
    assert "\n  0   FL_hip    FL_hip    -0.5 ... 0.5 rad " in text
    assert "contact =" not in text  # the file has its own
    settings = yaml.safe_load((folder / "my_dog.yaml").read_text())
    assert settings["data"]["env"]["name"] == "my_dog.MyDog"
    out = capsys.readouterr().out
    assert "rpo-lightning fit --config my_dog.yaml" in out


def test_the_written_test_passes_and_the_written_configuration_trains(folder):
    new("my_dog", "quadruped.xml")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "test_my_dog.py"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    short = ["--data.num_envs=8", "--data.horizon=4", "--model.init_args.total_env_steps=64"]
    cli.main(["fit", "--config", "my_dog.yaml", *short])
    assert list(folder.glob("runs/my_dog/rpo/seed_0/policy.pt"))


def test_constants_that_the_file_lacks_are_proposed_and_fit(folder, tmp_path):
    robot = new("my_legs", legs(tmp_path, '<position joint="{j}" kp="30" kv="1"/>'))
    text = (folder / "my_legs.py").read_text()
    assert "standing it sinks" in text
    env = robot(num_envs=2, stochastic_init=False, noise=0.0)
    ke = robot.contact[0]
    assert 5.6 * 9.81 / (2 * ke) < 0.01 * 0.4
    assert "set_down(model)  # the file's start pose is 20 mm inside the ground" in text
    assert env.model.start[2] == pytest.approx(0.42)
    assert [len(env.model.contacts), env.model.pairs] == [2, []]  # of shins, thighs and trunk none
    assert 'drop = ("self",)' in text


def test_motors_become_servos_for_walking_as_commanded(folder, tmp_path):
    file = legs(
        tmp_path, '<motor name="the &quot;{j}&quot;  motor" joint="{j}" ctrlrange="-12 12" ctrllimited="true"/>', height=0.5
    )
    text = "motors_to_servos(model, error=0.6)"
    assert not issubclass(new("my_plain", file), VelocityTask)
    robot = new("my_legs", file, "--kind", "velocity")
    assert text in (folder / "my_legs.py").read_text()
    env = robot(num_envs=1, stochastic_init=False)
    written = importlib.import_module("test_my_legs")
    assert [row.name for row in env.action_table()] == written.MOTORS
    servo = env.model.actuators[0]
    assert (servo.gain, servo.bias, servo.force_range) == (20.0, (0.0, -20.0, -0.5), (-12.0, 12.0))
    assert servo.control == pytest.approx((-1.0, 1.0))
    assert env.model.start[2] == pytest.approx(0.42)  # from 0.5, on its feet


def test_what_touches_besides_soles_is_taken_away_also_where_it_is_pairs_alone(folder):
    text = (REPOSITORY / "src/rpo_lightning/robots/quadruped.xml").read_text()
    trunk = '<geom name="trunk" type="box"'
    hull = '<asset><mesh name="hull" vertex="0 0 0  0.1 0 0  0 0.1 0  0 0 0.1"/></asset><worldbody>'
    text = text.replace(trunk, f'<geom type="mesh" mesh="hull" mass="0.1"/>{trunk} contype="0" conaffinity="0"')
    (folder / "hulled.xml").write_text(text.replace("<worldbody>", hull))
    robot = new("my_hulled", "hulled.xml", "--kind", "velocity")
    assert robot.load_robot().pairs
    env = robot(1)
    assert len(env.model.contacts) == 4
    assert env.model.pairs == []


@pytest.mark.parametrize(("robot", "word"), [("ant.xml", "forward"), ("hopper.xml", "forward"), ("cartpole.xml", "pose")])
def test_other_robots_get_a_least_reward(robot, word, folder):
    task = new("my_robot", robot)
    env = task(num_envs=3)
    assert word in env.reward(torch.zeros(3, env.obs_dim), torch.zeros(3, env.action_dim))
    assert env.observation_table()[-1].name != f"obs {env.obs_dim - 1}"


def test_a_runner_in_a_plane_is_paid_for_its_speed(folder):
    env = new("my_hopper", "hopper.xml")(num_envs=1, stochastic_init=False)
    env.set_state(env.q, env.qd + torch.eye(env.model.nd)[:1] * 3.0)
    assert env.reward(env.set_state(env.q, env.qd), torch.zeros(1, 3))["forward"].item() == pytest.approx(3.0)


def test_an_arm_reaches_for_points_that_it_can_reach(folder, tmp_path):
    file = tmp_path / "arm.xml"
    file.write_text(
        """<mujoco><worldbody><geom type="plane" size="1 1 1" pos="0 0 -2"/><body name="a"><joint name="a" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.02"/>
        <body name="b" pos="0.4 0 0"><joint name="b" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0.4 0 0" size="0.02"/></body>
        </body></worldbody><actuator><position joint="a" kp="50"/><position joint="b" kp="50"/></actuator></mujoco>"""
    )
    env = new("my_arm", file, "--kind", "reach")(num_envs=64)
    assert env.tip == ("b", (0.2, 0.0, 0.0))
    assert env.contact is not None  # of the floor, which the file lets it touch
    assert env.model.contacts == []
    assert env.target.shape == (64, 3)
    assert (env.target.norm(dim=1) < 0.6 + 1e-5).all()
    obs = env.set_state(env.q, env.qd, target=env.where(env.q, env.qd))
    assert env.reward(obs, torch.zeros(64, 2))["near"].min().item() == pytest.approx(1.0)


def test_what_cannot_be_done_is_told_in_a_line(folder, tmp_path, capsys):
    assert "cannot walk as commanded: its base does not move freely" in refused(
        capsys, "new-task", "my_pole", "--robot", "cartpole.xml", "--kind", "velocity"
    )
    assert "fixed base" in refused(capsys, "new-task", "my_ant", "--robot", "ant.xml", "--kind", "reach")
    line = refused(capsys, "new-task", "lambda", "--robot", "ant.xml")
    assert "'lambda' is none of a Python module" in line
    assert "no word of Python's own" in line
    assert "'ant' is a task of this package, whose ant.yaml" in refused(capsys, "new-task", "ant", "--robot", "ant.xml")
    assert "'json' already" in refused(capsys, "new-task", "json", "--robot", "ant.xml")
    line = refused(capsys, "new-task", "points", "--robot", "arm.xml", "--kind", "reach")
    assert "would be called Points, a name that the task uses" in line
    assert "gravity does not point along -z" in refused(
        capsys, "new-task", "my_dog", "--robot", "anymal.xml", "--kind", "velocity"
    )
    assert "Did you mean 'ant.xml'" in refused(capsys, "new-task", "my_ant", "--robot", "antt.xml")
    assert "--kind must be one of" in refused(capsys, "new-task", "my_ant", "--robot", "ant.xml", "--kind", "walk")
    assert "--robot" in refused(capsys, "new-task", "my_ant")
    file = tmp_path / "muscle.xml"
    file.write_text(
        '<mujoco><worldbody><body><joint name="j"/><geom size="0.1"/></body></worldbody>'
        '<actuator><motor joint="j"/><intvelocity joint="j" actrange="-1 1"/></actuator></mujoco>'
    )
    line = refused(capsys, "new-task", "my_muscle", "--robot", str(file))
    assert "new-task takes it as --drop '[\"actuator\"]'" in line
    assert not list(folder.glob("*.py"))
    new("my_muscle", file, "--drop", '["actuator"]')
    assert 'drop = ("actuator",)' in (folder / "my_muscle.py").read_text()


def test_nothing_is_overwritten(folder, capsys):
    (folder / "my_ant.yaml").write_text("mine")
    assert "my_ant.yaml would be overwritten" in refused(capsys, "new-task", "my_ant", "--robot", "ant.xml")
    assert (folder / "my_ant.yaml").read_text() == "mine"
    assert not (folder / "my_ant.py").exists()
