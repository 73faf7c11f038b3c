"""What is measured of a state as a torch operator: one kernel, and one for its adjoint."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import warp as wp

from rpo_lightning.sim import kernels, sensing
from rpo_lightning.sim.devices import resolve_device
from rpo_lightning.sim.model import Joint, Model
from rpo_lightning.sim.prelude import LANES

__all__ = ["Sensors"]


class Sensors:
    """Measures a robot: its free base, in its own axes, and points fixed to its links, in those of the world.

    Attributes: `adjoints`, how often a gradient went back through a measurement.

    Args:
        model: the robot.
        places: for each of P points the index of its link and its place (3,) in the link's frame [m].
        device: of the states.
    """

    def __init__(self, model: Model, places: Sequence[sensing.Place], device: torch.device | str = "cpu") -> None:
        self.device = resolve_device(device)
        self._base = sensing.BASE if model.links[0].joint is Joint.FREE else 0
        self._sizes = {"q": model.nq, "qd": model.nd}
        self._robot, self._places = copy.deepcopy(model), list(places)  # traced at the first use of a kernel
        self._points = len(self._places)
        self.adjoints = 0
        self._kernels: dict[str, wp.Kernel] = {}

    def __call__(self, q: torch.Tensor, qd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what is measured in the states q (N, nq), qd (N, nd), differentiably.

        Returns:
            Of a free base (N, 10), of others (N, 0): angular velocity [rad/s], the unit vector of gravity and the velocity
            of the origin [m/s], all in its own axes, and the height of the origin over the ground [m]. Positions (N, P, 3)
            [m] and velocities (N, P, 3) [m/s] of the points.

        Raises:
            ValueError: for a state of another shape, dtype or device.
        """
        for (name, width), tensor in zip(self._sizes.items(), (q, qd), strict=True):
            if tuple(tensor.shape) != (len(q), width) or tensor.dtype != torch.float32 or tensor.device != self.device:
                raise ValueError(
                    f"{name} must be a float32 tensor of shape {(len(q), width)} on {self.device}, "
                    f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
                )
        width = 3 * self._points
        base, positions, velocities = _Sense.apply(self, q, qd).split([self._base, width, width], dim=1)
        return base, positions.view(len(q), self._points, 3), velocities.view(len(q), self._points, 3)

    def compile(self, gradients: bool = True) -> None:
        """Compile the kernel now and, with `gradients`, its adjoint; otherwise each is at its first use."""
        for name in ("sensors", "sensors_adjoint") if gradients else ("sensors",):
            self._kernel(name)

    def _kernel(self, name: str) -> wp.Kernel:
        if name not in self._kernels:
            self._kernels[name] = kernels.build(name, sensing.source(name, self._robot, self._places))
            kernels.load(self._kernels[name], self.device)
        return self._kernels[name]

    def _launch(self, name: str, tensors: tuple[torch.Tensor, ...]) -> None:
        count = len(tensors[0])
        kernels.launch(self._kernel(name), self.device, tensors, count, 0, math.ceil(count / LANES[self.device.type]))


class _Sense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sensors: Sensors, *state: torch.Tensor) -> torch.Tensor:
        state = tuple(t.detach().contiguous() for t in state)
        out = state[0].new_empty(len(state[0]), sensors._base + 6 * sensors._points)
        sensors._launch("sensors", (*state, out))
        ctx.sensors = sensors
        ctx.save_for_backward(*state)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, adj: torch.Tensor) -> Any:
        state = ctx.saved_tensors
        grads = [torch.empty_like(t) for t in state]
        ctx.sensors.adjoints += 1
        ctx.sensors._launch("sensors_adjoint", (*state, adj.detach().contiguous(), *grads))
        return None, *grads
