"""REPPO: the slope of the action value, supervised by a differentiable simulator."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from rpo_lightning.algorithms import REPPO
from rpo_lightning.algorithms.reppo_slope import slope_error
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.captured import H, N, assert_gradients_equal, captured, restless
from tests.algorithms.reppo_window import ALPHA, DOUBLE, generator, stirred, trainable, window
from tests.reference import window_noise
from tests.toy import Opaque

DISCOUNT = 0.9


def supervised(**options: Any) -> REPPO:
    options = {"critic_width": 16, "value_range": (-20.0, 20.0), "bins": 41, "action_grad_coef": 0.5, **options}
    return stirred(captured(REPPO, discount=DISCOUNT, **options))


def slopes(module: REPPO, collector: Collector, unit: float) -> Tensor:
    """Return d/du_t (H, N, 1) of the soft return from t to the end of its segment, acted out step by step.

    A soft return is of r_t + sum of gamma^k (r_{t+k} + alpha h_{t+k}), and gamma^k (Q + alpha h) at the mode of the state reached last.
    """
    noise, entropy_noise = window_noise(collector, 1)
    env = collector.env
    delta = torch.zeros(H, N, 1, dtype=DOUBLE, requires_grad=True)
    obs, rows = env.detach(), []
    for t in range(H):
        policy = module.policy(obs)
        entropy = policy.entropy(entropy_noise[t])
        step = env.step((policy.mean + policy.std * noise[t] + delta[t]).tanh())
        rows.append((step, entropy))
        obs = step.obs
    gradient = torch.zeros(H, N, 1, dtype=DOUBLE)
    for n in range(N):
        for t in range(H):
            total, weight = 0.0, 1.0
            for k in range(t, H):
                step, entropy = rows[k]
                total = total + weight * step.reward[n]
                if k > t:
                    total = total + weight * unit * ALPHA * entropy[n]
                weight *= DISCOUNT
                if step.terminated[n]:
                    break
                if step.truncated[n] or k == H - 1:
                    x = module.normalizer(step.final_obs[n])
                    policy = module.actor(x)
                    soft = module.critic(x, policy.mean.tanh()) + ALPHA * policy.entropy(torch.zeros(1, dtype=DOUBLE))
                    total = total + weight * unit * soft
                    break
            gradient[t, n] = torch.autograd.grad(total, delta, retain_graph=True)[0][t, n]
    return gradient


@pytest.mark.parametrize("unit", [None, 3.0], ids=["rewards", "scaled rewards"])
def test_cached_gradients_over_their_discount_are_slopes_of_the_closed_loop_return(unit: float | None) -> None:
    module = supervised(return_scaling=unit is not None)
    module.scaler.largest.fill_(100.0 * (unit or 1.0))
    env = restless()
    expected = slopes(module, Collector(env, H, seed=1), unit or 1.0)
    batch = Collector(restless(), H, seed=1).collect(module)
    assert batch.terminated[:-1].any()
    assert batch.truncated[:-1].any()
    batch.reward *= 100.0  # raises the unit between collection and use
    ours = module.targets(batch, generator(1)).slope.view(H, N, 1)
    after = float(module.scale)
    assert (after > 3.5) == (unit is not None)
    torch.testing.assert_close(ours, expected / after, rtol=1e-5, atol=1e-6)
    assert expected.abs().max() > 0.1


def test_the_action_s_own_entropy_is_no_part_of_its_slope() -> None:
    """The last action of a failure moves its reward only."""
    module = supervised(return_scaling=False)
    batch = Collector(restless(), H, seed=1).collect(module)
    ours = module.targets(batch, generator(1)).slope.view(H, N, 1)
    action = batch.sample.tanh()
    alone = -0.1 * action * (1 - action.square())
    torch.testing.assert_close(ours[batch.terminated], alone[batch.terminated], rtol=1e-5, atol=1e-6)


def shortened(gradients: Tensor) -> Tensor:
    """Return gradients no longer than ten times the median length."""
    rows = []
    limit = 10.0 * sorted(float(row.norm()) for row in gradients)[(len(gradients) - 1) // 2]
    for row in gradients:
        rows.append(row * min(1.0, limit / float(row.norm())))
    return torch.stack(rows)


@pytest.mark.parametrize("critic_loss", ["hl_gauss", "mse"])
def test_the_slope_of_the_value_learns_its_relative_error(critic_loss: Any) -> None:
    module = supervised(critic_loss=critic_loss, aux_coef=0.0)
    batch = Collector(restless(), H, seed=1).collect(module)
    part = module.targets(batch, generator(1))
    encoder = copy.deepcopy(module.critic.encoder).requires_grad_(False)
    module.fit_critic(part._replace(sample=part.sample.clone()), encoder, [None] * 3)
    supervised_gradients = module.gradients.pop()
    module.needs_action_grad = False
    module.fit_critic(part, encoder, [None] * 3)
    plain = module.gradients.pop()

    u = part.sample.clone().requires_grad_()
    total = module.critic(part.x, u.tanh()).sum()
    (slope,) = torch.autograd.grad(total, u, create_graph=True)
    known = shortened(part.slope)
    assert (known != part.slope).any() == (critic_loss == "hl_gauss")  # by the window each collects
    error = ((slope - known) ** 2).sum() / (known**2).sum()
    params = list(module.critic.parameters())
    expected = torch.autograd.grad(error, params, allow_unused=True)
    expected = [torch.zeros_like(p) if g is None else 0.5 * g for p, g in zip(params, expected, strict=True)]
    assert_gradients_equal(tuple(a - b for a, b in zip(supervised_gradients, plain, strict=True)), tuple(expected))


def mismatch(module: REPPO, batch: RolloutBatch) -> float:
    """Return the mean square distance of dQ/du from the simulator's slopes, relative to theirs."""
    part = module.targets(batch, generator(1))
    u = part.sample.clone().requires_grad_()
    (slope,) = torch.autograd.grad(module.critic(part.x, u.tanh()).sum(), u)
    known = shortened(part.slope)
    return float((slope - known).square().mean() / known.square().mean())


def test_supervision_brings_the_slopes_together() -> None:
    errors = []
    for coef in (1.0, 1e-9):
        options = {"value_range": (-20.0, 20.0), "bins": 41, "return_scaling": False, "minibatch_size": 1000}
        module = stirred(trainable(action_grad_coef=coef, critic_lr=1e-2, epochs=30, **options)[0])
        batch = window(module)
        before = mismatch(module, batch)
        module.update(batch)
        errors.append((before, mismatch(module, batch)))
    (before, together), (_, alone) = errors
    assert before > 1.0
    assert together < 0.9
    assert alone > 1.0


def test_only_supervision_needs_a_differentiable_task() -> None:
    assert trainable(action_grad_coef=0.1)[0].needs_action_grad
    with pytest.raises(ValueError, match="Opaque is not differentiable, but REPPO learns from action-gradients"):
        Collector(Opaque(4), 3, 0).collect(trainable(action_grad_coef=0.1)[0])
    module, _ = trainable()
    batch = Collector(Opaque(8), 6, 0).collect(module)
    assert batch.action_grad is None
    module.update(batch)


def test_broken_gradients_teach_nothing() -> None:
    module = supervised(aux_coef=0.0)
    batch = Collector(restless(), H, seed=1).collect(module)
    batch.nonfinite_grad[1, 2] = batch.nonfinite_grad[3, 0] = True
    part = module.targets(batch, generator(1))
    assert part.slope.isnan().sum() == 2
    encoder = copy.deepcopy(module.critic.encoder).requires_grad_(False)
    known = part.slope[:, 0].isfinite()
    assert known.sum() == len(known) - 2
    module.fit_critic(part._replace(sample=part.sample.clone()), encoder, [None] * 3)
    assert all(g.isfinite().all() for g in module.gradients.pop())
    batch.nonfinite_grad[:] = True
    nothing = module.targets(batch, generator(1))
    module.fit_critic(nothing._replace(sample=part.sample.clone()), encoder, [None] * 3)
    module.needs_action_grad = False
    module.fit_critic(nothing, encoder, [None] * 3)
    plain, unsupervised = module.gradients.pop(), module.gradients.pop()
    for a, b in zip(plain, unsupervised, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_that_are_mostly_zero_still_teach() -> None:
    """Saturated actions have none."""
    known = torch.zeros(10, 1)
    known[:4] = 1.0
    assert float(slope_error(torch.zeros(10, 1), known)) == pytest.approx(1.0)
