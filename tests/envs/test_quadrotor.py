"""The quadrotor: what holds it up, the figure it follows, and gradients."""

import math

import pytest
import torch

from rpo_lightning.envs.quadrotor import Quadrotor, figure

MASS, GRAVITY = 0.8, 9.81


def make(num_envs=4, **options):
    return Quadrotor(num_envs, threads=1, **options)


def eight(*, centre=(0.0, 0.0, 0.0), size=(1.0, 0.5, 0.2), direction=0.0, rate=1.0, phase=0.0):
    return torch.tensor([[*centre, *size, direction, rate, phase]])


def action_of(thrusts):
    """Actions of thrusts [N]: -1 is none, 1 is 4 N."""
    return torch.as_tensor(thrusts, dtype=torch.float32).expand(1, 4) / 2.0 - 1.0


def test_hovering_takes_the_weight():
    env = make(1, stochastic_init=False, auto_reset=False)
    hover = MASS * GRAVITY / 4.0
    for _ in range(100):
        env.step(action_of(hover))
    torch.testing.assert_close(env.q, env.start_q, atol=1e-4, rtol=0)
    assert env.qd.abs().max() < 1e-4
    env.reset()
    env.step(action_of(hover + 0.2))  # 0.8 N more: 1 m/s^2
    assert env.base.velocity(env.q, env.qd)[0, 2].item() == pytest.approx(0.02, rel=1e-2)


@pytest.mark.parametrize(
    ("more", "turning"),
    [
        ((0.1, 0.1, -0.1, -0.1), (1.0, 0.0, 0.0)),  # left over right: roll about x, lever 0.12 m
        ((-0.1, 0.1, 0.1, -0.1), (0.0, 1.0, 0.0)),  # rear over front: pitch about y, nose down
        ((0.1, -0.1, 0.1, -0.1), (0.0, 0.0, 1.0)),  # one diagonal over the other: yaw by reaction
    ],
)
def test_rotors_turn_it_as_their_levers_say(more, turning):
    env = make(1, stochastic_init=False)
    env.step(action_of(MASS * GRAVITY / 4.0 + torch.tensor(more)))
    inertia = torch.tensor(env.model.links[0].inertia).diagonal().float()
    torque = torch.tensor(turning) * torch.tensor([0.4 * 0.12, 0.4 * 0.12, 0.4 * 0.016])
    torch.testing.assert_close(env.base.angular_velocity(env.qd)[0], 0.02 * torque / inertia, rtol=1e-2, atol=1e-3)


def test_the_figure_is_an_eight_and_its_velocity_the_slope_of_its_place():
    target = eight(centre=(1.0, 2.0, 3.0), direction=0.5 * math.pi)
    place, _ = figure(target)
    torch.testing.assert_close(place, torch.tensor([[1.0, 2.0, 3.2]]))  # in the crossing
    place, _ = figure(target, ahead=0.5 * math.pi)  # at its end, along the world's y
    torch.testing.assert_close(place, torch.tensor([[1.0, 3.0, 3.0]]))
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(16, 9, generator=generator).double()
    before, after = figure(target, 0.3 - 1e-4)[0], figure(target, 0.3 + 1e-4)[0]
    torch.testing.assert_close(figure(target, 0.3)[1], (after - before) / 2e-4, rtol=1e-6, atol=1e-7)


def test_what_is_seen_of_a_known_state():
    env = make(1, stochastic_init=False)
    q, qd = env.q.clone(), env.qd.clone()
    q[:, :3] = torch.tensor([0.0, 0.0, 1.8])
    q[:, 3:7] = torch.tensor([0.0, 0.0, 0.5**0.5, 0.5**0.5])  # turned to the left by a right angle
    qd = env.base.twist(q, torch.tensor([[0.0, 0.7, 0.0]]), torch.tensor([[0.0, 0.0, 0.3]]))
    obs = env.set_state(q, qd, target=eight(centre=(0.0, 0.0, 1.8)))[0]
    here, velocity = figure(eight())
    seen = torch.tensor([0.0, 0.0, 0.2]), torch.tensor([velocity[0, 1] - 0.7, -velocity[0, 0], 0.0])
    torch.testing.assert_close(here[0], seen[0])
    torch.testing.assert_close(obs[:3], seen[0], atol=1e-6, rtol=0)
    later = figure(eight(), 0.4)[0][0]
    torch.testing.assert_close(obs[6:9], torch.stack([later[1], -later[0], later[2]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(obs[9:12], seen[1], atol=1e-6, rtol=0)
    rest = torch.tensor([0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.3])
    torch.testing.assert_close(obs[12:21], rest, atol=1e-6, rtol=0)


def test_following_is_paid_most():
    env = make(1, stochastic_init=False)
    still = eight(centre=(0.0, 0.0, 2.0), size=(0.0, 0.0, 0.0))
    paid = env.reward(env.set_state(env.start_q, 0.0 * env.qd, target=still), torch.zeros(1, 4))
    assert {name: term.item() for name, term in paid.items()} == pytest.approx(
        {"alive": 0.5, "near": 1.0, "speed": 0.1, "heading": 0.0, "spin": 0.0, "jerk": 0.0}, abs=1e-6
    )
    off = env.set_state(env.start_q, 0.0 * env.qd, target=still + eight(centre=(0.3, 0.4, 0.0), size=(0, 0, 0), rate=0))
    paid = env.reward(off, torch.full((1, 4), 0.5))
    assert paid["near"].item() == pytest.approx(1.02 - (0.25 + 0.02**2) ** 0.5, abs=1e-5)
    assert paid["jerk"].item() == pytest.approx(-0.02)


def test_it_fails_far_off_and_upside_down():
    env = make(3, stochastic_init=False)
    q, target = env.start_q.clone(), eight(centre=(0.0, 0.0, 2.0), size=(0.0, 0.0, 0.0)).repeat(3, 1)
    q[1, 0] = 2.1
    q[2, 3:7] = torch.tensor([0.8, 0.0, 0.0, 0.6])
    assert env.failed(env.set_state(q, env.qd, target=target)).tolist() == [False, True, True]


def test_figures_begin_at_the_start_pose_and_some_stand_still():
    env = make(512, seed=1, figure_length=(1.0, 2.0), figure_height=(0.2, 0.4), figure_seconds=(5.0, 8.0))
    place, velocity = figure(env.target)
    torch.testing.assert_close(place, env.start_q[:, :3], atol=1e-5, rtol=0)
    size, rate = env.target[:, 3:6], env.target[:, 7]
    still = (size == 0.0).all(1)
    assert 0.04 < still.float().mean() < 0.18
    assert (velocity[still] == 0.0).all()
    size = size[~still]
    assert 0.5 <= size[:, 0].min() < size[:, 0].max() <= 1.0
    torch.testing.assert_close(size[:, 1], size[:, 0] / 2.0)
    assert 0.1 <= size[:, 2].min() < size[:, 2].max() <= 0.2
    assert 5.0 <= (2.0 * math.pi / rate).min() < (2.0 * math.pi / rate).max() <= 8.0


def test_the_reference_goes_on_with_the_steps_wherever_episodes_stand():
    env = make(2, seed=1)
    env.progress = torch.tensor([0, 300])
    before = env.target.clone()
    for _ in range(5):
        obs = env.step(torch.zeros(2, 4)).final_obs
    torch.testing.assert_close(env.target[:, 8], before[:, 8] + 5 * 0.02 * before[:, 7])
    assert torch.equal(env.target[:, :8], before[:, :8])
    away = figure(before, 0.1)[0] - env.q[:, :3]
    torch.testing.assert_close(obs[:, :3], env.base.local(env.q, away), atol=1e-5, rtol=0)


def test_a_state_continues_to_the_bit():
    one, other = make(4, seed=1, episode_length=4), make(4, seed=2, episode_length=4)
    actions = torch.rand(12, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    for action in actions[:5]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    for action in actions[5:]:
        a, b = one.step(action), other.step(action)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.reward, b.reward)


def test_the_gradient_of_a_return_equals_differences():
    env = make(1, seed=0, reward_from="next")
    (q, qd, _), target, generator = env.get_state(), env.target.clone(), torch.Generator().manual_seed(1)
    actions, direction = 0.1 * torch.randn(2, 10, 1, 4, generator=generator)

    def paid(given):
        env.set_state(q, qd, target=target)
        return sum(env.step(action).reward.sum() for action in given)

    given = actions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(paid(given), given)
    step = 0.02
    with torch.no_grad():
        difference = (paid(actions + step * direction) - paid(actions - step * direction)) / (2.0 * step)
    assert abs(difference) > 1e-3
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=2e-2, atol=0)


@pytest.mark.parametrize("options", [{"figure_length": (2.0, 1.0)}, {"figure_seconds": (0.0, 1.0)}, {"figure_height": 1.0}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="two numbers low, high"):
        make(1, **options)
    with pytest.raises(ValueError, match=r"hovering must be a number within 0 ... 1, got 2"):
        make(1, hovering=2)


def test_every_entry_has_a_name():
    names = [row.name for row in make(1).observation_table()]
    assert names[::3] == [
        "reference from base x", "reference in 0.2 s from base x", "reference in 0.4 s from base x",
        "reference velocity less that of base x", "world up x", "world forward x", "angular velocity x",
        "front_left last action", "front_right last action",
    ]  # fmt: skip
