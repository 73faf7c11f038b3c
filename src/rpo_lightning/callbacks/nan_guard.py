"""Find, name and keep what went non-finite."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from rpo_lightning.algorithms.containment import CURES, QUANTITIES, Findings
from rpo_lightning.distributed import rank
from rpo_lightning.files import write_tensors

log = logging.getLogger("rpo_lightning")


class NaNGuard(Callback):
    """Report non-finite values by environment, step and quantity, and say how many of them are too many.

    Environments that exploded are terminated, and non-finite rows of the action-gradient are set to zero, by the
    collector: a few of them do no harm and are only reported. The algorithm skips, on all processes, a window with more
    than `tolerated` of them, or with any non-finite value left in what the update reads, and refuses an update whose
    gradients are not finite; it does so without this callback too, which says where it began. The first `dumps` findings
    are written to `nan/iteration_<i>_rank_<r>.pt` in the run folder: the simulator's start state of the environment, its
    `parameters` and `target` then if it has any, and its slice of the window, enough to replay it.

    Args:
        patience: stop after so many iterations in a row whose window was skipped or of whose updates some were refused.
        tolerated: share of a window's samples that may have been repaired.
        dumps: at most so many files (and lines) per process.
    """

    def __init__(self, patience: int = 5, tolerated: float = 0.05, dumps: int = 5) -> None:
        super().__init__()
        if patience < 1:
            raise ValueError(f"NaNGuard needs patience of at least 1, not {patience}.")
        self.patience, self.tolerated, self.dumps = patience, tolerated, dumps
        self._found = 0
        self._directory = Path()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Learn where the run folder is, and let the module be as patient and tolerant as this."""
        self._directory = Path(trainer.default_root_dir) / "nan"
        pl_module.patience, pl_module.tolerated = self.patience, self.tolerated

    def on_window_checked(self, module: Any, batch: Any, findings: Findings) -> None:
        """Report what the module has found in a window."""
        if findings.broken or findings.repaired > 0:
            self._report(module, batch)

    def _report(self, module: Any, batch: Any) -> None:
        """Write one line about the earliest finding, and the dump."""
        unusable = {name: ~value.isfinite() for name in QUANTITIES if (value := getattr(batch, name)) is not None}
        masks = {"state or reward": batch.invalid, "action_grad (set to 0)": batch.nonfinite_grad}
        masks |= {name: mask.flatten(2).any(2) if mask.dim() > 2 else mask for name, mask in unusable.items()}
        where = {name: mask.nonzero()[0].tolist() for name, mask in masks.items() if mask.any()}
        quantity, (step, env) = min(where.items(), key=lambda item: item[1][0])
        self._found += 1
        if self._found > self.dumps:
            return
        count = int(torch.stack(list(masks.values())).any(0).any(0).sum())
        path = self._directory / f"iteration_{module.iteration}_rank_{rank()}.pt"
        content: dict[str, Any] = {"env": env, "step": step, "quantity": quantity, "iteration": module.iteration}
        content["start_state"] = [part[env].cpu() for part in batch.start_state]
        content |= {name: part[env].cpu() for name, part in batch.start_context.items()}
        content["window"] = {
            field.name: value[:, env].cpu()
            for field in fields(batch)
            if isinstance(value := getattr(batch, field.name), Tensor) and value.shape[:2] == batch.reward.shape
        }
        write_tensors(path, content)
        module.advice = f"The dumps in {self._directory} hold the simulator's state before the first ones. {CURES}"
        others = f" ({count} environments in all)" if count > 1 else ""
        log.warning(
            "Non-finite %s in environment %d at step %d of iteration %d%s; update %s; dump in %s%s",
            quantity,
            env,
            step,
            module.iteration,
            others,
            "skipped" if module.skip_update else "kept",
            path,
            "; further findings are counted in nan/... only" if self._found == self.dumps else "",
        )
