"""Environment steps per second of the control tasks: simulated alone, and with REPPO's training; medians.

    python scripts/benchmark_control.py --threads 2 --output results/benchmarks/control.json

The simulation is timed under random actions, starts included; training with the networks and windows of the results
(width 256, 256 environments of 32 steps): the learning is what takes the time.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from benchmark_algorithms import measure, write

from rpo_lightning import console, envs, make

STEPS = 20
"""Of one measurement of the simulation."""
SMALL = ("--model.hidden=[256,256]", "--model.critic_width=256", "--data.num_envs=256", "--data.horizon=32")
WINDOW = 256 * 32


def simulated(task: str, num_envs: int, threads: int, repeats: int) -> float:
    """Return environment steps per second under random actions."""
    env = make(task, num_envs, threads=threads)
    actions = 2.0 * torch.rand(STEPS, num_envs, env.action_dim, generator=torch.Generator().manual_seed(0)) - 1.0
    rates = []
    for _ in range(repeats + 1):
        started = perf_counter()
        for action in actions:
            env.step(action)
        rates.append(STEPS * num_envs / (perf_counter() - started))
    return median(rates[1:])


def trained(task: str, threads: int) -> dict[str, float]:
    """Return environment steps per second of collecting windows, and of collecting and learning from them."""
    env = json.dumps({"name": task, "init_args": {"threads": threads}})
    row = measure("reppo", task, 3, [f"--data.env={env}", *SMALL], warm_up=1)
    return {"collected": WINDOW / row["rollout"], "trained": row["steps_per_second"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=[name for name in envs.names() if name.startswith("dmc/")])
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the simulation and of torch")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console.quiet()
    warnings.filterwarnings("ignore")
    rows = {}
    print(f"{options.threads} threads: environment steps per second")
    print(f"{'task':28} {'simulated':>10} {'collected':>10} {'trained':>10}")
    for task in options.tasks:
        rows[task] = {"simulated": simulated(task, options.num_envs, options.threads, options.repeats)}
        rows[task] |= trained(task, options.threads)
        print(f"{task:28} " + " ".join(f"{rate:10,.0f}" for rate in rows[task].values()), flush=True)
    settings = {"num_envs": options.num_envs, "threads": options.threads, "repeats": options.repeats}
    write(options.output, settings, {"tasks": rows})


if __name__ == "__main__":
    main()
