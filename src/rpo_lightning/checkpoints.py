"""Reading checkpoints: once, tensors and plain values only, and with one sentence for what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from rpo_lightning import __version__
from rpo_lightning.files import write_tensors

__all__ = ["CheckpointFiles", "check_checkpoint", "counters", "no_state_of_training", "read_checkpoint", "read_file"]

ZIP = b"PK\x03\x04"
"""What a file of `torch.save` begins with."""


def read_file(path: Path, mapped: bool = False) -> dict[str, Any]:
    """Return the content of a file that `torch.save` wrote.

    Args:
        path: of the file.
        mapped: read a tensor from the file when its numbers are first asked for, and never if they are not.

    Raises:
        ValueError: in one sentence, if there is no such content in it. OSError: if it may not be read.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, no checkpoint. {_way_out(path)}")
    with path.open("rb") as file:
        beginning = file.read(len(ZIP))
    try:
        # the reason that torch gives for a failure may be the advice to execute what is in the file
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped) if beginning == ZIP else None
    except Exception as error:
        raise ValueError(f"{path} is damaged, or was not written by rpo-lightning. {_way_out(path)}") from error
    if not isinstance(content, dict):
        state = "is empty" if not beginning else "is no checkpoint and no policy.pt of rpo-lightning"
        raise ValueError(f"{path} {state}. {_way_out(path)}")
    return content


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint that a run can be continued from; of several processes each reads its own replay buffer only.

    Raises:
        ValueError: in one sentence, if it is none, or one of another version.
    """
    content = read_file(path, mapped=True)
    check_checkpoint(content, path)
    return content


def counters(path: Path) -> dict[str, int]:
    """Return `iteration` and `env_steps` of a checkpoint.

    Raises:
        ValueError: if it is not a checkpoint of a run.
    """
    content = read_checkpoint(path)
    return {name: content["rpo_lightning"][name] for name in ("iteration", "env_steps")}


def check_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Check that a file's content is a checkpoint of this version.

    Raises:
        ValueError: if it is not.
    """
    if "policy" in content:
        raise ValueError(no_state_of_training(path))
    if "rpo_lightning" not in content or "state_dict" not in content:
        raise ValueError(f"{path} is no checkpoint of rpo-lightning. {_way_out(path)}")
    version = content["rpo_lightning"].get("version")
    if version is None or version.split(".")[:2] != __version__.split(".")[:2]:
        raise ValueError(
            f"{path} was written by {f'version {version}' if version else 'an older version'} of rpo-lightning, this is "
            f"{__version__}: go on with that version, or start a new run."
        )


def no_state_of_training(policy: Path | str) -> str:
    """Return what is said to somebody who would go on with a run from a policy."""
    return (
        f"{policy} is a policy: it has no state of training (critics, optimizers, counters) that a run could go on from. "
        f"--init_from {policy} begins a new run with its weights."
    )


def _way_out(path: Path) -> str:
    best = path.with_name("best.ckpt")
    if best.exists() and best != path:
        return f"Go on from {best} (--ckpt_path best), or start a new run."
    return "Name another file, or start a new run."


class CheckpointFiles(TorchCheckpointIO):
    """How both drivers write checkpoints and read the one that a run continues from.

    The drivers' own way writes to a folder of the system first and reads the file again.

    Args:
        path: to continue from; read at once.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._content = None if path is None else read_checkpoint(path)

    @property
    def env_steps(self) -> int:
        """Environment steps of the checkpoint to continue from, until it has been handed on."""
        return 0 if self._content is None else self._content["rpo_lightning"]["env_steps"]

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint in one step."""
        write_tensors(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return a checkpoint on the CPU; the one already read is handed on and not kept."""
        if Path(path) != self.path or self._content is None:
            return read_checkpoint(Path(path))
        content, self._content = self._content, None
        return content
