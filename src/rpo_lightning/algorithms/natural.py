"""Natural steps: a gradient through the inverse of the policy's Fisher matrix, no further than a KL allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rpo_lightning.distributed import mean_over_ranks
from rpo_lightning.nn import Gaussian

__all__ = ["conjugate_gradients", "fisher_product", "natural_step"]


def natural_step(
    objective: Tensor,
    policy: Gaussian,
    params: Sequence[Tensor],
    kl_coef: Tensor,
    radius: Tensor,
    iterations: int,
    damping: float,
) -> tuple[Tensor, ...]:
    """Return the step d that maximises g d - kl_coef KL(d) with KL(d) no more than a radius.

    g is the objective's gradient and KL(d) = d (F + damping) d / 2 the divergence of old and new policy, to second order,
    with the mean Fisher matrix F of the policy's states. So d = s (F + damping)^-1 g, where s is 1 / kl_coef, or less
    (natural gradient; TRPO, arXiv 1502.05477, section 6 and appendix C). Gradient and Fisher matrix are means over ranks.
    All may have one entry more in front, of S runs that learn stacked.

    Args:
        objective: (), with its graph.
        policy: (..., A) at the states whose Fisher matrix it is, with its graph.
        params: what both are differentiated by.
        kl_coef: weight of the KL; 0: the radius alone says how far, ().
        radius: largest KL [nats], ().
        iterations: of conjugate gradients.
        damping: added to the Fisher matrix.

    Returns:
        The norm () of the gradient; whether it or the step was not finite, () bool, which is 0 then; s (); d, as `params`.
    """
    lead = objective.ndim

    def flat(parts: Sequence[Tensor]) -> Tensor:
        return mean_over_ranks(torch.cat([part.flatten(lead) for part in parts], -1))

    def shaped(vector: Tensor) -> list[Tensor]:
        sizes = [param[(0,) * lead].numel() for param in params]
        return [part.reshape(param.shape) for part, param in zip(vector.split(sizes, -1), params, strict=True)]

    product = fisher_product(policy, params, lead)
    gradient = flat(torch.autograd.grad(objective.sum(), params, retain_graph=True))
    norm = gradient.norm(dim=-1)
    gradient = torch.where(norm.isfinite()[..., None], gradient, 0.0)
    solution, rest = conjugate_gradients(
        lambda vector: flat(product(shaped(vector))) + damping * vector, gradient, iterations
    )
    divergence = 0.5 * (solution * (gradient - rest)).sum(-1)
    refused = ~(norm + divergence).isfinite()
    usable = (divergence > 0.0) & ~refused
    scale = torch.where(usable, torch.minimum((radius / divergence).sqrt(), 1.0 / kl_coef), 0.0)
    return norm, refused, scale, *shaped(torch.where(usable[..., None], scale[..., None] * solution, 0.0))


def fisher_product(
    policy: Gaussian, params: Sequence[Tensor], lead: int = 0
) -> Callable[[Sequence[Tensor]], tuple[Tensor, ...]]:
    """Return the product of the mean Fisher matrix with a vector that is shaped as the parameters.

    F = J' diag(1 / std^2, 2) J over the number of states, with the Jacobian J of the policy's means and log standard
    deviations. J v is had by differentiating J' w, which is linear in w, and so without the forward mode.

    Args:
        policy: (..., A), with its graph.
        params: that the vectors belong to.
        lead: dimensions in front that count runs and not states.
    """
    outputs = [policy.mean, policy.log_std]
    states = policy.mean[(0,) * lead][..., 0].numel()
    inverse_variance = policy.std.detach() ** -2 / states
    directions = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    pulled = torch.autograd.grad(outputs, params, directions, create_graph=True)

    def product(vector: Sequence[Tensor]) -> tuple[Tensor, ...]:
        mean, log_std = torch.autograd.grad(pulled, directions, vector, retain_graph=True)
        weighted = [mean * inverse_variance, log_std * (2.0 / states)]
        return torch.autograd.grad(outputs, params, weighted, retain_graph=True)

    return product


def conjugate_gradients(product: Callable[[Tensor], Tensor], target: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Solve product(x) = target for a symmetric positive product, from x = 0; always with as many iterations.

    Args:
        product: linear, of vectors (..., P).
        target: (..., P).
        iterations: after which x is returned.

    Returns:
        x (..., P), and what is left of the target, (..., P).
    """
    x, rest = torch.zeros_like(target), target
    direction, square = rest, rest.square().sum(-1, keepdim=True)
    for _ in range(iterations):
        moved = product(direction)
        length = _quotient(square, (direction * moved).sum(-1, keepdim=True))
        x, rest = x + length * direction, rest - length * moved
        before, square = square, rest.square().sum(-1, keepdim=True)
        direction = rest + _quotient(square, before) * direction
    return x, rest


def _quotient(top: Tensor, bottom: Tensor) -> Tensor:
    """Return top / bottom, 0 where there is nothing to divide by: what is solved stays as it is."""
    return torch.where(bottom > 0.0, top / bottom, 0.0)
