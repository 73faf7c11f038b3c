"""One thread for torch in every test process and in what it starts; fixtures shared by the tests of the command line.

A test about the number of threads sets its own.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch

from tests.command_line import folder

__all__ = ["folder"]

torch.set_num_threads(1)
