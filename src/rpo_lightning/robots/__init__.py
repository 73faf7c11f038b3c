"""The robots of this package, and where the files of others are."""

from __future__ import annotations

from pathlib import Path

from rpo_lightning.discovery import nearest

__all__ = ["find"]

PUBLIC = "public/"
"""What names of robots in `rpo_lightning.robots.public` begin with where a file could stand."""


def find(name: str) -> Path:
    """Return the file of a robot: by its path, one of this package by its name, one of others by `public/NAME`.

    Raises:
        FileNotFoundError: if there is none. ConnectionError: if it is elsewhere, and cannot be reached.
    """
    if name.startswith(PUBLIC):
        from rpo_lightning.robots.public import fetch

        return fetch(name.removeprefix(PUBLIC))
    own = Path(__file__).parent
    for path in (Path(name), own / name):
        if path.is_file():
            return path
    near = nearest(Path(name).name, [path.name for path in own.glob("*.xml")])
    raise FileNotFoundError(f"robot file {name} does not exist.{near}")
