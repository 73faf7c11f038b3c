"""The update of RPO against what it must equal."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from rpo_lightning.algorithms import RPO
from rpo_lightning.losses import gaussian_kl
from rpo_lightning.returns import segment_discounts
from rpo_lightning.rollout import Collector, RolloutBatch, Window
from tests.algorithms.captured import H, N, assert_gradients_equal, captured, direct_gradient, restless
from tests.algorithms.drivers import (
    Record,
    largest_difference,
    make_data,
    make_rpo,
    make_trainer,
    run_fabric,
    snapshot,
)
from tests.reference import brute_force_lambda_return, window_noise
from tests.toy import PointMass


def actor_gradients(module: RPO, batch: RolloutBatch) -> list[tuple[Tensor, ...]]:
    """Return the gradient of every actor epoch."""
    module.improve_actor(batch, Any, torch.Generator().manual_seed(0))
    return module.gradients


def test_one_epoch_without_regularizers_is_shac() -> None:
    module = captured(RPO, actor_epochs=1, kl_coef=0.0, entropy_coef=0.0)
    collector = Collector(restless(), H, seed=1)
    noise = window_noise(collector, 1)
    (ours,) = actor_gradients(module, collector.collect(module))
    assert_gradients_equal(ours, direct_gradient(module, noise, bonus=False))


@pytest.mark.parametrize("discounted", [True, False])
def test_one_epoch_with_discounted_entropy_is_sapo(discounted: bool) -> None:
    module = captured(RPO, actor_epochs=1, entropy_coef=0.3, discounted_regularizers=discounted)
    collector = Collector(restless(), H, seed=1)
    noise = window_noise(collector, 1)
    batch = collector.collect(module)
    assert batch.bonus.abs().max() > 0
    module.entropy_noise = noise[1]
    (ours,) = actor_gradients(module, batch)
    sapo = direct_gradient(module, noise, bonus=True)
    if discounted:
        assert_gradients_equal(ours, sapo)
    else:
        assert max(float((a - b).abs().max()) for a, b in zip(ours, sapo, strict=True)) > 1e-3


def test_first_epoch_is_on_policy_and_kl_has_no_gradient() -> None:
    module = captured(RPO, actor_epochs=1, kl_coef=1000.0, surrogate_coef=0.0, entropy_coef=0.0)
    batch = Collector(restless(), H, seed=1).collect(module)
    (gradient,) = actor_gradients(module, batch)
    assert all(bool((g == 0).all()) for g in gradient)
    (first,) = module.hooked
    assert (first["kl"], first["effective_samples"], first["max_ratio"]) == (0.0, 1.0, 1.0)


def test_samples_outside_the_clip_contribute_nothing_and_stay_in_the_denominator() -> None:
    module = captured(RPO, actor_epochs=1, kl_coef=0.0, entropy_coef=0.0)
    batch = Collector(restless(), H, seed=1).collect(module)
    x = module.normalizer(batch.obs)
    old = module.actor(x).detach()
    for layer in module.actor.mlp:
        if hasattr(layer, "weight"):
            layer.weight.data += 0.1
    new = module.actor(x)
    ratio = (new.log_prob(batch.sample) - old.log_prob(batch.sample)).exp().detach()
    inside = (ratio >= 0.2) & (ratio <= 2.0)
    assert 0 < inside.sum() < inside.numel()
    noise = ((batch.sample - new.mean) / new.std).detach()
    total = sum(
        ratio[t, n] * (batch.action_grad[t, n] * (new.mean + new.std * noise)[t, n]).sum()
        for t, n in inside.nonzero().tolist()
    )
    expected = torch.autograd.grad(-total / (H * N), list(module.actor.parameters()), retain_graph=True)
    # The second epoch of a module whose first step was the change made above.
    module.actor_epochs = 2
    forwards = iter([old, new, new])
    module.actor.forward = lambda x: next(forwards)
    calls = iter([lambda *a: torch.zeros(()), module.apply_gradients])
    module.apply_gradients = lambda *args: next(calls)(*args)
    actor_gradients(module, batch)
    assert_gradients_equal(module.gradients[0], expected)
    assert float(module.hooked[1]["effective_samples"]) == pytest.approx(float(inside.double().mean()))


@pytest.mark.parametrize("regenerate", [True, False])
def test_samples_are_regenerated_or_keep_the_noise_of_the_rollout(regenerate: bool) -> None:
    module = captured(RPO, actor_epochs=2, kl_coef=0.0, entropy_coef=0.0, regenerate_actions=regenerate)
    batch = Collector(restless(), H, seed=1).collect(module)
    x = module.normalizer(batch.obs)
    old, keep_gradient = module.actor(x).detach(), module.apply_gradients

    def apply(*args: Any) -> Tensor:
        norm = keep_gradient(*args)
        if len(module.gradients) == 1:
            module.actor.mlp[-1].bias.data += 0.3
        return norm

    module.apply_gradients = apply
    first, second = actor_gradients(module, batch)
    new = module.actor(x)
    ratio = (new.log_prob(batch.sample) - old.log_prob(batch.sample)).exp().detach()
    keep = (ratio >= 0.2) & (ratio <= 2.0)
    assert 0 < keep.sum() < keep.numel()
    source = new.detach() if regenerate else old
    sample = new.mean + new.std * (batch.sample - source.mean) / source.std
    surrogate = (keep * ratio * (batch.action_grad * sample).sum(-1)).mean()
    assert_gradients_equal(second, torch.autograd.grad(-surrogate, list(module.actor.parameters())))
    # in the first epoch there is no difference
    other = captured(RPO, actor_epochs=1, kl_coef=0.0, entropy_coef=0.0, regenerate_actions=not regenerate)
    assert_gradients_equal(actor_gradients(other, Collector(restless(), H, seed=1).collect(other))[0], first)


@pytest.mark.parametrize("lam", [1.0, 0.8])
def test_action_gradients_are_those_of_every_step_s_own_lambda_return(lam: float) -> None:
    module = captured(RPO, entropy_coef=0.3, gradient_lambda=lam)
    batch = Collector(restless(), H, seed=1).collect(module)
    assert batch.done.any()
    found, cut = module.action_gradients(batch)
    assert cut == 0.0
    for step in range(H):

        def objective(window: Window, step: int = step) -> Tensor:
            value = torch.where(window.alive, module.critics.mean(module.end_state(window)), 0.0)
            after = value[-1]
            for t in range(H - 1, step - 1, -1):
                own = value[t]
                goes_on = torch.where(window.done[t], own, (1.0 - lam) * own + lam * after) if t < H - 1 else own
                after = window.reward[t] + module.discount * goes_on
            return after.sum()

        alone = captured(RPO, entropy_coef=0.3)
        alone.window_objective = objective
        own = Collector(restless(), H, seed=1).collect(alone).action_grad[step]
        weight = segment_discounts(batch.done, module.discount)[step][:, None]
        torch.testing.assert_close(found[step], weight * own)


def test_long_action_gradients_are_shortened_and_counted() -> None:
    module = captured(RPO, gradient_limit=3.0)
    batch = Collector(restless(), H, seed=1).collect(module)
    whole = torch.ones_like(batch.action_grad)
    whole[0], whole[1, 0] = 0.0, 40.0
    found, cut = module.action_gradients(dataclasses.replace(batch, action_grad=whole))
    assert found[1, 0].tolist() == [3.0]
    assert torch.equal(found.sum(), (H - 1) * N + 2.0 + torch.zeros(()))
    assert float(cut) == pytest.approx(1 / (H * N))
    zeros = torch.zeros_like(whole)
    assert torch.equal(module.action_gradients(dataclasses.replace(batch, action_grad=zeros))[0], zeros)


def updated(batch: RolloutBatch, hidden: tuple[int, ...] = (16, 16), **options: Any) -> tuple[RPO, dict[str, Any]]:
    """Return a module, always with the same weights, after its update with a window, and the metrics."""
    torch.manual_seed(0)
    module = RPO(3, 1, total_env_steps=4096, hidden=hidden, **options)
    optimizers = module.configure_optimizers()
    module.scheduled_optimizers = lambda *initial: optimizers  # type: ignore[method-assign]
    module.hook = lambda *args: None  # type: ignore[method-assign]
    return module, module.update(batch)


def test_kl_beyond_its_limit_is_taken_back_on_the_line_to_the_old_weights() -> None:
    torch.manual_seed(0)
    start = RPO(3, 1, total_env_steps=4096, hidden=(16, 16))
    batch = Collector(PointMass(N, seed=3), H, seed=0).collect(start)
    free, whole = updated(batch, actor_lr=5e-3)
    assert float(whole["actor/step_left"]) == 1.0
    limit = float(whole["actor/kl"]) / 5.0
    held, part = updated(batch, actor_lr=5e-3, kl_limit=limit)
    left = float(part["actor/step_left"])
    assert 0.9 * limit < float(part["actor/kl"]) <= limit
    for old, far, found in zip(start.actor.parameters(), free.actor.parameters(), held.actor.parameters(), strict=True):
        torch.testing.assert_close(found, old + left * (far - old))
    wide, metrics = updated(batch, actor_lr=5e-3, kl_limit=6.0 * limit)  # that changes nothing, to the bit
    assert float(metrics["actor/step_left"]) == 1.0
    for far, found in zip(free.parameters(), wide.parameters(), strict=True):
        assert torch.equal(found, far)


def test_critic_regresses_on_soft_lambda_returns_in_consecutive_minibatches() -> None:
    module = captured(RPO, critic_epochs=1, critic_minibatches=4, entropy_coef=0.3)
    batch = Collector(restless(), H, seed=1).collect(module)
    x = module.normalizer(batch.obs)
    module.fit_critics(batch, batch.reward + batch.bonus, Any, torch.Generator())
    target = brute_force_lambda_return(batch.reward + batch.bonus, batch.next_value, batch.done, 0.99, 0.95)
    assert len(module.gradients) == 4
    for i, ours in enumerate(module.gradients):
        rows = slice(2 * i, 2 * i + 2)
        error = torch.stack([critic(x[rows])[..., 0] - target[rows] for critic in module.critics.ensemble])
        expected = torch.autograd.grad(error.square().mean(), list(module.critics.ensemble.parameters()))
        assert_gradients_equal(ours, expected)


def test_critics_in_bf16_regress_on_the_same_targets_and_leave_the_policy_alone() -> None:
    torch.manual_seed(0)
    batch = Collector(PointMass(N, seed=3), H, seed=0).collect(RPO(3, 1, total_env_steps=4096, hidden=(64, 64)))
    batch = dataclasses.replace(batch, reward=batch.reward + 300.0)  # values that bf16 could not tell apart
    modules, metrics = zip(*(updated(batch, (64, 64), critic_precision=each) for each in ("32", "bf16")), strict=True)
    full, half = modules
    full_loss, half_loss = (float(each["critic/loss"]) for each in metrics)
    assert full_loss != half_loss
    assert half_loss == pytest.approx(full_loss, rel=0.02)
    for ours, theirs in zip(half.actor.parameters(), full.actor.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with torch.autocast("cpu", torch.bfloat16):
        value = half.critics.ensemble(torch.randn(500, 3))
    assert value.dtype == torch.float32
    assert len(value.unique()) > 900  # the output layer is not rounded to bf16


def test_an_unknown_critic_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="critic_precision must be one of 32, bf16, not 'bf16-mixed'"):
        RPO(3, 1, total_env_steps=4096, critic_precision="bf16-mixed")  # type: ignore[arg-type]


def test_shuffled_minibatches_cover_the_window_once_per_pass() -> None:
    module = captured(RPO, critic_epochs=1, critic_minibatches=4, shuffle=True)
    batch = Collector(restless(), H, seed=1).collect(module)
    seen = []
    module.critics.ensemble.forward = lambda x: seen.append(x) or torch.zeros(2, len(x), requires_grad=True)
    module.apply_gradients = lambda *args: torch.zeros(())
    module.fit_critics(batch, batch.reward, Any, torch.Generator().manual_seed(0))
    rows, expected = torch.cat(seen), module.normalizer(batch.obs).flatten(0, 1)
    assert not torch.equal(rows, expected)
    assert sorted(rows.tolist()) == sorted(expected.tolist())


def test_targets_may_take_the_smallest_critic_while_the_actor_takes_the_mean() -> None:
    module = make_rpo(target_reduction="min")
    obs = torch.randn(5, 3)
    values = module.critics.ensemble(module.normalizer(obs))
    assert torch.equal(module.critics.bootstrap(module.normalizer(obs)), values.amin(0))
    assert torch.equal(module.value(obs), values.mean(0))


def test_normaliser_learns_from_the_window_after_the_update() -> None:
    module, data = make_rpo(), make_data(1)
    seen = {}

    class Watch(Record):
        def on_rollout_end(self, module: RPO, batch: RolloutBatch) -> None:
            seen["before"] = module.normalizer.mean.clone()
            seen["batch"] = batch

        def on_actor_epoch_end(self, module: RPO, epoch: int, metrics: dict[str, Tensor]) -> None:
            assert torch.equal(seen["before"], module.normalizer.mean)

    make_trainer(callbacks=[Watch()]).fit(module, datamodule=data)
    assert float(module.normalizer.count) == 1 + 64
    total = seen["batch"].obs.double().sum((0, 1))
    torch.testing.assert_close(module.normalizer.mean, total / 65)


def test_a_skipped_window_changes_only_the_counters() -> None:
    class Skip(Record):
        def on_rollout_end(self, module: RPO, batch: RolloutBatch) -> None:
            module.skip_update = module.iteration == 1

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            states.append(snapshot(pl_module))
            super().on_train_batch_end(trainer, pl_module, *args)

    states: list[dict[str, Tensor]] = []
    module, record = make_rpo(), Skip()
    make_trainer(callbacks=[record]).fit(module, datamodule=make_data(3))
    assert largest_difference(states[0], states[1]) == 0.0
    assert largest_difference(states[1], states[2]) > 0
    assert module.iteration == 3
    assert module.env_steps == 3 * 64
    assert "critic/loss" not in record.metrics[1]
    assert "critic/loss" in record.metrics[2]


def test_a_gradient_that_is_not_finite_is_refused_and_counted() -> None:
    module, data = make_rpo(critic_epochs=1, critic_minibatches=1), make_data(1)

    class Poison(Record):
        def on_rollout_end(self, module: RPO, batch: RolloutBatch) -> None:
            before.update(snapshot(module))
            batch.reward[0, 0] = 1e30  # whose square is no number

    before: dict[str, Tensor] = {}
    record = Poison()
    make_trainer(callbacks=[record]).fit(module, datamodule=data)
    after = snapshot(module)
    assert module.nonfinite_updates == 1
    assert record.metrics[0]["nan/skipped_updates"] == 1
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("critic"))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("actor"))


def test_gradients_are_clipped_to_the_norm_and_the_norm_before_is_returned() -> None:
    module = make_rpo()
    parameters = list(module.actor.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    for scale, size in ((100.0, 0.5), (1e-4, None)):
        before = torch.cat([p.detach().reshape(-1) for p in parameters])
        loss = scale * module.actor(torch.ones(4, 3)).mean.sum()
        norm = module.apply_gradients(optimizer, parameters, loss, max_norm=0.5)
        step = torch.cat([p.detach().reshape(-1) for p in parameters]) - before
        assert float(step.norm()) == pytest.approx(float(norm) if size is None else size, rel=1e-2)
        assert (float(norm) > 0.5) == (size is not None)


@pytest.mark.parametrize(
    ("schedule", "halfway"), [("exponential", (5e-4 * 1e-5) ** 0.5), ("linear", 2.55e-4), ("constant", 5e-4)]
)
def test_learning_rate_follows_the_environment_steps(schedule: str, halfway: float) -> None:
    module = make_rpo(lr_schedule=schedule)
    assert module.learning_rate(5e-4) == 5e-4
    module.env_steps = module.total_env_steps // 2
    assert module.learning_rate(5e-4) == pytest.approx(halfway)
    module.env_steps = 3 * module.total_env_steps
    assert module.learning_rate(5e-4) == pytest.approx(5e-4 if schedule == "constant" else 1e-5)
    assert module.budget_reached


@pytest.mark.parametrize("discounted", [False, True])
def test_kl_coefficient_is_a_buffer_that_acts(discounted: bool) -> None:
    module = captured(RPO, actor_epochs=2, surrogate_coef=0.0, entropy_coef=0.0, discounted_regularizers=discounted)
    batch = Collector(restless(), H, seed=1).collect(module)
    x = module.normalizer(batch.obs)
    old, losses = module.actor(x).detach(), []

    def apply(optimizer: Any, params: Any, loss: Tensor, max_norm: float) -> Tensor:
        module.actor.mlp[-1].bias.data += 0.5
        losses.append(float(loss.detach()))
        return torch.zeros(())

    module.apply_gradients = apply
    module.kl_coef.fill_(3.0)
    new = copy.deepcopy(module.actor)
    new.mlp[-1].bias.data += 0.5
    kl = gaussian_kl(old, new(x).detach())
    weight = segment_discounts(batch.done, 0.99) if discounted else torch.ones(H, N)
    module.improve_actor(batch, Any, torch.Generator())
    assert losses[1] == pytest.approx(3.0 * float((weight * kl).mean()))
    assert float(module.hooked[1]["kl"]) == pytest.approx(float(kl.mean()))
    assert "kl_coef" in module.state_dict()


def test_shares_are_reported_over_the_epochs_after_the_first() -> None:
    module = captured(RPO, actor_epochs=3)
    batch = Collector(restless(), H, seed=1).collect(module)

    def apply(*args: Any) -> Tensor:
        module.actor.mlp[-1].bias.data += 0.5
        return torch.zeros(())

    module.apply_gradients = apply
    metrics = module.improve_actor(batch, Any, torch.Generator())
    for name in ("effective_samples", "max_ratio"):
        first, *later = (float(epoch[name]) for epoch in module.hooked)
        assert float(metrics[f"actor/{name}"]) == pytest.approx(sum(later) / 2)
        assert first == 1.0 != later[0]
    assert float(metrics["actor/kl"]) > float(module.hooked[-1]["kl"]) > 0


def test_noise_of_the_update_comes_from_the_window_alone() -> None:
    def updated(seed: int) -> dict[str, Tensor]:
        module, data = make_rpo(), make_data(1)

        class Reseed(Record):
            def on_rollout_end(self, module: RPO, batch: RolloutBatch) -> None:
                batch.seed = seed

        run_fabric(module, data, callbacks=[Reseed()])
        return snapshot(module)

    assert largest_difference(updated(1), updated(1)) == 0.0
    assert largest_difference(updated(1), updated(2)) > 0.0


def test_acting_is_reproducible_bounded_and_deterministic_on_request() -> None:
    module, obs = make_rpo(), torch.randn(5, 3)
    first, again = (module.act(obs, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.abs().max() <= 1
    assert not first.requires_grad
    torch.testing.assert_close(module.act(obs, deterministic=True), module.policy(obs).mean.tanh())


def mean_return(module: RPO) -> float:
    """Return of 64 fresh episodes of 20 steps with deterministic actions; a failed episode earns nothing more."""
    env = PointMass(64, seed=11, auto_reset=False)
    obs, alive, total = env.detach(), torch.ones(64), torch.zeros(64)
    for _ in range(20):
        step = env.step(module.act(obs, deterministic=True))
        total += alive * step.reward
        alive *= (~step.terminated).float()
        obs = step.obs
    return float(total.mean())


def test_it_learns_to_hold_the_point() -> None:
    module = make_rpo(total_env_steps=40 * 16 * 32, hidden=(32, 32), actor_lr=2e-3, critic_lr=2e-3, entropy_coef=0.02)
    before = mean_return(module)
    metrics = run_fabric(module, make_data(40, num_envs=32, horizon=16))
    assert mean_return(module) > 17 > before + 5
    assert metrics[-1]["train/episode_length"] > 19.5
