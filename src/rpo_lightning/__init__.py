"""Reinforcement learning with differentiable simulation on Lightning: Reparameterization PPO and what it is compared to."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Policy", "__version__", "init_from", "load_policy", "make"]

__version__ = "0.1.0"


_WHERE = {
    "make": "rpo_lightning.envs",
    "Policy": "rpo_lightning.trained_policy",
    "load_policy": "rpo_lightning.trained_policy",
    "init_from": "rpo_lightning.fine_tuning",
}


def __getattr__(name: str) -> Any:
    # importing the package stays light: the simulator loads with the first environment
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
