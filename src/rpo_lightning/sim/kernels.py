"""Warp kernels around generated source. Equal source gives the same kernel; Warp keeps the machine code on disk."""

from __future__ import annotations

from functools import lru_cache

import warp as wp

__all__ = ["acceleration", "acceleration_adjoint", "step", "step_adjoint"]

wp.config.log_level = wp.LOG_ERROR  # no banner, no line per module, no complaint about machines without a GPU
_OPTIONS = {"enable_backward": False}  # the adjoints are kernels of their own
Floats = wp.array(dtype=wp.float32)


@lru_cache(maxsize=None)
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


@lru_cache(maxsize=None)
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


@lru_cache(maxsize=None)
def acceleration(source: str) -> wp.Kernel:
    """(q, qd, force, out, num_envs, first block)."""

    @wp.func_native(source)
    def body(q_in: Floats, qd_in: Floats, force: Floats, out: Floats, num_envs: int, b: int): ...

    @wp.kernel(module="unique", module_options=_OPTIONS)
    def articulated_acceleration(q_in: Floats, qd_in: Floats, force: Floats, out: Floats, num_envs: int, first: int):
        body(q_in, qd_in, force, out, num_envs, first + wp.tid())

    return articulated_acceleration


@lru_cache(maxsize=None)
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
