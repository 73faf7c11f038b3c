"""`--seeds 0,1,2,3`: several runs in one process, from the options of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from rpo_lightning import console
from rpo_lightning.claim import claimed
from rpo_lightning.cli import actions

if TYPE_CHECKING:
    from rpo_lightning.cli.session import RPOCLI

__all__ = ["HELP", "Place", "split", "train"]

HELP = "fit and fabric: train these seeds in one process, as 0,1,2,3; each has its folder, as of a run of its own."


class Place(NamedTuple):
    """Which of several runs of a process one is."""

    number: int
    line: str
    """The command that started all of them."""


def split(options: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the seeds of `--seeds`, none without it, and the other options.

    Raises:
        ValueError: for what are no seeds, or another seed beside them.
    """
    found, others, left = None, [], iter(options)
    for option in left:
        name, is_given, value = option.partition("=")
        if name == "--seeds":
            found = value if is_given else next(left, "")
        else:
            others.append(option)
    if found is None:
        return [], others
    seeds = [int(each) for each in found.split(",")] if re.fullmatch(r"\d+(,\d+)*", found) else []
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds must be different whole numbers, as 0,1,2,3, not '{found}'.")
    if any(option.partition("=")[0] == "--seed_everything" for option in others):
        raise ValueError("--seeds and --seed_everything both say the seed: leave one out.")
    return seeds, others


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
            console.say(f"seed {cli.model.run.seed}:")
            cli.announcement.say_end(driver, cli.model)
