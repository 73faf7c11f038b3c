"""The trunk shared by actors and critics."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["MLP", "orthogonal_linear"]


def orthogonal_linear(inputs: int, outputs: int, blocks: int = 1, gain: float = 1.0) -> nn.Linear:
    """Build a linear layer with orthogonal weights and zero biases.

    Args:
        inputs: features in.
        outputs: features out, over all blocks.
        blocks: independent heads stacked in the output; each is orthogonal by itself.
        gain: of the weights.
    """
    layer = nn.Linear(inputs, outputs)
    for block in layer.weight.data.chunk(blocks):
        nn.init.orthogonal_(block, gain)
    nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Sequential):
    """Hidden layers Linear -> LayerNorm -> SiLU and a plain linear output.

    Args:
        inputs: features in.
        hidden: sizes of the hidden layers.
        outputs: features out.
        heads: independently initialised heads that share the output layer.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, heads: int = 1) -> None:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [orthogonal_linear(inputs, size), nn.LayerNorm(size), nn.SiLU()]
            inputs = size
        super().__init__(*layers, orthogonal_linear(inputs, outputs, heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (..., outputs); under autocast the output layer alone keeps its own precision."""
        *hidden, output = self
        for layer in hidden:
            x = layer(x)
        # a value of some hundreds would have no digits left after the point in bfloat16
        with torch.autocast(x.device.type, enabled=False):
            return output(x.to(cast(nn.Linear, output).weight.dtype))
