"""MJCF robots, read by MuJoCo's own parser and turned into a `Model`.

Poses, defaults, units and includes are MuJoCo's business: they come from the compiled model. An explicit `<inertial>` is
taken literally from the file instead, because the reference's inertias are unphysical and the compiler would "repair" them.
What MJCF has no word for stands in `<custom>`: `<numeric name="contact" data="ke kd kf mu"/>`, "contact NAME" for an
explicit pair, `<numeric name="limit" data="ke kd stop_kd"/>`, "equality" as "ke kd", "friction_width" [rad/s or m/s],
"own_base" as 1; `<text name="friction" data="smooth"/>`, "free_velocity" as "world", "damping" as "explicit". A plane is the
ground. The first keyframe is the start pose.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from rpo_lightning.sim.contact import FRICTIONS
from rpo_lightning.sim.convert import from_mujoco
from rpo_lightning.sim.mjcf.actuators import read_actuators
from rpo_lightning.sim.mjcf.constraints import EQUALITY, read_equalities, read_tendons
from rpo_lightning.sim.mjcf.contacts import read_contacts
from rpo_lightning.sim.mjcf.fluids import read_fluid
from rpo_lightning.sim.mjcf.frames import IDENTITY, Place, matrix, xyzw
from rpo_lightning.sim.mjcf.ground import find_ground, level
from rpo_lightning.sim.mjcf.laws import CONTACT, Laws, constants
from rpo_lightning.sim.mjcf.notices import notices
from rpo_lightning.sim.mjcf.own_base import without_own_base
from rpo_lightning.sim.mjcf.refusals import Refusals, check_model, check_spec, obey_flags, owned
from rpo_lightning.sim.mjcf.touching import touching
from rpo_lightning.sim.model import DAMPINGS, FREE_VELOCITIES, Joint, Link, Model
from rpo_lightning.sim.quaternions import quat_product

__all__ = ["load_mjcf"]

log = logging.getLogger("rpo_lightning")

_LIMIT = ("ke", "kd")
_ALWAYS_FROM_GEOM = 1  # inertiafromgeom="true"
_JOINTS = {
    mujoco.mjtJoint.mjJNT_FREE: Joint.FREE,
    mujoco.mjtJoint.mjJNT_BALL: Joint.BALL,
    mujoco.mjtJoint.mjJNT_HINGE: Joint.REVOLUTE,
    mujoco.mjtJoint.mjJNT_SLIDE: Joint.PRISMATIC,
}


def load_mjcf(
    path: str | Path,
    contact: Sequence[float] | None = None,
    limit: Sequence[float] | None = None,
    drop: Sequence[str] = (),
    friction: str | None = None,
    mesh_vertices: int = 32,
    equality: Sequence[float] | None = None,
    friction_width: float | None = None,
) -> Model:
    """Read a robot from an MJCF or URDF file.

    Bodies without a joint are merged into their parent; a body with several joints becomes a chain of links.

    Args:
        path: the file.
        contact: (ke, kd, kf, mu) of contact, instead of the file's; those of a geom's `user` or of a pair by its name win.
        limit: (ke, kd) or (ke, kd, stop_kd) of the joint limits, instead of the file's.
        drop: what to leave out although it acts in MuJoCo, by the keys of `rpo_lightning.sim.mjcf.REFUSED`; "self": contact
            of links with each other.
        friction: "bound" or "smooth", instead of the file's; without either, "bound".
        mesh_vertices: how many vertices of its convex hull stand for a mesh that touches planes, at most.
        equality: (ke, kd) of the springs that stand for constraints between joints or bodies, for angles [N m/rad,
            N m s/rad] and lengths [N/m, N s/m] alike, instead of the file's; without either such constraints are refused.
        friction_width: of `Model`, instead of the file's; without either, its default.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if MuJoCo cannot read it, for constants that make no sense, or for what the engine does not simulate,
            all of it at once, by name.
    """
    path = Path(path)
    refuse = Refusals(path, drop)
    if not path.is_file():
        raise FileNotFoundError(f"robot file {path} does not exist")
    spec = _parsed(path)
    check_spec(spec, refuse)
    numerics = {n.name: np.array(n.data) for n in spec.numerics}

    def law(name: str, given: Sequence[float] | None, *fields: Any) -> tuple[float, ...] | None:
        if given is not None:
            return constants(given, f"{path}: {name}=", *fields)
        return constants(numerics[name], f"{path}: <numeric name={name!r}>", *fields) if name in numerics else None

    usual, stops = law("contact", contact, CONTACT), law("limit", limit, _LIMIT, "stop_kd")
    springs = law("equality", equality, EQUALITY)
    width = law("friction_width", None if friction_width is None else [friction_width], ("width",))
    with _named(path):
        compiled = spec.compile()
    obey_flags(compiled)
    laws = Laws(spec, compiled, numerics, usual, refuse)
    obstructed = bool(np.any(numerics.get("own_base", 0.0)))
    model = _Reader(spec, compiled, laws, stops, springs, mesh_vertices, obstructed, refuse).model()
    texts = {text.name: text.data for text in spec.texts}
    model.friction = texts.get("friction", FRICTIONS[0]) if friction is None else friction
    model.free_velocity = texts.get("free_velocity", FREE_VELOCITIES[0])
    model.damping = texts.get("damping", DAMPINGS[0])
    model.friction_width = width[0] if width else model.friction_width
    for name, choices in (("friction", FRICTIONS), ("free_velocity", FREE_VELOCITIES), ("damping", DAMPINGS)):
        if (value := getattr(model, name)) not in choices:
            raise ValueError(f"{path}: {name} must be {' or '.join(map(repr, choices))}, got {value!r}")
    lossy = [k.name for k in model.links if k.joint is Joint.FREE and (k.damping or k.armature or k.frictionloss)]
    if lossy and model.free_velocity == "world":
        losses = "damping, armature or friction loss"
        raise ValueError(f"{path}: free joint {lossy[0]!r} has {losses}, for which free_velocity must be 'body'")
    return model


def _parsed(path: Path) -> Any:
    with _named(path):
        spec = mujoco.MjSpec.from_file(str(path))
    spec.compiler.fusestatic = False  # fixed bodies are merged here, their literal inertials included
    return spec


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in MuJoCo's errors, on one line."""
    try:
        yield
    except ValueError as error:
        message = f"{path}: MuJoCo cannot read it: {' '.join(str(error).split())}"
        if path.suffix == ".urdf" and "file" in message.rpartition(": ")[2]:
            message += (
                '; meshes are .stl or .obj beside it, or where <mujoco><compiler meshdir="..."/></mujoco> in <robot> says'
            )
        raise ValueError(message) from error


class _Reader:
    def __init__(
        self,
        spec: Any,
        compiled: Any,
        laws: Laws,
        limit: tuple[float, ...] | None,
        equality: tuple[float, ...] | None,
        mesh_vertices: int,
        obstructed: bool,
        refuse: Refusals,
    ) -> None:
        self.spec, self.mj, self.laws, self.limit, self.refuse = spec, compiled, laws, limit, refuse
        self.equality, self.mesh_vertices, self.obstructed = equality, mesh_vertices, obstructed
        self.bodies = {b.id: b for b in spec.bodies}
        self.links: list[Link] = []
        self.joints: list[int] = []  # the link of each joint
        self.places = {0: Place(-1, np.zeros(3), IDENTITY)}
        self.literal_scale = self._literal_scale()

    def _literal_scale(self) -> float:
        """Return what settotalmass, which only the compiled model knows, multiplies literal masses by."""
        if self.spec.compiler.settotalmass <= 0.0:
            return 1.0
        unscaled = _parsed(self.refuse.path)
        unscaled.compiler.settotalmass = -1.0
        return float(self.spec.compiler.settotalmass / unscaled.compile().body_mass.sum())

    def model(self) -> Model:
        mj, refuse = self.mj, self.refuse
        if mj.njnt == 0:
            raise ValueError(f"{refuse.path}: the file has no joint, so nothing can move")
        touches = touching(mj)
        if not self.obstructed:
            touches = without_own_base(mj, touches, refuse)
        check_model(self.spec, mj, refuse)
        for body in range(1, mj.nbody):
            self._add_body(body)
        plane = find_ground(mj, self.places, touches)
        contacts, geoms, pairs = read_contacts(mj, self.places, touches, plane, self.laws, self.mesh_vertices, refuse)
        actuators = read_actuators(mj, self.places, refuse)
        tendons = read_tendons(mj, self.limit, refuse)
        couplings, ties = read_equalities(mj, self.places, self.joints, self.equality, refuse)
        refuse.check(sum(link.mass for link in self.links))
        gravity, (up, ground) = np.array(mj.opt.gravity), level(mj, self.places, plane)
        model = Model(self.links, contacts, gravity, up, ground, actuators, geoms=geoms, pairs=pairs)
        model.tendons, model.couplings, model.ties = tendons, couplings, ties
        model.fluid, model.fluid_shapes = read_fluid(mj, self.places, refuse)
        qpos = torch.tensor(mj.key_qpos[0] if mj.nkey else mj.qpos0)
        start, _ = from_mujoco(model, qpos[None], torch.zeros(1, mj.nv, dtype=torch.float64))
        model.start = start[0].numpy()
        for line in notices(mj, model, touches, refuse):
            log.warning(f"{refuse.path}: {line}")
        return model

    def _add_body(self, body: int) -> None:
        mj = self.mj
        link, pos, quat = self.places[int(mj.body_parentid[body])].at(mj.body_pos[body], mj.body_quat[body])
        joints = range(mj.body_jntadr[body], mj.body_jntadr[body] + mj.body_jntnum[body])
        anchor = np.zeros(3)
        for joint in joints:
            kind = _JOINTS[mujoco.mjtJoint(mj.jnt_type[joint])]
            at = np.zeros(3) if kind is Joint.FREE else mj.jnt_pos[joint]
            frame = (np.zeros(3), IDENTITY) if kind is Joint.FREE else (pos + matrix(quat) @ (at - anchor), quat)
            link = self._add_link(body, joint, kind, link, *frame)
            # what follows is measured from this joint's anchor, in the body's own axes
            pos, quat, anchor = np.zeros(3), IDENTITY, at.copy()
        if len(joints):
            pos = -anchor
        self.places[body] = place = Place(link, pos, quat)
        if link >= 0:
            self._add_mass(body, place)

    def _add_link(self, body: int, joint: int, kind: Joint, parent: int, pos: np.ndarray, quat: np.ndarray) -> int:
        mj, dof = self.mj, int(self.mj.jnt_dofadr[joint])
        name = mj.joint(joint).name or mj.body(body).name or f"joint {joint}"
        link = Link(name=name, parent=parent, joint=kind, pos=np.array(pos), quat=np.array(quat))
        link.damping, link.armature = float(mj.dof_damping[dof]), float(mj.dof_armature[dof])
        link.frictionloss = float(mj.dof_frictionloss[dof])
        if kind is not Joint.FREE:
            link.limit_ke, link.limit_kd, link.stop_kd = self.limit or (0.0, 0.0, 0.0)
            link.stiffness = float(mj.jnt_stiffness[joint])
            if mj.jnt_limited[joint]:
                if self.limit is None:
                    self.refuse.need("limit", owned(mj, "joint", joint))
                # MuJoCo's limits push from their margin on
                low, high = (mj.jnt_range[joint] + mj.jnt_margin[joint] * np.array([1.0, -1.0])).tolist()
                link.lower, link.upper = (-np.inf if kind is Joint.BALL else low), high
        if kind in (Joint.REVOLUTE, Joint.PRISMATIC):
            link.axis = np.array(mj.jnt_axis[joint])
            link.ref = float(mj.qpos0[mj.jnt_qposadr[joint]])
            link.target = float(mj.qpos_spring[mj.jnt_qposadr[joint]])
            if mj.jnt_actfrclimited[joint]:
                low, high = mj.jnt_actfrcrange[joint].tolist()
                link.force_range = low, high
        self.joints.append(len(self.links))
        self.links.append(link)
        return len(self.links) - 1

    def _add_mass(self, body: int, place: Place) -> None:
        spec = self.bodies[body]
        compiler = getattr(spec, "compiler", self.spec.compiler)  # of the file the body is attached from, if MuJoCo says so
        if spec.explicitinertial and compiler.inertiafromgeom != _ALWAYS_FROM_GEOM:
            mass, com = self.literal_scale * float(spec.mass), np.array(spec.ipos)
            turn = xyzw(spec.iquat / np.linalg.norm(spec.iquat))  # the compiler has not normalised it yet
            if spec.ialt.type != mujoco.mjtOrientation.mjORIENTATION_QUAT:
                turn = xyzw(self.mj.body_iquat[body])
            full = np.array(spec.fullinertia)
            inertia = np.diag(spec.inertia)
            if np.isfinite(full[0]):
                xx, yy, zz, xy, xz, yz = full
                inertia = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            inertia = self.literal_scale * inertia
        else:
            mass, com = float(self.mj.body_mass[body]), self.mj.body_ipos[body]
            turn, inertia = xyzw(self.mj.body_iquat[body]), np.diag(self.mj.body_inertia[body])
        axes = matrix(quat_product(place.quat, turn))
        link, centre = self.links[place.link], place.pos + matrix(place.quat) @ com
        _merge(link, mass, centre, axes @ inertia @ axes.T)
        if (lifted := mass * float(self.mj.body_gravcomp[body])) != 0.0:
            link.lift_com = (link.lifted * link.lift_com + lifted * centre) / (link.lifted + lifted)
            link.lifted += lifted


def _merge(link: Link, mass: float, com: np.ndarray, inertia: np.ndarray) -> None:
    """Add a rigidly attached body to a link; com and inertia (about it) in the link frame."""
    total = link.mass + mass
    centre = (link.mass * link.com + mass * com) / total if total > 0.0 else np.zeros(3)
    parts = ((link.mass, link.com - centre, link.inertia), (mass, com - centre, inertia))
    shifted = [i + m * ((d @ d) * np.eye(3) - np.outer(d, d)) for m, d, i in parts]
    link.inertia = shifted[0] + shifted[1]
    link.mass, link.com = total, centre
