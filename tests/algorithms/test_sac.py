"""SAC: targets, the three losses, exploration before learning, and the buffer's place in a run."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from rpo_lightning.algorithms import SAC
from rpo_lightning.nn import UniformAction
from rpo_lightning.rollout import Collector, RolloutBatch, Transitions
from tests.algorithms.captured import assert_gradients_equal, captured
from tests.algorithms.drivers import Record, largest_difference, make_data, run_fabric, snapshot
from tests.toy import PointMass

DOUBLE = torch.float64
SMALL: dict[str, Any] = {"hidden": (16, 16), "batch_size": 16, "gradient_rounds": 2, "replay_size": 1000}


def small(**options: Any) -> SAC:
    torch.manual_seed(0)
    return SAC(3, 1, 4096, **{**SMALL, **options})


def transitions(size: int = 50) -> Transitions:
    generator = torch.Generator().manual_seed(3)
    obs, next_obs = torch.randn(2, size, 3, generator=generator, dtype=DOUBLE)
    reward, discount = torch.rand(2, size, generator=generator, dtype=DOUBLE)
    action = 2 * torch.rand(size, 1, generator=generator, dtype=DOUBLE) - 1
    return Transitions(obs, obs[:, :0], action, reward, next_obs, obs[:, :0], torch.where(discount < 0.3, 0.0, discount))


def acting(module: SAC, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return an action (B, A) of the policy and its log density (B,), with torch.distributions."""
    policy = module.actor(x)
    noise = torch.randn(policy.mean.shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    action = (policy.mean + policy.log_std.exp() * noise).tanh()
    density = td.TransformedDistribution(td.Normal(policy.mean, policy.log_std.exp()), td.TanhTransform())
    return action, density.log_prob(action.clamp(-1 + 1e-15, 1 - 1e-15)).sum(-1)


def prepared() -> SAC:
    """Return a module whose temperature, normaliser and target critics are not those of the start."""
    module = captured(SAC, **{name: SMALL[name] for name in ("batch_size", "gradient_rounds", "replay_size")})
    module.log_temperature.data.fill_(math.log(0.7))
    module.normalizer.update(3.0 + 2.0 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    for critic, shift in zip(module.target_critic, (0.3, 0.5), strict=True):
        critic[-1].weight.data *= 1.5
        critic[-1].bias.data += shift
    return module


# Losses


def test_target_is_the_smallest_slow_value_of_a_fresh_action_with_its_entropy() -> None:
    module, drawn = prepared(), transitions()
    x = module.normalizer(drawn.next_obs)
    action, log_prob = acting(module, x, seed=1)
    values = [critic(torch.cat([x, action], -1))[:, 0] for critic in module.target_critic]
    assert (values[0] < values[1]).any()
    assert (values[0] > values[1]).any()
    expected = drawn.reward + drawn.discount * (torch.minimum(*values) - 0.7 * log_prob)
    target = module.target(drawn, torch.Generator().manual_seed(1))
    torch.testing.assert_close(target, expected)
    assert not target.requires_grad


def test_critics_take_the_sum_of_their_mean_squared_errors() -> None:
    module, drawn = prepared(), transitions()
    x = module.normalizer(drawn.obs)
    target = module.target(drawn, torch.Generator().manual_seed(1))
    loss = module.fit_critic(drawn, None, torch.Generator().manual_seed(1))
    errors = [(critic(torch.cat([x, drawn.action], -1))[:, 0] - target).square().mean() for critic in module.critic]
    assert float(loss) == pytest.approx(float(sum(errors)))
    assert_gradients_equal(module.gradients[0], torch.autograd.grad(sum(errors), list(module.critic.parameters())))


def test_the_policy_climbs_the_smallest_value_and_its_entropy() -> None:
    module, drawn = prepared(), transitions()
    x = module.normalizer(drawn.obs)
    _, entropy = module.improve_actor(drawn, None, torch.Generator().manual_seed(2))
    action, log_prob = acting(module, x, seed=2)
    value = torch.minimum(*[critic(torch.cat([x, action], -1))[:, 0] for critic in module.critic])
    expected = torch.autograd.grad((0.7 * log_prob - value).mean(), list(module.actor.parameters()))
    assert_gradients_equal(module.gradients[0], expected)
    assert float(entropy) == pytest.approx(-float(log_prob.mean()))


@pytest.mark.parametrize("entropy", [-2.0, 1.0])
def test_the_temperature_rises_below_the_target_entropy_and_falls_above(entropy: float) -> None:
    module = prepared()
    assert module.target_entropy == 0.5
    module.tune_temperature(torch.tensor(entropy, dtype=DOUBLE), None)
    assert float(module.gradients[0][0]) == pytest.approx(0.7 * (entropy + 0.5))
    module = small(init_temperature=0.7)
    optimizer = module.configure_optimizers()[2]
    assert optimizer.param_groups[0]["weight_decay"] == 0.0
    module.tune_temperature(torch.tensor(entropy), optimizer)
    assert (float(module.log_temperature) > math.log(0.7)) == (entropy < -0.5)


def test_observations_are_clamped_to_five_standard_deviations() -> None:
    assert float(small().normalizer(torch.tensor([[0.0, 99.0, -99.0]])).abs().max()) == 5.0


# Rounds


def test_every_round_draws_anew_and_moves_the_slow_critics_by_tau() -> None:
    module, drawn, slow = small(gradient_rounds=3, n_step=2, target_update=0.3, random_windows=0), [], []

    class Follow(Record):
        def on_rollout_end(self, module: SAC, batch: RolloutBatch) -> None:
            draw = module.replay.draw

            def drawing(*args: Any) -> Transitions:
                slow.append((copy.deepcopy(module.target_critic), copy.deepcopy(module.critic)))
                drawn.append((args[:3], draw(*args)))
                return drawn[-1][1]

            module.replay.draw = drawing

    run_fabric(module, make_data(1), callbacks=[Follow()])
    assert [args for args, _ in drawn] == [(16, 2, 0.99)] * 3
    assert not torch.equal(drawn[0][1].obs, drawn[1][1].obs)
    slow.append((module.target_critic, module.critic))
    for (before, _), (after, fast) in itertools.pairwise(slow):
        for old, new, param in zip(before.parameters(), after.parameters(), fast.parameters(), strict=True):
            torch.testing.assert_close(new, 0.7 * old + 0.3 * param)
    assert not any(param.requires_grad for param in module.target_critic.parameters())


def test_learning_follows_the_random_windows() -> None:
    module, states = small(random_windows=2), []

    class Watch(Record):
        def on_rollout_end(self, module: SAC, batch: RolloutBatch) -> None:
            states.append({name: value for name, value in snapshot(module).items() if "normalizer" not in name})
            kept.append(len(module.replay))

    kept: list[int] = []
    metrics = run_fabric(module, make_data(4), callbacks=[Watch()])
    assert largest_difference(states[0], states[1]) == largest_difference(states[1], states[2]) == 0.0
    for part in ("actor", "critic", "target_critic", "log_temperature"):
        assert any(not torch.equal(states[2][name], states[3][name]) for name in states[2] if name.startswith(part))
    assert kept == [0, 64, 128, 192]
    assert ["critic/loss" in row for row in metrics] == [False, False, True, True]
    assert float(module.normalizer.count) == 1 + 4 * 64


def uniform_distance(action: Tensor) -> float:
    """Return the Kolmogorov-Smirnov statistic against U[-1, 1], times sqrt(n)."""
    ordered = (action.flatten().sort().values.double() + 1) / 2
    ranks = torch.arange(len(ordered) + 1, dtype=DOUBLE) / len(ordered)
    distance = torch.maximum((ordered - ranks[:-1]).abs(), (ordered - ranks[1:]).abs()).max()
    return float(distance) * len(ordered) ** 0.5


def test_actions_are_uniform_in_the_random_windows_only_and_stored_as_the_environment_got_them() -> None:
    module, data = (
        small(random_windows=2, gradient_rounds=1, replay_size=10_000),
        make_data(4, num_envs=64, horizon=32),
    )
    module.stop_at = 8192
    module.actor.mlp[-1].bias.data[0] += 1.0
    given: list[Tensor] = []

    class Spy(PointMass):
        def step(self, action: Tensor) -> Any:
            given.append(action.clone())
            return super().step(action)

    data.env = Spy
    run_fabric(module, data)
    windows = torch.stack(given).view(4, 32, 64, 1)
    distances = [uniform_distance(window) for window in windows]
    assert max(distances[:2]) < 1.63 < 5.0 < min(distances[2:])  # 1.63: one in a hundred
    state = module.replay.state_dict()
    torch.testing.assert_close(state["action"], windows.flatten(0, 1))
    assert windows.abs().max() <= 1.0


def test_only_the_exploring_policy_is_uniform() -> None:
    module, obs = small(), torch.randn(5, 3)
    assert isinstance(module.behaviour(obs, obs[:, :0])[0], UniformAction)
    assert not isinstance(module.policy(obs), UniformAction)
    torch.testing.assert_close(module.act(obs, deterministic=True), module.policy(obs).mean.tanh())


# The buffer


def test_every_checkpoint_holds_the_buffer_even_before_it_is_used_again() -> None:
    module = small()
    run_fabric(module, make_data(3))
    first, second = {}, {}
    module.on_save_checkpoint(first)
    restored = small()
    restored.on_load_checkpoint(first)
    restored.on_save_checkpoint(second)
    assert restored.replayed == module.replayed == 2
    expected = module.replay.state_dict()
    for checkpoint in (first, second):
        (state,) = checkpoint["rpo_lightning"]["replay"]
        assert state["reward"].shape == (24, 8)
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_window_larger_than_the_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match="replay_size is 63, fewer than the 8 x 8 steps of a window: raise it"):
        run_fabric(small(replay_size=63), make_data(1))


def test_bootstrapping_needs_no_state_values() -> None:
    batch = Collector(PointMass(4), 3, 0).collect(small())
    assert batch.action_grad is None
    assert not batch.next_value.any()


def test_no_return_crosses_a_window_that_was_left_out() -> None:
    module = small(n_step=3, random_windows=99)

    class SkipSecond(Record):
        def on_rollout_end(self, module: SAC, batch: RolloutBatch) -> None:
            module.skip_update = module.iteration == 1
            windows.append(batch)

    windows: list[RolloutBatch] = []
    run_fabric(module, make_data(3), callbacks=[SkipSecond()])
    drawn = module.replay.draw(2000, 3, 0.99, torch.Generator().manual_seed(0))
    last = windows[0].obs[-1]
    for n in range(8):
        rows = (drawn.obs == last[n]).all(-1).nonzero().flatten()
        assert len(rows)
        assert (drawn.next_obs[rows] == windows[0].final_obs[-1, n]).all()
