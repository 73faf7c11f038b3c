"""Find, name and keep what went non-finite."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from rpo_lightning.algorithms.containment import QUANTITIES, NonFiniteError
from rpo_lightning.checkpoints import write_tensors
from rpo_lightning.distributed import any_rank, rank

log = logging.getLogger("rpo_lightning")


class NaNGuard(Callback):
    """Report non-finite values by environment, step and quantity, and keep unusable windows out of the update.

    Environments that exploded are terminated, and non-finite rows of the action-gradient are set to zero, by the
    collector: a few of them do no harm and are only reported. A window with more than `tolerated` of them, or with
    any non-finite value left in what the update reads, is skipped on all processes. An update whose gradients are not
    finite is refused by the algorithm and counts like a skipped window. The first `dumps` findings are
    written to `nan/iteration_<i>_rank_<r>.pt` in the run folder: the simulator's start state of the environment and
    its slice of the window, enough to replay it.

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
        self._reason = ""
        self._found = 0
        self._directory = Path()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Learn where the run folder is."""
        self._directory = Path(trainer.default_root_dir) / "nan"

    def on_rollout_end(self, module: Any, batch: Any) -> None:
        """Look through the window before the update.

        Raises:
            NonFiniteError: on all processes, if this is the last of `patience` iterations in a row that did not learn.
        """
        unusable = {name: ~value.isfinite() for name in QUANTITIES if (value := getattr(batch, name)) is not None}
        repaired = {"state or reward": batch.invalid, "action_grad (set to 0)": batch.nonfinite_grad}
        masks = {name: mask.flatten(2).any(2) if mask.dim() > 2 else mask for name, mask in unusable.items()}
        bad = torch.stack([mask.any() for mask in masks.values()]).any()
        share = torch.stack([mask.float().mean() for mask in repaired.values()])
        # One transfer for the usual case, in which there is nothing to report.
        has_bad, *shares = torch.cat([bad.float().view(1), share]).tolist()
        skip = any_rank(bool(has_bad) or max(shares) > self.tolerated, module.device)
        if has_bad or max(shares) > 0:
            self._report(module, batch, {**repaired, **masks}, skip)
        if skip:
            module.skip_update = True
            self._check(module.refused_in_a_row + 1)  # the module counts this window when it is done with it

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop here, before a checkpoint, when updates were refused: a run that is continued may try another cure.

        Raises:
            NonFiniteError: as `on_rollout_end`.
        """
        if pl_module.refused_in_a_row > 0 and not pl_module.skip_update:
            self._reason = f"gradients of the update, from {_largest(batch)}"
            self._check(pl_module.refused_in_a_row)

    def _check(self, in_a_row: int) -> None:
        """Stop the run if so many iterations are too many."""
        if in_a_row < self.patience:
            return
        where = f"The dumps in {self._directory} hold the simulator's state before the first ones. " if self._found else ""
        raise NonFiniteError(
            f"NaNGuard stopped the run: {in_a_row} iterations in a row were not finite, the last one in: "
            f"{self._reason or 'another process'}. {where}A smaller learning rate, tighter clipping, a smaller time "
            f"step, and rewards of moderate size, without roots and quotients at 0, are the usual cures."
        )

    def _report(self, module: Any, batch: Any, masks: dict[str, Tensor], skip: bool) -> None:
        """Write one line about the earliest finding, and the dump."""
        where = {name: mask.nonzero()[0].tolist() for name, mask in masks.items() if mask.any()}
        quantity, (step, env) = min(where.items(), key=lambda item: item[1][0])
        self._reason = quantity
        self._found += 1
        if self._found > self.dumps:
            return
        count = int(torch.stack(list(masks.values())).any(0).any(0).sum())
        path = self._directory / f"iteration_{module.iteration}_rank_{rank()}.pt"
        content: dict[str, Any] = {"env": env, "step": step, "quantity": quantity, "iteration": module.iteration}
        content["start_state"] = [part[env].cpu() for part in batch.start_state]
        content["window"] = {
            field.name: value[:, env].cpu()
            for field in fields(batch)
            if isinstance(value := getattr(batch, field.name), Tensor) and value.shape[:2] == batch.reward.shape
        }
        write_tensors(path, content)
        others = f" ({count} environments in all)" if count > 1 else ""
        log.warning(
            "Non-finite %s in environment %d at step %d of iteration %d%s; update %s; dump in %s%s",
            quantity,
            env,
            step,
            module.iteration,
            others,
            "skipped" if skip else "kept",
            path,
            "; further findings are counted in nan/... only" if self._found == self.dumps else "",
        )


def _largest(batch: Any) -> str:
    """Name the largest of what an update read: what is not finite after it was often only large before."""
    present = {name: value for name in QUANTITIES if (value := getattr(batch, name)) is not None and value.numel()}
    sizes = {name: float(value.abs().max()) for name, value in present.items()}
    name = max(sizes, key=lambda each: sizes[each])
    return f"a window with {name} up to {sizes[name]:.3g}"
