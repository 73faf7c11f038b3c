"""Which shapes of a file touch which, against MuJoCo's own collisions; what they are and with what constants."""

import hashlib
import logging
from collections import Counter
from importlib.resources import files

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.sim import Simulator, load_mjcf
from rpo_lightning.sim.mjcf.touching import touching
from tests.sim import double
from tests.sim.test_mjcf import CONTACT, PLANE, body, laws, load

FREE, HULL = "<freejoint/>", '<asset><mesh name="m" vertex="{}"/></asset>'
CUBE = [(x, y, z) for x in (0, 0.2) for y in (0, 0.4) for z in (0, 0.6)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


# ---- which touch ---------------------------------------------------------------------------------------------------


def crowd(seed, flags):
    """A random tree of bodies, all of whose geoms overlap."""
    rng = np.random.default_rng(seed)
    parents = {b: rng.integers(-1, b) for b in range(7)}
    names, bodies = [], []

    def geom(kind):
        names.append(f"g{len(names)}")
        place = " ".join(f"{x:.3f}" for x in rng.uniform(-0.1, 0.1, 3))
        bits = 'contype="{}" conaffinity="{}"'.format(*rng.integers(0, 4, 2))
        return f'<geom name="{names[-1]}" {kind} pos="{place}" {bits}/>'

    def text(b):
        joint = ["", "<joint/>", '<joint type="slide"/><joint axis="0 1 0"/>'][rng.integers(3)]
        if parents[b] < 0 and rng.random() < 0.3:
            joint = FREE
        bodies.append(f"b{b}")
        inside = "".join(geom(f'size="{rng.uniform(2, 3):.3f}"') for _ in range(rng.integers(1, 3)))
        inertial = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
        return f'<body name="b{b}">{joint}{inertial}{inside}{"".join(text(c) for c in parents if parents[c] == b)}</body>'

    fixed = f"<body>{geom(PLANE_KIND)}{geom(FIELD_KIND)}</body>"
    room = 9 * "<body/>"  # without it MuJoCo's own list of bodies that overlap is too short for so many
    world = room + geom(PLANE_KIND) + geom('size="2"') + fixed + "".join(text(b) for b in parents if parents[b] < 0)
    two = [rng.choice(names, 2, replace=False) for _ in range(6)]
    pairs = "".join(f'<pair name="{i}" geom1="{a}" geom2="{b}"/>' for i, (a, b) in enumerate(two))
    two = {tuple(sorted(rng.choice([*bodies, "world"], 2, replace=False))) for _ in range(6)}
    excludes = "".join(f'<exclude body1="{a}" body2="{b}"/>' for a, b in two)
    field = '<asset><hfield name="f" nrow="9" ncol="9" size="4 4 1 1"/></asset>'
    option = f"<option><flag {flags}/></option>"
    return f"<mujoco>{option}{field}<worldbody>{world}</worldbody><contact>{pairs}{excludes}</contact></mujoco>"


PLANE_KIND, FIELD_KIND = 'type="plane" size="1 1 1"', 'type="hfield" hfield="f"'


@pytest.mark.parametrize("flags", ['filterparent="enable"', 'filterparent="disable"', 'contact="disable"'])
@pytest.mark.parametrize("seed", range(12))
def test_what_touches_is_what_mujoco_lets_touch(seed, flags):
    mj = mujoco.MjModel.from_xml_string(crowd(seed, flags))
    data = mujoco.MjData(mj)
    mujoco.mj_forward(mj, data)
    flat = np.isin(mj.geom_type, [mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD])
    expected = {tuple(sorted(map(int, contact.geom))) for contact in data.contact}
    # no two planes or height fields collide, not even where the file says so
    found = {(two.first, two.second) for two in touching(mj) if not flat[[two.first, two.second]].all()}
    assert found == expected
    assert bool(found) == ("contact" not in flags)


# ---- what they are -------------------------------------------------------------------------------------------------


def described(model):
    """Names, kinds and links of each pair."""
    ends = [(model.geoms[pair.first], model.geoms[pair.second]) for pair in model.pairs]
    return [tuple((geom.name, geom.kind, geom.link) for geom in end) for end in ends]


def test_a_staircase_of_boxes_and_a_foot(tmp_path):
    stairs = "".join(f'<geom name="step {i}" type="box" size="0.5 1 {i}" pos="{i} 0 {i}"/>' for i in (1, 2))
    stairs = f'<body pos="0 0 0.3" euler="0 0 90">{stairs}</body>'
    foot = (
        '<freejoint/><body pos="0 0 5"><geom name="foot" type="capsule" size="0.1 0.3" pos="1 0 0" euler="90 0 0"/></body>'
    )
    model = load(tmp_path, PLANE + stairs + body(foot), CONTACT)
    assert len(model.contacts) == 2
    assert described(model) == [(("foot", "capsule", 0), (f"step {i}", "box", -1)) for i in (1, 2)]
    first, second = (model.geoms[pair.second] for pair in model.pairs)
    assert (first.size.tolist(), second.size.tolist()) == ([0.5, 1.0, 1.0], [0.5, 1.0, 2.0])
    assert second.pos == pytest.approx([0.0, 2.0, 2.3])
    assert second.quat == pytest.approx([0.0, 0.0, 0.5**0.5, 0.5**0.5])
    (capsule,) = (geom for geom in model.geoms if geom.name == "foot")
    assert capsule.pos == pytest.approx([1.0, 0.0, 5.0])
    assert capsule.quat == pytest.approx([0.5**0.5, 0.0, 0.0, 0.5**0.5])
    assert capsule.size.tolist() == [0.1, 0.3, 0.0]


def test_a_pusher_moves_a_ball_and_a_step_holds_it(tmp_path):
    """Bodies of a file do not pass through each other."""
    pusher = '<body pos="0 0 .1"><joint type="slide" axis="1 0 0"/><geom name="pusher" type="box" size=".05 .2 .1" mass="9"/></body>'
    free = '<body pos="0.2 0 .1"><freejoint/><geom name="ball" size=".1" mass="1"/></body>'
    step = '<geom name="step" type="box" size=".1 1 .1" pos="1 0 0"/>'
    floor = PLANE.replace("/>", ' contype="2" conaffinity="0"/>')
    model = load(tmp_path, floor + step + pusher + free.replace("size", 'conaffinity="3" size'), CONTACT)
    assert len(model.contacts) == 1
    assert [[name for name, *_ in ends] for ends in described(model)] == [
        ["step", "pusher"],
        ["ball", "step"],
        ["ball", "pusher"],
    ]
    simulator = Simulator(model, 1, dt=0.02, substeps=20, mass_matrix_interval=1, threads=1)
    q, qd = torch.tensor(model.start, dtype=torch.float32)[None], torch.zeros(1, model.nd)
    qd[0, 0] = 1.0
    furthest = 0.0
    for _ in range(60):
        q, qd = simulator.step(q, qd, torch.zeros_like(qd))
        furthest = max(furthest, q[0, 1].item())
    assert 0.6 < furthest < 0.9  # the ball has gone to the step, and not into it
    assert q[0, 0] < q[0, 1]


def test_every_pair_is_in_the_engines_order(tmp_path):
    kinds = {"box": "0.1 0.2 0.3", "capsule": "0.1 0.2", "sphere": "0.1"}
    moving = "".join(body(f'{FREE}<geom name="{kind}" type="{kind}" size="{size}"/>') for kind, size in kinds.items())
    field = '<asset><hfield name="f" nrow="3" ncol="4" size="2 3 1 1"/></asset>'
    post = '<geom name="post" type="cylinder" size="1 2" contype="2" conaffinity="0"/>' + body(
        f'{FREE}<geom name="ball" size="1" contype="0" conaffinity="2"/>'
    )
    model = load(tmp_path, '<geom name="hills" type="hfield" hfield="f"/>' + moving + post, CONTACT + field)
    assert {tuple(kind for _, kind, _ in ends) for ends in described(model)} == {
        *(("capsule", "box"), ("sphere", "box"), ("sphere", "capsule"), ("sphere", "cylinder")),
        *(("box", "hfield"), ("capsule", "hfield"), ("sphere", "hfield")),
    }
    assert len(model.pairs) == 7
    assert len(model.geoms) == 6


def test_a_box_may_be_the_ground_and_a_robot_may_have_none(tmp_path):
    model = load(
        tmp_path, '<geom name="ground" type="box" size="5 5 .1"/>' + body(f'{FREE}<geom name="g" size="0.1"/>'), CONTACT
    )
    assert described(model) == [(("g", "sphere", 0), ("ground", "box", -1))]
    assert (model.up.tolist(), model.ground, model.contacts) == ([0.0, 0.0, 1.0], 0.0, [])


def test_cylinders_and_meshes_touch_the_ground_in_pairs(tmp_path):
    """Of a mesh it is the vertices of its hull; the inner one is none."""
    vertices = " ".join(f"{x} {y} {z}" for x, y, z in [*CUBE, (0.1, 0.2, 0.3)])
    mesh = '<geom name="m" type="mesh" mesh="m" pos="1 2 3" euler="0 0 30"/>'
    world = PLANE + body(f'{FREE}{mesh}<geom name="can" type="cylinder" size="0.1 0.2"/>')
    model = load(tmp_path, world, CONTACT + HULL.format(vertices))
    assert model.contacts == []
    assert Counter(kind for ends in described(model) for _, kind, _ in ends) == {"sphere": 8, "cylinder": 1, "plane": 9}
    corners = [geom for geom in model.geoms if geom.kind == "sphere"]
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    expected = sorted((1 + c * x - s * y, 2 + s * x + c * y, 3 + z) for x, y, z in CUBE)
    np.testing.assert_allclose(sorted(geom.pos.tolist() for geom in corners), expected, atol=1e-6)
    assert not any(geom.size.any() for geom in corners)
    assert {geom.name for geom in corners} == {f"m vertex {i}" for i in range(8)}


def test_of_a_large_mesh_those_vertices_touch_that_reach_furthest_and_it_is_said(tmp_path, caplog):
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(200, 3))
    ball *= np.array([0.3, 0.2, 0.1]) / np.linalg.norm(ball, axis=1, keepdims=True)
    world = PLANE + body(f'{FREE}<geom name="g" type="mesh" mesh="m"/>')
    rest = CONTACT + HULL.format(" ".join(map(str, ball.ravel())))
    directions = rng.normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gaps = []
    for count in (4, 32, 400):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "rpo_lightning"):
            model = load(tmp_path, world, rest, mesh_vertices=count)
        points = np.array([geom.pos for geom in model.geoms if geom.kind == "sphere"])
        assert len(points) == min(count, 200)
        assert np.linalg.norm(points[:, None] - ball, axis=2).min(axis=1) == pytest.approx(0.0, abs=1e-6)
        gaps.append(((directions @ ball.T).max(axis=1) - (directions @ points.T).max(axis=1)).max())
        said = [record.getMessage() for record in caplog.records if "hull of a mesh" in record.getMessage()]
        assert len(said) == (count < 200)
        if said:
            assert f"of the hull of a mesh {count} vertices touch" in said[0]
            assert said[0].endswith("mesh_vertices says how many: geom 'g' of body number 1")
            assert gaps[-1] < 1.2 * float(said[0].split("up to ")[1].split(" m inside")[0])
    assert gaps[0] > 0.05
    assert gaps[1] < 0.02
    assert gaps[2] == pytest.approx(0.0, abs=1e-6)


def test_a_height_field_is_as_high_as_mujocos_rays_find_it(tmp_path):
    rows = "0 1 2 3  4 0 1 5  9 9 1 0"
    field = f'<asset><hfield name="f" nrow="3" ncol="4" size="3 2 1.5 1" elevation="{rows}"/></asset>'
    world = '<geom name="hills" type="hfield" hfield="f" pos="1 0 2"/>' + body(f'{FREE}<geom name="g" size="0.1"/>')
    model = load(tmp_path, world, CONTACT + field)
    ((_, (name, kind, link)),) = described(model)
    assert (name, kind, link) == ("hills", "hfield", -1)
    hills = model.geoms[model.pairs[0].second]
    assert hills.size.tolist() == [3.0, 2.0, 0.0]
    mj = mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml"))
    data = mujoco.MjData(mj)
    mujoco.mj_forward(mj, data)
    found = np.zeros((3, 4))
    for row, y in enumerate(np.linspace(-2.0, 2.0, 3)):
        for column, x in enumerate(np.linspace(-3.0, 3.0, 4)):
            start = np.array([1.0 + 0.999 * x, 0.999 * y, 9.0])
            distance = mujoco.mj_ray(mj, data, start, np.array([0.0, 0.0, -1.0]), None, 1, 1, np.zeros(1, np.int32))
            found[row, column] = 9.0 - distance - 2.0
    np.testing.assert_allclose(hills.heights, found, atol=0.02)
    assert hills.heights.max() == pytest.approx(1.5)


# ---- constants, and what is left out -------------------------------------------------------------------------------


def test_constants_of_a_pair(tmp_path):
    """Its own by name, else the mean of what its geoms have of their own, else the file's."""
    two = "".join(
        body(f'{FREE}<geom name="{name}" size="0.1" {user}/>')
        for name, user in (("a", 'user="1 2 3 4"'), ("b", 'user="3 0 1 2"'), ("c", ""), ("d", ""))
    )
    model = load(tmp_path, two, CONTACT)
    found = {"".join(geom for geom, *_ in ends): law for ends, law in zip(described(model), laws(model), strict=True)}
    assert found == {
        "ab": (2.0, 1.0, 2.0, 3.0),
        **dict.fromkeys(("ac", "ad"), (1.0, 2.0, 3.0, 4.0)),
        **dict.fromkeys(("bc", "bd"), (3.0, 0.0, 1.0, 2.0)),
        "cd": (900.0, 50.0, 20.0, 0.5),
    }
    explicit = '<contact><pair name="p" geom1="b" geom2="a"/><exclude body1="A" body2="B"/></contact>'
    own = '<custom><numeric name="contact p" data="5 6 7 8"/></custom>'
    model = load(
        tmp_path,
        two.replace("<body >", '<body name="A">', 1).replace("<body >", '<body name="B">', 1),
        CONTACT + explicit + own,
    )
    assert laws(model).count((5.0, 6.0, 7.0, 8.0)) == 1
    assert len(model.pairs) == 6


def test_an_explicit_pair_may_be_the_grounds(tmp_path):
    floor = PLANE.replace("/>", ' contype="0" conaffinity="0" user="7 0 0 0"/>')
    explicit = '<contact><pair name="p" geom1="floor" geom2="g"/></contact>'
    world = floor + body(f'{FREE}<geom name="g" size="0.1"/>')
    assert laws(load(tmp_path, world, explicit)) == [(7.0, 0.0, 0.0, 0.0)]
    distant = world.replace('size="0.1"', 'size="0.1" margin="1"')  # not the pair's own margin
    assert laws(load(tmp_path, distant, explicit)) == [(7.0, 0.0, 0.0, 0.0)]
    model = load(tmp_path, world, explicit + '<custom><numeric name="contact p" data="5 6 7 8"/></custom>')
    assert (len(model.contacts), laws(model)) == (1, [(5.0, 6.0, 7.0, 8.0)])


def test_a_pair_of_one_link_or_of_fixed_bodies_moves_nothing(tmp_path):
    explicit = '<contact><pair geom1="wall" geom2="step"/><pair geom1="a" geom2="b"/></contact>'
    ghost = 'size="1" contype="0" conaffinity="0"/>'
    world = f'<geom name="wall" {ghost}<geom name="step" {ghost}' + body(
        f'{FREE}<geom name="a" {ghost}<body><geom name="b" {ghost}</body>'
    )
    assert load(tmp_path, world, explicit).pairs == []


def test_a_mocap_body_stays_as_an_obstacle(tmp_path):
    world = '<geom name="wall" size="1"/><body mocap="true"><geom name="hand" size="1"/></body>' + body(
        f'{FREE}<geom name="g" size="1"/>'
    )
    model = load(tmp_path, world, CONTACT)
    assert [[name for name, *_ in ends] for ends in described(model)] == [["wall", "g"], ["hand", "g"]]


def test_contact_of_links_with_each_other_can_be_dropped_alone(tmp_path):
    world = (
        PLANE
        + '<geom name="wall" type="box" size="1 1 1"/>'
        + "".join(body(f'{FREE}<geom name="{name}" size="0.1"/>') for name in "ab")
    )
    model = load(tmp_path, world, CONTACT)
    assert [[name for name, *_ in ends] for ends in described(model)] == [["a", "wall"], ["b", "wall"], ["a", "b"]]
    without = load(tmp_path, world, CONTACT, drop=["self"])
    assert [[name for name, *_ in ends] for ends in described(without)] == [["a", "wall"], ["b", "wall"]]
    assert len(without.contacts) == len(model.contacts) == 2


# ---- how far from a surface contact begins -----------------------------------------------------------------------------

PAIRS = {
    "sphere on the ground": (PLANE, '<geom name="g" size="0.1" {}/>', [0.11]),
    "capsule on the ground": (PLANE, '<geom name="g" type="capsule" size="0.1 0.2" {}/>', [0.31]),
    "box on the ground": (PLANE, '<geom name="g" type="box" size="0.1 0.2 0.3" {}/>', [0.31]),
    "cylinder on the ground": (PLANE, '<geom name="g" type="cylinder" size="0.1 0.2" {}/>', [0.21]),
    "ellipsoid on the ground": (PLANE, '<geom name="g" type="ellipsoid" size="0.1 0.2 0.3" {}/>', [0.31]),
    "sphere on a box": ('<geom name="floor" type="box" size="1 1 1" pos="0 0 -1"/>', '<geom name="g" size="0.1" {}/>', [0.11]),
    "box on a sphere": ('<geom name="floor" size="1" pos="0 0 -1"/>', '<geom name="g" type="box" size="0.2 0.2 0.2" {}/>', [0.21]),
    "box on a box": ('<geom name="floor" type="box" size="1 1 1" pos="0 0 -1"/>', '<geom name="g" type="box" size="0.2 0.2 0.2" {}/>', [0.21]),
}  # fmt: skip


@pytest.mark.parametrize("how", ["geoms", "pair", "override", "gap"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_margin_pushes_from_as_far_as_in_mujoco(tmp_path, name, how):
    """Margins of two geoms add up; an explicit pair has its own; a gap is only a warning ahead."""
    world, geom, (height,) = PAIRS[name]
    if how == "geoms":
        world, geom, rest = world.replace('name="floor"', 'name="floor" margin="0.004"'), geom.format('margin="0.006"'), ""
    elif how == "pair":
        rest, geom = '<contact><pair geom1="floor" geom2="g" margin="0.01"/></contact>', geom.format('margin="3"')
    elif how == "override":
        rest, geom = '<option o_margin="0.01"><flag override="enable"/></option>', geom.format('margin="3"')
    else:
        rest, geom, height = "", geom.format('gap="0.01"'), height - 0.01
    model = load(tmp_path, world + body("<freejoint/>" + geom), CONTACT + rest + '<option gravity="0 0 0"/>')
    mj = mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml"))
    data = mujoco.MjData(mj)
    for above, pushed in ((0.001, False), (-0.001, True)):
        data.qpos[2] = height + above
        mujoco.mj_forward(mj, data)
        assert (data.nefc > 0) == pushed
        q = torch.tensor([[0.0, 0.0, height + above, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        qdd = double.acceleration(model, q, torch.zeros(1, 6), torch.zeros(1, 6))
        assert (qdd[0, 5].item() > 0.0) == pushed


def test_a_mesh_and_a_height_field_have_margins_as_well(tmp_path):
    vertices = " ".join(f"{x} {y} {z}" for x, y, z in CUBE)
    mesh = PLANE + body(f'{FREE}<geom name="m" type="mesh" mesh="m" margin="0.01"/>')
    model = load(tmp_path, mesh, CONTACT + HULL.format(vertices))
    assert {tuple(geom.size) for geom in model.geoms if geom.kind == "sphere"} == {(0.01, 0.0, 0.0)}
    field = '<asset><hfield name="f" nrow="3" ncol="3" size="1 1 1 1"/></asset>'
    hills = '<geom type="hfield" hfield="f" margin="0.01"/>'
    model = load(tmp_path, hills + body(f'{FREE}<geom type="box" size="0.1 0.2 0.3"/>'), CONTACT + field)
    assert [geom.size.tolist() for geom in model.geoms if geom.kind == "box"] == [pytest.approx([0.11, 0.21, 0.31])]
    shared = PLANE + body(f'{FREE}<geom size="0.1" margin="0.01"/>') + body(f'{FREE}<geom size="0.1"/>')
    model = load(tmp_path, shared, CONTACT)  # the same geom with and without: two of them
    assert sorted(contact.radius for contact in model.contacts) == [0.1, 0.11]


# ---- what carries the robot -------------------------------------------------------------------------------------------

CARRIED = """<body name="base"><geom name="socket" type="box" size=".1 .1 .1"/><body name="b" pos="0 0 .2">
    <joint name="j" axis="0 1 0"/><geom name="rod" type="capsule" fromto="0 0 0 0 0 .3" size=".03"/></body></body>"""


def test_the_robots_own_base_is_no_obstacle_to_it(tmp_path, caplog):
    table = '<body name="table"><geom name="top" type="box" size="1 1 .1" pos="0 0 -1"/></body>'
    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        assert described(load(tmp_path, CARRIED)) == []
    assert "no obstacle to the links that hang on it: geom 'socket' of body 'base'" in caplog.text
    names = [[name for name, *_ in ends] for ends in described(load(tmp_path, table + CARRIED, CONTACT))]
    assert names == [["rod", "top"]]
    back = '<custom><numeric name="own_base" data="1"/></custom>'
    names = [[name for name, *_ in ends] for ends in described(load(tmp_path, CARRIED, CONTACT + back))]
    assert names == [["rod", "socket"]]
    explicit = '<contact><pair geom1="rod" geom2="socket"/></contact>'
    names = [[name for name, *_ in ends] for ends in described(load(tmp_path, CARRIED, CONTACT + explicit))]
    assert names == [["rod", "socket"]]
    floor = CARRIED.replace('<geom name="socket" type="box" size=".1 .1 .1"/>', PLANE)
    assert len(load(tmp_path, floor, CONTACT).contacts) == 2  # a floor is one wherever the file has it
    other = body(f'{FREE}<geom name="ball" size="0.1"/>')
    names = [[name for name, *_ in ends] for ends in described(load(tmp_path, CARRIED + other, CONTACT))]
    assert names == [["ball", "socket"], ["ball", "rod"]]


# robot -> how many points touch the ground, and a digest of them
PACKAGED = {
    "ant": (25, "e8cff712e68c5e0f"),
    "anymal": (14, "da833460a845cdbf"),
    "cartpole": (0, "e3b0c44298fc1c14"),
    "cheetah": (16, "f56ca4e9b494015d"),
    "double_pendulum": (0, "e3b0c44298fc1c14"),
    "hopper": (8, "f1fe83bb229e4a02"),
    "humanoid": (35, "6c7b9c4ec1c7f8b3"),
}


@pytest.mark.parametrize("name", PACKAGED)
def test_robots_of_the_package_touch_the_ground_alone(name):
    """Their contact is what it was when links touched nothing else."""
    model = load_mjcf(files("rpo_lightning") / "robots" / f"{name}.xml")
    assert (model.geoms, model.pairs) == ([], [])
    numbers = [np.array([c.link, *c.point, c.radius, c.ke, c.kd, c.kf, c.mu]) for c in model.contacts]
    text = "".join(f"{x + 0.0:.9f} " for x in np.concatenate([*numbers, []]))
    assert (len(numbers), hashlib.sha256(text.encode()).hexdigest()[:16]) == PACKAGED[name]
