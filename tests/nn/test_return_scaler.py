"""The unit of rewards: largest discounted return of the windows seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rpo_lightning.nn import ReturnScaler

H, N, DISCOUNT = 12, 7, 0.9


def window(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(H, N, generator=generator, dtype=torch.float64)
    return reward, torch.rand(H, N, generator=generator) < 0.2


def scaler(discount: float = DISCOUNT, limit: float = 100.0) -> ReturnScaler:
    return ReturnScaler(discount, limit).double()


def largest_sum(reward: Tensor, done: Tensor) -> float:
    """Return the largest |r_t + gamma r_{t+1} + ...| from any step to the end of its segment."""
    largest = 0.0
    for n in range(N):
        for t in range(H):
            total, weight = 0.0, 1.0
            for k in range(t, H):
                total += weight * float(reward[k, n])
                weight *= DISCOUNT
                if done[k, n]:
                    break
            largest = max(largest, abs(total))
    return largest


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_return_of_a_segment_stands_for_an_endless_one(seed: int) -> None:
    reward, done = window(seed)
    assert done[:-1].any()
    module = scaler(limit=20.0)
    module.update(reward, done)
    expected = largest_sum(reward, done) / (1 - DISCOUNT**H)
    assert float(module.largest) == pytest.approx(expected)
    assert float(module.scale) == pytest.approx(expected / 20.0)


def test_returns_of_one_environment_and_one_segment_do_not_mix() -> None:
    module, reward, done = scaler(), torch.zeros(H, N).double(), torch.zeros(H, N, dtype=torch.bool)
    reward[0, 1], reward[5, 1], reward[3, 2] = 1.0, 5.0, 4.0
    done[4, 1] = True
    module.update(reward, done)
    assert float(module.largest) * (1 - DISCOUNT**H) == pytest.approx(5.0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_endless_constant_reward_comes_to_the_limit(sign: float) -> None:
    module = scaler()
    module.update(torch.full((H, N), sign * 3.0), torch.zeros(H, N, dtype=torch.bool))
    assert float(3.0 / (1 - DISCOUNT) / module.scale) == pytest.approx(100.0)


def test_a_return_from_within_an_episode_counts() -> None:
    module, reward = scaler(), torch.zeros(H, N).double()
    reward[0], reward[1] = 5.0, -5.0 / DISCOUNT
    module.update(reward, torch.zeros(H, N, dtype=torch.bool))
    # from the first step on it is 0
    assert float(module.largest) * (1 - DISCOUNT**H) == pytest.approx(5.0 / DISCOUNT)


def test_the_unit_only_grows_and_is_one_before_the_first_reward() -> None:
    module, (reward, done) = scaler(), window()
    assert float(module.scale) == 1.0
    module.update(0.0 * reward, done)
    assert float(module.scale) == 1.0
    module.update(0.2 * reward, done)
    small = float(module.scale)
    assert 0.0 < small < 1.0
    module.update(reward, done)
    large = float(module.scale)
    assert large == pytest.approx(5.0 * small)
    module.update(0.5 * reward, done)
    assert float(module.scale) == large


def test_a_checkpoint_keeps_the_unit() -> None:
    module, restored = scaler(), scaler()
    module.update(*window())
    restored.load_state_dict(module.state_dict())
    assert float(restored.scale) == float(module.scale) != 1.0
    assert not list(module.parameters())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("known", [False, True], ids=["first window", "later"])
def test_rewards_that_are_not_finite_leave_the_unit_alone(bad: float, known: bool) -> None:
    reward, done = window()
    clean, broken = scaler(), scaler()
    if known:
        clean.update(*window(1))
        broken.update(*window(1))
    reward[:, 3] = 0.0
    clean.update(reward, done)
    reward[5, 3] = bad
    broken.update(reward, done)
    assert float(broken.largest) == float(clean.largest) > 0.0


@pytest.mark.parametrize("reward", [1e30, 3e38, -3e38])
@pytest.mark.parametrize("discount", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize("known", [False, True], ids=["first window", "later"])
def test_the_unit_is_finite_whatever_the_rewards(reward: float, discount: float, known: bool) -> None:
    """Finite returns may stand for endless ones that are not."""
    module, done = ReturnScaler(discount, 100.0), torch.zeros(4, 2, dtype=torch.bool)
    if known:
        module.update(torch.ones(4, 2), done)
    before = float(module.largest)
    for _ in range(60):
        module.update(torch.tensor([[1.0, reward]]).expand(4, 2), done)
    assert before <= float(module.largest) < torch.inf
    assert float(module.largest) > 0.0
    assert 0.0 < float(module.scale) < torch.inf


def test_a_single_huge_reward_costs_one_digit_and_lasting_ones_are_followed() -> None:
    module, (reward, done) = scaler(), window()
    module.update(reward, done)
    before = float(module.scale)
    huge = reward.clone()
    huge[2, 4] = 1e6
    module.update(huge, done)
    assert float(module.scale) == pytest.approx(10.0 * before)
    for _ in range(8):
        module.update(1e6 * reward, done)
    assert float(module.scale) == pytest.approx(1e6 * before)


def test_returns_from_within_a_window_count() -> None:
    module, reward = ReturnScaler(0.99, 100.0), torch.zeros(128, 1)
    reward[-1] = 1.0  # in every window: worth 1 / (1 - 0.99^128) just before it
    module.update(reward, torch.zeros(128, 1, dtype=torch.bool))
    assert float(module.largest) == pytest.approx(1.0 / (1.0 - 0.99**128))
