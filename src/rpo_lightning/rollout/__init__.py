"""Collecting windows of experience, with action-gradients where the algorithm asks for them."""

from rpo_lightning.envs.protocol import Env
from rpo_lightning.rollout.batch import RolloutBatch
from rpo_lightning.rollout.collector import Agent, Collector, Window
from rpo_lightning.rollout.datamodule import RolloutDataModule, RolloutLoader, env_and_options, with_options
from rpo_lightning.rollout.replay import ReplayBuffer, Transitions

__all__ = [
    "Agent",
    "Collector",
    "Env",
    "ReplayBuffer",
    "RolloutBatch",
    "RolloutDataModule",
    "RolloutLoader",
    "Transitions",
    "Window",
    "env_and_options",
    "with_options",
]
