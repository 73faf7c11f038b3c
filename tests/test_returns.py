"""Returns against brute force."""

import pytest
import torch

from rpo_lightning.returns import lambda_return, segment_discounts
from tests.reference import brute_force_lambda_return


def random_window(horizon: int = 12, num_envs: int = 7) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    reward, value = torch.randn(2, horizon, num_envs, generator=generator, dtype=torch.float64)
    done = torch.rand(horizon, num_envs, generator=generator) < 0.25
    return reward, value, done


@pytest.mark.parametrize("td_lambda", [0.0, 0.7, 1.0])
def test_lambda_return_is_the_mixture_of_n_step_returns(td_lambda: float) -> None:
    reward, value, done = random_window()
    assert done[-1].any()
    assert done[:-1].any()
    expected = brute_force_lambda_return(reward, value, done, 0.9, td_lambda)
    torch.testing.assert_close(lambda_return(reward, value, done, 0.9, td_lambda), expected)


def test_segment_discounts_restart_after_every_done() -> None:
    _, _, done = random_window()
    expected = torch.zeros(done.shape)
    for n in range(done.shape[1]):
        discount = 1.0
        for t in range(done.shape[0]):
            expected[t, n] = discount
            discount = 1.0 if done[t, n] else 0.9 * discount
    torch.testing.assert_close(segment_discounts(done, 0.9), expected)
