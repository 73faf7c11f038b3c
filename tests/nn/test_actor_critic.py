"""PPO's network: ranges, initial weights, one trunk."""

import pytest
import torch
from torch import nn

from rpo_lightning.nn import ClippedGaussian, SharedActorCritic


def network() -> SharedActorCritic:
    torch.manual_seed(0)
    return SharedActorCritic(6, 3, (16, 8))


def test_mean_and_standard_deviation_stay_in_their_ranges() -> None:
    net = network()
    for head in (net.mean, net.std):
        head.weight.data *= 1e4
    policy, value = net(10.0 * torch.randn(500, 2, 6))
    assert isinstance(policy, ClippedGaussian)
    assert policy.mean.shape == policy.std.shape == (500, 2, 3)
    assert value.shape == (500, 2)
    assert (float(policy.mean.min()), float(policy.mean.max())) == pytest.approx((-1.0, 1.0), abs=1e-3)
    assert (float(policy.std.min()), float(policy.std.max())) == pytest.approx((0.1, 1.0), abs=1e-3)


def test_it_starts_with_wide_exploration_about_zero() -> None:
    policy, _ = network()(torch.randn(500, 6))
    assert float(policy.mean.abs().max()) < 0.1
    torch.testing.assert_close(policy.std, torch.full((500, 3), 0.9 / (1 + 2.718281828**-2) + 0.1), atol=0.01, rtol=0)


def test_exploration_can_start_narrower() -> None:
    network = SharedActorCritic(6, 3, (16, 8), std_shift=-1.0)
    assert network(torch.randn(64, 6))[0].log_std.exp().mean().item() == pytest.approx(0.34, abs=0.02)


def test_weights_start_orthogonal_with_the_gains_of_trunk_and_heads() -> None:
    net = network()
    trunk = [layer for layer in net.trunk if isinstance(layer, nn.Linear)]
    assert [type(layer).__name__ for layer in net.trunk] == ["Linear", "LayerNorm", "SiLU"] * 2
    for layer, gain in ((trunk[0], 2**0.5), (trunk[1], 2**0.5), (net.mean, 0.01), (net.std, 0.01), (net.value, 1.0)):
        rows, columns = layer.weight.shape
        gram = layer.weight @ layer.weight.T if rows <= columns else layer.weight.T @ layer.weight
        torch.testing.assert_close(gram / gain**2, torch.eye(min(rows, columns)), atol=1e-4, rtol=0)
        assert not layer.bias.any()


def test_policy_and_value_share_the_trunk() -> None:
    net = network()
    policy, value = net(torch.randn(4, 6))
    for output in (policy.mean, policy.log_std, value):
        gradients = torch.autograd.grad(output.sum(), list(net.trunk.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
