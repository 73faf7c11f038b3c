"""Microseconds per environment step of the simulator: engine alone and whole environment step.

    python scripts/benchmark_sim.py --tasks ant --num-envs 128 1024 --output results/benchmarks/sim.json

Medians over repetitions of a window of 32 steps, after one that compiles and warms up. The rate of a large matrix product on
the same threads is printed beside, to compare machines. Compile times are those of a fresh process that makes the task and
runs one step and its gradient, with Warp's cache empty (cold) and filled (warm).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import rpo_lightning
from rpo_lightning.envs import names
from rpo_lightning.provenance import code_version, machine
from rpo_lightning.sim import quiet

HORIZON = 32


def median_seconds(run: Callable[[], tuple[float, float]], repetitions: int) -> tuple[float, float]:
    """Return the medians of a function that returns (forward, backward) seconds; short ones run for half a second."""
    run()
    times = [run() for _ in range(repetitions)]
    while sum(map(sum, times)) < 0.5:
        times.append(run())
    forward, backward = zip(*times, strict=True)
    return statistics.median(forward), statistics.median(backward)


def gemm_rate(device: str) -> float:
    """Return the rate of a float32 matrix product [GFLOP/s]."""
    size = 2048 if device == "cpu" else 8192
    a = torch.randn(size, size, device=device)

    def run() -> tuple[float, float]:
        start = now(device)
        _ = a @ a
        return now(device) - start, 0.0

    return 2.0 * size**3 / median_seconds(run, 5)[0] / 1e9


def now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


_FIRST_STEP = """
import sys, time, torch, warp, rpo_lightning
warp.init()
start = time.perf_counter()
env = rpo_lightning.make(sys.argv[1], num_envs=16, device=sys.argv[2])
action = torch.zeros(16, env.action_dim, device=env.device, requires_grad=True)
(env.step(action).obs.sum() + env.step(action).reward.sum()).backward()
print(action.grad.sum().item() * 0.0 + time.perf_counter() - start)
"""


def compile_seconds(task: str, device: str) -> dict[str, float]:
    """Return the seconds until a task has run its first step and gradient, with an empty and with a filled cache."""
    with tempfile.TemporaryDirectory() as cache:
        command, environment = [sys.executable, "-c", _FIRST_STEP, task, device], {**os.environ, "WARP_CACHE_PATH": cache}
        runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    cold, warm = (float(run.stdout.split()[-1]) for run in runs)
    return {"cold_s": cold, "warm_s": warm}


def benchmark(task: str, num_envs: int, threads: int, device: str, repetitions: int) -> dict[str, float | str | int]:
    """Time one task with one number of environments."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    env = rpo_lightning.make(task, num_envs=num_envs, device=device, threads=threads)
    actions = torch.rand(HORIZON, num_envs, env.action_dim, device=device) * 2.0 - 1.0
    for action in actions[:16]:  # away from the common start
        env.step(action)
    q, qd, _ = (t.clone() for t in env.get_state())
    force = torch.zeros_like(qd)

    def engine() -> tuple[float, float]:
        a, b, f = (t.clone().requires_grad_() for t in (q, qd, force))
        x, y = a, b
        start = now(device)
        for _ in range(HORIZON):
            x, y = env.simulator.step(x, y, f)
        middle = now(device)
        torch.autograd.grad((x, y), (a, b, f), (torch.ones_like(x), torch.ones_like(y)))
        return middle - start, now(device) - middle

    def whole() -> tuple[float, float]:
        inputs = actions.clone().requires_grad_()
        env.detach()
        start = now(device)
        total = sum(env.step(action).reward.sum() for action in inputs.unbind())
        middle = now(device)
        torch.autograd.grad(total, inputs)
        return middle - start, now(device) - middle

    per_step = 1e6 / (HORIZON * num_envs)
    row: dict[str, float | str | int] = {"task": task, "num_envs": num_envs, "threads": threads, "device": device}
    for name, run in (("engine", engine), ("env", whole)):
        forward, backward = median_seconds(run, repetitions)
        row |= {f"{name}_forward_us": forward * per_step, f"{name}_backward_us": backward * per_step}
        row[f"{name}_us"] = (forward + backward) * per_step
    row["gemm_gflops"] = gemm_rate(device)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=names(), choices=names())
    parser.add_argument("--num-envs", nargs="+", type=int, default=[64, 128, 256, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=3, help="at least")
    parser.add_argument("--output", type=Path, help="write the table as JSON")
    args = parser.parse_args()
    quiet()
    columns = ("engine_forward_us", "engine_backward_us", "engine_us", "env_forward_us", "env_backward_us", "env_us")
    print(f"{'task':<16}{'envs':>6}{'threads':>8}" + "".join(f"{c.removesuffix('_us'):>17}" for c in columns) + "   GFLOP/s")
    head = {"machine": machine(torch.device(args.device)), "commit": code_version(), "unit": "us per env step"}
    rows: list[dict[str, float | str | int]] = []
    compiling: dict[str, dict[str, float]] = {}

    def save() -> None:
        """Write what there is, so that an interruption loses nothing."""
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps({**head, "compile": compiling, "rows": rows}, indent=1) + "\n")

    for task in args.tasks:
        for num_envs in args.num_envs:
            for threads in args.threads if args.device == "cpu" else [1]:
                row = benchmark(task, num_envs, threads, args.device, args.repetitions)
                rows.append(row)
                figures = "".join(f"{row[c]:>17.2f}" for c in columns)
                print(f"{task:<16}{num_envs:>6}{threads:>8}{figures}{row['gemm_gflops']:>10.0f}", flush=True)
                save()
        compiling[task] = compile_seconds(task, args.device)
        save()
        print(f"{task:<16}compiles in {compiling[task]['cold_s']:.1f} s, {compiling[task]['warm_s']:.2f} s from the cache")


if __name__ == "__main__":
    main()
