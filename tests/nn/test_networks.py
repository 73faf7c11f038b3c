"""Actor and critics: shapes, initial weights, independence."""

import torch
from torch import nn

from rpo_lightning.nn import Actor, CriticEnsemble


def test_every_linear_layer_and_every_head_starts_orthogonal() -> None:
    torch.manual_seed(0)
    actor, critic = Actor(6, 6, (16, 8)), CriticEnsemble(6, (16, 8), 2)
    layers = [layer for layer in [*actor.modules(), *critic.modules()] if isinstance(layer, nn.Linear)]
    blocks = [block for layer in layers for block in layer.weight.chunk(2 if layer.out_features == 12 else 1)]
    assert len(blocks) == 4 + 2 * 3
    for block in blocks:
        rows, columns = block.shape
        gram = block @ block.T if rows <= columns else block.T @ block
        torch.testing.assert_close(gram, torch.eye(min(rows, columns)), atol=1e-5, rtol=0)
    assert all(bool((layer.bias == 0).all()) for layer in layers)


def test_actor_clamps_the_log_std_and_stops_its_gradient_there() -> None:
    actor = Actor(6, 3, (16,))
    head = actor.mlp[-1]
    nn.init.constant_(head.bias.data[3:], 9.0)
    policy = actor(torch.randn(4, 6))
    assert (policy.log_std == 2.0).all()
    assert policy.mean.shape == (4, 3)
    (gradient,) = torch.autograd.grad(policy.log_std.sum(), head.bias)
    assert (gradient == 0).all()
    nn.init.constant_(head.bias.data[3:], -9.0)
    assert (actor(torch.randn(4, 6)).log_std == -5.0).all()


def test_critics_are_independent_and_keep_leading_dimensions() -> None:
    torch.manual_seed(0)
    critic = CriticEnsemble(6, (16, 8), 3)
    values = critic(torch.randn(5, 4, 6))
    assert values.shape == (3, 5, 4)
    assert not torch.allclose(values[0], values[1])
    assert len({id(p) for p in critic.parameters()}) == 3 * len(list(critic[0].parameters()))
