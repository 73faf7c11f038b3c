"""PPO: advantages, loss, minibatches, the learning rate that follows the KL."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from rpo_lightning.algorithms import PPO
from rpo_lightning.losses import gaussian_kl
from rpo_lightning.nn import ClippedGaussian
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.captured import H, N, assert_gradients_equal, captured, restless
from tests.reference import brute_force_advantages
from tests.toy import PointMass

DOUBLE = torch.float64


def prepared(**options: Any) -> tuple[PPO, RolloutBatch]:
    """Return a module whose normalisers are not those of the start, and a window of it."""
    module = captured(PPO, **options)
    generator = torch.Generator().manual_seed(0)
    module.normalizer.update(0.3 + 0.5 * torch.randn(100, 3, generator=generator))
    module.value_normalizer.update(4.0 + 3.0 * torch.randn(100, 1, generator=generator))
    module.actor.value.bias.data += 0.2
    return module, Collector(restless(), H, seed=1).collect(module)


def value_of(module: PPO, obs: Tensor) -> Tensor:
    """Return the value of raw observations in units of the return."""
    statistics = module.value_normalizer
    return module.actor(module.normalizer(obs))[1].detach() * (statistics.var + 1e-5).sqrt() + statistics.mean


# Advantages


@pytest.mark.parametrize("timeout_bootstrap", [True, False])
def test_advantages_are_generalised_and_time_limits_count_as_told(timeout_bootstrap: bool) -> None:
    module, batch = prepared(timeout_bootstrap=timeout_bootstrap, td_lambda=0.9, discount=0.8)
    assert batch.terminated[:-1].any()
    assert batch.truncated[:-1].any()
    over = batch.terminated if timeout_bootstrap else batch.terminated | batch.truncated
    value, next_value = value_of(module, batch.obs), value_of(module, batch.final_obs)
    expected = brute_force_advantages(batch.reward, value, torch.where(over, 0.0, next_value), batch.done, 0.8, 0.9)
    advantage, target = module.estimate(batch, *[module.normalizer(batch.obs)] * 2)
    torch.testing.assert_close(advantage, expected)
    torch.testing.assert_close(target, expected + value)
    assert not advantage.requires_grad


# The loss of a minibatch


@pytest.mark.parametrize("beyond", [False, True], ids=["targets within the clamp", "targets beyond it"])
def test_loss_is_of_clipped_surrogate_normalised_value_and_entropy_env_by_env(beyond: bool) -> None:
    module, batch = prepared(actor_epochs=1, minibatch_size=2 * H, clip=0.1, value_coef=3.0, entropy_coef=0.02)
    if beyond:
        module.value_normalizer.update(torch.randn(10_000, 1, generator=torch.Generator().manual_seed(1)))
    seen = float(module.value_normalizer.count)
    x = module.normalizer(batch.obs)
    advantage, target = module.estimate(batch, x, x)
    module.actor.mean.weight.data *= 5.0
    module.actor.mean.bias.data += 0.1
    module.improve(batch, x, x, advantage, target, SimpleNamespace(param_groups=[{}]))

    statistics = module.value_normalizer
    assert float(statistics.count) == seen + H * N
    goal = ((target - statistics.mean) / (statistics.var + 1e-5).sqrt()).clamp(-5.0, 5.0)
    assert (float(goal.max()) == 5.0) == beyond
    normalized = (advantage - advantage.mean()) / advantage.std(correction=0)
    assert (batch.sample.abs() > 1.0).any()
    assert len(module.gradients) == 3
    clipped = 0
    for i, ours in enumerate(module.gradients):
        envs = slice(2 * i, 2 * i + 2)
        policy, value = module.actor(x[:, envs])
        new = td.Normal(policy.mean, policy.std)
        old = td.Normal(batch.mean[:, envs], batch.log_std[:, envs].exp())
        sample = batch.sample[:, envs]
        ratio = (new.log_prob(sample) - old.log_prob(sample)).sum(-1).exp()
        a = normalized[:, envs]
        outside = ((a > 0) & (ratio > 1.1)) | ((a < 0) & (ratio < 0.9))
        clipped += int(outside.sum())
        surrogate = torch.where(outside, 0.0, ratio * a)  # what is clipped is constant
        error = (value - goal[:, envs]).square()
        loss = -surrogate.mean() + 3.0 * error.mean() - 0.02 * new.entropy().sum(-1).mean()
        assert_gradients_equal(ours, torch.autograd.grad(loss, list(module.actor.parameters())))
    assert clipped


@pytest.mark.parametrize(("size", "parts"), [(12, 4), (20, 2), (1000, 1)])
def test_minibatches_cover_the_window_once_per_epoch(size: int, parts: int) -> None:
    module, batch = prepared(actor_epochs=2, minibatch_size=size)
    x = module.normalizer(batch.obs)
    advantage, target = module.estimate(batch, x, x)
    forward, seen = module.actor.forward, []

    def watching(part: Tensor, critic_part: Tensor | None = None) -> Any:
        seen.append(part)
        return forward(part, critic_part)

    module.actor.forward = watching
    module.improve(batch, x, x, advantage, target, SimpleNamespace(param_groups=[{}]))
    learned_from = [part for part in seen if part.dim() == 2]
    assert len(learned_from) == 2 * parts
    for epoch in (0, 1):
        assert torch.equal(torch.cat(learned_from[epoch * parts : (epoch + 1) * parts]), x.transpose(0, 1).flatten(0, 1))


def test_entropy_is_summed_over_dimensions() -> None:
    module = PPO(3, 2, 4096, hidden=(16, 16), actor_epochs=1)
    module.apply_gradients = lambda *args: torch.zeros(())
    module.hook = lambda *args: None
    policy = module.policy(torch.ones(H, N, 3)).detach()
    batch = SimpleNamespace(mean=policy.mean, log_std=policy.log_std, sample=policy.mean + 0.1)
    zeros = torch.zeros(H, N)
    metrics = module.improve(batch, *[torch.ones(H, N, 3)] * 2, zeros, zeros, SimpleNamespace(param_groups=[{}]))
    assert float(metrics["actor/entropy"]) == pytest.approx(2 * float(td.Normal(0.0, policy.std).entropy().mean()), rel=1e-3)


# The learning rate


def test_the_rate_falls_after_too_large_a_step_and_rises_after_too_small_a_one() -> None:
    module = captured(PPO, actor_lr=5e-4)
    for kl, rate in ((0.0161, 5e-4 / 1.5), (0.0159, 5e-4), (0.0041, 5e-4), (0.0039, 5e-4 * 1.5)):
        module.rates.factor = 1.0
        module.rates.adapt(torch.tensor(kl))
        assert module.learning_rate(5e-4) == pytest.approx(rate)
    for kl, bound in ((1.0, 1e-6), (0.0, 1e-2)):
        for _ in range(50):
            module.rates.adapt(torch.tensor(kl))
        assert module.learning_rate(5e-4) == pytest.approx(bound)


@pytest.mark.parametrize("schedule", ["exponential", "linear", "constant"])
def test_other_schedules_do_not_see_the_kl(schedule: str) -> None:
    module = captured(PPO, lr_schedule=schedule)
    module.rates.adapt(torch.tensor(1.0))
    assert module.rates.factor == 1.0
    module.rates.factor = 2.0  # of a checkpoint whose run had schedule kl
    assert module.learning_rate(5e-4) == 5e-4


def test_every_epoch_moves_the_rate_by_its_own_kl() -> None:
    module, batch = prepared(actor_epochs=3, minibatch_size=1000)
    optimizer, steps, measured = SimpleNamespace(param_groups=[{"lr": 5e-4}]), [], []
    moves = iter((0.2, 0.0, 0.1))

    def apply(optimizer: Any, *args: Any) -> Tensor:
        steps.append(optimizer.param_groups[0]["lr"])
        shift(next(moves))
        return torch.zeros(())

    def shift(by: float) -> None:
        for head in (module.actor.mean, module.actor.std):
            head.bias.data += by

    adapt = module.rates.adapt
    module.apply_gradients = apply
    module.rates.adapt = lambda kl: measured.append(float(kl)) or adapt(kl)
    x = module.normalizer(batch.obs)
    policies = [ClippedGaussian(batch.mean, batch.log_std)]
    for by in (0.2, 0.2, 0.3):
        shift(by)
        policies.append(module.actor(x)[0].detach())
        shift(-by)
    metrics = module.improve(batch, x, x, *module.estimate(batch, x, x), optimizer)

    kls = [float(gaussian_kl(*pair).mean()) for pair in itertools.pairwise(policies)]
    assert measured == pytest.approx(kls, abs=1e-12)
    assert kls[1] == pytest.approx(0.0, abs=1e-12)
    assert kls[0] > 0.016
    assert steps == pytest.approx([5e-4, 5e-4 / 1.5, 5e-4])
    assert metrics["actor/lr"] == optimizer.param_groups[0]["lr"] == pytest.approx(5e-4 * (1.5 if kls[2] < 0.004 else 1.0))
    assert float(metrics["actor/kl"]) == pytest.approx(float(gaussian_kl(policies[0], policies[3]).mean()))
    # what callbacks are told of every epoch: ratios to the policy of the rollout
    ratios = [(new.log_prob(batch.sample) - policies[0].log_prob(batch.sample)).exp() for new in policies[1:]]
    for told, ratio, kl in zip(module.hooked, ratios, kls, strict=True):
        assert float(told["kl"]) == pytest.approx(kl, abs=1e-12)
        assert float(told["max_ratio"]) == pytest.approx(float(ratio.max()))
        assert float(told["effective_samples"]) == pytest.approx(float(((ratio - 1).abs() <= 0.2).double().mean()))


# Acting


def test_the_window_is_collected_without_a_graph_and_clipped_for_the_environment_only() -> None:
    given: list[Tensor] = []

    class Spy(PointMass):
        def step(self, action: Tensor) -> Any:
            given.append(action)
            return super().step(action)

    collector = Collector(Spy(64), H, seed=1)
    batch = collector.collect(captured(PPO).float())
    assert batch.action_grad is None
    assert not collector.env.q.requires_grad
    assert not any(action.requires_grad for action in given)
    assert torch.equal(torch.stack(given), batch.sample.clamp(-1.0, 1.0))
    assert (batch.sample.abs() > 1.0).any()


def test_deterministic_actions_are_the_mean() -> None:
    module = captured(PPO).float()
    obs = torch.randn(5, 3)
    assert torch.equal(module.act(obs, deterministic=True), module.policy(obs).mean)
    assert module.act(obs, generator=torch.Generator().manual_seed(0)).abs().max() <= 1.0


def test_stored_values_are_in_units_of_the_return() -> None:
    module, batch = prepared()
    expected = torch.where(batch.terminated, 0.0, value_of(module, batch.final_obs))
    torch.testing.assert_close(batch.next_value, expected)


def test_observations_are_clamped_to_five_standard_deviations() -> None:
    assert float(captured(PPO).normalizer(torch.tensor([[0.0, 99.0, -99.0]])).abs().max()) == 5.0
