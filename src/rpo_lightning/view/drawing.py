"""What of an environment is drawn: read from its MuJoCo file once, and where its bodies are from its state."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import mujoco
import numpy as np
import torch

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.dmc.control_task import ControlTask
from rpo_lightning.envs.ghosts import Ghost
from rpo_lightning.envs.gymnasium_tables import worlds
from rpo_lightning.envs.model_files import beside
from rpo_lightning.sim import to_mujoco
from rpo_lightning.view.rotations import between, product, turned
from rpo_lightning.view.scene import WORLD, Scene, Shape

__all__ = ["OUT_OF_SIGHT", "Drawing"]

OUT_OF_SIGHT = (0.0, 0.0, -1000.0)  # [m]
_BELOW = 0.01  # by which a floor is below level ground, through which it would show [m]
_SHOWN_GROUPS = 3  # MuJoCo's own viewer shows the first three: what only collides is in others
_STICKERS = ((0.85, 0.2, 0.2), (0.95, 0.75, 0.2), (0.25, 0.5, 0.85), (0.3, 0.7, 0.4), (0.95, 0.95, 0.95), (0.55, 0.35, 0.7))


class Drawing:
    """The scene of an environment, and the poses of its bodies in it.

    Height fields that a task gives its robot are bodies too, the last ones of the scene: those that environments are on, to
    which `poses` adds those that they have come to. Each has its own where it is, and the others out of sight.

    Attributes: `scene`, `up` (4,) the turn from the task's axes to the scene's.

    Args:
        env: a task on this library's engine or on MuJoCo, of gymnasium's those in this process.

    Raises:
        ValueError: for an environment of which nothing can be drawn.
    """

    def __init__(self, env: Any) -> None:
        if isinstance(env, ArticulatedEnv):
            self.mj, gravity = _robot(env), env.model.gravity
            upward = -gravity / np.linalg.norm(gravity) if np.any(gravity) else env.model.up
        elif isinstance(env, ControlTask):
            self.mj, upward = env.model, np.array([0.0, 0.0, 1.0])
        elif gymnasiums := worlds(env):
            self.mj, upward = gymnasiums[0][0], np.array([0.0, 0.0, 1.0])
        else:
            raise ValueError(
                f"{env.name}: nothing of it can be drawn, since it is neither a robot of this engine nor a task on MuJoCo "
                "in this process"
            )
        self.up = between(upward, np.array([0.0, 0.0, 1.0]))
        self._data = mujoco.MjData(self.mj)
        self._links = [b for b in range(1, self.mj.nbody) if self.mj.body_weldid[b] != 0]
        self._ghosts = ghosts = env.ghosts()
        # what a file draws for its target stands still there: the ghosts are where the targets are
        hidden = {"target"} if ghosts else set()
        self._fields: list[int] = []
        drawn = [g for g in _seen(self.mj) if self.mj.geom(g).name not in hidden]
        given = isinstance(env, ArticulatedEnv) and env.gives_terrain
        self._grounds = [g for g in drawn if given and self.mj.geom_type[g] == mujoco.mjtGeom.mjGEOM_HFIELD.value]
        shapes = [self._shape(g) for g in drawn if g not in self._grounds]
        shapes += [sticker for shape in shapes if self._is_loose(shape) for sticker in _stickers(shape)]
        shapes += self._rods(shapes)
        names = [self.mj.body(b).name or f"body {b}" for b in self._links]
        for index, ghost in enumerate(ghosts, start=len(names)):
            shapes += _ghost_shapes(ghost, index)
            names.append(ghost.name)
        poses = self._placed(env)[0]
        base = next((i for i, b in enumerate(self._links) if self._carries(b)), None)
        moving = [(turned(poses[s.body, 3:], s.pos) + poses[s.body, :3], s.radius) for s in shapes if s.body != WORLD]
        if not moving:
            raise ValueError(f"{env.name}: its robot has no shapes that could be drawn")
        centre = self._middle(shapes, poses, base)
        extent = max(float(np.linalg.norm(point - centre)) + radius for point, radius in moving)
        floor, shapes = _floor(shapes)
        hills = max((2.0 * float(self.mj.hfield_size[self.mj.geom_dataid[g], 1]) for g in self._grounds), default=0.0)
        if self._grounds:
            floor = None if floor is None else floor - _BELOW
        self.scene = Scene(env.name, names, shapes, base, centre, extent, floor, float(env.dt), hills)
        self._lay(env)

    def poses(self, env: Any) -> np.ndarray:
        """Return where the bodies are, (N, B, 7): position [m] and quaternion wxyz, z up.

        There are more of them in the scene than before, if an environment has come to another height field.
        """
        self._lay(env)
        return self._placed(env)

    def _lay(self, env: Any) -> None:
        """Add the height fields that environments are on to the scene, unless they are in it."""
        for field in sorted(set(env.field.tolist()) - set(self._fields)) if self._grounds else []:
            heights, index = env.simulator.terrain[field].cpu().numpy(), len(self.scene.bodies)
            self.scene.shapes += [self._laid(geom, index, heights) for geom in self._grounds]
            self.scene.bodies.append(f"terrain {field}")
            self._fields.append(field)

    def _placed(self, env: Any) -> np.ndarray:
        qpos = _qpos(env)
        fields = len(self._links) + len(self._ghosts)
        found = np.empty((len(qpos), fields + len(self._fields), 7))
        for row, coordinates in enumerate(qpos):
            self._data.qpos[:] = coordinates
            mujoco.mj_kinematics(self.mj, self._data)
            found[row, : len(self._links), :3] = self._data.xpos[self._links]
            found[row, : len(self._links), 3:] = self._data.xquat[self._links]
        for index, ghost in enumerate(env.ghosts() if self._ghosts else [], start=len(self._links)):
            found[:, index, :3] = ghost.position.detach().cpu().numpy()
            found[:, index, 3:] = (1.0, 0.0, 0.0, 0.0)
            if ghost.quat is not None:
                found[:, index, 3:] = np.roll(ghost.quat.detach().cpu().numpy(), 1, axis=1)
        if self._fields:
            shown = env.field.cpu().numpy()[:, None] == np.array(self._fields)
            found[:, fields:, :3] = np.where(shown[..., None], 0.0, OUT_OF_SIGHT)
            found[:, fields:, 3:] = (1.0, 0.0, 0.0, 0.0)
        found[..., :3] = turned(self.up, found[..., :3])
        found[..., 3:] = product(self.up, found[..., 3:])
        return found

    def _shape(self, geom: int) -> Shape:
        mj = self.mj
        body, pos, quat = int(mj.geom_bodyid[geom]), mj.geom_pos[geom].copy(), mj.geom_quat[geom].copy()
        rgba = mj.geom_rgba[geom] if mj.geom_matid[geom] < 0 else mj.mat_rgba[mj.geom_matid[geom]]
        kind, index = mujoco.mjtGeom(mj.geom_type[geom]).name[7:].lower(), WORLD
        if body in self._links:
            index = self._links.index(body)
        else:
            mujoco.mj_kinematics(mj, self._data)
            pos = turned(self.up, self._data.xpos[body] + turned(self._data.xquat[body], pos))
            quat = product(self.up, product(self._data.xquat[body], quat))
        size = mj.geom_size[geom].copy()
        if kind == "mesh":
            return Shape(kind, index, pos, quat, size, rgba.copy(), *_mesh(mj, int(mj.geom_dataid[geom])))
        if kind == "hfield":
            return Shape("mesh", index, pos, quat, size, rgba.copy(), *_terrain(mj, int(mj.geom_dataid[geom])))
        return Shape(kind, index, pos, quat, size, rgba.copy())

    def _laid(self, geom: int, index: int, heights: np.ndarray) -> Shape:
        """Return a height field of the world as a body of its own with other heights."""
        shape = self._shape(geom)
        vertices, faces = shape.vertices.copy(), shape.faces
        vertices[:, 2] = heights.ravel()
        return Shape("mesh", index, shape.pos, shape.quat, shape.size, shape.rgba, vertices, faces)

    def _rods(self, shapes: list[Shape]) -> list[Shape]:
        """Return what holds a robot together in the picture whose file has shapes for contact alone.

        That is a robot with a body that carries another and has no shape: from joint to joint goes a rod, and from a joint
        to a shape away from it.
        """
        own = [[shape for shape in shapes if shape.body == index] for index in range(len(self._links))]
        parents = self.mj.body_parentid[self._links]
        bare = {b for b, found in zip(self._links, own, strict=True) if not found and b in parents}
        if not bare or any(shape.kind == "mesh" for shape in shapes):
            return []
        thick = 0.35 * float(np.median([shape.size[0] for shape in shapes if shape.body != WORLD] or [0.0]))
        rods = []
        for index, (body, found) in enumerate(zip(self._links, own, strict=True)):
            joints = [np.zeros(3), *self.mj.body_pos[[b for b in self._links if self.mj.body_parentid[b] == body]]]
            rgba = (found or [s for s in shapes if s.body != WORLD])[0].rgba
            for joint in joints if found else joints[1:]:
                nearest = min(found, key=lambda shape: shape.gap(joint), default=None)
                if nearest is None or nearest.gap(joint) > 0.0:
                    rods.append(_rod(index, joint, np.zeros(3) if nearest is None else nearest.pos, thick, rgba))
        return rods

    def _is_loose(self, shape: Shape) -> bool:
        """Tell whether it is a box that something else turns about: its faces are to be told apart."""
        if shape.kind != "box" or shape.body == WORLD:
            return False
        body = self._links[shape.body]
        joint = self.mj.body_jntadr[body]
        free = joint >= 0 and int(self.mj.jnt_type[joint]) == mujoco.mjtJoint.mjJNT_FREE.value
        return free and not np.any(self.mj.body_parentid == body)

    def _carries(self, body: int) -> bool:
        """Tell whether a body is what a robot that goes somewhere has first."""
        joint = self.mj.body_jntadr[body]
        if joint < 0 or body != self._links[0]:
            return False
        return int(self.mj.jnt_type[joint]) in (mujoco.mjtJoint.mjJNT_FREE.value, mujoco.mjtJoint.mjJNT_SLIDE.value)

    def _middle(self, shapes: list[Shape], poses: np.ndarray, base: int | None) -> np.ndarray:
        """Return the middle of the box that holds all that moves, above or at the base if there is one."""
        points = np.array([turned(poses[s.body, 3:], s.pos) + poses[s.body, :3] for s in shapes if s.body != WORLD])
        middle = (points.min(0) + points.max(0)) / 2.0
        if base is not None:
            middle[:2] = poses[base, :2]
        return middle


def _robot(env: ArticulatedEnv) -> Any:
    """Return a task's robot as MuJoCo reads it, with which it is drawn only.

    Raises:
        ValueError: if its file is not what the engine simulates.
    """
    cls = type(env)
    with as_file(files("rpo_lightning") / "robots" / str(cls.robot)) as packaged:
        spec = mujoco.MjSpec.from_file(str(beside(cls, "robot", packaged)))
    spec.compiler.fusestatic = False
    compiled = spec.compile()
    if compiled.nq != env.model.nq:
        raise ValueError(f"{env.name}: nothing of it can be drawn, since {cls.robot} is not the robot that is simulated")
    return compiled


def _qpos(env: Any) -> np.ndarray:
    """Return MuJoCo's coordinates (N, nq) of an environment."""
    if gymnasiums := worlds(env):
        return np.stack([data.qpos for _, data in gymnasiums])
    q, qd, _ = (part.detach().cpu() for part in env.get_state())
    if isinstance(env, ArticulatedEnv):
        q, _ = to_mujoco(env.model, q, qd)
    return torch.nan_to_num(q).double().numpy()


def _seen(mj: Any) -> list[int]:
    """Return the geoms that are drawn: those of the first groups, all if no moving one is among them."""
    seen = [g for g in range(mj.ngeom) if mj.geom_group[g] < _SHOWN_GROUPS and mj.geom_rgba[g, 3] > 0.0]
    if any(mj.body_weldid[mj.geom_bodyid[g]] for g in seen):
        return seen
    return list(range(mj.ngeom))


def _mesh(mj: Any, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    first, count = mj.mesh_vertadr[mesh], mj.mesh_vertnum[mesh]
    face, faces = mj.mesh_faceadr[mesh], mj.mesh_facenum[mesh]
    return mj.mesh_vert[first : first + count].astype(float), mj.mesh_face[face : face + faces].astype(int)


def _terrain(mj: Any, field: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the surface of a height field."""
    rows, columns, start = mj.hfield_nrow[field], mj.hfield_ncol[field], mj.hfield_adr[field]
    x, y, top, _ = mj.hfield_size[field]
    heights = top * mj.hfield_data[start : start + rows * columns].reshape(rows, columns)
    across, along = np.meshgrid(np.linspace(-x, x, columns), np.linspace(-y, y, rows))
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns + 1], axis=1)
    upper = np.stack([corner, corner + columns + 1, corner + columns], axis=1)
    return np.stack([across, along, heights], axis=-1).reshape(-1, 3).astype(float), np.concatenate([lower, upper])


def _floor(shapes: list[Shape]) -> tuple[float | None, list[Shape]]:
    """Return the height of the level plane of the world, and the other shapes."""
    for shape in shapes:
        if shape.kind == "plane" and shape.body == WORLD and turned(shape.quat, np.array([0.0, 0.0, 1.0]))[2] > 0.999:
            return float(shape.pos[2]), [other for other in shapes if other is not shape]
    return None, shapes


def _stickers(box: Shape) -> list[Shape]:
    """Return six thin plates by which the faces of a box can be told apart."""
    found = []
    for side, colour in enumerate(_STICKERS):
        axis, sign = divmod(side, 2)
        size, offset = 0.78 * box.size, np.zeros(3)
        size[axis], offset[axis] = 0.02 * box.size[axis], (1.0 - 2.0 * sign) * box.size[axis]
        rgba = np.array([*colour, box.rgba[3]])
        found.append(Shape("box", box.body, box.pos + turned(box.quat, offset), box.quat, size, rgba))
    return found


def _rod(body: int, start: np.ndarray, end: np.ndarray, radius: float, rgba: np.ndarray) -> Shape:
    along, length = end - start, float(np.linalg.norm(end - start))
    quat = between(np.array([0.0, 0.0, 1.0]), along / max(length, 1e-9))
    return Shape("capsule", body, (start + end) / 2.0, quat, np.array([radius, length / 2.0, 0.0]), rgba)


def _ghost_shapes(ghost: Ghost, body: int) -> list[Shape]:
    rgba = np.array([0.35, 0.75, 0.45, 0.45])
    size = np.zeros(3)
    size[: len(ghost.size)] = ghost.size
    shape = Shape(ghost.kind, body, np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), size, rgba)
    return [shape, *(_stickers(shape) if ghost.kind == "box" else [])]
