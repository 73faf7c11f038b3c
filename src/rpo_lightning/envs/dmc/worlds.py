"""What tasks see of many MuJoCo worlds, and what they ask of whatever simulates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Physics", "State", "Worlds"]


@dataclass(frozen=True)
class State:
    """What a task observes and rewards: N worlds at the state reached, float32 on the task's device.

    Attributes:
        qpos: (N, nq). qvel: (N, nv). target: (N, k) what the task draws per episode besides a start; k may be 0.
        sensordata: (N, s) of that very state. addresses: where each sensor's values are in it.
    """

    qpos: Tensor
    qvel: Tensor
    target: Tensor
    sensordata: Tensor
    addresses: Mapping[str, slice]

    def sensor(self, name: str) -> Tensor:
        """Return (N, k) values of a sensor that the task declared."""
        return self.sensordata[:, self.addresses[name]]


@dataclass(frozen=True)
class Worlds:
    """The exact state of M worlds: (M, ...) float64 tensors.

    Attributes:
        qpos: (M, nq). qvel: (M, nv). warmstart: (M, nv) accelerations that the constraint solver begins with.
        sensordata: (M, s). target: (M, k).
    """

    qpos: Tensor
    qvel: Tensor
    warmstart: Tensor
    sensordata: Tensor
    target: Tensor

    def parts(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return dict(vars(self))


class Physics(Protocol):
    """What a task asks of a backend: it holds N worlds without their targets; tensors are on its device."""

    def step(self, ctrl: Tensor) -> None:
        """Hold `ctrl` (N, nu) for one control step; sensors then belong to the state reached."""
        ...

    def view(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (qpos, qvel, sensordata) in float32; no later step changes them."""
        ...

    def put(self, mask: Tensor, worlds: Worlds) -> None:
        """Overwrite the worlds in `mask` (N,) bool by theirs of N worlds; the others are left alone."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of all that the next step depends on, and sensordata."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state_dict` returned, to the bit."""
        ...
