"""What every task promises, on Ant."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

import rpo_lightning
from rpo_lightning import envs
from rpo_lightning.envs.hopper import Hopper

N = 6


def make(**options):
    return rpo_lightning.make("ant", num_envs=N, **options)


def action(seed=0):
    return torch.rand(N, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def same_step(one, other):
    assert (one.reward_terms is None) == (other.reward_terms is None)
    return all(torch.equal(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))


def test_it_is_reset_when_made_and_the_seed_decides():
    one, same, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(one.q, same.q)
    assert not torch.equal(one.q, other.q)
    assert one.progress.tolist() == [0] * N
    assert (one.num_envs, one.obs_dim, one.action_dim, one.max_episode_steps, one.differentiable) == (
        N,
        37,
        8,
        1000,
        True,
    )


def test_random_starts_have_the_specified_ranges():
    env = rpo_lightning.make("ant", num_envs=4000, seed=1)
    static = rpo_lightning.make("ant", num_envs=1, stochastic_init=False)
    away = env.q - static.q
    for part, bound in ((away[:, :3], 0.1), (away[:, 7:], 0.2), (env.qd, 0.25)):
        assert bound * 0.98 < part.abs().max() <= bound + 1e-6
        assert part.mean().abs() < 0.03 * bound
    angle = 2 * torch.acos((env.q[:, 3:7] @ static.q[0, 3:7]).abs().clamp(max=1))
    assert 0.98 * math.pi / 24 < angle.max() <= math.pi / 24 + 1e-3
    torch.testing.assert_close(env.q[:, 3:7].norm(dim=1), torch.ones(4000))


@pytest.mark.parametrize(
    ("task", "spread", "rate_spread"),
    [
        ("hopper", 0.05, 0.05),
        ("cheetah", 0.1, 0.25),
        ("cartpole", math.pi / 2, 0.25),
        ("double_pendulum", math.pi / 2, 0.25),
    ],
)
def test_random_starts_without_a_free_base(task, spread, rate_spread):
    env = rpo_lightning.make(task, num_envs=4000, seed=1)
    static = rpo_lightning.make(task, num_envs=1, stochastic_init=False)
    for part, bound in ((env.q - static.q, spread), (env.qd, rate_spread)):
        assert (part.abs().amax(0) > 0.98 * bound).all()
        assert part.abs().max() <= bound + 1e-6
        assert part.mean(0).abs().max() < 0.05 * bound


def test_up_and_heading_are_those_of_the_rotated_base():
    class NearDestination(envs.env_class("ant")):
        destination = (3.0, 0.0, -4.0)

    env = NearDestination(64, seed=1)
    q = env.q.clone()
    q[:, 3:7] = torch.nn.functional.normalize(torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    obs = env.set_state(q, env.qd)
    standing = Rotation.from_quat(env.start_q[0, 3:7].numpy())
    turn = Rotation.from_quat(q[:, 3:7].numpy()) * standing.inv()
    up, heading = (torch.tensor(turn.apply(axis), dtype=torch.float32) for axis in ([0, 1, 0], [1, 0, 0]))
    away = torch.tensor(NearDestination.destination) + env.start_q[0, :3] - q[:, :3]
    away[:, 1] = 0
    torch.testing.assert_close(obs[:, 27], up[:, 1], rtol=0, atol=1e-5)
    torch.testing.assert_close(obs[:, 28], (heading * away).sum(1) / away.norm(dim=1), rtol=0, atol=1e-5)


def test_same_seed_same_bits_whatever_the_threads():
    def run(threads):
        env = rpo_lightning.make("ant", num_envs=48, seed=5, threads=threads, episode_length=7)
        actions = torch.rand(12, 48, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        total = sum(env.step(a).reward.sum() for a in actions)
        return [env.q.detach(), env.qd.detach(), *torch.autograd.grad(total, actions)]

    first = run(1)
    for other in (run(1), run(2)):
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_state_dict_continues_to_the_bit():
    env = make(seed=1, episode_length=5, observe_action=True)
    for t in range(7):
        env.step(action(t))
    saved = env.state_dict()
    straight = [env.step(action(10 + t)) for t in range(9)]
    again = make(seed=99, episode_length=5, observe_action=True)
    again.load_state_dict(saved)
    for t in range(9):
        assert same_step(straight[t], again.step(action(10 + t)))


def test_reset_of_some_leaves_the_others_alone():
    env = make(seed=2)
    env.step(action())
    q = env.q.clone()
    mask = torch.tensor([True, False] * (N // 2))
    obs = env.reset(mask)
    assert torch.equal(env.q[~mask], q[~mask])
    assert not torch.isclose(env.q[mask], q[mask]).all(1).any()
    assert env.progress.tolist() == [0, 1] * (N // 2)
    assert torch.equal(obs, env.observe(env.q, env.qd, torch.zeros(N, 8)))


def test_time_limit_truncates_and_keeps_the_final_observation():
    env = make(episode_length=3)
    for _ in range(2):
        assert not env.step(action()).truncated.any()
    step = env.step(action())
    assert step.truncated.all()
    assert not torch.isclose(step.final_obs, step.obs).all()
    assert env.progress.tolist() == [0] * N


def test_without_auto_reset_flags_are_only_reported():
    env = make(episode_length=2, auto_reset=False)
    for t in range(4):
        step = env.step(action(t))
        assert step.truncated.all() == (t >= 1)
        assert torch.equal(step.obs, step.final_obs)
    assert env.progress.tolist() == [4] * N


def test_a_reset_cuts_the_gradient_and_only_there():
    env = make(stochastic_init=False, episode_length=3)
    first = action().requires_grad_()
    env.step(first)
    progress = env.progress.clone()
    progress[0] = 2
    env.set_state(env.q, env.qd, progress)
    env.step(action(1))
    reward = env.step(action(2)).reward
    (grad,) = torch.autograd.grad(reward.sum(), first)
    assert (grad[0] == 0).all()
    assert (grad[1:].abs().amax(1) > 0).all()


def test_detach_cuts_the_graph():
    env = make()
    env.step(action().requires_grad_())
    assert env.q.requires_grad
    assert not env.detach().requires_grad
    assert not env.step(action()).reward.requires_grad


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("qd", 9e5), ("qd", 2e4), ("action", float("nan")), ("action", float("inf")), ("action", -1e7)],
)
def test_an_exploded_environment_ends_alone(quantity, value):
    def run(explode):
        env = make(seed=7, early_termination=False)
        actions = [action(t).requires_grad_() for t in range(3)]
        start = env.q.clone().requires_grad_()
        env.set_state(start, env.qd)
        first = env.step(actions[0])
        state = {"q": env.q.clone(), "qd": env.qd.clone()}
        if explode and quantity != "action":
            state[quantity][2, 1] = value
        env.set_state(state["q"], state["qd"], env.progress)
        second_action = actions[1].clone()
        if explode and quantity == "action":
            second_action[2, 1] = value
        second = env.step(second_action)
        invalid = env.invalid.clone()
        third = env.step(actions[2])
        grads = torch.autograd.grad(
            sum(s.reward.sum() + s.final_obs.sum() for s in (first, second, third)), [start, *actions]
        )
        return first, second, invalid, grads

    _, second, invalid, grads = run(explode=True)
    _, healthy, _, healthy_grads = run(explode=False)
    assert invalid.tolist() == [False, False, True, False, False, False]
    assert second.terminated.tolist() == invalid.tolist()
    assert second.reward[2] == 0
    assert second.final_obs[2].eq(0).all()
    assert second.obs.isfinite().all()
    others = ~invalid
    assert torch.equal(second.obs[others], healthy.obs[others])
    for grad, expected in zip(grads, healthy_grads, strict=True):
        assert grad.isfinite().all()
        assert torch.equal(grad[others], expected[others])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e7])
def test_a_bad_state_from_outside_is_caught_at_the_next_step(value):
    env = make(seed=7)
    q = env.q.clone()
    q[3, 8] = value
    env.set_state(q, env.qd)
    step = env.step(action())
    assert env.invalid.tolist() == step.terminated.tolist() == [False, False, False, True, False, False]
    assert step.obs.isfinite().all()
    assert step.final_obs.isfinite().all()
    assert step.reward.isfinite().all()
    assert not env.step(action()).terminated.any()


def test_what_a_user_can_get_wrong_is_said_in_one_line():
    with pytest.raises(ValueError, match="no task is called 'amt'; did you mean 'ant'"):
        rpo_lightning.make("amt", num_envs=2)
    with pytest.raises(ValueError, match=r"task 'nowhere.Robot' cannot be imported"):
        rpo_lightning.make("nowhere.Robot", num_envs=2)
    with pytest.raises(TypeError, match="unknown option 'episode_lenght', did you mean 'episode_length'"):
        make(episode_lenght=3)
    with pytest.raises(ValueError, match="reward_from must be 'previous' or 'next', got 'now'"):
        make(reward_from="now")
    with pytest.raises(ValueError, match="episode_length must be at least 1, got -1"):
        make(episode_length=-1)
    with pytest.raises(
        ValueError, match=r"action must be a float32 tensor of shape \(6, 8\) on cpu, got torch.float32 \(6, 7\)"
    ):
        make().step(torch.zeros(6, 7))
    with pytest.raises(ValueError, match=r"action must be a float32 tensor .* got torch.int64 \(6, 8\)"):
        make().step(torch.zeros(6, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"q must be a float32 tensor of shape \(6, 15\)"):
        make().set_state(torch.zeros(6, 14), torch.zeros(6, 14))
    with pytest.raises(ValueError, match=r"qd must be a float32 .* got torch.float64 \(6, 14\)"):
        make().set_state(torch.zeros(6, 15), torch.zeros(6, 14).double())
    with pytest.raises(ValueError, match="action must be a torch tensor, got list"):
        make().step([0.0] * 8)
    env = make()
    with pytest.raises(ValueError, match="the state lacks generator, obs"):
        env.load_state_dict({k: v for k, v in env.state_dict().items() if k not in ("generator", "obs")})
    with pytest.raises(ValueError, match=r"q must have shape \(6, 15\), got \(5, 15\)"):
        make().load_state_dict(rpo_lightning.make("ant", num_envs=5).state_dict())
    for device in ("cuda:63", "meta", "nonsense"):
        with pytest.raises(ValueError, match=f"device '{device}'"):
            rpo_lightning.make("ant", num_envs=2, device=device)
    with pytest.raises(ValueError, match=r"'math.pi' is not an environment class"):
        rpo_lightning.make("math.pi", num_envs=2)
    with pytest.raises(ValueError, match=r"mask must be bool of shape \(6,\)"):
        make().reset(torch.zeros(5, dtype=torch.bool))


def test_classes_are_found_without_building_a_simulator():
    assert envs.env_class("ant") is envs.env_class("rpo_lightning.envs.ant.Ant")
    assert envs.env_class("ant").obs_dim == 37
    assert "ant" in envs.names()


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("action_dim", 1, "action_dim is 1, but the robot ant.xml has 8 actuators"),
        ("obs_dim", 36, r"observe must return shape \(6, 36\), got \(6, 37\)"),
        ("reward", lambda self, obs, action: obs[:, :1], r"reward must return shape \(6,\), got \(6, 1\)"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(attribute, value, message):
    task = type("Mine", (envs.env_class("ant"),), {attribute: value})
    with pytest.raises(ValueError, match=message):
        task(N)


def test_a_class_path_is_a_task():
    env = rpo_lightning.make("tests.toy.PointMass", num_envs=3, seed=1)
    assert env.step(torch.zeros(3, 1)).obs.shape == (3, 3)


def test_state_dict_continues_to_the_bit_after_an_explosion():
    env, again = make(seed=1, auto_reset=False), make(seed=2, auto_reset=False)
    bad = action()
    bad[1, 0] = float("nan")
    env.step(bad)
    again.load_state_dict(env.state_dict())
    assert same_step(env.step(action(1)), again.step(action(1)))


def test_the_observed_action_carries_its_gradient():
    env = make(observe_action=True)
    chosen = action().requires_grad_()
    obs = env.step(chosen).obs
    (grad,) = torch.autograd.grad(obs[:, 29:].sum(), chosen)
    assert torch.equal(grad, torch.ones_like(chosen))


class BlindHopper(Hopper):
    """The example of docs/own_robot.md."""

    name = "blind_hopper"
    obs_dim, privileged_dim = 5, 6

    def observe(self, q, qd, action):
        return q[:, 1:]

    def observe_privileged(self, q, qd, action):
        return qd


@pytest.mark.parametrize("reward_from", ["previous", "next"])
def test_reward_and_failure_see_the_privileged_observation_after_the_other(reward_from):
    blind, hopper = (cls(4, seed=1, reward_from=reward_from) for cls in (BlindHopper, Hopper))
    for _ in range(12):
        action = torch.full((4, 3), 0.4)
        ours, theirs = blind.step(action), hopper.step(action)
        assert torch.equal(ours.reward, theirs.reward)
        assert torch.equal(ours.terminated, theirs.terminated)
        assert torch.equal(torch.cat([ours.final_obs, ours.final_privileged], 1), theirs.final_obs)
