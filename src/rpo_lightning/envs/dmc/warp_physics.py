"""Many worlds of one MuJoCo model in MuJoCo Warp, for tasks on CUDA devices.

It has not run on a GPU yet: only on Warp's "cpu" device, where tests hold it to MuJoCo's own steps, graphs included.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import mujoco
import torch
import warp as wp
from torch import Tensor

from rpo_lightning.envs.dmc.worlds import Worlds

try:
    import mujoco_warp as mjw
except ImportError as error:
    raise ImportError(
        "the tasks dmc/... need the package mujoco-warp on CUDA devices, which is not installed: "
        "pip install 'rpo-lightning[dmc]'"
    ) from error

__all__ = ["WarpPhysics", "capacity"]

# Room per world; more is made where a state turns out to need it. All worlds share the room for contacts.
_MOST_CONTACTS, _MOST_ROWS = 128, 256
_CHECK_INTERVAL = 50  # control steps between looks at whether the room has sufficed: a look waits for the device
_UNROLLED = 8  # solver iterations up to which a graph has them all, instead of a loop that looks whether to go on
_LACKING = ("NEFC", "NJMAX_NNZ", "BROADPHASE", "NARROWPHASE", "CCD")  # what MuJoCo Warp calls kinds of missing room
# sensors for which kinematics and velocities suffice
_NEED_NO_FORCES = {"framepos", "framequat", "framexaxis", "frameyaxis", "framezaxis", "framelinvel", "frameangvel"}
_NEED_NO_FORCES |= {"subtreecom", "subtreelinvel", "subtreeangmom", "jointpos", "jointvel", "ballquat", "ballangvel"}
_NEED_NO_FORCES |= {"gyro", "velocimeter"}


class WarpPhysics:
    """N worlds in float32 (`Physics`). A control step is one launch of a CUDA graph, in torch's current stream.

    States are written and read in place through torch's views of Warp's arrays; until the first `put` they are arbitrary.
    Time is no part of them: it is 0 at the start of every control step, and no model of the suite looks at it. The solver
    always begins with the warm start, where MuJoCo compares it with the forceless motion: if Playground's few iterations
    do not converge, the two differ by more than rounding. On CUDA devices contacts are found in any order, so that runs
    with the same seed agree only to rounding.

    Args:
        model: compiled; without actuator activations.
        num_worlds: N.
        substeps: physics steps of one control step.
        device: "cuda:k"; also "cpu", slow and without a graph, for tests.

    Raises:
        NotImplementedError: if the model has something that MuJoCo Warp has not.
    """

    def __init__(self, model: mujoco.MjModel, num_worlds: int, substeps: int, device: torch.device) -> None:
        self.num_worlds, self.substeps, self.device = num_worlds, substeps, device
        self._model = copy.copy(model)
        self._model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)  # Warp never does, and refuses the flag
        wp.init()
        self._warp_device = wp.device_from_torch(device)
        self._steps = 0
        kinds = {mujoco.mjtSensor(kind).name.removeprefix("mjSENS_").lower() for kind in model.sensor_type}
        self._needs_forces = not kinds <= _NEED_NO_FORCES
        with wp.ScopedDevice(self._warp_device):
            self._sensing = mjw.put_model(self._model)
            self._sensing.opt.warn_overflow = 0  # prints of kernels; `_make_room` tells instead
            if model.opt.iterations <= _UNROLLED or not wp.is_conditional_graph_supported():
                self._sensing.opt.graph_conditional = False
        silent = self._sensing.opt.disableflags | int(mjw.DisableBit.SENSOR)  # sensors are wanted of the last state only
        self._moving = dataclasses.replace(self._sensing, opt=dataclasses.replace(self._sensing.opt, disableflags=silent))
        self._allocate(*capacity(model))

    def step(self, ctrl: Tensor) -> None:
        """Hold `ctrl` (N, nu) for one control step."""
        self._ctrl.copy_(ctrl)
        if self._graph is None:
            self._launch()
        else:
            stream = wp.stream_from_torch(self.device) if self.device.type == "cuda" else None  # torch's current one
            wp.capture_launch(self._graph, stream=stream)
        self._steps += 1
        if self._steps % _CHECK_INTERVAL == 0:
            self._make_room()

    def view(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (qpos, qvel, sensordata), copies."""
        return self._worlds["qpos"].clone(), self._worlds["qvel"].clone(), self._worlds["sensordata"].clone()

    def put(self, mask: Tensor, worlds: Worlds) -> None:
        """Overwrite the worlds in `mask` (N,)."""
        given = worlds.parts()
        for name, values in self._worlds.items():
            torch.where(mask[:, None], given[name].float(), values, out=values)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of everything, by the names that `CpuPhysics` uses: either continues from the other's state."""
        return {name: values.clone() for name, values in self._worlds.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state_dict` returned."""
        for name, values in self._worlds.items():
            values.copy_(state[name])

    # ---- inside --------------------------------------------------------------------------------------------------

    def _allocate(self, contacts: int, rows: int) -> None:
        """Make the worlds, with room for so many contacts and constraint rows in each."""
        self._room = contacts, rows
        wp.synchronize_device(self._warp_device)  # torch may still be reading worlds made before
        with wp.ScopedDevice(self._warp_device):
            self._data = data = mjw.make_data(self._model, self.num_worlds, naconmax=contacts * self.num_worlds, njmax=rows)
        self._worlds = {
            "qpos": wp.to_torch(data.qpos),
            "qvel": wp.to_torch(data.qvel),
            "warmstart": wp.to_torch(data.qacc_warmstart),
            "sensordata": torch.zeros(self.num_worlds, 0, device=self.device),
        }
        if self._model.nsensordata:
            self._worlds["sensordata"] = wp.to_torch(data.sensordata)
        self._ctrl, self._overflow = wp.to_torch(data.ctrl), wp.to_torch(data.overflow)
        self._graph = self._captured() if self.device.type == "cuda" else None

    def _launch(self) -> None:
        """Launch the kernels of one control step in Warp's current stream; nothing of torch, so that it can be captured."""
        data, sensing = self._data, self._sensing
        with wp.ScopedDevice(self._warp_device):
            data.time.zero_()
            for _ in range(self.substeps):
                mjw.step(self._moving, data)
            # a step leaves the sensors of the state it began with, or here none
            if self._needs_forces:
                mjw.forward(sensing, data)
            elif self._model.nsensor:
                mjw.fwd_kinematics(sensing, data)
                mjw.sensor_pos(sensing, data)
                mjw.com_vel(sensing, data)
                mjw.sensor_vel(sensing, data)

    def _captured(self) -> Any:
        """Return a control step as a graph. Until it returns, everything happens in a stream of Warp's."""
        self._launch()  # compiles and loads the kernels, which a capture should not have to
        wp.synchronize_device(self._warp_device)
        with wp.ScopedCapture(self._warp_device) as capture:
            self._launch()
        self._data.overflow.zero_()
        wp.synchronize_device(self._warp_device)
        return capture.graph

    def _make_room(self) -> None:
        """Double the room if it has not sufficed, and say so: forces were missing in some of the last steps."""
        lacking = {kind: self._overflow & int(mjw.OverflowType[kind]) != 0 for kind in _LACKING}
        worlds = int(torch.stack(list(lacking.values())).any(dim=0).sum())
        if worlds == 0:
            return
        room = tuple(max(1, 2 * size) for size in self._room)
        kinds = ", ".join(kind for kind, where in lacking.items() if where.any())
        warnings.warn(
            f"MuJoCo Warp lacked room for contacts or limits ({kinds}) in {worlds} of {self.num_worlds} worlds: they did "
            f"not act in some of the last {_CHECK_INTERVAL} steps. Now each world has room for {room[0]} contacts and "
            f"{room[1]} constraint rows instead of {self._room[0]} and {self._room[1]}",
            RuntimeWarning,
            stacklevel=2,
        )
        state = self.state_dict()
        self._allocate(*room)
        self.load_state_dict(state)


def capacity(model: mujoco.MjModel) -> tuple[int, int]:
    """Return the contacts and the constraint rows per world that there should be room for.

    That is what a model could have if everything touched at once, but not above what is enough for a humanoid on the ground.
    """
    flags, bits = model.opt.disableflags, mujoco.mjtDisableBit
    if flags & bits.mjDSBL_CONSTRAINT:
        return 0, 0
    limits = int(model.jnt_limited.sum() + model.tendon_limited.sum())
    friction = int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    rows, contacts = 6 * model.neq + limits + friction, 0
    if not flags & bits.mjDSBL_CONTACT:
        for one, other in combinations(range(model.ngeom), 2):
            if _may_touch(model, one, other):
                points = _touching_points(model, one, other)
                dimension = max(model.geom_condim[[one, other]])
                pyramidal = model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL and dimension > 1
                contacts += points
                rows += points * int(2 * (dimension - 1) if pyramidal else dimension)
        contacts += 4 * model.npair
        rows += 4 * 10 * model.npair
    return min(contacts, _MOST_CONTACTS), min(rows, _MOST_ROWS)


def _may_touch(model: mujoco.MjModel, one: int, other: int) -> bool:
    """Return whether MuJoCo's filters let two geometries touch, apart from excluded pairs of bodies."""
    bodies = model.body_weldid[model.geom_bodyid[[one, other]]]
    parents = model.body_weldid[model.body_parentid[bodies]]
    if bodies[0] == bodies[1]:
        return False
    if all(bodies) and (bodies[0] == parents[1] or bodies[1] == parents[0]):
        return False
    kinds, partners = model.geom_contype, model.geom_conaffinity
    return bool(kinds[one] & partners[other] or kinds[other] & partners[one])


def _touching_points(model: mujoco.MjModel, one: int, other: int) -> int:
    """Return at how many points two geometries touch at most."""
    shapes, pair = mujoco.mjtGeom, {int(kind) for kind in model.geom_type[[one, other]]}
    if pair & {shapes.mjGEOM_SPHERE, shapes.mjGEOM_ELLIPSOID}:
        return 1
    return 2 if pair <= {shapes.mjGEOM_PLANE, shapes.mjGEOM_CAPSULE} else 8
