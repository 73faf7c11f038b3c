"""What each environment is to reach or follow: drawn at resets and when it is done with, kept by checkpoints."""

import pytest
import torch

from rpo_lightning.callbacks.evaluation import evaluate
from rpo_lightning.envs.cartpole import Cartpole

N = 4


class Follow(Cartpole):
    """Keep the cart at a place that is commanded anew every five steps."""

    name = "follow"
    obs_dim = 6
    target_dim = 1

    def observe(self, q, qd, action):
        return torch.cat([super().observe(q, qd, action), self.target], dim=1)

    def reward(self, obs, action):
        return {"near": -(obs[:, 0] - obs[:, 5]).square(), "effort": -0.01 * action[:, 0].square()}

    def target_done(self, obs):
        return (self.progress + 1) % 5 == 0

    def random_target(self):
        return self.uniform(-1.0, 1.0, 1)


class Touch(Follow):
    """Reach a place, then the next one."""

    name = "touch"

    def target_done(self, obs):
        return (obs[:, 0] - obs[:, 5]).abs() < 0.01


def actions(count, seed=0):
    return torch.rand(count, N, 1, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_command_changes_at_its_times_and_is_seen_from_the_next_step_on():
    env = Follow(N, seed=1, reward_from="next")
    for step_number in range(1, 12):
        before = env.target
        step = env.step(actions(1)[0])
        changed = env.target != before
        assert changed.all() if step_number % 5 == 0 else not changed.any()
        assert torch.equal(step.obs[:, 5:], before)
        assert torch.equal(step.reward_terms["near"], -(step.obs[:, 0] - before[:, 0]).square())


def test_only_the_environments_that_are_done_get_another_target():
    env = Touch(N, seed=1)
    hit = torch.tensor([False, True, False, True])
    near = torch.where(hit[:, None], env.q[:, :1] + env.simulator.dt * env.qd[:, :1], 3.0)
    env.set_state(env.q, env.qd, target=near)
    step = env.step(torch.zeros(N, 1))
    assert torch.equal((env.target != near)[:, 0], hit)
    assert torch.equal(step.obs[:, 5:], near)
    assert not (step.terminated | step.truncated).any()


def test_a_reset_brings_another_target_to_its_environment_alone():
    env = Follow(N, seed=1)
    before = env.target
    obs = env.reset(torch.tensor([True, False, False, True]))
    assert (env.target != before)[:, 0].tolist() == [True, False, False, True]
    assert torch.equal(obs[:, 5:], env.target)


def test_targets_are_of_the_seed_and_of_the_cpu():
    one, same, other = Follow(N, seed=3), Follow(N, seed=3), Follow(N, seed=4)
    assert torch.equal(one.target, same.target)
    assert not torch.equal(one.target, other.target)
    other.reset(torch.tensor([True, False, False, False]))  # so that some drawn with its own seed are left
    other.reseed(3)
    other.reset()
    assert torch.equal(one.target, other.target)


@pytest.mark.parametrize("cls", [Follow, Touch])
def test_a_resumed_environment_meets_the_same_targets(cls):
    env, resumed = cls(N, seed=1, episode_length=7), cls(N, seed=2, episode_length=7)
    env.progress = torch.arange(N)  # so that some targets are left in store
    for action in actions(6):
        env.step(action)
    resumed.load_state_dict(env.state_dict())
    for action in actions(20, seed=1):
        one, two = env.step(action), resumed.step(action)
        assert torch.equal(one.obs, two.obs)
        assert torch.equal(one.reward, two.reward)
        assert torch.equal(env.target, resumed.target)


def test_a_state_of_another_width_of_target_is_refused():
    state = Follow(N).state_dict() | {"target": torch.zeros(N, 2)}
    with pytest.raises(ValueError, match=r"follow: target must have shape \(4, 1\), got \(4, 2\)"):
        Follow(N).load_state_dict(state)


def test_gradients_flow_across_a_change_of_target():
    env = Follow(N, seed=1)
    given = actions(8).requires_grad_()
    total = sum(env.step(action).reward.sum() for action in given)
    (grad,) = torch.autograd.grad(total, given)
    assert (grad[:5].abs() > 0).all()  # the last of them counts only in the steps after the change


def test_an_evaluation_meets_the_same_targets_every_time():
    class Still:
        def player(self, num_envs, deterministic, generator):
            return lambda obs: torch.zeros(num_envs, 1)

    first, second = (evaluate(Still(), lambda **given: Follow(episode_length=20, **given), episodes=N) for _ in range(2))
    assert first == second


def test_wrong_targets_are_named():
    class Wide(Follow):
        name = "wide"

        def random_target(self):
            return self.uniform(-1.0, 1.0, 2)

    with pytest.raises(ValueError, match=r"wide: random_target must return shape \(4, 1\), got \(4, 2\)"):
        Wide(N)

    class Vague(Follow):
        name = "vague"

        def target_done(self, obs):
            return obs[:, 0]

    with pytest.raises(ValueError, match="vague: target_done must return bool, got float32"):
        Vague(N)
    env = Follow(N)
    with pytest.raises(ValueError, match=r"follow: target must be a float32 tensor of shape \(4, 1\)"):
        env.set_state(env.q, env.qd, target=torch.zeros(N, 2))
