"""Suggested constants are stable and as stiff as they say; what is too steep in a joint explodes, and is named."""

import dataclasses
from importlib.resources import files

import numpy as np
import pytest
import torch

from rpo_lightning.check_env.joints import grips
from rpo_lightning.check_env.suggest import suggest
from rpo_lightning.sim import Actuator, Joint, Link, Model, Simulator, load_mjcf

DT = 1.0 / 60.0


def furnished(model, found):
    """The robot with the constants that were suggested for it."""
    ke, kd, kf, mu = found.contact
    changes = {"contacts": [dataclasses.replace(c, ke=ke, kd=kd, kf=kf, mu=mu) for c in model.contacts]}
    if found.limit is not None:
        limits = dict(zip(("limit_ke", "limit_kd", "stop_kd"), found.limit, strict=True))
        changes["links"] = [dataclasses.replace(link, **limits) for link in model.links]
    return dataclasses.replace(model, **changes)


@pytest.mark.parametrize("name", ["ant", "anymal", "hopper", "cheetah"])
def test_suggested_constants_are_stable_and_hold_the_robot(name):
    model = load_mjcf(files("rpo_lightning") / "robots" / f"{name}.xml")
    found = suggest(model)
    assert found.substeps == 16
    made = furnished(model, found)
    simulator = Simulator(made, 4, DT, found.substeps, found.substeps, threads=1)
    q = torch.tensor(model.start, dtype=torch.float32).repeat(4, 1)
    qd, generator = torch.zeros(4, model.nd), torch.Generator().manual_seed(0)
    strength = torch.zeros(model.nd)
    for actuator in model.actuators:
        strength[actuator.moment[0][0]] = actuator.gain * abs(actuator.moment[0][1])
    for step in range(120):
        force = (
            strength * (2.0 * torch.rand(4, model.nd, generator=generator) - 1.0) if step < 60 else torch.zeros(4, model.nd)
        )
        q, qd = simulator.step(q, qd, force)
    assert q.isfinite().all()
    assert qd.abs().max() < 100.0


def feet(size=0.1, mass=12.0):
    """A free box on four spheres that stands just above the ground."""
    from rpo_lightning.sim import Contact

    body = Link("body", -1, Joint.FREE, mass=mass, inertia=np.diag([0.2, 0.3, 0.25]))
    corners = [np.array([x, -0.3, z]) for x in (-0.2, 0.2) for z in (-0.3, 0.3)]
    made = Model([body], [Contact(0, corner, size, 1.0, 0.0, 1.0, 0.5) for corner in corners])
    made.start = np.array([0.0, 0.4, 0.0, 0.0, 0.0, 0.0, 1.0])
    return made


def test_a_standing_robot_sinks_as_far_as_is_said():
    model = feet()
    found = suggest(model)
    assert found.sink == pytest.approx(0.004, rel=0.1)  # 1 % of 0.4 m
    simulator = Simulator(furnished(model, found), 1, DT, found.substeps, found.substeps, threads=1)
    q, qd = torch.tensor(model.start, dtype=torch.float32)[None], torch.zeros(1, 6)
    for _ in range(240):
        q, qd = simulator.step(q, qd, torch.zeros(1, 6))
    assert 0.4 - q[0, 1].item() == pytest.approx(found.sink, rel=0.05)


def arm(**fields):
    inertia = np.diag([1e-4, 1e-4, 1e-4])
    links = [
        Link(
            "upper", -1, Joint.REVOLUTE, np.array([0.0, 0.0, 1.0]), mass=1.0, com=np.array([0.0, -0.1, 0.0]), inertia=inertia
        ),
        Link(
            "finger",
            0,
            Joint.REVOLUTE,
            np.array([0.0, 0.0, 1.0]),
            pos=np.array([0.0, -0.2, 0.0]),
            mass=0.01,
            inertia=inertia,
        ),
    ]
    links[1] = dataclasses.replace(links[1], **fields)
    return Model(links)


def excursion(model, substeps):
    """How far the finger goes within a second from a small push."""
    simulator = Simulator(model, 1, DT, substeps, substeps, threads=1)
    q, qd, largest = torch.zeros(1, 2), torch.tensor([[0.0, 0.1]]), 0.0
    for _ in range(60):
        q, qd = simulator.step(q, qd, torch.zeros(1, 2), torch.zeros(1, simulator.controls))
        largest = max(largest, q[0, 1].abs().nan_to_num(torch.inf).item())
    return largest


@pytest.mark.parametrize(
    ("what", "model"),
    [
        ("damping", dataclasses.replace(arm(damping=0.5), damping="explicit")),
        ("spring", arm(stiffness=600.0)),
        # implicitly it is stable in any step
        ("friction loss", dataclasses.replace(arm(frictionloss=0.5), friction_width=0.5, damping="explicit")),
        ("servo kp", dataclasses.replace(arm(), actuators=[Actuator("a", [(1, 1.0)], 600.0, (0.0, -600.0, 0.0))])),
        (
            "servo kv",
            dataclasses.replace(arm(), damping="explicit", actuators=[Actuator("a", [(1, 1.0)], 1.0, (0.0, 0.0, -0.5))]),
        ),
    ],
)
def test_what_is_too_steep_explodes_and_the_substeps_that_are_named_cure_it(what, model):
    steep = [grip for grip in grips(model, DT / 16) if grip.steep > 2.0]
    assert [grip.what for grip in steep] == [what]
    needed = steep[0].substeps(16)
    assert not excursion(model, 16) < 1.0 or what == "friction loss"  # which is bounded, so it chatters
    assert excursion(model, int(1.2 * needed)) < 0.1
    assert not [grip for grip in grips(model, DT / needed) if grip.steep > 2.0]


def pulled(parent, **fields):
    """A servo of speed on a tendon over two joints, one after the other or beside it."""
    model = arm()
    model.links[1] = dataclasses.replace(model.links[1], parent=parent)
    return dataclasses.replace(model, actuators=[Actuator("a", [(0, 1.0), (1, -1.0)], 1.0, (0.0, 0.0, -0.5))], **fields)


@pytest.mark.parametrize("model", [arm(damping=50.0), arm(frictionloss=50.0), pulled(0)])
def test_implicit_damping_is_stable_in_any_step(model):
    assert not [grip for grip in grips(model, DT / 16) if grip.steep > 2.0]
    assert excursion(model, 16) < 0.1


@pytest.mark.parametrize("model", [pulled(-1), pulled(0, damping="explicit")])
def test_a_servo_on_a_tendon_whose_joints_are_on_no_chain_is_explicit(model):
    (steep,) = [grip for grip in grips(model, DT / 16) if grip.steep > 2.0]
    assert (steep.joint, steep.what) == ("a", "servo kv")
    assert not excursion(model, 16) < 1.0
    assert excursion(model, int(1.2 * steep.substeps(16))) < 0.1


def test_dry_friction_of_a_light_joint_is_steep_where_the_mass_matrix_is_kept():
    model = arm(frictionloss=0.5)
    assert not [grip for grip in grips(model, DT / 16) if grip.steep > 2.0]
    (steep,) = [grip for grip in grips(model, DT / 16, 4) if grip.steep > 2.0]
    assert (steep.joint, steep.what) == ("finger", "friction loss")
    assert steep.cure.startswith("rebuild the mass matrix in each substep")
