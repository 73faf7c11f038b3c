"""`rpo-lightning COMMAND`: fit, validate, test, play, record, predict, fabric, export, list, describe, new-task, check-env.

Only what a command needs is imported: help and the version are there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from rpo_lightning import __version__, console
from rpo_lightning.cli import commands
from rpo_lightning.discovery import nearest
from rpo_lightning.interrupts import signals
from rpo_lightning.lazy import lazily
from rpo_lightning.streams import open_closed_streams

__all__ = ["COMMANDS", "RPOCLI", "main"]


class Command(NamedTuple):
    """A command: what carries it out, given its name and the options after it, and what it is for."""

    function: Callable[[str, list[str]], None]
    summary: str


COMMANDS = {
    "fit": Command(commands.run, "Train; continue a run with --ckpt_path last."),
    "validate": Command(commands.run, "Evaluate a checkpoint or a policy.pt."),
    "test": Command(commands.run, "The same as validate, calling the test hooks of callbacks."),
    "play": Command(commands.run, "Watch a task and its policy, in a window or a browser: rpo-lightning play ant."),
    "record": Command(commands.run, "Film a task and its policy: .mp4, .gif, or .html to turn about and drag through."),
    "predict": Command(commands.run, "Write the trajectories of a policy to a file."),
    "fabric": Command(commands.run, "Train with Lightning Fabric instead of the Trainer, from the same file."),
    "export": Command(commands.export, "Write a policy as ONNX, TorchScript or torch.export, for a robot's computer."),
    "list": Command(commands.show_names, "Show tasks, algorithms, callbacks, robots of others and presets."),
    "describe": Command(commands.describe, "Show a robot file as the engine reads it, and constants that would fit it."),
    "new-task": Command(commands.new_task, "Write task, configuration and test for a robot file, ready to train."),
    "check-env": Command(
        commands.check_env, "Check a task: interface, stability, gradients by finite differences, their growth, speed."
    ),
}


__getattr__ = lazily(__name__, {"RPOCLI": "rpo_lightning.cli.session"})


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Raises:
        SystemExit: 2 after an error of the user's making, told in one line; 1 when a run stopped itself or a check failed.
    """
    # Before torch loads OpenMP: let its threads spin shortly, then sleep. On two cores an update took 12 ms so, beside a
    # second training 26 ms; with libgomp's own setting 11 to 18 and 250 ms, with sleep alone 16 and 21 ms.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # A console script, unlike `python -m`, does not have the working directory on the path.
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    open_closed_streams()
    command, *options = _choose(list(sys.argv[1:] if arguments is None else arguments))
    try:
        with signals.command():
            COMMANDS[command].function(command, options)
        sys.stdout.flush()
    except BrokenPipeError:
        # `rpo-lightning list | head`: nobody reads on, and Python would complain once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _choose(arguments: list[str]) -> list[str]:
    """Return command and options; answer --help and --version.

    Raises:
        SystemExit: 0 after help, 2 after a wrong command or none.
    """
    width = max(map(len, COMMANDS))
    overview = "\n".join(
        ["usage: rpo-lightning COMMAND [options]", "", *(f"  {n:{width}}  {c.summary}" for n, c in COMMANDS.items())]
    )
    if not arguments:
        console.say(overview)
        raise SystemExit(2)
    if arguments[0] in ("-h", "--help"):
        print(f"{overview}\n\nrpo-lightning COMMAND --help shows its options, --version the version.")
        raise SystemExit(0)
    if arguments[0] == "--version":
        print(f"rpo-lightning {__version__}")
        raise SystemExit(0)
    if arguments[0] not in COMMANDS:
        near = nearest(arguments[0], COMMANDS)
        console.fail(f"unknown command '{arguments[0]}'.{near} Commands: {', '.join(COMMANDS)}.", code=2)
    return arguments
