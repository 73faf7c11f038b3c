"""Gaussian policies against torch.distributions."""

import pytest
import torch
from torch import distributions as td

from rpo_lightning.nn import ClippedGaussian, SquashedGaussian, UniformAction


def policy() -> SquashedGaussian:
    mean = torch.tensor([[0.3, -1.2], [0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor([[-0.5, 0.4], [0.8, -2.0]], dtype=torch.float64, requires_grad=True)
    return SquashedGaussian(mean, log_std)


def test_densities_before_and_after_the_tanh() -> None:
    p = policy()
    u = p.from_noise(torch.randn(2, 2, generator=torch.Generator().manual_seed(0)).double())
    before = td.Normal(p.mean, p.std)
    torch.testing.assert_close(p.log_prob(u), before.log_prob(u).sum(-1))
    after = td.TransformedDistribution(before, td.TanhTransform())
    torch.testing.assert_close(p.action_log_prob(u), after.log_prob(u.tanh()).sum(-1))


def test_action_density_is_finite_where_tanh_saturates() -> None:
    p = policy()
    u = torch.full((2, 2), 50.0, dtype=torch.float64)
    assert p.action_log_prob(u).isfinite().all()


def test_entropy_estimate_has_the_mean_and_the_gradient_of_minus_log_prob() -> None:
    p = policy()
    noise = torch.randn(100_000, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    estimate, sampled = p.entropy(noise), -p.action_log_prob(p.from_noise(noise))
    assert (estimate.mean(0) - sampled.mean(0)).abs().max() < 0.02
    leaves = (p.mean, p.log_std)
    for ours, theirs in zip(
        torch.autograd.grad(estimate.sum(), leaves, retain_graph=True),
        torch.autograd.grad(sampled.sum(), leaves, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_mode_is_squashed() -> None:
    torch.testing.assert_close(policy().mode, policy().mean.tanh())


def test_clipping_makes_the_action_and_leaves_the_density_to_the_sample() -> None:
    p = ClippedGaussian(policy().mean, policy().log_std)
    u = torch.tensor([[0.5, -3.0], [1.5, 0.9]], dtype=torch.float64)
    assert p.action(u).tolist() == [[0.5, -1.0], [1.0, 0.9]]
    torch.testing.assert_close(p.log_prob(u), td.Normal(p.mean, p.std).log_prob(u).sum(-1))
    torch.testing.assert_close(p.sample_entropy(), td.Normal(p.mean, p.std).entropy())
    assert p.mode.tolist() == [[pytest.approx(0.3), -1.0], [0.0, 1.0]]
    assert type(p.detach()) is ClippedGaussian


def test_uniform_actions_are_uniform_whatever_mean_and_std() -> None:
    p = UniformAction(torch.full((50_000,), 3.0), torch.full((50_000,), -2.0))
    action = p.action(p.from_noise(torch.randn(50_000, generator=torch.Generator().manual_seed(0))))
    ordered, ranks = (action.sort().values.double() + 1) / 2, torch.linspace(0, 1, 50_000)
    assert float((ordered - ranks).abs().max()) < 1.63 / 50_000**0.5  # Kolmogorov-Smirnov, one in a hundred


def test_uniform_actions_stay_finite_at_the_ends() -> None:
    p = UniformAction(torch.zeros(2), torch.zeros(2))
    u = p.from_noise(torch.tensor([40.0, -40.0]))
    assert u.isfinite().all()
    assert p.action(u).abs().max() <= 1.0
