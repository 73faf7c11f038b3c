"""What the command line says, and how it says what went wrong."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from rpo_lightning.discovery import nearest

__all__ = ["FriendlyParser", "choose_command", "fail", "quiet", "say"]


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


def quiet() -> None:
    """Silence what says nothing to the user, by name; every other warning stays."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        "LightningCLI's args parameter",
        ".*does not have many workers",
        ".*isinstance\\(treespec, LeafSpec\\)",
    ):
        warnings.filterwarnings("ignore", message=message)


def choose_command(arguments: list[str], commands: Mapping[str, str]) -> str:
    """Return the command, the first argument; show the commands where none is given.

    Raises:
        SystemExit: 0 after help, 2 after a wrong command.
    """
    width = max(map(len, commands))
    overview = "\n".join(
        ["usage: rpo-lightning COMMAND [options]", "", *(f"  {n:{width}}  {text}" for n, text in commands.items())]
    )
    if not arguments:
        say(overview)
        raise SystemExit(2)
    command = arguments[0]
    if command in ("-h", "--help"):
        print(f"{overview}\n\nrpo-lightning COMMAND --help shows its options.")
        raise SystemExit(0)
    if command not in commands:
        fail(f"unknown command '{command}'.{nearest(command, commands)} Commands: {', '.join(commands)}.", code=2)
    return command


class FriendlyParser(LightningArgumentParser):
    """Parser whose errors fit on a few lines and name what was probably meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with 2."""
        print("RAW>>>", message, "<<<", file=sys.stderr)
        fail(message, 2)
