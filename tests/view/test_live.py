"""What one can do to environments that are watched."""

import sys

import numpy as np
import pytest
import torch

from rpo_lightning import envs
from rpo_lightning.envs.legged.quadruped import Quadruped
from rpo_lightning.view.acting import acting
from rpo_lightning.view.live import Live
from rpo_lightning.view.rotations import turned
from tests.command_line import REPOSITORY


def live(name="ant", policy="zero", num_envs=2, **options):
    env = envs.make(name, num_envs=num_envs, **options)
    return Live(env, acting(policy, env))


def test_time_runs_as_fast_as_asked_and_not_while_paused():
    watched = live()
    assert sum(watched.run(0.05) for _ in range(20)) == 60  # 1 s at 60 Hz
    watched.speed = 0.5
    assert sum(watched.run(0.05) for _ in range(20)) == 30
    watched.paused = True
    assert watched.run(0.05) == 0
    watched.step()
    assert watched.time == pytest.approx(91 / 60)
    watched.paused = False
    assert watched.run(60.0) <= 7  # what was missed is not made up for


def test_reward_observation_and_return_are_those_of_the_environment_that_is_shown():
    watched = live(policy="random", seed=3)
    watched.show(1)
    for _ in range(5):
        watched.step()
    rewards = [reward for _, reward, _ in watched.history]
    assert len(rewards) == 5
    assert watched.total == pytest.approx(sum(rewards), rel=1e-5)
    np.testing.assert_array_equal(watched.observation, watched.env.detach()[1].numpy())
    np.testing.assert_array_equal(watched.history[-1][2], watched.observation)
    assert watched.steps == 5
    watched.reset()
    assert (watched.steps, watched.total, len(watched.history)) == (0, 0.0, 0)


@pytest.mark.parametrize("name", ["ant", "hopper", "dmc/humanoid_walk", "dmc/cheetah_run"])
def test_a_push_makes_the_base_faster_and_leaves_the_others_alone(name):
    watched = live(name)
    try:
        env, drawing = watched.env, watched.drawing
        watched.show(1)
        before, rates = drawing.poses(env), env.get_state()[1].clone()
        watched.push(3.0)
        after = env.get_state()[1]
        assert torch.equal(after[0], rates[0])
        change = (after - rates)[1].numpy()
        if name in ("ant", "dmc/humanoid_walk"):
            velocity = change[3:6] if name == "ant" else change[:3]
            world = turned(drawing.up, velocity)
            assert np.linalg.norm(world) == pytest.approx(3.0, rel=1e-5)
            assert world[2] == pytest.approx(0.0, abs=1e-6)
            assert np.count_nonzero(np.abs(change) > 1e-6) == 2
        else:  # a robot in a plane: only along it
            assert 0.0 < np.abs(change).max() <= 3.0
            assert np.count_nonzero(change) == 1
        np.testing.assert_array_equal(drawing.poses(env), before)
    finally:
        watched.env.close()


def test_the_hand_is_shaken():
    watched = live("hand_reorient")
    before = watched.env.qd.clone()
    watched.push(0.5)
    assert (watched.env.qd[0] != before[0]).all()
    assert torch.equal(watched.env.qd[1], before[1])


def test_a_target_that_is_given_stays_over_episodes(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / "push"))
    watched = live("push.Push", episode_length=3)
    generator = watched.env.generator.get_state()
    low, high = watched.target_range()
    assert torch.equal(watched.env.generator.get_state(), generator)
    assert (low > [0.5, -0.4]).all()
    assert (high < [1.1, 0.4]).all()
    other = watched.env.target[1].clone()
    assert not watched.holds_target
    watched.aim(np.array([0.9, 0.1]))
    np.testing.assert_allclose(watched.target, [0.9, 0.1], atol=1e-6)
    assert torch.equal(watched.env.target[1], other)
    watched.step()
    np.testing.assert_allclose(watched.observation[:2], [0.9, 0.1] - watched.env.q[0, 2:4].numpy(), atol=1e-6)
    for _ in range(3):
        watched.step()
    np.testing.assert_allclose(watched.target, [0.9, 0.1], atol=1e-6)
    assert not torch.equal(watched.env.target[1], other)
    del sys.modules["push"]


def test_a_command_that_is_given_is_kept_while_others_are_drawn():
    env = Quadruped(2, threads=1, command_seconds=0.06, standing=0.0, noise=0.0, push=0.0, history=2, action_delay=1)
    watched = Live(env, lambda obs: torch.full((2, 12), 0.1))
    assert watched.target_names() == ["forward [m/s]", "left [m/s]", "turn [rad/s]"]
    low, high = watched.target_range()
    assert (low.tolist(), high.tolist()) == ([-1.0] * 3, [1.0] * 3)
    drawn = env.target[1].clone()
    watched.step()
    q, command = env.q.clone(), np.array([0.7, 0.0, -0.3], dtype=np.float32)
    watched.aim(command)
    assert torch.equal(env.q, q)
    for _ in range(10):  # commands last for three steps
        watched.step()
        np.testing.assert_array_equal(watched.target, command)
        np.testing.assert_array_equal(watched.observation[6:9], command)
        assert (watched.observation[33:45] == np.float32(0.1)).all()  # the last action is what it was
    assert not torch.equal(env.target[1], drawn)
    watched.reset()
    np.testing.assert_array_equal(watched.target, command)
    watched.show(1)
    watched.step()
    assert not watched.holds_target


def test_a_target_that_moves_goes_on_where_it_was_given():
    env = envs.make("quadrotor", num_envs=2, threads=1, hovering=0.0, episode_length=4)
    watched = Live(env, lambda obs: torch.zeros(2, 4))
    figure = watched.target.copy()
    figure[[3, 8]] = 1.0, 0.25
    watched.aim(figure)
    for _ in range(6):  # over the end of an episode, where another one is drawn and this one put back
        watched.step()
    figure[8] += 5 * env.dt * figure[7]
    np.testing.assert_allclose(watched.target, figure, atol=1e-5)


def test_a_turn_that_is_given_is_a_turn():
    watched = live("hand_reorient")
    watched.target_range()
    watched.aim(np.array([0.5, 0.5, 0.5, 1.0]))
    assert np.linalg.norm(watched.target) == pytest.approx(1.0, abs=1e-6)


def test_whoever_can_act_acts():
    env = envs.make("ant", num_envs=2)
    obs = env.detach()

    class Policy:
        def act(self, obs, deterministic):
            return torch.full((len(obs), 8), 0.5 if deterministic else 0.25)

    assert acting(Policy(), env)(obs)[0, 0] == 0.5
    assert acting(Policy(), env, deterministic=False)(obs)[0, 0] == 0.25
    assert acting(lambda obs: obs[:, :8], env)(obs).equal(obs[:, :8])
    assert not acting(None, env)(obs).any()
    with pytest.raises(TypeError, match="int cannot be called"):
        acting(3, env)


def test_a_policy_that_remembers_begins_with_the_episodes():
    class Policy:
        seen = None

        def act(self, obs, deterministic):
            self.seen = self.seen + 1.0
            return torch.zeros(2, 8)

        def reset(self, mask=None):
            self.seen = torch.zeros(2) if mask is None else self.seen.masked_fill(mask, 0.0)

    policy = Policy()
    watched = Live(envs.make("ant", num_envs=2, episode_length=3), acting(policy, None))
    for seen in (1.0, 2.0, 0.0, 1.0):
        watched.step()
        assert policy.seen.tolist() == [seen, seen]


def test_what_is_remembered_of_an_episode_ends_with_it():
    from rpo_lightning.algorithms.player import Player

    class Remembering:
        state_size, device = 1, torch.device("cpu")

        def remembering_policy(self, obs, state):
            class Policy:
                mode = state

            return Policy, state + 1.0

    watched = live(episode_length=3)
    watched.act = Player(Remembering(), 2, deterministic=True)
    seen = []
    watched.act, inner = lambda obs: torch.zeros(2, 8), watched.act
    watched.act.forget = inner.forget
    for _ in range(5):
        seen.append(inner(watched.env.detach())[0, 0].item())
        watched.step()
    assert seen == [0.0, 1.0, 2.0, 0.0, 1.0]
