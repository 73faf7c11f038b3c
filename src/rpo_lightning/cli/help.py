"""`rpo-lightning fit --help`: what is ours, with the options of the algorithm; the Trainer's on request."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterable
from pkgutil import resolve_name
from typing import Any

from rpo_lightning import discovery
from rpo_lightning.cli.arguments import Arguments
from rpo_lightning.cli.parser import FriendlyParser

__all__ = ["help_text"]

REQUIRED = {"model": "RPO", "model.init_args.total_env_steps": "1", "data.env": "ant"}
"""What must be chosen, though not for help -> a choice for the while, whose last name is a word of any real one."""

Entry = tuple[str, str, str]
"""An option, its value, what it is."""


def help_text(parser: Any, command: str, summary: str, given: Arguments) -> str:
    """Return the help of a command.

    Args:
        parser: of the command.
        command: its name.
        summary: what it does.
        given: the options beside --help; what they set is shown, and the options of the algorithm they choose.

    Raises:
        SystemExit: 2 for a mistake in the options.
    """
    topic, words = given.help, given.words()
    values = parser.parse_args([*(f"--{name}={value}" for name, value in REQUIRED.items()), *given.for_parser()])
    model = resolve_name(values["model"]["class_path"]) if "model" in words else None
    for name in REQUIRED:
        if name.rpartition(".")[2] not in words:
            values[name] = None
    parts = [f"usage: rpo-lightning {command} --config FILE [options]", "", summary, ""]
    if topic in ("ours", "all"):
        parts += _section("Run", [_entry(action, values) for action in _actions(parser, "")])
        parts += _section("Data", [_entry(action, values) for action in _actions(parser, "data.")])
        if model is None:
            parts += [f"Model: an algorithm, {', '.join(discovery.algorithms())}"]
            parts += ["  with --config or --model NAME its options are shown here", ""]
        else:
            parts += _section(f"Model: {model.__name__}", _model_entries(model, values))
    if topic in ("trainer", "all"):
        parts += _section("Trainer (Lightning's)", [_entry(action, values) for action in _actions(parser, "trainer.")])
    else:
        parts += ["--help trainer shows the options of Lightning's Trainer, --help all everything."]
    return "\n".join(parts).rstrip()


def _actions(parser: Any, prefix: str) -> list[Any]:
    """Return the options that begin with `prefix`; those without a dot for none."""
    found = []
    for action in parser._actions:
        name = next((option for option in action.option_strings if option.startswith("--")), "")
        ours = name.startswith(f"--{prefix}") if prefix else "." not in name and name not in SECTIONS
        if ours and name and not name.endswith(".help") and action.help != argparse.SUPPRESS:
            found.append(action)
    return found


SECTIONS = ("--trainer", "--model", "--data", "--help")


def _model_entries(model: type, values: Any) -> list[Entry]:
    parser = FriendlyParser()
    of_the_task = {"obs_dim", "action_dim", "privileged_dim"}
    parser.add_class_arguments(model, "model.init_args", skip=of_the_task, fail_untyped=False)
    return [_entry(action, values) for action in _actions(parser, "model.init_args.")]


def _entry(action: Any, values: Any) -> Entry:
    name = next(option for option in action.option_strings if option.startswith("--"))
    value = values.get(action.dest, action.default) if values is not None else action.default
    text = re.sub(r"\s+", " ", action.help or "").strip()
    return name, _shown(value), text.replace("%%", "%")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    plain = isinstance(value, str | int | float) or (isinstance(value, list | tuple) and all(map(_shown, value)))
    return str(value) if plain and value not in ("", [], argparse.SUPPRESS) else ""


def _section(title: str, entries: Iterable[Entry]) -> list[str]:
    width = shutil.get_terminal_size((120, 24)).columns
    lines = [title]
    for name, value, text in entries:
        head = f"  {name} {value}".rstrip()
        indent = " " * 42
        body = textwrap.wrap(text, max(width - len(indent), 40)) or [""]
        if len(head) >= len(indent):
            lines += [head, *(indent + line for line in body)]
        else:
            lines += [head.ljust(len(indent)) + body[0], *(indent + line for line in body[1:])]
    return [*lines, ""]
