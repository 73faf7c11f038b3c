"""The networks of REPPO: layers, initial values, spread, precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from rpo_lightning.nn import ActionValue, HLGauss, MinStdActor

D, A, WIDTH = 5, 2, 32
EVERY_NORM = pytest.mark.parametrize("norm", ["layer", "rms", "none"])


def critic(norm: Any = "layer", bins: HLGauss | None = None, width: int = WIDTH) -> ActionValue:
    torch.manual_seed(0)
    return ActionValue(D, A, width, norm, bins)


def pairs(count: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, D, generator=generator), 2 * torch.rand(count, A, generator=generator) - 1


def by_hand(layers: Any, x: Tensor, norm: str) -> Tensor:
    """Return Linear -> norm -> SiLU of the first two of these layers."""
    y = x @ layers[0].weight.T + layers[0].bias
    if norm == "layer":
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    if norm == "rms":
        y = y / y.square().mean(-1, keepdim=True).sqrt()
    return y / (1 + (-y).exp())


# Critic


@EVERY_NORM
@pytest.mark.parametrize("value_range", [(-150.0, 150.0), (0.0, 150.0), (-10.0, 10.0)])
def test_values_start_at_zero(norm: str, value_range: tuple[float, float]) -> None:
    module = critic(norm, HLGauss(*value_range, 151), width=128)
    with torch.no_grad():
        assert module(*pairs()).abs().max() < 1e-4 * (value_range[1] - value_range[0])


def test_values_that_are_regressed_have_no_prior() -> None:
    module = critic()
    assert module.prior is None
    assert module.output.out_features == 1


def test_the_prior_is_learned_without_its_weight() -> None:
    """As published: logits f + 40.9 p with p learned, so that a step of Adam moves them by 40.9 times its rate."""
    bins = HLGauss(-10.0, 10.0, 21)
    module = critic(bins=bins)
    torch.testing.assert_close(module.prior, nn.Parameter(bins.encode(torch.zeros(()))))
    feature = module.encode(*pairs()).detach()
    before = module.outputs(feature)
    optimizer = torch.optim.Adam([module.prior], lr=1e-3)
    module.loss(before, torch.full((200,), 5.0)).mean().backward()
    optimizer.step()
    moved = (module.outputs(feature) - before).abs()
    steep = module.prior.grad.abs() > 1e-5  # beside what Adam's epsilon rounds off
    assert steep.sum() > 5
    torch.testing.assert_close(moved[:, steep], torch.full((200, int(steep.sum())), 0.0409), rtol=1e-2, atol=0)


def test_the_prior_takes_the_values_where_the_returns_are() -> None:
    """Values about 20: with the product learned instead, Adam would move the prior 41 times as slowly."""
    x, action = pairs(256)
    target, errors = 20.0 + 5.0 * x[:, 0], {}
    for slower in (1.0, 40.9):
        module = critic(bins=HLGauss(-150.0, 150.0, 151), width=64)
        layers = [param for name, param in module.named_parameters() if name != "prior"]
        optimizer = torch.optim.Adam([{"params": layers}, {"params": module.prior, "lr": 1e-3 / slower}], lr=1e-3)
        for _ in range(100):
            optimizer.zero_grad()
            module.loss(module.outputs(module.encode(x, action)), target).mean().backward()
            optimizer.step()
        errors[slower] = float((module(x, action) - target).detach().abs().mean())
    assert errors[1.0] < 0.5 * errors[40.9]


def test_a_critic_that_learned_the_weighted_prior_is_refused() -> None:
    module = critic(bins=HLGauss(-10.0, 10.0, 21))
    state = module.state_dict()
    state["offset"] = 40.9 * state.pop("prior")
    with pytest.raises(ValueError, match="of an older version, whose critic learned the weighted prior .* start a new run"):
        nn.ModuleDict({"critic": module}).load_state_dict({f"critic.{name}": value for name, value in state.items()})


@EVERY_NORM
@pytest.mark.parametrize("bins", [None, HLGauss(-10.0, 10.0, 21)], ids=["mse", "hl_gauss"])
def test_layers_of_encoder_head_and_predictor(norm: str, bins: HLGauss | None) -> None:
    module, (x, action) = critic(norm, bins), pairs()
    if bins is not None:
        module.prior.data += 0.1 * torch.randn(module.prior.shape, generator=torch.Generator().manual_seed(2))
    feature = module.encode(x, action)
    hidden = by_hand(module.encoder, torch.cat([x, action], -1), norm)
    torch.testing.assert_close(feature, module.encoder[3](hidden), rtol=1e-4, atol=1e-5)
    assert feature.shape == (200, WIDTH)

    outputs = module.outputs(feature)
    hidden = by_hand(module.head[1:], silu(feature), norm)
    prior = 0.0 if bins is None else 40.9 * module.prior
    torch.testing.assert_close(outputs, module.output(hidden) + prior, rtol=1e-4, atol=1e-4)
    assert outputs.shape == (200, 21 if bins else 1)

    predicted = module.predictor(feature)
    hidden = by_hand(module.predictor[1:], silu(feature), norm)
    torch.testing.assert_close(predicted, module.predictor[4](hidden), rtol=1e-4, atol=1e-5)
    assert predicted.shape == feature.shape

    value = outputs[:, 0] if bins is None else outputs.softmax(-1) @ torch.linspace(-10.0, 10.0, 21)
    torch.testing.assert_close(module(x, action), value)
    assert module(x.view(4, 50, D), action.view(4, 50, A)).shape == (4, 50)


def test_errors_are_half_squares_or_cross_entropies() -> None:
    outputs, target = torch.randn(7, 21), torch.randn(7)
    torch.testing.assert_close(critic().loss(outputs[:, :1], target), 0.5 * (outputs[:, 0] - target).square())
    bins = HLGauss(-10.0, 10.0, 21)
    expected = nn.functional.cross_entropy(outputs, bins.encode(target), reduction="none")
    torch.testing.assert_close(critic(bins=bins).loss(outputs, target), expected)


def test_every_parameter_learns_from_value_and_prediction() -> None:
    module = critic(bins=HLGauss(-10.0, 10.0, 21))
    feature = module.encode(*pairs())
    loss = module.loss(module.outputs(feature), torch.ones(200)).mean() + module.predictor(feature).square().mean()
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@EVERY_NORM
def test_bfloat16_leaves_the_last_layer_in_full_precision(norm: str) -> None:
    module, (x, action) = critic(norm, HLGauss(-10.0, 10.0, 21)), pairs()
    module.prior.data *= 0.1  # else the prior alone decides
    exact = module(x, action)
    with torch.autocast("cpu", torch.bfloat16):
        feature = module.encode(x, action)
        hidden = module.head(feature)
        outputs = module.outputs(feature)
        value = module(x, action)
    assert feature.dtype == torch.bfloat16
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, module.output(hidden.float()) + 40.9 * module.prior)
    assert 0.0 < float((value - exact).abs().max()) < 0.1
    gradients = torch.autograd.grad(value.sum(), list(module.output.parameters()))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


@pytest.mark.parametrize("build", [lambda: critic("batch"), lambda: MinStdActor(D, A, (8,), "batch", 0.1)])
def test_an_unknown_norm_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="norm must be one of layer, rms, none, not 'batch'"):
        build()


# Actor


def actor(min_std: float, norm: Any = "layer") -> MinStdActor:
    torch.manual_seed(0)
    return MinStdActor(D, A, (16, 8), norm, min_std)


@EVERY_NORM
@pytest.mark.parametrize("min_std", [0.0, 0.1, 2.0])
def test_the_actor_adds_the_least_std_to_the_exponential(norm: str, min_std: float) -> None:
    module, (x, _) = actor(min_std, norm), pairs()
    hidden = by_hand(module.mlp[3:], by_hand(module.mlp, x, norm), norm)
    output = hidden @ module.mlp[-1].weight.T + module.mlp[-1].bias
    policy = module(x)
    assert policy.mean.shape == policy.log_std.shape == (200, A)
    torch.testing.assert_close(policy.mean, output[:, :A], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(policy.std, output[:, A:].exp() + min_std, rtol=1e-4, atol=1e-5)
    assert module(x.view(4, 50, D)).mean.shape == (4, 50, A)


@pytest.mark.parametrize(("log_std", "min_std", "std"), [(-30.0, 0.1, 0.1), (-30.0, 0.0, math.exp(-30)), (5.0, 0.1, 148.51)])
def test_the_std_has_a_floor_but_no_ceiling_and_keeps_its_gradient(log_std: float, min_std: float, std: float) -> None:
    module, (x, _) = actor(min_std), pairs()
    module.mlp[-1].weight.data.zero_()
    module.mlp[-1].bias.data.copy_(torch.tensor([0.0, 0.0, log_std, log_std]))
    policy = module(x)
    torch.testing.assert_close(policy.std, torch.full((200, A), std), rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(policy.std.sum(), module.mlp[-1].bias)
    torch.testing.assert_close(gradient[A:], torch.full((A,), 200 * math.exp(log_std)), rtol=1e-3, atol=0)
    assert gradient.isfinite().all()


def test_the_least_std_is_an_option_and_no_state() -> None:
    assert "log_min_std" not in actor(0.1).state_dict()
    assert float(actor(0.3).double().log_min_std.exp()) == pytest.approx(0.3)


def test_bfloat16_does_not_round_the_values() -> None:
    """In bfloat16 all values between 87.75 and 88.25 would be 88."""
    bins = HLGauss(-150.0, 150.0, 151)
    logits = torch.randn(64, 151, generator=torch.Generator().manual_seed(0))
    logits[:, 119] += 12.0  # 88, nearly
    network = critic(bins=bins)
    expected = network.value(logits)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.value(logits), expected)
    assert len(expected.unique()) > 50
