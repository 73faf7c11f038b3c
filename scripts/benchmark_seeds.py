"""What several seeds in one process cost.

    python scripts/benchmark_seeds.py cartpole --seeds 4

Seconds of the processor per iteration and seed, of the rollout and of check, update and conclusion: each seed alone, all in
step with updates in turn (as on a CPU), and all in step with stacked updates (as on a GPU). On a GPU seconds of the clock.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
import yaml

from rpo_lightning.algorithms import RPO
from rpo_lightning.algorithms.together import Together
from rpo_lightning.discovery import presets_folder
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.rollout.together import TogetherCollector


def runs(task: str, count: int, device: str, options: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return module and data of each seed, by RPO's preset."""
    preset = yaml.safe_load((presets_folder() / f"{task}.yaml").read_text())["model"]["init_args"]
    data_options = yaml.safe_load((presets_folder() / f"parts/{task}.yaml").read_text())
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        data = RolloutDataModule(**data_options, seed=seed)
        preset["total_env_steps"] = int(float(preset["total_env_steps"]))
        module = RPO(data.obs_dim, data.action_dim, privileged_dim=data.privileged_dim, **{**preset, **options}).to(device)
        data.attach(module).setup("fit")
        made.append((module, data))
    return made


def clock(device: str) -> float:
    """Return seconds of the processor; on a GPU those of the clock, when all is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(made: list[tuple[Any, Any]], together: Together | None, windows: int, device: str) -> tuple[float, float]:
    """Return seconds of rollout and learning per iteration and seed; a window before them is not counted."""
    collectors = [data.collector for _, data in made]
    joint = None if together is None else TogetherCollector(collectors)
    spent = [0.0, 0.0]
    for window in range(windows + 1):
        begun = clock(device)
        if together is None or joint is None:
            batches = [each.collect(module) for each, (module, _) in zip(collectors, made, strict=True)]
        else:
            batches = joint.collect_each(together)
        collected = clock(device)
        checked = [module.check(batch) for (module, _), batch in zip(made, batches, strict=True)]
        if together is None:
            metrics = [module.update(batch) for (module, _), batch in zip(made, batches, strict=True)]
        else:
            metrics = together.update(batches, [each.skipped for each in checked])
        for (module, _), *rest in zip(made, batches, checked, metrics, strict=True):
            module.conclude(*rest)
        if window > 0:
            spent = [spent[0] + collected - begun, spent[1] + clock(device) - collected]
    return spent[0] / windows / len(made), spent[1] / windows / len(made)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--options", type=yaml.safe_load, default={}, help="of RPO, beside its preset, as {critic_epochs: 2}"
    )
    given = parser.parse_args()
    for name, stacked in (("alone", None), ("in step", False), ("in step, stacked", True)):
        made = runs(given.task, given.seeds, given.device, given.options)
        together = None if stacked is None else Together([module for module, _ in made], stacked)
        rollout, learning = measure(made, together, given.windows, given.device)
        print(
            f"{given.task}, {given.seeds} seeds, {torch.get_num_threads()} threads, {given.device}: {name:16} "
            f"rollout {rollout:.3f} s, learning {learning:.3f} s per iteration and seed",
            flush=True,
        )


if __name__ == "__main__":
    main()
