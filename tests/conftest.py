"""One thread for torch in every test process and in what it starts; long files first; fixtures of the command line's tests.

A test about the number of threads sets its own.
"""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import pytest
import torch

from tests.command_line import folder

__all__ = ["folder"]

LONG_FILES = (
    "test_learning", "test_interrupts", "test_reproduce", "test_documentation", "test_check_gpu", "test_resume", "test_fabric",
    "test_ranks", "test_pairs",
)  # fmt: skip
"""Begun first, so that no process is left with one of them while the other has nothing to do."""

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    order = {name: index for index, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: order.get(Path(item.path).stem, len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem):
    """End the run where a test takes its process down: the others would wait for that process for ever."""
    pytest.exit(f"{crashitem} has taken its process down", returncode=1)
