"""Collecting windows of experience, with action-gradients where the algorithm asks for them."""

from rpo_lightning.rollout.batch import RolloutBatch
from rpo_lightning.rollout.collector import Agent, Collector, Env
from rpo_lightning.rollout.datamodule import RolloutDataModule, RolloutLoader

__all__ = ["Agent", "Collector", "Env", "RolloutBatch", "RolloutDataModule", "RolloutLoader"]
