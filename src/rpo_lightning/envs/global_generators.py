"""The random generators that a whole process shares."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["kept_generators"]


@contextmanager
def kept_generators() -> Iterator[None]:
    """Leave the generators of torch, NumPy and Python as they were: code of the user's may seed or use them inside.

    Otherwise an environment that seeds them would choose the first weights of every run.
    """
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
