"""One robot as arrays: links, joints, contact points, shapes that touch each other. SI units throughout."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

import numpy as np

from rpo_lightning.sim.fluid import Fluid, FluidBox, FluidEllipsoid
from rpo_lightning.sim.linkage import Actuator, Coupling, Moment, Tendon, Tie

__all__ = ["DAMPINGS", "FREE_VELOCITIES", "REFERENCE_POINTS", "Contact", "Geom", "Joint", "Link", "Model", "Pair"]

FREE_VELOCITIES = ("body", "world")
DAMPINGS = ("implicit", "explicit")
REFERENCE_POINTS = ("robot", "world")


class Joint(IntEnum):
    """Joint types; a fixed joint does not exist here, its body is merged into the parent at load."""

    FREE = 0
    BALL = 1
    REVOLUTE = 2
    PRISMATIC = 3

    @property
    def coordinates(self) -> int:
        """Number of entries in q."""
        return (7, 4, 1, 1)[self]

    @property
    def dofs(self) -> int:
        """Number of entries in qd."""
        return (6, 3, 1, 1)[self]


@dataclass
class Link:
    """A rigid body and the joint that carries it.

    Attributes:
        parent: index of the parent link, -1 for the world.
        axis: (3,) unit vector in the joint frame (revolute, prismatic).
        pos, quat: joint frame in the parent link's frame, [m] and xyzw.
        mass, com, inertia: [kg], (3,) [m] in the link frame, (3, 3) about the centre of mass in link axes [kg m^2].
        ref: q at which the joint is in the pose of the file (revolute, prismatic); limits and target are values of q.
        lower, upper: limits, [rad] or [m]; infinite if there are none. Of a ball joint `upper` is the largest angle [rad].
        limit_ke, limit_kd: stiffness beyond the limits; damping that always acts [N m/rad, N m s/rad or N/m, N s/m].
        stop_kd: damping that acts beyond the limits only.
        stiffness, target, damping: spring towards `target` (a ball joint's towards no rotation), viscous damping.
        armature: added to the mass matrix. frictionloss: dry friction in the joint [N m or N].
        force_range: what the sum of the actuators' forces on the joint is clamped to [N m or N].
        lifted, lift_com: mass whose weight is compensated [kg], and its centre (3,) [m].
    """

    name: str
    parent: int
    joint: Joint
    axis: np.ndarray = field(default_factory=lambda: np.zeros(3))
    pos: np.ndarray = field(default_factory=lambda: np.zeros(3))
    quat: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    mass: float = 0.0
    com: np.ndarray = field(default_factory=lambda: np.zeros(3))
    inertia: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    ref: float = 0.0
    lower: float = -np.inf
    upper: float = np.inf
    limit_ke: float = 0.0
    limit_kd: float = 0.0
    stop_kd: float = 0.0
    stiffness: float = 0.0
    target: float = 0.0
    damping: float = 0.0
    armature: float = 0.0
    frictionloss: float = 0.0
    force_range: tuple[float, float] = (-np.inf, np.inf)
    lifted: float = 0.0
    lift_com: np.ndarray = field(default_factory=lambda: np.zeros(3))


@dataclass
class Contact:
    """A sphere on a link that touches the ground.

    Attributes:
        point, radius: centre in the link frame (3,) [m] and radius [m].
        ke, kd: elastic stiffness [N/m] and damping per depth [N s/m^2]. kf: tangential viscosity [N s/m]. mu: friction.
    """

    link: int
    point: np.ndarray
    radius: float
    ke: float
    kd: float
    kf: float
    mu: float


@dataclass
class Geom:
    """A shape on a link, or on the world, that others can touch.

    Attributes:
        kind: "sphere", "capsule", "box", "cylinder", "ellipsoid", "plane" or "hfield".
        link: the link that carries it, -1 for the world.
        pos, quat: its frame in the link's, [m] and xyzw. Capsules and cylinders lie along z; a plane's normal is z.
        size: (3,) as in MJCF [m]: radius; radius and half length; half extents or semi-axes; of a height field x and y.
        heights: (rows, columns) of a height field above its frame, rows along y [m].
    """

    name: str
    kind: str
    link: int
    pos: np.ndarray = field(default_factory=lambda: np.zeros(3))
    quat: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    size: np.ndarray = field(default_factory=lambda: np.zeros(3))
    heights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass
class Pair:
    """Two geoms that can touch, in an order that `sim.pairs` knows, and the constants of their contact as of `Contact`."""

    first: int
    second: int
    ke: float
    kd: float
    kf: float
    mu: float


@dataclass
class Model:
    """A tree of links (parents first), what of it touches what, and the world around it.

    Attributes:
        contacts: points that touch the ground plane. geoms, pairs: shapes, and which of them touch each other besides.
        up: (3,) unit normal of the ground plane. ground: its height along `up` [m].
        actuators: in the file's order. tendons, couplings, ties: springs besides those of the links.
        fluid, fluid_shapes: what surrounds the robot, and what it feels of the links.
        start: (nq,) start pose; without one, joints at their `ref` and quaternions at identity.
        law: of contact, by `sim.contact.LAWS`. friction: "bound" or "smooth". detection: "exact", or "rewarped" with the
            defects of that simulator.
        free_velocity: what a free joint's motion is solved for: "body", or "world" as the reference does it, see
            `dynamics.inner_rates`.
        reference_point: what spatial vectors are about: a point near the "robot", or as in the reference the origin of the
            "world", far from which float32 has no digits left, see `world_origin`.
        damping: of joints, "implicit" in the velocity, stable for any step, or "explicit" as the reference does it.
        friction_width: the speed beyond which friction loss is nearly dry [rad/s or m/s]; below, it is viscous.
        mass_links: whose inertia counts in the mass matrix for each link; its own, but for one simulator's defect.
    """

    links: list[Link]
    contacts: list[Contact] = field(default_factory=list)
    gravity: np.ndarray = field(default_factory=lambda: np.array([0.0, -9.81, 0.0]))
    up: np.ndarray = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    ground: float = 0.0
    actuators: list[Actuator] = field(default_factory=list)
    start: np.ndarray = field(default_factory=lambda: np.zeros(0))
    geoms: list[Geom] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    tendons: list[Tendon] = field(default_factory=list)
    couplings: list[Coupling] = field(default_factory=list)
    ties: list[Tie] = field(default_factory=list)
    fluid: Fluid = field(default_factory=Fluid)
    fluid_shapes: list[FluidBox | FluidEllipsoid] = field(default_factory=list)
    law: str = "depth"
    friction: str = "bound"
    detection: str = "exact"
    free_velocity: str = "body"
    reference_point: str = "robot"
    damping: str = "implicit"
    friction_width: float = 0.1
    mass_links: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.q_start = np.cumsum([0, *(link.joint.coordinates for link in self.links)]).tolist()
        self.qd_start = np.cumsum([0, *(link.joint.dofs for link in self.links)]).tolist()
        for index, link in enumerate(self.links):
            if not -1 <= link.parent < index:
                raise ValueError(f"link {index} ({link.name}): parent {link.parent} does not come before it")
            if link.joint is Joint.FREE and link.parent != -1:
                raise ValueError(
                    f"link {index} ({link.name}): a free joint must hang on the world, not on link {link.parent}"
                )

        self.mass_links = self.mass_links or list(range(len(self.links)))
        if not self.start.size:
            self.start = np.zeros(self.nq)
            for index, link in enumerate(self.links):
                quaternion = link.joint in (Joint.FREE, Joint.BALL)
                self.start[self.q_start[index + 1] - 1] = 1.0 if quaternion else link.ref

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return self.q_start[-1]

    @property
    def nd(self) -> int:
        """Number of degrees of freedom."""
        return self.qd_start[-1]

    @property
    def records_end(self) -> bool:
        """Whether the adjoint of a step needs the state it ended in: `dynamics.outer_rates` depends on it."""
        return self.free_velocity == "body" and any(link.joint is Joint.FREE for link in self.links)

    @property
    def as_reference(self) -> bool:
        """Whether the same operations in the same order are wanted as the recorded runs had: the cheapest are not."""
        return "world" in (self.free_velocity, self.reference_point)

    @property
    def controls(self) -> int:
        """Number of controls that a step takes: of all actuators, or none if they are motors, whose force is constant in it.

        What depends on the state, is clamped or acts on a link is computed in every substep.
        """
        return 0 if all(self._is_motor(actuator) for actuator in self.actuators) else len(self.actuators)

    def _is_motor(self, actuator: Actuator) -> bool:
        ranges = [actuator.force_range, *(link.force_range for link in self.links)]
        free = not np.isfinite(ranges).any()
        return free and not any(actuator.bias) and not any(actuator.gain_slope) and actuator.link < 0

    @property
    def damping_switches(self) -> bool:
        """Whether implicit damping of servos ends where a force is clamped, which a kept mass matrix would not know."""
        ranges = [link.force_range for link in self.links for _ in range(link.joint.dofs)]
        return self.damping == "implicit" and any(
            np.isfinite([actuator.force_range, *(ranges[dof] for dof, _ in actuator.moment)]).any()
            for actuator in self.actuators
            if self.on_a_chain(actuator.moment) and (actuator.bias[2] or actuator.gain_slope[1])
        )

    def on_a_chain(self, moment: Moment) -> bool:
        """Tell whether each degree of freedom carries the next, so that the mass matrix has entries for all of them."""
        links = {bisect_right(self.qd_start, dof) - 1 for dof, _ in moment}
        chain, link = set[int](), max(links, default=-1)
        while link >= 0:
            chain.add(link)
            link = self.links[link].parent
        return bool(links) and links <= chain

    def digest(self) -> str:
        """Return what is equal for two models exactly if the same equations describe their motion."""
        words = [self.law, self.friction, self.detection, self.free_velocity, self.reference_point, self.damping]
        words += [geom.kind for geom in self.geoms]
        parts = [np.asarray([self.ground, self.friction_width, *self.gravity, *self.up]), np.asarray(self.mass_links)]
        driven = self.actuators if self.controls else []
        for item in (
            *self.links, *self.contacts, *self.geoms, *self.pairs, *driven, *self.tendons, *self.couplings, *self.ties,
            self.fluid, *self.fluid_shapes,
        ):  # fmt: skip
            parts += [
                np.asarray(value) for name, value in vars(item).items() if name not in ("name", "kind", "heights", "control")
            ]
        numbers = b"".join(np.append(part.ravel(), part.size).astype(float).tobytes() for part in parts)
        shapes = [geom.heights.shape for geom in self.geoms]  # the heights themselves are an argument
        return sha256(repr((words, shapes)).encode() + numbers).hexdigest()

    def coordinate(self, dof: int) -> int:
        """Return the entry of q that a degree of freedom of a revolute or prismatic joint moves."""
        return self.q_start[self.qd_start.index(dof)]

    def coordinates(self, link: int) -> slice:
        """Return the entries of q that belong to a link's joint."""
        return slice(self.q_start[link], self.q_start[link + 1])

    def dofs(self, link: int) -> slice:
        """Return the entries of qd that belong to a link's joint."""
        return slice(self.qd_start[link], self.qd_start[link + 1])
