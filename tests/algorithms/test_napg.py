"""Natural steps against matrices that are built whole, and the algorithm that takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from rpo_lightning.algorithms import NAPG
from rpo_lightning.algorithms.natural import conjugate_gradients, fisher_product, natural_step
from rpo_lightning.losses import gaussian_kl, regenerate
from rpo_lightning.nn import Actor, FreeStdActor, SquashedGaussian
from rpo_lightning.rollout import Collector
from tests.algorithms.drivers import make_algorithm, make_data, run_fabric
from tests.toy import PointMass

NONE = torch.tensor(0.0)


def small_actor(network: type[nn.Module] = Actor) -> tuple[nn.Module, Tensor]:
    """Return a policy in double precision and states (T, N, D) it is at."""
    torch.manual_seed(3)
    return network(3, 2, hidden=(5, 4)).double(), torch.randn(6, 2, 3, dtype=torch.float64)


def flat(parts: Any) -> Tensor:
    """Return tensors as one vector."""
    return torch.cat([part.reshape(-1) for part in parts])


def whole_fisher(actor: nn.Module, x: Tensor) -> Tensor:
    """Return the mean Fisher matrix (P, P), from the Jacobian of every state's mean and log standard deviation."""

    def outputs(params: dict[str, Tensor]) -> Tensor:
        policy = functional_call(actor, params, (x.flatten(0, 1),))
        return torch.stack([policy.mean, policy.log_std], -2)

    params = {name: param.detach() for name, param in actor.named_parameters()}
    jacobian = torch.cat([each.flatten(3) for each in jacrev(outputs)(params).values()], -1)  # states, 2, A, P
    metric = torch.stack([actor(x.flatten(0, 1)).std.detach() ** -2, torch.full(jacobian[:, 0, :, 0].shape, 2.0)], 1)
    return torch.einsum("nkap,nka,nkaq->pq", jacobian, metric.double(), jacobian) / len(jacobian)


def test_conjugate_gradients_solve_as_a_factorisation_does_and_leave_what_is_solved() -> None:
    torch.manual_seed(0)
    root = torch.randn(2, 7, 7, dtype=torch.float64)
    matrix = root @ root.mT + torch.eye(7)
    target = torch.randn(2, 7, dtype=torch.float64)
    target[1] = 0.0
    x, rest = conjugate_gradients(lambda v: (matrix @ v[..., None])[..., 0], target, 12)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, target))
    torch.testing.assert_close(rest, torch.zeros_like(rest))
    x, rest = conjugate_gradients(lambda v: (matrix @ v[..., None])[..., 0], target, 3)
    torch.testing.assert_close((matrix @ x[..., None])[..., 0] + rest, target)
    assert rest[0].norm() > 1e-3


@pytest.mark.parametrize("network", [Actor, FreeStdActor])
def test_the_fisher_product_is_that_of_the_whole_matrix_and_the_curvature_of_the_kl(network: type[nn.Module]) -> None:
    actor, x = small_actor(network)
    params = list(actor.parameters())
    vector = [torch.randn_like(param) for param in params]
    product = flat(fisher_product(actor(x), params)(vector))
    torch.testing.assert_close(product, whole_fisher(actor, x) @ flat(vector))

    slopes = torch.autograd.grad(gaussian_kl(actor(x).detach(), actor(x)).mean(), params, create_graph=True)
    curvature = torch.autograd.grad(sum((s * v).sum() for s, v in zip(slopes, vector, strict=True)), params)
    torch.testing.assert_close(product, flat(curvature))


def test_the_step_is_the_best_of_its_radius() -> None:
    actor, x = small_actor()
    params = list(actor.parameters())
    gradient_of = torch.randn(6, 2, 2, dtype=torch.float64)
    policy = actor(x)
    objective = (gradient_of * policy.mean).sum(-1).mean()
    gradient = flat(torch.autograd.grad(objective, params, retain_graph=True))
    radius = torch.tensor(1e-4, dtype=torch.float64)
    norm, refused, scale, *step = natural_step(objective, policy, params, NONE, radius, 200, 1e-2)

    metric = whole_fisher(actor, x) + 1e-2 * torch.eye(len(gradient))
    best = torch.linalg.solve(metric, gradient)
    best = best * (2 * radius / (best @ metric @ best)).sqrt()
    torch.testing.assert_close(flat(step), best, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(scale, (best @ metric @ best / (gradient @ best)))
    torch.testing.assert_close(norm, gradient.norm())
    assert not refused
    # and none of many others of that length climbs more
    others = torch.randn(500, len(gradient), dtype=torch.float64)
    others *= (2 * radius / torch.einsum("np,pq,nq->n", others, metric, others)).sqrt()[:, None]
    assert (others @ gradient).max() < best @ gradient


def test_a_weight_of_the_kl_makes_the_step_shorter_and_that_of_the_penalised_problem() -> None:
    actor, x = small_actor()
    params = list(actor.parameters())
    policy = actor(x)
    objective = policy.mean.square().sum(-1).mean()
    gradient = flat(torch.autograd.grad(objective, params, retain_graph=True))
    weight, far = torch.tensor(3.0, dtype=torch.float64), torch.tensor(1e6, dtype=torch.float64)
    _, _, scale, *step = natural_step(objective, policy, params, weight, far, 200, 1e-2)
    metric = whole_fisher(actor, x) + 1e-2 * torch.eye(len(gradient))
    torch.testing.assert_close(flat(step), torch.linalg.solve(metric, gradient) / 3.0)
    assert scale == pytest.approx(1 / 3.0)


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_no_gradient_is_no_step_and_what_is_not_finite_is_refused(slope: float) -> None:
    actor, x = small_actor()
    policy = actor(x)
    _, refused, scale, *step = natural_step(
        (slope * policy.mean).sum(), policy, list(actor.parameters()), NONE, torch.tensor(0.1), 5, 0.1
    )
    assert bool(refused) == (slope != 0.0)
    assert scale == 0.0
    assert not flat(step).any()


def test_a_fisher_matrix_that_is_not_finite_is_refused() -> None:
    actor, x = small_actor()
    policy = actor(x)
    broken = SquashedGaussian(policy.mean, policy.log_std - 1e3)  # 1 / std^2 is infinite
    params = list(actor.parameters())
    norm, refused, scale, *step = natural_step(policy.mean.sum(), broken, params, NONE, torch.tensor(0.1), 5, 0.1)
    assert norm.isfinite()
    assert refused
    assert scale == 0.0
    assert not flat(step).any()


def test_several_runs_at_once_take_each_their_own_step() -> None:
    actor, x = small_actor()
    params = list(actor.parameters())
    stacked = [torch.stack([param, 0.9 * param]).detach().requires_grad_() for param in params]
    names = [name for name, _ in actor.named_parameters()]
    radius, weight = torch.tensor([[0.1, 0.02], [0.0, 50.0]], dtype=torch.float64)

    def run(i: int, params: Any) -> tuple[Tensor, SquashedGaussian]:
        policy = functional_call(actor, dict(zip(names, params, strict=True)), (x,))
        return (policy.mean.sin() + (i + 1) * policy.log_std).mean(), policy

    apart = []
    for i in range(2):
        own = [param[i].detach().requires_grad_() for param in stacked]
        apart.append(natural_step(*run(i, own), own, weight[i], radius[i], 6, 0.1))
    both = [run(i, [param[i] for param in stacked]) for i in range(2)]
    objective = torch.stack([each[0] for each in both])
    policy = SquashedGaussian(*(torch.stack([getattr(each[1], name) for each in both]) for name in ("mean", "log_std")))
    together = natural_step(objective, policy, stacked, weight, radius, 6, 0.1)
    for parts in zip(together, *apart, strict=True):
        torch.testing.assert_close(parts[0], torch.stack(parts[1:]))


def window(module: NAPG) -> Any:
    """Return a window of the toy."""
    return Collector(PointMass(8, seed=1), horizon=8, seed=1).collect(module)


def test_the_actor_s_step_is_the_natural_one_of_the_cached_gradients() -> None:
    module = make_algorithm(
        "napg", kl_coef=0.0, radius=1e-5, final_radius=1e-5, fisher_stride=1, entropy_coef=0.0, iterations=100
    )
    batch = window(module)
    params = list(module.actor.parameters())
    before = [param.detach().clone() for param in params]
    policy = module.actor(module.normalizer(batch.obs))
    objective = (batch.action_grad * regenerate(policy, batch.sample)).sum(-1).mean()
    _, _, _, *expected = natural_step(objective, policy, params, NONE, torch.tensor(1e-5), 100, module.damping)
    metrics = module.improve_actor(batch, module.generator(batch))
    moved = [param.detach() - start for param, start in zip(params, before, strict=True)]
    assert metrics["actor/step_left"] > 0.9  # a little more KL in truth than to second order
    torch.testing.assert_close(flat(moved), metrics["actor/step_left"] * flat(expected), rtol=1e-3, atol=1e-7)


def test_no_window_moves_the_policy_further_than_the_radius() -> None:
    module = make_algorithm("napg", kl_coef=0.0, radius=0.5, final_radius=0.01, total_env_steps=512)
    metrics = run_fabric(module, make_data(8))
    radii = [row["actor/radius"] for row in metrics]
    assert radii == pytest.approx([0.5 * 0.02 ** (i / 8) for i in range(8)])
    for row, radius in zip(metrics, radii, strict=True):
        assert 0.3 * radius < row["actor/kl"] <= radius * 1.001


def test_every_step_of_a_window_is_in_the_fisher_matrix_in_turn() -> None:
    module, seen = make_algorithm("napg", fisher_stride=3), []
    forward = module.actor.forward
    batch = window(module)
    module.actor.forward = lambda x: seen.append(x) or forward(x)
    for iteration in range(3):
        module.iteration = iteration
        x = module.normalizer(batch.obs)
        module.improve_actor(batch, module.generator(batch))
        assert torch.equal(seen[1], x[iteration::3])
        seen.clear()


def test_critics_count_in_their_unit_and_are_sooner_where_values_are() -> None:
    obs, target = torch.randn(6, 8, 3), torch.full((6, 8), 300.0)
    errors = {}
    for unit in (1.0, 100.0):
        module = make_algorithm("rpo", value_unit=unit)
        first = module.value(obs)
        torch.testing.assert_close(first, unit * module.critics.ensemble(module.normalizer(obs)).mean(0))
        values = unit * module.critics.ensemble(module.normalizer(obs))
        loss = module.critics.fit(module.normalizer(obs), target, lambda loss: None, torch.Generator())
        torch.testing.assert_close(loss, (values - target).square().mean())
        optimizer = torch.optim.AdamW(module.critics.parameters(), lr=5e-4)

        def step(loss: Tensor, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        module.critics.fit(module.normalizer(obs), target, step, torch.Generator())
        errors[unit] = (module.value(obs) - target).abs().mean()
    assert errors[100.0] < errors[1.0] - 1.0
