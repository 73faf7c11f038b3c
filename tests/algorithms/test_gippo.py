"""GI-PPO: gradients of the advantages, the step along them, its length, and PPO from there."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rpo_lightning.algorithms import GIPPO
from rpo_lightning.nn import SquashedGaussian
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.captured import H, N, assert_gradients_equal, captured, restless
from tests.algorithms.free_policy import FreeActor, follow, stand_in
from tests.reference import brute_force_advantages, closed_loop_advantages, window_noise
from tests.toy import PointMass

DOUBLE = torch.float64


# The gradients of the advantages


@pytest.mark.parametrize("bootstrap_state", ["next", "current"])
def test_one_pass_yields_the_gradient_of_every_step_s_own_advantage(bootstrap_state: str) -> None:
    """Acceptance test 11: differentiate each A_t separately through the closed loop."""
    module = captured(GIPPO, bootstrap_state=bootstrap_state)
    module.normalizer.update(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    module.critics.target[0][-1].bias.data += 3.0
    collector = Collector(restless(), H, seed=1)
    noise, _ = window_noise(collector, 1)
    delta = torch.zeros_like(noise, requires_grad=True)
    advantage = closed_loop_advantages(restless(), module, noise, delta)
    separately = [torch.autograd.grad(advantage[t].sum(), delta, retain_graph=True)[0][t] for t in range(H)]

    batch = collector.collect(module)
    assert batch.terminated[:-1].any()
    assert batch.truncated[:-1].any()
    torch.testing.assert_close(module.advantage_grad(batch), torch.stack(separately), rtol=1e-6, atol=1e-7)


def test_advantages_are_generalised_and_the_same_for_both_phases() -> None:
    module = captured(GIPPO)
    batch, seen = Collector(restless(), H, seed=1).collect(module), []
    module.scheduled_optimizers = lambda *initial: [None] * 3
    module.follow_gradients = lambda batch, x, old, advantage, optimizer: seen.append(advantage) or {"actor/kl": 0.0}
    module.correct = module.follow_gradients
    value = module.value(batch.obs).detach()
    module.update(batch)
    expected = brute_force_advantages(batch.reward, value, batch.next_value, batch.done, 0.99, 0.95)
    for advantage in seen:
        torch.testing.assert_close(advantage, expected)
    assert len(seen) == 2


def test_values_come_from_the_slow_copy_of_the_critics() -> None:
    module = captured(GIPPO)
    obs = torch.randn(5, 3, dtype=DOUBLE)
    before = module.value(obs), module.critics.bootstrap(module.normalizer(obs))
    for param in module.critics.ensemble.parameters():
        param.data += 1.0
    assert torch.equal(module.value(obs), before[0])
    assert torch.equal(module.critics.bootstrap(module.normalizer(obs)), before[1])
    torch.testing.assert_close(before[0], module.critics.target(module.normalizer(obs)).mean(0))


# The step along them, with a policy made of free numbers


def standard_normal(seed: int, action_dim: int = 1) -> Tensor:
    return torch.randn(H, N, action_dim, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_the_policy_is_fitted_to_the_samples_moved_along_the_gradients() -> None:
    module, batch, old = stand_in(action_dim=2, alpha=0.3, fit_steps=7)
    noise, seen = standard_normal(0, 2), {}
    batch.sample, batch.action_grad = old.from_noise(noise), standard_normal(1, 2)
    batch.done[3, 1] = True

    def descend(loss_of: Callable[[], Tensor], steps: int, optimizer: Any, rate: float) -> tuple[int, Tensor]:
        seen.update(steps=steps, rate=rate, optimizer=optimizer)
        module.actor.mean.data += 0.2
        module.actor.log_std.data -= 0.1
        ours = torch.autograd.grad(loss_of(), list(module.actor.parameters()))
        mean, std = module.actor.mean, module.actor.log_std.exp()
        target = batch.sample + 0.3 * module.advantage_grad(batch)
        distance = sum(
            (mean[t, n] + std[t, n] * noise[t, n] - target[t, n]).square().sum() for t in range(H) for n in range(N)
        )
        assert_gradients_equal(ours, torch.autograd.grad(distance / (H * N), list(module.actor.parameters())))
        return 0, torch.zeros(())

    module._descend = descend
    module.fit_lr.fill_(0.25)
    module.follow_gradients(batch, None, old, torch.zeros(H, N, dtype=DOUBLE), "fit")
    assert seen == {"steps": 7, "rate": 0.25, "optimizer": "fit"}


@pytest.mark.parametrize(
    ("log_std_change", "expected"),
    [
        ([math.log(1.39), 0.0], 1.02),
        ([math.log(1.41), 0.0], 1 / 1.02),
        ([math.log(0.61), 0.0], 1.02),
        ([math.log(0.59), 0.0], 1 / 1.02),
        ([math.log(1.2), math.log(1.2)], 1 / 1.02),
        ([math.log(2.0), math.log(0.5)], 1.02),
    ],
)
def test_alpha_shrinks_where_the_product_of_the_stds_has_left_the_interval(
    log_std_change: list[float], expected: float
) -> None:
    module, batch, old = stand_in(action_dim=2, max_out_of_range=1.0)

    def move() -> None:
        module.actor.log_std.data[2, 3] += torch.tensor(log_std_change)

    assert follow(module, batch, old, move) == pytest.approx(expected)
    assert float(module.fit_lr) == pytest.approx(5e-4)


def test_a_failed_fit_keeps_alpha_and_lowers_its_own_rate_to_a_floor() -> None:
    module, batch, old = stand_in()
    assert follow(module, batch, old, lambda: None, fitted=False) == 1.0
    assert float(module.fit_lr) == pytest.approx(5e-4 / 1.5)
    module.fit_lr.fill_(1.2e-5)
    follow(module, batch, old, lambda: None, fitted=False)
    assert float(module.fit_lr) == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("allowed", "wide", "expected"), [(5 / 48, False, 1.02), (4.9 / 48, False, 1 / 1.02), (4.9 / 48, True, 1 / 1.02)]
)
def test_alpha_shrinks_once_where_too_many_samples_leave_the_clip_range(allowed: float, wide: bool, expected: float) -> None:
    module, batch, old = stand_in(max_out_of_range=allowed)

    def move() -> None:
        # the density at the mean is 1 / std: ratios 1.15, and 1.25 in five places
        module.actor.log_std.data -= math.log(1.15)
        module.actor.log_std.data.view(-1)[:5] -= math.log(1.25 / 1.15)
        if wide:
            module.actor.log_std.data[0, 0] -= 1.0

    assert follow(module, batch, old, move) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("history", "advantage", "expected"),
    [
        ([1.0, 1.1, 0.9], -1.0, 1 / 1.02),  # negative and unusually bad
        ([0.5, -0.5, 0.5, -0.5], -1.0, 1.02),  # negative, but as often before
        ([5.0, 5.1, 4.9], 1.0, 1.02),  # unusually bad, but positive
        ([], -1.0, 1.02),  # the first
    ],
)
def test_alpha_shrinks_where_the_predicted_gain_is_negative_and_unusual(
    history: list[float], advantage: float, expected: float
) -> None:
    module, batch, old = stand_in(max_out_of_range=1.0)
    for gain in history:
        module._standardize(torch.tensor(gain, dtype=DOUBLE))
    before = module.gains.clone()

    def move() -> None:
        module.actor.log_std.data -= math.log(1.1)  # ratios 1.1: a gain of 0.1 times the advantage

    assert follow(module, batch, old, move, advantage) == pytest.approx(expected)
    assert (module.gains - before).tolist() == pytest.approx([1.0, 0.1 * advantage, 0.01], abs=1e-6)


def test_gains_are_measured_in_standard_deviations_of_those_so_far() -> None:
    module, gains = captured(GIPPO), np.random.default_rng(0).normal(3.0, 2.0, 20)
    for i, gain in enumerate(gains):
        seen = gains[: i + 1]
        expected = (gain - seen.mean()) / seen.std() if i else 0.0
        assert float(module._standardize(torch.tensor(gain))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("gain", [math.nan, math.inf, -math.inf])
def test_a_gain_that_is_not_finite_is_forgotten(gain: float) -> None:
    module = captured(GIPPO)
    module._standardize(torch.tensor(2.0))
    before = module.gains.clone()
    assert float(module._standardize(torch.tensor(gain))) == 0.0
    assert torch.equal(module.gains, before)


def test_alpha_is_at_most_one() -> None:
    module, batch, old = stand_in(alpha=0.99)
    follow(module, batch, old, lambda: None)
    assert float(module.alpha) == 1.0


def test_a_policy_far_away_leaves_the_statistics_finite() -> None:
    module, batch, old = stand_in()
    batch.sample = batch.sample + 500.0

    def move() -> None:
        module.actor.mean.data += 500.0

    follow(module, batch, old, move, advantage=1.0)
    assert module.gains.isfinite().all()
    assert float(module.gains[1]) == pytest.approx(math.exp(16.0) - 1.0)


# Descending, and going back


class Watched(GIPPO):
    """Remember the learning rate of every step."""

    def apply_gradients(self, optimizer: Any, *args: Any) -> Tensor:
        self.tried_rates = [*getattr(self, "tried_rates", []), optimizer.param_groups[0]["lr"]]
        return super().apply_gradients(optimizer, *args)


def watched() -> tuple[Watched, torch.optim.Optimizer]:
    """Return a module whose actor is two numbers at 0.3, and an optimizer of it that has already taken a step."""
    module = Watched(3, 1, 4096, hidden=(4,))
    module.actor = FreeActor(torch.zeros(1), torch.zeros(1))
    optimizer = torch.optim.AdamW(module.actor.parameters(), lr=0.1, weight_decay=0.0)
    (module.actor.mean + module.actor.log_std).sum().backward()
    optimizer.step()
    for param in module.actor.parameters():
        param.data.fill_(0.3)
    return module, optimizer


def test_descending_takes_its_steps_where_the_loss_falls() -> None:
    module, optimizer = watched()
    taken_back, norm = module._descend(
        lambda: 2 * module.actor.mean.sum() + 0 * module.actor.log_std.sum(), 3, optimizer, 0.01
    )
    assert taken_back == 0
    assert float(norm) == pytest.approx(2.0)
    assert module.tried_rates == [0.01] * 3
    assert optimizer.state[module.actor.mean]["step"] == 4
    assert 0.26 < float(module.actor.mean) < 0.29


def test_descending_goes_back_and_tries_smaller_rates_where_the_loss_rises() -> None:
    module, optimizer = watched()
    state = copy.deepcopy(optimizer.state_dict())
    taken_back, _ = module._descend(lambda: sum(p.square().sum() for p in module.actor.parameters()), 1, optimizer, 1.5**2)
    tries = len(module.tried_rates)
    assert taken_back == tries - 1
    assert 2 < tries < 8
    assert module.tried_rates == pytest.approx([1.5 ** (2 - i) for i in range(tries)])
    # as if the last try had been the only one
    again, fresh = watched()
    fresh.load_state_dict(state)
    again._descend(lambda: sum(p.square().sum() for p in again.actor.parameters()), 1, fresh, module.tried_rates[-1])
    assert len(again.tried_rates) == 1
    assert torch.equal(again.actor.mean, module.actor.mean)
    for ours, theirs in zip(optimizer.state.values(), fresh.state.values(), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("rise", [1.0, math.nan])
def test_descending_in_vain_changes_nothing(rise: float) -> None:
    module, optimizer = watched()
    state, calls = copy.deepcopy(optimizer.state_dict()["state"]), []

    def loss_of() -> Tensor:
        calls.append(1)
        offset = (0.0, 2.0, 1.0)[len(calls) % 3 - 1] * rise  # the loss after the steps lies above that before them
        return module.actor.mean.sum() + module.actor.log_std.sum() + offset

    taken_back, _ = module._descend(loss_of, 2, optimizer, 0.1)
    assert taken_back == 8
    assert module.tried_rates == pytest.approx([0.1 / 1.5**i for i in range(8) for _ in range(2)])
    assert all(float(param) == pytest.approx(0.3) for param in module.actor.parameters())
    for index, theirs in state.items():
        ours = optimizer.state_dict()["state"][index]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


# PPO from the alpha policy


def corrected(module: GIPPO, batch: Any, old: SquashedGaussian, advantage: Tensor, theta: Tensor) -> tuple[Tensor, dict]:
    """Return the loss that PPO's epochs see once the mean has moved on to theta, and what they were given."""
    seen: dict[str, Any] = {}

    def descend(loss_of: Callable[[], Tensor], steps: int, optimizer: Any, rate: float) -> tuple[int, Tensor]:
        module.actor.mean.data = theta
        seen.update(loss=loss_of(), steps=steps, optimizer=optimizer, rate=rate)
        seen["gradient"] = torch.autograd.grad(seen["loss"], module.actor.mean)[0]
        return 0, torch.zeros(())

    module._descend = descend
    seen["metrics"] = module.correct(batch, None, old, advantage, optimizer="ppo")
    return seen["loss"], seen


def density(mean: Tensor, sample: Tensor) -> Tensor:
    return torch.distributions.Normal(mean, 0.5).log_prob(sample).sum(-1).exp()


@pytest.mark.parametrize("furthest", [3.9, 40.0])
def test_ratios_are_to_the_mixture_however_far_the_alpha_policy_is(furthest: float) -> None:
    module, batch, old = stand_in(clip=0.1, actor_epochs=4)
    batch.sample, alpha = old.from_noise(standard_normal(0)), 0.2 * standard_normal(1)
    advantage = standard_normal(2)[..., 0] + 2.0
    batch.sample[1, 1], alpha[1, 1] = 0.0, 0.5 * math.sqrt(2 * furthest)  # log(pi_old / pi_alpha) of one sample
    module.actor.mean.data = alpha
    theta = alpha + 0.1 * standard_normal(3)
    loss, seen = corrected(module, batch, old, advantage, theta)

    ratio = density(theta, batch.sample) / ((density(alpha, batch.sample) + density(old.mean, batch.sample)) / 2)
    normalized = (advantage - advantage.mean()) / advantage.std(correction=0)
    gains = [
        min(float(rho * a), float(rho.clamp(0.9, 1.1) * a))
        for rho, a in zip(ratio.view(-1), normalized.view(-1), strict=True)
    ]
    assert float(loss) == pytest.approx(-sum(gains) / (H * N), rel=1e-6)
    assert (seen["steps"], seen["optimizer"], seen["rate"]) == (4, "ppo", 5e-4)
    assert seen["metrics"]["actor/effective_samples"] == pytest.approx(float(((ratio - 1).abs() <= 0.1).double().mean()))
    assert seen["metrics"]["actor/max_ratio"] == pytest.approx(float(ratio.max()))


def test_samples_that_the_alpha_policy_has_left_behind_have_no_say() -> None:
    """To pi_alpha alone their ratios would be 1, and their slopes, (u - mean) / std^2, the largest of all."""
    module, batch, old = stand_in()
    batch.sample, alpha = old.from_noise(standard_normal(0)), torch.zeros(H, N, 1, dtype=DOUBLE)
    alpha[:4] = 4.0
    module.actor.mean.data = alpha
    _, seen = corrected(module, batch, old, standard_normal(2)[..., 0], alpha.clone())
    assert seen["gradient"][:4].abs().max() < 1e-4
    assert seen["gradient"][4:].abs().max() > 1e-2


def corrected_with(module: GIPPO, taken_back: int) -> tuple[float, dict[str, Any]]:
    """Return the rate that PPO's epochs begin at and their metrics, if so many tries are taken back."""
    _, batch, old = stand_in()
    rates = []

    def descend(loss_of: Callable[[], Tensor], steps: int, optimizer: Any, rate: float) -> tuple[int, Tensor]:
        rates.append(rate)
        return taken_back, torch.zeros(())

    module._descend = descend
    metrics = module.correct(batch, None, old, standard_normal(2)[..., 0], optimizer="ppo")
    return rates[0], metrics


def test_ppo_s_rate_begins_where_it_last_worked() -> None:
    module = stand_in()[0]
    rate, metrics = corrected_with(module, taken_back=3)
    assert rate == pytest.approx(5e-4)
    assert metrics["actor/lr"] == pytest.approx(5e-4 / 1.5**3)
    assert metrics["actor/taken_back"] == 3.0
    assert corrected_with(module, taken_back=8)[0] == pytest.approx(5e-4 / 1.5**2)
    # all eight taken back: the next window goes on from below
    assert corrected_with(module, taken_back=0)[0] == pytest.approx(5e-4 / 1.5**9)
    rates = [corrected_with(module, taken_back=0)[0] for _ in range(12)]
    assert rates[:3] == pytest.approx([5e-4 / 1.5**8, 5e-4 / 1.5**7, 5e-4 / 1.5**6])
    assert rates[-1] == pytest.approx(5e-4)  # that of the schedule is never exceeded


def test_log_ratios_of_a_policy_far_away_are_clamped() -> None:
    module, batch, old = stand_in()
    advantage = torch.ones(H, N, dtype=DOUBLE)
    advantage[0, 0] = -1.0
    batch.sample = torch.full((H, N, 1), 9.0, dtype=DOUBLE)
    batch.sample[1:] = 0.0
    loss, seen = corrected(module, batch, old, advantage, torch.full((H, N, 1), 9.0, dtype=DOUBLE))
    normalized = (advantage - advantage.mean()) / advantage.std(correction=0)
    bad = float(normalized[0].clamp(max=0.0).sum()) * math.exp(16.0)
    assert float(loss) == pytest.approx(-bad / (H * N), rel=1e-3)
    assert seen["gradient"].isfinite().all()


# All together


def test_the_critics_follow_the_window_and_the_metrics_tell_of_every_part() -> None:
    module = GIPPO(3, 1, 4096, hidden=(16, 16), critic_epochs=2, fit_steps=2, actor_epochs=2)
    optimizers = module.configure_optimizers()
    module.scheduled_optimizers = lambda *initial: optimizers
    batch: RolloutBatch = Collector(PointMass(N, seed=3), H, seed=1).collect(module)
    before = [param.clone() for param in module.critics.target.parameters()]
    metrics = module.update(batch)
    for target, old, new in zip(
        module.critics.target.parameters(), before, module.critics.ensemble.parameters(), strict=True
    ):
        torch.testing.assert_close(target, 0.2 * old + 0.8 * new)
    assert {"actor/alpha", "actor/alpha_kl", "actor/kl", "actor/entropy", "critic/loss", "actor/lr"} <= metrics.keys()
    assert float(metrics["actor/alpha_kl"]) > 0
    assert len(optimizers) == 3
