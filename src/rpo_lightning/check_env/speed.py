"""How long a step takes, forward and backward."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import warp

from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.subject import Subject, gradient, random_actions

__all__ = ["FirstUse", "Timing", "check_speed", "first_use", "measure"]

_REPETITIONS = 5


class FirstUse(NamedTuple):
    """Seconds from nothing to the first gradient, and whether machine code had to be compiled."""

    seconds: float
    compiled: bool


class Timing(NamedTuple):
    """Microseconds per step of one environment; backward is None without gradients."""

    threads: int
    forward: float
    backward: float | None


def first_use(subject: Subject) -> FirstUse:
    """Make the environments, take a step and differentiate it."""
    cached, started = _machine_code(), time.perf_counter()
    env = subject.make()
    _window(env, 1)
    return FirstUse(time.perf_counter() - started, not _machine_code() <= cached)


def measure(subject: Subject, horizon: int, threads: int) -> Timing:
    """Return the median time of a window of `horizon` steps, on a CPU with so many threads."""
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        env = subject.make()
        _window(env, horizon)
        forward, backward = zip(*(_window(env, horizon) for _ in range(_REPETITIONS)), strict=True)
    finally:
        torch.set_num_threads(usual)
    per_step = 1e6 / (horizon * subject.num_envs)
    differentiated = statistics.median(backward) * per_step if env.differentiable else None
    return Timing(threads, statistics.median(forward) * per_step, differentiated)


def check_speed(subject: Subject, horizon: int, first: FirstUse, section: Section) -> None:
    """Time windows with one thread and with all; nothing here can fail."""
    section.table = [("threads", "forward us", "backward us", "steps/s forward and backward")]
    on_cpu = torch.device(subject.device).type == "cpu"
    counts = sorted({1, torch.get_num_threads()}) if on_cpu else [1]
    timings = [measure(subject, horizon, threads) for threads in counts]
    for timing in timings:
        total = timing.forward + (timing.backward or 0.0)
        backward = "-" if timing.backward is None else f"{timing.backward:.2f}"
        section.table.append((str(timing.threads), f"{timing.forward:.2f}", backward, f"{1e6 / total:,.0f}"))
    source = "compiled now, cached from here on" if first.compiled else "with machine code from the cache"
    section.verdicts = [Verdict("ok", f"first step and gradient after {first.seconds:.1f} s, {source}")]
    section.result = {"first_use": first, "timings": timings}


def _window(env: Any, horizon: int) -> tuple[float, float]:
    """Return the seconds of `horizon` steps and of differentiating the return by all actions."""
    actions = random_actions(env, horizon, 0).requires_grad_(env.differentiable)
    env.detach()
    started = _now(env.device)
    total = torch.stack([env.step(action).reward.sum() for action in actions.unbind()]).sum()
    middle = _now(env.device)
    if env.differentiable:
        gradient(total, actions)
    return middle - started, _now(env.device) - middle


def _now(device: torch.device) -> float:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _machine_code() -> set[str]:
    """Return the names of what the simulator's compiler keeps on disk."""
    warp.init()  # sets the folder
    return {path.name for path in Path(str(warp.config.kernel_cache_dir)).iterdir()}
