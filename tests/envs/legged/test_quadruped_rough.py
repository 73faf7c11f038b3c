"""The quadruped on ground that is not level."""

import math

import pytest
import torch

from rpo_lightning.envs.legged.quadruped import Quadruped
from rpo_lightning.envs.legged.quadruped_rough import QuadrupedRough, SeeingQuadrupedRough

QUIET = {"noise": 0.0, "push": 0.0}


def make(num_envs=5, **options):
    return QuadrupedRough(num_envs, threads=1, **options)


def soles(env):
    return env.over_ground(env._points(env.q, env.qd)[0]) - env._radii


def test_kinds_go_round_and_difficulties_are_spread():
    env = make(20, **QUIET)
    assert env.kinds == ["flat", "rough", "slopes", "stairs", "blocks"]
    assert (env.field // 11).tolist() == [0, 1, 2, 3, 4] * 4
    assert (env.field % 11).tolist() == [0] * 5 + [3] * 5 + [7] * 5 + [10] * 5
    assert env.difficulty.max() == 1.0
    one = make(3, terrain="stairs", difficulty=0.5, **QUIET)
    assert one.field.tolist() == [5, 5, 5]
    assert len(one.simulator.terrain) == 11


def test_a_difficulty_counts_from_the_next_episode_on():
    env = make(10, difficulty=0.2, **QUIET)
    before = env.field.clone()
    env.difficulty = torch.full((10,), 0.7)
    env.step(torch.zeros(10, 12))
    assert torch.equal(env.field, before)
    env.reset(torch.arange(10) == 3)
    assert (env.field - before).tolist() == [0, 0, 0, 5, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="difficulty must be a float32 tensor"):
        env.difficulty = torch.zeros(3)


def test_starts_are_on_the_ground():
    env = make(100, difficulty=1.0, **QUIET)
    assert env.q[:, :2].abs().max() < 1.5
    assert env.q[:, :2].abs().max() > 1.2
    level = Quadruped(100, threads=1, **QUIET)
    usual = (level.privileged[:, 49:53]).amin(1)
    assert soles(env).amin(1).min() > usual.min() - 0.03
    assert (env.q[:, 2].amax() - env.q[:, 2].amin()) > 0.3
    for each in (env, level):  # lifted, not thrown
        assert each.base.velocity(each.q, each.qd).abs().max() <= 0.3 + 1e-5


def test_heights_are_over_the_ground_below():
    env = make(1, terrain=["slopes"], difficulty=1.0, stochastic_init=False, **QUIET)
    q, qd = env.q.clone(), env.qd.clone()
    slope = math.tan(math.radians(20.0))
    top = env._ground.height(torch.tensor([[[3.0, 0.0], [3.1, 0.0]]]), env.field)[0]
    rise = ((top[1] - top[0]) / 0.1).item()
    assert abs(rise) == pytest.approx(slope, rel=1e-3)
    # turned to the left by a right angle: the world's x is its right
    q[:, :3] = torch.tensor([3.0, 0.0, 0.323 + top[0].item()])
    q[:, 3:7] = torch.tensor([0.0, 0.0, 0.5**0.5, 0.5**0.5])
    env.set_state(q, qd)
    seen = env.privileged[0]
    assert seen.shape == (104,)
    assert seen[48].item() == pytest.approx(0.0, abs=1e-5)  # height over the mean about it
    around = seen[69:].view(7, 5)
    torch.testing.assert_close(around, (-rise * torch.tensor([-0.3, -0.15, 0.0, 0.15, 0.3])).expand(7, 5), atol=1e-5, rtol=0)
    feet, _ = env._points(q, qd)
    height = env._ground.height(feet, env.field)
    torch.testing.assert_close(seen[49:53], (feet[..., 2] - height)[0] / (1 + rise**2) ** 0.5 - 0.022, atol=1e-5, rtol=0)


def test_a_fall_is_relative_to_the_ground_below():
    env = make(1, terrain=["slopes"], difficulty=1.0, stochastic_init=False, **QUIET)
    q = env.q.clone()
    peak = int(env.simulator.terrain[env.field[0], 64].argmax())
    q[:, 0] = 0.1 * peak - 6.4
    ground = env._ground.height(q[:, None], env.field)[0, 0]
    for over, fell in ((0.1, True), (0.35, False)):
        q[:, 2] = ground - 0.1 + over
        obs = torch.cat([env.set_state(q, env.qd), env.privileged], dim=1)
        assert env.failed(obs).item() is fell


def test_level_ground_is_that_of_the_quadruped():
    rough, level = make(2, terrain="flat", **QUIET), Quadruped(2, threads=1, **QUIET)
    level.set_state(rough.q, rough.qd, target=rough.target)
    rough.set_state(rough.q, rough.qd)
    actions = torch.rand(8, 2, 12, generator=torch.Generator().manual_seed(0)) - 0.5
    for action in actions:
        one, other = rough.step(0.5 * action), level.step(action)  # here actions reach twice as far
    torch.testing.assert_close(rough.q, level.q, atol=1e-4, rtol=1e-4)
    seen = one.privileged[:, :69].clone()
    seen[:, 33:45] *= 2.0
    torch.testing.assert_close(seen, other.privileged, atol=2e-3, rtol=1e-3)
    for name in one.reward_terms.keys() - {"lift"}:  # feet are to be lifted higher here
        torch.testing.assert_close(one.reward_terms[name], other.reward_terms[name], atol=2e-3, rtol=1e-3)


def test_a_state_continues_to_the_bit():
    one, other = make(6, seed=1), make(6, seed=2, difficulty=0.0)
    one.difficulty = torch.linspace(0.0, 1.0, 6)
    actions = torch.rand(8, 6, 12, generator=torch.Generator().manual_seed(0)) - 0.5
    for action in actions[:4]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.field, other.field)
    for each in (one, other):
        each.reset(torch.arange(6) > 2)
    for action in actions[4:]:
        a, b = one.step(action), other.step(action)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.privileged, b.privileged)
        assert torch.equal(a.reward, b.reward)
    assert torch.equal(one.difficulty, other.difficulty)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terrain": "lava"}, "flat, rough, slopes"),
        ({"terrain": []}, "flat, rough, slopes"),
        ({"difficulty": 1.5}, "within 0 ... 1"),
        ({"terrain": 3}, "flat, rough, slopes"),
        ({"difficulty": [0.5, 0.2]}, "low, high"),
        ({"difficulty": [0.5]}, "a number or two numbers low, high within 0 ... 1"),
        ({"difficulty": "hard"}, "a number or two numbers"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(1, **options)


def test_every_entry_has_a_name():
    names = [row.name for row in make(1, **QUIET).privileged_table()]
    assert len(names) == 104
    assert names[69] == "ground -0.45 m ahead, -0.3 m left, over where it stands"


def test_an_actor_that_sees_has_the_ground_last():
    env, blind = SeeingQuadrupedRough(4, threads=1, seed=3, push=0.0), make(4, seed=3, **QUIET)
    env.set_state(blind.q, blind.qd, target=blind.target)
    blind.set_state(blind.q, blind.qd)
    assert env.detach().shape == (4, 80)
    torch.testing.assert_close(env.privileged[:, 45:80], blind.privileged[:, 69:])
    torch.testing.assert_close(env.privileged[:, 80:], blind.privileged[:, 45:69])
    error = (env.detach() - env.privileged[:, :80])[:, 45:].abs()
    assert 0.015 < error.max() <= 0.02 + 1e-6
    obs = [torch.cat([each.detach(), each.privileged], dim=1) for each in (env, blind)]
    paid, expected = (each.reward(seen, torch.zeros(4, 12)) for each, seen in zip((env, blind), obs, strict=True))
    for name in expected:
        torch.testing.assert_close(paid[name], expected[name])
    assert len(env.observation_table()) == 80
