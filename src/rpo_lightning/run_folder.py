"""Where a run lives, and how it is found again.

A run lives in `runs/<task>/<algorithm>/seed_<k>/`: `config.yaml` as resolved, TensorBoard events and
`checkpoints/{last,best,step_<n>}.ckpt`; at its end come `summary.json`, `curve.csv` and `policy.pt`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rpo_lightning.discovery import nearest

__all__ = ["CHECKPOINTS", "NAMED", "check_new_run", "find_checkpoint", "history", "newest_checkpoint", "run_directory"]

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints inside a run folder."""

NAMED = re.compile(r"last|best|step_\d+")
"""What `--ckpt_path` may say instead of a path."""


def run_directory(task: str, algorithm: str, seed: int) -> Path:
    """Return `runs/<task>/<algorithm>/seed_<k>`, relative to the working directory."""
    return Path("runs") / task / algorithm / f"seed_{seed}"


def check_new_run(directory: Path, checkpoint: Path | None, command: str = "fit") -> None:
    """Refuse to start over an existing run. A folder without a checkpoint is none.

    Raises:
        ValueError: if `directory` holds a run and `checkpoint` (what to resume from) is not inside it.
    """
    if newest_checkpoint(directory) is None:
        return
    if checkpoint is not None and directory.resolve() in checkpoint.resolve().parents:
        return
    raise ValueError(
        f"{directory} already holds a run. Continue it with `rpo-lightning {command} ... --ckpt_path last`, or start "
        f"a new one elsewhere with `--trainer.default_root_dir DIRECTORY` (or another --seed_everything)."
    )


def newest_checkpoint(directory: Path) -> Path | None:
    """Return `last.ckpt`, or what Lightning wrote after it when SLURM was about to end the job; None without either."""
    found = [path for path in (directory / CHECKPOINTS / "last.ckpt", *directory.glob("hpc_ckpt_*.ckpt")) if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def history(folder: Path) -> list[int]:
    """Return the environment steps of the checkpoints `step_<n>.ckpt` in a folder, in order."""
    return sorted(int(path.stem[5:]) for path in folder.glob("step_*.ckpt") if NAMED.fullmatch(path.stem))


def find_checkpoint(name: str | None, directory: Path) -> Path | None:
    """Return the file behind `--ckpt_path`: a path, or `last`, `best` or `step_<n>` of the run in `directory`.

    None means that there is none yet, so that one command both starts and continues a run. A job that SLURM has started
    again asks for `last` by itself.

    Raises:
        ValueError: if the file is missing; the message says what there is.
    """
    if name is None:
        again = int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0
        return newest_checkpoint(directory) if again else None
    if name == "last":
        return newest_checkpoint(directory)
    if name == "best":
        path = directory / CHECKPOINTS / "best.ckpt"
        if path.exists():
            return path
        raise ValueError(f"There is no {path}: no evaluation of this run has been checkpointed yet.")
    path = Path(name)
    if path.is_file():
        return path
    if NAMED.fullmatch(name):
        if (path := directory / CHECKPOINTS / f"{name}.ckpt").exists():
            return path
        kept = ", ".join(f"step_{steps}" for steps in history(directory / CHECKPOINTS))
        raise ValueError(
            f"There is no {path}: {f'there is {kept}' if kept else 'every_n_steps of the callback LastAndBest keeps some'}."
        )
    folder = path if path.is_dir() else path.parent
    near = sorted(str(p) for pattern in ("*.ckpt", "*.pt", f"{CHECKPOINTS}/*.ckpt") for p in folder.glob(pattern))
    hint = f" There is: {', '.join(near[:5])}." if near else f" Nothing in {folder} is a checkpoint."
    what = f"{name} is a folder, no checkpoint." if path.is_dir() else f"No checkpoint at {name}."
    raise ValueError(what + nearest(name, ("last", "best")) + hint)
