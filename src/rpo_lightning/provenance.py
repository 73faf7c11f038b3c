"""What made a run: the command, the code and the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

__all__ = ["code_version", "command_line", "machine"]


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that started this run, ready to paste."""
    return shlex.join(["rpo-lightning", *arguments])


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
