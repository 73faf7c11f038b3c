"""`--seeds 0,1,2,3` and `--sweep model.kl_coef=0.1,0.5`: several runs in one process, from the options of one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from rpo_lightning import console
from rpo_lightning.claim import claimed
from rpo_lightning.cli import actions
from rpo_lightning.runs import DIMENSIONS

if TYPE_CHECKING:
    from rpo_lightning.cli.session import RPOCLI

__all__ = ["SEEDS", "SWEEP", "Place", "place_in", "split", "train"]

SEEDS = "fit and fabric: train these seeds in one process, as 0,1,2,3; each has its folder, as of a run of its own."
SWEEP = (
    "fit and fabric: train with each value of an option of the algorithm in one process, as model.kl_coef=0.1,0.5; given "
    "several times, or with --seeds: with every combination. Each has its label and folder."
)
OPTION = re.compile(r"model\.(init_args\.)?(?P<name>\w+)=(?P<values>[\w.+-]+(,[\w.+-]+)*)")


class Place(NamedTuple):
    """Which of several runs of a process one is."""

    number: int
    command: str
    """Which the user gave, and in `line` with its options."""
    line: str
    options: tuple[str, ...]
    """What this one is given beside what all are."""
    variant: str
    """Names its values of swept options; empty without any."""


def split(command: str, options: Sequence[str], line: str) -> tuple[list[Place], list[str]]:
    """Return the runs of `--seeds` and `--sweep`, none without either, and the other options.

    Raises:
        ValueError: for what are no seeds or values, or a seed or value said twice.
    """
    found: dict[str, list[str]] = {"--seeds": [], "--sweep": []}
    others, left = [], iter(options)
    for option in left:
        name, is_given, value = option.partition("=")
        if name in found:
            found[name].append(value if is_given else next(left, ""))
        else:
            others.append(option)
    if not any(found.values()):
        return [], others
    given = {option.partition("=")[0] for option in others}
    axes = sorted(_axis(text, given) for text in found["--sweep"])  # one label, in whatever order they are given
    if len({name for name, _ in axes}) < len(axes):
        raise ValueError("--sweep names an option twice: say all of its values at once, as model.kl_coef=0.1,0.5.")
    seeds: list[int | None] = _seeds(found["--seeds"][-1], given) if found["--seeds"] else [None]
    return list(_places(command, line, axes, seeds)), others


def _axis(text: str, given: set[str]) -> tuple[str, list[str]]:
    """Return the option and the values of a `--sweep`."""
    match = OPTION.fullmatch(text)
    values = match["values"].split(",") if match else []
    if match is None or len({yaml.safe_load(value) for value in values}) < len(values):
        raise ValueError(
            f"--sweep must be an option of the algorithm and different values, as model.kl_coef=0.1,0.5, not '{text}'."
        )
    name = match["name"]
    if name in DIMENSIONS:
        raise ValueError(f"--sweep of {name}: the task decides it.")
    if name == "label":
        raise ValueError("--sweep makes labels itself: give one --model.label, to which it adds.")
    for option in (f"--model.{name}", f"--model.init_args.{name}"):
        if option in given:
            raise ValueError(f"--sweep and {option} both say {name}: leave one out.")
    return name, values


def _seeds(text: str, given: set[str]) -> list[int | None]:
    """Return the seeds of `--seeds`."""
    seeds: list[int | None] = [int(each) for each in text.split(",")] if re.fullmatch(r"\d+(,\d+)*", text) else []
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds must be different whole numbers, as 0,1,2,3, not '{text}'.")
    if "--seed_everything" in given:
        raise ValueError("--seeds and --seed_everything both say the seed: leave one out.")
    return seeds


def _places(command: str, line: str, axes: list[tuple[str, list[str]]], seeds: list[int | None]) -> Iterator[Place]:
    """Yield a run for every combination of values and seeds."""
    names = [name for name, _ in axes]
    combinations = itertools.product(*(values for _, values in axes))
    for number, (values, seed) in enumerate(itertools.product(combinations, seeds)):
        pairs = list(zip(names, values, strict=True))
        options = [f"--model.init_args.{name}={value}" for name, value in pairs]
        options += [] if seed is None else [f"--seed_everything={seed}"]
        yield Place(number, command, line, tuple(options), "-".join(f"{name}_{value}" for name, value in pairs))


def place_in(config: Any, place: Place) -> None:
    """Give a run among others a label and a folder of its own."""
    folders = [f"seed_{config['seed_everything']}"]
    if place.variant:
        options = config["model"]["init_args"]
        label = options.get("label") or resolve_name(config["model"]["class_path"]).name
        options["label"] = f"{label}-{place.variant}"
        folders.insert(0, options["label"])
    trainer = config["trainer"]
    if trainer["default_root_dir"] is not None:
        trainer["default_root_dir"] = str(Path(trainer["default_root_dir"], *folders))


def train(clis: Sequence[RPOCLI]) -> None:
    """Train runs side by side; those that are complete are left alone."""
    from rpo_lightning.seeds import SeedsDriver

    going = [cli for cli in clis if not actions.is_complete(cli)]
    if not going:
        return
    drivers: list[Any] = [cli.trainer for cli in going]
    several = SeedsDriver(drivers)
    with ExitStack() as held:
        for cli in going if not going[0].config["trainer"]["fast_dev_run"] else ():
            held.enter_context(claimed(cli.model.run.directory))
        several.fit([cli.checkpoint for cli in going])
    for cli, driver in zip(going, drivers, strict=True):
        if cli.announcement is not None:
            console.say(f"{cli.model.run.algorithm}, seed {cli.model.run.seed}:")
            cli.announcement.say_end(driver, cli.model)
