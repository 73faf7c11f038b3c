"""What one of several gloo processes runs; started by `run_ranks` as `processes.py TASK RANK WORLD PORT FOLDER`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint

import rpo_lightning
from rpo_lightning.algorithms import GIPPO, RLModule
from rpo_lightning.distributed import rank
from rpo_lightning.nn import Gaussian
from rpo_lightning.rollout import Collector, ReplayBuffer, RolloutDataModule, Transitions
from tests.algorithms.drivers import (
    Record,
    UnionData,
    make_algorithm,
    make_data,
    make_rpo,
    make_trainer,
    run_fabric,
    share,
    snapshot,
)
from tests.algorithms.free_policy import FreeActor, follow, stand_in
from tests.toy import PointMass

ROOT = Path(__file__).parents[2]

# Nothing that every process draws for itself: noise of entropies, minibatches.
UNION: dict[str, dict[str, Any]] = {
    "rpo": {"entropy_coef": 0.0},
    "shac": {},
    "shac_original": {},
    "sapo": {"entropy_coef": 0.0},
    "ppo": {"minibatch_size": 64},
    "gippo": {},
    "reppo": {"minibatch_size": 64},
    "sac": {"replay_size": 4096},
}
THREE = ("rpo", "ppo", "reppo", "sac")
"""Those that also run on three processes."""
APART = ("rpo", "ppo", "reppo", "sac")
"""Algorithms trained on every process's own environments, with the noise, minibatches and replay buffer of each."""


TASKS = {"reppo": "dmc/pendulum_swingup", "ppo": "gymnasium/Pendulum-v1"}
"""Tasks that are not our own simulator's, all with three observations and one action."""


def run_ranks(task: str, folder: Path, world: int = 2) -> list[dict]:
    """Run a task of this file in as many processes and return what each saved."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    source = str(Path(rpo_lightning.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, str(ROOT)]), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.algorithms.processes", task, str(index), str(world), port, str(folder)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(world)
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * world, "\n".join(outputs)
    return [torch.load(folder / f"{task}{index}.pt", weights_only=True) for index in range(world)]


def nothing_drawn() -> Any:
    """Make noise a function of the policy, and every draw from a replay buffer all of it.

    Then REPPO and SAC, too, do on several processes what one does on the union of their environments.
    """

    def noise(policy: Gaussian, generator: torch.Generator) -> torch.Tensor:
        return (10.0 * policy.mean.detach()).sin()

    def draw(buffer: ReplayBuffer, size: int, *arguments: Any) -> Transitions:
        steps, num_envs = buffer._size, buffer._rows["reward"].shape[1]
        indices = iter([torch.arange(steps).repeat_interleave(num_envs), torch.arange(num_envs).repeat(steps)])
        with patch.object(torch, "randint", lambda *shape, **options: next(indices)):
            return original(buffer, steps * num_envs, *arguments)

    original = ReplayBuffer.draw
    return patch.multiple(Gaussian, noise=noise), patch.multiple(ReplayBuffer, draw=draw)


def on_union(name: str) -> RLModule:
    """Return the algorithm whose union of environments is comparable with one process."""
    return make_algorithm(name, **UNION[name])


def fit_union(name: str, folder: Path, num_envs: int = 8, **options: Any) -> tuple[dict, list]:
    """Train on three windows of environments that all processes share; return weights and metrics."""
    module, record = on_union(name), Record()
    data = UnionData(None, num_envs, iterations_per_epoch=3)
    noise, draws = nothing_drawn()
    with noise, draws:
        make_trainer(folder, callbacks=[record], **options).fit(module, datamodule=data)
    return snapshot(module), record.metrics


def trainer(folder: Path) -> dict:
    """Train the union under the Trainer; then train apart, stop, resume."""
    ddp = {"strategy": "ddp", "devices": 2}
    unions, metrics = {}, {}
    for name in UNION:
        unions[name], metrics[name] = fit_union(name, folder, **ddp)

    apart = {}
    for name in APART:
        checkpoint = ModelCheckpoint(folder / name, filename="{step}", every_n_train_steps=3, save_top_k=-1)
        states, positions, buffers = [], [], []
        for resume in (None, str(folder / name / "step=384.ckpt")):
            module, data, record = make_algorithm(name), make_data(4), Record()
            callbacks = [record, checkpoint] if resume is None else [record]
            make_trainer(folder, **ddp, callbacks=callbacks).fit(module, datamodule=data, ckpt_path=resume)
            states.append(snapshot(module))
            positions.append(data.collector.env.q)
            buffers.append(module.replay.state_dict() if name == "sac" else {})
            metrics.setdefault(name, []).extend(record.metrics)
        apart[name] = {"states": states, "positions": positions, "buffers": buffers, "env_steps": module.env_steps}
    return {"union": unions, "apart": apart, "metrics": metrics}


def fabric(folder: Path) -> dict:
    """Train the union under Fabric; then compare one gradient and the normaliser."""
    ddp = {"strategy": "ddp", "devices": 2}
    unions = {}
    for name in UNION:
        module = on_union(name)
        noise, draws = nothing_drawn()
        with noise, draws:
            run_fabric(module, UnionData(None, 8, iterations_per_epoch=3), **ddp)
        unions[name] = snapshot(module)

    module = make_rpo(entropy_coef=0.0)
    batch = share(Collector(PointMass(8, seed=1), 8, seed=1).collect(module))
    parameters = list(module.critics.ensemble.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    module.apply_gradients(optimizer, parameters, critic_loss(module, batch), max_norm=1e9)
    module.normalizer.update(torch.randn(50, 3, generator=torch.Generator().manual_seed(rank())) + rank())

    class SkipOnRankOne:
        def on_rollout_end(self, module: object, batch: object) -> None:
            module.skip_update = rank() == 1

    skipped = make_rpo()
    before = snapshot(skipped)
    data = make_data(1)
    run_fabric(skipped, data, **ddp, callbacks=[SkipOnRankOne()])
    return {
        "union": unions,
        "gradient": [parameter.grad for parameter in parameters],
        "normalizer": module.normalizer.state_dict(),
        "skipped": (before, snapshot(skipped)),
        "noise": data.collector.generator.get_state(),
        "decisions": decisions(),
    }


def three(folder: Path) -> dict:
    """Train the union of nine environments on three processes."""
    return {name: fit_union(name, folder, 9, strategy="ddp", devices=3)[0] for name in THREE}


def tasks(folder: Path) -> dict:
    """Train on every process's own environments of tasks that are not our simulator's."""
    results = {}
    for name, task in TASKS.items():
        module, data = make_algorithm(name), RolloutDataModule(task, num_envs=4, horizon=8, iterations_per_epoch=2)
        before = snapshot(module)
        make_trainer(folder, strategy="ddp", devices=2).fit(module, datamodule=data)
        results[task] = {
            "states": (before, snapshot(module)),
            "obs": data.collector.env.detach(),
            "env_steps": module.env_steps,
        }
    return results


def decisions() -> dict:
    """Return what GI-PPO decides where one rank alone sees a reason."""
    module, batch, old = stand_in(max_out_of_range=1.0)

    def widen() -> None:
        module.actor.log_std.data[2, 3] += rank()

    factor = follow(module, batch, old, widen)

    module, calls = GIPPO(3, 1, 4096, hidden=(4,)), []
    module.actor = FreeActor(torch.zeros(1), torch.zeros(1))
    optimizer = torch.optim.AdamW(module.actor.parameters(), lr=0.1)

    def rising_on_rank_zero() -> torch.Tensor:
        calls.append(rank())
        return module.actor.mean.sum() + module.actor.log_std.sum() + (10.0 * (len(calls) % 2 == 0) if rank() == 0 else 0.0)

    taken_back, _ = module._descend(rising_on_rank_zero, 1, optimizer, 0.1)
    return {"factor": factor, "taken_back": taken_back, "calls": len(calls)}


def critic_loss(module: object, batch: object) -> torch.Tensor:
    """Return some loss over a window."""
    return (module.critics.ensemble(module.normalizer(batch.obs)) - batch.reward).square().mean()


if __name__ == "__main__":
    task, index, world, port, place = sys.argv[1:]
    os.environ.update(LOCAL_RANK=index, NODE_RANK="0", WORLD_SIZE=world, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    result = {"trainer": trainer, "fabric": fabric, "three": three, "tasks": tasks}[task](Path(place))
    torch.save(result, Path(place) / f"{task}{index}.pt")
    dist.destroy_process_group()
