"""Algorithms in double precision whose updates are looked at instead of applied."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from rpo_lightning.algorithms import RLModule
from tests.reference import window_objective
from tests.toy import PointMass

H, N = 8, 6

Algorithm = TypeVar("Algorithm", bound=RLModule)


class Captured:
    """Keep the gradients instead of applying them, and use given noise for entropies; mixed into an algorithm."""

    gradients: list[tuple[Tensor, ...]]
    hooked: list[dict[str, Tensor]]
    entropy_noise: Tensor | None = None

    def apply_gradients(self, optimizer: Any, params: Any, loss: Tensor, max_norm: float) -> Tensor:
        """Keep the gradient."""
        self.gradients.append(torch.autograd.grad(loss, params))
        return torch.zeros(())

    def hook(self, name: str, *args: Any) -> None:
        """Keep the diagnostics."""
        self.hooked.append(args[-1])

    def sampled_entropy(self, policy: Any, generator: torch.Generator) -> Tensor:
        """Take the given noise if there is some."""
        if self.entropy_noise is None:
            return super().sampled_entropy(policy, generator)
        return policy.entropy(self.entropy_noise)


def captured(algorithm: type[Algorithm], **options: Any) -> Algorithm:
    """Return a small algorithm in float64, always with the same weights, that captures its gradients."""
    torch.manual_seed(0)
    module = type("Captured", (Captured, algorithm), {})(3, 1, 4096, hidden=(16, 16), **options).double()
    module.gradients, module.hooked = [], []
    return module


def restless() -> PointMass:
    """Return environments whose episodes end in both ways within every window of H steps."""
    return PointMass(N, seed=3, episode_length=5, limit=0.95, dtype=torch.float64)


def direct_gradient(module: RLModule, noise: tuple[Tensor, Tensor], bonus: bool) -> tuple[Tensor, ...]:
    """Differentiate the window objective, averaged over steps, straight to the parameters: SHAC or SAPO."""
    loss = -window_objective(restless(), module, *noise, bonus=bonus).sum() / (H * N)
    return torch.autograd.grad(loss, list(module.actor.parameters()))


def assert_gradients_equal(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    """Compare gradients that must not all be small."""
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert max(float(g.abs().max()) for g in theirs) > 0.01
