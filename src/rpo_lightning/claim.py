"""One process works in a run folder at a time, leaves it tidy, and says what became of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rpo_lightning.checkpoints import counters
from rpo_lightning.run_folder import newest_checkpoint

__all__ = ["claimed", "write_failure"]

LOCK = ".lock"
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}
"""What a disk answers that is full, over a quota, read-only, broken or gone."""


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, remove what killed ones have half written, and leave no empty folder.

    The lock dies with its process, so that nothing has to be cleared away after a crash.

    Raises:
        ValueError: another process works in the folder. OSError: it cannot be written.
    """
    new = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    lock = _lock(directory / LOCK)
    hook = threading.excepthook
    threading.excepthook = _quiet_about_disks
    try:
        for leftover in (*directory.glob(".*.tmp"), *directory.glob("*/.*.tmp")):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        threading.excepthook = hook
        (directory / LOCK).unlink(missing_ok=True)
        lock.close()
        with contextlib.suppress(OSError):  # from the first one that is not empty
            for folder in new:
                folder.rmdir()


def _lock(path: Path) -> IO[str]:
    while True:
        file = path.open("a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ValueError(
                f"{path.parent} is in use by {holder}: two runs cannot write to one folder. End that one first, or start "
                f"elsewhere with --trainer.default_root_dir DIRECTORY."
            ) from None
        except OSError:
            return file  # a file system without locks
        # the other process may have removed the file, with its lock, just before we got ours
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            return file
        file.close()


def write_failure(error: BaseException, directory: Path, written: bool, results: Sequence[Path] = ()) -> str | None:
    """Say in one sentence what became of a run whose folder could not be written; None for every other error.

    Args:
        error: what ended the run.
        directory: the run folder.
        written: whether the run had written to it; `claimed` itself removes one that is still empty.
        results: further folders that the run writes to.
    """
    chain, cause = [error], error.__cause__ or error.__context__
    while cause is not None and cause not in chain:
        chain, cause = [*chain, cause], cause.__cause__ or cause.__context__
    gone = not directory.is_dir()
    answers = [each for each in chain if isinstance(each, OSError)]
    inside = [each for each in answers if _inside(each, directory)]
    if gone and (inside or (answers and written)):
        return f"{directory} is gone: moved or removed while the run was writing to it. Nothing of it is left there."
    inside += [each for each in answers if any(_inside(each, folder) for folder in results)]
    answers = [each for each in answers if each.errno in DISK or each in inside]
    if not answers:
        return None
    reason = f"{_named(answers[-1]) or directory} cannot be written: {answers[-1].strerror or answers[-1]}."
    checkpoint = newest_checkpoint(directory)
    if checkpoint is None:
        return f"{reason} Nothing of the run is kept yet."
    done = f"{counters(checkpoint)['env_steps']:,}".replace(",", " ")
    return f"{reason} {checkpoint} is safe, at {done} steps: --ckpt_path last goes on from it once that is mended."


def _named(error: OSError) -> str | None:
    """Return the file that an error names, if it does."""
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None


def _inside(error: OSError, directory: Path) -> bool:
    """Tell whether an error names the folder, or a file of it."""
    name = _named(error)
    return name is not None and Path(name).resolve().is_relative_to(directory.resolve())


def _quiet_about_disks(event: threading.ExceptHookArgs) -> None:
    """Print no traceback for a logger's thread that could not write: the next metric raises the same error here."""
    if not isinstance(event.exc_value, OSError):
        threading.__excepthook__(event)
