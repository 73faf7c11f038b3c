"""Where a task's robot file is looked for, and what the task says about it."""

import re
import sys

import pytest
import torch

from rpo_lightning.envs.ant import Ant
from rpo_lightning.envs.articulated import ArticulatedEnv

ROBOT = """<mujoco model="{name}"><keyframe><key qvel="1"/></keyframe><worldbody><geom type="plane" size="1 1 1"/>
    <body name="{name}"><joint range="0 1"/><geom size="0.1"/></body></worldbody></mujoco>"""


def task(robot, **attributes):
    return type("Mine", (ArticulatedEnv,), {"name": "mine", "robot": robot, **attributes})


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A user's module in a folder of its own, with a task in it; the working directory is another folder."""
    for folder in ("module", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / "module" / "users_task.py").write_text(
        "from rpo_lightning.envs.articulated import ArticulatedEnv\n\n\n"
        "class Mine(ArticulatedEnv):\n    name, robot = 'mine', 'mine.xml'\n"
        "    contact, limit, drop = (1, 2, 3, 4), (5, 6, 7), ('keyframe',)\n"
        "    friction, mesh_vertices = 'smooth', 3\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path / "module"))
    monkeypatch.delitem(sys.modules, "users_task", raising=False)
    import users_task

    yield users_task.Mine, tmp_path / "module", tmp_path / "here"
    del sys.modules["users_task"]


def test_a_robot_beside_the_tasks_file_is_found(beside):
    mine, module, here = beside
    (module / "mine.xml").write_text(ROBOT.format(name="beside"))
    model = mine.load_robot()
    assert model.links[0].name == "beside"
    assert type("Elsewhere", (mine,), {}).load_robot().links[0].name == "beside"
    (here / "mine.xml").write_text(ROBOT.format(name="here"))
    assert mine.load_robot().links[0].name == "beside"


def test_a_robot_beside_the_tasks_file_wins_over_the_packages(beside):
    mine, module, _ = beside
    (module / "ant.xml").write_text(ROBOT.format(name="beside"))
    mine.robot = "ant.xml"
    assert mine.load_robot().links[0].name == "beside"


def test_a_robot_of_the_working_directory_is_found(beside):
    mine, _, here = beside
    (here / "mine.xml").write_text(ROBOT.format(name="here"))
    assert mine.load_robot().links[0].name == "here"


def test_a_task_says_what_the_file_does_not(beside):
    mine, module, _ = beside
    (module / "mine.xml").write_text(ROBOT.format(name="beside"))
    model = mine.load_robot()
    (contact,), (link,) = model.contacts, model.links
    assert (contact.ke, contact.kd, contact.kf, contact.mu) == (1.0, 2.0, 3.0, 4.0)
    assert (link.limit_ke, link.limit_kd, link.stop_kd) == (5.0, 6.0, 7.0)
    assert model.friction == "smooth"
    with pytest.raises(ValueError, match="a velocity in the first keyframe is not simulated"):
        type("Stricter", (mine,), {"drop": ()}).load_robot()
    mesh = '<asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset></mujoco>'
    (module / "mine.xml").write_text(ROBOT.format(name="beside").replace('<geom size="0.1"', '<geom type="mesh" mesh="m"'))
    (module / "mine.xml").write_text((module / "mine.xml").read_text().replace("</mujoco>", mesh))
    assert len(mine.load_robot().pairs) == 3  # of the four corners
    tied = "<equality><joint joint1='j'/></equality></mujoco>"
    (module / "mine.xml").write_text(ROBOT.format(name="j").replace("<joint", "<joint name='j'").replace("</mujoco>", tied))
    model = type("Tied", (mine,), {"equality": (9, 8), "friction_width": 0.3}).load_robot()
    assert [(coupling.ke, coupling.kd) for coupling in model.couplings] == [(9.0, 8.0)]
    assert model.friction_width == 0.3


def test_the_working_directory_comes_last_and_paths_are_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ant.xml").write_text(ROBOT.format(name="here"))
    assert Ant.load_robot().links[0].name == "root"
    attributes = {"contact": (1, 1, 1, 1), "limit": (1, 1), "drop": ("keyframe",)}
    for path in (tmp_path / "ant.xml", str(tmp_path / "ant.xml")):
        assert task(path, **attributes).load_robot().links[0].name == "here"


def test_a_missing_robot_is_answered_with_the_places_looked_at(beside):
    mine, module, here = beside
    for place in (r".*rpo_lightning.robots", re.escape(str(here)), re.escape(str(module))):
        with pytest.raises(
            FileNotFoundError, match=f"mine: the robot mine.xml does not exist, looked for .*{place}/mine.xml"
        ):
            mine.load_robot()


def test_a_class_without_a_file_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = task("none.xml", __module__="typed_into_an_interpreter")
    with pytest.raises(FileNotFoundError, match="mine: the robot none.xml does not exist"):
        typed.load_robot()


def test_a_robot_without_motors_is_an_environment_without_actions(tmp_path):
    class Pendulum(ArticulatedEnv):
        name, obs_dim, action_dim = "pendulum", 2, 0
        robot = tmp_path / "pendulum.xml"

        def observe(self, q, qd, action):
            return torch.cat([q, qd], dim=1)

        def reward(self, obs, action):
            return obs[:, 0]

    Pendulum.robot.write_text(
        '<mujoco><worldbody><body><joint axis="0 1 0"/><geom size="0.1" pos="1 0 0"/></body></worldbody></mujoco>'
    )
    env = Pendulum(3, threads=1)
    env.step(torch.zeros(3, 0))
    assert (env.qd.abs() > 0.01).all()
