"""What the command line says, and how it says what went wrong."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Mapping
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from rpo_lightning import discovery
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
        # the simulator's state is restored by the data module, so a checkpoint inside an epoch is exact
        ".*resuming from a checkpoint that ended before the epoch ended",
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
    """Parser whose errors fit on a line and name what was probably meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error in one line and exit with 2; jsonargparse's own text runs to a page."""
        fail(self._plain(message), code=2)

    def _plain(self, message: str) -> str:
        options = [option.lstrip("-") for action in self._actions for option in action.option_strings]
        if match := re.match(r"unrecognized arguments: (\S+)", message):
            option = match[1].split("=")[0].lstrip("-").removesuffix("+")
            return f"there is no option --{option}.{nearest(option, options, prefix='--')}"
        if match := re.match(r"Group '(.+)' does not accept option '(.+)'", message):
            inside = [option.removeprefix(f"{match[1]}.") for option in options if option.startswith(f"{match[1]}.")]
            return f"{match[1]} has no option '{match[2]}'.{nearest(match[2], inside)}"
        if match := re.match(r"Option '(.+)' is not accepted", message):
            return f"there is no option '{match[1]}'.{nearest(match[1], [*discovery.class_options(), *options])}"
        key = match[1] if (match := re.match(r'Parser key "(.+)"', message)) else ""
        if match := re.search(r"Unable to load config '(.+?)'", message):
            return (
                f"{key}: there is no file {match[1]} (seen from the file that names it). To change a preset, copy it whole: "
                f"rpo-lightning fit --config PRESET --print_config > mine.yaml."
            )
        if match := re.search(r"Expected a dot import path string: (\S+)", message):
            return f"{key}: there is no class '{match[1]}'.{nearest(match[1], discovery.class_names())}"
        if match := re.search(r"Problem with given class_path '(.+)':\s*(.+)", message):
            return f"{key}: {match[1]} cannot be used: {match[2]}."
        if match := re.search(r"typing\.Literal\[(.+)\]\. Got value: (.+)", message):
            choices = re.findall(r"'([^']*)'", match[1])
            return f"{key} cannot be '{match[2]}', only {', '.join(choices)}.{nearest(match[2], choices)}"
        return message
