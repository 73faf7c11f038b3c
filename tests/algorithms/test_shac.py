"""SHAC, improved and original: the gradient of the window's return, and the critic's slow copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rpo_lightning.algorithms import RPO, SHAC
from rpo_lightning.rollout import Collector
from tests.algorithms.captured import H, assert_gradients_equal, captured, direct_gradient, restless
from tests.algorithms.drivers import ORIGINAL_NETWORKS
from tests.reference import window_noise

ORIGINAL: dict[str, Any] = {**ORIGINAL_NETWORKS, "target_smoothing": 0.2}
BOTH = pytest.mark.parametrize("options", [{}, ORIGINAL], ids=["improved", "original"])


def away_from_its_critic(module: SHAC) -> SHAC:
    """Move the critic, so that it is no longer its slow copy."""
    if module.critics.target is not None:
        for param in module.critics.ensemble.parameters():
            param.data += 0.3
    return module


@BOTH
def test_gradient_is_that_of_the_window_s_return_straight_to_the_parameters(options: dict[str, Any]) -> None:
    module = away_from_its_critic(captured(SHAC, **options))
    collector = Collector(restless(), H, seed=1)
    noise = window_noise(collector, 1)
    batch = collector.collect(module)
    module.improve_actor(batch, None, torch.Generator())
    assert_gradients_equal(module.gradients[0], direct_gradient(module, noise, bonus=False))
    names = [name for name, _ in module.actor.named_parameters()]
    assert ("log_std" in names) == (type(module.actor).__name__ == "FreeStdActor")
    if "log_std" in names:
        assert float(module.gradients[0][names.index("log_std")].abs().min()) > 0.001


@BOTH
def test_gradient_is_rpo_s_first_epoch_without_regularizers(options: dict[str, Any]) -> None:
    module = away_from_its_critic(captured(SHAC, **options))
    rpo = captured(RPO, actor_epochs=1, kl_coef=0.0, entropy_coef=0.0)
    rpo.actor, rpo.critics = module.actor, module.critics
    for each in (module, rpo):
        batch = Collector(restless(), H, seed=1).collect(each)
        each.improve_actor(batch, None, torch.Generator())
    assert_gradients_equal(module.gradients[0], rpo.gradients[0])


def test_original_critic_is_followed_once_per_iteration_by_the_copy_that_values_come_from() -> None:
    module = away_from_its_critic(captured(SHAC, **ORIGINAL, critic_epochs=3))
    obs = torch.randn(5, 3, dtype=torch.float64)
    x = module.normalizer(obs)
    slow = module.critics.target(x)[0]
    assert (slow - module.critics.ensemble(x)[0]).abs().min() > 0
    torch.testing.assert_close(module.value(obs), slow)
    torch.testing.assert_close(module.critics.bootstrap(module.normalizer(obs)), slow)
    before = [param.clone() for param in module.critics.target.parameters()]
    batch = Collector(restless(), H, seed=1).collect(module)
    module.fit_critics(batch, batch.reward, None, torch.Generator())
    for old, new, param in zip(
        before, module.critics.target.parameters(), module.critics.ensemble.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.2 * old + 0.8 * param)
    assert not any(param.requires_grad for param in module.critics.target.parameters())


def test_critics_without_smoothing_have_no_copy() -> None:
    module = captured(SHAC)
    obs = torch.randn(5, 3, dtype=torch.float64)
    assert module.critics.target is None
    torch.testing.assert_close(
        module.critics.bootstrap(module.normalizer(obs)), module.critics.ensemble(module.normalizer(obs)).amin(0)
    )


def test_the_reward_has_no_bonus() -> None:
    assert not Collector(restless(), H, seed=1).collect(captured(SHAC)).bonus.any()


def test_a_label_names_the_variant_everywhere() -> None:
    module = SHAC(3, 1, 4096, label="shac_original", hidden=(4,))
    assert (module.name, SHAC(3, 1, 4096, hidden=(4,)).name) == ("shac_original", "shac")
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["rpo_lightning"]["algorithm"] == "shac_original"
