"""Several seeds in one process against each alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from gpu.agreement import SIMILAR, difference
from gpu.part import Row, Settings
from rpo_lightning import algorithms
from rpo_lightning.algorithms.together import KINDS, Together
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.rollout.together import TogetherCollector


def seeds(settings: Settings) -> Iterator[Row]:
    """Seeds stacked in one process against each alone: difference as a share of the change, seconds per window and seed."""
    count, windows = settings.choose((8, 3), (2, 1))
    for name in (kind.__name__ for kind in KINDS):
        alone, beside = ([_run(settings, name, seed) for seed in range(count)] for _ in range(2))
        before = [_weights(module) for module, _ in alone]
        together = Together([module for module, _ in beside], stacked=True)
        collector = TogetherCollector([data.collector for _, data in beside])
        spent = [0.0, 0.0]
        for _ in range(windows):
            started = _now(settings)
            for module, data in alone:
                module.training_step(data.collector.collect(module), 0)
            between = _now(settings)
            batches = collector.collect_each(together)
            checked = [module.check(batch) for (module, _), batch in zip(beside, batches, strict=True)]
            metrics = together.update(batches, [each.skipped for each in checked])
            for (module, _), *rest in zip(beside, batches, checked, metrics, strict=True):
                module.conclude(*rest)
            spent = [between - started, _now(settings) - between]  # of the last window
        shares = [
            difference(_weights(one), _weights(other)) / max(difference(start, _weights(one)), 1e-30)
            for start, (one, _), (other, _) in zip(before, alone, beside, strict=True)
        ]
        figures = {"difference": max(shares), "alone_s": spent[0] / count, "stacked_s": spent[1] / count}
        yield {"algorithm": name, "seeds": count, **figures, "ok": max(shares) <= SIMILAR}


def _run(settings: Settings, name: str, seed: int) -> tuple[Any, Any]:
    torch.manual_seed(seed)
    data = RolloutDataModule("cartpole", *settings.choose((64, 16), (8, 4)), seed=seed)
    module = getattr(algorithms, name)(data.obs_dim, data.action_dim, total_env_steps=1_000_000)
    data.attach(module.to(settings.device)).setup("fit")
    return module, data


def _weights(module: Any) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}


def _now(settings: Settings) -> float:
    if settings.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
