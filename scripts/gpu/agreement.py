"""Whether the device computes what the CPU does, and the same twice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer
from torch import Tensor

import rpo_lightning
from gpu.part import Row, Settings
from rpo_lightning import algorithms
from rpo_lightning.callbacks.evaluation import evaluate
from rpo_lightning.rollout import RolloutDataModule

TASKS = ("ant", "hopper", "anymal", "humanoid", "cheetah", "cartpole", "double_pendulum")
ALGORITHMS = tuple(name for name in algorithms.__all__ if "name" in vars(getattr(algorithms, name)))
SIMULATED = (*TASKS, "hand_reorient")
"""What has no recording of DFlex besides: its gradients jump at every contact, so only speed and memory are looked at."""
RECORDINGS = Path(__file__).parents[2] / "tests/data"
CLOSE = 1e-3
"""Relative error of gradients that rounding explains; of one environment, contact can make more of it."""
SIMILAR = 0.1
"""Share of what training changed by which weights may differ between devices: Adam turns rounding into whole steps."""


def golden(settings: Settings) -> Iterator[Row]:
    """States, rewards and action-gradients of 32 steps against recordings of DFlex."""
    for task in settings.choose(TASKS, ("cartpole",)):
        with np.load(RECORDINGS / f"dflex_{task.replace('_', '')}.npz") as file:
            data = {key: torch.as_tensor(file[key], device=settings.device) for key in file.files}
        env = rpo_lightning.make(task, data["actions"].shape[1], device=settings.device, auto_reset=False)
        env.set_state(data["joint_q"][0], data["joint_qd"][0])
        actions, total = data["actions"].clone().requires_grad_(), torch.zeros((), device=settings.device)
        position = reward = 0.0
        for t in range(32):
            step = env.step(actions[t])
            total = total + data["gamma"].item() ** t * step.reward.sum()
            position = max(position, float((env.q - data["joint_q"][t + 1]).abs().max()))
            reward = max(reward, float((step.reward - data["reward"][t]).abs().max()))
        (gradient,) = torch.autograd.grad(total, actions)
        error = relative(gradient[:32].transpose(0, 1), data["grad_act_H32"].transpose(0, 1))
        ok = position <= 1e-4 and reward <= max(5e-5, 3e-6 * float(data["reward"].abs().max()))
        ok = ok and bool((error <= (5 * data["noise_grad_act_rel_H32"]).clamp(min=CLOSE)).all())
        yield {"task": task, "position": position, "reward": reward, "gradient": float(error.max()), "ok": ok}


def gradients(settings: Settings) -> Iterator[Row]:
    """Action-gradients of 16 steps in 64 environments on the CPU and on the device: relative errors."""
    for task in settings.choose(TASKS, ("cartpole",)):
        found, start = [], None
        for device in ("cpu", settings.device):
            env = rpo_lightning.make(task, 64, device=device, auto_reset=False)
            start = start or env.get_state()
            env.set_state(*(part.to(env.device) for part in start))
            generator = torch.Generator().manual_seed(0)
            actions = 2.0 * torch.rand(16, 64, env.action_dim, generator=generator) - 1.0
            actions = actions.to(env.device).requires_grad_()
            total = sum(env.step(action).reward.sum() for action in actions)
            found.append(torch.autograd.grad(total, actions)[0].transpose(0, 1).cpu())
        error = relative(found[1], found[0])
        yield {
            "task": task,
            "median": float(error.median()),
            "largest": float(error.max()),
            "ok": float(error.median()) <= CLOSE,
        }


def starts(settings: Settings) -> Iterator[Row]:
    """Random starts and targets of the same seed on the CPU and on the device: largest difference."""
    for task in settings.choose((*SIMULATED, "arm_reach", "quadrotor", "quadruped", "quadruped_rough"), ("cartpole",)):
        ours, theirs = (rpo_lightning.make(task, 64, device=device, seed=7) for device in (settings.device, "cpu"))
        pairs = ((ours.q, theirs.q), (ours.qd, theirs.qd), (ours.target, theirs.target))
        error = max(float((one.cpu() - other).abs().max()) for one, other in pairs if other.numel())
        yield {"task": task, "difference": error, "ok": error <= 1e-4}


def figures(settings: Settings) -> Iterator[Row]:
    """What `validate` finds of policies of this package on the CPU and on the device: mean returns."""
    for task, episodes, bound in settings.choose((("cartpole", 128, 1e-3), ("ant", 64, 0.03)), (("cartpole", 2, 1e-3),)):
        policy, found = rpo_lightning.load_policy(task), []
        for device in ("cpu", settings.device):
            make_env = partial(rpo_lightning.make, task, device=device)
            found.append(evaluate(policy.module.to(device), make_env, episodes, deterministic=True)["mean"])
        share = abs(found[1] - found[0]) / abs(found[0])
        yield {"task": task, "cpu": found[0], "device": found[1], "difference": share, "ok": share <= bound}


def updates(settings: Settings) -> Iterator[Row]:
    """One update of every algorithm on the CPU and on the device: difference as a share of the change."""
    for name in ALGORITHMS:
        windows = 2 if name == "SAC" else 1  # its first only fills the buffer
        before, ours, theirs = (
            train(settings, name, device, count)[0]
            for device, count in (("cpu", 0), ("cpu", windows), (settings.device, windows))
        )
        change = difference(before, ours)
        share = difference(ours, theirs) / max(change, 1e-30)
        yield {"algorithm": name, "change": change, "difference": share, "ok": change > 0.0 and share <= SIMILAR}


def equal(settings: Settings) -> Iterator[Row]:
    """Two runs of three windows on the device: tensors of the weights in which they differ by a bit."""
    for name in ALGORITHMS:
        one, other = (train(settings, name, settings.device, settings.choose(3, 1))[0] for _ in range(2))
        differing = [key for key in one if not torch.equal(one[key], other[key])]
        yield {"algorithm": name, "differing": len(differing), "of": len(one), "ok": not differing}


def resume(settings: Settings) -> Iterator[Row]:
    """Two windows, a checkpoint and two more, against four: on the device, and from one device to the other."""
    (start, _), (whole, taken) = (train(settings, "RPO", settings.device, count) for count in (0, 4))
    for first, second in ((settings.device, settings.device), (settings.device, "cpu"), ("cpu", settings.device)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "half.ckpt"
            train(settings, "RPO", first, 2, save=path)
            weights, steps = train(settings, "RPO", second, 2, checkpoint=path)
        share = difference(weights, whole) / difference(start, whole)
        ok = share <= (0.0 if first == second == settings.device else SIMILAR) and steps == taken
        yield {"from": first, "to": second, "env_steps": steps, "difference": share, "ok": ok}


def processes(settings: Settings) -> Iterator[Row]:
    """One process under DDP with NCCL (on the CPU with gloo) against none: difference of the weights."""
    from lightning.pytorch.strategies import DDPStrategy

    backend = settings.choose("nccl", "gloo")
    for name in ("RPO", "REPPO", "SAC"):
        alone = train(settings, name, settings.device, 2)[0]
        under = train(settings, name, settings.device, 2, strategy=DDPStrategy(process_group_backend=backend))[0]
        share = difference(alone, under)
        yield {"algorithm": name, "backend": backend, "difference": share, "ok": share <= 1e-6}


class Outputs(Callback):
    """Keeps what every iteration reports."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the iteration's metrics."""
        self.rows.append({key: float(value) for key, value in outputs.items()})


def fit(
    name: str,
    device: str,
    data: RolloutDataModule,
    epochs: int,
    checkpoint: Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> tuple[Any, Trainer]:
    """Train an algorithm with its defaults on a device, always from the same weights; return the module and the Trainer.

    `settings` are the algorithm's own where they are no defaults, `options` the Trainer's.
    """
    torch.manual_seed(0)
    module = getattr(algorithms, name)(
        data.obs_dim, data.action_dim, total_env_steps=1_000_000, privileged_dim=data.privileged_dim, **settings
    )
    trainer = Trainer(
        accelerator=device,
        devices=1,
        max_epochs=epochs,
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    if epochs:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return module, trainer


def train(
    settings: Settings,
    name: str,
    device: str,
    windows: int,
    checkpoint: Path | None = None,
    save: Path | None = None,
    **options: Any,
) -> tuple[dict[str, Tensor], int]:
    """Train for some windows on cartpole, after those of `checkpoint`; return weights, on the CPU, and environment steps."""
    data = RolloutDataModule("cartpole", *settings.choose((64, 16), (8, 4)), iterations_per_epoch=max(windows, 1))
    epochs = min(windows, 1) + (checkpoint is not None)
    module, trainer = fit(name, device, data, epochs, checkpoint, **options)
    if save is not None:
        trainer.save_checkpoint(save)
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}, int(module.env_steps)


def relative(ours: Tensor, reference: Tensor) -> Tensor:
    """Return the relative L2 error of each first index; absolute, times 1000, where the reference is below 1e-6."""
    ours, reference = ours.detach().flatten(1), reference.flatten(1)
    norm, error = reference.norm(dim=1), (ours - reference).norm(dim=1)
    return torch.where(norm > 1e-6, error / norm, 1e3 * error)


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the L2 distance of two sets of weights."""
    return float(torch.stack([(one[key].double() - other[key].double()).norm() for key in one]).norm())
