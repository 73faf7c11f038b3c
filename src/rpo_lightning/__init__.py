"""Reinforcement learning with differentiable simulation on Lightning: Reparameterization PPO and what it is compared to."""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "make"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # importing the package stays light: the simulator loads with the first environment
    if name == "make":
        from rpo_lightning.envs import make

        return make
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
