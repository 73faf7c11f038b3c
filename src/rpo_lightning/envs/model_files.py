"""Where the files of robots and models are looked for."""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path

__all__ = ["beside"]


def beside(cls: type, attribute: str, *others: Path) -> Path:
    """Return the file that a class's attribute names: beside the class's own file, among `others`, or by its path.

    Raises:
        FileNotFoundError: if there is no such file, with the places looked at.
    """
    file = getattr(cls, attribute)
    places = [*others, Path.cwd() / file]
    owner = next(base for base in cls.__mro__ if attribute in vars(base))
    with suppress(TypeError, OSError):  # a class typed into an interpreter has no file
        places.insert(0, Path(inspect.getfile(owner)).resolve().parent / file)
    for place in places:
        if place.is_file():
            return place
    tried = ", ".join(map(str, dict.fromkeys(places)))
    name = getattr(cls, "name", cls.__name__)
    raise FileNotFoundError(f"{name}: the {attribute} {file} does not exist, looked for {tried}")
