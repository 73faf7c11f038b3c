"""The engine as torch operators: one fused Warp kernel for a step, one for its adjoint."""

from __future__ import annotations

import math
import os
import pickle
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import torch
import warp as wp

from rpo_lightning.sim import codegen, kernels
from rpo_lightning.sim.model import Model

__all__ = ["Simulator", "resolve_device"]

_CUDA_BLOCK = 32  # threads; few, because 128 environments should still spread over many multiprocessors


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device a simulator can run on: the CPU, or a CUDA device with its index.

    Raises:
        ValueError: for anything else, or a CUDA device that is not there.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} does not exist; choose 'cpu' or 'cuda'") from error
    if found.type == "cpu":
        return found
    if found.type != "cuda":
        raise ValueError(f"device {device!r}: the simulator runs on 'cpu' and 'cuda'")
    count = torch.cuda.device_count() if torch.cuda.is_available() and wp.is_cuda_available() else 0
    index = found.index if found.index is not None else (torch.cuda.current_device() if count else 0)
    if index >= count:
        there = f"there are {count} CUDA devices" if count else "no usable CUDA device was found"
        raise ValueError(f"device {device!r}: {there}; choose device='cpu'")
    return torch.device("cuda", index)


class Simulator:
    """Steps `num_envs` copies of one robot; results do not depend on `threads`.

    Args:
        model: the robot, from `load_mjcf`.
        num_envs: number of environments N.
        dt: time of one step [s].
        substeps: semi-implicit Euler steps in it.
        mass_matrix_interval: substeps between rebuilds of the mass matrix, counted from the start of each step.
        device: "cpu" or "cuda[:k]".
        threads: CPU threads that share the environments; None: as many as torch uses, which is all cores by default.

    Raises:
        ValueError: for counts below one, or a CUDA device that is not there.
    """

    def __init__(
        self,
        model: Model,
        num_envs: int,
        dt: float = 1.0 / 60.0,
        substeps: int = 16,
        mass_matrix_interval: int = 16,
        device: str | torch.device = "cpu",
        threads: int | None = None,
    ) -> None:
        threads = torch.get_num_threads() if threads is None else threads
        for name, value in (("num_envs", num_envs), ("substeps", substeps), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 1 <= mass_matrix_interval <= substeps:
            raise ValueError(f"mass_matrix_interval must be in 1 ... substeps={substeps}, got {mass_matrix_interval}")
        if dt <= 0.0:
            raise ValueError(f"dt must be positive, got {dt}")
        self.device = resolve_device(device)
        self.model, self.num_envs, self.dt, self.substeps = model, num_envs, dt, substeps
        self.mass_matrix_interval = mass_matrix_interval
        self._settings = pickle.dumps(model), dt / substeps, substeps, mass_matrix_interval
        width = codegen.LANES[self.device.type]
        self._blocks = math.ceil(num_envs / width)
        self._trajectory_size = self._blocks * width * substeps * (model.nq + model.nd)
        self._shares = _split(self._blocks, min(threads, self._blocks) if self.device.type == "cpu" else 1)

    def step(self, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (q, qd) after one step of `dt` under a constant generalised force.

        Args:
            q: (N, nq) coordinates [m, rad, unit quaternions xyzw].
            qd: (N, nd) rates; of a free joint the twist about the world origin.
            force: (N, nd) [N m or N].
        """
        self._check(q=q, qd=qd, force=force)
        return _Step.apply(self, torch.is_grad_enabled(), q, qd, force)

    def acceleration(self, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
        """Return the rates' time derivative (N, nd) in a state, with a fresh mass matrix."""
        self._check(q=q, qd=qd, force=force)
        return _Acceleration.apply(self, q, qd, force)

    @cached_property
    def _step_kernel(self) -> wp.Kernel:
        return self._load(kernels.step(_step_source(*self._settings)))

    @cached_property
    def _step_adjoint_kernel(self) -> wp.Kernel:
        return self._load(kernels.step_adjoint(_step_adjoint_source(*self._settings)))

    @cached_property
    def _acceleration_kernel(self) -> wp.Kernel:
        return self._load(kernels.acceleration(codegen.acceleration_source(self.model)))

    @cached_property
    def _acceleration_adjoint_kernel(self) -> wp.Kernel:
        return self._load(kernels.acceleration_adjoint(codegen.acceleration_adjoint_source(self.model)))

    def _load(self, kernel: wp.Kernel) -> wp.Kernel:
        # now, and not at the first launch, where several threads would compile the same module
        wp.load_module(kernel.module, device=str(self.device), block_dim=_CUDA_BLOCK if self.device.type == "cuda" else None)
        return kernel

    def _check(self, **tensors: torch.Tensor) -> None:
        for name, tensor in tensors.items():
            shape = (self.num_envs, self.model.nq if name == "q" else self.model.nd)
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or tensor.device != self.device:
                raise ValueError(
                    f"{name} must be a float32 tensor of shape {shape} on {self.device}, "
                    f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
                )

    def _launch(self, kernel: wp.Kernel, tensors: tuple[torch.Tensor, ...], *scalars: int) -> None:
        arrays = [wp.from_torch(t, return_ctype=True) for t in tensors]
        if self.device.type == "cuda":
            stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
            dim = self._blocks * codegen.LANES["cuda"]
            wp.launch(kernel, dim=dim, inputs=[*arrays, self.num_envs, 0, *scalars], stream=stream, block_dim=_CUDA_BLOCK)
            return

        def run(share: tuple[int, int]) -> None:
            first, count = share
            wp.launch(kernel, dim=count, inputs=[*arrays, self.num_envs, first, *scalars], device="cpu")

        if len(self._shares) == 1:
            run(self._shares[0])
            return
        others = [_pool(len(self._shares) - 1).submit(run, share) for share in self._shares[1:]]
        try:
            run(self._shares[0])
        finally:
            wait(others)  # they write into arrays that must live until then
        for other in others:
            other.result()


def _split(blocks: int, parts: int) -> list[tuple[int, int]]:
    """Return (first, count) of each part."""
    bounds = [blocks * i // parts for i in range(parts + 1)]
    return [(a, b - a) for a, b in pairwise(bounds)]


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="simulator")


if hasattr(os, "register_at_fork"):  # a forked child inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


# Tracing takes some tenths of a second: an evaluation's simulator shares the source of the training's.


@cache
def _step_source(model: bytes, dt: float, substeps: int, interval: int) -> str:
    return codegen.step_source(pickle.loads(model), dt, substeps, interval)


@cache
def _step_adjoint_source(model: bytes, dt: float, substeps: int, interval: int) -> str:
    return codegen.step_adjoint_source(pickle.loads(model), dt, substeps, interval)


class _Step(torch.autograd.Function):
    """Keeps the force and the substep states of the forward pass, nothing else."""

    @staticmethod
    def forward(ctx: Any, simulator: Simulator, grad: bool, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor) -> Any:
        record = grad and any(ctx.needs_input_grad)
        q, qd, force = (t.detach().contiguous() for t in (q, qd, force))
        trajectory = q.new_empty(simulator._trajectory_size if record else 0)
        out = torch.empty_like(q), torch.empty_like(qd)
        simulator._launch(simulator._step_kernel, (q, qd, force, trajectory, *out), int(record))
        if record:
            ctx.simulator = simulator
            ctx.save_for_backward(force, trajectory)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, adj_q: torch.Tensor, adj_qd: torch.Tensor) -> Any:
        force, trajectory = ctx.saved_tensors
        adj_q, adj_qd = adj_q.detach().contiguous(), adj_qd.detach().contiguous()
        grads = torch.empty_like(adj_q), torch.empty_like(adj_qd), torch.empty_like(adj_qd)
        simulator = ctx.simulator
        simulator._launch(simulator._step_adjoint_kernel, (adj_q, adj_qd, force, trajectory, *grads))
        return None, None, *grads


class _Acceleration(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, simulator: Simulator, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor) -> Any:
        q, qd, force = (t.detach().contiguous() for t in (q, qd, force))
        out = torch.empty_like(qd)
        simulator._launch(simulator._acceleration_kernel, (q, qd, force, out))
        ctx.simulator = simulator
        ctx.save_for_backward(q, qd, force)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, adj: torch.Tensor) -> Any:
        q, qd, force = ctx.saved_tensors
        grads = torch.empty_like(q), torch.empty_like(qd), torch.empty_like(force)
        simulator = ctx.simulator
        simulator._launch(simulator._acceleration_adjoint_kernel, (q, qd, force, adj.detach().contiguous(), *grads))
        return None, *grads
