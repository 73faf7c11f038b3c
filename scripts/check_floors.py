"""Use the package with the lowest versions that pyproject.toml allows, on the oldest Python it allows.

    python scripts/check_floors.py --python python3.10

A new environment gets every direct dependency at its lower bound (torch's is a download of about 3 GB) and this tree; then
the command line lists its tasks, and trains for a moment on a robot, on a dmc task and on a gymnasium task; every other
extra is used once. Exit code 1 says that a bound is wrong. The script itself wants Python 3.11; `--python` may be any.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("dmc", "gymnasium", "view", "export", "loggers", "search", "docs")
CLI = ("-m", "rpo_lightning.cli")
SHORT = ("--model.init_args.total_env_steps=512", "--data.num_envs=16", "--data.horizon=16", "--data.iterations_per_epoch=2")
LOGGERS = ("--trainer.logger+=WandbLogger", "--trainer.logger.offline=true", "--trainer.logger+=MLFlowLogger")
WORK = "{the empty folder}"
"""Stands for its path among the arguments: mkdocs takes a relative one for one beside its configuration."""
USES = {
    "list": (*CLI, "list"),
    "robot": (*CLI, "fit", "--config", "cartpole.yaml", *SHORT),
    "dmc": (*CLI, "fit", "--config", "reppo/dmc/cartpole_balance.yaml", *SHORT),
    "gymnasium": (*CLI, "fit", "--config", "ppo/cartpole.yaml", "--data.env=gymnasium/Pendulum-v1", *SHORT),
    "view": (*CLI, "record", "cartpole", "--seconds=0.2", "--size=[64,48]", "--output=film.gif"),
    "viewer": ("-c", "import rpo_lightning.view.web"),
    "export": (*CLI, "export", "--ckpt_path", "cartpole", "--output", "policy.onnx"),
    "runtime": ("-c", "import onnxruntime"),
    "loggers": (*CLI, "fit", "--config", "cartpole.yaml", *SHORT, *LOGGERS),
    "search": (str(ROOT / "examples/search/search.py"), "--trials=1", "--steps=4096"),
    "docs": ("-m", "mkdocs", "build", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", WORK),
}
"""What is tried: a name and the interpreter's arguments, in an empty folder."""


def lower_bounds(project: dict, extras: tuple[str, ...]) -> dict[str, str]:
    """Return the lowest version that is allowed of every direct dependency: name -> version."""
    required = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    found = {}
    for requirement in required:
        match = re.match(r"([\w-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"pyproject.toml: {requirement} has no lower bound.")
        found[match[1]] = match[2]
    return found


def make_environment(python: str, folder: Path, bounds: dict[str, str]) -> Path:
    """Make an environment in which this tree is installed with its dependencies at their lower bounds; return its Python."""
    constraints = folder / "floors.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in bounds.items()))
    subprocess.run([python, "-m", "venv", folder / "environment"], check=True)
    inside = folder / "environment/bin/python"
    tree = f"{ROOT}[{','.join(EXTRAS)}]"
    for arguments in (("--upgrade", "pip"), ("--constraint", constraints, tree)):
        subprocess.run([inside, "-m", "pip", "install", "--quiet", *arguments], check=True)
    return inside


def use(python: Path, folder: Path) -> dict[str, str]:
    """Run the interpreter in an empty folder in every way of `USES`; return the last lines of those that failed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    failed = {}
    for name, arguments in USES.items():
        work = folder / name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        command = [str(python), *(str(work) if each == WORK else each for each in arguments)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        print(f"{name}: {'works' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode:
            failed[name] = "\n".join(done.stderr.splitlines()[-12:])
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="python3.10", help="the interpreter whose environment is made")
    parser.add_argument("--folder", type=Path, help="keep it here; an environment that is there is used as it is")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = lower_bounds(project, EXTRAS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        python = folder / "environment/bin/python"
        if not python.exists():
            python = make_environment(options.python, folder, bounds)
        version = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        print(f"{version} (allowed: {project['requires-python']}), {', '.join(map('=='.join, bounds.items()))}")
        failed = use(python, folder)
    for name, words in failed.items():
        print(f"\n{name}:\n{words}", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
