"""Seconds per training iteration, split by phase, and what Lightning adds to a bare loop.

Other work on the machine only adds time, so the fastest iteration counts.

    python scripts/benchmark_training.py --env ant --threads 2 --output results/benchmark_training.json

`--env synthetic` has Ant's dimensions and next to no physics: what is left of the rollout is torch's share. "products" are
the matrix products of the critics' passes alone, of the same shapes: what is left of "critic" if all else took no time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from lightning import Callback, Fabric, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from rpo_lightning.algorithms import RPO
from rpo_lightning.envs.protocol import Step
from rpo_lightning.rollout import RolloutBatch, RolloutDataModule

WARM_UP = 2


class Synthetic:
    """A linear system of Ant's size: 37 observations, 8 actions."""

    name = "synthetic"
    obs_dim, action_dim, max_episode_steps = 37, 8, 1000
    differentiable = True

    def __init__(self, num_envs: int, device: torch.device, seed: int) -> None:
        self.num_envs, self.device = num_envs, device
        generator = torch.Generator(device).manual_seed(seed)
        self.x = torch.randn(num_envs, self.obs_dim, generator=generator, device=device)
        self.push = 0.1 * torch.randn(self.action_dim, self.obs_dim, generator=generator, device=device)
        self.progress = torch.randint(1000, (num_envs,), generator=generator, device=device)
        self.invalid = torch.zeros(num_envs, dtype=torch.bool, device=device)

    def step(self, action: Tensor) -> Step:
        """Move; an episode's end changes nothing."""
        self.x = 0.99 * self.x + action @ self.push
        self.progress = (self.progress + 1) % self.max_episode_steps
        return Step(self.x, -self.x.square().mean(-1), self.invalid, self.progress == 0, self.x)

    def detach(self) -> Tensor:
        """Cut the graph."""
        self.x = self.x.detach()
        return self.x

    def get_state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x, x, progress)."""
        return self.x, self.x, self.progress


class TimedRPO(RPO):
    """Notes how long each phase of its last update took."""

    def __init__(self, obs_dim: int, action_dim: int, critic_precision: Literal["32", "bf16"]) -> None:
        super().__init__(obs_dim, action_dim, total_env_steps=10_000_000, critic_precision=critic_precision)
        self.seconds: dict[str, float] = {}

    def update(self, batch: RolloutBatch) -> dict[str, Any]:
        """Time the actor epochs and the critic epochs of one update."""
        self.improve_actor = self._timed("actor", super().improve_actor)  # type: ignore[method-assign]
        self.fit_critics = self._timed("critic", super().fit_critics)  # type: ignore[method-assign]
        return super().update(batch)

    def _timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            started = perf_counter()
            result = function(*args)
            self.seconds[phase] = perf_counter() - started
            return result

        return timed


class BareRPO(TimedRPO):
    """RPO without Lightning: torch's optimizers, no hooks, no logging."""

    def __init__(self, obs_dim: int, action_dim: int, critic_precision: Literal["32", "bf16"]) -> None:
        super().__init__(obs_dim, action_dim, critic_precision)
        self.torch_optimizers = self.configure_optimizers()

    def scheduled_optimizers(self, *initial: float) -> list[torch.optim.Optimizer]:
        """Return the optimizers made once."""
        return self.torch_optimizers

    def hook(self, name: str, *args: Any) -> None:
        """Call nobody."""


class Clock(Callback):
    """Notes when iterations end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the time."""
        self.times.append(perf_counter())

    @property
    def seconds(self) -> float:
        """Seconds of the fastest iteration."""
        return min(b - a for a, b in zip(self.times[WARM_UP:], self.times[WARM_UP + 1 :], strict=False))


def make_data(options: argparse.Namespace) -> RolloutDataModule:
    env = Synthetic if options.env == "synthetic" else options.env
    return RolloutDataModule(env, options.num_envs, options.horizon, options.iterations + WARM_UP + 1)


def bare(options: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of the fastest iteration of a plain loop, whole and by phase."""
    data = make_data(options)
    module = BareRPO(data.obs_dim, data.action_dim, options.critic_precision)
    data.attach(module).setup("fit")
    rows, started = [], perf_counter()
    for batch in data.train_dataloader():
        module.update(batch)
        now = perf_counter()
        known = {"rollout": batch.rollout_time, **module.seconds}
        rows.append({**known, "other": now - started - sum(known.values()), "total": now - started})
        started = now
    return min(rows[WARM_UP:], key=lambda row: row["total"])


def products(options: argparse.Namespace) -> float:
    """Return the seconds of the matrix products that the critics' regression cannot do without, and nothing else."""
    data = make_data(options)
    module = RPO(data.obs_dim, data.action_dim, total_env_steps=10_000_000)
    dtype = torch.bfloat16 if options.critic_precision == "bf16" else torch.float32
    rows = options.num_envs * options.horizon // module.critics.minibatches
    made = []
    for critic in module.critics.ensemble.children():
        layers = [layer for layer in critic.children() if isinstance(layer, torch.nn.Linear)]
        for i, layer in enumerate(layers):
            one = torch.float32 if layer is layers[-1] else dtype  # the output layer keeps its precision
            x, y = (torch.randn(rows, size, dtype=one) for size in (layer.in_features, layer.out_features))
            made.append((i, x, layer.weight.detach().to(one), y))
    fastest = float("inf")
    for _ in range(options.iterations):
        started = perf_counter()
        for _ in range(module.critics.epochs * module.critics.minibatches):
            for i, x, weight, y in made:
                x @ weight.T
                y.T @ x
                if i > 0:  # nobody asks for the gradient of what is observed
                    y @ weight
        fastest = min(fastest, perf_counter() - started)
    return fastest


def under_fabric(options: argparse.Namespace) -> float:
    """Return the seconds of the fastest iteration of a Fabric loop without a logger."""
    data, clock = make_data(options), Clock()
    module = TimedRPO(data.obs_dim, data.action_dim, options.critic_precision)
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.setup(module, *module.configure_optimizers())
    data.attach(module).setup("fit")
    for i, batch in enumerate(data.train_dataloader()):
        module.training_step(batch, i)
        clock.times.append(perf_counter())
    return clock.seconds


def under_trainer(options: argparse.Namespace, tensorboard: bool) -> float:
    """Return the seconds of the fastest iteration of Trainer.fit."""
    data, clock = make_data(options), Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            logger=TensorBoardLogger(folder) if tensorboard else False,
            log_every_n_steps=1,
            callbacks=[clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(TimedRPO(data.obs_dim, data.action_dim, options.critic_precision), datamodule=data)
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ant", help="a task, or synthetic")
    parser.add_argument("--num-envs", type=int, default=128)
    parser.add_argument("--horizon", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=20, help="measured per loop, after two to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--critic-precision", default="32", choices=("32", "bf16"))
    parser.add_argument("--bare-only", action="store_true", help="leave out Fabric and the Trainer")
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")

    phases = {**bare(options), "products": products(options)}
    loops = {"bare": phases.pop("total")}
    if not options.bare_only:
        loops["fabric"] = under_fabric(options)
        loops["trainer"] = under_trainer(options, tensorboard=False)
        loops["trainer + tensorboard"] = under_trainer(options, tensorboard=True)

    steps = options.num_envs * options.horizon
    print(f"{options.env}: {options.num_envs} envs x {options.horizon} steps, {options.threads} threads")
    for name, seconds in (*phases.items(), *loops.items()):
        print(f"{name:22s} {1e3 * seconds:8.1f} ms {seconds / loops['bare']:7.1%} of the bare loop")
    print(f"{steps / loops['bare']:,.0f} steps/s in the bare loop")
    if options.output is not None:
        settings = {k: v for k, v in vars(options).items() if k not in ("output", "bare_only")}
        machine = f"{os.cpu_count()} cores {platform.processor() or platform.machine()}, torch {torch.__version__}"
        record = {**settings, "machine": machine, "phase_seconds": phases, "loop_seconds": loops}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
