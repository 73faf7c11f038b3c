"""Algorithms: LightningModules with manual optimization."""

from rpo_lightning.algorithms.base import RLModule
from rpo_lightning.algorithms.rpo import RPO

__all__ = ["RPO", "RLModule"]
