"""The engine as torch operators: one fused Warp kernel for a step, one for its adjoint."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import torch
import warp as wp

from rpo_lightning.sim import codegen, kernels
from rpo_lightning.sim.model import Model

__all__ = ["Simulator"]

_CUDA_BLOCK = 32  # threads; few, because 128 environments should still spread over many multiprocessors


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
        self.device = torch.device(device)
        if self.device.type == "cuda" and not (torch.cuda.is_available() and wp.is_cuda_available()):
            raise ValueError(f"device {device!r}: no usable CUDA device was found; choose device='cpu'")
        self.model, self.num_envs, self.dt, self.substeps = model, num_envs, dt, substeps
        self.mass_matrix_interval = mass_matrix_interval
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
        return _Step.apply(self, q, qd, force)

    def acceleration(self, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
        """Return the rates' time derivative (N, nd) in a state, with a fresh mass matrix."""
        self._check(q=q, qd=qd, force=force)
        return _Acceleration.apply(self, q, qd, force)

    @cached_property
    def _step_kernel(self) -> wp.Kernel:
        dt, interval = self.dt / self.substeps, self.mass_matrix_interval
        return self._load(kernels.step(codegen.step_source(self.model, dt, self.substeps, interval)))

    @cached_property
    def _step_adjoint_kernel(self) -> wp.Kernel:
        dt, interval = self.dt / self.substeps, self.mass_matrix_interval
        return self._load(kernels.step_adjoint(codegen.step_adjoint_source(self.model, dt, self.substeps, interval)))

    @cached_property
    def _acceleration_kernel(self) -> wp.Kernel:
        return self._load(kernels.acceleration(codegen.acceleration_source(self.model)))

    @cached_property
    def _acceleration_adjoint_kernel(self) -> wp.Kernel:
        return self._load(kernels.acceleration_adjoint(codegen.acceleration_adjoint_source(self.model)))

    def _load(self, kernel: wp.Kernel) -> wp.Kernel:
        # now, and not at the first launch, where several threads would compile the same module
        wp.load_module(
            kernel.module, device=str(self.device), block_dim=_CUDA_BLOCK if self.device.type == "cuda" else None
        )
        return kernel

    def _check(self, **tensors: torch.Tensor) -> None:
        for name, tensor in tensors.items():
            shape = (self.num_envs, self.model.nq if name == "q" else self.model.nd)
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or tensor.device.type != self.device.type:
                raise ValueError(
                    f"{name} must be a float32 tensor of shape {shape} on {self.device}, "
                    f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
                )

    def _launch(self, kernel: wp.Kernel, tensors: tuple[torch.Tensor, ...], *scalars: int) -> None:
        arrays = [wp.from_torch(t, return_ctype=True) for t in tensors]
        if self.device.type == "cuda":
            stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
            dim = self._blocks * codegen.LANES["cuda"]
            wp.launch(
                kernel, dim=dim, inputs=[*arrays, self.num_envs, 0, *scalars], stream=stream, block_dim=_CUDA_BLOCK
            )
            return

        def run(share: tuple[int, int]) -> None:
            first, count = share
            wp.launch(kernel, dim=count, inputs=[*arrays, self.num_envs, first, *scalars], device="cpu")

        if len(self._shares) == 1:
            run(self._shares[0])
            return
        others = [_pool(len(self._shares) - 1).submit(run, share) for share in self._shares[1:]]
        run(self._shares[0])
        for other in others:
            other.result()


def _split(blocks: int, parts: int) -> list[tuple[int, int]]:
    """Return (first, count) of each part."""
    bounds = [blocks * i // parts for i in range(parts + 1)]
    return [(a, b - a) for a, b in pairwise(bounds)]


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="simulator")


class _Step(torch.autograd.Function):
    """Keeps the force and the substep states of the forward pass, nothing else."""

    @staticmethod
    def forward(ctx: Any, simulator: Simulator, q: torch.Tensor, qd: torch.Tensor, force: torch.Tensor) -> Any:
        record = any(ctx.needs_input_grad)
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
        adj_q, adj_qd = adj_q.contiguous(), adj_qd.contiguous()
        grads = torch.empty_like(adj_q), torch.empty_like(adj_qd), torch.empty_like(adj_qd)
        simulator = ctx.simulator
        simulator._launch(simulator._step_adjoint_kernel, (adj_q, adj_qd, force, trajectory, *grads))
        return None, *grads


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
        simulator._launch(simulator._acceleration_adjoint_kernel, (q, qd, force, adj.contiguous(), *grads))
        return None, *grads
