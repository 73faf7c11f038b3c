"""REPPO against a plain writing of the published update."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rpo_lightning.algorithms import REPPO, REPPOAblation
from rpo_lightning.rollout import RolloutBatch
from tests.algorithms import reppo_paper
from tests.algorithms.captured import H, N
from tests.algorithms.drivers import largest_difference, snapshot
from tests.algorithms.reppo_window import generator, stirred, trainable, window

SETTINGS = reppo_paper.Settings(
    lr=3e-3,
    discount=0.97,
    td_lambda=0.9,
    epochs=2,
    minibatch_size=16,
    kl_target=0.1,
    kl_samples=4,
    target_entropy=-0.5,
    low=0.0,
    high=150.0,
    bins=31,
    min_std=0.1,
    aux_coef=1.0,
    max_grad_norm=0.5,
)


def published() -> REPPO:
    """Return the module of the paper's preset, small and in double precision, its layers' scales not those of the start."""
    module, _ = trainable(
        compat="paper",
        actor_lr=SETTINGS.lr,
        critic_lr=SETTINGS.lr,
        multiplier_lr=1.0,
        discount=SETTINGS.discount,
        td_lambda=SETTINGS.td_lambda,
        kl_samples=SETTINGS.kl_samples,
        bins=SETTINGS.bins,
    )
    stirred(module.double())
    for name, param in module.named_parameters():
        if name.endswith(("1.weight", "4.weight")):
            param.data *= 1.0 + 0.1 * torch.randn(param.shape, generator=generator(7))
    optimizers = module.configure_optimizers()
    module.scheduled_optimizers = lambda *rates: optimizers
    return module


def transitions(module: REPPO) -> RolloutBatch:
    """Return a window with all that a minibatch may meet: failures, time limits, clipped targets, far policies."""
    batch = window(module, torch.float64)
    assert batch.terminated[:-1].any()
    assert batch.truncated[:-1].any()
    draw = generator(8)
    batch.reward = 60.0 * torch.randn(H, N, generator=draw, dtype=torch.float64)
    batch.mean = batch.mean + 0.4 * torch.randn(batch.mean.shape, generator=draw).double()
    batch.log_std = batch.log_std + 0.2 * torch.randn(batch.mean.shape, generator=draw).double()
    at_failure = torch.randn(H, N, 3, generator=draw).double()
    batch.final_obs = torch.where(batch.terminated[..., None], at_failure, batch.final_obs)
    return batch


def test_an_update_is_the_published_one() -> None:
    module = published()
    batch = transitions(module)
    start = snapshot(module)
    expected = reppo_paper.update(start, SETTINGS, batch)
    metrics = {name: float(value) for name, value in module.update(batch).items()}
    ours = {name: value.detach() for name, value in module.named_parameters()}
    # what made the window worth comparing
    assert 0.2 < metrics["actor/beyond_kl"] < 0.8
    assert 0.05 < metrics["critic/clipped_targets"] < 0.8
    moved = {name: float((ours[name] - start[name]).abs().max()) for name in ours}
    assert min(moved.values()) > 3e-3
    assert largest_difference(ours, expected) < 1e-6


def test_the_preset_of_the_paper() -> None:
    module = REPPOAblation(3, 2, 4096, compat="paper")
    assert (module.kl_estimator, module.kl_samples, module.kl_target, module.aux_coef) == ("mc", 16, 0.1, 1.0)
    assert (module.bins.low, module.bins.high, module.bins.bins) == (0.0, 150.0, 151)
    assert not module.return_scaling
    assert module.target_entropy == -1.0
    kinds = {type(layer) for layer in module.modules()}
    assert torch.nn.RMSNorm in kinds
    assert torch.nn.LayerNorm not in kinds
    assert float(module.temperature) == pytest.approx(0.01)
    assert float(module.log_kl_coef.detach()) == pytest.approx(math.log(0.01))
    assert (module.actor.mlp[0].out_features, module.critic.output.in_features) == (512, 512)


def test_the_preset_yields_to_options() -> None:
    module = REPPOAblation(
        3, 2, 4096, hidden=(8,), critic_width=8, compat="paper",
        kl_estimator="analytic", return_scaling=True, value_range=(-3.0, 5.0), norm="none", bins=11,
    )  # fmt: skip
    assert module.kl_estimator == "analytic"
    assert module.return_scaling
    assert (module.bins.low, module.bins.high, module.bins.bins) == (-3.0, 5.0, 11)
    assert not any(isinstance(layer, (torch.nn.RMSNorm, torch.nn.LayerNorm)) for layer in module.modules())


def test_an_ablation_that_changes_nothing_is_reppo() -> None:
    plain, _ = trainable()
    ablation, _ = trainable(policy_gradient="pathwise")
    assert type(plain) is not type(ablation)
    for module in (plain, ablation):
        module.update(window(module))
    assert largest_difference(snapshot(plain), snapshot(ablation)) == 0.0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"policy_gradient": "pathwize"},
            "policy_gradient must be one of pathwise, score_q, score_gae, not 'pathwize'",
        ),
        ({"kl_control": "swich"}, "kl_control must be one of switch, penalty, none, not 'swich'"),
        ({"kl_estimator": "exact"}, "kl_estimator must be one of analytic, mc or null, not 'exact'"),
        ({"kl_samples": 0}, "kl_samples must be at least 1, not 0"),
        ({"compat": "papr"}, "compat must be one of paper or null, not 'papr'"),
        ({"td_lambda": 1.5}, r"td_lambda must be within \[0, 1\], not 1.5"),
        ({"discount": 1.0}, r"discount must be within \[0, 1\), not 1.0"),
        ({"discount": math.nan}, "discount must be a number, not nan"),
        ({"critic_lr": -1e-3}, "critic_lr must be at least 0, not -0.001"),
        ({"kl_target": math.inf}, "kl_target must be a number, not inf"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, not -0.1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, not 0.0"),
        ({"min_std": -0.1}, "min_std must be at least 0, not -0.1"),
        ({"action_grad_coef": -1.0}, "action_grad_coef must be at least 0, not -1.0"),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        REPPOAblation(3, 2, 4096, hidden=(8,), critic_width=8, **option)


def test_defaults() -> None:
    module = REPPO(3, 2, 4096, hidden=(8,), critic_width=8)
    assert module.return_scaling
    assert (module.bins.low, module.bins.high, module.bins.bins) == (-150.0, 150.0, 151)
    assert any(isinstance(layer, torch.nn.LayerNorm) for layer in module.modules())
    assert (module.epochs, module.minibatch_size, module.td_lambda, module.discount) == (8, 2048, 0.95, 0.99)
    assert (module.actor_lr, module.critic_lr, module.multiplier_lr, module.max_grad_norm) == (3e-4, 3e-4, 3e-3, 0.5)
    assert float(module.actor.log_min_std.exp()) == pytest.approx(0.1)
