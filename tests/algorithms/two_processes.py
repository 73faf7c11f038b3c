"""What one of two gloo processes runs; started by test_ranks.py as `two_processes.py TASK RANK PORT FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint

from rpo_lightning.algorithms import GIPPO, RLModule
from rpo_lightning.distributed import rank
from rpo_lightning.rollout import Collector
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
UNION = {
    "rpo": {"entropy_coef": 0.0},
    "shac": {},
    "shac_original": {},
    "sapo": {"entropy_coef": 0.0},
    "ppo": {"minibatch_size": 64},
    "gippo": {},
}
APART = ("rpo", "ppo", "reppo", "sac")
"""Algorithms trained on every process's own environments, with the noise, minibatches and replay buffer of each."""


def on_union(name: str) -> RLModule:
    """Return the algorithm whose union of environments is comparable with one process."""
    return make_algorithm(name, **UNION[name])


def union_data() -> UnionData:
    """Return three windows of the same environments on every process."""
    return UnionData(None, iterations_per_epoch=3)


def trainer(folder: Path) -> dict:
    """Train the union under the Trainer; then train apart, stop, resume."""
    ddp = {"strategy": "ddp", "devices": 2}
    unions, metrics = {}, {}
    for name in UNION:
        module, record = on_union(name), Record()
        make_trainer(folder, **ddp, callbacks=[record]).fit(module, datamodule=union_data())
        unions[name], metrics[name] = snapshot(module), record.metrics

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
        run_fabric(module, union_data(), **ddp)
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


def decisions() -> dict:
    """Return what GI-PPO decides where one rank alone sees a reason."""
    module, batch, old = stand_in(max_out_of_range=1.0)

    def widen() -> None:
        module.actor.log_std.data[2, 3] += rank()

    factor = follow(module, batch, old, widen)

    module, batch, old = stand_in()
    module.actor.mean.data[0] += 0.2 + 5.0 * rank()  # far from the old policy
    module._descend = lambda *args: (True, torch.zeros(()))
    metrics = module.correct(batch, None, old, torch.ones(8, 6, dtype=torch.float64), None)

    module, calls = GIPPO(3, 1, 4096, hidden=(4,)), []
    module.actor = FreeActor(torch.zeros(1), torch.zeros(1))
    optimizer = torch.optim.AdamW(module.actor.parameters(), lr=0.1)

    def rising_on_rank_zero() -> torch.Tensor:
        calls.append(rank())
        return module.actor.mean.sum() + module.actor.log_std.sum() + (10.0 * (len(calls) % 2 == 0) if rank() == 0 else 0.0)

    fitted, _ = module._descend(rising_on_rank_zero, 1, optimizer, 0.1)
    return {"factor": factor, "max_ratio": float(metrics["actor/max_ratio"]), "fitted": fitted, "calls": len(calls)}


def critic_loss(module: object, batch: object) -> torch.Tensor:
    """Return some loss over a window."""
    return (module.critics.ensemble(module.normalizer(batch.obs)) - batch.reward).square().mean()


if __name__ == "__main__":
    task, index, port, folder = sys.argv[1:]
    os.environ.update(LOCAL_RANK=index, NODE_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    result = {"trainer": trainer, "fabric": fabric}[task](Path(folder))
    torch.save(result, Path(folder) / f"{task}{index}.pt")
    dist.destroy_process_group()
