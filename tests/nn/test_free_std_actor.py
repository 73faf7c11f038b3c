"""The networks of the original SHAC: order of layers, initial weights, a standard deviation without a state."""

import math

import torch
from torch import nn
from torch.nn.functional import elu, layer_norm, linear

from rpo_lightning.nn import MLP, FreeStdActor


def first_critic() -> MLP:
    """Return a critic as the first SHAC had it."""
    return MLP(6, (16, 8), 1, activation="elu", norm_first=False, gain=math.sqrt(2.0))


def test_actor_starts_with_torch_s_own_weights_and_a_log_std_of_minus_one() -> None:
    torch.manual_seed(0)
    actor = FreeStdActor(6, 3, (16, 8))
    torch.manual_seed(0)
    expected = [nn.Linear(6, 16), nn.Linear(16, 8), nn.Linear(8, 3)]
    layers = [layer for layer in actor.modules() if isinstance(layer, nn.Linear)]
    for ours, theirs in zip(layers, expected, strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)
    assert actor.log_std.tolist() == [-1.0, -1.0, -1.0]


def test_layers_are_linear_then_elu_then_norm() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 4, 6)
    for network, output in ((FreeStdActor(6, 3, (16, 8)).mlp, 3), (first_critic(), 1)):
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
        first, _, norm, second, _, other_norm, last = network
        y = layer_norm(elu(linear(x, first.weight, first.bias)), (16,), norm.weight, norm.bias)
        y = layer_norm(elu(linear(y, second.weight, second.bias)), (8,), other_norm.weight, other_norm.bias)
        expected = linear(y, last.weight, last.bias)
        assert expected.shape == (5, 4, output)
        torch.testing.assert_close(network(x), expected)


def test_standard_deviation_is_a_parameter_that_knows_no_state() -> None:
    actor = FreeStdActor(6, 3, (16, 8))
    actor.log_std.data = torch.tensor([0.1, -0.2, 0.3])
    policy = actor(torch.randn(5, 4, 6))
    assert policy.mean.shape == (5, 4, 3)
    torch.testing.assert_close(policy.std, torch.tensor([0.1, -0.2, 0.3]).exp().expand(5, 4, 3))
    (gradient,) = torch.autograd.grad(policy.log_std.sum(), actor.log_std)
    assert gradient.tolist() == [20.0, 20.0, 20.0]


def test_critic_starts_orthogonal_with_gain_root_two_and_without_bias() -> None:
    torch.manual_seed(0)
    layers = [layer for layer in first_critic() if isinstance(layer, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        rows, columns = layer.weight.shape
        gram = layer.weight @ layer.weight.T if rows <= columns else layer.weight.T @ layer.weight
        torch.testing.assert_close(gram, 2.0 * torch.eye(min(rows, columns)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


def test_critic_keeps_its_output_out_of_bf16() -> None:
    torch.manual_seed(0)
    critic = first_critic()
    with torch.autocast("cpu", torch.bfloat16):
        value = critic(torch.randn(500, 6)) + 300.0
    assert value.dtype == torch.float32
    assert len(value.unique()) > 450
