"""Actions that come late: by steps, by substeps, drawn for every episode, with gradients, to the bit."""

import pytest
import torch

from rpo_lightning.envs.cartpole import Cartpole
from rpo_lightning.envs.hopper import Hopper
from rpo_lightning.envs.legged.quadruped import Quadruped
from rpo_lightning.sim import Simulator

N = 4
FIXED = {"threads": 1, "stochastic_init": False}


def actions(count, width, seed=0):
    return torch.rand(count, N, width, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_actions_come_steps_late():
    late, prompt = Hopper(N, action_delay=2, **FIXED), Hopper(N, **FIXED)
    given = actions(6, 3)
    for step in range(6):
        late.step(given[step])
        prompt.step(given[step - 2] if step >= 2 else torch.zeros(N, 3))
        assert torch.equal(late.q, prompt.q)


def test_an_action_takes_effect_within_a_step():
    env = Quadruped(N, action_delay=1, action_delay_substeps=5, noise=0.0, push=0.0, **FIXED)
    q, qd = env.q, env.qd
    given = [torch.zeros(N, 12)] * 2 + [*actions(4, 12)]
    for step in range(2, 6):
        for action, substeps in ((given[step - 2], 5), (given[step - 1], env.substeps - 5)):
            q, qd = env.simulator.step(q, qd, *env._drive(action), env.parameters, substeps)
        env.step(given[step])
        assert torch.equal(env.q, q)
    assert len(env._calls) == 2


def test_the_parts_of_a_step_are_the_step():
    env = Hopper(N)
    q, qd, force = env.q, 0.3 + env.qd, torch.randn(N, env.model.nd, generator=torch.Generator().manual_seed(0))
    whole = env.simulator.step(q, qd, force)
    for count in (4, 12):  # a mass matrix serves four substeps, so that both parts begin with a fresh one
        q, qd = env.simulator.step(q, qd, force, substeps=count)
    torch.testing.assert_close((q, qd), whole, rtol=1e-6, atol=1e-6)
    for wrong in (0, 17):
        with pytest.raises(ValueError, match=r"substeps must be in 1 \.\.\. 16, those of a step"):
            env.simulator.step(q, qd, force, substeps=wrong)


def test_delays_are_drawn_for_every_episode_and_may_differ_between_robots():
    env = Hopper(N, action_delay=[0, 1], action_delay_substeps=[3, 5], seed=3)
    assert [last - first for first, last in env._latency._parts] == [3, 1, 1, 11]
    seen = set()
    for _ in range(20):
        env.reset()
        seen |= set(map(tuple, env._latency._late.T.tolist()))
    assert seen == {(steps, substeps) for steps in (0, 1) for substeps in (3, 4, 5)}
    # each robot moves as one whose delay is the same in all episodes
    given, start = actions(3, 3), (env.q.clone(), env.qd.clone())
    late = env._latency._late.T.tolist()
    for action in given:
        env.step(action)
    for index, (steps, substeps) in enumerate(late):
        alone = Hopper(N, action_delay=steps, action_delay_substeps=substeps)
        alone.set_state(*start)
        for action in given:
            alone.step(action)
        torch.testing.assert_close(env.q[index], alone.q[index], rtol=2e-3, atol=2e-4)  # mass matrices are of other moments


def test_gradients_equal_differences():
    env = Cartpole(N, action_delay=1, action_delay_substeps=[1, 3])
    start = env.state_dict()

    def objective(given):
        env.load_state_dict(start)
        env.detach()
        return sum(env.step(action).final_obs.sum(1) for action in given)

    given = actions(4, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(given).sum(), given)
    assert not gradient[3].any()  # has no effect yet
    for t in range(3):
        shift = torch.zeros(4, N, 1)
        shift[t] = 0.02
        with torch.no_grad():
            difference = (objective(given + shift) - objective(given - shift)) / 0.04
        torch.testing.assert_close(gradient[t, :, 0], difference, rtol=0.02, atol=2e-3)


def test_a_new_episode_knows_no_action_of_the_old_one():
    env, fresh = (Hopper(N, action_delay=1, action_delay_substeps=4, episode_length=3, **FIXED) for _ in range(2))
    for action in actions(3, 3):
        env.step(action)
    move = actions(1, 3, seed=9)[0]
    assert torch.equal(env.step(move).obs, fresh.step(move).obs)


def test_a_state_that_is_set_knows_no_action_of_before():
    env, given = Hopper(N, action_delay=1, action_delay_substeps=4, **FIXED), actions(3, 3)
    weight = torch.ones(3, requires_grad=True)
    q, qd, _ = env.get_state()
    seen = []
    for _ in range(2):
        env.set_state(q, qd)
        obs = sum(env.step((weight * action).tanh()).final_obs.sum() for action in given)
        seen.append(torch.stack([obs.detach(), *torch.autograd.grad(obs, weight)[0]]))
    assert torch.equal(*seen)


def test_what_breaks_breaks_alone():
    env = Hopper(N, action_delay_substeps=4)
    given = actions(2, 3)
    given[0, 1] = torch.nan
    given.requires_grad_()
    first, second = env.step(given[0]), env.step(given[1])
    assert first.terminated.tolist() == [False, True, False, False]
    assert not second.terminated.any()
    (gradient,) = torch.autograd.grad(first.reward.sum() + second.final_obs.sum(), given)
    assert gradient.isfinite().all()
    assert not gradient[0, 1].any()
    assert (gradient[:, [0, 2, 3]].abs().sum((1, 2)) > 0.0).all()


def test_a_state_continues_to_the_bit():
    options = {"action_delay": [0, 3], "action_delay_substeps": [0, 2], "episode_length": 5}
    one, other = Hopper(N, seed=1, **options), Hopper(N, seed=2, **options)
    given = actions(14, 3)
    for action in given[:4]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    for action in given[4:]:
        ours, theirs = one.step(action), other.step(action)
        assert torch.equal(ours.obs, theirs.obs)
        assert torch.equal(ours.reward, theirs.reward)


def test_no_delay_is_one_call_of_the_simulator(monkeypatch):
    calls = []
    step = Simulator.step
    monkeypatch.setattr(Simulator, "step", lambda self, *given: calls.append(given) or step(self, *given))
    env = Cartpole(N)
    env.step(torch.zeros(N, 1))
    assert len(calls) == 1
    assert env._latency is None
    assert not [key for key in env.state_dict() if "latency" in key]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_delay": -1}, "action_delay must be steps, 0 or more"),
        ({"action_delay": [2, 1]}, r"action_delay must be steps, 0 or more, or \[low, high\] of them, got \[2, 1\]"),
        ({"action_delay": 0.5}, "action_delay must be"),
        ({"action_delay_substeps": 4}, "action_delay_substeps must be substeps, fewer than the 4 of a step, 0 or more"),
        ({"action_delay_substeps": [0, True]}, "action_delay_substeps must be"),
    ],
)
def test_what_is_no_delay_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Cartpole(1, **options)
