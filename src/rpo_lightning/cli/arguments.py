"""What is read from argv before the parser is built: files, checkpoint, help, and numbers such as 2e6."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from rpo_lightning import console, discovery, pretrained, run_folder
from rpo_lightning.runs import DIMENSIONS

__all__ = ["WATCHES", "Arguments", "in_one_line", "split"]

WATCHES = ("play", "record")
READS_POLICIES = ("validate", "test", "predict", *WATCHES)
TASK_OPTION = re.compile(r"--data\.env\.init_args\.(?P<name>\w+)(?:=(?P<value>.*))?", re.DOTALL)
WHOLE = re.compile(r"(?P<option>--[^=]+=)?(?P<number>[-+]?\d[\d_]*(\.\d*)?[eE]\+?\d{1,2})")


@dataclass(frozen=True)
class Arguments:
    """The options of a command, taken apart."""

    configs: list[Path]
    """Configuration files, found, in the order in which later ones win."""
    options: list[str]
    """Everything else, for the parser."""
    task_options: dict[str, str]
    """Options of the task, `--data.env.init_args.NAME VALUE`, as text; the parser cannot add them to a task's name."""
    help: str | None
    """What help is asked for: "ours", "trainer" or "all"."""
    beside: Path | None = None
    """The one configuration file if nobody named it: it lies with the checkpoint."""

    def for_parser(self) -> list[str]:
        """Return files first, so that options win over them wherever they stand."""
        return [*(f"--config={path}" for path in self.configs), *self.options]

    def words(self) -> set[str]:
        """Return every word of the options, of the files and of the files that these name."""
        texts = [*self.options, *(text for path in self.configs for text in _texts(path))]
        return {word for text in texts for word in re.findall(r"\w+", text)}


class _Splitter(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        console.fail(f"{message}.", code=2)


def split(command: str, arguments: list[str]) -> Arguments:
    """Take the options of a command apart and find its configuration files.

    Commands that read a policy, without a `--config`, take the `config.yaml` that lies with the checkpoint. Where none does,
    and to watch it, the model and the environment that the file itself tells are enough.

    Raises:
        ValueError: if there is no such file, with the nearest name; nor such a checkpoint, where the configuration is
            looked for beside it.
        SystemExit: 2 for an option without its value.
    """
    splitter = _Splitter(add_help=False, allow_abbrev=False)
    splitter.add_argument("-c", "--config", action="append", default=[])
    splitter.add_argument("--ckpt_path")
    splitter.add_argument("-h", "--help", nargs="?", const="ours", choices=("ours", "trainer", "all"))
    given, options = splitter.parse_known_args(arguments)
    configs, beside = [_find_config(name) for name in given.config], None
    if configs and configs[0].parent == discovery.presets_folder() / discovery.OVERLAYS:
        raise ValueError(
            f"{given.config[0]} changes a preset: give one before it, --config ant.yaml --config {given.config[0]}."
        )
    if given.ckpt_path is not None:
        if command in READS_POLICIES and given.ckpt_path in pretrained.names():
            given.ckpt_path = str(pretrained.find(given.ckpt_path))
        options.append(f"--ckpt_path={given.ckpt_path}")
        if not configs and command in READS_POLICIES:
            if not run_folder.NAMED.fullmatch(given.ckpt_path):
                run_folder.find_checkpoint(given.ckpt_path, Path())  # a name that leads nowhere is said first
            folders = () if command in WATCHES else Path(given.ckpt_path).parents[:2]
            configs = [config for folder in folders if (config := folder / "config.yaml").is_file()][:1]
            beside = configs[0] if configs else None
            options[:0] = [] if configs else _as_told(Path(given.ckpt_path))  # what is given beside it goes before
    task_options, options = _task_options(options)
    return Arguments(configs, [_whole(option) for option in options], task_options, given.help, beside)


def _as_told(path: Path) -> list[str]:
    """Return the options that make what the file of a policy says it was; none if it is no such file."""
    if not path.is_file():
        return []
    from rpo_lightning.policies import read_policy

    told, _ = read_policy(path)
    options = {name: value for name, value in told["model"]["init_args"].items() if name not in DIMENSIONS}
    model = {"class_path": told["model"]["class_path"], "init_args": options}
    return [f"--model={in_one_line(model)}", f"--data.env={in_one_line(told['env'])}"]


def in_one_line(value: Any) -> str:
    """Return the YAML of a value as an option takes it; JSON would write infinity as a word that YAML does not know."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False).strip()


def _task_options(options: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options of the task, and the others."""
    found, others, left = {}, [], iter(options)
    for option in left:
        if (match := TASK_OPTION.fullmatch(option)) is None:
            others.append(option)
        elif (value := match["value"] if match["value"] is not None else next(left, None)) is None:
            console.fail(f"{option} needs a value.", code=2)
        else:
            found[match["name"]] = value
    return found, others


def _find_config(name: str) -> Path:
    """Return a file of the working directory, or else a preset."""
    for path in (Path(name), discovery.presets_folder() / name):
        if path.is_file():
            return path
    here = [path.as_posix() for pattern in ("*.yaml", "configs/**/*.yaml") for path in Path().glob(pattern)]
    known = [*here, *discovery.presets(), *discovery.overlays()]
    hint = f" Did you mean '{name}.yaml'?" if f"{name}.yaml" in known else discovery.nearest(name, known)
    raise ValueError(f"There is no configuration file {name}.{hint} rpo-lightning list shows the presets.")


def _texts(path: Path) -> Iterator[str]:
    """Yield the text of a file and of those whose names stand in it."""
    text = path.read_text()
    yield text
    for name in re.findall(r"[\w./-]+\.ya?ml", text):
        if (part := path.parent / name).is_file() and part != path:
            yield from _texts(part)


def _whole(argument: str) -> str:
    """Write 2e6 as 2000000, which is a number of steps as well as a learning rate."""
    match = WHOLE.fullmatch(argument)
    if match is None or not (value := float(match["number"])).is_integer():
        return argument
    return f"{match['option'] or ''}{int(value)}"
