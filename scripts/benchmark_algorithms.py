"""Seconds per training iteration of every algorithm on one task, with its preset's sizes; medians.

    python scripts/benchmark_algorithms.py --task ant --threads 2 --output results/benchmarks/algorithms.json

From freshly initialised networks: GI-PPO tries more rates, and takes longer, once the policy is narrow.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.fabric import Fabric

from rpo_lightning import console
from rpo_lightning.cli import RPOCLI
from rpo_lightning.provenance import code_version, machine

ALGORITHMS = ("rpo", "reppo", "sapo", "shac", "gippo", "ppo", "sac")
WARM_UP = 3


def measure(
    algorithm: str, task: str, iterations: int, extra: Sequence[str] = (), warm_up: int = WARM_UP
) -> dict[str, float]:
    """Return the medians of an iteration's rollout and update [s] and its environment steps per second."""
    preset = f"{task}.yaml" if algorithm == "rpo" else f"{algorithm}/{task}.yaml"
    length = f"--data.iterations_per_epoch={iterations + warm_up}"
    options = [
        "--config",
        preset,
        length,
        "--trainer.callbacks=NaNGuard",
        f"--trainer.default_root_dir=runs/benchmark/{algorithm}",
        *extra,
    ]
    cli = RPOCLI("validate", options)
    module, data = cli.model, cli.datamodule
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.setup(module, *module.configure_optimizers())
    data.attach(module).setup("fit")
    rows = [module.training_step(batch, index) for index, batch in enumerate(data.train_dataloader())][warm_up:]
    rollout, update = (median(row[f"time/{phase}"] for row in rows) for phase in ("rollout", "update"))
    return {"rollout": rollout, "update": update, "steps_per_second": data.num_envs * data.horizon / (rollout + update)}


def write(output: Path | None, settings: dict[str, Any], results: dict[str, Any]) -> None:
    """Write settings, machine, commit and results to a JSON file, if one is asked for."""
    if output is not None:
        record = {**settings, "machine": machine(torch.device("cpu")), "commit": code_version(), **results}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="ant")
    parser.add_argument("--iterations", type=int, default=10, help="measured, after three to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    console.quiet()
    warnings.filterwarnings("ignore")
    rows = {}
    print(f"{options.task}, {options.threads} threads: seconds per iteration")
    for algorithm in ALGORITHMS:
        row = rows[algorithm] = measure(algorithm, options.task, options.iterations)
        print(
            f"{algorithm:6} rollout {row['rollout']:.2f}, update {row['update']:.2f}, {row['steps_per_second']:,.0f} steps/s"
        )
    settings = {"task": options.task, "threads": options.threads, "iterations": options.iterations}
    write(options.output, settings, {"algorithms": rows})


if __name__ == "__main__":
    main()
