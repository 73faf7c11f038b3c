"""Walking as commanded: what is seen, paid and drawn."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch

from rpo_lightning.envs.legged import terms
from rpo_lightning.envs.legged.quadruped import Quadruped

QUIET = {"noise": 0.0, "push": 0.0}


def make(num_envs=4, **options):
    return Quadruped(num_envs, threads=1, **options)


def test_what_is_seen_of_a_known_state():
    env = make(2, stochastic_init=False, **QUIET)
    q, qd = env.q.clone(), env.qd.clone()
    q[:, :3] = torch.tensor([3.0, -2.0, 0.4])
    # turned to the left by a right angle, and moving along the world's y: its own forward
    q[:, 3:7] = torch.tensor([0.0, 0.0, 0.5**0.5, 0.5**0.5])
    velocity, turning = torch.tensor([[0.0, 0.7, 0.0]] * 2), torch.tensor([[0.0, 0.0, 0.3]] * 2)
    qd[:, :6] = env.base.twist(q, velocity, turning)
    q[:, 7] += 0.2
    qd[:, 8] = 1.5
    command = torch.tensor([[0.5, 0.1, -0.2]] * 2)
    obs = env.set_state(q, qd, target=command)[0]
    torch.testing.assert_close(obs[:9], torch.tensor([0.0, 0.0, 0.3, 0.0, 0.0, -1.0, 0.5, 0.1, -0.2]), atol=1e-6, rtol=0)
    assert obs[9].item() == pytest.approx(0.2, abs=1e-6)
    assert obs[23].item() == pytest.approx(1.5)
    seen = env.privileged[0]
    torch.testing.assert_close(seen[:45], obs)
    torch.testing.assert_close(seen[45:48], torch.tensor([0.7, 0.0, 0.0]), atol=1e-6, rtol=0)
    assert seen[48].item() == pytest.approx(0.4 - 0.323, abs=1e-6)
    assert (seen[53:57] < 1e-6).all()  # in the air
    assert seen[57:].view(4, 3)[:, 1].sub(0.7).abs().max() < 0.5  # feet move with the base, but for turning and joints


def test_standing_as_commanded_is_paid_most():
    env = make(2, stochastic_init=False, **QUIET)
    obs = torch.cat([env.set_state(env.q, env.qd, target=torch.zeros(2, 3)), env.privileged], dim=1)
    paid = env.reward(obs, torch.zeros(2, 12))
    assert paid["velocity"][0].item() == pytest.approx(1.5)
    assert paid["turning"][0].item() == pytest.approx(0.75)
    assert sum(paid.values())[0].item() > 2.2
    faster = torch.cat([env.set_state(env.q, env.qd, target=torch.tensor([[1.0, 0.0, 0.0]] * 2)), env.privileged], dim=1)
    assert env.reward(faster, torch.zeros(2, 12))["velocity"][0].item() == pytest.approx(1.5 * (1.1 - 1.01**0.5), abs=1e-5)


def test_terms_are_what_they_say():
    error = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    torch.testing.assert_close(terms.tracking(error, 0.1), torch.tensor([1.0, 1.1 - 25.01**0.5]))
    assert terms.contact(torch.tensor([0.003])).item() == pytest.approx(0.5)
    velocity = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    assert terms.slip(torch.tensor([[1.0, 0.5]]), velocity).item() == pytest.approx(25.5)
    assert terms.lift(torch.tensor([[0.08, 0.0]]), velocity, 0.08).item() == pytest.approx(1.0, rel=1e-3)
    assert terms.jerk(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).item() == 5.0


def test_torque_is_the_servos_law():
    env = make(2, **QUIET)
    action, angles, rates = torch.rand(2, 12) - 0.5, torch.rand(2, 12) - 0.5, torch.rand(2, 12)
    expected = 40.0 * (0.5 * action - angles) - 1.0 * rates
    torch.testing.assert_close(env._torque(angles, rates, action), expected, atol=1e-4, rtol=1e-4)


def test_commands_last_and_some_are_to_stand():
    env = make(256, command_seconds=0.1, commands=((0.5, 1.0), (0.0, 0.0), (-1.0, -0.5)), **QUIET)
    first = env.target.clone()
    moving = first[:, 0] > 0.0
    assert 0.8 < moving.float().mean() < 0.98
    assert (first[~moving] == 0.0).all()
    assert first[moving, 0].min() >= 0.5
    assert (first[:, 1] == 0.0).all()
    for step in range(1, 6):
        env.step(torch.zeros(256, 12))
        same = (env.target == first).all(1)
        assert same.all() if step < 5 else same.float().mean() < 0.1


def test_pushes_change_the_horizontal_velocity_alone():
    env, calm = make(64, push=2.0, push_seconds=0.02, noise=0.0), make(64, **QUIET)
    calm.set_state(env.q, env.qd, target=env.target)
    before = env.qd.clone()
    env._push(torch.arange(64) % 2 == 0)
    change = env.qd - before
    assert (change[1::2] == 0.0).all()
    assert (change[:, [0, 1, 2, 5]] == 0.0).all()
    assert 1.5 < change[::2, 3:5].abs().max() <= 2.0


def test_noise_is_on_what_the_actor_sees_alone():
    env = make(256, push=0.0)
    error = env.detach() - env.privileged[:, :45]
    widths = torch.cat([torch.full((3,), 0.2), torch.full((3,), 0.05), torch.zeros(3), torch.full((12,), 0.01)])
    assert (error[:, :21].abs() <= widths + 1e-6).all()
    assert (error[:, :21].abs().amax(0) >= 0.9 * widths).all()
    assert 1.3 < error[:, 21:33].abs().max() <= 1.5
    assert (error[:, 33:] == 0.0).all()


def test_a_state_continues_to_the_bit():
    options = {"action_delay": [0, 3], "push_seconds": 0.06, "command_seconds": 0.1}
    one, other = make(4, seed=1, **options), make(4, seed=2, **options)
    actions = torch.rand(12, 4, 12) - 0.5
    for action in actions[:5]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    for action in actions[5:]:
        a, b = one.step(action), other.step(action)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.privileged, b.privileged)
        assert torch.equal(a.reward, b.reward)


class Trotter(Quadruped):
    """The quadruped with a clock, paid for its gait, its joints' limits and its power."""

    name = "trotter"
    obs_dim, privileged_dim = 47, 71
    phases = (0.0, 0.5, 0.5, 0.0)
    weights: ClassVar = {**Quadruped.weights, "gait": -0.5, "limits": -10.0, "power": -0.001}


def test_a_clock_is_seen_and_feet_are_paid_to_follow_it():
    env = Trotter(2, threads=1, stochastic_init=False, **QUIET)
    command = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    obs = env.set_state(env.q, env.qd, target=command)
    torch.testing.assert_close(obs[:, 45:], torch.tensor([[0.0, 1.0]] * 2))
    assert [row.name for row in env.observation_table()][45:] == ["gait sine", "gait cosine"]
    standing = env._standing(obs[:, 45:], command)
    assert standing[0].tolist() == pytest.approx([0.9933, 0.0067, 0.0067, 0.9933], abs=1e-3)
    assert (standing[1] == 1.0).all()  # who is to stand lifts no foot
    paid = env.reward(torch.cat([obs, env.privileged], dim=1), torch.zeros(2, 12))
    missed = env.privileged[:, 51:55] / 0.08 - torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.0] * 4])
    torch.testing.assert_close(paid["gait"], -0.5 * missed.square().sum(1), atol=0.02, rtol=0)
    assert paid["gait"][0] < paid["gait"][1] - 0.9  # two feet should be up and are down
    for _ in range(12):
        obs = env.step(torch.zeros(2, 12)).obs
    turn = 2.0 * torch.pi * 12 * 0.02 * env.stride
    torch.testing.assert_close(obs[0, 45:], torch.tensor([math.sin(turn), math.cos(turn)]), atol=1e-5, rtol=0)
    other = Trotter(2, threads=1, seed=1, stochastic_init=False, **QUIET)
    other.load_state_dict(env.state_dict())
    assert torch.equal(other.step(torch.zeros(2, 12)).obs, env.step(torch.zeros(2, 12)).obs)
    assert env.reset()[0, 45:].tolist() == [0.0, 1.0]


def test_a_state_that_is_set_has_the_clock_of_its_progress():
    env = Trotter(2, threads=1, stochastic_init=False, **QUIET)
    for _ in range(7):
        seen = env.step(torch.zeros(2, 12)).obs
    q, qd, progress = env.get_state()
    for _ in range(3):
        env.step(torch.zeros(2, 12))
    torch.testing.assert_close(env.set_state(q, qd, progress)[:, 45:], seen[:, 45:], rtol=0.0, atol=1e-5)
    assert env.set_state(q, qd)[:, 45].abs().max() < 1e-6


def test_joints_near_their_limits_and_power_are_paid_for():
    env = Trotter(2, threads=1, stochastic_init=False, **QUIET)
    q, qd = env.q.clone(), env.qd.clone()
    q[0, 7] = 0.9  # the end of a hip's range, of which 0.9 are soft
    qd[0, 6] = 2.0
    paid = env.reward(torch.cat([env.set_state(q, qd), env.privileged], dim=1), torch.zeros(2, 12))
    assert paid["limits"].tolist() == pytest.approx([-10.0 * 0.09**2, 0.0], abs=1e-4)
    assert paid["power"][0].item() == pytest.approx(-0.001 * ((76.0**2 + 1.0) ** 0.5 - 1.0), abs=1e-4)  # 38 N m, 2 rad/s


def test_phases_are_one_for_each_foot():
    class Lame(Trotter):
        phases = (0.0, 0.5)

    with pytest.raises(ValueError, match="phases must be one for each of 4 feet"):
        Lame(1, threads=1)


def test_a_state_from_before_the_first_push_can_be_gone_back_to():
    env = make(2, push_seconds=0.04)
    before = env.state_dict()
    first = [env.step(torch.zeros(2, 12)).obs for _ in range(3)]
    env.load_state_dict(before)
    assert all(torch.equal(obs, env.step(torch.zeros(2, 12)).obs) for obs in first)


def test_torque_follows_the_joints_whatever_the_order_of_the_actuators():
    class Reversed(Quadruped):
        def edit(self, model):
            model.actuators.reverse()

    angles, rates = torch.linspace(-0.1, 0.1, 12)[None], torch.linspace(1.0, -1.0, 12)[None]
    action = torch.linspace(-0.3, 0.6, 12)[None]
    expected = make(1, **QUIET)._torque(angles, rates, action)
    torch.testing.assert_close(Reversed(1, threads=1, **QUIET)._torque(angles, rates, action.flip(1)), expected)


def test_torque_counts_the_gears_of_actuators():
    class Geared(Quadruped):
        def edit(self, model):
            for servo in model.actuators:
                ((joint, _),) = servo.moment
                servo.moment = [(joint, -2.0)]

    env, angles, rates = make(1, **QUIET), torch.linspace(-0.1, 0.1, 12)[None], torch.linspace(1.0, -1.0, 12)[None]
    geared, stand = Geared(1, threads=1, **QUIET), env.start_q[:, 7:]
    control = geared._drive.controls(torch.zeros(1, 12))  # of which each pulls by its length, twice the angle, and reversed
    expected = -2.0 * (40.0 * (control + 2.0 * (angles + stand)) + 2.0 * rates)
    torch.testing.assert_close(geared._torque(angles, rates, torch.zeros(1, 12)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"commands": ((1.0, 0.0), (0.0, 0.0), (0.0, 0.0))}, "three pairs"),
        ({"commands": 3}, "three pairs"),
        ({"commands": ((0.0, 1.0), (0.0, 1.0), (0.0,))}, "three pairs"),
        ({"push_seconds": 0.0}, "push_seconds must be a number, 0.02 or more, got 0.0"),
        ({"push_seconds": "often"}, "push_seconds must be a number"),
        ({"standing": 3}, r"standing must be a number within 0 ... 1, got 3"),
        ({"push": -1.0}, "push must be a number, 0 or more"),
        ({"noise": "much"}, "noise must be a number"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(1, **options)


def test_a_file_with_y_up_is_refused():
    class Sideways(Quadruped):
        def edit(self, model):
            model.up = np.array([0.0, 1.0, 0.0])

    with pytest.raises(ValueError, match="gravity must point along -z in the file of quadruped.xml"):
        Sideways(1, threads=1)


def test_every_entry_has_a_name():
    env = make(1, **QUIET)
    names = [row.name for row in env.observation_table()]
    assert names[:9:4] == ["angular velocity x", "gravity y", "command turn"]
    assert (names[9], names[21], names[33]) == (
        "FL_hip position less that of the start pose", "FL_hip velocity", "FL_hip last action",
    )  # fmt: skip
    privileged = [row.name for row in env.privileged_table()]
    assert len(privileged) == 69
    assert privileged[45:50] == ["velocity x", "velocity y", "velocity z", "height over the start pose's", "FL_calf height"]
