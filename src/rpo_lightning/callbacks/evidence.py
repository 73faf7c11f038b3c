"""Leave behind what a result is worth: summary, learning curve and final policy."""

from __future__ import annotations

import functools
import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from rpo_lightning.callbacks.evaluation import Evaluation
from rpo_lightning.files import write_atomically, write_curve, write_json
from rpo_lightning.policies import write_policy
from rpo_lightning.processes import say
from rpo_lightning.provenance import code_version, machine
from rpo_lightning.runs import Run, keeps_files, run_of

TRAINING_COLUMNS = (
    "train/return",
    "train/episode_length",
    "actor/kl",
    "actor/effective_samples",
    "actor/max_ratio",
    "actor/grad_norm",
    "actor/entropy",
    "critic/loss",
    "time/steps_per_second",
)
EVALUATION_COLUMNS = ("eval/return", "eval/return_std", "eval/length", "eval/return_deterministic")
COLUMNS = ("env_steps", "wall_clock_s", "cpu_s", *TRAINING_COLUMNS, *EVALUATION_COLUMNS)


class Evidence(Callback):
    """Write `summary.json`, `curve.csv` and `policy.pt` beside the run's `config.yaml` when training ends.

    Wall-clock time counts from the start of the process's work on the run and is added up over resumes, evaluation
    included; time between a checkpoint and a crash is not in it, nor are the steps that it took. Beside it stands the
    process's time on its processors, which other work on the machine does not lengthen. Each start is kept, with
    its command, the options that it changed, and what else decides the bits: device and number of torch's threads.

    Args:
        results: also copy the four files to `<results>/<task>/<algorithm>/seed_<k>/`.
        variant: names a variant of the algorithm, `<algorithm>-<variant>`.
        every_n_iterations: iterations averaged into one row of the curve.
    """

    def __init__(self, results: str | None = None, variant: str | None = None, every_n_iterations: int = 10) -> None:
        super().__init__()
        if every_n_iterations < 1:
            raise ValueError(f"Evidence needs every_n_iterations of at least 1, not {every_n_iterations}.")
        self.results, self.variant, self.every_n_iterations = results, variant, every_n_iterations
        self._started = time.perf_counter()
        self._began_cpu = time.process_time()
        self._earlier_s = self._earlier_cpu_s = 0.0
        self._commit = ""
        self._starts: list[dict[str, Any]] = []
        self._rows: list[list[float | None]] = []
        self._window: list[dict[str, float]] = []
        self._evaluation: dict[str, dict[str, float]] = {}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Start the clock, and note which code runs: the working copy may move on before the run ends."""
        self._started, self._began_cpu = time.perf_counter(), time.process_time()
        self._commit = code_version()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Note how the run was started this time; say what makes other bits than the last one."""
        resumed = getattr(pl_module, "resumed", None)
        start = {
            "command": run_of(trainer, pl_module).command,
            "env_steps": int(pl_module.env_steps),
            "changed": {name: list(values) for name, values in (resumed.changes if resumed is not None else {}).items()},
            "threads": torch.get_num_threads(),
            "device": str(pl_module.device),
        }
        for name, what in (("threads", "torch threads"), ("device", "device")) if self._starts else ():
            if (then := self._starts[-1][name]) != start[name]:
                say(f"{what}: {start[name]}, before {then}; from here on the results are not bit for bit those of one run.")
        self._starts.append(start)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Collect the iteration's metrics."""
        self._window.append({name: float(outputs[name]) for name in TRAINING_COLUMNS if name in outputs})
        if pl_module.iteration % self.every_n_iterations == 0:
            self._add_row(pl_module)

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Add an evaluation to the curve."""
        self._evaluation = results
        self._add_row(module, results)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep the curve on disk current, so that a run can be watched and a killed one leaves it."""
        if keeps_files(trainer):
            write_curve(run_of(trainer, pl_module).directory / "curve.csv", COLUMNS, self._rows)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Write everything, the summary last; it is of the weights that are written, or they are evaluated again.

        Without an iteration there is nothing to write.
        """
        if not self._starts or pl_module.iteration == 0:
            return
        for callback in trainer.callbacks:
            if isinstance(callback, Evaluation) and not callback.is_of(pl_module):
                callback.run(pl_module)
        if not keeps_files(trainer):
            return
        run = run_of(trainer, pl_module)
        if not (run.directory / "config.yaml").exists():
            run.write_config()
        write_curve(run.directory / "curve.csv", COLUMNS, self._rows)
        write_policy(run.directory / "policy.pt", pl_module, run)
        write_json(run.directory / "summary.json", self._summary(pl_module, run))
        self.publish(run)

    def publish(self, run: Run) -> None:
        """Copy what the finished run has written to `results`; also what a process that was killed has not."""
        if self.results is None:
            return
        target = Path(self.results) / run.task / self._algorithm(run) / f"seed_{run.seed}"
        for leftover in target.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        for name in ("config.yaml", "curve.csv", "policy.pt", "summary.json"):
            write_atomically(target / name, functools.partial(shutil.copyfile, run.directory / name))

    def state_dict(self) -> dict[str, Any]:
        """Remember time, starts, curve and the last evaluation."""
        return {
            "wall_clock_s": self._wall_clock(),
            "cpu_s": self._cpu(),
            "starts": self._starts,
            "rows": self._rows,
            "window": self._window,
            "evaluation": self._evaluation,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._earlier_s = state_dict["wall_clock_s"]
        self._earlier_cpu_s = state_dict.get("cpu_s", math.nan)  # of runs begun before it was counted: not known
        self._starts = state_dict["starts"]
        self._rows = [row if len(row) == len(COLUMNS) else [*row[:2], None, *row[2:]] for row in state_dict["rows"]]
        self._window = state_dict["window"]
        self._evaluation = state_dict["evaluation"]

    def _wall_clock(self) -> float:
        return self._earlier_s + time.perf_counter() - self._started

    def _cpu(self) -> float:
        return self._earlier_cpu_s + time.process_time() - self._began_cpu

    def _algorithm(self, run: Run) -> str:
        return f"{run.algorithm}-{self.variant}" if self.variant else run.algorithm

    def _add_row(self, module: Any, results: dict[str, dict[str, float]] | None = None) -> None:
        """Append the mean of the iterations since the last row; fill in an evaluation made at the same step."""
        if not self._rows or self._rows[-1][0] != float(module.env_steps):
            means = []
            for name in TRAINING_COLUMNS:
                values = [row[name] for row in self._window if name in row and math.isfinite(row[name])]
                means.append(sum(values) / len(values) if values else None)
            self._window = []
            clocks = round(self._wall_clock(), 2), _known(self._cpu(), 2)
            self._rows.append([float(module.env_steps), *clocks, *means, *[None] * len(EVALUATION_COLUMNS)])
        if results is not None:
            sampled, deterministic = results["sampled"], results.get("deterministic", {})
            row = self._rows[-1]
            row[-len(EVALUATION_COLUMNS) :] = [
                sampled["mean"],
                sampled["std"],
                sampled["length"],
                deterministic.get("mean"),
            ]

    def _summary(self, module: Any, run: Run) -> dict[str, Any]:
        return {
            "task": run.task,
            "algorithm": self._algorithm(run),
            "seed": run.seed,
            "env_steps": int(module.env_steps),
            "wall_clock_s": round(self._wall_clock(), 1),
            "cpu_s": _known(self._cpu(), 1),
            "commit": self._commit,
            "machine": machine(module.device),
            "command": self._starts[0]["command"],
            "starts": self._starts,
            **({} if (source := getattr(module, "source", None)) is None else {"init_from": source}),
            "eval": self._evaluation,
        }


def _known(seconds: float, digits: int) -> float | None:
    """Return seconds rounded, or nothing for what is not known."""
    return round(seconds, digits) if math.isfinite(seconds) else None
