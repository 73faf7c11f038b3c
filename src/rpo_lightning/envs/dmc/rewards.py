"""The shaping that rewards of the DeepMind Control suite are products of."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["SIGMOIDS", "tolerance"]

# sigmoid -> (distance in margins, value at the margin) -> value; 1 at 0
SIGMOIDS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian": lambda x, v: (x.square() * math.log(v)).exp(),
    "hyperbolic": lambda x, v: 1.0 / (x * math.acosh(1.0 / v)).cosh(),
    "long_tail": lambda x, v: 1.0 / (x.square() * (1.0 / v - 1.0) + 1.0),
    "reciprocal": lambda x, v: 1.0 / (x.abs() * (1.0 / v - 1.0) + 1.0),
    "cosine": lambda x, v: 0.5 + 0.5 * (x * math.acos(2.0 * v - 1.0)).clamp(-math.pi, math.pi).cos(),
    "linear": lambda x, v: (1.0 - x * (1.0 - v)).clamp(min=0.0),
    "quadratic": lambda x, v: (1.0 - x.square() * (1.0 - v)).clamp(min=0.0),
    "tanh_squared": lambda x, v: 1.0 - (x * math.atanh(math.sqrt(1.0 - v))).tanh().square(),
}
_MAY_VANISH = ("cosine", "linear", "quadratic")  # those that can be 0 at the margin


def tolerance(
    x: Tensor,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> Tensor:
    """Return 1 where `x` is within `bounds`, less the further it is outside (dm_control/utils/rewards.py, Apache-2.0).

    Args:
        x: any shape.
        bounds: inclusive; either may be infinite.
        margin: the distance outside at which the value is `value_at_margin`; 0: all outside is 0.
        sigmoid: one of `SIGMOIDS`.
        value_at_margin: in (0, 1); 0 as well for cosine, linear and quadratic.

    Raises:
        ValueError: for a bad argument.
    """
    lower, upper = bounds
    if lower > upper or margin < 0.0:
        raise ValueError(f"tolerance needs lower <= upper and margin >= 0, got bounds {bounds} and margin {margin}")
    if sigmoid not in SIGMOIDS:
        raise ValueError(f"no sigmoid is called {sigmoid!r}; sigmoids: {', '.join(SIGMOIDS)}")
    if not (0.0 < value_at_margin < 1.0 or (value_at_margin == 0.0 and sigmoid in _MAY_VANISH)):
        raise ValueError(f"value_at_margin must be in (0, 1) for the sigmoid {sigmoid!r}, got {value_at_margin}")
    within = (lower <= x) & (x <= upper)
    if margin == 0.0:
        return within.to(x.dtype)
    distance = torch.where(x < lower, lower - x, x - upper) / margin
    return torch.where(within, torch.ones_like(x), SIGMOIDS[sigmoid](distance, value_at_margin))
