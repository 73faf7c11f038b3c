"""Find what can be named: presets, algorithms, callbacks, the user's too. Classes are read, not imported."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "algorithms",
    "callbacks",
    "class_summary",
    "import_user_callbacks",
    "nearest",
    "overlays",
    "presets",
    "presets_folder",
    "summary",
]

CALLBACKS = "callbacks"
"""Folder in the working directory whose callbacks have short names."""

PARTS = "parts"
"""Folder among the presets with the sections that several of them name."""

OVERLAYS = "with"
"""Folder among the presets with what changes one of them."""

PACKAGE = Path(__file__).resolve().parent


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return " Did you mean 'x'?" for the closest of `names` that is not the very name, or nothing."""
    folded = {known.lower(): known for known in names if known != name}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean '{prefix}{folded[close[0]]}'?" if close else ""


def summary(docstring: str | None) -> str:
    """Return the first paragraph of a docstring as one line."""
    return inspect.cleandoc(docstring or "").split("\n\n")[0].replace("\n", " ")


def presets_folder() -> Path:
    """Return the folder of the presets: packaged with an installed wheel, `configs/` in a working copy."""
    packaged = PACKAGE / "configs"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "configs"


def presets() -> list[str]:
    """Return the names of the presets as `--config` takes them, for example "ant.yaml"; what belongs to others is none."""
    return [name for name in _configurations() if not name.startswith((f"{PARTS}/", f"{OVERLAYS}/"))]


def overlays() -> dict[str, str]:
    """Return what a second `--config`, after a preset, may name, as "with/few_robots.yaml", with a summary of each."""
    names = [name for name in _configurations() if name.startswith(f"{OVERLAYS}/")]
    return {name: (presets_folder() / name).read_text().partition("\n")[0].lstrip("# ") for name in names}


def _configurations() -> list[str]:
    folder = presets_folder()
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))


class _Class(NamedTuple):
    path: Path
    bases: list[str]
    named: bool
    """Whether its body defines `name`, as that of an algorithm does."""
    summary: str


def _classes(folder: Path, pattern: str = "*.py") -> dict[str, _Class]:
    """Return the public classes that the files of a folder define; one that cannot be read has names, and its error."""
    found: dict[str, _Class] = {}
    for path in sorted(folder.glob(pattern)):
        text = path.read_text()
        try:
            body = ast.parse(text).body
        except SyntaxError as error:
            names = re.findall(r"^class (\w+)", text, re.MULTILINE)
            found |= {name: _Class(path, ["Callback"], False, f"(cannot be read: {error})") for name in names}
            continue
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named = any(_defines(each, "name") for each in node.body)
                bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                found[node.name] = _Class(path, bases, named, summary(ast.get_docstring(node)))
    return found


def _defines(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name == name
    return isinstance(statement, ast.Assign) and any(ast.unparse(target) == name for target in statement.targets)


LIGHTNING_CALLBACKS = ("Callback", "Checkpoint", "ProgressBar")


def class_summary(class_path: str) -> str:
    """Return what a class of this package is in a line; the path names the module that defines it."""
    module, _, name = class_path.rpartition(".")
    file = PACKAGE.parent / f"{module.replace('.', '/')}.py"
    return _classes(file.parent, file.name)[name].summary


def algorithms() -> dict[str, str]:
    """Return the algorithms and what they are in a line."""
    return {name: each.summary for name, each in _classes(PACKAGE / "algorithms").items() if each.named}


def callbacks() -> dict[str, str]:
    """Return our callbacks and the user's, with what they do in a line; Lightning's are not meant."""
    ours = {n: c for n, c in _classes(PACKAGE / "callbacks").items() if any(b in LIGHTNING_CALLBACKS for b in c.bases)}
    return {name: each.summary for name, each in {**ours, **_user_callbacks()}.items()}


def _user_callbacks() -> dict[str, _Class]:
    return {name: each for name, each in _classes(Path(CALLBACKS)).items() if each.bases}


def import_user_callbacks(words: Collection[str]) -> None:
    """Import the modules in `./callbacks` whose classes are among `words`: YAML and options then name them as ours.

    The others stay unread by Python: a folder of that name may be anybody's.

    Raises:
        ImportError: if one of them cannot be imported; the message names the file.
    """
    for path in dict.fromkeys(each.path for name, each in _user_callbacks().items() if name in words):
        try:
            importlib.import_module(CALLBACKS if path.stem == "__init__" else f"{CALLBACKS}.{path.stem}")
        except Exception as error:
            raise ImportError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
