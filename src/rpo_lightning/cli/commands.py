"""The function behind each command; what it needs is imported when it is called."""

from __future__ import annotations

from rpo_lightning import console
from rpo_lightning.interrupts import signals

__all__ = ["check_env", "describe", "export", "new_task", "run", "show_names"]


def run(command: str, options: list[str]) -> None:
    """Train, evaluate or record, as the configuration and the options say.

    Raises:
        SystemExit: 2 after an error of the user's making, 1 when a run stopped itself.
    """
    with signals.at_once():
        from rpo_lightning.cli import session

    session.main(command, options)


def show_names(command: str, options: list[str]) -> None:
    """Print what can be named."""
    from rpo_lightning.cli.listing import listing

    if options:
        console.fail(f"{command} takes no options, so not {options[0]}.", code=2)
    with console.one_line_errors():
        print(listing())


def describe(command: str, options: list[str]) -> None:
    """Print what a robot is to the engine."""
    from rpo_lightning import describe as description
    from rpo_lightning import sim
    from rpo_lightning.cli import COMMANDS

    sim.quiet()
    with console.one_line_errors():
        description.main(options, COMMANDS[command].summary)


def new_task(command: str, options: list[str]) -> None:
    """Write the files of a task for a robot."""
    from rpo_lightning import sim
    from rpo_lightning.cli import COMMANDS
    from rpo_lightning.new_task import command as new

    sim.quiet()
    with console.one_line_errors():
        new.main(options, COMMANDS[command].summary)


def check_env(command: str, options: list[str]) -> None:
    """Check a task.

    Raises:
        SystemExit: 1 when a check failed.
    """
    from rpo_lightning import sim
    from rpo_lightning.check_env import command as check
    from rpo_lightning.cli import COMMANDS

    sim.quiet()
    with console.one_line_errors():
        failed = check.main(options, COMMANDS[command].summary)
    if failed:
        raise SystemExit(1)


def export(command: str, options: list[str]) -> None:
    """Write a policy for a robot's computer."""
    with console.one_line_errors():
        from rpo_lightning.cli import COMMANDS
        from rpo_lightning.export import command as exporter

        console.quiet()
        print(exporter.main(options, COMMANDS[command].summary))
