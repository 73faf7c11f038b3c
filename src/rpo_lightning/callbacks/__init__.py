"""Callbacks that work unchanged under Lightning's Trainer and under Fabric.

They use only what both drivers give them: the module, the batch and the outputs of `training_step`, the hooks
`on_rollout_end`, `on_window_checked`, `on_actor_epoch_end` and `on_evaluation_end`, and of the driver `should_stop`,
`is_global_zero`, `global_rank`, `world_size`, `default_root_dir`, `callbacks`, `loggers`, `datamodule`, `strategy`,
`num_training_batches` and `save_checkpoint`. Those that keep files of a run find out by themselves where it is: `run_of`.
"""

from rpo_lightning.callbacks.budget import StopAtBudget
from rpo_lightning.callbacks.checkpoint import LastAndBest
from rpo_lightning.callbacks.curriculum import Curriculum
from rpo_lightning.callbacks.effective_samples import EffectiveSamples
from rpo_lightning.callbacks.evaluation import Evaluation, evaluate
from rpo_lightning.callbacks.evidence import Evidence
from rpo_lightning.callbacks.kl_tuner import KLTuner
from rpo_lightning.callbacks.nan_guard import NaNGuard
from rpo_lightning.callbacks.progress import Progress
from rpo_lightning.callbacks.record_video import RecordVideo
from rpo_lightning.callbacks.run_folder import RunFolder
from rpo_lightning.callbacks.stop_on_signal import StopOnSignal

__all__ = [
    "Curriculum",
    "EffectiveSamples",
    "Evaluation",
    "Evidence",
    "KLTuner",
    "LastAndBest",
    "NaNGuard",
    "Progress",
    "RecordVideo",
    "RunFolder",
    "StopAtBudget",
    "StopOnSignal",
    "evaluate",
]
