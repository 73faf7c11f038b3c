"""One part of the check: a process of its own with a budget, whose rows arrive as it finds them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """Where the parts run: "cuda", or "cpu" for a rehearsal in which everything is small."""

    device: str

    def choose(self, full: T, small: T) -> T:
        """Return the size of a real check, or that of a rehearsal."""
        return small if self.device == "cpu" else full


@dataclass(frozen=True)
class Part:
    """What is looked at, and in at most how many seconds; `run` yields a row per finding, with `ok` where it can fail."""

    run: Callable[[Settings], Iterator[Row]]
    seconds: float

    @property
    def says(self) -> str:
        """What it does, in a line."""
        return str(self.run.__doc__).splitlines()[0]


def carry_out(part: Part, settings: Settings, limit: float) -> Row:
    """Run a part for at most `limit` seconds; return its status, seconds, rows and, where it did not pass, why."""
    # A process that has asked for CUDA cannot be forked; without CUDA, all share what one process has imported.
    context: Any = multiprocessing.get_context(settings.choose("spawn", "forkserver"))
    if settings.device == "cpu":
        context.set_forkserver_preload(["lightning.pytorch", "warp", "rpo_lightning.algorithms", "rpo_lightning.rollout"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(part.run, settings, theirs))
    started = time.perf_counter()
    process.start()
    theirs.close()
    rows: list[Row] = []
    status, error = _listen(ours, rows, started + limit)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and what it has started
    process.join()
    return {"status": status, "seconds": round(time.perf_counter() - started, 1), "rows": rows, "error": error}


def _listen(pipe: Connection, rows: list[Row], deadline: float) -> tuple[str, str]:
    """Collect rows until the part ends; return its status and an error."""
    while True:
        if not pipe.poll(max(0.0, deadline - time.perf_counter())):
            return "out of time", ""
        try:
            kind, content = pipe.recv()
        except EOFError:
            return "failed", "its process died"
        if kind == "row":
            rows.append(content)
            print("   ", ", ".join(f"{key} {shown(value)}" for key, value in content.items()), flush=True)
        elif kind == "error":
            return "failed", content
        else:
            return ("passed" if all(row.get("ok", True) for row in rows) else "failed"), ""


def _work(run: Callable[[Settings], Iterator[Row]], settings: Settings, pipe: Connection) -> None:
    os.setsid()  # so that it can be ended together with what it starts
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        for row in run(settings):
            pipe.send(("row", row))
        pipe.send(("end", None))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))


def shown(value: Any) -> str:
    """Return a figure as it is printed."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
