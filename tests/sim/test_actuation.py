"""Actuators, joint forces and parameters: kernels against double precision, gradients against central differences of it."""

import dataclasses

import numpy as np
import pytest
import torch

from rpo_lightning.sim import (
    Actuator,
    Contact,
    Coupling,
    Fluid,
    FluidBox,
    FluidEllipsoid,
    Joint,
    Link,
    Model,
    Simulator,
    Tendon,
    Tie,
)
from rpo_lightning.sim.parameters import KINDS, Parameters
from tests.sim import double

N = 24
_QUAT = np.array([0.1, -0.2, 0.3, 0.927])


def link(name, parent, joint, axis=(0.0, 0.0, 1.0), **fields):
    rng = np.random.default_rng(len(name) + parent + 5)
    axis = np.array(axis) if joint in (Joint.REVOLUTE, Joint.PRISMATIC) else np.zeros(3)
    inertia = np.diag([0.02, 0.03, 0.025]) + 0.002
    return Link(
        name,
        parent,
        joint,
        axis,
        0.2 * rng.normal(size=3),
        mass=0.8,
        com=0.05 * rng.normal(size=3),
        inertia=inertia,
        **fields,
    )


def robot(**changes):
    """A robot with everything that can act in and between joints."""
    links = [
        link("base", -1, Joint.FREE, armature=0.02, damping=0.3),
        link("shoulder", 0, Joint.BALL, stiffness=3.0, upper=0.7, limit_ke=40.0, stop_kd=0.5, damping=0.1, frictionloss=0.2),
        link(
            "elbow",
            1,
            Joint.REVOLUTE,
            (0.0, 1.0, 0.0),
            frictionloss=0.3,
            damping=0.2,
            armature=0.01,
            force_range=(-4.0, 2.9),
        ),
        link("slider", 0, Joint.PRISMATIC, (1.0, 0.0, 0.0), lifted=0.6, lift_com=np.array([0.1, 0.0, 0.02]), stiffness=9.0),
        link("wrist", 3, Joint.REVOLUTE, (0.6, 0.0, 0.8), lower=-0.5, upper=0.4, limit_ke=20.0, limit_kd=0.1),
    ]
    actuators = [
        Actuator("servo", [(9, 2.0)], gain=6.0, bias=(0.1, -5.0, -0.4), force_range=(-2.0, 1.5)),
        Actuator("more", [(9, -0.5)], gain=1.5),
        Actuator("cable", [(10, 1.0), (11, -0.7)], gain=4.0, bias=(0.0, -4.0, -0.3)),
        Actuator("speed", [(11, 1.0)], gain=0.5, bias=(0.0, 0.0, -0.5)),
        Actuator("damper", [(11, 0.8)], gain=0.0, gain_slope=(0.1, -0.6)),
        Actuator("turn", [(6, 1.0), (8, -0.5)], gain=0.7, force_range=(-0.5, 0.5)),
        Actuator(
            "rotor", gain=3.0, bias=(0.2, 0.0, 0.0), force_range=(-4.0, 2.0), link=3,
            point=np.array([0.1, 0.2, -0.1]), push=np.array([0.0, 0.6, 0.8]), turn=np.array([0.01, 0.0, -0.02]),
        ),
    ]  # fmt: skip
    tendon = Tendon("tendon", [(9, 1.0), (11, 0.5)], 5.0, (-0.1, 0.2), 0.3, 0.1, -0.4, 0.5, 30.0, 0.2)
    ties = [
        Tie(
            "weld",
            2,
            4,
            np.array([0.1, 0.0, 0.0]),
            np.array([0.0, 0.1, 0.0]),
            30.0,
            1.0,
            _QUAT / np.linalg.norm(_QUAT),
            4.0,
            0.2,
        ),
        Tie("connect", -1, 0, np.array([0.0, 0.1, 0.0]), np.array([0.0, 0.0, 0.2]), 20.0, 2.0),
    ]
    couplings = [
        Coupling("knuckles", 2, 4, (0.1, 0.8, 0.3, -0.1, 0.05), 0.2, 7.0, 0.2),
        Coupling("held", 3, -1, (0.1, 0.0, 0.0, 0.0, 0.0), 0.0, 6.0, 0.1),
    ]
    contacts = [Contact(index, np.array([0.05, 0.0, -0.1]), 0.1, 900.0, 40.0, 60.0, 0.2) for index in (0, 2)]
    made = Model(links, contacts, actuators=actuators, tendons=[tendon], couplings=couplings, ties=ties, **changes)
    made.fluid = Fluid(120.0, 0.4, np.array([0.5, -0.2, 0.3]))
    made.fluid_shapes = [
        FluidBox(3, np.array([0.1, 0.0, -0.05]), _QUAT / np.linalg.norm(_QUAT), np.array([0.1, 0.2, 0.3])),
        FluidEllipsoid(2, np.array([0.0, 0.1, 0.0]), np.array([0.0, 0.6, 0.0, 0.8]), np.array([0.05, 0.1, 0.02]),
                       (0.5, 0.3, 1.5, 1.0, 0.8), np.array([1e-3, 3e-4, 2e-3]), np.array([1e-5, 3e-5, 2e-5])),
    ]  # fmt: skip
    made.up, made.gravity, made.ground = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.3, -9.81]), -0.1
    return made


def state(model, num_envs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = 0.5 * torch.randn(num_envs, model.nq, generator=generator)
    for index, part in enumerate(model.links):
        if part.joint in (Joint.FREE, Joint.BALL):
            at = slice(model.q_start[index + 1] - 4, model.q_start[index + 1])
            q[:, at] = torch.nn.functional.normalize(torch.randn(num_envs, 4, generator=generator), dim=1)
    qd = torch.randn(num_envs, model.nd, generator=generator)
    force, control = torch.randn(num_envs, model.nd, generator=generator), torch.randn(num_envs, 7, generator=generator)
    return q, qd, force, control


@pytest.mark.parametrize("damping", ["implicit", "explicit"])
def test_the_kernels_compute_the_same(damping):
    model = robot(damping=damping)
    q, qd, force, control = state(model, N)
    simulator = Simulator(model, N, 0.02, 4, 2, threads=1)
    assert simulator.controls == 7
    compiled = simulator.acceleration(q, qd, force, control)
    exact = double.acceleration(model, q, qd, force, control)
    assert ((compiled - exact).norm(dim=1) / exact.norm(dim=1)).max() < 1e-4
    after = torch.cat(simulator.step(q, qd, force, control), dim=1)
    expected = double.step(model, q, qd, force, 0.02, 4, 2, control)
    torch.testing.assert_close(after.double(), expected, rtol=1e-3, atol=2e-4)


def test_every_clamp_and_limit_acts_in_some_of_the_states():
    model = robot()
    q, qd, force, control = state(model, N)
    base = double.acceleration(model, q, qd, force, control)

    def moved(**fields):
        return [dataclasses.replace(actuator, **fields) for actuator in model.actuators]

    inf = (-np.inf, np.inf)
    variants = {"actuators": moved(force_range=inf), "ties": model.ties[:1], "couplings": model.couplings[1:], "tendons": []}
    variants["links"] = [dataclasses.replace(part, force_range=inf) for part in model.links]
    for name, value in variants.items():
        changed = robot()
        setattr(changed, name, value)
        differs = (double.acceleration(changed, q, qd, force, control) - base).norm(dim=1) > 1e-3
        assert differs.any(), name
        assert name not in ("actuators", "links") or not differs.all(), name


def central_difference(model, given, weight, step):
    """d(weight . acceleration) along each direction of `step`, in double precision."""
    ends = [
        (weight * double.acceleration(model, *(t + sign * s for t, s in zip(given, step, strict=True)))).sum(1)
        for sign in (1.0, -1.0)
    ]
    return (ends[0] - ends[1]) / 2.0


@pytest.mark.parametrize("part", ["q", "qd", "force", "control"])
def test_gradients_of_the_acceleration_equal_central_differences(part):
    model = robot()
    given = [t.double() for t in state(model, N, seed=3)]
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(N, model.nd, generator=generator, dtype=torch.float64)
    index = ["q", "qd", "force", "control"].index(part)
    inputs = [t.float().requires_grad_() for t in given]
    out = Simulator(model, N, threads=1).acceleration(*inputs)
    (grad,) = torch.autograd.grad(out, inputs[index], weight.float())
    direction = torch.randn(given[index].shape, generator=generator, dtype=torch.float64)
    step = [torch.zeros_like(t) for t in given]
    step[index] = 1e-6 * direction
    expected = central_difference(model, given, weight, step) / 1e-6
    error = ((grad.double() * direction).sum(1) - expected).abs() / expected.abs().max()
    assert error.max() < 1e-4, error


@pytest.mark.parametrize("interval", [1, 4])
def test_gradients_of_a_step_equal_central_differences(interval):
    model = robot()
    given = [t.double() for t in state(model, N, seed=5)]
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(N, model.nq + model.nd, generator=generator, dtype=torch.float64)
    directions = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in given]

    def value(sign):
        moved = [t + sign * 1e-6 * d for t, d in zip(given, directions, strict=True)]
        return (weight * double.step(model, *moved[:3], 0.008, 4, interval, moved[3])).sum(1)

    inputs = [t.float().requires_grad_() for t in given]
    out = Simulator(model, N, 0.008, 4, interval, threads=1).step(*inputs)
    grads = torch.autograd.grad(out, inputs, [w.contiguous() for w in weight.float().split([model.nq, model.nd], dim=1)])
    total = sum((g.double() * d).sum(1) for g, d in zip(grads, directions, strict=True))
    expected = (value(1.0) - value(-1.0)) / 2e-6
    error = (total - expected).abs() / expected.abs().max()
    assert error.median() < 1e-4
    assert (error > 1e-3).sum() <= 2, error  # a clamp or a limit between the two ends


NAMES = [
    "mass:slider", "mass", "inertia:elbow", "inertia", "com:base", "damping:elbow", "damping", "armature:base", "armature",
    "frictionloss:elbow", "frictionloss", "stiffness:slider", "stiffness", "gain:rotor", "gain", "kp:servo", "kp", "kv:cable",
    "kv", "ke:base", "ke", "kd:elbow", "kd", "kf:base", "kf", "friction:elbow", "friction", "radius:base", "gravity",
    "density", "viscosity", "wind",
]  # fmt: skip


def test_every_kind_of_parameter_is_tried():
    assert {name.partition(":")[0] for name in NAMES} == set(KINDS) - {"terrain"}  # an index: tests/sim/test_pairs.py


def test_parameters_left_alone_change_nothing():
    model, given = robot(), state(robot(), N)
    plain, named = (Simulator(model, N, 0.02, 4, 2, threads=1, parameters=names) for names in ((), NAMES))
    for one, other in zip(plain.step(*given), named.step(*given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_parameters_differ_between_environments_and_have_gradients():
    model, given = robot(), [t.double() for t in state(robot(), N, seed=7)]
    parameters = Parameters(model, NAMES)
    generator = torch.Generator().manual_seed(8)
    spread = torch.rand(N, parameters.size, generator=generator, dtype=torch.float64)
    values = torch.as_tensor(parameters.values) * (0.8 + 0.4 * spread)
    simulator = Simulator(model, N, 0.008, 4, 4, threads=1, parameters=NAMES)
    acting = torch.zeros(parameters.size, dtype=torch.bool)
    arguments = [t.float() for t in given] + [values.float().requires_grad_()]
    weight = torch.randn(N, model.nq + model.nd, generator=generator, dtype=torch.float64)
    out = simulator.step(*arguments)
    (grad,) = torch.autograd.grad(
        out, arguments[4], [w.contiguous() for w in weight.float().split([model.nq, model.nd], dim=1)]
    )

    def after(env, row):
        one = [t[env : env + 1] for t in given]
        return double.step(parameters.applied(model, row.tolist()), *one[:3], 0.008, 4, 4, one[3])[0]

    for env in range(6):
        torch.testing.assert_close(torch.cat(out, dim=1)[env].double(), after(env, values[env]), rtol=1e-3, atol=2e-4)
        expected = []
        for column in range(parameters.size):
            step = torch.zeros(parameters.size, dtype=torch.float64)
            step[column] = 1e-5 * max(1.0, values[env, column].abs().item())
            change = after(env, values[env] + step) - after(env, values[env] - step)
            expected.append((weight[env] @ change) / (2.0 * step[column]))
        expected = torch.stack(expected)
        acting |= expected.abs() > 1e-6
        scale = expected.abs() + 1e-3 * expected.abs().max()
        assert ((grad[env].double() - expected).abs() / scale).max() < 2e-2, (env, grad[env], expected)
    assert acting.all(), [name for name, at in parameters.columns.items() if not acting[at].all()]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fricton"], "there is no kind 'fricton', did you mean 'friction'"),
        (["mass:torso"], "no link 'torso' has any; choose from base, shoulder"),
        (["kp:torso"], "no actuator 'torso' has any; choose from servo"),
        (["com"], "com needs a name"),
        (["gravity:base"], "gravity has no name"),
        (["wind:base"], "wind has no name"),
        (["mass", "mass"], "'mass' is named twice"),
        (["stiffness:base"], "no link 'base' has any; choose from shoulder"),
    ],
)
def test_wrong_names_are_one_line(names, message):
    with pytest.raises(ValueError, match=message):
        Simulator(robot(), 1, parameters=names)


def single(*actuators, inertia=1e-4, **fields):
    link = Link("j", -1, Joint.REVOLUTE, np.array([0.0, 0.0, 1.0]), mass=1.0, inertia=np.eye(3) * inertia, **fields)
    return Model([link], actuators=list(actuators))


def turned(model, steps, control, **options):
    simulator = Simulator(model, 1, threads=1, **options)
    q, qd, none = torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1, 1)
    for _ in range(steps):
        q, qd = simulator.step(q, qd, none, torch.full((1, simulator.controls), control))
    return q.item(), qd.item()


@pytest.mark.parametrize("joint", [False, True])
def test_a_strong_servo_at_its_limit_of_force_comes_to_rest_where_it_should(joint):
    bounds = (-1.0, 1.0)
    servo = Actuator("s", [(0, 1.0)], 20.0, (0.0, -20.0, -1.0), force_range=(-np.inf, np.inf) if joint else bounds)
    model = single(servo, force_range=bounds) if joint else single(servo)
    assert turned(model, 120, 1.0) == pytest.approx((1.0, 0.0), abs=1e-3)


def test_damping_ends_where_the_joint_clamps_as_where_the_servo_does():
    """Under a constant force at its limit nothing brakes: v = F t / I."""
    inf = (-np.inf, np.inf)
    servo = Actuator("s", [(0, 1.0)], 1000.0, (0.0, -1000.0, -500.0), force_range=(-1.0, 1.0))
    free = dataclasses.replace(servo, force_range=inf)
    for model in (single(servo, inertia=1.0), single(free, inertia=1.0, force_range=(-1.0, 1.0))):
        assert turned(model, 1, 1.0)[1] == pytest.approx(1.0 / 60.0, rel=1e-3)


def test_robots_that_differ_in_what_parameters_fold_share_no_kernel():
    weak, strong = (single(Actuator("m", [(0, 1.0)], gain), inertia=1.0) for gain in (1.0, 5.0))
    assert turned(weak, 1, 1.0, parameters=["gain"])[1] == pytest.approx(1.0 / 60.0, rel=1e-3)
    assert turned(strong, 1, 1.0, parameters=["gain"])[1] == pytest.approx(5.0 / 60.0, rel=1e-3)
    renamed = robot()
    renamed.links[2].name, renamed.links[4].name = renamed.links[4].name, renamed.links[2].name
    given = state(robot(), N)
    heavy = [
        Simulator(m, N, 0.02, 4, 2, threads=1, parameters=["mass:wrist"]).step(*given, torch.tensor([3.0]))[1]
        for m in (robot(), renamed)
    ]
    assert not torch.allclose(*heavy, atol=1e-3)


def test_links_of_one_name_are_told_apart_or_refused():
    model = robot()
    model.links[3].name = "elbow"
    with pytest.raises(ValueError, match="'mass:elbow': 2 are called 'elbow'; name them apart"):
        Simulator(model, 1, parameters=["mass:elbow"])


def test_a_free_joint_about_the_worlds_origin_has_no_parameters_of_its_own():
    with pytest.raises(ValueError, match="no link 'base' has any"):
        Simulator(robot(free_velocity="world"), 1, parameters=["damping:base"])


def test_compensated_weight_grows_with_the_mass():
    link = Link("j", -1, Joint.PRISMATIC, np.array([0.0, 1.0, 0.0]), mass=2.0, inertia=np.eye(3), lifted=2.0)
    simulator = Simulator(Model([link]), 1, threads=1, parameters=["mass:j"])
    none = torch.zeros(1, 1)
    assert simulator.acceleration(none, none, none, parameters=torch.tensor([3.0])).abs().item() < 1e-5
