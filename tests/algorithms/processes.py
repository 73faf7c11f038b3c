"""What one of several gloo processes runs, and how they are started: `run_ranks`."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.multiprocessing import start_processes

from rpo_lightning.algorithms import GIPPO, RLModule
from rpo_lightning.checkpoints import read_file
from rpo_lightning.distributed import gather_over_ranks, rank
from rpo_lightning.files import write_tensors
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

# Nothing that every process draws for itself: noise of entropies, minibatches.
UNION: dict[str, dict[str, Any]] = {
    "rpo": {"entropy_coef": 0.0, "kl_limit": 1e-4},
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
UNION_OF_TASKS = [(name, task) for name in ("ppo", "reppo", "sac") for task in TASKS.values()]
"""Algorithms and tasks whose union of environments is compared too."""


def run_ranks(task: Callable[..., Any], *arguments: Any, world: int = 2) -> list[Any]:
    """Run a function in as many processes, which find each other as Lightning's do; return what each returned.

    The processes are forked from one that has imported what they need.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.algorithms.processes"])
    with tempfile.TemporaryDirectory() as folder:
        running = start_processes(
            _rank, (world, port, folder, task, arguments), nprocs=world, join=False, start_method="forkserver"
        )
        deadline = time.monotonic() + 300
        try:
            while not running.join(timeout=5):  # raises what one of them has raised
                assert time.monotonic() < deadline, f"{task.__name__} hangs"
        finally:
            for process in running.processes:
                process.kill()
        return [torch.load(Path(folder) / f"{index}.pt", weights_only=True) for index in range(world)]


def _rank(index: int, world: int, port: str, folder: str, task: Callable[..., Any], arguments: tuple) -> None:
    names = {"RANK": index, "LOCAL_RANK": index, "NODE_RANK": 0, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    torch.save(task(*arguments), Path(folder) / f"{index}.pt")
    dist.destroy_process_group()


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


def fit_union(name: str, folder: Path, num_envs: int = 8, env: str | None = None, **options: Any) -> tuple[dict, list]:
    """Train on three windows of environments that all processes share; return weights and metrics."""
    module, record = on_union(name), Record()
    data = UnionData(env, num_envs, iterations_per_epoch=3)
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


def fabric() -> dict:
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


def states(folder: Path) -> dict:
    """Gather a large state of every rank, write all, and read one's own; return it with the memory that this took."""
    dist.init_process_group("gloo")
    own = {
        "rank": rank(),
        "rows": torch.full((LARGE // 4,), float(rank())),
        "rest": (torch.zeros(0, 3), [torch.tensor(rank() == 1)]),
    }
    before = _memory(peak=False)
    gathered = gather_over_ranks(own)
    memory = {"gathering": _memory() - before}
    if rank() == 0:
        write_tensors(folder / "all.ckpt", {"ranks": gathered})
    count = len(gathered)
    right = all(
        torch.equal(each["rows"], torch.full_like(own["rows"], index)) and bool(each["rest"][1][0]) == (index == 1)
        for index, each in enumerate(gathered)
    )
    del gathered
    dist.barrier()
    before = _memory(peak=False)
    read = read_file(folder / "all.ckpt", mapped=True)["ranks"][rank()]
    right = right and torch.equal(read["rows"], own["rows"])
    return {"count": count, "right": right, "memory": {**memory, "reading": _memory() - before}}


LARGE = 32_000_000
"""Bytes of such a state."""


def _memory(peak: bool = True) -> float:
    """Return the memory of this process, or the most it has had since it was asked for, in units of `LARGE`."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024 / LARGE


def tasks(folder: Path) -> dict:
    """Train on tasks that are not our simulator's: on every process's own environments, then on a union."""
    ddp = {"strategy": "ddp", "devices": 2}
    results: dict[Any, Any] = {(name, task): fit_union(name, folder, env=task, **ddp)[0] for name, task in UNION_OF_TASKS}
    for name, task in TASKS.items():
        module, data = make_algorithm(name), RolloutDataModule(task, num_envs=4, horizon=8, iterations_per_epoch=2)
        before = snapshot(module)
        make_trainer(folder, **ddp).fit(module, datamodule=data)
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
