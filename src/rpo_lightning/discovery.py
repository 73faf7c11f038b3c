"""Find what can be named: presets, the user's callbacks, tasks, algorithms."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from lightning import Callback

from rpo_lightning import envs
from rpo_lightning.algorithms import RLModule

__all__ = [
    "algorithms",
    "callbacks",
    "class_names",
    "class_options",
    "find_configs",
    "import_user_callbacks",
    "listing",
    "nearest",
    "presets",
    "presets_folder",
]

CALLBACKS = "callbacks"
"""Folder in the working directory whose modules are imported, so that their classes have short names."""

PARTS = "parts"
"""Folder among the presets with the sections that several of them name."""


def nearest(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return " Did you mean 'x'?" for the closest of `names`, or nothing."""
    folded = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean '{prefix}{folded[close[0]]}'?" if close else ""


def presets_folder() -> Path:
    """Return the folder of the presets: packaged with an installed wheel, `configs/` in a working copy."""
    package = Path(__file__).resolve().parent
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def presets() -> list[str]:
    """Return the names of the presets as `--config` takes them, for example "ant.yaml"; their common parts are none."""
    folder = presets_folder()
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")]
    return sorted(name for name in names if not name.startswith(f"{PARTS}/"))


def find_configs(arguments: list[str], command: str) -> list[str]:
    """Replace the names after `--config` by files: in the working directory first, among the presets second.

    `validate`, `test` and `predict` without a `--config` take the `config.yaml` that lies with the checkpoint.

    Raises:
        ValueError: if there is no such file, with the nearest name.
    """
    found, follows, seen = [], False, False
    checkpoint = None
    for position, argument in enumerate(arguments):
        if follows:
            argument, follows = _find_config(argument), False
        elif argument in ("--config", "-c"):
            follows = seen = True
        elif argument.startswith("--config="):
            argument, seen = f"--config={_find_config(argument.removeprefix('--config='))}", True
        elif argument == "--ckpt_path" and position + 1 < len(arguments):
            checkpoint = arguments[position + 1]
        elif argument.startswith("--ckpt_path="):
            checkpoint = argument.removeprefix("--ckpt_path=")
        found.append(argument)
    if not seen and checkpoint is not None and command in ("validate", "test", "predict"):
        for folder in Path(checkpoint).parents[:2]:
            if (config := folder / "config.yaml").is_file():
                return ["--config", str(config), *found]
    return found


def _find_config(name: str) -> str:
    if Path(name).is_file():
        return name
    packaged = presets_folder() / name
    if packaged.is_file():
        return str(packaged)
    here = [path.as_posix() for pattern in ("*.yaml", "configs/**/*.yaml") for path in Path().glob(pattern)]
    known = [*here, *presets()]
    raise ValueError(f"There is no configuration file {name}.{nearest(name, known)} Presets: {', '.join(presets())}.")


def import_user_callbacks() -> None:
    """Import every module in `./callbacks`, so that YAML and options can name its classes as they name ours.

    Raises:
        ImportError: if one of them cannot be imported; the message names the file.
    """
    # A console script, unlike `python -m`, does not have the working directory on the path.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    for path in sorted(Path(CALLBACKS).glob("*.py")):
        name = CALLBACKS if path.stem == "__init__" else f"{CALLBACKS}.{path.stem}"
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ImportError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error


def _subclasses(base: type) -> list[type]:
    """Return all imported subclasses that can be used as they are."""
    direct: list[type] = base.__subclasses__()
    children = [cls for child in direct for cls in (child, *_subclasses(child))]
    return [cls for cls in dict.fromkeys(children) if not inspect.isabstract(cls)]


def algorithms() -> list[type]:
    """Return all imported algorithms; what has no name is a base of some."""
    return [cls for cls in _subclasses(RLModule) if hasattr(cls, "name")]


def callbacks() -> list[type]:
    """Return our callbacks and the user's; Lightning's are not meant."""
    ours = ("rpo_lightning.callbacks.", f"{CALLBACKS}.")
    return [cls for cls in _subclasses(Callback) if f"{cls.__module__}.".startswith(ours)]


def class_names() -> list[str]:
    """Return the short names of algorithms and callbacks."""
    return [cls.__name__ for cls in (*algorithms(), *callbacks())]


def class_options() -> list[str]:
    """Return the names of the arguments that algorithms and callbacks take."""
    bases = dict.fromkeys(base for cls in (*algorithms(), *callbacks()) for base in cls.__mro__ if base is not object)
    constructors = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    parameters = [each for constructor in constructors for each in inspect.signature(constructor).parameters.values()]
    return [each.name for each in parameters if each.kind == each.POSITIONAL_OR_KEYWORD and each.name != "self"]


def listing() -> str:
    """Return tasks, algorithms, callbacks and presets, a line each."""
    sections = {
        "Tasks (data.env)": {name: _summary(envs.env_class(name)) for name in envs.names()},
        "Algorithms (model)": {cls.__name__: _summary(cls) for cls in algorithms()},
        "Callbacks (trainer.callbacks)": {cls.__name__: _summary(cls) for cls in callbacks()},
        "Presets (--config)": dict.fromkeys(presets(), ""),
    }
    lines = []
    for title, entries in sections.items():
        width = max(map(len, entries), default=0)
        lines += [title, *(f"  {name:{width}}  {text}".rstrip() for name, text in sorted(entries.items())), ""]
    return "\n".join(lines).rstrip()


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
