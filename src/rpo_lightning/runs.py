"""Run folders: where a run lives, how it is found again, and what it leaves as evidence.

A run lives in `runs/<task>/<algorithm>/seed_<k>/`: `config.yaml` as resolved, TensorBoard events and
`checkpoints/{last,best}.ckpt`; at its end come `summary.json`, `curve.csv` and `policy.pt`.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

from rpo_lightning.checkpoints import check_checkpoint, read_checkpoint, read_file, write_atomically, write_tensors
from rpo_lightning.discovery import nearest

__all__ = [
    "CHECKPOINTS",
    "Run",
    "as_json",
    "check_new_run",
    "code_version",
    "command_line",
    "counters",
    "find_checkpoint",
    "keeps_files",
    "load_weights",
    "machine",
    "newest_checkpoint",
    "policy_state",
    "run_directory",
    "run_of",
    "steps",
    "write_curve",
    "write_json",
    "write_policy",
]

CHECKPOINTS = "checkpoints"
"""Folder of `last.ckpt` and `best.ckpt` inside a run folder."""

DIMENSIONS = ("obs_dim", "action_dim", "privileged_dim")
"""Options of every algorithm that the task decides."""

DATA_OPTIONS = ("num_envs", "horizon", "iterations_per_epoch", "random_progress")
"""Options of the data module that a configuration names, besides the environment and the seed."""

POLICY_PREFIXES = ("actor.", "normalizer.")
"""What of a module's state acts: the actor's weights and the observation normaliser."""


@dataclass(frozen=True)
class Run:
    """What callbacks know about the run they work for; set as `module.run` by both drivers."""

    directory: Path
    task: str
    algorithm: str
    seed: int
    command: str
    config: str
    """The configuration as resolved, YAML text."""

    def write_config(self) -> None:
        """Write `config.yaml` into the run folder."""
        write_atomically(self.directory / "config.yaml", lambda path: path.write_text(self.config))


def run_of(trainer: Any, module: Any) -> Run:
    """Return what the command line has set as `module.run`; without one, make it of the driver's folder and data module."""
    if getattr(module, "run", None) is None:
        data = trainer.datamodule
        algorithm = f"{type(module).__module__}.{type(module).__qualname__}"
        env = data.env if isinstance(data.env, str | dict) else f"{data.env.__module__}.{data.env.__qualname__}"
        config = {
            "seed_everything": data.seed,
            "model": {
                "class_path": algorithm,
                "init_args": {n: v for n, v in module.hparams.items() if n not in DIMENSIONS},
            },
            "data": {"env": env, **{name: getattr(data, name) for name in DATA_OPTIONS}},
        }
        module.run = Run(
            directory=Path(trainer.default_root_dir),
            task=data.env_name,
            algorithm=module.name,
            seed=data.seed,
            command=shlex.join(sys.argv),
            config=yaml.safe_dump(config, sort_keys=False),
        )
    return module.run


def keeps_files(trainer: Any) -> bool:
    """Tell whether this process writes files of a run; Lightning's `fast_dev_run` is none."""
    return trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False)


def steps(module: Any) -> str:
    """Return for example "204 800 of 10 000 000 steps"."""
    return f"{module.env_steps:,} of {module.total_env_steps:,} steps".replace(",", " ")


def run_directory(task: str, algorithm: str, seed: int) -> Path:
    """Return `runs/<task>/<algorithm>/seed_<k>`, relative to the working directory."""
    return Path("runs") / task / algorithm / f"seed_{seed}"


def check_new_run(directory: Path, checkpoint: Path | None, command: str = "fit") -> None:
    """Refuse to start over an existing run. A folder without a checkpoint is none.

    Raises:
        ValueError: if `directory` holds a run and `checkpoint` (what to resume from) is not inside it.
    """
    if newest_checkpoint(directory) is None:
        return
    if checkpoint is not None and directory.resolve() in checkpoint.resolve().parents:
        return
    raise ValueError(
        f"{directory} already holds a run. Continue it with `rpo-lightning {command} ... --ckpt_path last`, or start "
        f"a new one elsewhere with `--trainer.default_root_dir DIRECTORY` (or another --seed_everything)."
    )


def newest_checkpoint(directory: Path) -> Path | None:
    """Return `last.ckpt`, or what Lightning wrote after it when SLURM was about to end the job; None without either."""
    found = [path for path in (directory / CHECKPOINTS / "last.ckpt", *directory.glob("hpc_ckpt_*.ckpt")) if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def find_checkpoint(name: str | None, directory: Path) -> Path | None:
    """Return the file behind `--ckpt_path`: a path, or `last` or `best` of the run in `directory`.

    None means that there is none yet, so that one command both starts and continues a run. A job that SLURM has started
    again asks for `last` by itself.

    Raises:
        ValueError: if the file is missing; the message says what there is.
    """
    if name is None:
        again = int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0
        return newest_checkpoint(directory) if again else None
    if name == "last":
        return newest_checkpoint(directory)
    if name == "best":
        path = directory / CHECKPOINTS / "best.ckpt"
        if path.exists():
            return path
        raise ValueError(f"There is no {path}: no evaluation of this run has been checkpointed yet.")
    path = Path(name)
    if path.is_file():
        return path
    folder = path if path.is_dir() else path.parent
    near = sorted(str(p) for pattern in ("*.ckpt", "*.pt", f"{CHECKPOINTS}/*.ckpt") for p in folder.glob(pattern))
    hint = f" There is: {', '.join(near[:5])}." if near else f" Nothing in {folder} is a checkpoint."
    what = f"{name} is a folder, no checkpoint." if path.is_dir() else f"No checkpoint at {name}."
    raise ValueError(what + nearest(name, ("last", "best")) + hint)


def policy_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the actor's weights and the normaliser's statistics by their names in the module."""
    state = module.state_dict()
    return {name: value.detach().cpu().clone() for name, value in state.items() if name.startswith(POLICY_PREFIXES)}


def write_policy(path: Path, module: Any, run: Run) -> None:
    """Write `policy.pt`: final weights and normaliser with what is needed to recognise them."""
    content = {
        "task": run.task,
        "algorithm": run.algorithm,
        "seed": run.seed,
        "obs_dim": int(module.obs_dim),
        "action_dim": int(module.action_dim),
        "env_steps": int(module.env_steps),
        "policy": policy_state(module),
    }
    write_tensors(path, content)


def load_weights(module: Any, path: Path) -> dict[str, Any]:
    """Load what acts from a checkpoint (`*.ckpt`) or an evidence policy (`policy.pt`); return the file's content.

    Raises:
        ValueError: if the file is neither, or was made for another algorithm, network or robot.
    """
    content = read_file(path)
    if "policy" not in content:
        check_checkpoint(content, path)
    if "policy" in content:
        for key, ours in (("algorithm", module.name), ("obs_dim", module.obs_dim), ("action_dim", module.action_dim)):
            if content[key] != ours:
                raise ValueError(f"{path} has {key} {content[key]}, but the configuration's model has {ours}.")
        state, expected = content["policy"], set(policy_state(module))
        module.env_steps = content["env_steps"]
    else:
        module.on_load_checkpoint(content)
        state, expected = content["state_dict"], set(module.state_dict())
    if expected != set(state):
        odd = sorted(expected ^ set(state))
        raise ValueError(f"{path} does not fit the configuration's model: {odd[0]} is only in one of them.")
    try:
        module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path} does not fit the configuration's model: {detail}") from error
    return content


def counters(path: Path) -> dict[str, int]:
    """Return `iteration` and `env_steps` of a checkpoint.

    Raises:
        ValueError: if it is not a checkpoint of a run.
    """
    content = read_checkpoint(path)
    return {name: content["rpo_lightning"][name] for name in ("iteration", "env_steps")}


def code_version() -> str:
    """Return the commit of the working copy this package runs from, or the installed version without one."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        # An installed package may lie inside someone else's repository: the commit is ours only if we are tracked.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        try:
            return f"rpo-lightning {metadata.version('rpo-lightning')}"
        except metadata.PackageNotFoundError:
            return "unknown"


def machine(device: torch.device) -> str:
    """Return for example "2 cores AMD EPYC 7B13", followed by the GPU if `device` is one."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux: the platform's own word stands
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{cores} cores {processor}{gpu}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, in which a number that is not finite is null."""
    write_atomically(path, lambda temporary: temporary.write_text(as_json(content) + "\n"))


def as_json(content: Mapping[str, Any]) -> str:
    """Return `content` as indented JSON, which knows no NaN: null stands for it."""

    def finite(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: finite(each) for name, each in value.items()}
        if isinstance(value, list):
            return [finite(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(content), indent=1)


def write_curve(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float | None]]) -> None:
    """Write the learning curve as CSV, one row per measurement; a missing value is an empty field."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow("" if value is None or math.isnan(value) else f"{value:.10g}" for value in row)

    write_atomically(path, write)


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that started this run, ready to paste."""
    return shlex.join(["rpo-lightning", *arguments])
