"""What the engine does not simulate is refused by name; dropping it gives the robot without it."""

import dataclasses
import re
from contextlib import nullcontext

import mujoco
import numpy as np
import pytest

from rpo_lightning.sim import load_mjcf
from rpo_lightning.sim.mjcf import refusals
from tests.sim.test_mjcf import CONTACT, LIMIT, PLANE, SHIFTED, body, file, load

OLD = tuple(map(int, mujoco.__version__.split(".")[:2])) < (4, 0)
LAWS = CONTACT + LIMIT
BALL, FREE = '<joint name="j" type="ball"/>', '<freejoint name="j"/>'
HINGE, SPHERE = '<joint name="j"/>', '<geom name="g" size="0.1"/>'
ACTUATED = body(HINGE + '<site name="s"/><site name="r"/>', attributes='name="b"')
GROUNDED = PLANE + body(FREE + SPHERE)
PID = '<extension><plugin plugin="mujoco.pid"/></extension>'


def acts(motor):
    return file(ACTUATED, f"<actuator>{motor}</actuator>")


MOTOR = acts('<motor name="a" joint="j"/>')
TWO_BODIES = file(body(HINGE, attributes='name="b"') + body("<joint/>", attributes='name="c"'), LAWS)
ON_THE_GROUND, IN_THE_AIR = file(GROUNDED, LAWS), file(PLANE + body(FREE), LAWS)
SPATIAL = '<tendon><spatial name="t"><site site="s"/><site site="r"/></spatial></tendon>'
FIXED = '<tendon><fixed name="t" {}><joint joint="j" coef="1"/></fixed></tendon>'
TWO_ON_TENDON = acts('<motor name="a" tendon="t"/><motor name="b" tendon="t"/>')
HINGE_ON_FREE = f'<joint name="f" type="free"/><geom size="0.1"/><body>{HINGE}<geom size="0.1"/></body>'
LIFTED = '<joint name="j" actuatorgravcomp="true" actuatorfrcrange="-9 9"/>'
BOX, POST = '<geom name="box" type="box" size="1 1 1"/>', '<geom name="post" type="cylinder" size="0.1 0.2"/>'
HILLS, FIELD = (
    '<geom name="hills" type="hfield" hfield="f"/>',
    f'{LAWS}<asset><hfield name="f" nrow="3" ncol="3" size="1 1 1 1"/></asset>',
)


def swap(text, old, new):
    assert old in text
    return text.replace(old, new)


def at_the_end(text, more):
    return swap(text, "</mujoco>", f"{more}</mujoco>")


# (key, what the message names, file, the same file without what is dropped)
CASES = [
    ("actuator", "actuator 'a'", acts('<cylinder name="a" joint="j" timeconst="3"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a'", acts('<muscle name="a" joint="j" lengthrange="0 1"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a'", acts('<adhesion name="a" body="b" ctrlrange="0 1"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a' (activation dynamics integrator)", acts('<general name="a" joint="j" dyntype="integrator"/>'),
     file(ACTUATED)),
    ("actuator", "actuator 'a' (activation dynamics integrator)", acts('<intvelocity name="a" joint="j" kp="20" actrange="-1 1"/>'),
     file(ACTUATED)),
    ("actuator", "actuator 'a' (activation dynamics filterexact)", acts('<position name="a" joint="j" timeconst="1"/>'),
     file(ACTUATED)),
    ("actuator", "actuator 'a' (on a site that is seen from another)", acts('<motor name="a" site="s" refsite="r"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a' (a damper on a site)", acts('<velocity name="a" site="s" gear="1 0 0"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a' (on a free joint)", acts('<motor name="a" joint="f"/>').replace(HINGE, HINGE_ON_FREE),
     file(ACTUATED).replace(HINGE, HINGE_ON_FREE)),
    ("actuator", "actuator 'a' (on a ball joint in its parent's frame)", swap(acts('<motor name="a" jointinparent="j"/>'), HINGE, BALL),
     swap(file(ACTUATED), HINGE, BALL)),
    ("actuator", "actuator 'a' (a servo to an angle of a ball joint)", swap(acts('<position name="a" joint="j"/>'), HINGE, BALL),
     swap(file(ACTUATED), HINGE, BALL)),
    ("actuator", "actuator 'a' (on a tendon that is led through space)", at_the_end(acts('<motor name="a" tendon="t"/>'), SPATIAL),
     at_the_end(file(ACTUATED), SPATIAL)),
    (
        "actuator",
        "actuator 'a'",
        swap(acts('<plugin name="a" joint="j" plugin="mujoco.pid"/>'), "<mujoco>", f"<mujoco>{PID}"),
        file(ACTUATED),
    ),
    (
        "actuator",
        "actuator number 0",
        acts('<motor joint="j" group="2"/><motor name="b" joint="j" gear="7"/>').replace(
            "<mujoco>", '<mujoco><option actuatorgroupdisable="2"/>'
        ),
        acts('<motor name="b" joint="j" gear="7"/>'),
    ),
    (
        "actuator",
        "actuator 'a'",
        swap(MOTOR, "<mujoco>", '<mujoco><option><flag actuation="disable"/></option>'),
        file(ACTUATED),
    ),
    ("align", "joint 'j'", file(body(swap(FREE, "/>", ' align="true"/>') + SPHERE, SHIFTED)), file(body(FREE + SPHERE, SHIFTED))),
    ("align", "joint 'j'", file(body(FREE + SPHERE, SHIFTED), '<compiler alignfree="true"/>'), file(body(FREE + SPHERE, SHIFTED))),
    ("equality", "equality 'e'", at_the_end(TWO_BODIES, '<equality><weld name="e" body1="b" body2="c"/></equality>'), TWO_BODIES),
    ("equality", "equality number 0", at_the_end(TWO_BODIES, '<equality><joint joint1="j"/></equality>'), TWO_BODIES),
    ("flex", "flex 'f'", file('<body name="b">' + HINGE + SPHERE + "</body>", """<deformable><flex name="f" dim="2" body="b"
        vertex="0 0 0 0 1 0 1 0 0" element="0 1 2"/></deformable>"""), file('<body name="b">' + HINGE + SPHERE + "</body>")),
    ("forcerange", "actuator 'a', actuator 'b'", at_the_end(TWO_ON_TENDON, FIXED.format('actuatorfrcrange="-1 2"')),
     at_the_end(TWO_ON_TENDON, FIXED.format(""))),
    ("free-joint", "joint 'j'", file(body('<joint name="j" type="free" stiffness="3"/>')), file(body(FREE))),
    ("geom", "geom 'other' of body 'world', another height field than geom 'hills' of body 'world'", file(f'{HILLS}<geom name="other" type="hfield" hfield="f"/>'
     + body(FREE + SPHERE), FIELD), file(HILLS + body(FREE + SPHERE), FIELD)),
    ("gravcomp", "joint 'j' of body 'b'", file(body(LIFTED, attributes='name="b" gravcomp="1"')),
     file(body(swap(LIFTED, 'actuatorgravcomp="true"', ""), attributes='name="b" gravcomp="1"'))),
    *(("tendon", "tendon 't' (led through space)", at_the_end(MOTOR, swap(SPATIAL, 'name="t"', f'name="t" {acts}')), at_the_end(MOTOR, SPATIAL))
      for acts in ('stiffness="3"', 'damping="3"', 'frictionloss="3"', 'range="0 1" limited="true"', 'armature="3"')),
    ("tendon", "tendon 't' (with armature)", at_the_end(MOTOR, FIXED.format('armature="3"')), MOTOR),
    *(("user", "geom 'g'", swap(ON_THE_GROUND, 'size="0.1"', f'size="0.1" user="{user}"'), ON_THE_GROUND)
      for user in ("1 2 3", "0 0 0 0", "1 2 3 -4", "1 2 3 4 5")),
    ("keyframe", "keyframe 'k'", file(body(HINGE), '<keyframe><key name="k" qpos="0.3" qvel="1"/></keyframe>'),
     file(body(HINGE), '<keyframe><key name="k" qpos="0.3"/></keyframe>')),
    ("user", "geom 'floor'", swap(ON_THE_GROUND, 'name="floor"', 'name="floor" user="1 2 3"'), ON_THE_GROUND),
]  # fmt: skip
NEWER_CASES = [
    ("actuator", "actuator 'a'", acts('<motor name="a" joint="j" delay="0.1" nsample="90"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a'", acts('<motor name="a" joint="j" armature="0.1"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a'", acts('<motor name="a" joint="j" damping="0.1"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a'", acts('<motor name="a" joint="j" damping="0 1"/>'), file(ACTUATED)),
    ("actuator", "actuator 'a'", acts('<dcmotor name="a" joint="j" motorconst="1" resistance="1"/>'), file(ACTUATED)),
    ("adhesion", "geom 'g'", swap(ON_THE_GROUND, 'size="0.1"', 'size="0.1" adhesion="3"'), ON_THE_GROUND),
    ("nonlinear", "joint 'j'", file(body(swap(HINGE, "/>", ' stiffness="3 1"/>'))), file(body(swap(HINGE, "/>", ' stiffness="3"/>')))),
    ("nonlinear", "joint 'j'", file(body(swap(HINGE, "/>", ' damping="3 0 1"/>'))), file(body(swap(HINGE, "/>", ' damping="3"/>')))),
    ("nonlinear", "tendon 't'", at_the_end(MOTOR, FIXED.format('stiffness="3 1"')), at_the_end(MOTOR, FIXED.format('stiffness="3"'))),
    ("springyield", "joint 'j'", file(body(swap(HINGE, "/>", ' stiffness="3" springyield="1"/>'))),
     file(body(swap(HINGE, "/>", ' stiffness="3"/>')))),
    ("surfacevel", "geom 'floor'", swap(ON_THE_GROUND, 'name="floor"', 'name="floor" surfacevel="1 0 0 0 0 0"'), ON_THE_GROUND),
]  # fmt: skip
NEWER = pytest.mark.skipif(OLD, reason="MuJoCo cannot say this before version 4")


def contents(model):
    """Everything in a model, for comparison."""
    state = dataclasses.asdict(model)
    for link in state["links"]:
        del link["name"]
    return repr(state)


@pytest.mark.parametrize(
    ("key", "named", "xml", "without"), [*CASES, *(pytest.param(*case, marks=NEWER) for case in NEWER_CASES)]
)
def test_what_is_not_simulated_is_refused_or_dropped(tmp_path, key, named, xml, without):
    what, dropped = refusals.REFUSED[key]
    start = re.escape(f"{tmp_path / 'robot.xml'}: it cannot be simulated as it is.\n  {key}: {what} is not simulated (")
    end = re.escape(f'; dropped, {dropped}\n  Change the file, or load it with: drop=["{key}"]')
    with pytest.raises(ValueError, match=rf"^{start}\d+: [^\n]*{re.escape(named)}[^\n]*\){end}$"):
        load_text(tmp_path, xml, ())
    assert contents(load_text(tmp_path, xml, [key])) == contents(load_text(tmp_path, without, ()))


def load_text(tmp_path, xml, drop):
    (tmp_path / "robot.xml").write_text(xml)
    return load_mjcf(tmp_path / "robot.xml", drop=drop)


def test_every_key_has_a_case():
    """Except for plugins on bodies, which MuJoCo does not ship any more."""
    assert {case[0] for case in (*CASES, *NEWER_CASES)} | {"plugin"} == set(refusals.REFUSED)


def test_a_joint_that_clamps_what_comes_from_a_site(tmp_path):
    xml = swap(acts('<motor name="a" site="s"/>'), HINGE, '<joint name="j" actuatorfrcrange="-9 8"/>')
    with pytest.raises(ValueError, match=r"forcerange: .* \(1: actuator 'a'\)"):
        load_text(tmp_path, xml, ())
    model = load_text(tmp_path, xml, ["forcerange"])
    assert model.links[0].force_range == (-9.0, 8.0)  # of what acts on the joint itself
    assert model.actuators[0].force_range == (-np.inf, np.inf)


def test_a_plugin_on_a_body_is_refused(tmp_path):
    spec = mujoco.MjSpec.from_string(file(body(attributes='name="b"')))
    compiled = spec.compile()
    compiled.body_plugin[1] = 0
    for drop in ((), ["plugin"]):
        refuse = refusals.Refusals(tmp_path, drop)
        refusals.check_model(spec, compiled, refuse)
        with nullcontext() if drop else pytest.raises(ValueError, match=r"plugin: .* is not simulated \(1: body 'b'\)"):
            refuse.check(1.0)


def test_everything_is_refused_at_once_and_the_end_is_to_be_pasted(tmp_path):
    """Each kind with names and their number, what dropping it does, and constants by the mass of the robot."""
    geoms = "".join(f'<geom name="g{i}" size="0.1"/>' for i in range(6))
    inside = '<joint name="j" range="0 1"/><site name="s"/><site name="r"/>' + geoms
    world = PLANE + body(inside, '<inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>', 'name="b"')
    rest = '<keyframe><key qvel="1"/></keyframe><equality><weld name="e" body1="b"/></equality>' + swap(
        SPATIAL, 'name="t"', 'name="t" damping="3"'
    )
    with pytest.raises(ValueError, match="cannot be simulated as it is") as error:
        load(tmp_path, world, rest, drop="self")
    assert str(error.value).splitlines() == [
        f"{tmp_path / 'robot.xml'}: it cannot be simulated as it is.",
        "  keyframe: a velocity in the first keyframe is not simulated (1: keyframe number 0); dropped, the start is at rest",
        "  tendon: a tendon that is led through space and pulls, or has an inertia is not simulated (1: tendon 't' (led through space)); "
        "dropped, it does nothing",
        "  equality: a constraint between joints or bodies is not simulated (1: equality 'e' (weld)); dropped, nothing ties them; "
        "equality=(ke, kd) ties joints and bodies by stiff springs",
        '  limit: there are no constants, limit=(ke, kd) or (ke, kd, stop_kd), or <numeric name="limit" data="ke kd"/> '
        "(1: joint 'j' of body 'b')",
        '  contact: there are no constants, contact=(ke, kd, kf, mu), <numeric name="contact" data="ke kd kf mu"/> or user="ke kd kf mu" '
        "of a geom (6: "
        + ", ".join(f"geom 'g{i}' of body 'b' touches the ground" for i in range(4)) + " and 2 more)",
        "  Change the file, or load it with (constants to begin with, by the robot's mass; check-env judges them): "
        'drop=["self", "keyframe", "tendon", "equality"], contact=(2000, 2000, 20, 0.8), limit=(100, 0, 1)',
    ]  # fmt: skip
    pasted = {"drop": ["self", "keyframe", "tendon", "equality"], "contact": (2000, 2000, 20, 0.8), "limit": (100, 0, 1)}
    assert len(load(tmp_path, world, rest, **pasted).contacts) == 6


@pytest.mark.parametrize("drop", [["tendons"], "tendons", ["geom", "tendons"]])
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path, drop):
    with pytest.raises(
        ValueError,
        match=r"called 'tendons' to drop, did you mean 'tendon'\? Keys: actuator, .*, user, self, fluid, pair-kind$",
    ):
        load(tmp_path, drop=drop)


def test_a_single_key_may_stand_alone(tmp_path):
    assert load(tmp_path, rest='<keyframe><key qvel="1"/></keyframe>', drop="keyframe").links


@pytest.mark.parametrize("flag", ["frictionloss", "constraint"])
def test_what_the_file_disables_is_not_refused(tmp_path, flag):
    assert load(tmp_path, body('<joint frictionloss="3"/>'), f'<option><flag {flag}="disable"/></option>').links


def test_a_user_attribute_of_one_number_is_somebody_elses(tmp_path):
    assert contents(load_text(tmp_path, swap(ON_THE_GROUND, 'size="0.1"', 'size="0.1" user="258"'), ())) == contents(
        load_text(tmp_path, ON_THE_GROUND, ())
    )


def test_what_means_nothing_for_the_motion_may_be_there(tmp_path):
    rest = """<visual><map znear="0.01"/></visual><statistic extent="2"/><size nuserdata="3"/><option timestep="0.1" integrator="RK4"
        cone="elliptic" impratio="3" magnetic="1 1 1" wind="1 2 3"><flag energy="enable" warmstart="disable" eulerdamp="disable"/></option>
        <asset><texture name="t" type="2d" builtin="flat" width="9" height="9"/><material name="m" texture="t"/></asset>
        <custom><text name="a" data="b"/><numeric name="c" data="1"/></custom><sensor><jointpos joint="j"/><touch site="s"/></sensor>
        <contact><exclude body1="b" body2="c"/></contact><keyframe><key/></keyframe>"""
    seen = """<joint name="j" group="2" solreflimit="0.1 1" solimplimit="0.1 0.2 0.3" user="1"/><site name="s"/><light/><camera/>
        <geom size="0.1" material="m" condim="6" friction="3 2 1" solref="0.1 1" priority="2" rgba="1 0 0 1" contype="0" user="1 2"/>"""
    model = load(
        tmp_path, body(seen, attributes='name="b"') + body(HINGE.replace('"j"', '"k"'), attributes='name="c"'), rest
    )
    assert len(model.links) == 2


# ---- errors of another kind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "rest", "message"),
    [
        (body('<joint type="nonsense"/>'), "", "robot.xml: MuJoCo cannot read it"),
        (body(inertial=""), "<actuator><motor joint='none'/></actuator>", "robot.xml: MuJoCo cannot read it"),
        ('<geom size="1"/>', "", "robot.xml: the file has no joint"),
        (None, '<custom><numeric name="contact" data="1 2 3"/></custom>', "<numeric name='contact'> needs 4 .*; got 1 2 3"),
        (
            None,
            '<custom><numeric name="limit" data="0 1"/></custom>',
            "<numeric name='limit'> needs 2 numbers .ke kd.*; got 0 1",
        ),
        (
            None,
            '<custom><numeric name="contact p" data="1 2 3 4"/></custom>',
            "<numeric name='contact p'>: there is no <pair> of that name; pairs: none",
        ),
        (
            GROUNDED,
            '<contact><pair name="p" geom1="g" geom2="floor"/></contact><custom><numeric name="contact p" data="0 2 3 4"/></custom>',
            "<numeric name='contact p'> needs 4 .*; got 0 2 3 4",
        ),
        (None, '<custom><text name="friction" data="soft"/></custom>', "friction must be 'bound' or 'smooth', got 'soft'"),
    ],
)
def test_errors_are_one_clear_line(tmp_path, world, rest, message):
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, world, rest)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contact": (1, 2, 3)}, r"contact= needs 4 numbers \(ke kd kf mu\), ke > 0 and the others >= 0; got 1 2 3"),
        ({"contact": (0, 2, 3, 4)}, "contact= needs"),
        ({"contact": (1, 2, -3, 4)}, "contact= needs"),
        ({"contact": (1, 2, 3, np.nan)}, "contact= needs"),
        ({"contact": ()}, "contact= needs .* got none"),
        (
            {"limit": (1, np.inf)},
            r"limit= needs 2 numbers \(ke kd\) or one more \(stop_kd\), ke > 0 and the others >= 0; got 1 inf",
        ),
        ({"limit": (1, 2, -3)}, "limit= needs .* got 1 2 -3"),
        ({"friction": "coulomb"}, "friction must be 'bound' or 'smooth', got 'coulomb'"),
    ],
)
def test_constants_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **options)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.xml does not exist"):
        load_mjcf(tmp_path / "none.xml")
