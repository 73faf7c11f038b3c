"""Returns over a window: pure functions of time-major (H, N) tensors."""

import torch
from torch import Tensor

__all__ = ["lambda_return", "segment_discounts", "segment_ends"]


def lambda_return(reward: Tensor, next_value: Tensor, done: Tensor, discount: float, td_lambda: float) -> Tensor:
    """Return TD(lambda) targets (H, N).

    G_t = r_t + discount * ((1 - l_t) V'_t + l_t G_{t+1}) with l_t = 0 at a done or the window's end, else
    td_lambda.

    Args:
        reward: (H, N), with whatever bonus the value is to contain.
        next_value: V'_t (H, N), value of the state reached, 0 after a failure.
        done: (H, N) bool, failure or time limit.
        discount: gamma.
        td_lambda: lambda.
    """
    trace = td_lambda * (~done).to(reward.dtype)
    trace[-1] = 0.0
    bootstrapped = reward + discount * (1.0 - trace) * next_value
    carry = discount * trace
    # after k rounds each step knows the 2^k steps from it on: few operators for all of the window
    target, ahead = bootstrapped, 1
    while ahead < len(target):
        target = torch.cat([torch.addcmul(target[:-ahead], carry[:-ahead], target[ahead:]), target[-ahead:]])
        carry = torch.cat([carry[:-ahead] * carry[ahead:], carry[-ahead:]])  # which are 0, as the window ends
        ahead *= 2
    return target


def segment_discounts(done: Tensor, discount: float) -> Tensor:
    """Return gamma^k (H, N), k counting from the window's start or from the step after the last done."""
    time = torch.arange(len(done), device=done.device)[:, None].expand(done.shape)
    start = torch.where(done, time + 1, 0).cummax(0).values.roll(1, 0)
    start[0] = 0
    return discount ** (time - start).to(torch.get_default_dtype())


def segment_ends(done: Tensor) -> Tensor:
    """Mark the last step of every segment (H, N): a done, or the window's end."""
    ends = done.clone()
    ends[-1] = True
    return ends
