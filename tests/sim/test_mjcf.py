"""What the loader reads, against MuJoCo's accelerations and by the numbers."""

from itertools import product

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.sim import Joint, codegen, load_mjcf
from tests.sim import double, mujoco_witness, trees

CONTACT = '<custom><numeric name="contact" data="900 50 20 0.5"/></custom>'
LIMIT = '<custom><numeric name="limit" data="70 3"/></custom>'
PLANE = '<geom name="floor" type="plane" size="1 1 1"/>'
GHOSTS = '<default><geom contype="0" conaffinity="0"/></default>'
INERTIAL = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'


def body(inside='<joint name="j" axis="0 0 1"/><geom size="0.1"/>', inertial=INERTIAL, attributes=""):
    return f"<body {attributes}>{inertial}{inside}</body>"


def file(world=None, rest=""):
    return f"<mujoco>{rest}<worldbody>{body() if world is None else world}</worldbody></mujoco>"


def load(tmp_path, world=None, rest="", **options):
    path = tmp_path / "robot.xml"
    path.write_text(file(world, rest))
    return load_mjcf(path, **options)


# ---- motion --------------------------------------------------------------------------------------------------------

LEAF = '<body pos="0.3 0.1 0"><joint axis="1 2 0"/><geom size="0.1" pos="0 0 0.2"/></body>'
SHIFTED = '<inertial pos="0 1 0" mass="1" diaginertia="1 1 1"/>'
MOVING = {
    "fixed bodies in fixed bodies": """<body><freejoint/><geom size="0.1"/>
        <body pos="0.2 0 0.1" euler="30 20 10"><geom size="0.1 0.2" type="capsule" pos="0 0.1 0"/>
          <body pos="0 0.3 0" quat="1 2 3 4"><inertial pos="0.1 0 0" quat="4 3 2 1" mass="2" diaginertia="0.1 0.2 0.15"/>
            <body pos="0.1 0.1 0.1" euler="5 6 7"><joint axis="0 1 1"/><geom size="0.1" pos="0.1 0 0"/></body></body></body></body>""",
    "slides and hinges at different places": """<body pos="0.1 0.2 0.3" euler="10 20 30">
        <joint type="slide" axis="1 0 0" pos="0 0 0.4"/><joint axis="0 1 0" pos="0.1 0 0.2"/>
        <joint type="slide" axis="0 1 1" pos="0 0.3 0"/><joint axis="1 0 1" pos="0 -0.2 0"/>
        <geom size="0.1" pos="0.1 0.2 0"/><body pos="0 0 0.3"><joint pos="0 0.1 0"/><geom size="0.1"/></body></body>""",
    "hinges and a ball": """<body pos="0.1 0.2 0.3" euler="10 20 30"><joint axis="0 1 0" pos="0.1 0 0.2"/>
        <joint axis="1 0 0" pos="0 0.3 0"/><joint type="ball" pos="0.1 0.1 0" armature="0.1" damping="0.2"/>
        <geom size="0.1 0.2 0.3" type="ellipsoid"/></body>""",
    "a ball and a slide": """<body><joint type="ball" pos="0 0.3 0"/><joint type="slide" axis="0 1 0" pos="0.1 0 0.2"/>
        <geom size="0.1 0.2 0.3" type="box" pos="0.1 0 0"/></body>""",
    "hinges and slides with a reference": """<body><joint axis="0 1 0" pos="0.1 0 0.2" ref="40" springref="10" stiffness="3"/>
        <joint type="slide" axis="1 0 1" ref="-0.7" springref="0.2" stiffness="5"/><geom size="0.1"/>
        <body pos="0.2 0 0"><joint axis="1 1 0" ref="-30" stiffness="2"/><geom size="0.1" pos="0 0.2 0"/></body></body>""",
    "densities and masses": f"""<body><freejoint/><geom size="0.1 0.2" type="cylinder" density="300"/>
        <geom size="0.1" mass="0.7" pos="0.2 0 0"/><geom size="0.1 0.2 0.1" type="box" shellinertia="true" euler="3 4 5"/>{LEAF}</body>""",
    "an inertial turned by euler": f"""<body><freejoint/>{LEAF}
        <inertial pos="0 0.1 0" mass="2" diaginertia="0.1 0.2 0.15" euler="30 40 50"/></body>""",
    "an inertial turned by axes": f"""<body><freejoint/>{LEAF}
        <inertial pos="0 0.1 0" mass="2" diaginertia="0.1 0.2 0.15" xyaxes="1 1 0 0 0 1"/></body>""",
    "an inertial turned by a long quaternion": f"""<body><freejoint/>{LEAF}
        <inertial pos="0 0.1 0" mass="2" diaginertia="0.1 0.2 0.15" quat="1 2 3 4"/></body>""",
    "a full inertia": f"""<body><freejoint/>{LEAF}
        <inertial pos="0 0.1 0" mass="2" fullinertia="0.1 0.2 0.15 0.01 0.02 0.03"/></body>""",
    "a spring and damper given by time": """<body><joint springdamper="0.3 0.7" springref="20" armature="0.1"/>
        <geom size="0.1" pos="0.3 0 0"/></body>""",
    "two free robots": 2 * f'<body pos="1 2 3"><freejoint/><geom size="0.1" pos="0.1 0 0"/>{LEAF}</body>',
    "a free joint that has children to align": f'<body><freejoint align="true"/>{SHIFTED}{LEAF}</body>',
    "frames": f'<frame pos="1 0 0" euler="10 20 30"><body><frame euler="0 0 40"><joint/><geom size="0.1" pos="1 0 0"/></frame>{LEAF}</body></frame>',
    "copies": '<body><joint/><geom size="0.1"/><replicate count="3" euler="0 0 60"><body pos="0.3 0 0"><joint axis="0 1 0"/><geom size="0.1"/></body></replicate></body>',
}
INERTIALS = f"""<body><joint/><inertial pos="0 0.1 0" quat="1 2 3 4" mass="2" diaginertia="0.1 0.2 0.15"/>
    <geom size="0.1" pos="0.3 0 0"/><geom size="0.1" group="3" pos="0 0.3 0" mass="2"/>{LEAF}
    <body pos="0 0 0.2"><inertial pos="0.1 0 0" mass="3" diaginertia="0.1 0.2 0.15"/></body></body>"""
COMPILED = {
    "radians": '<compiler angle="radian"/>',
    "an order of angles": '<compiler eulerseq="zyx"/>',
    "inertias from geoms": '<compiler inertiafromgeom="true"/>',
    "a total mass": '<compiler settotalmass="11"/>',
    "a total mass of geoms": '<compiler settotalmass="11" inertiafromgeom="true"/>',
    "some groups' inertias": '<compiler inertiafromgeom="true" inertiagrouprange="0 2"/>',
    "bodies fused": '<compiler fusestatic="true"/>',
    "geoms discarded": '<compiler discardvisual="true"/>',
    "gravity to the side": '<option gravity="1 2 3"/>',
}
JOINTS = f"""<body><joint stiffness="20" springref="30" damping="0.4" armature="0.3"/><geom size="0.1" pos="0.3 0 0"/>
    <body pos="0.1 0 0"><joint type="ball" damping="0.3"/><geom size="0.1"/>{LEAF}</body></body>"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


def assert_it_moves_as_in_mujoco(tmp_path, xml):
    model = trees.load(tmp_path, xml)
    for link in model.links:
        link.limit_ke = link.limit_kd = 0.0
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml")))
    q, qd, force = trees.state(model, 4, seed=2)
    expected = mujoco_witness.acceleration(witness, model, q, qd, force)
    exact = double.acceleration(model, q, qd, force)
    torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())
    return model


@pytest.mark.parametrize("world", MOVING.values(), ids=MOVING)
def test_bodies_and_joints(tmp_path, world):
    assert_it_moves_as_in_mujoco(tmp_path, file(world, GHOSTS))


@pytest.mark.filterwarnings("ignore:compiler attribute 'settotalmass' is deprecated")
@pytest.mark.parametrize("option", COMPILED.values(), ids=COMPILED)
def test_options_of_the_compiler(tmp_path, option):
    """Each of them changes the motion, and changes it as in MuJoCo."""
    world = INERTIALS.replace("<body>", '<body euler="0.4 0.5 0.6">', 1)
    model = assert_it_moves_as_in_mujoco(tmp_path, file(world, GHOSTS + option))
    if "discard" not in option and "fuse" not in option:
        q, qd, force = trees.state(model, 1, seed=3)
        plain = trees.load(tmp_path, file(world, GHOSTS))
        assert not torch.equal(*(double.acceleration(m, q, qd, force) for m in (model, plain)))


@pytest.mark.parametrize("flag", ["gravity", "spring", "damper"])
def test_disabled_forces(tmp_path, flag):
    option = f'<option><flag {flag}="disable"/></option>'
    model = assert_it_moves_as_in_mujoco(tmp_path, file(JOINTS, GHOSTS + option))
    q, qd, force = trees.state(model, 1, seed=3)
    plain = trees.load(tmp_path, file(JOINTS, GHOSTS))
    assert not torch.equal(*(double.acceleration(m, q, qd, force) for m in (model, plain)))


def test_includes_and_classes(tmp_path):
    (tmp_path / "leg.xml").write_text(
        '<mujoco><body childclass="leg"><joint name="hip"/><geom size="0.1" pos="0.2 0 0"/></body></mujoco>'
    )
    rest = f"""<default><geom contype="0" conaffinity="0"/><default class="leg"><joint axis="0 1 0" armature="0.3" range="-90 45"/>
        <geom density="500"/></default></default>{LIMIT}"""
    model = assert_it_moves_as_in_mujoco(tmp_path, file('<include file="leg.xml"/>', rest))
    (link,) = model.links
    assert (link.name, link.axis.tolist(), link.armature) == ("hip", [0.0, 1.0, 0.0], 0.3)
    assert link.mass == pytest.approx(500 * 4 / 3 * np.pi * 0.1**3)
    assert (link.lower, link.upper) == pytest.approx((-np.pi / 2, np.pi / 4))


def test_an_attached_file_keeps_its_own_compiler(tmp_path):
    (tmp_path / "arm.xml").write_text(
        '<mujoco><compiler angle="radian" inertiafromgeom="true"/><worldbody><body name="arm" pos="0 0 0.2"><joint axis="1 1 0" ref="0.5"/>'
        '<inertial pos="0.1 0 0" mass="2" diaginertia="0.1 0.2 0.15" euler="1 0 0"/>'
        '<geom size="0.1" pos="0 0.3 0"/></body></worldbody></mujoco>'
    )
    rest = '<asset><model name="arm" file="arm.xml"/></asset>' + GHOSTS
    model = assert_it_moves_as_in_mujoco(
        tmp_path, file(body('<freejoint/><attach model="arm" body="arm" prefix="a"/>'), rest)
    )
    assert [link.ref for link in model.links] == [0.0, 0.5]


def test_fixed_bodies_are_merged_and_several_joints_make_several_links(tmp_path):
    model = trees.load(tmp_path, trees.text(["hinge", "fixed", "two hinges"], seed=2))
    assert [link.joint for link in model.links] == [Joint.REVOLUTE] * 3
    assert [link.parent for link in model.links] == [-1, 0, 1]
    assert model.links[1].mass == 0.0
    assert model.links[0].mass > 0.0


def test_an_unphysical_inertial_is_taken_literally(tmp_path):
    inertial = INERTIAL.replace("1 1 1", "1 1 5")
    model = load(tmp_path, body(inertial=inertial), '<compiler balanceinertia="true"/>')
    assert model.links[0].inertia.diagonal().tolist() == [1.0, 1.0, 5.0]


def test_no_reference_costs_nothing(tmp_path):
    """Without one the kernels are what they were before there were any."""
    lines = []
    for ref in (0.5, 0.0):
        joints = f'<joint ref="{ref}"/><joint type="slide" ref="{ref}"/>'
        model = load(tmp_path, body(joints + '<geom size="0.1"/>'), '<compiler angle="radian"/>')
        lines.append(codegen.source("acceleration", model).splitlines())
    # each joint's own is subtracted in the dynamics and in the height of the reference point, the slide's in the mass matrix too
    assert len(lines[0]) == len(lines[1]) + 5


# ---- joints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joint", "rest", "bounds"),
    [
        ('range="-90 45"', "", (-np.pi / 2, np.pi / 4)),
        ('range="-90 45"', '<compiler angle="radian"/>', (-90.0, 45.0)),
        ('range="-90 45" limited="false"', "", (-np.inf, np.inf)),
        ('range="-90 45" limited="true"', '<compiler autolimits="false"/>', (-np.pi / 2, np.pi / 4)),
        ('range="-90 45" ref="30"', "", (-np.pi / 2, np.pi / 4)),
        ('range="-90 45" type="slide"', "", (-90.0, 45.0)),
        ('range="-90 45"', '<option><flag limit="disable"/></option>', (-np.inf, np.inf)),
        ('range="-90 45"', '<option><flag constraint="disable"/></option>', (-np.inf, np.inf)),
    ],
)
def test_limits(tmp_path, joint, rest, bounds):
    (link,) = load(tmp_path, body(f"<joint {joint}/>"), rest + LIMIT).links
    assert (link.lower, link.upper) == pytest.approx(bounds)
    assert (link.limit_ke, link.limit_kd, link.stop_kd) == (70.0, 3.0, 0.0)


def test_a_limit_may_brake_beyond_it_only(tmp_path):
    joint = '<joint range="0 1"/>'
    (link,) = load(tmp_path, body(joint), LIMIT.replace("70 3", "70 3 5")).links
    assert (link.limit_ke, link.limit_kd, link.stop_kd) == (70.0, 3.0, 5.0)
    (link,) = load(tmp_path, body(joint), limit=(1, 0, 2)).links
    assert (link.limit_ke, link.limit_kd, link.stop_kd) == (1.0, 0.0, 2.0)


def test_friction_is_the_arguments_or_the_files(tmp_path):
    smooth = '<custom><text name="friction" data="smooth"/></custom>'
    assert load(tmp_path).friction == "bound"
    assert load(tmp_path, rest=smooth).friction == "smooth"
    assert load(tmp_path, rest=smooth, friction="bound").friction == "bound"
    assert load(tmp_path, friction="smooth").friction == "smooth"


def test_a_robot_without_a_start_is_in_the_pose_of_the_file(tmp_path):
    slide = '<joint type="slide" ref="0.25"/><joint type="ball"/>'
    model = load(tmp_path, body('<joint ref="0.5"/>' + body(slide)), '<compiler angle="radian"/>')
    assert model.start.tolist() == [0.5, 0.25, 0.0, 0.0, 0.0, 1.0]
    assert type(model)(model.links).start.tolist() == model.start.tolist()
    key = '<keyframe><key qpos="1 2 0.6 0 0.8 0"/><key qpos="0 0 1 0 0 0"/></keyframe>'
    model = load(tmp_path, body('<joint ref="0.5"/>' + body(slide)), key)
    assert model.start.tolist() == [1.0, 2.0, 0.0, 0.8, 0.0, 0.6]


@pytest.mark.parametrize(
    ("motor", "rest", "strength"),
    [
        ("<motor joint='j' gear='5'/>", "", 5.0),
        ("<motor joint='j' gear='5' ctrlrange='-0.4 0.4'/>", "", 2.0),
        ("<motor joint='j' gear='5' ctrlrange='-0.4 0.4' ctrllimited='false'/>", "", 5.0),
        ("<motor joint='j' gear='5' ctrlrange='-0.4 0.4'/>", "<option><flag clampctrl='disable'/></option>", 5.0),
        ("<motor jointinparent='j' gear='-5' ctrlrange='-2 2'/>", "", -10.0),
        ("<general joint='j' gainprm='3' gear='5' ctrlrange='-2 2'/>", "", 30.0),
        ("<motor joint='j' gear='5' ctrlrange='-2 2' forcerange='-2 3'/>", "", 10.0),
        ("<motor joint='k' gear='20' ctrlrange='-2 2'/>", "", 40.0),
    ],
)
def test_strength_of_motors(tmp_path, motor, rest, strength):
    arm = body('<joint name="k" actuatorfrcrange="-50 40"/>')
    rest += f"<actuator>{motor}</actuator>"
    model = load(tmp_path, body('<joint name="i" type="ball"/>' + body('<joint name="j"/>' + arm)), rest)
    (actuator,) = model.actuators
    ((dof, gear),) = actuator.moment
    assert (dof, gear * actuator.gain * actuator.control[1]) == (4 if "'k'" in motor else 3, pytest.approx(strength))


def test_motors_come_in_the_files_order(tmp_path):
    world = body('<joint name="a"/>' + body('<joint name="b"/>'))
    motors = '<actuator><motor joint="b" gear="2"/><motor joint="a" gear="3"/></actuator>'
    assert [motor.moment for motor in load(tmp_path, world, motors).actuators] == [[(1, 2.0)], [(0, 3.0)]]


# ---- ground --------------------------------------------------------------------------------------------------------


def test_the_plane_says_where_the_ground_and_up_are(tmp_path):
    ghost = '<geom type="plane" size="1 1 1" zaxis="0 1 0" contype="0" conaffinity="0"/>'
    model = load(tmp_path, ghost + PLANE.replace("/>", ' pos="0 0 3"/>') + body(), CONTACT)
    assert (model.up.tolist(), model.ground) == ([0.0, 0.0, 1.0], 3.0)
    (contact,) = model.contacts
    assert (contact.ke, contact.kd, contact.kf, contact.mu) == (900.0, 50.0, 20.0, 0.5)


def test_the_plane_may_be_a_fixed_bodys(tmp_path):
    fixed = f'<body pos="0 0 3" euler="90 0 0"><body pos="1 2 4" euler="-90 0 0">{PLANE}</body></body>'
    model = load(tmp_path, fixed + body(), CONTACT)
    assert model.up == pytest.approx([0.0, 0.0, 1.0])
    assert model.ground == pytest.approx(5.0)


def test_without_a_plane_up_is_against_gravity_and_nothing_touches(tmp_path):
    ghost = '<geom type="plane" size="1 1 1" pos="0 3 0" zaxis="0 1 0" contype="0" conaffinity="0"/>'
    for world in (None, ghost + body()):
        model = load(tmp_path, world)
        assert (model.up.tolist(), model.ground, model.contacts) == ([0.0, 0.0, 1.0], 0.0, [])


def test_disabled_contact_leaves_the_ground_where_it_is(tmp_path):
    for flag in ("contact", "constraint"):
        rest = f'<option gravity="0 0 0"><flag {flag}="disable"/></option>'
        model = load(tmp_path, PLANE.replace("/>", ' pos="0 0 3"/>') + body(), rest)
        assert (model.up.tolist(), model.ground, model.contacts) == ([0.0, 0.0, 1.0], 3.0, [])


def test_of_two_planes_the_level_one_is_the_ground(tmp_path):
    wall = '<geom name="wall" type="plane" size="1 1 1" zaxis="1 0 0"/>'
    model = load(tmp_path, wall + PLANE + body(), CONTACT)
    assert model.up.tolist() == [0.0, 0.0, 1.0]
    assert [geom.name for geom in model.geoms] == ["wall", "geom 2"]
    model = load(tmp_path, wall + PLANE.replace("/>", ' contype="0" conaffinity="2"/>') + body(), CONTACT)
    assert model.up == pytest.approx([1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("plane", "geom", "touches"),
    [
        ((1, 1), (1, 1), True),
        ((1, 0), (0, 1), True),
        ((0, 1), (1, 0), True),
        ((6, 0), (1, 4), True),
        ((1, 0), (1, 0), False),
        ((0, 1), (0, 1), False),
        ((2, 0), (0, 1), False),
        ((1, 1), (0, 0), False),
    ],
)
def test_bits_decide_what_touches_as_in_mujoco(tmp_path, plane, geom, touches):
    floor = PLANE.replace("/>", ' contype="{}" conaffinity="{}"/>'.format(*plane))
    sphere = '<freejoint/><geom size="0.1" contype="{}" conaffinity="{}"/>'.format(*geom)
    model = load(tmp_path, floor + body(sphere), CONTACT)
    mj = mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml"))
    data = mujoco.MjData(mj)
    mujoco.mj_forward(mj, data)
    assert [len(model.contacts), data.ncon] == [touches, touches]


def test_excluded_bodies_do_not_touch(tmp_path):
    world = PLANE + body(attributes='name="a"') + body("<joint/><geom size='0.2'/>", attributes='name="b"')
    exclude = '<contact><exclude body1="b" body2="world"/><exclude body1="a" body2="b"/></contact>'
    assert [c.radius for c in load(tmp_path, world, CONTACT + exclude).contacts] == [0.1]


def test_where_geoms_touch(tmp_path):
    geoms = """<geom size="0.1" pos="1 2 3"/><geom size="0.2 0.5" type="capsule" pos="1 0 0" euler="90 0 0"/>
        <geom size="0.1 0.2 0.3" type="box" pos="0 0 1" euler="0 0 90"/>"""
    model = load(tmp_path, PLANE + body('<freejoint/><body pos="0 0 5">' + geoms + "</body>"), CONTACT)
    points = np.array([[*c.point, c.radius] for c in model.contacts])
    assert points[0] == pytest.approx([1, 2, 8, 0.1])
    assert points[1:3] == pytest.approx(np.array([[1, -0.5, 5, 0.2], [1, 0.5, 5, 0.2]]))
    corners = {(0.2 * x, 0.1 * y, 6 + 0.3 * z, 0.0) for x, y, z in product((1, -1), repeat=3)}
    assert {tuple(np.round(p, 9)) for p in points[3:]} == {tuple(np.round(p, 9)) for p in corners}
    assert len(points) == 11


@pytest.mark.parametrize("tilt", [0.0, 0.3, 1.1])
def test_a_box_follows_the_contact_law_at_its_corners(tmp_path, tilt):
    inertial = '<inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>'
    model = load(tmp_path, PLANE + body('<freejoint/><geom size="0.2 0.3 0.4" type="box"/>', inertial), CONTACT)
    height, sinking = 0.35, 0.6
    q = torch.tensor([[0.0, 0.0, height, np.sin(tilt / 2), 0.0, 0.0, np.cos(tilt / 2)]], dtype=torch.float64)
    qd = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, -sinking]], dtype=torch.float64)
    arms = np.array(list(product((0.2, -0.2), (0.3, -0.3), (0.4, -0.4))))
    c, s = np.cos(tilt), np.sin(tilt)
    arms = arms @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T
    depth = np.maximum(-(height + arms[:, 2]), 0.0)
    press = np.outer(900 * depth + 50 * depth * sinking, [0.0, 0.0, 1.0])
    assert np.count_nonzero(depth) == (4 if tilt == 0.0 else 2)
    linear = press.sum(0) / 2.0 + [0.0, 0.0, -9.81]
    angular = np.cross(arms, press).sum(0)
    qdd = double.acceleration(model, q, qd, torch.zeros(1, 6))[0].numpy()
    np.testing.assert_allclose(qdd[:3], angular, atol=1e-9)
    np.testing.assert_allclose(qdd[3:] + np.cross(qdd[:3], [0.0, 0.0, height]), linear, atol=1e-9)


def laws(model):
    return [(c.ke, c.kd, c.kf, c.mu) for c in (*model.contacts, *model.pairs)]


def test_whose_contact_constants_count(tmp_path):
    """A geom's own, also by its class, then the argument's, then the file's."""
    world = PLANE + body(
        '<freejoint/><geom size="0.1"/><geom size="0.1" user="1 2 3 4"/><geom size="0.1 0.2" type="capsule" class="foot"/>'
    )
    rest = '<default><default class="foot"><geom user="5 0 0 0"/></default></default>'
    own = [(1.0, 2.0, 3.0, 4.0), *2 * [(5.0, 0.0, 0.0, 0.0)]]
    assert laws(load(tmp_path, world, rest + CONTACT)) == [(900.0, 50.0, 20.0, 0.5), *own]
    assert laws(load(tmp_path, world, rest + CONTACT, contact=(6, 7, 8, 9))) == [(6.0, 7.0, 8.0, 9.0), *own]
    assert laws(load(tmp_path, world, rest, contact=(6, 7, 8, 9), drop=["user"])) == 4 * [(6.0, 7.0, 8.0, 9.0)]


def test_constants_given_override_the_files(tmp_path):
    joint = '<joint range="0 1"/>'
    nonsense = '<custom><numeric name="limit" data="1 2 3"/><numeric name="contact" data="0"/></custom>'
    for rest in ("", LIMIT, nonsense):
        (link,) = load(tmp_path, body(joint), rest, limit=(8, 9), contact=(1, 1, 1, 1)).links
        assert (link.limit_ke, link.limit_kd) == (8.0, 9.0)
