"""What is said of observations and actions is so: names are moved, and exactly what claims to be of them follows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.deployment import task_facts
from rpo_lightning.envs.ant import Ant
from rpo_lightning.envs.base_pose import BasePose
from rpo_lightning.envs.dmc import TASKS as CONTROL
from rpo_lightning.envs.drive import Drive
from rpo_lightning.envs.hopper import Hopper
from rpo_lightning.envs.tables import Quantity, action_rows, numbered, positions, scaled, velocities
from rpo_lightning.sim import Actuator, Joint, Link, Model, quat_multiply, quat_rotate

DATA = Path(__file__).parents[1] / "data" / "dmc"
OWN = ("ant", "anymal", "cartpole", "cheetah", "double_pendulum", "hand_reorient", "hopper", "humanoid")
RUNNERS = ("ant", "anymal", "humanoid")
STEP = 1e-2
every = pytest.mark.parametrize("name", [*OWN, *CONTROL])


def hinges(model):
    """(name, column of q, column of qd) of every joint with one coordinate, of either kind of model."""
    if isinstance(model, Model):
        for index, link in enumerate(model.links):
            if link.joint in (Joint.REVOLUTE, Joint.PRISMATIC):
                yield link.name, model.coordinates(index).start, model.dofs(index).start
    else:
        for index in range(model.njnt):
            if mujoco.mjtJoint(model.jnt_type[index]) in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
                yield model.joint(index).name, int(model.jnt_qposadr[index]), int(model.jnt_dofadr[index])


def factor(unit):
    """What an entry of 1 stands for: 10 of "10 rad/s"."""
    number = re.match(r"[\d.]+", unit)
    return float(number[0]) if number else 1.0


def perturbed(name):
    """An environment of a base state and one state for each entry of q and qd moved by STEP; how far each moves what it shows."""
    if name.startswith("dmc/"):
        pytest.importorskip("dm_control")
    model = rpo_lightning.make(name, num_envs=1).model
    nq, nd = model.nq, model.nd if isinstance(model, Model) else model.nv
    env = rpo_lightning.make(name, num_envs=1 + nq + nd)
    noise = torch.Generator().manual_seed(0)
    q, qd = env.q[:1].clone(), 0.3 * torch.randn(1, nd, generator=noise)
    columns = [column for _, column, _ in hinges(model)]
    q[:, columns] += 0.1 * torch.randn(1, len(columns), generator=noise)
    q, qd = q.repeat(1 + nq + nd, 1), qd.repeat(1 + nq + nd, 1)
    q[1 : 1 + nq] += STEP * torch.eye(nq)
    qd[1 + nq :] += STEP * torch.eye(nd)
    obs = env.set_state(q, qd)
    moved = (obs[1:] - obs[:1]) / STEP
    return env, moved[:nq], moved[nq:], q[0]


@every
def test_what_is_said_to_be_of_a_joint_follows_that_joint_alone_and_by_the_scale_of_its_unit(name):
    env, by_q, by_qd, q = perturbed(name)
    rows, claimed = [row.name for row in env.observation_table()], 0
    units = [row.unit for row in env.observation_table()]
    for joint, column, dof in hinges(env.model):
        for row, (said, unit) in enumerate(zip(rows, units, strict=True)):
            slope = {
                f"{joint} position": 1.0 / factor(unit),
                f"{joint} position from the middle": 1.0 / factor(unit),
                f"{joint} position sine": torch.cos(q[column]).item(),
                f"{joint} position cosine": -torch.sin(q[column]).item(),
            }.get(said, 0.0)
            rate = 1.0 / factor(unit) if said == f"{joint} velocity" else 0.0
            expected = by_q.new_tensor([slope, rate])
            if not said.startswith(f"{joint} "):
                continue
            claimed += 1
            assert unit.endswith(("rad", "m", "rad/s", "m/s", "")), said
            actual = torch.stack([by_q[column, row], by_qd[dof, row]])
            torch.testing.assert_close(actual, expected, rtol=1e-2, atol=6e-3, msg=lambda text, at=said: f"{at}: {text}")
            others = torch.cat([by_q[:, row], by_qd[:, row]]).abs()
            others[[column, len(by_q) + dof]] = 0.0
            assert others.max() < 1e-3, f"{said} moves with something else"
    slots = sum(said.endswith("last action") for said in rows)
    assert 3 * (claimed - slots) >= len(rows) - slots
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", RUNNERS)
def test_the_base_is_where_the_table_says(name):
    env = rpo_lightning.make(name, num_envs=3, seed=1)
    q, qd = env.q.clone(), torch.randn(3, env.model.nd, generator=torch.Generator().manual_seed(0))
    obs, pose = env.set_state(q, qd), BasePose(env.model)
    start = env.start_q[:, 3:7]
    turn = quat_multiply(q[:, 3:7], start * torch.tensor([-1.0, -1.0, -1.0, 1.0]))
    away = (env._goal - q[:, :3]) * torch.tensor([1.0, 0.0, 1.0])
    axes = [quat_rotate(turn, torch.eye(3)[axis].expand(3, 3)) for axis in range(3)]
    expected = {
        "base height": pose.height(q),
        **{f"base orientation {axis}": q[:, 3 + index] for index, axis in enumerate("xyzw")},
        **{f"base velocity {axis}": pose.velocity(q, qd)[:, index] for index, axis in enumerate("xyz")},
        **{f"base angular velocity {axis}": qd[:, index] for index, axis in enumerate("xyz")},
        "base up axis y": axes[1][:, 1],
        "heading to destination": (axes[0] * away).sum(1) / away.norm(dim=1),
    }
    found = {row.name: column for row, column in zip(env.observation_table(), obs.unbind(1), strict=True)}
    assert {said for said in found if said.startswith(("base", "heading"))} == expected.keys()
    for said, value in expected.items():
        torch.testing.assert_close(found[said], value, rtol=1e-4, atol=1e-4, msg=lambda text, at=said: f"{at}: {text}")


def test_the_cube_and_its_goal_are_where_the_table_says():
    env = rpo_lightning.make("hand_reorient", num_envs=3, seed=1)
    qd = torch.randn(3, env.model.nd, generator=torch.Generator().manual_seed(0))
    obs = env.set_state(env.q, qd)
    found = {row.name: factor(row.unit) * column for row, column in zip(env.observation_table(), obs.T, strict=True)}
    position, quat, (w, v) = env.q[:, 16:19], env.q[:, 19:23], qd[:, 16:].split([3, 3], 1)
    turn = quat_multiply(quat, env.target * torch.tensor([-1.0, -1.0, -1.0, 1.0]))
    for what, value in (
        ("cube position", position),
        ("cube orientation", quat),
        ("cube velocity", v + torch.linalg.cross(w, position)),
        ("cube angular velocity", w),
        ("goal position", torch.tensor(env.goal_position).expand(3, 3)),
        ("goal orientation", env.target),
        ("turn from goal to cube", turn),
    ):
        for index, axis in enumerate("xyzw"[: value.shape[1]]):
            torch.testing.assert_close(found[f"{what} {axis}"], value[:, index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RUNNERS)
def test_the_last_action_is_the_one_of_the_joint_that_it_names(name):
    env = rpo_lightning.make(name, num_envs=1, observe_action=True)
    action = torch.linspace(-1.0, 1.0, env.action_dim)[None]
    obs = env.observe(env.q, env.qd, action)[0].tolist()
    shown = {row.name: obs[at] for at, row in enumerate(env.observation_table()) if row.name.endswith("last action")}
    assert shown == {f"{row.joint} last action": a for row, a in zip(env.action_table(), action[0].tolist(), strict=True)}


# ---- MuJoCo ----------------------------------------------------------------------------------------------------------

# name in dm_control's observation -> what our rows of it are called
ROWS = {
    "position": r".* position( sine| cosine)?|tip from hinge [xz]",
    "velocity": r".* velocity( [xyz])?",
    "orientations": r".*(pitch|from upright) (sine|cosine)",
    "orientation": r"hinge position (sine|cosine)",
    "height": "torso height",
    "touch": r".* touch, log.*",
    "target_position": r"ball from hinge [xz]",
    "dist_to_target": "distance of tip from ball's surface",
    "to_target": r"finger to target [xy]",
    "joint_angles": r".* position",
    "upright": "torso up axis z",
    "target": r"mouth to ball [xyz]",
    "head_height": "head height",
    "extremities": r"(left|right)_(hand|foot) from torso [xyz]",
    "torso_vertical": r"up axis [xyz]",
    "com_velocity": r"centre of mass velocity [xyz]",
}


@pytest.mark.parametrize("name", CONTROL)
def test_the_order_is_that_of_dm_control(name):
    pytest.importorskip("dm_control")
    with np.load(DATA / f"{name.removeprefix('dmc/')}.npz") as file:
        layout, names = json.loads(str(file["obs_names"])), json.loads(str(file["names"]))
    env = rpo_lightning.make(name, num_envs=1)
    rows = [row.name for row in env.observation_table()]
    assert sum(layout.values()) == len(rows)
    for part, size in layout.items():
        mine, rows = rows[:size], rows[size:]
        assert all(re.fullmatch(ROWS[part], row) for row in mine), (part, mine)
        shown = [joint for joint in names["joints"] if any(row.startswith(f"{joint} ") for row in mine)]
        told = list(dict.fromkeys(row.split(" ")[0] for row in mine if row.split(" ")[0] in names["joints"]))
        assert told == shown  # joints in dm_control's own order
    assert [row.name for row in env.action_table()] == names["actuators"]


def test_the_velocity_of_a_free_body_is_told_in_the_frames_that_the_table_names():
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint name='b'/><geom size='.1'/></body></worldbody></mujoco>"
    )
    rows = {row.name: row.frame for row in velocities(model)}
    assert [*rows.values()] == ["world"] * 3 + ["base"] * 3
    data = mujoco.MjData(model)
    data.qpos[:] = [1, 2, 3, *np.array([1.0, 2.0, 3.0, 4.0]) / 30**0.5]
    before, frame, velocity = data.qpos.copy(), np.zeros(9), np.array([0.1, 0.2, 0.3, 1.0, 2.0, 3.0])
    mujoco.mju_quat2Mat(frame, before[3:])
    mujoco.mj_integratePos(model, data.qpos, velocity, 1e-4)
    np.testing.assert_allclose((data.qpos[:3] - before[:3]) / 1e-4, velocity[:3], atol=1e-6)
    turn, inverse, rate = np.zeros(4), np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(inverse, before[3:])
    mujoco.mju_mulQuat(turn, data.qpos[3:], inverse)  # in world axes
    mujoco.mju_quat2Vel(rate, turn, 1e-4)
    np.testing.assert_allclose(frame.reshape(3, 3).T @ rate, velocity[3:], atol=1e-5)
    assert [row.name[-1] for row in positions(model)[3:]] == ["w", "x", "y", "z"]


# ---- actions ---------------------------------------------------------------------------------------------------------


@every
def test_an_action_of_one_gives_the_force_that_the_table_says_on_the_joint_that_it_names(name):
    if name.startswith("dmc/"):
        pytest.importorskip("dm_control")
    env = rpo_lightning.make(name, num_envs=1)
    columns = {joint: dof for joint, _, dof in hinges(env.model)}
    for index, row in enumerate(env.action_table()):
        action = torch.eye(env.action_dim)[index][None]
        if isinstance(env.model, Model):
            force = Drive(env.model, 0, None, env.device)(action)[0][0]
        else:
            data = mujoco.MjData(env.model)
            mujoco.mj_forward(env.model, data)
            idle = data.qfrc_actuator.copy()
            data.ctrl[index] = row.high
            mujoco.mj_forward(env.model, data)
            force = torch.from_numpy(data.qfrc_actuator - idle)
        strength = float(re.match(r"[\d.e+-]+", row.law)[0]) * row.high
        if row.joint in columns:
            assert force.nonzero().tolist() == [[columns[row.joint]]]
            assert force.sum().item() == pytest.approx(strength, rel=1e-3)
        else:
            assert name == "dmc/fish_swim"
            assert row.joint == "-0.5 finleft_roll + 0.5 finright_roll"
            assert force[columns["finright_roll"]].item() == pytest.approx(0.5 * strength)
        if row.control in ("torque", "force"):
            assert factor(row.unit) * row.high == pytest.approx(strength)
        assert (row.low, row.high) == (-1.0, 1.0)


def hinge(**options):
    return Link("j", -1, Joint.REVOLUTE, np.array([0.0, 0.0, 1.0]), mass=1.0, inertia=np.eye(3), **options)


def test_controls_are_told_in_their_own_units():
    slide = Link("s", 0, Joint.PRISMATIC, np.array([0.0, 0.0, 1.0]), mass=1.0, inertia=np.eye(3))
    actuators = [
        Actuator("servo", [(0, 2.0)], 50.0, (0.0, -50.0, -3.0), (-1.0, 2.0), (-10.0, 20.0)),
        Actuator("speed", [(1, 1.0)], 4.0, (0.0, 0.0, -4.0)),
        Actuator("motor", [(1, 9.0)]),
        Actuator("both", [(0, 1.0), (1, 0.5)], gain=4.0),
        Actuator("damper", [(0, 1.0)], gain=0.0, gain_slope=(0.0, -1.0), control=(0.0, 1.0)),
        Actuator("rotor", link=1, push=np.array([0.0, 0.0, 1.0]), gain=3.0),
    ]
    rows = action_rows(Model([hinge(), slide], actuators=actuators))
    assert [(row.joint, row.control, row.unit, row.low, row.high) for row in rows] == [
        ("j", "position", "0.5 rad", -1.0, 2.0),
        ("s", "velocity", "m/s", -1.0, 1.0),
        ("s", "force", "9 N", -1.0, 1.0),
        ("1 j + 0.5 s", "control", "", -1.0, 1.0),
        ("j", "control", "", 0.0, 1.0),
        ("a point of s", "force", "3 N", -1.0, 1.0),
    ]
    assert rows[0].law == "100 control -200 position -12 velocity, within -20 ... 40 N m"


SERVO = """<mujoco><worldbody><geom type="plane" size="1 1 1" contype="0" conaffinity="0"/><body><joint name="j" axis="0 1 0"/>
  <geom size="0.1" mass="1" contype="0" conaffinity="0"/></body></worldbody><actuator>
  <position name="p" joint="j" kp="5" ctrlrange="-1 0.4" ctrllimited="true"/></actuator></mujoco>"""


def test_with_an_action_scale_the_ends_are_offsets_from_what_holds_the_start(tmp_path):
    (tmp_path / "servo.xml").write_text(SERVO)

    class Offset(Ant):
        name, robot, obs_dim, action_dim = "offset", str(tmp_path / "servo.xml"), 2, 1
        action_scale = 0.5

        def edit(self, model):
            model.start[0] = 0.2

        def prepare(self):
            pass

        def observe(self, q, qd, action):
            return torch.cat([q, qd], dim=1)

        def reward(self, obs, action):
            return obs[:, 0]

    (row,) = Offset(1, stochastic_init=False).action_table()
    assert (row.low, row.high, row.unit) == (pytest.approx(-0.3), pytest.approx(0.4), "rad")
    assert row.law == "5 control -5 position [N m]; control 0.2 + 0.5 action"


# ---- tasks of one's own ----------------------------------------------------------------------------------------------


def test_names_do_not_outlive_the_observation_that_they_are_of():
    class Blind(Hopper):
        name, obs_dim, privileged_dim = "blind", 5, 6
        parameter_names = ("mass:rooty", "damping:rootx", "damping:leg_joint", "gravity")

        def observe(self, q, qd, action):
            return q[:, 1:]

        def observe_privileged(self, q, qd, action):
            return qd

    assert Blind(1).observation_table() == numbered("obs", 5)
    env = Blind(1, observe_parameters=True)
    rows = env.privileged_table()
    assert len(rows) == env.privileged_dim == 12
    assert rows[:6] == numbered("privileged", 6)
    mass = next(link.mass for link in env.model.links if link.name == "rooty")
    assert rows[6].name == "mass:rooty deviation"
    assert rows[6].unit == f"{mass:.4g} kg"
    assert rows[7].unit.endswith(" N s/m")
    assert rows[8].unit.endswith(" N m s/rad")
    assert [row[:2] for row in rows[9:]] == [(f"gravity {axis} deviation", "9.81 m/s^2") for axis in "xyz"]

    class Named(Blind):
        def quantities(self):
            return positions(self.model)[1:]

        def privileged_quantities(self):
            return velocities(self.model)

    assert Named(1).observation_table()[0] == Quantity("rootz position", "m")
    assert Named(1).privileged_table()[2] == Quantity("rooty velocity", "rad/s")
    assert Hopper(1).observation_table()[5] == Quantity("rootx velocity", "m/s")


def test_a_table_of_another_length_is_refused_when_the_task_is_made():
    class Short(Hopper):
        name = "short"

        def quantities(self):
            return super().quantities()[1:]

    with pytest.raises(
        ValueError, match="^short: quantities must return one Quantity for each of the 11 entries of observe"
    ):
        Short(1)

    class Words(Hopper):
        name = "words"

        def quantities(self):
            return ["height"] * 11

    with pytest.raises(ValueError, match="words: .*but returns something else"):
        Words(1)


def test_a_scale_changes_what_an_entry_of_one_stands_for():
    assert scaled([Quantity("v", "rad/s"), Quantity("n")], 0.1) == [Quantity("v", "10 rad/s"), Quantity("n", "10")]
    assert scaled([Quantity("v", "m")], 1.0) == [Quantity("v", "m")]


# ---- gymnasium -------------------------------------------------------------------------------------------------------


def test_gymnasium_s_tasks_on_mujoco_say_what_they_show():
    pytest.importorskip("gymnasium")
    env = rpo_lightning.make("gymnasium/HalfCheetah-v5", num_envs=2, seed=1)
    env.step(torch.full((2, 6), 0.3))
    data = env.vector_env.envs[0].unwrapped.data
    found = dict(zip((row.name for row in env.observation_table()), env._obs[0].tolist(), strict=True))
    model = env.vector_env.envs[0].unwrapped.model
    expected = {f"{joint} position": data.qpos[column] for joint, column, _ in hinges(model) if joint != "rootx"}
    expected |= {f"{joint} velocity": data.qvel[dof] for joint, _, dof in hinges(model)}
    assert found == pytest.approx(expected, rel=1e-5)
    assert [row.unit for row in env.action_table()[:3]] == ["120 N m", "90 N m", "60 N m"]
    assert task_facts(env)["dt"] == pytest.approx(0.05)
    env.close()


def test_other_tasks_of_gymnasium_have_numbers_and_bounds():
    pytest.importorskip("gymnasium")
    env = rpo_lightning.make("gymnasium/Pendulum-v1", num_envs=1)
    assert [row.name for row in env.observation_table()] == ["obs[0]", "obs[1]", "obs[2]"]
    (row,) = env.action_table()
    assert (row.name, row.low, row.high) == ("action 0", -2.0, 2.0)
    env.close()
