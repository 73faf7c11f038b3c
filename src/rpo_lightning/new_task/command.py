"""The command line of new-task."""

from __future__ import annotations

import ast
import importlib.util
import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rpo_lightning import envs, robots
from rpo_lightning.cli.parser import FriendlyParser
from rpo_lightning.describe import as_text, overheard, task_tables
from rpo_lightning.new_task.companions import config, tests
from rpo_lightning.new_task.head import class_attributes, class_name, robot_line
from rpo_lightning.new_task.plain import plain_task
from rpo_lightning.new_task.reach import reach_task
from rpo_lightning.new_task.survey import KINDS, Survey, survey
from rpo_lightning.new_task.velocity import velocity_task

__all__ = ["main", "written"]

_TASKS = {"velocity": velocity_task, "reach": reach_task, "plain": plain_task}


def written(
    name: str, robot: str, folder: Path, kind: str | None = None, drop: tuple[str, ...] = ()
) -> tuple[Survey, list[Path]]:
    """Write task, configuration and test of a robot into a folder; return what the robot is, and the files.

    Args:
        name: of the task, and of the module.
        robot: a file, one of this package by its name, or `public/NAME`.
        folder: where to.
        kind: "velocity", "reach" or "plain"; None: by the robot.
        drop: of `load_mjcf`.

    Raises:
        ValueError: for a bad name or kind, or a robot that cannot be loaded. FileExistsError: if a file is there.
    """
    _check_name(name)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"--kind must be one of {', '.join(KINDS)}, not {kind!r}")
    paths = [folder / f"{name}.py", folder / f"{name}.yaml", folder / f"test_{name}.py"]
    if there := [str(path) for path in paths if path.exists()]:
        raise FileExistsError(f"{', '.join(there)} would be overwritten; take another name, or move it away")
    path = robots.find(robot)
    cls = class_name(name)
    with overheard():  # of looks that the task does not take
        found = survey(path, kind, drop)
    line = robot_line(robot, path, folder)
    body = _TASKS[found.kind](found, name, cls, line, list(class_attributes(found)))
    if cls in _imported(body):
        raise ValueError(f"the class of {name!r} would be called {cls}, a name that the task uses; take another")
    with overheard() as found.said:
        env = _tried(body, cls, path)
    folder.mkdir(parents=True, exist_ok=True)
    paths[0].write_text(f'"""{_title(found, name)}\n\n{_tables(env)}\n"""\n\n{body}')
    paths[1].write_text(config(found, name, cls))
    paths[2].write_text(tests(found, name, cls, env.obs_dim))
    return found, paths


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(
            f"the name {name!r} is none of a Python module: letters, digits and _, a letter first, no word of Python's own"
        )
    if name in envs.names():
        raise ValueError(f"{name!r} is a task of this package, whose {name}.yaml yours would hide; take another name")
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None and Path(spec.origin).parent != Path.cwd():
        raise ValueError(
            f"there is a Python module {name!r} already, which a task of that name would hide; take another name"
        )


def _imported(body: str) -> set[str]:
    """Return the names that a module imports."""
    imports = (node for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Import | ast.ImportFrom))
    return {alias.asname or alias.name for node in imports for alias in node.names}


def _tried(body: str, cls: str, path: Path) -> Any:
    """Return an environment of the class, which is not in a file yet."""
    names: dict[str, Any] = {"__name__": "new_task"}
    exec(compile(body, f"{cls} to be written", "exec"), names)
    names[cls].robot = str(path.resolve())
    return names[cls](num_envs=1)


def _title(found: Survey, name: str) -> str:
    what = {"velocity": "walks as commanded", "reach": "reaches for points", "plain": "has a task to begin with"}[found.kind]
    return f"{name}: {found.path.name} {what}. Written by rpo-lightning new-task; change what you like."


def _tables(env: Any) -> str:
    """Return what is observed and what actions do, without what only the critic sees, as lines of a docstring."""
    tables = task_tables(env)
    return "\n\n".join(as_text(*table) for table in (tables[0], tables[-1])).replace("\\", "/")


def _report(found: Survey, paths: list[Path], env_path: str) -> Iterator[str]:
    task, settings, tested = paths
    kinds = {"velocity": "walking as commanded", "reach": "an arm that reaches", "plain": "a reward to begin with"}
    yield f"{task}: {kinds[found.kind]}, {found.mass:.3g} kg, {len(found.model.actuators)} actuators"
    if found.kind == "velocity":
        yield f"  feet: {', '.join(found.feet)}"
    yield from (f"  {line}" for line in class_attributes(found) if not line.startswith("#"))
    yield from (f"  mind: {line.removeprefix(f'{found.path}: ')}" for line in dict.fromkeys(found.said))
    yield f"{settings}: RPO"
    yield f"{tested}: tests"
    yield f"Next, in {task.parent.resolve()}:"
    yield f"  rpo-lightning check-env {env_path}"
    yield f"  pytest {tested.name}"
    yield f"  rpo-lightning play {env_path}"
    yield f"  rpo-lightning fit --config {settings.name}"


def main(arguments: list[str], description: str) -> None:
    """Write the files, and say what to do next.

    Raises:
        ValueError, OSError: see `written`. SystemExit: 2 for an unknown option, told in one line.
    """
    parser = FriendlyParser(prog="rpo-lightning new-task", description=description, allow_abbrev=False)
    parser.add_argument("name", type=str, help="Of the task and its module, such as my_robot.")
    parser.add_argument(
        "--robot",
        type=str,
        required=True,
        help="An MJCF or URDF file, a robot of this package such as quadruped.xml, or public/NAME (rpo-lightning list).",
    )
    parser.add_argument(
        "--kind",
        type=str | None,
        default=None,
        help="velocity: walk as commanded. reach: bring an arm's tip to points. plain: a least reward to begin with. "
        "If not given: velocity for robots of a free base, servos on hinges and feet, else plain.",
    )
    parser.add_argument("--drop", type=list[str], default=[], help='What to leave out of the file: ["tendon", "equality"].')
    parser.add_argument("--folder", type=str, default=".", help="Where to; it must not hold files of these names.")
    given = parser.parse_args(arguments)
    found, paths = written(given.name, given.robot, Path(given.folder), given.kind, tuple(given.drop))
    print("\n".join(_report(found, paths, f"{given.name}.{class_name(given.name)}")))
