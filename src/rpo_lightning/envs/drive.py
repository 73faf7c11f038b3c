"""From actions in [-1, 1] to what drives a robot: forces of motors, or controls of servos."""

from __future__ import annotations

import torch
from torch import Tensor

from rpo_lightning.sim import Model

__all__ = ["Drive"]


class Drive:
    """What actions mean for one robot.

    Actions -1 and 1 are the ends of an actuator's control range. With a `scale` they are offsets from the control that holds
    the start pose, `scale` units of control for one of action, and stay within the range.

    Args:
        model: the robot.
        controls: how many controls its simulator takes; without any the force is computed here.
        scale: see above; None: the control range.
        device: of the actions.
    """

    def __init__(self, model: Model, controls: int, scale: float | None, device: torch.device) -> None:
        ends = torch.tensor([actuator.control for actuator in model.actuators], dtype=torch.float64)
        low, high = ends.reshape(-1, 2).unbind(1)
        self._range = low.float().to(device), high.float().to(device)
        middle, half = (low + high) / 2.0, (high - low) / 2.0
        if scale is not None:
            middle, half = _holding(model), torch.full_like(half, scale)
        self._clamped = scale is not None
        moments = torch.zeros(len(model.actuators), model.nd, dtype=torch.float64)
        for row, actuator in zip(moments, model.actuators, strict=True):
            for dof, coefficient in actuator.moment:
                row[dof] += coefficient * actuator.gain
        self._controls, self._moments = controls, moments.float().to(device)
        self._middle = middle.float().to(device) if middle.any() else None
        self._half, self._strength = half.float().to(device), (half[:, None] * moments).float().to(device)

    def __call__(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the generalised force (N, nd) and the controls (N, controls), if there are any, of actions (N, A)."""
        if not self._controls and self._middle is None and not self._clamped:
            return action @ self._strength, None
        control = self.controls(action)
        if self._controls:
            return control.new_zeros(len(control), self._moments.shape[1]), control
        return control @ self._moments, None

    def mapping(self) -> dict[str, list[float]]:
        """Return scale, offset, low and high (A,): the control is clamp(scale * action + offset, low, high)."""
        low, high = self._range
        offset = torch.zeros_like(self._half) if self._middle is None else self._middle
        return {"scale": self._half.tolist(), "offset": offset.tolist(), "low": low.tolist(), "high": high.tolist()}

    def controls(self, action: Tensor) -> Tensor:
        """Return the controls (N, A) that actions stand for, in the file's units."""
        control = action * self._half
        control = control if self._middle is None else control + self._middle
        return control.clamp(*self._range) if self._clamped else control


def _holding(model: Model) -> Tensor:
    """Return the control (A,) at which each servo that pulls to a length pulls to that of the start pose; else 0."""
    held = torch.zeros(len(model.actuators), dtype=torch.float64)
    for index, actuator in enumerate(model.actuators):
        constant, by_length, _ = actuator.bias
        if by_length != 0.0 and actuator.gain != 0.0:
            length = sum(coefficient * model.start[model.coordinate(dof)] for dof, coefficient in actuator.moment)
            held[index] = -(constant + by_length * length) / actuator.gain
    return held
