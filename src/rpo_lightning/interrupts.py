"""SIGINT and SIGTERM: the first ends a run in order, the second at once.

An exception raised wherever a signal finds the process may lose the wake-up of a thread that shares a lock with it, and the
process hangs for ever. So while iterations run, a signal only leaves a note, which is read between them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "Signals", "signals"]

STOPPING = (signal.SIGINT, signal.SIGTERM)
REPEATED_S = 1.0
"""Launchers pass a signal on, or another for it, to processes that have received it: within this time [s] it is the same."""
LAST_MOMENT_S = 20.0
"""A command that has not ended so long [s] after its last iteration, waiting for a logger or a process, is ended."""


class Interrupted(SystemExit):
    """A signal has ended the command; the exit code is 128 + its number.

    Args:
        signum: the signal.
        in_order: whether it came while iterations ran, so that one was ended and a checkpoint written.
    """

    def __init__(self, signum: int, in_order: bool = False) -> None:
        super().__init__(128 + signum)
        self.signum, self.in_order = signum, in_order


class Signals:
    """What this process has been told by signals; there is one, `signals`."""

    def __init__(self) -> None:
        self.received = 0
        """The signal that asks the run to stop, 0 without one."""
        self.requeue_asked = False
        """Whether SLURM has sent SIGUSR1 to say that the job will soon be ended."""
        self._requeue: Callable[..., Any] | None = None
        self._before: dict[int, Any] = {}
        self._deferred = self._commanded = self._at_once = False
        self._time = 0.0
        self._announcement = ""
        self._processes = 1
        self._process = os.getpid()
        self._kill_children: Callable[[], Any] = lambda: None
        self._last_moment: threading.Timer | None = None

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """Let signals end a command with 128 + signal, in bounded time; put their handlers back afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.getsignal(signum) for signum in STOPPING}
        self._commanded = True
        self._install()
        try:
            yield
        finally:
            if self._last_moment is not None:
                self._last_moment.cancel()
            vars(self).update(vars(Signals()))
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the process on the spot: an exception could be lost in the import of a compiled module."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def defer(self, announcement: str, processes: int, kill_children: Callable[[], Any]) -> None:
        """From now on only note the first signal, for the loop to find in `received`.

        Args:
            announcement: written to standard error when the signal arrives.
            processes: that take part; to several, launchers may send each signal twice.
            kill_children: ends the processes that this one has started.
        """
        self._deferred, self._announcement, self._processes = True, announcement, processes
        self._kill_children = kill_children
        if threading.current_thread() is threading.main_thread():
            handlers = {signum: signal.getsignal(signum) for signum in (*STOPPING, signal.SIGUSR1)}
            self._before |= {signum: each for signum, each in handlers.items() if not self._is_ours(each)}
            self._install()  # the Trainer has put its own in place of ours
            if callable(handler := self._before.get(signal.SIGUSR1)):
                self._requeue = handler
                signal.signal(signal.SIGUSR1, self._note_requeue)

    def requeue(self) -> None:
        """Do what Lightning would do in the middle of an iteration: write a checkpoint and queue the job again."""
        self.requeue_asked = False
        if self._requeue is not None:
            self._requeue(signal.SIGUSR1, None)

    def release(self) -> None:
        """Without a command around it, put back the handlers that `defer` has found. A command is about to end, in order.

        A handler that is not ours any more stays: the Trainer has put back what there was before it.
        """
        if self._deferred and not self._commanded and threading.current_thread() is threading.main_thread():
            for signum, handler in self._before.items():
                if self._is_ours(signal.getsignal(signum)):
                    signal.signal(signum, signal.SIG_DFL if handler is None else handler)
            vars(self).update(vars(Signals()))

    def end_within_bounds(self, signum: int) -> None:
        """End the command after a while, should it not end by itself."""
        if self._commanded and self._last_moment is None:
            self._last_moment = threading.Timer(LAST_MOMENT_S, self._end, [signum])
            self._last_moment.daemon = True
            self._last_moment.start()

    def _install(self) -> None:
        self._process = os.getpid()
        for signum in STOPPING:
            signal.signal(signum, self._handle)

    def _is_ours(self, handler: Any) -> bool:
        return handler in (self._handle, self._note_requeue)

    def _note_requeue(self, signum: int, frame: FrameType | None) -> None:
        self.requeue_asked = True

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # forked, to work for the process that these notes are of
            os._exit(128 + signum)
        if self._at_once:
            self._end(signum)
        if self.received:
            passed_on = self._processes > 1 or signum != self.received
            if not passed_on or time.monotonic() - self._time > REPEATED_S:
                self._end(signum)
            return
        self.received, self._time = signum, time.monotonic()
        if not self._deferred:
            raise Interrupted(signum)
        with contextlib.suppress(OSError):
            os.write(2, self._announcement.encode())  # not print: the signal may have come in the middle of one

    def _end(self, signum: int) -> None:
        self._kill_children()
        os._exit(128 + signum)


signals = Signals()
