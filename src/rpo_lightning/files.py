"""Writing the files of a run, each in one step, and what they may hold."""

from __future__ import annotations

import contextlib
import copy
import csv
import errno
import functools
import json
import math
import numbers
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["as_json", "named", "on_cpu", "plain", "write_atomically", "write_curve", "write_json", "write_tensors"]


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write(temporary)` make the file beside `path`, then move it there in one step.

    A process killed in between leaves the old file whole.

    Raises:
        OSError: if the file cannot be written; it names `path`, or the folder of it that is none.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from error
    with named(path, temporary):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        temporary.touch()  # not every library that writes says what the system has answered
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors of writing `temporary` name `path`, which is what the user knows; those of other files stay as they are."""
    try:
        yield
    except OSError as error:
        names = {error.filename, error.filename2}
        if error.errno is not None and (names == {None} or names & {temporary, str(temporary)}):
            error.filename, error.filename2 = str(path), None
        raise


def on_cpu(value: Any) -> Any:
    """Return a value with the tensors in its mappings and sequences on the CPU; the same where they are there already."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        moved = copy.copy(value)  # of its kind, with the attributes that a module's state has
        moved.update({key: on_cpu(each) for key, each in value.items()})
        return moved
    return type(value)(map(on_cpu, value)) if type(value) in (list, tuple) else value


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write with `torch.save`, in one step, all tensors as of the CPU: any machine can read them.

    Raises:
        OSError: if that cannot be written; torch does not say what the disk has answered.
    """
    content = on_cpu(content)

    def save(temporary: Path) -> None:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            raise OSError(errno.EIO, "the disk may be full, or the folder read-only", str(path)) from error

    write_atomically(path, save)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, in which a number that is not finite is null."""
    write_atomically(path, lambda temporary: temporary.write_text(as_json(content) + "\n"))


def as_json(content: Mapping[str, Any]) -> str:
    """Return `content` as indented JSON, which knows no NaN: null stands for it."""

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(each) for name, each in value.items()}
        if isinstance(value, list):
            return [finite(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(content), indent=1)


def write_curve(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float | None]]) -> None:
    """Write the learning curve as CSV, one row per measurement; a missing value is an empty field."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow("" if value is None or math.isnan(value) else f"{value:.10g}" for value in row)

    write_atomically(path, write)


def plain(value: Any) -> Any:
    """Return an option's value as numbers, text, lists and mappings, which any checkpoint reader can load."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Real):  # NumPy's
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, functools.partial):  # a class path with its arguments
        given = [plain(each) for each in value.args if isinstance(each, type)] or [plain(value.func)]
        return {"class_path": given[0], "init_args": plain(value.keywords)}
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)
