"""REPPO: soft targets, the critic's step, and the order of an update."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from rpo_lightning.algorithms import REPPO
from rpo_lightning.nn import RunningNormalizer
from rpo_lightning.returns import lambda_return
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.captured import H, N, assert_gradients_equal, restless
from tests.algorithms.drivers import largest_difference, snapshot
from tests.algorithms.reppo_window import ALPHA, DOUBLE, acting, generator, moved, prepared, trainable, window
from tests.reference import brute_force_lambda_return
from tests.toy import PointMass

OPTIMIZERS = [None, None, None]


def soft_targets(module: REPPO, batch: RolloutBatch, everywhere: bool, before: float = 1.0, after: float = 1.0) -> Tensor:
    """Return soft lambda-returns (H, N), one state at a time.

    Args:
        module: its policy and critic make the values.
        batch: window.
        everywhere: whether entropy is charged at states without a future too.
        before: reward in one unit of the critic's values.
        after: reward in one unit of the returns.
    """
    noise = torch.randn(H, N, 1, generator=generator(1), dtype=DOUBLE)
    reward, next_value = torch.zeros(2, H, N, dtype=DOUBLE)
    for t in range(H):
        for n in range(N):
            x = module.normalizer(batch.final_obs[t, n])
            action, log_prob = acting(module, x, noise[t, n])
            reward[t, n] = batch.reward[t, n] / after
            if batch.alive[t, n] or everywhere:
                reward[t, n] -= module.discount * ALPHA * float(log_prob.detach())
            if batch.alive[t, n]:
                next_value[t, n] = float(module.critic(x, action).detach()) * before / after
    return brute_force_lambda_return(reward, next_value, batch.done, module.discount, module.td_lambda)


def target_of(module: REPPO, batch: RolloutBatch) -> Tensor:
    return module.targets(batch, generator(1)).target.view(H, N)


# Targets


@pytest.mark.parametrize("compat", [None, "paper"])
def test_targets_are_lambda_returns_with_the_entropy_of_the_state_reached(compat: Any) -> None:
    module, batch = prepared(discount=0.9, td_lambda=0.8, compat=compat, norm="layer", kl_estimator="analytic")
    expected = soft_targets(module, batch, everywhere=compat == "paper")
    other = soft_targets(module, batch, everywhere=compat != "paper")
    torch.testing.assert_close(target_of(module, batch), expected, rtol=1e-5, atol=1e-5)
    assert (expected - other)[~batch.alive].abs().min() > 0.01
    assert soft_targets(module, batch, True)[batch.alive].std() > 0.1


def test_nothing_passes_from_one_episode_to_the_one_before() -> None:
    module, batch = prepared()
    target = target_of(module, batch)
    t, n = (batch.truncated & batch.alive)[: H - 1].nonzero()[0].tolist()
    assert (batch.obs[t + 1, n] - batch.final_obs[t, n]).abs().max() > 0.1

    later = copy.deepcopy(batch)
    later.reward[t + 1 :, n] += 100.0
    later.obs[t + 1, n] += 1.0  # after the reset
    later.final_obs[t + 1 :, n] += 1.0
    changed = target_of(module, later) != target
    assert changed[t + 1 :, n].all()
    assert changed.sum() == H - 1 - t

    reached = copy.deepcopy(batch)
    reached.final_obs[t, n] += 1.0
    changed = target_of(module, reached) != target
    assert changed[t, n]
    assert not changed[t + 1 :].any()


def test_targets_and_what_is_stored_with_them_are_constants_in_the_order_of_the_window() -> None:
    module, batch = prepared()
    samples = module.targets(batch, generator(1))
    assert not any(column.requires_grad for column in samples)
    noise = torch.randn(H, N, 1, generator=generator(1), dtype=DOUBLE)
    next_x = module.normalizer(batch.final_obs)
    expected = {
        "x": module.normalizer(batch.obs),
        "sample": batch.sample,
        "mean": batch.mean,
        "log_std": batch.log_std,
        "next_x": next_x,
        "next_action": acting(module, next_x, noise)[0].detach(),
        "known": batch.alive[..., None].double(),
        "slope": torch.full((H, N, 1), torch.nan).double(),
        "advantage": torch.zeros(H, N, 0).double(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(getattr(samples, name), value.flatten(0, 1), equal_nan=True)


def test_a_new_unit_converts_the_values_of_the_old_one() -> None:
    module, batch = prepared(return_scaling=True)
    module.scaler.largest.fill_(200.0)
    batch.reward *= 20.0
    scaler = copy.deepcopy(module.scaler)
    scaler.update(batch.reward, batch.done)
    after = float(scaler.scale)
    assert after > 4.0
    expected = soft_targets(module, batch, everywhere=False, before=2.0, after=after)
    torch.testing.assert_close(target_of(module, batch), expected, rtol=1e-5, atol=1e-5)
    assert float(module.scale) == after
    # the unit is now settled
    expected = soft_targets(module, batch, everywhere=False, before=after, after=after)
    torch.testing.assert_close(target_of(module, batch), expected, rtol=1e-5, atol=1e-5)


def test_without_return_scaling_the_unit_is_one() -> None:
    module, batch = prepared(return_scaling=False)
    batch.reward *= 1000.0
    module.targets(batch, generator(1))
    assert float(module.scale) == 1.0


# The critic's step


@pytest.mark.parametrize("compat", [None, "paper"])
@pytest.mark.parametrize("critic_loss", ["hl_gauss", "mse"])
def test_the_critic_learns_targets_and_the_next_features(critic_loss: Any, compat: Any) -> None:
    module, batch = prepared(critic_loss=critic_loss, aux_coef=0.3, compat=compat)
    encoder = copy.deepcopy(module.critic.encoder).requires_grad_(False)
    part = moved(module, batch)
    module.critic.encoder[0].weight.data *= 1.5
    metrics = module.fit_critic(part, encoder, OPTIMIZERS)

    critic = module.critic
    feature = critic.encode(part.x, part.sample.tanh())
    outputs, predicted = critic.outputs(feature), critic.predictor(feature)
    following = encoder(torch.cat([part.next_x, part.next_action], -1))
    error = missed = 0.0
    for i in range(H * N):
        if critic_loss == "mse":
            error = error + 0.5 * (outputs[i, 0] - part.target[i, 0]) ** 2 / (H * N)
        else:
            share = critic.bins.encode(part.target[i, 0])
            error = error - (share * (outputs[i] - outputs[i].logsumexp(0))).sum() / (H * N)
        if compat == "paper" or batch.alive.flatten()[i]:
            missed = missed + (predicted[i] - following[i]).square().mean() / (H * N)
    expected = torch.autograd.grad(error + 0.3 * missed, list(critic.parameters()))
    (gradients,) = module.gradients
    assert_gradients_equal(gradients, expected)
    assert float(metrics["critic/loss"]) == pytest.approx(float(error.detach()))
    assert float(metrics["critic/aux_loss"]) == pytest.approx(float(missed.detach()))


def test_critic_and_actor_leave_each_other_alone() -> None:
    module, optimizers = trainable()
    part = module.targets(window(module), generator(1))
    module.actor.mlp[-1].bias.data += 0.3
    before = snapshot(module)
    module.improve_actor(part, optimizers, generator(2))
    moved = {name for name, value in snapshot(module).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("actor.")} | {"log_temperature", "log_kl_coef"}
    assert all(param.grad is None for param in module.critic.parameters())

    before, gradients = snapshot(module), [param.grad.clone() for param in module.actor.parameters()]
    module.fit_critic(part, copy.deepcopy(module.critic.encoder).requires_grad_(False), optimizers)
    moved = {name for name, value in snapshot(module).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("critic.")}
    assert all(torch.equal(param.grad, old) for param, old in zip(module.actor.parameters(), gradients, strict=True))


def test_a_value_of_reduced_precision_learns_nearly_the_same_in_full_precision_weights() -> None:
    snapshots = []
    for precision in ("32", "bf16"):
        module, _ = trainable(critic_precision=precision, value_range=(-10.0, 10.0), bins=21)
        metrics = module.update(window(module))
        assert float(metrics["critic/loss"]) > 0
        assert all(value.dtype == torch.float32 for name, value in snapshot(module).items() if "normalizer" not in name)
        assert all(value.isfinite().all() for value in snapshot(module).values())
        snapshots.append(snapshot(module))
    start = snapshot(trainable(value_range=(-10.0, 10.0), bins=21)[0])
    name = "critic.output.weight"
    step = (snapshots[0][name] - start[name]).norm()
    assert 0.0 < float((snapshots[0][name] - snapshots[1][name]).norm()) < 0.3 * float(step)


# An update


@pytest.mark.parametrize(("size", "parts"), [(16, 3), (20, 2), (1000, 1)])
def test_an_update_shuffles_the_window_and_alternates_critic_and_actor(size: int, parts: int) -> None:
    module, optimizers = trainable(minibatch_size=size)
    batch = window(module)
    x, start = module.normalizer(batch.obs).flatten(0, 1), snapshot(module)
    seen, calls = [], []

    def watched(name: str) -> None:
        method = getattr(module, name)

        def call(part: Any, *args: Any) -> Any:
            calls.append((name, part))
            # of the window's start, to the end
            assert all(
                torch.equal(start[f"normalizer.{key}"], value) for key, value in module.normalizer.state_dict().items()
            )
            if name == "fit_critic":
                following = {f"critic.encoder.{key}": value for key, value in args[0].state_dict().items()}
                assert all(torch.equal(start[key], value) for key, value in following.items())
                assert not any(param.requires_grad for param in args[0].parameters())
                assert args[1] is optimizers
                seen.append(part)
            return method(part, *args)

        setattr(module, name, call)

    watched("fit_critic")
    watched("improve_actor")
    module.update(batch)
    assert [name for name, _ in calls] == ["fit_critic", "improve_actor"] * (2 * parts)
    assert all(critic[1] is actor[1] for critic, actor in zip(calls[::2], calls[1::2], strict=True))
    assert (snapshot(module)["critic.encoder.0.weight"] - start["critic.encoder.0.weight"]).abs().max() > 0

    orders = []
    for epoch in (0, 1):
        rows = torch.cat([part.x for part in seen[epoch * parts : (epoch + 1) * parts]])
        orders.append((rows[:, None] == x).all(-1).nonzero()[:, 1])
        assert torch.equal(orders[-1].sort().values, torch.arange(H * N))
        assert not torch.equal(orders[-1], torch.arange(H * N))
    assert not torch.equal(*orders)
    whole = dict(
        zip(batch.sample.flatten(0, 1).flatten().tolist(), batch.mean.flatten(0, 1).flatten().tolist(), strict=True)
    )
    for part in seen:  # rows stay together
        assert [whole[u] for u in part.sample.flatten().tolist()] == part.mean.flatten().tolist()

    expected = RunningNormalizer(3)
    expected.update(batch.obs)
    assert largest_difference(expected.state_dict(), module.normalizer.state_dict()) == 0.0


def test_noise_and_order_come_from_the_window_s_seed() -> None:
    states = []
    for seed in (1, 1, 2):
        module, _ = trainable()
        batch = window(module)
        batch.seed = seed
        torch.manual_seed(len(states))
        module.update(batch)
        states.append(snapshot(module))
    assert largest_difference(states[0], states[1]) == 0.0
    assert largest_difference(states[0], states[2]) > 0.0


def test_metrics_tell_how_many_targets_are_beyond_the_range(caplog: pytest.LogCaptureFixture) -> None:
    module, _ = trainable(value_range=(-20.0, 20.0), return_scaling=False, epochs=1, minibatch_size=1000)
    batch = window(module)
    batch.reward[:, :2] = 1e4
    batch.reward[:, 2] = -1e4
    target = target_of(module, batch)
    assert (target.abs() > 20.0).sum() == 3 * H
    metrics = {name: float(value) for name, value in module.update(batch).items()}
    assert metrics["critic/clipped_targets"] == 0.5
    module.report(metrics)
    assert [record.message for record in caplog.records] == [
        "reppo: 50% of the targets lie outside value_range [-20, 20] (critic/clipped_targets): "
        "widen it, or set return_scaling."
    ]
    assert metrics["critic/target"] == pytest.approx(3328.0, abs=2000.0)
    assert metrics["critic/scale"] == 1.0
    assert metrics["actor/temperature"] == float(module.log_temperature.exp()) != 0.01
    assert metrics["actor/kl_coef"] == float(module.log_kl_coef.exp()) != 0.01
    assert metrics["actor/beyond_kl"] == 0.0  # one step, begun at the old policy
    assert metrics["actor/kl"] > 0.0
    module.report(metrics)
    assert len(caplog.records) == 1


def test_nothing_is_clipped_where_values_are_regressed(caplog: pytest.LogCaptureFixture) -> None:
    module, _ = trainable(critic_loss="mse", value_range=(-1.0, 1.0), return_scaling=False)
    metrics = module.update(Collector(PointMass(6, seed=3), 8, seed=1).collect(module))
    assert float(metrics["critic/clipped_targets"]) == 0.0
    module.report({name: float(value) for name, value in metrics.items()})
    assert "value_range" not in caplog.text


# The unit of rewards


class Paid(PointMass):
    """The point, with a price on its rewards."""

    price = 1.0

    def step(self, action: Tensor) -> Any:
        step = super().step(action)
        return step._replace(reward=self.price * step.reward)


def trained(price: float, **options: Any) -> REPPO:
    module, _ = trainable(actor_lr=1e-2, critic_lr=1e-2, minibatch_size=64, **options)
    env = Paid(16, seed=3, episode_length=15)
    env.price = price
    collector = Collector(env, H, seed=1)
    for _ in range(3):
        module.update(collector.collect(module))
    return module


def weights(module: REPPO) -> dict[str, Tensor]:
    return {name: param.detach() for name, param in module.named_parameters()}


def test_a_thousandfold_reward_teaches_the_same() -> None:
    cheap, dear = trained(1.0), trained(1000.0)
    assert float(dear.scale / cheap.scale) == pytest.approx(1000.0, rel=0.01)
    step = largest_difference(weights(cheap), weights(trainable()[0]))
    assert step > 0.03
    assert largest_difference(weights(cheap), weights(dear)) < 0.05 * step
    unscaled = [weights(trained(price, return_scaling=False)) for price in (1.0, 1000.0)]
    assert largest_difference(*unscaled) > 0.5 * step


@pytest.mark.parametrize("price", [1e-3, 1e3])
def test_scaled_returns_stay_within_a_hundred(price: float) -> None:
    module, _ = trainable()
    env = Paid(16, seed=3, episode_length=1000, limit=torch.inf)
    env.price = price
    collector = Collector(env, 32, seed=1)
    batches = [collector.collect(module) for _ in range(12)]
    for batch in batches:
        module.targets(batch, generator(1))
    reward, done = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("reward", "done"))
    whole = lambda_return(reward / module.scale, torch.zeros_like(reward), done, module.discount, 1.0)
    assert 20.0 < float(whole.abs().max()) <= 100.0


def test_the_window_is_collected_without_a_graph() -> None:
    module = trainable()[0].double()
    assert not module.needs_action_grad
    collector = Collector(restless(), H, seed=1)
    batch = collector.collect(module)
    assert batch.action_grad is None
    assert not collector.env.q.requires_grad
    assert not batch.next_value.any()
    assert not batch.bonus.any()
