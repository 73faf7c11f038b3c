"""MJCF robots, read by MuJoCo's own parser and turned into a `Model`.

Poses, defaults, units and includes are MuJoCo's business: they come from the compiled model. An explicit `<inertial>` is
taken literally from the file instead, because the reference's inertias are unphysical and the compiler would "repair" them.
What MJCF has no word for stands in `<custom>`: `<numeric name="contact" data="ke kd kf mu"/>` and
`<numeric name="limit" data="ke kd"/>`. A plane among the world's geoms is the ground. The first keyframe is the start pose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from rpo_lightning.sim.algebra import quat_multiply, rotation
from rpo_lightning.sim.convert import from_mujoco
from rpo_lightning.sim.model import Contact, Joint, Link, Model

__all__ = ["load_mjcf"]

_ALWAYS_FROM_GEOM = 1  # inertiafromgeom="true"
_JOINTS = {
    mujoco.mjtJoint.mjJNT_FREE: Joint.FREE,
    mujoco.mjtJoint.mjJNT_BALL: Joint.BALL,
    mujoco.mjtJoint.mjJNT_HINGE: Joint.REVOLUTE,
    mujoco.mjtJoint.mjJNT_SLIDE: Joint.PRISMATIC,
}


def load_mjcf(path: str | Path) -> Model:
    """Read a robot from an MJCF file.

    Bodies without a joint are merged into their parent; a body with several joints becomes a chain of links.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if MuJoCo cannot read it, or for what the engine does not simulate, by name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"robot file {path} does not exist")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        compiled = spec.compile()
    except ValueError as error:
        raise ValueError(f"{path}: MuJoCo cannot read it: {error}") from error
    return _Reader(path, spec, compiled).model()


class _Reader:
    def __init__(self, path: Path, spec: Any, compiled: Any) -> None:
        self.path, self.spec, self.mj = path, spec, compiled
        numerics = {n.name: np.array(n.data) for n in spec.numerics}
        self.contact = self._numeric(numerics, "contact", ("ke", "kd", "kf", "mu"))
        self.limit = self._numeric(numerics, "limit", ("ke", "kd"))
        self.bodies = {b.id: b for b in spec.bodies}
        self.touches = (compiled.geom_contype != 0) | (compiled.geom_conaffinity != 0)
        self.links: list[Link] = []
        self.contacts: list[Contact] = []
        # per body: the link it belongs to and its frame there (position, quaternion)
        self.place: dict[int, tuple[int, np.ndarray, np.ndarray]] = {0: (-1, np.zeros(3), _IDENTITY)}

    def _numeric(self, numerics: dict[str, np.ndarray], name: str, fields: tuple[str, ...]) -> tuple[float, ...]:
        values = numerics.get(name, np.zeros(len(fields)))
        if len(values) != len(fields):
            raise ValueError(
                f"{self.path}: <numeric name={name!r}> needs {len(fields)} numbers ({' '.join(fields)}), has {len(values)}"
            )
        return tuple(map(float, values))

    def model(self) -> Model:
        self._refuse()
        for body in range(1, self.mj.nbody):
            self._add_body(body)
        up, ground = self._ground()
        actuators = [
            (int(self.mj.jnt_dofadr[self.mj.actuator_trnid[a, 0]]), float(self.mj.actuator_gear[a, 0]))
            for a in range(self.mj.nu)
        ]
        model = Model(self.links, self.contacts, np.array(self.mj.opt.gravity), up, ground, actuators)
        qpos = torch.tensor(self.mj.key_qpos[0] if self.mj.nkey else self.mj.qpos0)
        start, _ = from_mujoco(model, qpos[None], torch.zeros(1, self.mj.nv, dtype=torch.float64))
        model.start = start[0].numpy()
        return model

    def _ground(self) -> tuple[np.ndarray, float]:
        """Return the ground's normal and height; without a ground up is against gravity and nothing touches."""
        planes = np.flatnonzero(self.touches & (self.mj.geom_type == mujoco.mjtGeom.mjGEOM_PLANE))
        if len(planes) == 0:
            self.contacts = []
            strength = np.linalg.norm(self.mj.opt.gravity)
            return (-self.mj.opt.gravity / strength if strength else np.array([0.0, 1.0, 0.0])), 0.0
        if len(planes) > 1 or self.mj.geom_bodyid[planes[0]] != 0:
            raise ValueError(f"{self.path}: the ground must be one plane, a geom of the worldbody itself")
        if self.contacts and not any(self.contact):
            raise ValueError(f'{self.path}: contact needs <custom><numeric name="contact" data="ke kd kf mu"/></custom>')
        up = _matrix(_xyzw(self.mj.geom_quat[planes[0]]))[:, 2]
        up = np.where(np.abs(up) < 1e-12, 0.0, up)
        return up, float(up @ self.mj.geom_pos[planes[0]])

    def _refuse(self) -> None:
        mj, joint = self.mj, mujoco.mjtJoint
        if mj.njnt == 0:
            raise ValueError(f"{self.path}: the file has no joint, so nothing can move")
        ball, free = mj.jnt_type == joint.mjJNT_BALL, mj.jnt_type == joint.mjJNT_FREE
        stiffness = mj.jnt_stiffness.reshape(mj.njnt, -1)[:, 0]
        free_dofs = np.isin(mj.dof_jntid, np.flatnonzero(free))
        lossy = (mj.dof_damping.reshape(mj.nv, -1)[:, 0] != 0) | (mj.dof_armature != 0)
        plain = (
            (mj.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT)
            & (mj.actuator_dyntype == mujoco.mjtDyn.mjDYN_NONE)
            & (mj.actuator_gaintype == mujoco.mjtGain.mjGAIN_FIXED)
            & (mj.actuator_biastype == mujoco.mjtBias.mjBIAS_NONE)
            & (mj.actuator_gainprm[:, 0] == 1.0)
            & np.isin(mj.jnt_type[mj.actuator_trnid[:, 0]], (joint.mjJNT_HINGE, joint.mjJNT_SLIDE))
        )
        world_geoms = self.touches & (mj.body_weldid[mj.geom_bodyid] == 0) & (mj.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        for count, what in (
            (mj.neq, "equality constraints"),
            (mj.ntendon, "tendons"),
            (np.count_nonzero(ball & (mj.jnt_limited != 0)), "limits on ball joints"),
            (np.count_nonzero(ball & (stiffness != 0)), "springs on ball joints"),
            (
                np.count_nonzero(free & (stiffness != 0)) + np.count_nonzero(free_dofs & lossy),
                "springs, damping or armature of free joints",
            ),
            (np.count_nonzero(mj.dof_frictionloss), "friction loss in joints"),
            (np.count_nonzero(~plain), "actuators other than plain motors on hinges and slides"),
            (np.count_nonzero(world_geoms), "fixed obstacles other than a ground plane"),
            (np.count_nonzero(mj.body_gravcomp), "bodies with gravity compensation"),
            (int(mj.opt.density != 0 or mj.opt.viscosity != 0), "fluid forces"),
            (int(mj.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_GRAVITY != 0), "flags that disable gravity"),
            (
                sum(b.ialt.type != mujoco.mjtOrientation.mjORIENTATION_QUAT for b in self.spec.bodies),
                "inertials turned by anything but quat",
            ),
        ):
            if count:
                raise ValueError(f"{self.path}: {what} are not simulated (found {count}); remove them from the file")

    def _add_body(self, body: int) -> None:
        mj = self.mj
        parent_link, offset, turn = self.place[int(mj.body_parentid[body])]
        pos = offset + _matrix(turn) @ mj.body_pos[body]
        quat = _multiply(turn, _xyzw(mj.body_quat[body]))
        joints = range(mj.body_jntadr[body], mj.body_jntadr[body] + mj.body_jntnum[body])
        link, anchor = parent_link, np.zeros(3)
        for joint in joints:
            kind = _JOINTS[mujoco.mjtJoint(mj.jnt_type[joint])]
            at = np.zeros(3) if kind is Joint.FREE else mj.jnt_pos[joint]
            frame = (np.zeros(3), _IDENTITY) if kind is Joint.FREE else (pos + _matrix(quat) @ (at - anchor), quat)
            link = self._add_link(body, joint, kind, link, *frame)
            # what follows is measured from this joint's anchor, in the body's own axes
            pos, quat, anchor = np.zeros(3), _IDENTITY, at.copy()
        if len(joints):
            pos = -anchor
        self.place[body] = (link, pos, quat)
        if link >= 0:
            self._add_mass(body, link, pos, quat)
            self._add_contacts(body, link, pos, quat)

    def _add_link(self, body: int, joint: int, kind: Joint, parent: int, pos: np.ndarray, quat: np.ndarray) -> int:
        mj, dof = self.mj, int(self.mj.jnt_dofadr[joint])
        name = mj.joint(joint).name or mj.body(body).name or f"joint {joint}"
        link = Link(name=name, parent=parent, joint=kind, pos=np.array(pos), quat=np.array(quat))
        if kind is not Joint.FREE:
            link.damping = _linear(mj.dof_damping, dof, self.path, name, "damping")
            link.armature = float(mj.dof_armature[dof])
            link.limit_ke, link.limit_kd = self.limit
        if kind in (Joint.REVOLUTE, Joint.PRISMATIC):
            if mj.qpos0[mj.jnt_qposadr[joint]] != 0.0:
                raise ValueError(f"{self.path}: joint {name!r}: ref is not supported; put the pose into a keyframe")
            link.axis = np.array(mj.jnt_axis[joint])
            link.stiffness = _linear(mj.jnt_stiffness, joint, self.path, name, "stiffness")
            link.target = float(mj.qpos_spring[mj.jnt_qposadr[joint]])
            if mj.jnt_limited[joint]:
                if not any(self.limit):
                    raise ValueError(f'{self.path}: limits need <custom><numeric name="limit" data="ke kd"/></custom>')
                link.lower, link.upper = map(float, mj.jnt_range[joint])
        self.links.append(link)
        return len(self.links) - 1

    def _add_mass(self, body: int, link: int, pos: np.ndarray, quat: np.ndarray) -> None:
        spec = self.bodies[body]
        if spec.explicitinertial and self.spec.compiler.inertiafromgeom != _ALWAYS_FROM_GEOM:
            mass, com = float(spec.mass), np.array(spec.ipos)
            turn = _xyzw(spec.iquat / np.linalg.norm(spec.iquat))  # the compiler has not normalised it yet
            full = np.array(spec.fullinertia)
            inertia = np.diag(spec.inertia)
            if np.isfinite(full[0]):
                xx, yy, zz, xy, xz, yz = full
                inertia = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        else:
            mass, com = float(self.mj.body_mass[body]), self.mj.body_ipos[body]
            turn, inertia = _xyzw(self.mj.body_iquat[body]), np.diag(self.mj.body_inertia[body])
        axes = _matrix(_multiply(quat, turn))
        _merge(self.links[link], mass, pos + _matrix(quat) @ com, axes @ inertia @ axes.T)

    def _add_contacts(self, body: int, link: int, pos: np.ndarray, quat: np.ndarray) -> None:
        mj = self.mj
        for geom in range(mj.body_geomadr[body], mj.body_geomadr[body] + mj.body_geomnum[body]):
            if not self.touches[geom]:
                continue
            kind = mujoco.mjtGeom(mj.geom_type[geom])
            centre = pos + _matrix(quat) @ mj.geom_pos[geom]
            axis = _matrix(_multiply(quat, _xyzw(mj.geom_quat[geom])))[:, 2]
            if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
                points = [centre]
            elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
                points = [centre + end * mj.geom_size[geom, 1] * axis for end in (1.0, -1.0)]
            else:
                name = mj.geom(geom).name or f"number {geom}"
                raise ValueError(
                    f"{self.path}: geom {name!r}: contact of geom type {kind.name[7:].lower()} is not simulated; "
                    "use spheres or capsules, or set contype=0 conaffinity=0"
                )
            for point in points:
                point = np.where(np.abs(point) < 1e-12, 0.0, point)
                self.contacts.append(Contact(link, point, float(mj.geom_size[geom, 0]), *self.contact))


def _linear(values: np.ndarray, index: int, path: Path, joint: str, what: str) -> float:
    row = np.ravel(values[index])  # MuJoCo 4 keeps polynomial coefficients, earlier versions one number
    if np.any(row[1:] != 0.0):
        raise ValueError(f"{path}: joint {joint!r}: nonlinear {what} is not simulated")
    return float(row[0])


def _merge(link: Link, mass: float, com: np.ndarray, inertia: np.ndarray) -> None:
    """Add a rigidly attached body to a link; com and inertia (about it) in the link frame."""
    total = link.mass + mass
    centre = (link.mass * link.com + mass * com) / total if total > 0.0 else np.zeros(3)
    parts = ((link.mass, link.com - centre, link.inertia), (mass, com - centre, inertia))
    shifted = [i + m * ((d @ d) * np.eye(3) - np.outer(d, d)) for m, d, i in parts]
    link.inertia = shifted[0] + shifted[1]
    link.mass, link.com = total, centre


_IDENTITY = np.array([0.0, 0.0, 0.0, 1.0])


def _xyzw(wxyz: np.ndarray) -> np.ndarray:
    return np.roll(wxyz, -1)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array(quat_multiply(a.tolist(), b.tolist()))


def _matrix(quat: np.ndarray) -> np.ndarray:
    return rotation(quat.tolist()).astype(float)
