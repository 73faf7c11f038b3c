"""Many worlds of one MuJoCo model on the CPU, in MuJoCo's own threads."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.rollout import Rollout
from torch import Tensor

from rpo_lightning.envs.dmc.worlds import Physics, Worlds

__all__ = ["CpuEngine", "CpuPhysics", "make_physics"]

Array = np.ndarray[Any, np.dtype[np.float64]]
_LONGEST = 20  # steps of one call, which keeps the states in between: bounds its memory


class CpuEngine:
    """MuJoCo's steps for many worlds at once; holds no state, and results do not depend on `threads`.

    Args:
        model: compiled; without actuator activations.
        threads: of MuJoCo; None: as many as torch uses, which OMP_NUM_THREADS sets and ranks divide.

    Raises:
        ValueError: for a bad number of threads, or a model whose state is more than positions and velocities.
    """

    def __init__(self, model: mujoco.MjModel, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.model = model
        self._width = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
        if self._width != 1 + model.nq + model.nv:
            raise ValueError(f"the state of the model must be time, positions and velocities, but has {self._width} numbers")
        count = threads or torch.get_num_threads()
        self._data = [mujoco.MjData(model) for _ in range(count)]
        self._pool = Rollout(nthread=count if count > 1 else 0)
        # sensors are wanted of the last state only; those of positions and velocities need no contact forces
        self._moving, self._sensing = _disabling(model, "sensor"), model
        if not (model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC).any():
            self._sensing = _disabling(model, "constraint", "actuation")

    def close(self) -> None:
        """End the threads, and free what they simulate in."""
        self._pool.close()
        self._data = []

    def advance(self, qpos: Array, qvel: Array, warmstart: Array, ctrl: Array, steps: int) -> tuple[Array, Array, Array]:
        """Return (qpos, qvel, warmstart) of M worlds after `steps` physics steps under `ctrl` (M, nu)."""
        while steps > 0:
            now = min(steps, _LONGEST)
            path = np.empty((len(qpos), now, self._width))
            self._roll(self._moving, qpos, qvel, warmstart, ctrl, now, path, None)
            before = path[:, -2, 1 + self.model.nq :] if now > 1 else qvel
            qpos, qvel = path[:, -1, 1 : 1 + self.model.nq], path[:, -1, 1 + self.model.nq :]
            with np.errstate(invalid="ignore", over="ignore"):  # in worlds that have exploded
                warmstart = (
                    (qvel - before) / self.model.opt.timestep
                )  # the solver's last result, which MuJoCo would keep (finger's integrator is implicit: about it)
            steps -= now
        return qpos, qvel, warmstart

    def sense(self, qpos: Array, qvel: Array, warmstart: Array, ctrl: Array) -> Array:
        """Return the sensors (M, s) of the states given.

        A step computes the sensors of the state that it starts from, so one is made and its state thrown away.
        """
        sensordata = np.empty((len(qpos), 1, self.model.nsensordata))
        if self.model.nsensordata:
            path = np.empty((len(qpos), 1, self._width))
            self._roll(self._sensing, qpos, qvel, warmstart, ctrl, 1, path, sensordata)
        return sensordata[:, 0]

    def penetrates(self, qpos: Array) -> Array:
        """Return (M,) bool: in which of the poses (M, nq) anything touches."""
        data, touching = self._data[0], np.empty(len(qpos), dtype=bool)
        for row, pose in enumerate(qpos):
            data.qpos[:] = pose
            mujoco.mj_fwdPosition(self.model, data)
            touching[row] = data.ncon > 0
        return touching

    def _roll(
        self,
        model: mujoco.MjModel,
        qpos: Array,
        qvel: Array,
        warmstart: Array,
        ctrl: Array,
        steps: int,
        path: Array,
        sensordata: Array | None,
    ) -> None:
        count = len(qpos)
        if count == 0:
            return
        self._pool.rollout(
            [model] * count,
            self._data,
            np.concatenate([np.zeros((count, 1)), qpos, qvel], axis=1),
            np.repeat(ctrl[:, None], steps, axis=1),
            nstep=steps,
            initial_warmstart=np.ascontiguousarray(warmstart),
            state=path,
            sensordata=sensordata,
            skip_checks=True,
        )


class CpuPhysics:
    """N worlds on the CPU in float64 (`Physics`).

    Args:
        engine: their model.
        num_worlds: N.
        substeps: physics steps of one control step.
    """

    def __init__(self, engine: CpuEngine, num_worlds: int, substeps: int) -> None:
        self.engine, self.substeps = engine, substeps
        model = engine.model
        widths = {"qpos": model.nq, "qvel": model.nv, "warmstart": model.nv, "sensordata": model.nsensordata}
        self._worlds = {name: np.zeros((num_worlds, width)) for name, width in widths.items()}

    def step(self, ctrl: Tensor) -> None:
        """Hold `ctrl` (N, nu) for one control step."""
        held = ctrl.numpy().astype(np.float64)
        worlds = self._worlds
        moved = self.engine.advance(worlds["qpos"], worlds["qvel"], worlds["warmstart"], held, self.substeps)
        # copies, because they are views of all the states in between
        worlds["qpos"], worlds["qvel"], worlds["warmstart"] = (part.copy() for part in moved)
        worlds["sensordata"] = self.engine.sense(*moved, held)

    def view(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (qpos, qvel, sensordata) in float32."""
        qpos, qvel, sensordata = (
            torch.from_numpy(self._worlds[name].astype(np.float32)) for name in ("qpos", "qvel", "sensordata")
        )
        return qpos, qvel, sensordata

    def put(self, mask: Tensor, worlds: Worlds) -> None:
        """Overwrite the worlds in `mask` (N,)."""
        given, rows = worlds.parts(), mask.numpy()
        for name, values in self._worlds.items():
            values[rows] = given[name].numpy()[rows]

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything."""
        return {name: torch.from_numpy(values.copy()) for name, values in self._worlds.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        for name in self._worlds:
            self._worlds[name] = state[name].cpu().double().numpy().copy()  # Warp's are float32


def make_physics(engine: CpuEngine, num_worlds: int, substeps: int, device: torch.device) -> Physics:
    """Return the backend of a device.

    Raises:
        ImportError: on a CUDA device without mujoco_warp.
    """
    if device.type == "cpu":
        return CpuPhysics(engine, num_worlds, substeps)
    from rpo_lightning.envs.dmc.warp_physics import WarpPhysics  # not needed on the CPU

    return WarpPhysics(engine.model, num_worlds, substeps, device)


def _disabling(model: mujoco.MjModel, *flags: str) -> mujoco.MjModel:
    """Return a copy of a model that leaves something out."""
    copied = copy.copy(model)
    for flag in flags:
        copied.opt.disableflags |= getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag.upper()}")
    return copied
