"""What the base class owns, with tasks of a user's: broken rewards, two groups of observations, starts, options."""

import logging
import random

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning import envs
from rpo_lightning.envs.cartpole import Cartpole
from rpo_lightning.envs.hopper import Hopper
from rpo_lightning.envs.protocol import lacking
from rpo_lightning.envs.starts import StartBank
from tests.toy import HiddenVelocity

N = 4


def actions(env, count, seed=0):
    draws = torch.rand(count, env.num_envs, env.action_dim, generator=torch.Generator().manual_seed(seed))
    return draws * 2 - 1


class Rooted(Cartpole):
    """A reward with a root of what may be negative: NaN, and so is its gradient."""

    name = "rooted"
    beyond = 4.0

    def reward(self, obs, action):
        return (self.beyond - obs[:, 0]).sqrt() + 0.1 * action[:, 0]


class Huge(Rooted):
    name = "huge"

    def reward(self, obs, action):
        return torch.where(obs[:, 0] > self.beyond, 1e30 * obs[:, 0], obs[:, 0]) + 0.1 * action[:, 0]


class Infinite(Huge):
    name = "infinite"

    def reward(self, obs, action):
        return super().reward(obs, action) * torch.where(obs[:, 0] > self.beyond, torch.inf, 1.0)


@pytest.mark.parametrize("cls", [Rooted, Huge, Infinite])
@pytest.mark.parametrize("reward_from", ["previous", "next"])
def test_a_broken_reward_ends_its_environment_alone(cls, reward_from):
    def run(cart):
        env = cls(N, reward_from=reward_from)
        given = actions(env, 4).requires_grad_()
        steps = [env.step(given[0])]
        q = env.q + torch.zeros(N, 2).index_put((torch.tensor(2), torch.tensor(0)), torch.tensor(cart))
        env.set_state(q, env.qd)
        steps.append(env.step(given[1]))
        causes = env.invalid.clone(), env.invalid_reward.clone()
        steps += [env.step(action) for action in given[2:]]
        total = sum(step.reward.sum() + step.final_obs.square().sum() for step in steps)
        return steps, causes, *torch.autograd.grad(total, given)

    steps, causes, grad = run(cart=50.0)
    _, sound_causes, sound_grad = run(cart=0.0)
    expected = [False, False, True, False]
    assert causes[0].tolist() == causes[1].tolist() == steps[1].terminated.tolist() == expected
    assert not sound_causes[0].any()
    assert steps[1].reward[2] == 0
    assert not steps[1].final_obs[2].any()
    assert all(part.isfinite().all() for step in steps for part in step[:-1])
    others = ~torch.tensor(expected)
    assert grad.isfinite().all()
    assert torch.equal(grad[:, others], sound_grad[:, others])


def test_an_exploded_state_is_not_blamed_on_the_reward():
    env = Rooted(N)
    env.set_state(env.q, env.qd.index_fill(1, torch.tensor([0]), torch.nan))
    env.step(actions(env, 1)[0])
    assert env.invalid.all()
    assert not env.invalid_reward.any()


def test_what_breaks_by_itself_is_named_once(caplog):
    class Named(Rooted):
        name = "named_terms"

        def reward(self, obs, action):
            return {"root": (self.beyond - obs[:, 0]).sqrt(), "effort": -action[:, 0].square()}

    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        for _ in range(2):
            env = Named(N)
            env.set_state(env.q + 50.0, env.qd)
            env.step(actions(env, 1)[0])
            assert env.invalid_reward.all()
    assert [record.message for record in caplog.records] == [
        "named_terms: reward 'root' is nan in 4 of 4 environments, though the state is sound. Each time this ends the episode, "
        "with reward 0; nan/invalid_envs counts how often."
    ]


def test_the_parts_of_a_reward_are_added_and_shown():
    class Parts(Cartpole):
        name = "parts"

        def reward(self, obs, action):
            return {"place": -obs[:, 0].square(), "effort": -0.1 * action[:, 0].square()}

    env = Parts(N, stochastic_init=False)
    given = actions(env, 1)[0].requires_grad_()
    step = env.step(given)
    assert list(step.reward_terms) == ["place", "effort"]
    assert torch.equal(step.reward, step.reward_terms["place"] + step.reward_terms["effort"])
    (grad,) = torch.autograd.grad(step.reward.sum(), given)
    torch.testing.assert_close(grad, -0.2 * given)
    assert not any(part.requires_grad for part in step.reward_terms.values())


# ---- two groups of observations --------------------------------------------------------------------------------------


class Blind(Hopper):
    """A hopper whose policy does not see velocities; its critic does."""

    name = "blind"
    obs_dim = 5
    privileged_dim = 6

    def observe(self, q, qd, action):
        return q[:, 1:]

    def observe_privileged(self, q, qd, action):
        return qd

    def reward(self, obs, action):
        return obs[:, 0]


def test_what_only_the_critic_sees():
    env = Blind(N, episode_length=3)
    assert torch.equal(env.privileged, env.qd)
    given = actions(env, 3).requires_grad_()
    for time, action in enumerate(given, 1):
        step = env.step(action)
        assert torch.equal(step.privileged, env.qd)
        assert torch.equal(step.privileged, env.privileged)
        assert torch.equal(step.privileged, step.final_privileged) == (time < 3)
    (grad,) = torch.autograd.grad(step.final_privileged.sum(), given)
    assert (grad[0].abs().sum(1) > 0).all()
    env.step(actions(env, 1)[0].requires_grad_())
    assert env.privileged.requires_grad
    env.detach()
    assert not env.privileged.requires_grad
    again = Blind(N, seed=5)
    again.load_state_dict(env.state_dict())
    assert torch.equal(again.privileged, env.qd)
    fast = env.qd + 1.0
    env.set_state(env.q, fast)
    assert torch.equal(env.privileged, fast)


def test_what_only_the_critic_sees_may_break_too():
    class Broken(Blind):
        name = "broken_privileged"

        def observe_privileged(self, q, qd, action):
            return torch.where(q[:, 1:2] > 3.0, torch.nan, qd)

    env = Broken(N)
    env.set_state(env.q.index_put((torch.tensor(1), torch.tensor(1)), torch.tensor(4.0)), env.qd)
    step = env.step(actions(env, 1)[0])
    assert env.invalid.tolist() == [False, True, False, False]
    assert not env.invalid_reward.any()
    assert not step.final_privileged[1].any()
    assert step.privileged.isfinite().all()


def test_the_toy_with_two_groups_keeps_every_promise():
    from rpo_lightning.check_env.interface import check_interface
    from rpo_lightning.check_env.report import Section
    from rpo_lightning.check_env.subject import Subject

    for cls in (HiddenVelocity, Blind):
        section = Section("interface")
        check_interface(Subject(cls, N, "cpu", 0, {}), section)
        assert [verdict.level for verdict in section.verdicts] == ["ok"] * 5
    assert lacking(HiddenVelocity(N)) == []
    assert set(lacking(object())) >= {"name", "privileged_dim", "privileged", "progress", "close", "step", "load_state_dict"}
    assert lacking(object) == ["name", "obs_dim", "action_dim"]


# ---- what is refused at construction ---------------------------------------------------------------------------------


def in_place(self, q, qd, action):
    q[:, 2] = 0.0
    return torch.cat([q[:, 1:], qd], dim=1)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"reward": lambda self, obs, action: obs[:, 0].double()}, "mine: reward must return float32, got float64"),
        (
            {"reward": lambda self, obs, action: {"a": obs[:, 0].double()}},
            "mine: reward's 'a' must return float32, got float64",
        ),
        ({"reward": lambda self, obs, action: 1.0}, r"mine: reward must return a float32 tensor of shape \(4,\), got float"),
        ({"failed": lambda self, obs: (obs[:, 0] < 0.0).float()}, "mine: failed must return bool, got float32"),
        ({"observe": in_place}, "mine: observe must not change in place what it is given"),
        ({"privileged_dim": 2}, r"mine: observe_privileged must return shape \(4, 2\), got \(4, 0\)"),
    ],
)
def test_a_task_that_would_train_on_nonsense_is_refused(members, words):
    with pytest.raises(ValueError, match=words):
        type("Mine", (Hopper,), {"name": "mine", **members})(N)


def test_time_limits_are_spread_from_the_shortest_to_the_task_s_own():
    env = rpo_lightning.make("cartpole", num_envs=5, episode_length=40, shortest_episode=10)
    assert env.time_limits.tolist() == [40, 28, 20, 14, 10]
    assert env.max_episode_steps == 40  # which evaluations wait for
    ends = torch.stack([env.step(action).truncated for action in actions(env, 80)])
    for column, limit in enumerate(env.time_limits.tolist()):
        assert (ends[:, column].nonzero()[:, 0] + 1).tolist() == list(range(limit, 81, limit))
    assert rpo_lightning.make("cartpole", num_envs=1, episode_length=40, shortest_episode=10).time_limits.tolist() == [40]
    alike = rpo_lightning.make("cartpole", num_envs=3, episode_length=6, shortest_episode=6)
    assert alike.time_limits.tolist() == [6, 6, 6]
    assert rpo_lightning.make("cartpole", num_envs=3, episode_length=6).time_limits == 6


@pytest.mark.parametrize("shortest", [0, 41, 2.5, True])
def test_a_shortest_episode_out_of_its_range_is_refused(shortest):
    said = f"cartpole: shortest_episode must be a whole number from 1 to the 40 steps of an episode, got {shortest}"
    with pytest.raises(ValueError, match=said):
        rpo_lightning.make("cartpole", num_envs=5, episode_length=40, shortest_episode=shortest)


def test_options_that_would_change_nothing_are_refused_by_name():
    class Fixed(Cartpole):
        name = "fixed"
        random_start = Cartpole.__mro__[1].random_start

    with pytest.raises(
        TypeError,
        match="cartpole: unknown option 'early_termination'.*: stochastic_init, episode_length, shortest_episode, auto_",
    ):
        rpo_lightning.make("cartpole", num_envs=N, early_termination=False)
    with pytest.raises(TypeError, match="fixed: unknown option 'stochastic_init'"):
        Fixed(N, stochastic_init=False)
    env = Fixed(N)
    assert torch.equal(env.q, env.start_q)


# ---- starts ----------------------------------------------------------------------------------------------------------


def numbers():
    """Return what draws 0, 1, 2, then 3, 4, 5, and so on."""
    drawn = iter(range(1000))
    return lambda: {"x": torch.tensor([[float(next(drawn))] for _ in range(3)]), "k": torch.tensor([[7]] * 3)}


def taken(bank, *mask):
    """Return what a mask got of a bank."""
    mask = torch.tensor(mask, dtype=torch.bool)
    return bank.take(mask)["x"][mask, 0].tolist()


def test_a_bank_hands_out_every_start_once_in_the_order_of_environments():
    bank, draw = StartBank(draws=4), numbers()
    bank.fill(draw)
    assert taken(bank, 0, 1, 1) == [0, 1]
    assert taken(bank, 0, 0, 0) == []
    assert taken(bank, 1, 1, 1) == [2, 3, 4]
    bank.fill(draw)  # which is told of them by the next one
    assert taken(bank, 1, 0, 1) == [5, 6]
    assert bank.take(torch.ones(3, dtype=torch.bool))["k"].tolist() == [[7]] * 3
    other = StartBank()
    other.load_state_dict(bank.state_dict(), torch.device("cpu"))
    for store, source in ((bank, draw), (other, again_from(12))):
        seen = []
        for step in range(12):
            if step % 4 == 0:
                store.fill(source)
            seen += taken(store, step % 2, 1, 0)
        assert seen == [float(i) for i in range(10, 28)]


def again_from(first):
    """Return what draws go on with from a number."""
    draw = numbers()
    for _ in range(first // 3):
        draw()
    return draw


def test_a_bank_that_runs_out_begins_again_and_then_has_more_room():
    bank, draw = StartBank(draws=2), numbers()
    bank.fill(draw)
    assert [x for _ in range(3) for x in taken(bank, 1, 1, 1)] == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    bank.fill(draw)
    bank.fill(draw)
    assert len(bank["x"]) >= 27
    seen = [x for _ in range(9) for x in taken(bank, 1, 1, 1)]
    assert len(set(seen)) == 27
    bank.clear()
    bank.fill(lambda: {"x": torch.full((3, 1), -1.0)})
    assert taken(bank, 1, 0, 0) == [-1]


def test_a_seed_gives_the_same_starts_in_the_same_order_however_they_are_asked_for():
    one, other = (rpo_lightning.make("hopper", num_envs=N, seed=3) for _ in range(2))
    one.reset()
    for env in range(N):
        other.reset(torch.arange(N) == env)
    assert torch.equal(one.q, other.q)
    other.reseed(3)
    other.reset()
    assert torch.equal(other.q, rpo_lightning.make("hopper", num_envs=N, seed=3).q)


def test_a_state_of_an_older_version_goes_on_with_other_starts(caplog):
    env, other = (rpo_lightning.make("hopper", num_envs=N, seed=seed) for seed in (1, 2))
    env.step(actions(env, 1)[0])
    state = {key: value for key, value in env.state_dict().items() if key != "steps" and not key.startswith("starts.")}
    older = {**state, "starts.q": env.q, "starts.qd": env.qd, "starts.used": torch.tensor(1)}
    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        other.load_state_dict(older)
    assert "hopper: the state is of an older version, so starts that were in store are drawn anew" in caplog.text
    assert torch.equal(env.step(actions(env, 1, 1)[0]).final_obs, other.step(actions(env, 1, 1)[0]).final_obs)
    assert other.reset().isfinite().all()


# ---- the process's own generators ------------------------------------------------------------------------------------


class Seeding(HiddenVelocity):
    """As environments found on the web do."""

    def __init__(self, *args, **options):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        super().__init__(*args, **options)


@pytest.mark.parametrize("env", ["tests.envs.test_life_cycle.Seeding", Seeding])
def test_a_constructor_cannot_seed_the_process(env):
    def draws():
        return torch.rand(1).item(), np.random.rand(), random.random()

    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = draws()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    rpo_lightning.make(env, num_envs=2)
    assert draws() == expected


def test_an_environment_can_be_closed_twice():
    for task in ("cartpole", "tests.toy.PointMass"):
        env = rpo_lightning.make(task, num_envs=2)
        env.close()
        env.close()
    assert envs.env_class("cartpole").privileged_dim == 0


def test_a_broken_start_is_not_shown_and_ends_at_the_next_step():
    class BadStarts(Hopper):
        name = "bad_starts"

        def random_start(self):
            q, qd = super().random_start()
            return q.index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(torch.nan)), qd

    env = BadStarts(N)
    assert not env.detach()[1].any()
    step = env.step(actions(env, 1)[0])
    assert env.invalid.tolist() == step.terminated.tolist() == [False, True, False, False]
    assert all(part.isfinite().all() for part in step[:-1])
