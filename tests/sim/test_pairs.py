"""Contact between shapes: against double precision, finite differences, closed forms; what must stay bounded and finite."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from rpo_lightning.sim import Contact, Geom, Joint, Link, Model, Pair, Simulator, codegen, pairs
from rpo_lightning.sim.algebra import rotation
from rpo_lightning.sim.pairs import loops
from tests.sim import double, scenes

N = 20
ALL = [(detection, *kinds) for detection, table in pairs.KINDS.items() for kinds in table]
NAMES = ["-".join(kinds) for kinds in ALL]


def without_pairs(model: Model) -> Model:
    free = Model(model.links, geoms=model.geoms)
    assert not free.pairs
    return free


@pytest.fixture(scope="module", params=ALL, ids=NAMES)
def touching(request):
    """A scene with one pair, and states in which it touches; its kernels serve all tests of the pair."""
    detection, first, second = request.param
    model = scenes.scene(first, second, seed=3, detection=detection)
    return model, scenes.touching(model, N, seed=4)


def test_the_kernel_computes_what_the_rows_do_in_double_precision(touching):
    model, state = touching
    exact = double.acceleration(model, *state)
    pressed = (exact - double.acceleration(without_pairs(model), *state)).norm(dim=1) > 1e-3
    assert pressed.sum() >= N // 2
    compiled = Simulator(model, N, threads=1).acceleration(*state).double()
    assert ((compiled - exact).norm(dim=1) / exact.norm(dim=1)).max() < 1e-4


def differences(model, state, allowed=0):
    """Compare the gradient of the accelerations with central differences of theirs in double precision."""
    weight = torch.randn(N, model.nd, generator=torch.Generator().manual_seed(1))
    inputs = [t.clone().requires_grad_() for t in state]
    grads = torch.autograd.grad((weight * Simulator(model, N, threads=1).acceleration(*inputs)).sum(), inputs)
    for index, grad in enumerate(grads):
        direction = torch.randn(grad.shape, generator=torch.Generator().manual_seed(2 + index)).double()
        errors = []
        for step in (1e-6, 1e-8):
            ends = []
            for sign in (1.0, -1.0):
                moved = [t.double() + (sign * step * direction if i == index else 0.0) for i, t in enumerate(state)]
                ends.append((weight * double.acceleration(model, *moved)).sum(1))
            expected = (ends[0] - ends[1]) / (2.0 * step)
            errors.append(((grad.double() * direction).sum(1) - expected).abs() / (grad.norm(dim=1) * direction.norm(dim=1)))
        error = torch.stack(errors).amin(0)
        assert (error > 1e-3).sum() <= allowed, error.tolist()


def test_gradients_equal_central_differences(touching):
    model, state = touching
    # the golden section of the "rewarped" edges ends elsewhere after the least change, also that to single precision
    differences(model, state, N // 3 if model.detection == "rewarped" and model.geoms[0].kind == "box" else 0)


@pytest.mark.parametrize(("law", "friction"), [("rate", "bound"), ("rate", "smooth"), ("depth", "smooth")])
def test_the_other_laws_have_exact_gradients(law, friction):
    model = scenes.scene("sphere", "capsule", seed=3, law=law, friction=friction)
    state = scenes.touching(model, N, seed=4)
    exact = double.acceleration(model, *state)
    compiled = Simulator(model, N, threads=1).acceleration(*state).double()
    assert ((compiled - exact).norm(dim=1) / exact.norm(dim=1)).max() < 1e-4
    differences(model, state)


def test_coincident_and_deep_shapes_give_finite_forces_and_gradients(touching):
    model, (_, qd, force) = touching
    q = scenes.coincident(model, N, seed=5)
    q[1 : N // 2, :3] += 1e-3 * torch.randn(N // 2 - 1, 3, generator=torch.Generator().manual_seed(0))
    q[N // 2 :, :3] += 0.1 * torch.randn(N - N // 2, 3, generator=torch.Generator().manual_seed(1))
    qd = torch.cat([torch.zeros(1, model.nd), qd[1:]])
    inputs = [t.clone().requires_grad_() for t in (q, qd, force)]
    out = Simulator(model, N, threads=1).acceleration(*inputs)
    for tensor in (out, *torch.autograd.grad(out.sum(), inputs)):
        assert tensor.isfinite().all()


def test_a_step_of_many_substeps_equals_central_differences():
    """The adjoint of a step is composed of substeps with contact, here of all kinds at once."""
    model = scenes.crowd()
    state = scenes.touching(model, N, seed=6)
    simulator = Simulator(model, N, dt=0.002, substeps=6, mass_matrix_interval=3, threads=1)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(N, size, generator=generator) for size in (model.nq, model.nd)]

    def value(inputs):
        return sum((w * x).double().sum(1) for w, x in zip(weights, simulator.step(*inputs), strict=True))

    inputs = [t.clone().requires_grad_() for t in state]
    grads = torch.autograd.grad(value(inputs).sum(), inputs)
    for index, grad in enumerate(grads):
        direction = torch.randn(grad.shape, generator=generator)
        exact, errors = (grad * direction).double().sum(1), []
        for step in (1e-2, 3e-3, 1e-3, 3e-4, 1e-4):
            ends = [
                [t + (sign * step * direction if i == index else 0.0) for i, t in enumerate(state)] for sign in (1.0, -1.0)
            ]
            with torch.no_grad():
                errors.append((value(ends[0]) - value(ends[1])) / (2.0 * step) - exact)
        error = torch.stack(errors).abs().amin(0) / (grad.norm(dim=1) * direction.norm(dim=1)).double()
        # a kink between the two ends spoils single environments
        assert error.median() < 2e-3
        assert (error > 1e-2).sum() <= N // 4, error.tolist()


@pytest.mark.parametrize("kinds", [("box", "plane"), ("sphere", "box")], ids="-".join)
def test_factors_on_the_constants_of_pairs_have_exact_gradients(kinds):
    model, names = scenes.scene(*kinds, seed=3), ("ke", "kd", "kf", "friction")
    state = scenes.touching(model, N, seed=4)
    weight = torch.randn(N, model.nd, generator=torch.Generator().manual_seed(5))
    factors = torch.tensor([1.2, 0.8, 1.1, 0.7]).expand(N, 4).clone().requires_grad_()
    out = Simulator(model, N, threads=1, parameters=names).acceleration(*state, parameters=factors)
    (grad,) = torch.autograd.grad(out, factors, weight)

    def value(row):
        fields = dict(zip(("ke", "kd", "kf", "mu"), row, strict=True))
        scaled = [dataclasses.replace(pair, **{k: getattr(pair, k) * x for k, x in fields.items()}) for pair in model.pairs]
        return (weight * double.acceleration(dataclasses.replace(model, pairs=scaled), *state)).sum(1)

    row = factors[0].tolist()
    for column in range(4):
        ends = [value([x + sign * 1e-5 * (i == column) for i, x in enumerate(row)]) for sign in (1.0, -1.0)]
        expected = (ends[0] - ends[1]) / 2e-5
        assert expected.abs().max() > 1e-3
        assert ((grad[:, column] - expected).abs() / expected.abs().max()).max() < 1e-3


@pytest.mark.parametrize("detection", pairs.KINDS)
def test_leaving_out_what_is_apart_changes_no_bit(detection, monkeypatch):
    model = scenes.crowd(detection)
    q, qd, force = scenes.touching(model, 2 * N, seed=8)
    q[N:, :3] *= torch.linspace(1.0, 6.0, N)[:, None]  # from touching to far away, in blocks of mixed and of equal kind
    adjoint = torch.randn(2 * N, model.nq), torch.randn(2 * N, model.nd)

    def results(bounded):
        monkeypatch.setattr(codegen, "Loops", lambda *robot: loops.Loops(*robot, bounded))
        kernels = {name: codegen.source(name, model) for name in ("step", "step_adjoint")}
        monkeypatch.setattr("rpo_lightning.sim.simulator._source", lambda name, *_robot: kernels[name])
        inputs = [t.clone().requires_grad_() for t in (q, qd, force)]
        out = Simulator(model, 2 * N, 0.004, 4, 2, threads=1).step(*inputs)
        return kernels, (*out, *torch.autograd.grad(out, inputs, adjoint))

    (with_bounds, here), (without, there) = results(True), results(False)
    assert with_bounds["step"].count(")) continue") > 1
    assert ")) continue" not in without["step"].replace("0)) continue", "")
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one, other)


def ball(name: str, mass: float = 1.0, radius: float = 0.1) -> Link:
    return Link(name, -1, Joint.FREE, mass=mass, inertia=np.eye(3) * 0.4 * mass * radius**2)


@pytest.mark.parametrize(("along", "gap"), [(0.0, 0.02), (0.0, -0.03), (0.6, -0.03)])
def test_a_capsule_across_a_cylinder_touches_where_their_axes_are_nearest(along, gap):
    """Also where it is not the capsule's middle; the push is of the spring alone, and turns the capsule by its arm."""
    model = Model([ball("rod")], gravity=np.zeros(3))
    model.geoms = [
        Geom("rod", "capsule", 0, quat=np.array([0.5**0.5, 0.0, 0.0, 0.5**0.5]), size=np.array([0.05, 1.0, 0.0])),
        Geom("log", "cylinder", -1, quat=np.array([0.0, 0.5**0.5, 0.0, 0.5**0.5]), size=np.array([0.2, 0.5, 0.0])),
    ]
    model.pairs = [Pair(0, 1, 1000.0, 0.0, 0.0, 0.0)]
    q = torch.tensor([[0.1, along, 0.25 + gap, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    qdd = double.acceleration(model, q, torch.zeros(1, 6), torch.zeros(1, 6))[0]
    push = 1000.0 * max(-gap, 0.0) * (1.0 - along * along)  # the point between counts less near an end
    linear = qdd[3:] + torch.linalg.cross(qdd[:3], q[0, :3])
    np.testing.assert_allclose(linear, [0.0, 0.0, push], atol=5e-3 * push + 1e-9)
    np.testing.assert_allclose(
        qdd[:3], [-along * push / model.links[0].inertia[0, 0], 0.0, 0.0], atol=1e-2 * along * push / 0.004 + 1e-9
    )


def test_an_ellipsoid_touches_a_plane_at_its_lowest_point():
    """Turned by an angle about y its reach down is the root of (a sin)^2 + (c cos)^2."""
    model, turn, depth = Model([ball("egg")], gravity=np.zeros(3)), 0.6, 0.01
    a, c = 0.1, 0.3
    model.geoms = [Geom("egg", "ellipsoid", 0, size=np.array([a, 0.2, c])), Geom("floor", "plane", -1)]
    model.pairs = [Pair(0, 1, 1000.0, 0.0, 0.0, 0.0)]
    reach = math.hypot(a * math.sin(turn), c * math.cos(turn))
    q = torch.tensor([[0.0, 0.0, reach - depth, 0.0, math.sin(turn / 2), 0.0, math.cos(turn / 2)]], dtype=torch.float64)
    qdd = double.acceleration(model, q, torch.zeros(1, 6), torch.zeros(1, 6))[0]
    arm = (c * c - a * a) * math.sin(turn) * math.cos(turn) / reach  # of the lowest point, to the back
    linear = qdd[3:] + torch.linalg.cross(qdd[:3], q[0, :3])
    np.testing.assert_allclose(linear, [0.0, 0.0, 1000.0 * depth], atol=1e-9)
    np.testing.assert_allclose(qdd[:3], [0.0, arm * 1000.0 * depth / model.links[0].inertia[1, 1], 0.0], atol=1e-6)


def test_a_bounce_follows_the_damped_spring():
    """Two equal spheres that fly at each other: a spring and, under the law "rate", a damper while they approach."""
    ke, kd, mass, radius, speed = 2000.0, 30.0, 1.0, 0.1, 1.0
    model = Model([ball("left"), ball("right")], gravity=np.zeros(3), law="rate")
    model.geoms = [Geom("l", "sphere", 0, size=np.full(3, radius)), Geom("r", "sphere", 1, size=np.full(3, radius))]
    model.pairs = [Pair(0, 1, ke, kd, 0.0, 0.0)]
    # relative coordinate x = penetration, reduced mass m/2: x'' + 2 g x' + w^2 x = 0 while x' > 0, undamped after
    reduced = 0.5 * mass
    g, w = 0.5 * kd / reduced, math.sqrt(ke / reduced)
    damped = math.sqrt(w * w - g * g)
    closing = 2.0 * speed
    turn = math.atan2(damped, g) / damped  # where x' = 0
    deepest = closing / damped * math.exp(-g * turn) * math.sin(damped * turn)
    leaving = deepest * w  # all of the spring's energy
    substeps = 4000
    q = torch.zeros(1, 14)
    q[0, [0, 7]] = torch.tensor([-radius, radius])
    q[0, [6, 13]] = 1.0
    qd = torch.zeros(1, 12)
    qd[0, [3, 9]] = torch.tensor([speed, -speed])
    simulator = Simulator(model, 1, turn, substeps, substeps)
    middle, rates = simulator.step(q, qd, torch.zeros(1, 12))
    assert 2.0 * radius - (middle[0, 7] - middle[0, 0]).item() == pytest.approx(deepest, rel=2e-3)
    assert rates[0, 3].abs() < 2e-3 * speed
    back = Simulator(model, 1, 0.5 * math.pi / w * 1.05, substeps, substeps)
    end, rates = back.step(middle, rates, torch.zeros(1, 12))
    assert (rates[0, 9] - rates[0, 3]).item() == pytest.approx(leaving, rel=3e-3)
    assert (end[0, 7] - end[0, 0]).item() > 2.0 * radius


def standing(sizes: list[tuple[float, float, float]], masses: list[float]) -> Model:
    """Boxes one on the other on a plane, each of which may touch each other one."""
    links = []
    for i, (half, mass) in enumerate(zip(sizes, masses, strict=True)):
        squares = np.square(half)
        links.append(Link(f"box {i}", -1, Joint.FREE, mass=mass, inertia=np.diag(mass / 3.0 * (squares.sum() - squares))))
    geoms = [Geom("floor", "plane", -1), *(Geom(f"box {i}", "box", i, size=np.array(h)) for i, h in enumerate(sizes))]
    law = 4000.0, 400.0, 60.0, 0.7
    touching = [Pair(a, b, *law) for a in range(1, len(geoms)) for b in range(a)]
    return Model(links, geoms=geoms, pairs=touching, gravity=np.array([0.0, 0.0, -9.81]))


@pytest.mark.parametrize(
    ("sizes", "shift"), [([(0.1, 0.1, 0.1)] * 3, 0.0), ([(0.1, 0.1, 0.1)] * 3, 0.01), ([(0.2, 0.2, 0.1), (0.15, 0.1, 0.1), (0.1,) * 3], 0.02)],
    ids=["flush", "shifted", "tower"],
)  # fmt: skip
def test_three_boxes_stay_stacked_for_ten_seconds(sizes, shift):
    model, envs = standing(sizes, [1.0, 1.0, 1.0]), 16
    q, generator = torch.zeros(envs, model.nq), torch.Generator().manual_seed(0)
    top = 0.0
    for i, (_, _, half) in enumerate(sizes):
        q[:, 7 * i + 2], q[:, 7 * i + 6] = top + half, 1.0
        q[:, 7 * i : 7 * i + 2] = shift * torch.randn(envs, 2, generator=generator).clamp(-1.5, 1.5)
        top += 2.0 * half
    simulator, start, qd = Simulator(model, envs, 1 / 60, 16, 16), q.clone(), torch.zeros(envs, model.nd)
    for _ in range(600):
        q, qd = simulator.step(q, qd, torch.zeros_like(qd))
    moved = (q - start).view(envs, 3, 7)
    assert moved[..., 2].abs().max() < 0.02  # sunk in by millimetres
    assert moved[..., :2].abs().max() < 0.15  # viscous friction creeps
    assert q.view(envs, 3, 7)[..., 6].abs().min() > 0.95  # upright
    assert qd.abs().max() < 1.0


def test_a_sphere_stays_in_a_bowl_of_capsules():
    links, envs = [ball("ball")], 16
    geoms = [Geom("ball", "sphere", 0, size=np.full(3, 0.1))]
    for turn in np.arange(8) * math.pi / 4.0:
        # a ring of capsules, each along a tangent
        quat = np.array([math.sin(math.pi / 4) * -math.sin(turn + math.pi / 2), math.sin(math.pi / 4) * math.cos(turn + math.pi / 2), 0.0, math.cos(math.pi / 4)])  # fmt: skip
        place = np.array([0.12 * math.cos(turn), 0.12 * math.sin(turn), 0.0])
        geoms.append(Geom(f"rim {turn:.1f}", "capsule", -1, place, quat, np.array([0.05, 0.1, 0.0])))
    touching = [Pair(0, i, 4000.0, 400.0, 30.0, 0.5) for i in range(1, len(geoms))]
    model = Model(links, geoms=geoms, pairs=touching, gravity=np.array([0.0, 0.0, -9.81]))
    q, qd = torch.zeros(envs, 7), torch.zeros(envs, 6)
    q[:, :2] = 0.01 * torch.randn(envs, 2, generator=torch.Generator().manual_seed(1))
    q[:, 2], q[:, 6] = 0.12, 1.0
    simulator = Simulator(model, envs, 1 / 60, 16, 16)
    for _ in range(600):
        q, qd = simulator.step(q, qd, torch.zeros_like(qd))
    assert q[:, :2].abs().max() < 0.02
    assert ((q[:, 2] > 0.0) & (q[:, 2] < 0.13)).all()
    assert qd[:, 3:].abs().max() < 0.3


def test_terrain_may_differ_between_environments():
    model = Model([ball("ball")], gravity=np.array([0.0, 0.0, -9.81]))
    model.geoms = [Geom("ball", "sphere", 0, size=np.full(3, 0.1))]
    model.geoms.append(Geom("hills", "hfield", -1, size=np.array([2.0, 1.0, 0.0]), heights=np.zeros((5, 9))))
    model.pairs = [Pair(0, 1, 1000.0, 0.0, 0.0, 0.5)]
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-2, 2, 9), indexing="ij")
    slopes = torch.tensor([0.0, 0.5, -0.25])
    terrain = slopes[:, None, None] * columns + 0.1 * rows
    q, qd = torch.zeros(3, 7), torch.zeros(3, 6)
    q[:, 0], q[:, 1], q[:, 6] = 0.3, 0.2, 1.0
    normal = torch.nn.functional.normalize(torch.stack([-slopes, torch.full((3,), -0.1), torch.ones(3)], 1), dim=1)
    ground = slopes * 0.3 + 0.1 * 0.2
    depth = 0.01
    q[:, 2] = ground + (0.1 - depth) / normal[:, 2]
    qdd = Simulator(model, 3, terrain=terrain).acceleration(q, qd, torch.zeros(3, 6))
    body = qdd[:, 3:] + torch.linalg.cross(qdd[:, :3], q[:, :3])
    expected = 1000.0 * depth * normal + torch.tensor([0.0, 0.0, -9.81])
    torch.testing.assert_close(body, expected, rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match=r"terrain must be finite and of shape \(1 or 3, 5, 9\), got \(2, 5, 9\)"):
        Simulator(model, 3, terrain=terrain[:2])
    with pytest.raises(ValueError, match="no height field"):
        Simulator(standing([(0.1, 0.1, 0.1)], [1.0]), 3, terrain=terrain)
    # as a parameter, rounded; what is no field is the first
    chosen = Simulator(model, 3, terrain=terrain[[1, 0, 2, 2]], parameters=["terrain", "gravity"])
    for rows in ([1.3, -0.2, 3.0], [0.8, 4.0, 2.4], [1.0, math.nan, 2.0]):
        parameters = torch.tensor([[row, 0.0, 0.0, -9.81] for row in rows]).requires_grad_()
        again = chosen.acceleration(q, qd, torch.zeros(3, 6), parameters=parameters)
        assert torch.equal(again, qdd)
    again[:, 5].sum().backward()
    assert (parameters.grad[:, 0] == 0.0).all()
    torch.testing.assert_close(parameters.grad[:, 3], torch.ones(3))
    with pytest.raises(ValueError, match=r"terrain must be finite and of shape \(any, 5, 9\)"):
        Simulator(model, 3, terrain=terrain[:, :4], parameters=["terrain"])
    with pytest.raises(ValueError, match="terrain: the robot's file has no height field"):
        Simulator(standing([(0.1, 0.1, 0.1)], [1.0]), 3, parameters=["terrain"])


def test_a_pair_that_is_not_simulated_is_named():
    model = scenes.scene("box", "box", seed=0)
    model.geoms[1] = dataclasses.replace(model.geoms[1], kind="cylinder", name="drum")
    with pytest.raises(ValueError, match=r"contact of one \(box\) with drum \(cylinder\) is not simulated"):
        Simulator(model, 2).acceleration(*scenes.touching(scenes.scene("box", "box", seed=0), 2, seed=0))


@pytest.mark.parametrize("first", ["sphere", "capsule", "box"])
def test_a_plane_among_pairs_is_the_ground(first):
    """The straight-line path of the one ground plane and the loop over pairs say the same of the same contact."""
    model = scenes.scene(first, "plane", seed=3)
    model.geoms[1].pos, model.geoms[1].quat = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])
    state = scenes.touching(model, N, seed=4)
    geom, law = model.geoms[0], dataclasses.astuple(model.pairs[0])[2:]
    straight = Model(model.links, up=np.array([0.0, 0.0, 1.0]))
    turn = rotation(geom.quat.tolist()).astype(float)
    ends = {"sphere": [np.zeros(3)], "capsule": [turn[:, 2] * geom.size[1] * s for s in (1, -1)]}
    corners = [turn @ (geom.size * np.array(part)) for part in pairs.KINDS["exact"]["box", "plane"].parts]
    for offset in ends.get(first, corners):
        straight.contacts.append(Contact(geom.link, geom.pos + offset, 0.0 if first == "box" else geom.size[0], *law))
    one, other = (Simulator(robot, N, threads=1).acceleration(*state) for robot in (model, straight))
    assert ((one - other).norm(dim=1) / one.norm(dim=1)).max() < 1e-4
