"""What every written task begins with: which robot, constants that its file lacks, steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import rpo_lightning.robots
from rpo_lightning.new_task.survey import DT, Survey

__all__ = ["class_attributes", "class_name", "robot_line"]


def class_name(name: str) -> str:
    """Return my_robot as MyRobot."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def robot_line(given: str, path: Path, folder: Path) -> str:
    """Return the attribute `robot`, so that the task finds the file wherever it is imported.

    Args:
        given: what the user gave.
        path: of the file.
        folder: of the task.
    """
    if given.startswith(rpo_lightning.robots.PUBLIC):
        return f'robot = fetch("{given.removeprefix(rpo_lightning.robots.PUBLIC)}")  # downloaded once, then from the cache'
    if path.parent == Path(rpo_lightning.robots.__file__).parent:
        return f'robot = "{path.name}"  # of rpo_lightning/robots'
    try:
        return f'robot = "{path.resolve().relative_to(folder.resolve()).as_posix()}"  # beside this file'
    except ValueError:
        return f'robot = "{path.resolve().as_posix()}"'


def class_attributes(found: Survey) -> Iterator[str]:
    """Yield lines: what the file does not say, or what is not wanted of it, with where the numbers come from."""
    suggestion = found.suggestion
    if found.drop:
        why = "  # links do not touch each other" if found.drop == ("self",) else ""
        yield f"drop = {found.drop!r}{why}".replace("'", '"')
    if found.missing:
        yield "# The file has no constants for these. Proposed by masses, geometry and the substep: stable, and stiff enough"
        yield "# that a standing robot sinks by at most 1 % of its height; docs/contact.md says what each is."
    if "contact" in found.missing and suggestion.contact is not None:
        sinks = f"; standing it sinks {1e3 * suggestion.sink:.2g} mm" if math.isfinite(suggestion.sink) else ""
        yield f"contact = {_numbers(suggestion.contact)}  # ke [N/m], kd [N s/m^2], kf [N s/m], mu{sinks}"
        if found.kind == "velocity":
            yield 'friction = "smooth"  # no kink between sticking and sliding, where gradients chatter'
    if "limit" in found.missing and suggestion.limit is not None:
        yield f"limit = {_numbers(suggestion.limit)}  # ke, kd, stop_kd beyond the joints' ranges, per rad or m"
    yield f"dt = {DT}  # [s] between actions"
    yield f"substeps = {suggestion.substeps}  # of dt; more for stiffer contact or servos"


def _numbers(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
