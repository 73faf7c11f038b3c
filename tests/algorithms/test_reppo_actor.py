"""REPPO: the actor's objectives, the KL constraint, the multipliers."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from rpo_lightning.algorithms import REPPO
from rpo_lightning.algorithms.reppo_samples import Samples
from rpo_lightning.nn import SquashedGaussian
from tests.algorithms.captured import H, N, assert_gradients_equal
from tests.algorithms.reppo_window import (
    ALPHA,
    BETA,
    DOUBLE,
    acting,
    generator,
    moved,
    prepared,
    trainable,
    window,
)

OPTIMIZERS = [None, None, None]
B = H * N
TINY, HUGE = 1e-9, 1e9


def improved(module: REPPO, part: Samples) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Return the gradient of the actor's step and its metrics."""
    module.gradients.clear()
    metrics = module.improve_actor(part, OPTIMIZERS, generator(2))
    return module.gradients[0], metrics


def noise(seed: int = 2) -> Tensor:
    return torch.randn(B, 1, generator=generator(seed), dtype=DOUBLE)


def soft_cost(module: REPPO, part: Samples) -> Tensor:
    """Return alpha log pi - Q (B,) of the actions that the step draws."""
    action, log_prob = acting(module, part.x, noise())
    return ALPHA * log_prob - module.critic(part.x, action)


def exact_kl(module: REPPO, part: Samples) -> Tensor:
    policy = module.actor(part.x)
    old, new = td.Normal(part.mean, part.log_std.exp()), td.Normal(policy.mean, policy.log_std.exp())
    return td.kl_divergence(old, new).sum(-1)


def gradient(module: REPPO, loss: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, list(module.actor.parameters()))


# The KL constraint


def test_every_state_either_climbs_or_is_pulled_back() -> None:
    module, batch = prepared()
    part = moved(module, batch)
    kl = exact_kl(module, part)
    module.kl_target = float(kl.detach().median())
    beyond = (kl >= module.kl_target).tolist()
    ours, metrics = improved(module, part)
    cost = soft_cost(module, part)
    loss = sum(BETA * kl[i] if beyond[i] else cost[i] for i in range(B)) / B
    assert_gradients_equal(ours, gradient(module, loss))
    assert float(metrics["actor/beyond_kl"]) == pytest.approx(sum(beyond) / B)
    assert 0.4 < sum(beyond) / B < 0.6
    assert float(metrics["actor/loss"]) == pytest.approx(float(loss.detach()))
    log_prob = acting(module, part.x, noise())[1]
    assert float(metrics["actor/entropy"]) == pytest.approx(-float(log_prob.detach().mean()))


def test_states_beyond_the_bound_do_not_see_the_values() -> None:
    module, batch = prepared(kl_target=TINY)
    part = moved(module, batch)
    first, _ = improved(module, part)
    module.critic.output.weight.data *= 5.0
    module.log_temperature.data += 1.0
    second, _ = improved(module, part)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert_gradients_equal(first, gradient(module, BETA * exact_kl(module, part).mean()))


def test_states_within_the_bound_do_not_feel_the_constraint() -> None:
    module, batch = prepared(kl_target=HUGE)
    part = moved(module, batch)
    first, _ = improved(module, part)
    module.log_kl_coef.data += 3.0
    second, _ = improved(module, part._replace(mean=part.mean + 0.1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert_gradients_equal(first, gradient(module, soft_cost(module, part).mean()))


@pytest.mark.parametrize("kl_target", [TINY, HUGE])
@pytest.mark.parametrize(("kl_control", "pull"), [("penalty", BETA), ("none", 0.0)])
def test_a_penalty_pulls_every_state_and_no_control_none(kl_control: Any, pull: float, kl_target: float) -> None:
    module, batch = prepared(kl_control=kl_control, kl_target=kl_target)
    part = moved(module, batch)
    loss = soft_cost(module, part).mean() + pull * exact_kl(module, part).mean()
    assert_gradients_equal(improved(module, part)[0], gradient(module, loss))


def distant() -> tuple[SquashedGaussian, SquashedGaussian]:
    old = SquashedGaussian(torch.tensor([[0.3, -1.0]], dtype=DOUBLE), torch.tensor([[-1.0, 0.5]], dtype=DOUBLE))
    new = SquashedGaussian(torch.tensor([[0.0, -0.5]], dtype=DOUBLE), torch.tensor([[-0.5, 0.0]], dtype=DOUBLE))
    return old, new


def test_the_analytic_kl_is_the_mean_of_the_sampled_one() -> None:
    old, new = distant()
    forward, backward = (
        td.kl_divergence(*[td.Normal(p.mean, p.std) for p in pair]).sum() for pair in ((old, new), (new, old))
    )
    assert abs(forward - backward) > 0.1
    analytic = prepared()[0].kl(old, new, generator(3))
    torch.testing.assert_close(analytic, forward[None])
    sampled = prepared(kl_estimator="mc", kl_samples=200_000)[0].kl(old, new, generator(3))
    assert float(sampled) == pytest.approx(float(forward), abs=0.01)


@pytest.mark.parametrize("k", [1, 16])
def test_the_sampled_kl_is_a_mean_of_k_differences_of_densities_of_the_action(k: int) -> None:
    old, new = distant()
    module, _ = prepared(kl_estimator="mc", kl_samples=k)
    kl = module.kl(old, new, generator(3))
    assert kl.shape == (1,)
    draws = torch.randn(k, 1, 2, generator=generator(3), dtype=DOUBLE)
    total = 0.0
    for j in range(k):
        action = (old.mean + old.std * draws[j]).tanh()
        densities = [td.TransformedDistribution(td.Normal(p.mean, p.std), td.TanhTransform()) for p in (old, new)]
        total += float((densities[0].log_prob(action) - densities[1].log_prob(action)).sum()) / k
    assert float(kl) == pytest.approx(total)


# Multipliers


@pytest.mark.parametrize("kl_target", [TINY, 0.05, HUGE])
@pytest.mark.parametrize("compat", [None, "paper"])
def test_multipliers_weigh_how_far_entropy_and_kl_are_from_their_targets(kl_target: float, compat: Any) -> None:
    module, batch = prepared(kl_target=kl_target, compat=compat, kl_estimator="analytic", target_entropy_per_dim=0.8)
    part = moved(module, batch)
    network, _ = improved(module, part)
    entropy = -float(acting(module, part.x, noise())[1].detach().mean())
    kl = float(exact_kl(module, part).detach().mean())
    expected = [ALPHA * (entropy + 0.8), -BETA * (kl - kl_target)]
    if compat == "paper":
        assert len(module.gradients) == 1
        assert len(network) == len(list(module.actor.parameters())) + 2
        ours = network[-2:]
    else:
        ours = module.gradients[1]
    assert [float(value) for value in ours] == pytest.approx(expected)


@pytest.mark.parametrize(("entropy", "rises"), [(5.0, False), (-5.0, True)])
@pytest.mark.parametrize(("kl_target", "grows"), [(TINY, True), (1.0, False)])
def test_alpha_rises_below_the_target_entropy_and_beta_beyond_the_target_kl(
    entropy: float, rises: bool, kl_target: float, grows: bool
) -> None:
    module, optimizers = trainable(kl_target=kl_target, target_entropy_per_dim=entropy, multiplier_lr=0.02)
    part = module.targets(window(module), generator(1))
    module.actor.mlp[-1].bias.data += 0.3
    module.improve_actor(part, optimizers, generator(2))
    steps = [float(value) - math.log(0.01) for value in (module.log_temperature, module.log_kl_coef)]
    # Adam's first step is the rate, whatever the gradient
    assert steps == pytest.approx([0.02 if rises else -0.02, 0.02 if grows else -0.02], rel=0.01)


def test_multipliers_have_an_optimizer_of_their_own_that_does_not_decay() -> None:
    module, optimizers = trainable(actor_lr=1e-3, critic_lr=2e-3, multiplier_lr=3e-3, weight_decay=0.05)
    owners = [module.actor.parameters(), module.critic.parameters(), [module.log_temperature, module.log_kl_coef]]
    assert len(optimizers) == 3
    for optimizer, owned, lr, decay in zip(optimizers, owners, (1e-3, 2e-3, 3e-3), (0.05, 0.05, 0.0), strict=True):
        (group,) = optimizer.param_groups
        assert [id(param) for param in group["params"]] == [id(param) for param in owned]
        assert (group["lr"], group["weight_decay"], group["betas"]) == (lr, decay, (0.9, 0.999))
    assert isinstance(optimizers[0], torch.optim.AdamW)
    assert isinstance(optimizers[1], torch.optim.AdamW)


def test_the_paper_s_multipliers_decay_with_the_actor() -> None:
    module, optimizers = trainable(actor_lr=1e-3, critic_lr=2e-3, multiplier_lr=3e-3, compat="paper")
    assert len(optimizers) == 2
    (group,) = optimizers[0].param_groups
    owned = [*module.actor.parameters(), module.log_temperature, module.log_kl_coef]
    assert [id(param) for param in group["params"]] == [id(param) for param in owned]
    assert (group["lr"], group["weight_decay"]) == (1e-3, 0.01)
    assert [id(param) for param in optimizers[1].param_groups[0]["params"]] == [id(p) for p in module.critic.parameters()]


# Saturated actions


@pytest.mark.parametrize("side", [20.0, -20.0])
@pytest.mark.parametrize("compat", [None, "paper"])
def test_saturated_actions_have_finite_densities_and_the_right_slope(side: float, compat: Any) -> None:
    module, _ = trainable(compat=compat)
    module.actor.mlp[-1].bias.data[0] += side
    batch = window(module)
    part = module.targets(batch, generator(1))
    assert (part.next_action.abs() == 1.0).any()
    assert part.target.isfinite().all()
    metrics = module.update(batch)
    assert all(torch.as_tensor(value).isfinite().all() for value in metrics.values())
    assert module.nonfinite_updates == 0

    mean = torch.full((B, 1), side, requires_grad=True)
    policy = SquashedGaussian(mean, torch.full((B, 1), -0.7))
    u = policy.from_noise(noise().float())
    (slope,) = torch.autograd.grad(policy.action_log_prob(u).sum(), mean)
    torch.testing.assert_close(slope, torch.full((B, 1), math.copysign(2.0, side)))
    cost, _ = module.objective(part, policy, generator(2))
    (slope,) = torch.autograd.grad(cost.sum(), mean)
    torch.testing.assert_close(slope, torch.full((B, 1), math.copysign(2.0, side) * float(module.temperature)))


# Score functions


class Valley(nn.Module):
    """Value -3 (a - 0.4)^2, or its sign: 1 where a > 0.4."""

    def __init__(self, step: bool = False) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor, action: Tensor) -> Tensor:
        away = action[..., 0] - 0.4
        return (away > 0).to(away.dtype) if self.step else -3.0 * away.square()


def objective_gradient(module: REPPO, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard error (2,) of d objective / d (mean, log std) over samples of one policy."""
    leaves = torch.tensor([[0.2, -0.6]], dtype=DOUBLE).expand(count, 2).clone().requires_grad_()
    policy = SquashedGaussian(leaves[:, :1], leaves[:, 1:])
    draw = generator(seed)
    part = Samples(*[torch.zeros(count, 1, dtype=DOUBLE)] * len(Samples._fields))
    cost, _ = module.objective(part, policy, draw)
    assert cost.shape == (count,)
    (rows,) = torch.autograd.grad(cost.sum(), leaves)
    return rows.mean(0), rows.std(0) / count**0.5


def test_the_likelihood_ratio_weighted_by_the_value_has_the_pathwise_gradient_on_average() -> None:
    count, gradients = 200_000, []
    for kind in ("pathwise", "score_q"):
        module, _ = prepared(policy_gradient=kind)
        module.critic = Valley()
        gradients.append(objective_gradient(module, count, seed=4))
    (pathwise, fine), (score, coarse) = gradients
    assert pathwise.abs().min() > 0.3
    assert coarse.max() < 0.03
    assert ((score - pathwise).abs() < 4 * (fine.square() + coarse.square()).sqrt()).all()
    # a baseline keeps it quiet where the value is far from 0
    raised = copy.deepcopy(module)
    raised.critic.forward = lambda x, action: Valley()(x, action) + 1000.0
    torch.testing.assert_close(objective_gradient(raised, count, seed=4)[0], score, rtol=1e-6, atol=1e-6)


def test_the_likelihood_ratio_needs_no_slope_of_the_value() -> None:
    module, _ = prepared(policy_gradient="score_q")
    module.critic = Valley(step=True)
    score, error = objective_gradient(module, 200_000, seed=4)
    # d P(a > 0.4) / d mean, and that of the entropy
    at = (math.atanh(0.4) - 0.2) / math.exp(-0.6)
    density = math.exp(-0.5 * at**2) / math.sqrt(2 * math.pi) / math.exp(-0.6)
    module.critic.forward = lambda x, action: torch.zeros_like(action[..., 0])
    module.policy_gradient = "pathwise"
    entropy = objective_gradient(module, 200_000, seed=4)[0]
    assert float(score[0]) == pytest.approx(float(entropy[0]) - density, abs=4 * float(error[0]) + 0.01)
    assert density > 0.3


def test_both_terms_of_the_advantage_are_in_the_unit_of_the_window() -> None:
    module, batch = prepared(policy_gradient="score_gae", return_scaling=True)
    module.scaler.largest.fill_(50.0)
    batch.reward *= 300.0
    draw = generator(1)
    torch.randn(H, N, 1, generator=draw, dtype=DOUBLE)
    action, _ = acting_before(batch, torch.randn(H, N, 1, generator=draw, dtype=DOUBLE))
    part = module.targets(batch, generator(1))
    assert float(module.scale) > 2.0
    with torch.no_grad():
        baseline = module.critic(part.x, action.flatten(0, 1))[:, None] * 0.5 / module.scale
    advantage = part.target - baseline
    advantage = (advantage - advantage.mean()) / advantage.std(correction=0)
    torch.testing.assert_close(part.advantage, advantage, rtol=1e-6, atol=1e-6)


def test_the_generalised_advantage_is_clipped_as_in_ppo() -> None:
    module, batch = prepared(policy_gradient="score_gae", kl_control="none")
    part = moved(module, batch, by=0.2)
    draw = generator(1)
    torch.randn(H, N, 1, generator=draw, dtype=DOUBLE)  # actions of the states reached
    action, _ = acting_before(batch, torch.randn(H, N, 1, generator=draw, dtype=DOUBLE))
    with torch.no_grad():
        advantage = part.target - module.critic(part.x, action.flatten(0, 1))[:, None]
    advantage = (advantage - advantage.mean()) / advantage.std(correction=0)
    torch.testing.assert_close(part.advantage, advantage, rtol=1e-6, atol=1e-6)

    policy = module.actor(part.x)
    new, old = td.Normal(policy.mean, policy.log_std.exp()), td.Normal(part.mean, part.log_std.exp())
    ratio = (new.log_prob(part.sample) - old.log_prob(part.sample)).sum(-1).exp()
    a = advantage[:, 0]
    outside = ((a > 0) & (ratio > 1.2)) | ((a < 0) & (ratio < 0.8))
    assert 3 < int(outside.sum()) < B - 3
    surrogate = torch.where(outside, 0.0, ratio * a)
    loss = (ALPHA * acting(module, part.x, noise())[1] - surrogate).mean()
    assert_gradients_equal(improved(module, part)[0], gradient(module, loss))


def acting_before(batch: Any, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return actions of the policy that acted, whose parameters the window holds, and their samples."""
    u = batch.mean + batch.log_std.exp() * draws
    return u.tanh(), u


@pytest.mark.parametrize("kind", ["pathwise", "score_q", "score_gae"])
def test_every_kind_of_gradient_learns_under_the_constraint(kind: Any) -> None:
    module, _ = trainable(policy_gradient=kind, actor_lr=1e-2, kl_target=1e-4)
    metrics = module.update(window(module))
    assert all(torch.as_tensor(value).isfinite().all() for value in metrics.values())
    assert 0.0 < float(metrics["actor/beyond_kl"]) < 1.0
