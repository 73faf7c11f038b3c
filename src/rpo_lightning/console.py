"""What the command line says, and how it says what went wrong."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["fail", "one_line_errors", "quiet", "say"]

USER_ERRORS = (ValueError, TypeError, RuntimeError, OSError, ImportError, LookupError)


def say(text: str) -> None:
    """Print one line for the user, apart from what a command outputs."""
    print(text, file=sys.stderr, flush=True)


def fail(message: str, code: int) -> NoReturn:
    """Print one line and exit with `code`.

    Raises:
        SystemExit: always.
    """
    say(f"rpo-lightning: error: {' '.join(message.split())}")
    raise SystemExit(code)


@contextmanager
def one_line_errors(*also: type[Exception], began: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Tell errors of the user's making in one line, with exit code 2.

    Args:
        also: further kinds of them.
        began: whether training runs by now: from there on an error is a defect, and its traceback is what one needs.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except USER_ERRORS + also as error:
        if os.environ.get("RPO_LIGHTNING_DEBUG") or began():
            raise
        fail(str(error) or type(error).__name__, code=2)


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
