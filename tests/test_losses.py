"""Loss terms against closed forms."""

import pytest
import torch
from torch import distributions as td

from rpo_lightning.losses import (
    clipped_surrogate,
    entropy_bonus,
    gaussian_kl,
    importance_ratio,
    inside_clip,
    regenerate,
)
from rpo_lightning.nn import SquashedGaussian


def random_policy(seed: int, shape: tuple[int, ...] = (5, 4, 3)) -> SquashedGaussian:
    mean, log_std = 0.3 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)).double()
    return SquashedGaussian(mean.requires_grad_(), log_std.requires_grad_())


def tanh_normal(policy: SquashedGaussian) -> td.Distribution:
    return td.TransformedDistribution(td.Normal(policy.mean, policy.std), td.TanhTransform())


def test_regenerated_samples_equal_the_stored_ones_and_carry_the_gradient() -> None:
    old, new = random_policy(0), random_policy(1)
    noise = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u = old.from_noise(noise).detach()
    again = regenerate(new, u)
    torch.testing.assert_close(again, u)
    mean_grad, log_std_grad = torch.autograd.grad(again.sum(), (new.mean, new.log_std))
    torch.testing.assert_close(mean_grad, torch.ones_like(u))
    torch.testing.assert_close(log_std_grad, (u - new.mean).detach())


def test_ratio_is_the_same_before_and_after_the_tanh() -> None:
    old, new = random_policy(0), random_policy(1)
    noise = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u = old.from_noise(0.5 * noise).detach()  # within the bounds that the ratio is clamped to
    action = u.tanh()
    log_ratio = (tanh_normal(new).log_prob(action) - tanh_normal(old).log_prob(action)).sum(-1)
    ratio = importance_ratio(new, old, u)
    torch.testing.assert_close(ratio, log_ratio.exp().detach(), rtol=1e-6, atol=0)
    assert not ratio.requires_grad


def test_ratio_stays_finite() -> None:
    far = SquashedGaussian(torch.full((1, 3), 100.0), torch.full((1, 3), -5.0))
    near = SquashedGaussian(torch.zeros(1, 3), torch.full((1, 3), -5.0))
    u = torch.zeros(1, 3)
    assert importance_ratio(near, far, u).isfinite().all()
    assert importance_ratio(far, near, u) > 0


def test_kl_is_old_from_new_summed_over_dimensions() -> None:
    old, new = random_policy(0), random_policy(1)
    gaussian = td.kl_divergence(td.Normal(old.mean, old.std), td.Normal(new.mean, new.std)).sum(-1)
    torch.testing.assert_close(gaussian_kl(old, new), gaussian)


def test_kl_is_the_same_after_the_tanh() -> None:
    old, new = random_policy(0, (3,)), random_policy(1, (3,))
    u = old.from_noise(torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0)).double())
    action = u.detach().tanh()
    sampled = (tanh_normal(old).log_prob(action) - tanh_normal(new).log_prob(action)).sum(-1).detach()
    difference = sampled.mean() - gaussian_kl(old, new).detach()
    assert abs(float(difference)) < 4 * float(sampled.std()) / 200_000**0.5


def test_clip_range_includes_its_ends() -> None:
    ratio = torch.tensor([0.1999, 0.2, 1.0, 2.0, 2.0001], dtype=torch.float64)
    low, high = 0.8, 1.0
    ratio[1], ratio[3] = 1.0 - low, 1.0 + high
    assert inside_clip(ratio, low, high).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (1.1, 2.0, 2.2, 2.0),  # within the range
        (0.9, -2.0, -1.8, -2.0),
        (1.5, 2.0, 2.4, 0.0),  # gone far enough the right way
        (0.5, -2.0, -1.6, 0.0),
        (0.5, 2.0, 1.0, 2.0),  # gone far the wrong way: the way back stays open
        (1.5, -2.0, -3.0, -2.0),
    ],
)
def test_clipped_surrogate_takes_the_worse_of_both(ratio: float, advantage: float, objective: float, slope: float) -> None:
    log_ratio = torch.tensor(ratio, dtype=torch.float64).log().requires_grad_()
    value = clipped_surrogate(log_ratio, torch.tensor(advantage), clip=0.2)
    assert float(value) == pytest.approx(objective)
    (gradient,) = torch.autograd.grad(value, log_ratio)
    assert float(gradient) == pytest.approx(slope * ratio)


@pytest.mark.parametrize("advantage", [2.0, 0.0, -2.0])
@pytest.mark.parametrize("log_ratio", [200.0, -200.0])
def test_clipped_surrogate_of_a_policy_far_away_is_finite(log_ratio: float, advantage: float) -> None:
    leaf = torch.tensor(log_ratio, requires_grad=True)
    value = clipped_surrogate(leaf, torch.tensor(advantage), clip=0.2)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value.isfinite()
    assert gradient.isfinite()


@pytest.mark.parametrize(("entropy", "with_offset", "without"), [(-1.5, 0.0, -1.0), (1.5, 1.0, 1.0)])
def test_entropy_bonus_scale(entropy: float, with_offset: float, without: float) -> None:
    value = torch.tensor(entropy)
    assert float(entropy_bonus(value, 1.5)) == pytest.approx(with_offset)
    assert float(entropy_bonus(value, 1.5, offset=False)) == pytest.approx(without)


def test_weighted_cached_gradients_are_unbiased_at_the_new_policy() -> None:
    """Proposition 1 on Q(a) = -(a - c)^2, where E_new[Q] = -(mean - c)^2 - std^2 is known."""
    target, samples = 0.7, 400_000
    old = SquashedGaussian(torch.tensor([0.1]).double(), torch.tensor([0.0]).double())
    new = SquashedGaussian(
        torch.tensor([0.4], dtype=torch.float64, requires_grad=True),
        torch.tensor([-0.3], dtype=torch.float64, requires_grad=True),
    )
    noise = torch.randn(samples, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = old.from_noise(noise)
    cached = -2 * (u - target)
    ratio = importance_ratio(new, old, u)

    leaves = (new.mean, new.log_std)

    def gradient(weight: torch.Tensor) -> tuple[float, float]:
        surrogate = (weight * (cached * regenerate(new, u)).sum(-1)).mean()
        return tuple(float(g) for g in torch.autograd.grad(surrogate, leaves, retain_graph=True))

    exact = (-2 * (0.4 - target), -2 * float(new.std.detach()) ** 2)
    assert gradient(ratio) == pytest.approx(exact, abs=0.02)
    unweighted = gradient(torch.ones_like(ratio))
    assert unweighted != pytest.approx(exact, abs=0.2)
