"""A REPPO in double precision whose values, policy and multipliers are not those of the start, and windows for it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from rpo_lightning.algorithms import REPPO, REPPOAblation
from rpo_lightning.algorithms.reppo_samples import Samples
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.captured import H, captured, restless
from tests.toy import PointMass

DOUBLE = torch.float64
ALPHA, BETA = 0.7, 0.4
OF_ABLATIONS = {"policy_gradient", "kl_control", "kl_estimator", "kl_samples", "compat"}


def kind(options: dict[str, Any]) -> type[REPPO]:
    """Return the class that has these options."""
    return REPPOAblation if OF_ABLATIONS & options.keys() else REPPO


def generator(seed: int) -> torch.Generator:
    """Return a generator of this seed."""
    return torch.Generator().manual_seed(seed)


def stirred(module: REPPO) -> REPPO:
    """Return the module with other statistics, multipliers, and values that differ between states and actions."""
    module.normalizer.update(0.3 + 0.5 * torch.randn(100, 3, generator=generator(0)))
    if module.critic.prior is not None:
        module.critic.prior.data *= 0.1
    module.critic.output.weight.data *= 3.0
    module.log_temperature.data.fill_(math.log(ALPHA))
    module.log_kl_coef.data.fill_(math.log(BETA))
    return module


def prepared(**options: Any) -> tuple[REPPO, RolloutBatch]:
    """Return a module that captures its gradients, and a window of it in which episodes end in every way."""
    defaults = {"critic_width": 16, "return_scaling": False, "value_range": (-20.0, 20.0), "bins": 41}
    module = stirred(captured(kind(options), **{**defaults, **options}))
    batch = Collector(restless(), H, seed=1).collect(module)
    assert batch.terminated[:-1].any()
    t, n = batch.truncated[:-1].nonzero()[0].tolist()
    batch.alive[t, n] = False  # broken
    assert (batch.truncated[:-1] & batch.alive[:-1]).any()
    batch.final_obs = torch.where(batch.alive[..., None], batch.final_obs, torch.randn(3, generator=generator(4)).double())
    return module, batch


def moved(module: REPPO, batch: RolloutBatch, by: float = 0.3) -> Samples:
    """Return the window as one minibatch, with the actor no longer the one that acted; KL differs between states."""
    part = module.targets(batch, generator(1))
    module.actor.mlp[-1].weight.data += by * torch.randn(module.actor.mlp[-1].weight.shape, generator=generator(5)).double()
    return part


def trainable(**options: Any) -> tuple[REPPO, list[torch.optim.Optimizer]]:
    """Return a small module outside any driver, and the optimizers that its updates step."""
    torch.manual_seed(0)
    small = {"hidden": (16, 16), "critic_width": 16, "minibatch_size": 16, "epochs": 2}
    module = kind(options)(3, 1, 4096, **{**small, **options})
    optimizers = module.configure_optimizers()
    module.scheduled_optimizers = lambda *rates: optimizers
    return module, optimizers


def window(module: REPPO, dtype: torch.dtype = torch.float32) -> RolloutBatch:
    """Return a window in which episodes end in both ways."""
    env = PointMass(6, seed=3, episode_length=5, limit=0.95, dtype=dtype)
    return Collector(env, H, seed=1).collect(module)


def acting(module: REPPO, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return actions (..., A) of the policy and their log densities (...,), with torch.distributions."""
    policy = module.actor(x)
    action = (policy.mean + policy.log_std.exp() * noise).tanh()
    density = td.TransformedDistribution(td.Normal(policy.mean, policy.log_std.exp()), td.TanhTransform())
    return action, density.log_prob(action.clamp(-1 + 1e-15, 1 - 1e-15)).sum(-1)
