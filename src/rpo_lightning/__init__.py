"""Reinforcement learning with differentiable simulation on Lightning: Reparameterization PPO and what it is compared to."""

from __future__ import annotations

from rpo_lightning.lazy import lazily

__all__ = ["Policy", "__version__", "init_from", "load_policy", "make"]

__version__ = "0.1.0"

__getattr__ = lazily(
    __name__,
    {
        "make": "rpo_lightning.envs",
        "Policy": "rpo_lightning.trained_policy",
        "load_policy": "rpo_lightning.trained_policy",
        "init_from": "rpo_lightning.fine_tuning",
    },
)
