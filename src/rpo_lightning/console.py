"""What the command line says, and how it says what went wrong."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

__all__ = ["debugging", "fail", "located", "one_line_errors", "quiet", "said_once", "say"]

USER_ERRORS = (ValueError, TypeError, RuntimeError, OSError, ImportError, LookupError)

NOT_THE_USERS = (Path(__file__).resolve().parent, Path(sysconfig.get_path("stdlib")).resolve())
"""Folders of code that is not the user's: this package, and Python."""


_said: set[str] | None = None
"""Lines that are not said again; None: all are said."""


def say(text: str) -> None:
    """Print one line for the user, apart from what a command outputs."""
    if _said is not None:
        if text in _said:
            return
        _said.add(text)
    print(text, file=sys.stderr, flush=True)


@contextmanager
def said_once() -> Iterator[None]:
    """Say nothing twice inside."""
    global _said
    _said = set()
    try:
        yield
    finally:
        _said = None


def fail(message: str, code: int) -> NoReturn:
    """Print one line and exit with `code`.

    Raises:
        SystemExit: always.
    """
    say(f"rpo-lightning: error: {' '.join(message.split())}")
    raise SystemExit(code)


def debugging() -> bool:
    """Tell whether the user wants to see tracebacks."""
    return bool(os.environ.get("RPO_LIGHTNING_DEBUG"))


def located(error: BaseException) -> str | None:
    """Return what an error says, behind file, line and function of the user's own code; None if it came out of none."""
    raised: BaseException | None = error
    while raised is not None:
        if (where := _users_line(raised)) is not None:
            same = str(raised) == str(error)
            said = f"{type(raised).__name__}: {error}" if same else str(error)
            return f"{where}: {said} (RPO_LIGHTNING_DEBUG=1 shows the whole traceback)"
        raised = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
    return None


def _users_line(error: BaseException) -> str | None:
    """Return for example "my_robot.py:31 in reward", the innermost place in code that is neither ours nor a library's."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        foreign = {"site-packages", "dist-packages"} & set(path.parts) or {*NOT_THE_USERS} & set(path.parents)
        if path.is_file() and not foreign:
            near = path.is_relative_to(Path.cwd())
            return f"{path.relative_to(Path.cwd()) if near else path}:{frame.lineno} in {frame.name}"
    return None


def _without_number(error: Exception) -> str:
    """Return what an error says; of one of files its name and what the system answered, without "[Errno 30]"."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str | bytes | os.PathLike):
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


@contextmanager
def one_line_errors(*also: type[Exception], began: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Tell errors of the user's making in one line, with exit code 2: all that come out of the user's own code, and others.

    Args:
        also: further kinds of the others.
        began: whether training runs by now: from there on an error is a defect, and its traceback is what one needs.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        where = located(error)
        if debugging() or began() or (where is None and not isinstance(error, USER_ERRORS + also)):
            raise
        fail(where or _without_number(error) or type(error).__name__, code=2)


def quiet() -> None:
    """Silence what says nothing to the user, by name; every other warning stays.

    What Lightning says on request, the tables of the profiler and of the model's layers, is heard. To be called after
    Lightning has been imported, which sets its own levels.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("lightning.pytorch.profilers", "lightning.pytorch.callbacks.model_summary"):
        logging.getLogger(name).setLevel(logging.INFO)
    for message in (
        # the simulator's state is restored by the data module, so a checkpoint inside an epoch is exact
        ".*resuming from a checkpoint that ended before the epoch ended",
        ".*isinstance\\(treespec, LeafSpec\\)",
    ):
        warnings.filterwarnings("ignore", message=message)
