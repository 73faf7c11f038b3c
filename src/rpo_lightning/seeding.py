"""Random numbers: one sequence for each run and process, drawn on the CPU whatever the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["Draws", "RunSeeds", "normal", "permutation", "run_seeds"]


class Draws(Protocol):
    """What stands where a generator is asked for: several of them at once, or one whose numbers have a place."""

    def draw(self, one: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return what `one` draws with a generator."""


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


def normal(shape: Sequence[int], generator: torch.Generator | Draws | None, like: Tensor) -> Tensor:
    """Draw standard normal numbers on the CPU, and return them on the device and in the dtype of `like`.

    Args:
        shape: of the numbers.
        generator: of the CPU; None: torch's own of the CPU.
        like: a tensor on the device.
    """
    dtype, device = like.dtype, like.device  # what draws again later is not to hold a graph

    def one(own: torch.Generator | None) -> Tensor:
        return torch.randn(tuple(shape), generator=own, dtype=dtype).to(device, non_blocking=True)

    return one(generator) if generator is None or isinstance(generator, torch.Generator) else generator.draw(one)


def permutation(size: int, generator: torch.Generator | Draws, device: torch.device) -> Tensor:
    """Return the numbers 0 ... size - 1 (size,) in random order, drawn on the CPU."""

    def one(own: torch.Generator) -> Tensor:
        return torch.randperm(size, generator=own).to(device, non_blocking=True)

    return one(generator) if isinstance(generator, torch.Generator) else generator.draw(one)
