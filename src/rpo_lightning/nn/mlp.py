"""The trunk shared by actors and critics."""

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

__all__ = ["MLP", "Activation", "Norm", "hidden_layers", "orthogonal_linear"]

Activation = Literal["silu", "elu", "relu", "tanh"]
Norm = Literal["layer", "rms", "none"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "elu": nn.ELU, "relu": nn.ReLU, "tanh": nn.Tanh}
NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "none": nn.Identity}


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


def hidden_layers(
    inputs: int,
    hidden: Sequence[int],
    activation: Activation = "silu",
    norm: Norm = "layer",
    norm_first: bool = True,
    linear: Callable[[int, int], nn.Linear] = orthogonal_linear,
) -> list[nn.Module]:
    """Return linear layers, each followed by its norm and its activation, or by these in the other order.

    Args:
        inputs: features in.
        hidden: features out of each linear layer.
        activation: silu, elu, relu or tanh.
        norm: layer, rms or none.
        norm_first: whether the norm comes before the activation.
        linear: (inputs, outputs) -> layer, with its first weights.

    Raises:
        ValueError: for another activation or norm.
    """
    for name, value, known in (("activation", activation, ACTIVATIONS), ("norm", norm, NORMS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
    layers: list[nn.Module] = []
    for size in hidden:
        pair = [NORMS[norm](size), ACTIVATIONS[activation]()]
        layers += [linear(inputs, size), *(pair if norm_first else reversed(pair))]
        inputs = size
    return layers


class MLP(nn.Sequential):
    """Hidden layers and a plain linear output, all with orthogonal first weights.

    Args:
        inputs: features in.
        hidden: sizes of the hidden layers.
        outputs: features out.
        heads: independently initialised heads that share the output layer.
        activation: silu, elu, relu or tanh.
        norm: layer, rms or none.
        norm_first: whether a norm comes before its activation.
        gain: of the orthogonal weights; 0: all layers keep torch's own first weights.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        heads: int = 1,
        activation: Activation = "silu",
        norm: Norm = "layer",
        norm_first: bool = True,
        gain: float = 1.0,
    ) -> None:
        def linear(features: int, size: int, blocks: int = 1) -> nn.Linear:
            return orthogonal_linear(features, size, blocks, gain) if gain > 0.0 else nn.Linear(features, size)

        layers = hidden_layers(inputs, hidden, activation, norm, norm_first, linear)
        super().__init__(*layers, linear([inputs, *hidden][-1], outputs, heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (..., outputs); under autocast the output layer alone keeps its own precision."""
        *hidden, output = self
        for layer in hidden:
            x = layer(x)
        # a value of some hundreds would have no digits left after the point in bfloat16
        with torch.autocast(x.device.type, enabled=False):
            return output(x.to(cast(nn.Linear, output).weight.dtype))
