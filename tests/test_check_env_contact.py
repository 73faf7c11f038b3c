"""What check-env says of contact: what touches, and which constant is too steep for the mass it meets."""

import re
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.check_env import Section, command, sections
from rpo_lightning.check_env.contact import check_contact, falls_for_ever, steepness
from rpo_lightning.check_env.inertia import Pose
from rpo_lightning.envs.hopper import Hopper
from rpo_lightning.sim import Contact, Geom, Joint, Link, Model, Pair, Simulator, to_mujoco
from tests.sim import trees
from tests.sim.test_mjcf import PLANE, load

H = 0.01
MATERIAL = (300.0, 20.0, 50.0, 0.5)


def verdicts(model, pairs=False, h=H):
    """What the section says of a robot."""
    env = SimpleNamespace(model=model, dt=4 * h, substeps=4)
    section = Section("Contact")
    check_contact(SimpleNamespace(make=lambda: env), pairs, section)
    assert "\n".join(map(str, section.verdicts)) in str(section).replace("\n  ", "\n")
    return [str(verdict) for verdict in section.verdicts]


@pytest.mark.parametrize("seed", range(4))
def test_the_mass_that_is_met_is_mujocos(tmp_path, seed):
    """1 / m = n J M^-1 J^T n, whatever the coordinates."""
    model = trees.load(tmp_path, trees.text(["free", "ball", "two hinges", "fixed", "slide", "hinge"], seed, ground=True))
    q, _, _ = trees.state(model, 1, seed=seed)
    pose = Pose(model, q[0].numpy())
    mj = mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml"))
    data = mujoco.MjData(mj)
    data.qpos[:] = to_mujoco(model, q, q.new_zeros(1, model.nd))[0][0].numpy()
    mujoco.mj_forward(mj, data)
    linear, yielding = np.zeros((3, mj.nv)), np.zeros((1, mj.nv))
    normal = np.random.default_rng(seed).normal(size=3)
    for index, contacts in enumerate(zip(model.contacts[::2], model.contacts[1::2], strict=True)):
        ends = np.concatenate([pose.place(end.link, end.point[None]) for end in contacts])
        geom = index + 1
        axis = data.geom_xmat[geom].reshape(3, 3)[:, 2] * mj.geom_size[geom][1]
        np.testing.assert_allclose(ends, data.geom_xpos[geom] + np.stack([axis, -axis]), atol=1e-9)
        mujoco.mj_jac(mj, data, linear, None, ends[0], mj.geom_bodyid[geom])
        mujoco.mj_solveM(mj, data, yielding, normal[None] @ linear)
        expected = normal @ linear @ yielding[0]
        found = pose.response(normal[None] @ pose.jacobian(contacts[0].link, ends[0]))
        assert found == pytest.approx(expected, rel=1e-9)


def ball(mass, radius, name="ball"):
    """A free solid sphere."""
    return Link(name, -1, Joint.FREE, mass=mass, inertia=0.4 * mass * radius**2 * np.eye(3))


def test_a_ball_on_the_ground():
    model = Model([ball(2.0, 0.1)])
    model.contacts = [Contact(0, np.zeros(3), 0.1, *MATERIAL)]
    (found,) = steepness(model, H)
    omega = np.sqrt(300.0 / 2.0)
    assert (found.where, found.points) == ("ball touches the ground", 1)
    assert found.mass == pytest.approx(2.0)
    assert found.slid == pytest.approx(2.0 / 3.5)
    assert found.ke == pytest.approx(H * omega)
    assert found.kf == pytest.approx(H * 50.0 * 3.5 / 2.0)
    # landing at 1 m/s it goes 1 / omega deep, where damping is kd / omega
    assert found.kd**2 == pytest.approx((H * omega) ** 2 + 2 * H * 20.0 / omega / 2.0)
    model.law = "rate"
    (found,) = steepness(model, H)
    assert found.kd**2 == pytest.approx((H * omega) ** 2 + 2 * H * 20.0 / 2.0)


def test_corners_that_stand_together_count_together(tmp_path):
    """A flat box pushed at its four lower corners gives way most by tilting; the four upper ones touch at another time."""
    half, mass = 0.3, 3.0
    box = f'<body pos="0 0 1"><freejoint name="box"/><geom type="box" size="{half} {half} 0.1" mass="{mass}"/></body>'
    model = load(tmp_path, PLANE + box, contact=MATERIAL)
    found = steepness(model, H)
    assert len(found) == 8
    tilt = 4 * half**2 / (mass / 3 * (half**2 + 0.1**2))
    for each in found:
        assert each.points == 4
        assert each.mass == pytest.approx(4 / tilt)
        assert each.ke == pytest.approx(H * np.sqrt(300.0 * tilt))
    model.start[3:7] = [np.sin(0.3), 0.0, 0.0, np.cos(0.3)]
    assert {each.points for each in steepness(model, H)} == {2}


def test_two_balls_that_touch():
    shapes = [Geom("a", "sphere", 0, size=np.array([0.1, 0, 0])), Geom("b", "sphere", 1, size=np.array([0.2, 0, 0]))]
    wall = Geom("wall", "box", -1, size=np.ones(3))
    model = Model(
        [ball(2.0, 0.1), ball(3.0, 0.2)], geoms=[*shapes, wall], pairs=[Pair(0, 1, *MATERIAL), Pair(1, 2, *MATERIAL)]
    )
    both, wall = steepness(model, H)
    assert (both.where, both.points) == ("a touches b", 1)
    assert both.mass == pytest.approx(1 / (1 / 2 + 1 / 3))
    assert both.slid == pytest.approx(1 / (1 / 2 + 1 / 3) / 3.5)
    assert wall.mass == pytest.approx(3.0)


@pytest.mark.parametrize(("fixed", "falls"), [(0, True), (-1, False)])
def test_only_contact_with_something_fixed_holds_a_robot(fixed, falls):
    geoms = [Geom("a", "sphere", 0, size=np.full(3, 0.1)), Geom("b", "sphere", fixed, size=np.full(3, 0.1))]
    model = Model([ball(2.0, 0.1)], geoms=geoms, pairs=[Pair(0, 1, *MATERIAL)])
    assert falls_for_ever(model) == falls
    model.contacts = [Contact(0, np.zeros(3), 0.1, *MATERIAL)]
    assert not falls_for_ever(model)


@pytest.mark.parametrize(("kind", "second", "points"), [("capsule", "plane", 2), ("box", "hfield", 4), ("cylinder", "plane", 3),
                                                        ("box", "box", 4), ("capsule", "capsule", 1), ("sphere", "cylinder", 1)])  # fmt: skip
def test_a_pair_of_flat_shapes_touches_at_several_points(kind, second, points):
    geoms = [Geom("a", kind, 0, size=np.array([0.1, 0.2, 0.3])), Geom("b", second, -1)]
    model = Model([ball(2.0, 0.1)], geoms=geoms, pairs=[Pair(0, 1, *MATERIAL)])
    (found,) = steepness(model, H)
    assert found.points == points
    model.detection = "rewarped"
    (other,) = steepness(model, H)
    assert other.points == (8 if kind == second == "box" else points)
    assert found.mass == pytest.approx(2.0)
    assert found.ke == pytest.approx(H * np.sqrt(points * 300.0 / 2.0))


@pytest.mark.parametrize(
    ("material", "named"),
    [
        (
            (90_000, 0, 50, 1),
            "ke 90000 is too steep where ball touches the ground: one point meets 2 kg, h sqrt(n ke / m) = 2.1",
        ),
        (
            (70_000, 90_000, 50, 1),
            "kd 90000 is too steep where ball touches the ground: one point meets 2 kg, h sqrt(n ke / m) with damping = 2.9",
        ),
        ((300, 20, 120, 1), "kf 120 is too steep where ball touches the ground: one point meets 0.57 kg, h n kf / m = 2.1"),
    ],
)
def test_a_constant_that_is_too_steep_is_named(material, named):
    model = Model([ball(2.0, 0.1)])
    model.contacts = 2 * [Contact(0, np.zeros(3), 0.1, *material)]
    model.contacts[1] = Contact(0, np.zeros(3), 0.1, *MATERIAL)
    said = verdicts(model)
    assert said[0] == "ok: 2 points of links on the ground, no pairs of shapes"
    assert [text.startswith(f"warning: {named}, above 2; lower it below ") for text in said[1:]] == [True]
    bound, substeps = re.fullmatch(r".* below (.*), or raise substeps to (\d+)", said[1]).groups()
    assert verdicts(model, h=4 * H / int(substeps))[1].startswith("ok: no constant is too steep for the mass it meets")
    for share, level in ((0.97, "ok"), (1.07, "warning")):
        model.contacts[0] = Contact(0, np.zeros(3), 0.1, *material)
        setattr(model.contacts[0], named[:2], share * float(bound))
        assert verdicts(model)[1].startswith(level)


@pytest.mark.parametrize("factor", [0.95, 1.05])
@pytest.mark.parametrize(("constant", "material"), [("ke", (3000.0, 0.0, 0.0, 0.0)), ("kf", (300.0, 0.0, 50.0, 1e3))])
def test_beyond_two_the_engine_is_unstable(constant, material, factor):
    """A ball that lies on the ground is tapped, downwards or sideways."""
    model = Model([ball(2.0, 0.1)])
    model.contacts = [Contact(0, np.zeros(3), 0.1, *material)]
    (found,) = steepness(model, H)
    beyond = 2.0 * factor / getattr(found, constant)
    simulator = Simulator(model, 1, dt=H * beyond, substeps=1, mass_matrix_interval=1, threads=1)
    q, qd = torch.tensor([[0.0, 0.1 - 2.0 * 9.81 / material[0], 0, 0, 0, 0, 1]]), torch.zeros(1, 6)
    qd[0, 4 if constant == "ke" else 3] = 1e-3
    for _ in range(40):
        q, qd = simulator.step(q, qd, torch.zeros(1, 6))
    assert (qd[0, 3:].abs().max() > 2e-3) == (factor > 1.0)


def crowd(count):
    geoms = [Geom(f"g{i}", "sphere" if i % 2 else "box", i, size=np.full(3, 0.1)) for i in range(count)]
    links = [ball(2.0, 0.1) for _ in geoms]
    return Model(links, geoms=geoms, pairs=[Pair(1, i, *MATERIAL) for i in range(count) if i != 1])


def test_pairs_are_counted_by_kind_and_named_if_they_are_few():
    assert verdicts(Model([ball(2.0, 0.1)]))[0] == "ok: no points of links on the ground, no pairs of shapes"
    few = "ok: no points of links on the ground, pairs of shapes: 2 sphere-box, 1 sphere-sphere"
    assert verdicts(crowd(4))[0] == f"{few} (g1 with g0, g1 with g2, g1 with g3)"
    many = verdicts(crowd(9))[0]
    assert many.endswith("pairs of shapes: 5 sphere-box, 3 sphere-sphere")
    assert verdicts(crowd(9), pairs=True)[0].startswith(many + " (g1 with g0, ")
    assert verdicts(crowd(9), pairs=True)[0].endswith("g1 with g8)")


class SlipperyHopper(Hopper):
    """Its friction flips at every substep (docs/contact.md)."""

    contact = (20_000, 2000, 15_000, 0.9)


def test_the_section_comes_after_interface_and_reward():
    sought = sections(SlipperyHopper, 8, 2, "cpu", 0, pairs=False)
    assert [next(sought).title for _ in range(2)] == ["Interface", "Reward"]
    section = next(sought)
    assert section.title == "Contact"
    assert str(section.verdicts[0]) == "ok: 8 points of links on the ground, no pairs of shapes"
    (verdict,) = section.verdicts[1:]
    assert verdict.level == "warning"
    assert verdict.text.startswith("kf 15000 is too steep where foot_joint touches the ground: 2 points together meet")
    assert "(and in " in verdict.text
    assert len(section.result) == 8


def test_all_pairs_are_named_on_request(monkeypatch):
    seen = []
    monkeypatch.setattr("rpo_lightning.check_env.check_contact", lambda subject, pairs, section: seen.append(pairs))
    for pairs in (True, False):
        sought = sections(Hopper, 8, 2, "cpu", 0, pairs=pairs)
        assert [next(sought).title for _ in range(3)] == ["Interface", "Reward", "Contact"]
    assert seen == [True, False]
    monkeypatch.setattr(command, "sections", lambda *arguments: seen.append(arguments[-1]) or [])
    command.main(["hopper", "--pairs"], "")
    command.main(["hopper"], "")
    assert seen[2:] == [True, False]
