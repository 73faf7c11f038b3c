"""HL-Gauss: shares, round trip, clipping, loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rpo_lightning.nn import HLGauss

DOUBLE = torch.float64


def bins(low: float = -150.0, high: float = 150.0, count: int = 151, dtype: torch.dtype = DOUBLE) -> HLGauss:
    return HLGauss(low, high, count).to(dtype)


def round_trip(coder: HLGauss, value: Tensor) -> Tensor:
    """Return the mean (...,) of the bins under the shares of a value."""
    return (coder.encode(value) * coder.centres).sum(-1)


def normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_shares_are_not_negative_and_sum_to_one_inside_and_outside_the_range(dtype: torch.dtype) -> None:
    shares = bins(dtype=dtype).encode(torch.linspace(-400.0, 400.0, 4001, dtype=dtype))
    assert shares.shape == (4001, 151)
    assert shares.dtype == dtype
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(4001, dtype=dtype), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("low", "high", "count"), [(-150.0, 150.0, 151), (0.0, 150.0, 151), (-3.0, 7.0, 12)])
@pytest.mark.parametrize("where", [0.0, 0.37, 0.5, 1.0])
def test_shares_are_differences_of_the_normal_distribution(low: float, high: float, count: int, where: float) -> None:
    width = (high - low) / (count - 1)
    value = low + where * (high - low)
    expected = []
    for i in range(count):
        centre = low + i * width
        ends = [(centre + side * width / 2 - value) / (0.75 * width) for side in (-1, 1)]
        expected.append(normal_cdf(ends[1]) - normal_cdf(ends[0]))
    inside = torch.tensor(expected, dtype=DOUBLE)
    coder = bins(low, high, count)
    shares = coder.encode(torch.tensor(value, dtype=DOUBLE))
    torch.testing.assert_close(shares, inside / inside.sum(), rtol=0, atol=1e-6)
    torch.testing.assert_close(coder.centres, torch.linspace(low, high, count, dtype=DOUBLE), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-3), (DOUBLE, 1e-4)])
def test_values_inside_the_range_come_back(dtype: torch.dtype, error: float) -> None:
    coder, width = bins(dtype=dtype), 2.0
    value = torch.linspace(-150.0 + 4 * width, 150.0 - 4 * width, 3001, dtype=dtype)
    assert (round_trip(coder, value) - value).abs().max() < error * width


@pytest.mark.parametrize(("inwards", "bias"), [(0.0, 0.37), (0.2, 0.27)])
def test_values_near_the_ends_come_back_further_inside(inwards: float, bias: float) -> None:
    coder, width = bins(), 2.0
    for end, side in ((-150.0, 1.0), (150.0, -1.0)):
        value = torch.tensor(end + side * inwards * width, dtype=DOUBLE)
        assert float(side * (round_trip(coder, value) - value)) / width == pytest.approx(bias, abs=0.006)


def test_values_outside_the_range_are_those_of_its_ends_and_are_marked() -> None:
    coder = bins(-1.0, 3.0, 9)
    value = torch.tensor([-1e9, -1.01, -1.0, 3.0, 3.01, torch.inf], dtype=DOUBLE)
    shares = coder.encode(value)
    assert torch.equal(shares[0], shares[2])
    assert torch.equal(shares[1], shares[2])
    assert torch.equal(shares[4], shares[3])
    assert torch.equal(shares[5], shares[3])
    assert coder.outside(value).tolist() == [True, True, False, False, True, True]


def test_decoding_is_the_mean_of_the_softmax_over_the_centres() -> None:
    coder = bins(-1.0, 3.0, 9)
    logits = torch.randn(4, 5, 9, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = sum(weights[..., i] * (-1.0 + 0.5 * i) for i in range(9))
    torch.testing.assert_close(coder.decode(logits), expected)
    coder, value = bins(), torch.linspace(-100.0, 100.0, 77, dtype=DOUBLE)
    torch.testing.assert_close(coder.decode(coder.encode(value).log()), value, rtol=0, atol=1e-3 * 2.0)


def test_the_loss_is_a_cross_entropy_whose_gradient_is_softmax_minus_target() -> None:
    coder = bins(-1.0, 3.0, 9)
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=DOUBLE, requires_grad=True)
    value = torch.tensor([-2.0, -1.0, 0.3, 1.0, 9.0], dtype=DOUBLE)
    loss = coder.loss(logits, value)
    assert loss.shape == (5,)
    target = coder.encode(value)
    for i in range(5):
        expected = -sum(target[i, k] * (logits[i, k] - logits[i].logsumexp(0)) for k in range(9))
        torch.testing.assert_close(loss[i], expected)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(gradient, logits.detach().softmax(-1) - target)


@pytest.mark.parametrize(("low", "high", "count"), [(1.0, 1.0, 5), (2.0, 1.0, 5), (0.0, 1.0, 1), (math.nan, 1.0, 5)])
def test_a_range_that_holds_nothing_is_refused(low: float, high: float, count: int) -> None:
    with pytest.raises(ValueError, match="values need a range and at least two bins"):
        HLGauss(low, high, count)


def test_bins_are_no_state_of_a_checkpoint() -> None:
    assert not HLGauss(0.0, 1.0, 5).state_dict()
