"""The networks of REPPO (arXiv 2507.11019): an actor with a least spread, and a critic of states and actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.nn.gaussian import SquashedGaussian
from rpo_lightning.nn.hl_gauss import HLGauss
from rpo_lightning.nn.mlp import Norm, hidden_layers

__all__ = ["ActionValue", "MinStdActor"]

PRIOR_WEIGHT = 40.9
"""Times the prior, which starts as the shares of the value 0: the logits at first, which outweigh what a fresh network says.

The prior is the critic's distribution whatever the state, which drifts with the policy. It is a parameter without its
weight, so that a step of Adam moves its logits 41 times as far as the last layer's bias does.
"""


def block(inputs: int, hidden: Sequence[int], norm: Norm) -> list[nn.Module]:
    """Return layers of Linear -> norm -> SiLU with torch's own first weights."""
    return hidden_layers(inputs, hidden, norm=norm, linear=nn.Linear)


class MinStdActor(nn.Module):
    """Map normalised observations to a squashed Gaussian of standard deviation exp(s) + min_std.

    Args:
        obs_dim: D.
        action_dim: A.
        hidden: sizes of the hidden layers.
        norm: of the hidden layers.
        min_std: least standard deviation, before the tanh.
    """

    def __init__(self, obs_dim: int, action_dim: int, hidden: Sequence[int], norm: Norm, min_std: float) -> None:
        super().__init__()
        self.mlp = nn.Sequential(*block(obs_dim, hidden, norm), nn.Linear([obs_dim, *hidden][-1], 2 * action_dim))
        self.register_buffer("log_min_std", torch.tensor(math.log(min_std) if min_std > 0.0 else -math.inf), False)

    log_min_std: Tensor

    def forward(self, x: Tensor) -> SquashedGaussian:
        """Return the action distribution (..., A) at normalised observations (..., D)."""
        mean, log_std = self.mlp(x).chunk(2, dim=-1)
        return SquashedGaussian(mean, torch.logaddexp(log_std, self.log_min_std))


def _refuse_offset(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    if f"{prefix}offset" in state:
        raise ValueError(
            f"This checkpoint is of an older version, whose critic learned the weighted prior ({prefix}offset): "
            "it cannot be continued; start a new run, or evaluate its policy."
        )


class ActionValue(nn.Module):
    """Value of a state and an action, and a prediction of the features that the next pair will have.

    Encoder -> feature e; head: SiLU(e) -> value; predictor: SiLU(e) -> feature of the next state and action.

    Args:
        obs_dim: D.
        action_dim: A.
        width: of every layer.
        norm: of the hidden layers.
        bins: what the head classifies into; None: the head gives the value itself.

    Its `state_dict` of a version that learned PRIOR_WEIGHT times the prior is refused (ValueError).
    """

    def __init__(self, obs_dim: int, action_dim: int, width: int, norm: Norm, bins: HLGauss | None) -> None:
        super().__init__()
        self.bins = bins
        self.encoder = nn.Sequential(*block(obs_dim + action_dim, [width], norm), nn.Linear(width, width))
        self.head = nn.Sequential(nn.SiLU(), *block(width, [width], norm))
        self.output = nn.Linear(width, 1 if bins is None else bins.bins)
        self.predictor = nn.Sequential(nn.SiLU(), *block(width, [width], norm), nn.Linear(width, width))
        self.prior = None if bins is None else nn.Parameter(bins.encode(torch.zeros(())))
        self.register_load_state_dict_pre_hook(_refuse_offset)

    def forward(self, x: Tensor, action: Tensor) -> Tensor:
        """Return the values (...,) of actions (..., A) at normalised observations (..., D)."""
        return self.value(self.outputs(self.encode(x, action)))

    def encode(self, x: Tensor, action: Tensor) -> Tensor:
        """Return the features (..., width)."""
        return self.encoder(torch.cat([x, action], -1))

    def outputs(self, feature: Tensor) -> Tensor:
        """Return the head's outputs (..., bins or 1) at features; under autocast the last layer keeps its own precision."""
        hidden = self.head(feature)
        with torch.autocast(hidden.device.type, enabled=False):
            outputs = self.output(hidden.to(self.output.weight.dtype))
        return outputs if self.prior is None else outputs + PRIOR_WEIGHT * self.prior

    def value(self, outputs: Tensor) -> Tensor:
        """Return the values (...,) that the head's outputs stand for."""
        if self.bins is None:
            return outputs.squeeze(-1)
        with torch.autocast(outputs.device.type, enabled=False):  # bfloat16 has no digits left for a value of some tens
            return self.bins.decode(outputs)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the error (...,) of the head's outputs: cross-entropy, or half the square without bins."""
        return 0.5 * (outputs.squeeze(-1) - target).square() if self.bins is None else self.bins.loss(outputs, target)
