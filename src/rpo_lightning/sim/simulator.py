"""The engine as torch operators: one fused Warp kernel for a step, one for its adjoint."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
import warp as wp

from rpo_lightning.sim import codegen, kernels
from rpo_lightning.sim.devices import resolve_device
from rpo_lightning.sim.model import Model
from rpo_lightning.sim.parameters import Parameters
from rpo_lightning.sim.pieces import is_cut
from rpo_lightning.sim.prelude import LANES
from rpo_lightning.sim.rebuilds import usual_interval

__all__ = ["Simulator"]

_Arguments: TypeAlias = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]


class Simulator:
    """Steps `num_envs` copies of one robot; results do not depend on `threads`.

    Args:
        model: the robot, from `load_mjcf`.
        num_envs: number of environments N.
        dt: time of one step [s].
        substeps: semi-implicit Euler steps in it.
        mass_matrix_interval: substeps between rebuilds of the mass matrix, counted from the start of each step; None: four
            rebuilds a step, which on our robots is as exact as one in each substep, or that one where it is needed: servos
            with damping have a limit of force, where it ends, or dry friction would make a light joint tremble.
        device: "cpu" or "cuda[:k]".
        threads: CPU threads that share the environments; None: as many as torch uses, which is all cores by default.
        terrain: (F, rows, columns) heights of the robot's height field [m], F = 1 for all environments, or one for each, or
            any number where the parameter `terrain` says which each environment is on; None: those of its file.
        parameters: constants of the robot that become inputs of `step`, by the names of `sim.parameters`.

    Raises:
        ValueError: for counts below one, a terrain of another shape, parameters that do not exist, or a CUDA device that is
            not there.
    """

    def __init__(
        self,
        model: Model,
        num_envs: int,
        dt: float = 1.0 / 60.0,
        substeps: int = 16,
        mass_matrix_interval: int | None = None,
        device: str | torch.device = "cpu",
        threads: int | None = None,
        terrain: torch.Tensor | None = None,
        parameters: Sequence[str] = (),
    ) -> None:
        threads = torch.get_num_threads() if threads is None else threads
        for name, value in (("num_envs", num_envs), ("substeps", substeps), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0.0 < dt < math.inf:
            raise ValueError(f"dt must be positive, got {dt}")
        if mass_matrix_interval is None:
            mass_matrix_interval = usual_interval(model, dt / substeps, substeps)
        if not 1 <= mass_matrix_interval <= substeps:
            raise ValueError(f"mass_matrix_interval must be in 1 ... substeps={substeps}, got {mass_matrix_interval}")
        self.device = resolve_device(device)
        self.model, self.num_envs, self.dt, self.substeps = model, num_envs, dt, substeps
        self.mass_matrix_interval = mass_matrix_interval
        allowed = None if "terrain" in parameters else num_envs
        self.terrain = _checked_terrain(model, allowed, terrain).to(self.device)
        self._terrains = len(self.terrain)
        self.parameters = Parameters(model, parameters)
        self.controls = self.parameters.controls
        self._robot = copy.deepcopy(model)  # traced at the first use of a kernel, when the caller's may have changed
        self._no_control = torch.zeros(num_envs, self.controls, device=self.device)
        self._kernels: dict[str, wp.Kernel] = {}
        width = LANES[self.device.type]
        self._blocks = math.ceil(num_envs / width)
        self._state_size = self._blocks * width * (model.nq + model.nd)
        self._shares = _split(self._blocks, min(threads, self._blocks) if self.device.type == "cpu" else 1)

    def step(
        self,
        q: torch.Tensor,
        qd: torch.Tensor,
        force: torch.Tensor,
        control: torch.Tensor | None = None,
        parameters: torch.Tensor | None = None,
        substeps: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (q, qd) after one step of `dt` under a constant generalised force and constant controls.

        Args:
            q: (N, nq) coordinates [m, rad, unit quaternions xyzw].
            qd: (N, nd) rates; of a free joint the twist about the world origin.
            force: (N, nd) [N m or N].
            control: (N, controls) of the actuators; None: 0. Where `controls` is 0 all are motors, and `force` has theirs.
            parameters: (N, k) or (k,), in the order of `parameters.names`; None: those of the robot.
            substeps: how many of the step's to make, as where controls change within it; None: all.
        """
        count = self.substeps if substeps is None else substeps
        if not 1 <= count <= self.substeps:
            raise ValueError(f"substeps must be in 1 ... {self.substeps}, those of a step, got {substeps}")
        return _Step.apply(self, torch.is_grad_enabled(), count, *self._inputs((q, qd, force, control, parameters)))

    def acceleration(
        self,
        q: torch.Tensor,
        qd: torch.Tensor,
        force: torch.Tensor,
        control: torch.Tensor | None = None,
        parameters: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the rates' time derivative (N, nd) in a state, with a fresh mass matrix; arguments as of `step`."""
        return _Acceleration.apply(self, *self._inputs((q, qd, force, control, parameters)))

    def compile(self, gradients: bool = True) -> None:
        """Compile the kernel of `step` now and, with `gradients`, its adjoint; otherwise each is at its first use."""
        for name in ("step", "step_adjoint") if gradients else ("step",):
            self._kernel(name)

    def default_parameters(self) -> torch.Tensor:
        """Return the parameters (k,) as the robot has them."""
        return torch.as_tensor(self.parameters.values, dtype=torch.float32, device=self.device)

    def _inputs(self, given: _Arguments) -> tuple[torch.Tensor, ...]:
        """Return the arguments of `step`, checked, with the robot's own where there are none."""
        q, qd, force, control, parameters = given
        if control is None:
            control = self._no_control
        if parameters is None:
            parameters = self.default_parameters()
        if parameters.ndim == 1:
            parameters = parameters.expand(self.num_envs, -1)
        widths = {"q": self.model.nq, "qd": self.model.nd, "force": self.model.nd}
        widths |= {"control": self.controls, "parameters": self.parameters.size}
        whole = q, qd, force, control, parameters
        for (name, width), tensor in zip(widths.items(), whole, strict=True):
            shape = (self.num_envs, width)
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or tensor.device != self.device:
                raise ValueError(
                    f"{name} must be a float32 tensor of shape {shape} on {self.device}, "
                    f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
                )
        return whole

    def _sizes(self, substeps: int) -> tuple[float, int, int, int]:
        """Return what a kernel has to know of a step of so many substeps."""
        return self.dt / self.substeps, substeps, self.mass_matrix_interval, self._terrains

    def _kernel(self, name: str) -> wp.Kernel:
        if name not in self._kernels:
            source = _source(name, self._robot, self.parameters.names)
            kernel = kernels.build(name, source)
            # now, and not at the first launch, where several threads would compile the same module
            kernels.load(kernel, self.device, is_cut(source))
            self._kernels[name] = kernel
        return self._kernels[name]

    def _launch(self, name: str, tensors: tuple[torch.Tensor, ...], *scalars: float) -> None:
        kernel = self._kernel(name)

        def run(share: tuple[int, int]) -> None:
            kernels.launch(kernel, self.device, tensors, self.num_envs, *share, *scalars)

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


def _checked_terrain(model: Model, num_envs: int | None, terrain: torch.Tensor | None) -> torch.Tensor:
    """Return the heights as a contiguous tensor; of a robot without a height field, one that nothing reads.

    There are one or `num_envs` of them; any number, if that is None.
    """
    fields = [geom.heights for geom in model.geoms if geom.kind == "hfield"]
    if terrain is None:
        return torch.as_tensor(fields[0] if fields else np.zeros((1, 1)), dtype=torch.float32)[None].contiguous()
    if not fields:
        raise ValueError("terrain: the robot's file has no height field")
    count = len(terrain) if num_envs is None else num_envs
    if terrain.shape[1:] != fields[0].shape or len(terrain) not in (1, count) or not terrain.isfinite().all():
        rows, columns = fields[0].shape
        shown = "any" if num_envs is None else f"1 or {num_envs}"
        raise ValueError(f"terrain must be finite and of shape ({shown}, {rows}, {columns}), got {tuple(terrain.shape)}")
    return terrain.detach().float().contiguous()


def _split(blocks: int, parts: int) -> list[tuple[int, int]]:
    """Return (first, count) of each part."""
    bounds = [blocks * i // parts for i in range(parts + 1)]
    return [(a, b - a) for a, b in pairwise(bounds)]


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="simulator")


if hasattr(os, "register_at_fork"):  # a forked child inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


_sources: dict[tuple, str] = {}


def _source(name: str, model: Model, parameters: tuple[str, ...]) -> str:
    """Return a kernel's text; tracing takes some tenths of a second, so equal robots share it."""
    key: tuple = (name, model.digest(), parameters)
    if parameters:  # whose names are the robot's, and which may fold the gains of motors
        key += (repr(model.actuators), *(link.name for link in model.links))
    if key not in _sources:
        _sources[key] = codegen.source(name, model, parameters)
    return _sources[key]


class _Step(torch.autograd.Function):
    """Keeps force, controls, parameters and the substep states of the forward pass, nothing else."""

    @staticmethod
    def forward(ctx: Any, simulator: Simulator, grad: bool, substeps: int, *given: torch.Tensor) -> Any:
        record = grad and any(ctx.needs_input_grad)
        q, qd, *inputs = (t.detach().contiguous() for t in given)
        states = substeps + simulator.model.records_end
        trajectory = q.new_empty(simulator._state_size * states if record else 0)
        out = torch.empty_like(q), torch.empty_like(qd)
        arrays = (q, qd, *inputs, simulator.terrain, trajectory, *out)
        simulator._launch("step", arrays, int(record), *simulator._sizes(substeps))
        if record:
            ctx.simulator, ctx.substeps = simulator, substeps
            ctx.save_for_backward(*inputs, trajectory)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, adj_q: torch.Tensor, adj_qd: torch.Tensor) -> Any:
        *inputs, trajectory = ctx.saved_tensors
        adj_q, adj_qd = adj_q.detach().contiguous(), adj_qd.detach().contiguous()
        grads = [torch.empty_like(t) for t in (adj_q, adj_qd, *inputs)]
        simulator = ctx.simulator
        arrays = (adj_q, adj_qd, *inputs, simulator.terrain, trajectory, *grads)
        simulator._launch("step_adjoint", arrays, *simulator._sizes(ctx.substeps))
        return None, None, None, *grads


class _Acceleration(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, simulator: Simulator, *given: torch.Tensor) -> Any:
        given = tuple(t.detach().contiguous() for t in given)
        out = torch.empty_like(given[1])
        simulator._launch("acceleration", (*given, simulator.terrain, out), simulator._terrains)
        ctx.simulator = simulator
        ctx.save_for_backward(*given)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, adj: torch.Tensor) -> Any:
        given = ctx.saved_tensors
        grads = [torch.empty_like(t) for t in given]
        simulator = ctx.simulator
        arrays = (*given, adj.detach().contiguous(), simulator.terrain, *grads)
        simulator._launch("acceleration_adjoint", arrays, simulator._terrains)
        return None, *grads
