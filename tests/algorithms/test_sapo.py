"""SAPO: the gradient of the soft return, the temperature, and soft targets."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rpo_lightning.algorithms import RPO, SAPO
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.captured import H, N, assert_gradients_equal, captured, direct_gradient, restless
from tests.reference import brute_force_lambda_return, window_noise
from tests.toy import PointMass


def actor_gradient(module: SAPO | RPO, batch: RolloutBatch) -> tuple[Tensor, ...]:
    module.improve_actor(batch, None, torch.Generator().manual_seed(0))
    return module.gradients[0]


@pytest.mark.parametrize("temperature", [{"entropy_coef": 0.3}, {"init_temperature": 0.3}], ids=["fixed", "tuned"])
def test_gradient_is_that_of_the_soft_return_straight_to_the_parameters(temperature: dict[str, float]) -> None:
    module = captured(SAPO, **temperature)
    collector = Collector(restless(), H, seed=1)
    noise = window_noise(collector, 1)
    batch = collector.collect(module)
    module.entropy_noise = noise[1]
    ours = actor_gradient(module, batch)
    module.entropy_coef = 0.3  # for the reference
    assert_gradients_equal(ours, direct_gradient(module, noise, bonus=True))


def test_gradient_is_rpo_s_first_epoch_with_discounted_regularizers() -> None:
    gradients = []
    for module in (
        captured(SAPO, entropy_coef=0.3),
        captured(RPO, entropy_coef=0.3, kl_coef=0.0, actor_epochs=1, discounted_regularizers=True),
    ):
        batch = Collector(restless(), H, seed=1).collect(module)
        module.entropy_noise = torch.randn(H, N, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        gradients.append(actor_gradient(module, batch))
    assert_gradients_equal(*gradients)


@pytest.mark.parametrize(("offset", "expected"), [(True, (1.3 + 0.8) / 1.6), (False, 1.3 / 0.8)])
def test_bonus_is_the_scaled_entropy_times_the_temperature(offset: bool, expected: float) -> None:
    module = captured(SAPO, init_temperature=0.3, target_entropy_per_dim=0.8, entropy_offset=offset)
    module.sampled_entropy = lambda policy, generator: torch.full_like(policy.mean[..., 0], 1.3)
    bonus = module.reward_bonus(module.policy(torch.randn(5, 3, dtype=torch.float64)), torch.Generator())
    torch.testing.assert_close(bonus, torch.full((5,), 0.3 * expected, dtype=torch.float64))


# Temperature


@pytest.mark.parametrize("entropy", [-2.0, 1.0])
def test_temperature_follows_its_loss_towards_the_target_entropy(entropy: float) -> None:
    module = captured(SAPO, init_temperature=0.3, target_entropy_per_dim=0.8)
    module.tune_temperature(torch.tensor(entropy, dtype=torch.float64), None)
    assert float(module.gradients[0][0]) == pytest.approx(0.3 * 0.8 * (entropy + 0.8))
    module = SAPO(3, 1, 4096, hidden=(4,), init_temperature=0.3)
    optimizer = module.configure_optimizers()[2]
    module.tune_temperature(torch.tensor(entropy), optimizer)
    assert math.log(0.3) + math.copysign(5e-3, -entropy) == pytest.approx(float(module.log_temperature), abs=1e-5)


def test_temperature_does_not_decay() -> None:
    module = SAPO(3, 1, 4096, hidden=(4,), target_entropy_per_dim=0.5, init_temperature=2.0)
    optimizer = module.configure_optimizers()[2]
    for _ in range(10):
        module.tune_temperature(torch.tensor(-0.5), optimizer)
    assert float(module.temperature) == pytest.approx(2.0, abs=1e-6)


# The iteration


class Updated(SAPO):
    """One update with the module's own optimizers; remembers what its parts were given."""

    def scheduled_optimizers(self, *initial: float) -> list[torch.optim.Optimizer]:
        """Return fresh ones."""
        return self.configure_optimizers()

    def improve_actor(self, batch: RolloutBatch, *args: Any) -> dict[str, Any]:
        """Note the temperature."""
        self.seen = {"actor": float(self.temperature), "policy": self.policy(batch.obs).detach()}
        return super().improve_actor(batch, *args)

    def sampled_entropy(self, policy: Any, generator: torch.Generator) -> Tensor:
        """Without noise."""
        return policy.entropy(torch.zeros_like(policy.mean))

    def fit_critics(self, batch: RolloutBatch, reward: Tensor, *args: Any) -> dict[str, Any]:
        """Note the rewards."""
        self.seen |= {"reward": reward, "critic": float(self.temperature)}
        return super().fit_critics(batch, reward, *args)


def updated(**options: Any) -> tuple[Updated, RolloutBatch, dict[str, Any]]:
    torch.manual_seed(0)
    module = Updated(3, 1, 4096, hidden=(16, 16), critic_epochs=1, temperature_lr=0.5, **options)
    batch = Collector(PointMass(N, seed=3, episode_length=5), H, seed=1).collect(module)
    return module, batch, module.update(batch)


def test_targets_take_the_new_temperature_and_all_before_them_the_old() -> None:
    module, batch, metrics = updated(init_temperature=0.3)
    assert module.seen["actor"] == pytest.approx(0.3)
    entropy = module.sampled_entropy(module.seen["policy"], torch.Generator())
    assert float(metrics["actor/entropy"]) == pytest.approx(float(entropy.mean()))
    b = (entropy + 0.5) / 1.0
    torch.testing.assert_close(batch.bonus, 0.3 * b)
    new = float(module.temperature)
    assert abs(math.log(new / 0.3)) == pytest.approx(0.5, abs=1e-3)
    assert module.seen["critic"] == new == pytest.approx(float(metrics["actor/temperature"]))
    torch.testing.assert_close(module.seen["reward"], batch.reward + new * b)


@pytest.mark.parametrize("coefficient", [0.3, 0.0])
def test_a_fixed_temperature_stays(coefficient: float) -> None:
    module, batch, metrics = updated(entropy_coef=coefficient)
    assert float(metrics["actor/temperature"]) == pytest.approx(coefficient)
    assert float(module.log_temperature) == 0.0
    torch.testing.assert_close(module.seen["reward"], batch.reward + batch.bonus)
    assert math.isfinite(metrics["critic/loss"])


def test_targets_take_the_smallest_critic() -> None:
    module = captured(SAPO, entropy_coef=0.3, critic_epochs=1, critic_minibatches=1)
    batch = Collector(restless(), H, seed=1).collect(module)
    x, value = module.normalizer(batch.obs), module.critics.ensemble(module.normalizer(batch.final_obs)).amin(0)
    next_value = torch.where(batch.alive, value, 0.0).detach()
    module.fit_critics(batch, batch.reward + batch.bonus, None, torch.Generator())
    target = brute_force_lambda_return(batch.reward + batch.bonus, next_value, batch.done, 0.99, 0.95)
    error = (module.critics.ensemble(x) - target).square().mean()
    assert_gradients_equal(module.gradients[0], torch.autograd.grad(error, list(module.critics.ensemble.parameters())))
