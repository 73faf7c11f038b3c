"""Height fields of some kinds, and how high they are under points."""

import math

import numpy as np
import pytest
import torch

from rpo_lightning.envs.legged.terrain import KINDS, Ground, height_field, height_fields
from rpo_lightning.sim import Geom, Model, Pair, Simulator
from tests.sim.test_pairs import ball

SHAPE, SIZE = (129, 129), (6.4, 6.4)
TALLEST = {"flat": 0.0, "rough": 0.12, "slopes": 2.5 * math.tan(math.radians(20.0)), "stairs": 0.6, "blocks": 0.14}
STEEPEST = {"flat": 0.0, "rough": 1.0, "slopes": math.tan(math.radians(20.0)), "stairs": 1.2, "blocks": 1.4}


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_as_high_and_steep_as_they_say_and_come_down_to_their_rim(kind):
    hard, easy = (height_field(kind, difficulty, 3, SHAPE, SIZE) for difficulty in (1.0, 0.5))
    assert hard.min() == 0.0
    assert TALLEST[kind] * 0.97 <= hard.max() <= TALLEST[kind] * 1.0001
    for rim in (hard[0], hard[-1], hard[:, 0], hard[:, -1]):
        assert not rim.any()
    steep = max(hard[20:-20, 20:-20].diff(dim=axis).abs().max().item() for axis in (0, 1)) / 0.1
    assert steep <= STEEPEST[kind] * 1.001
    if kind != "rough":
        assert steep >= 0.95 * STEEPEST[kind]
    # less difficult is the same ground, but lower
    if kind not in ("flat", "slopes"):
        torch.testing.assert_close(easy, 0.5 * hard)
    assert not height_field(kind, 0.0, 3, SHAPE, SIZE).any()


def test_steps_are_level_on_top():
    for kind, treads in (("stairs", 3), ("blocks", 4)):
        field = height_field(kind, 1.0, 0, SHAPE, SIZE)[64]
        level = field.diff().abs() < 1e-6
        runs = "".join("-" if each else " " for each in level.tolist()).split()
        assert sorted(map(len, runs))[len(runs) // 2] >= treads


def test_what_is_random_is_of_the_seed():
    for kind in ("rough", "slopes", "stairs", "blocks"):
        one, same, other = (height_field(kind, 1.0, seed, SHAPE, SIZE) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
    geom = Geom("ground", "hfield", -1, size=np.array([2.0, 1.0, 0.0]), heights=np.zeros((11, 21)))
    fields = height_fields(["stairs", "flat"], 3, 0, geom)
    assert fields.shape == (6, 11, 21)
    assert fields.amax((1, 2)).gt(0.0).tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("kind", "difficulty", "message"), [("lava", 0.5, "flat, rough, slopes"), ("rough", 1.5, "0 ... 1")]
)
def test_what_cannot_be_is_refused(kind, difficulty, message):
    with pytest.raises(ValueError, match=message):
        height_field(kind, difficulty, 0, SHAPE, SIZE)
    with pytest.raises(ValueError, match="no height field"):
        Ground(Model([ball("ball")]), torch.zeros(1, 2, 2))


def scene():
    """A ball over a field that is not square and not in the middle."""
    model = Model([ball("ball")], gravity=np.zeros(3), up=np.array([0.0, 0.0, 1.0]))
    model.geoms = [Geom("ball", "sphere", 0, size=np.full(3, 0.1))]
    place = np.array([0.5, -0.3, 0.2])
    model.geoms.append(Geom("hills", "hfield", -1, place, size=np.array([2.0, 1.0, 0.0]), heights=np.zeros((5, 9))))
    model.pairs = [Pair(0, 1, 1000.0, 0.0, 0.0, 0.5)]
    return model


def test_the_ground_is_where_the_engine_has_it():
    model, count = scene(), 48
    generator = torch.Generator().manual_seed(0)
    fields = 0.3 * torch.rand(3, 5, 9, generator=generator)
    ground, field = Ground(model, fields), torch.arange(count) % 3
    q = torch.zeros(count, 7)
    q[:, 6] = 1.0
    # some beyond the rim
    q[:, :2] = torch.tensor([0.5, -0.3]) + torch.tensor([5.0, 2.6]) * (torch.rand(count, 2, generator=generator) - 0.5)
    q[:, 2] = ground.height(q[:, None, :2], field)[:, 0] + 0.12 * torch.rand(count, generator=generator)
    qdd = Simulator(model, count, terrain=fields, parameters=["terrain"]).acceleration(
        q, torch.zeros(count, 6), torch.zeros(count, 6), parameters=field[:, None].float()
    )
    force = qdd[:, 3:] + torch.linalg.cross(qdd[:, :3], q[:, :3])  # of 1 kg
    depth = (0.1 - ground.distance(q[:, None, :3], field)[:, 0]).clamp(min=0.0)
    assert 5 < (depth == 0.0).sum() < count - 20
    torch.testing.assert_close(force.norm(dim=1), 1000.0 * depth, rtol=1e-3, atol=1e-2)


def test_gradients_of_the_ground_equal_differences():
    ground = Ground(scene(), torch.rand(2, 5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    ground._scale, ground._corner, ground._last = (
        each.double() for each in (ground._scale, ground._corner, ground._last)
    )  # fmt: skip
    points = torch.tensor([[0.1, 0.33, 0.4], [9.0, 0.12, 1.0]], dtype=torch.float64).expand(2, 2, 3).clone().requires_grad_()
    field = torch.tensor([0, 1])
    for measure in (ground.height, ground.distance):
        assert torch.autograd.gradcheck(lambda p, measure=measure: measure(p, field), (points,))
    assert ground.height(points, field).std() > 0.05
    (slope,) = torch.autograd.grad(ground.height(points, field).sum(), points)
    assert (slope[:, 1, 0] == 0.0).all()  # level beyond the rim
    assert ground.height(points * math.nan, field).isnan().all()
