"""Actuators and forces between joints: accelerations equal MuJoCo's; what actions stand for; gradients."""

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.envs.drive import Drive
from rpo_lightning.sim import Joint, Simulator
from tests.sim import double, mujoco_witness, trees
from tests.sim.test_mjcf import GHOSTS, LIMIT, body, load

ENVS = 6

# a hinge, a slide and a ball in a row, on a free trunk; two sites
ROBOT = """<body name="trunk"><freejoint/><geom size="0.1 0.2 0.3" type="box"/><site name="rotor" pos="0.3 0.1 0.2" euler="20 30 40"/>
    <body pos="0.2 0 0"><joint name="hinge" axis="0 1 1" ref="0.3" {hinge}/><geom size="0.1" pos="0.2 0.1 0"/>
      <body pos="0.1 0.1 0" euler="30 0 20"><joint name="slide" type="slide" axis="1 0 1" {slide}/><geom size="0.1" pos="0 0.2 0"/>
        <site name="tip" pos="0.1 0.2 0.3" euler="40 0 10"/>
        <body pos="0 0 0.3"><joint name="ball" type="ball" {ball}/><geom size="0.05 0.2" type="capsule" pos="0.1 0.2 0"/>
    </body></body></body></body>"""
RADIANS = GHOSTS + '<compiler angle="radian"/>'
TENDON = (
    """<tendon><fixed name="t" {0}><joint joint="hinge" coef="0.7"/><joint joint="slide" coef="-1.3"/></fixed></tendon>"""
)

ACTUATORS = {
    "motor": '<motor joint="hinge" gear="3" ctrlrange="-2 2"/>',
    "position": '<position joint="hinge" kp="30" kv="2" ctrlrange="-1 2"/>',
    "position by damping ratio": '<position joint="slide" kp="30" dampratio="0.7"/>',
    "position with gear": '<position joint="hinge" kp="30" kv="2" gear="-2.5"/>',
    "velocity": '<velocity joint="slide" kv="7"/>',
    "damper": '<damper joint="hinge" kv="5" ctrlrange="0.5 2"/>',
    "general": '<general joint="slide" gainprm="4" biastype="affine" biasprm="1 -3 -0.5" gear="2"/>',
    "general with affine gain": '<general joint="slide" gaintype="affine" gainprm="4 2 1" biastype="affine" biasprm="1 -3 -0.5"/>',
    "a bias that does not count": '<general joint="slide" gainprm="4" biasprm="1 -3 -0.5"/>',
    "in the parent": '<motor jointinparent="hinge" gear="3"/>',
    "force range": '<position joint="hinge" kp="30" forcerange="-1 0.5"/>',
    "several on one joint": '<motor joint="hinge" gear="3"/><position joint="hinge" kp="30"/><velocity joint="hinge" kv="2" forcerange="-1 1"/>',
    "ball": '<motor joint="ball" gear="1 -2 0.5"/><velocity joint="ball" gear="0 1 1" kv="0.3"/>',
    "tendon": '<position tendon="t" kp="9" kv="0.5" gear="2"/><motor tendon="t"/>',
    "site": '<motor site="rotor" gear="0 0 5 0 0 0.3" ctrlrange="0 3"/><motor site="tip" gear="1 2 3 0.4 0.5 0.6" forcerange="-1 0.3"/>',
}  # fmt: skip


def compared(tmp_path, world, rest, seed=2):
    """The robot, states, controls within their ranges, and MuJoCo's accelerations."""
    model = load(tmp_path, world, rest)
    for link in model.links:
        link.limit_ke = link.limit_kd = link.frictionloss = 0.0
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml")))
    q, qd, force = trees.state(model, ENVS, seed)
    control = torch.zeros(ENVS, 0, dtype=torch.float64)
    if model.actuators:
        low, high = torch.tensor([actuator.control for actuator in model.actuators], dtype=torch.float64).T
        control = low + (high - low) * torch.rand(
            ENVS, len(low), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    expected = mujoco_witness.acceleration(witness, model, q, qd, force, control)
    return model, (q, qd, force), control, expected


def assert_equal(tmp_path, world, rest):
    model, state, control, expected = compared(tmp_path, world, rest)
    exact = double.acceleration(model, *state, control)
    torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())
    if control.shape[1]:
        idle = double.acceleration(model, *state, torch.zeros_like(control))
        assert not torch.equal(idle, exact)
    return model


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", ACTUATORS.values(), ids=ACTUATORS)
def test_actuators_drive_as_in_mujoco(tmp_path, text):
    world = ROBOT.format(hinge="", slide="", ball="")
    model = assert_equal(tmp_path, world, f"{RADIANS}{TENDON.format('')}<actuator>{text}</actuator>")
    assert len(model.actuators) == text.count("/>")


FORCES = {
    "joints that limit what drives them": ({"hinge": 'actuatorfrcrange="-2 1"', "slide": 'actuatorfrcrange="-9 9"'}, ""),
    "a spring of a ball": ({"ball": 'stiffness="3"'}, ""),
    "a tendon's spring that is slack between two lengths": ({}, TENDON.format('stiffness="30" springlength="-0.2 0.1"')),
    "a tendon's spring of the start": ({"slide": 'springref="0.4"'}, TENDON.format('stiffness="30"')),
    "a tendon's damper": ({}, TENDON.format('damping="4"')),
    "compensated weight": ({}, ""),
    "nothing of it, because the file disables it": (
        {"hinge": 'stiffness="9" damping="2"'},
        TENDON.format('damping="4" stiffness="3"') + '<option><flag spring="disable" damper="disable"/></option>',
    ),
}


@pytest.mark.parametrize("name", FORCES)
def test_forces_of_joints_and_tendons_are_mujocos(tmp_path, name):
    joints, rest = FORCES[name]
    world = ROBOT.format(**{"hinge": "", "slide": "", "ball": "", **joints})
    if "weight" in name:
        pieces = world.split("<body pos")
        world = "<body gravcomp='0.3' pos".join(pieces).replace('name="trunk"', 'name="trunk" gravcomp="1.2"')
        world = world.replace('<body pos="0 0 0.3">', '<body><geom size="0.1" pos="0.3 0 0"/></body><body pos="0 0 0.3">')
    motors = "<actuator><motor joint='hinge' gear='3'/><position joint='hinge' kp='30'/><motor joint='slide' gear='3'/></actuator>"
    assert_equal(tmp_path, world, RADIANS + rest + motors)


def test_a_free_joint_inherits_damping_and_armature(tmp_path):
    lossy = '<default><joint damping="0.7" armature="0.3"/></default>'
    world = ROBOT.format(hinge="", slide="", ball="").replace("<freejoint/>", '<joint type="free"/>')
    model = assert_equal(tmp_path, world, RADIANS + lossy)
    assert {link.damping for link in model.links} == {0.7}
    with pytest.raises(
        ValueError, match="free joint 'trunk' has damping, armature or friction loss, for which free_velocity"
    ):
        load(tmp_path, world, RADIANS + lossy + '<custom><text name="free_velocity" data="world"/></custom>')


EVERYTHING = "".join(ACTUATORS.values())


def whole(tmp_path):
    world = ROBOT.format(hinge='actuatorfrcrange="-9 9" damping="0.2"', slide='stiffness="5"', ball='stiffness="3"')
    world = world.replace('name="trunk"', 'name="trunk" gravcomp="0.4"')
    # what shares a limit with a site is refused
    hinged = EVERYTHING.replace('<motor site="tip"', '<motor site="rotor"')
    tendon = TENDON.format('stiffness="30" damping="0.3" springlength="-0.2 0.1"')
    return compared(tmp_path, world, f"{RADIANS}{tendon}<actuator>{hinged}</actuator>")


def test_the_kernel_computes_all_of_it_and_has_exact_gradients(tmp_path):
    model, state, control, expected = whole(tmp_path)
    simulator = Simulator(model, ENVS, threads=1)
    assert simulator.controls == len(model.actuators)
    inputs = [t.float().requires_grad_() for t in (*state, control)]
    compiled = simulator.acceleration(*inputs)
    assert ((compiled - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4
    weight = torch.randn(ENVS, model.nd, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((weight * compiled).sum(), inputs)
    for index, grad in enumerate(grads):
        direction = torch.randn(grad.shape, generator=torch.Generator().manual_seed(index)).double()
        ends = []
        for sign in (1.0, -1.0):
            moved = [t.detach().double() + (sign * 1e-6 * direction if i == index else 0.0) for i, t in enumerate(inputs)]
            ends.append((weight * double.acceleration(model, *moved)).sum(1))
        error = ((grad.double() * direction).sum(1) - (ends[0] - ends[1]) / 2e-6).abs()
        assert (error / (grad.norm(dim=1) * direction.norm(dim=1))).max() < 1e-3


ARM = body('<joint name="j" axis="0 1 0" {}/><geom type="capsule" fromto="0 0 0 0 0 -.3" size=".03"/>', inertial="")


@pytest.mark.parametrize(
    ("joint", "text", "forces"),
    [
        ("", '<motor joint="j" gear="10"/><motor joint="j" gear="5"/>', {(1, 1): 15, (1, -1): 5, (0.5, 0): 5}),
        ("", '<motor joint="j" gear="10" ctrlrange="0 12"/>', {(1,): 120, (-1,): 0, (0,): 60}),
        ('actuatorfrcrange="-20 20"', '<motor joint="j"/>', {(1,): 1, (-1,): -1}),
        ('actuatorfrcrange="-20 20"', '<motor joint="j" gear="50"/>', {(1,): 20, (-1,): -20, (0.2,): 10}),
        ("", '<motor joint="j" gear="10" forcerange="-3 3"/>', {(1,): 10, (-1,): -10}),
        ("", '<motor joint="j" gear="10" forcerange="-0.3 3"/>', {(1,): 10, (-1,): -3}),
        ("", '<position joint="j" kp="50" kv="2"/>', {(1,): 50, (-1,): -50}),
        ("", '<position joint="j" kp="50" ctrlrange="-3 3" forcerange="-80 80"/>', {(1,): 80, (0.5,): 75}),
        ("", '<velocity joint="j" kv="2"/>', {(1,): 2}),
        ("", '<motor joint="j" gear="10"/><damper joint="j" kv="5" ctrlrange="0 1"/>', {(1, 1): 10, (1, -1): 10}),
    ],
)
def test_actions_stand_for_the_ends_of_the_control_range(tmp_path, joint, text, forces):
    """At rest in the pose of the file, through `Drive`, as an environment does it."""
    rest = f'<compiler angle="radian"/>{GHOSTS}<actuator>{text}</actuator>'
    model = load(tmp_path, ARM.format(joint), rest)
    for action, expected in forces.items():
        drive = Drive(model, model.controls, None, torch.device("cpu"))
        force, control = drive(torch.tensor([action], dtype=torch.float32))
        rest_state = torch.zeros(1, 1), torch.zeros(1, 1)
        pushed = double.acceleration(model, *rest_state, force, control)
        idle = double.acceleration(type(model)(model.links, gravity=model.gravity), *rest_state, torch.zeros(1, 1))
        inertia = 1.0 / double.acceleration(type(model)(model.links), *rest_state, torch.ones(1, 1))
        assert ((pushed - idle) * inertia).item() == pytest.approx(expected, abs=1e-6)


def test_friction_loss_stops_a_block_and_a_pendulum_as_mujocos_does(tmp_path):
    """A block slides, a pendulum swings: after a second they are where MuJoCo's are, within 3 % of the way they went."""
    world = body('<joint name="s" type="slide" axis="1 0 0" frictionloss="2"/><geom size="0.1"/>') + body(
        '<joint name="p" axis="0 1 0" frictionloss="0.3"/><geom type="capsule" fromto="0 0 0 0 0 -.5" size=".03" mass="1"/>',
        inertial="",
    )
    option = '<option timestep="0.0005"/>'
    model = load(tmp_path, world, GHOSTS + option, friction_width=0.01)
    assert [link.frictionloss for link in model.links] == [2.0, 0.3]
    assert model.friction_width == 0.01
    mj = mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml"))
    data = mujoco.MjData(mj)
    data.qpos[:], data.qvel[:] = [0.0, 1.0], [1.5, 0.0]
    went = np.zeros(2)
    for _ in range(2000):
        mujoco.mj_step(mj, data)
        went += np.abs(data.qvel) * mj.opt.timestep
    q, qd = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.5, 0.0]])
    simulator = Simulator(model, 1, dt=0.02, substeps=40, mass_matrix_interval=1, threads=1)
    for _ in range(50):
        q, qd = simulator.step(q, qd, torch.zeros_like(qd))
    assert data.qvel[0] == pytest.approx(0.0, abs=1e-6)  # the block has come to rest
    np.testing.assert_allclose(q[0].numpy(), data.qpos, atol=0.03 * went.min())
    assert qd[0, 0].abs() < 1e-3


@pytest.mark.parametrize("damping", ["implicit", "explicit"])
def test_dry_friction_of_a_light_finger_stops_it_without_chatter(tmp_path, damping):
    """Taken explicitly, friction that is steep for its inertia makes it tremble."""
    inertial = '<inertial pos="0 0 0" mass="0.01" diaginertia="1e-5 1e-5 1e-5"/>'
    rest = f'<option gravity="0 0 0"/><custom><text name="damping" data="{damping}"/></custom>'
    model = load(tmp_path, body('<joint frictionloss="0.01"/><geom size="0.01"/>', inertial), rest, friction_width=0.01)
    state = torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1)
    _, rate = double.step(model, *state, dt=0.1, substeps=100, interval=1)[0]
    assert (abs(rate) < 1e-3) == (damping == "implicit")


# ---- what ties joints and bodies together ----------------------------------------------------------------------------

TIED = {
    "joints": '<joint joint1="a" joint2="b" polycoef="0.1 0.5 0.3"/>',
    "one joint": '<joint joint1="a" polycoef="0.2"/>',
    "points": '<connect body1="A" body2="B" anchor="0.3 0 0"/>',
    "points of sites": '<connect site1="tip" site2="end"/>',
    "bodies": '<weld body1="A" body2="B" torquescale="0.1"/>',
    "a body and the world": '<weld body1="A"/>',
}
PENDULUMS = (
    body('<joint name="a" axis="0 1 0" ref="0.3"/><geom size="0.1" pos="0.3 0 0"/><site name="tip" pos="0.3 0 0"/>', "", 'name="A"')
    + body('<freejoint/><geom size="0.1" pos="0.1 0.2 0"/><site name="end" pos="-0.1 0 0"/>', "", 'name="B" pos="0.4 0 0.1" euler="10 20 30"')
)  # fmt: skip


@pytest.mark.parametrize("name", TIED)
def test_equality_constraints_hold_as_stiff_springs(tmp_path, name):
    """What MuJoCo's constraint keeps at zero is small after a while, and refused unless it is asked for."""
    constraint = TIED[name]
    world = PENDULUMS
    if "joint" in name:
        world = body('<joint name="a" axis="0 1 0" ref="0.3"/><geom size="0.1" pos="0.3 0 0"/>', "") + body(
            '<joint name="b" axis="0 1 0"/><geom size="0.1" pos="0.2 0 0.1"/>', ""
        )
    rest = f"{RADIANS}<equality>{constraint}</equality>"
    with pytest.raises(
        ValueError,
        match=r"a constraint between joints or bodies is not simulated \(1: equality number 0 .*equality=\(ke, kd\)",
    ):
        load(tmp_path, world, rest)
    model = load(tmp_path, world, rest, equality=(4e4, 400))
    assert len(model.couplings) + len(model.ties) == 1
    mj = mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml"))
    mj.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    data = mujoco.MjData(mj)

    def residual(robot):
        start = torch.tensor(robot.start)[None], torch.zeros(1, robot.nd), torch.zeros(1, robot.nd)
        q, qd = double.step(robot, *start, dt=0.4, substeps=1600, interval=1).split([robot.nq, robot.nd], dim=1)
        data.qpos[:] = mujoco_witness.to_mujoco(robot, q, qd)[0][0].numpy()
        mujoco.mj_forward(mj, data)
        return np.abs(data.efc_pos[: data.ne]).max()

    assert residual(model) < 5e-3
    assert residual(load(tmp_path, world, rest, drop=["equality"])) > 0.05


def test_inactive_equality_means_nothing(tmp_path):
    rest = '<equality><joint joint1="j" active="false"/></equality>'
    assert load(tmp_path, None, rest).couplings == []
    rest = '<equality><joint joint1="j"/></equality>'
    assert load(tmp_path, None, rest + '<option><flag equality="disable"/></option>').couplings == []
    (coupling,) = load(tmp_path, None, rest + '<custom><numeric name="equality" data="100 2"/></custom>').couplings
    assert (coupling.ke, coupling.kd) == (100.0, 2.0)


# ---- limits ------------------------------------------------------------------------------------------------------------


def test_limits_of_balls_and_tendons_and_their_margins(tmp_path):
    """MuJoCo's limits push from their margin on; here they lie that much further in."""
    world = ROBOT.format(hinge='range="-1 1" margin="0.1"', slide='range="-1 2"', ball='range="0 1.2" margin="0.2"')
    tendon = TENDON.format('range="-0.5 0.4" limited="true" margin="0.05"')
    model = load(tmp_path, world, RADIANS + tendon + LIMIT.replace("70 3", "70 0 5"))
    bounds = {link.name: (link.lower, link.upper) for link in model.links}
    assert bounds["hinge"] == pytest.approx((-0.9, 0.9))
    assert bounds["slide"] == (-1.0, 2.0)
    assert bounds["ball"] == (-np.inf, pytest.approx(1.0))
    (rope,) = model.tendons
    assert (rope.lower, rope.upper, rope.limit_ke, rope.stop_kd) == pytest.approx((-0.45, 0.35, 70.0, 5.0))
    with pytest.raises(ValueError, match=r"limit: there are no constants.*\(4: joint 'hinge' of .*, tendon 't'\)"):
        load(tmp_path, world, RADIANS + tendon)


@pytest.mark.parametrize("joint", [Joint.BALL, Joint.REVOLUTE])
def test_beyond_a_limit_a_spring_pushes_back_along_the_turn(tmp_path, joint):
    kind = 'type="ball" range="0 1"' if joint is Joint.BALL else 'axis="1 2 2" range="-1 1"'
    model = load(
        tmp_path, body(f'<joint {kind}/><geom size="0.1"/>'), f'<compiler angle="radian"/><option gravity="0 0 0"/>{LIMIT}'
    )
    axis, turn = np.array([1.0, 2.0, 2.0]) / 3.0, 1.3
    q = torch.tensor([[*(np.sin(turn / 2) * axis), np.cos(turn / 2)]]) if joint is Joint.BALL else torch.tensor([[turn]])
    for link in model.links:
        link.limit_kd = 0.0
    qdd = double.acceleration(model, q, torch.zeros(1, model.nd), torch.zeros(1, model.nd))
    expected = -70.0 * 0.3 * (axis if joint is Joint.BALL else np.ones(1))
    np.testing.assert_allclose(qdd[0].numpy(), expected, rtol=1e-6)
