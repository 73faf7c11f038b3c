"""Random numbers: one sequence for each run and process, drawn on the CPU whatever the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.under_vmap import Generators

__all__ = ["RunSeeds", "normal", "permutation", "run_seeds"]


class RunSeeds(NamedTuple):
    """Seeds of one process of a run; each begins a stream of its own."""

    env: int
    """Of the starts."""
    exploration: int
    """Of the noise of the policy, and of what an update draws."""


def run_seeds(seed: int, rank: int) -> RunSeeds:
    """Return the seeds of process `rank` of the run `seed`; no two of them, of any run or rank, are related."""
    children = np.random.SeedSequence(seed, spawn_key=(rank,)).spawn(len(RunSeeds._fields))
    # torch and gymnasium both take what fits into 63 bits
    return RunSeeds(*(int(child.generate_state(1, np.uint64)[0]) >> 1 for child in children))


def normal(shape: Sequence[int], generator: torch.Generator | Generators | None, like: Tensor) -> Tensor:
    """Draw standard normal numbers on the CPU, and return them on the device and in the dtype of `like`.

    Args:
        shape: of the numbers.
        generator: of the CPU; None: torch's own of the CPU.
        like: a tensor on the device.
    """
    if isinstance(generator, Generators):
        return generator.draw(lambda own: normal(shape, own, like))
    return torch.randn(tuple(shape), generator=generator, dtype=like.dtype).to(like.device, non_blocking=True)


def permutation(size: int, generator: torch.Generator | Generators, device: torch.device) -> Tensor:
    """Return the numbers 0 ... size - 1 (size,) in random order, drawn on the CPU."""
    if isinstance(generator, Generators):
        return generator.draw(lambda own: permutation(size, own, device))
    return torch.randperm(size, generator=generator).to(device, non_blocking=True)
