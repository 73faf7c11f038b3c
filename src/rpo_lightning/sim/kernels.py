"""Warp kernels around generated source. Equal source gives the same kernel; Warp keeps the machine code on disk."""

# mypy: ignore-errors
# Warp reads the annotations of kernels as values; a type checker cannot.

from __future__ import annotations

import os
from functools import cache

import torch
import warp as wp

__all__ = ["acceleration", "acceleration_adjoint", "step", "step_adjoint"]


def _start_quietly() -> None:
    """Initialise Warp without its banner and, where torch sees no GPU, without its native complaint about that."""
    wp.config.log_level = wp.LOG_ERROR
    if torch.cuda.is_available():
        return
    stderr, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)


_start_quietly()
_OPTIONS = {"enable_backward": False}  # the adjoints are kernels of their own
Floats = wp.array(dtype=wp.float32)


@cache
def step(source: str) -> wp.Kernel:
    """(q, qd, force, trajectory, q_out, qd_out, num_envs, first block, record)."""

    @wp.func_native(source)
    def body(
        q_in: Floats, qd_in: Floats, force: Floats, trajectory: Floats, q_out: Floats, qd_out: Floats,
        num_envs: int, record: int, b: int,
    ): ...  # fmt: skip

    @wp.kernel(module="unique", module_options=_OPTIONS)
    def articulated_step(
        q_in: Floats, qd_in: Floats, force: Floats, trajectory: Floats, q_out: Floats, qd_out: Floats,
        num_envs: int, first: int, record: int,
    ):  # fmt: skip
        body(q_in, qd_in, force, trajectory, q_out, qd_out, num_envs, record, first + wp.tid())

    return articulated_step


@cache
def step_adjoint(source: str) -> wp.Kernel:
    """(adj_q, adj_qd, force, trajectory, out_q, out_qd, out_force, num_envs, first block)."""

    @wp.func_native(source)
    def body(
        adj_q: Floats, adj_qd: Floats, force: Floats, trajectory: Floats, out_q: Floats, out_qd: Floats,
        out_force: Floats, num_envs: int, b: int,
    ): ...  # fmt: skip

    @wp.kernel(module="unique", module_options=_OPTIONS)
    def articulated_step_adjoint(
        adj_q: Floats, adj_qd: Floats, force: Floats, trajectory: Floats, out_q: Floats, out_qd: Floats,
        out_force: Floats, num_envs: int, first: int,
    ):  # fmt: skip
        body(adj_q, adj_qd, force, trajectory, out_q, out_qd, out_force, num_envs, first + wp.tid())

    return articulated_step_adjoint


@cache
def acceleration(source: str) -> wp.Kernel:
    """(q, qd, force, out, num_envs, first block)."""

    @wp.func_native(source)
    def body(q_in: Floats, qd_in: Floats, force: Floats, out: Floats, num_envs: int, b: int): ...

    @wp.kernel(module="unique", module_options=_OPTIONS)
    def articulated_acceleration(q_in: Floats, qd_in: Floats, force: Floats, out: Floats, num_envs: int, first: int):
        body(q_in, qd_in, force, out, num_envs, first + wp.tid())

    return articulated_acceleration


@cache
def acceleration_adjoint(source: str) -> wp.Kernel:
    """(q, qd, force, adj, out_q, out_qd, out_force, num_envs, first block)."""

    @wp.func_native(source)
    def body(
        q_in: Floats, qd_in: Floats, force: Floats, adj: Floats, out_q: Floats, out_qd: Floats, out_force: Floats,
        num_envs: int, b: int,
    ): ...  # fmt: skip

    @wp.kernel(module="unique", module_options=_OPTIONS)
    def articulated_acceleration_adjoint(
        q_in: Floats, qd_in: Floats, force: Floats, adj: Floats, out_q: Floats, out_qd: Floats, out_force: Floats,
        num_envs: int, first: int,
    ):  # fmt: skip
        body(q_in, qd_in, force, adj, out_q, out_qd, out_force, num_envs, first + wp.tid())

    return articulated_acceleration_adjoint
