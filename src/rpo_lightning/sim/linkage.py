"""What acts between links and on joints besides their own springs: actuators, tendons, couplings, ties. SI units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Actuator", "Coupling", "Moment", "Tendon", "Tie", "outer"]

Moment = list[tuple[int, float]]
"""(dof, coefficient) of each degree of freedom that a length depends on."""


def outer(moment: Moment) -> Iterator[tuple[int, int, float]]:
    """Yield (row, column, product) of a moment with itself, column <= row."""
    for row, one in moment:
        yield from ((row, column, one * other) for column, other in moment if column <= row)


@dataclass
class Actuator:
    """Force from a control: `(gain + gain_slope . (length, velocity)) * control + bias . (1, length, velocity)`, clamped.

    Attributes:
        moment: (dof, coefficient) of each degree of freedom that it acts on; the length is the sum of coefficient times
            coordinate (revolute, prismatic), its force on a dof is coefficient times force.
        gain, bias: [N m or N] for each unit of control, and for 1, length and velocity. gain_slope: what the gain grows by
            with length and velocity; that of a damper is (0, -kv).
        control: the controls that actions -1 and 1 stand for.
        force_range: limits of its force.
        link, point, push, turn: instead of `moment` a link, -1 if there is none, a point on it (3,) [m], and force and
            torque (3,) in the link's axes for each unit of force; such an actuator has no length.
    """

    name: str
    moment: Moment = field(default_factory=list)
    gain: float = 1.0
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    control: tuple[float, float] = (-1.0, 1.0)
    force_range: tuple[float, float] = (-np.inf, np.inf)
    gain_slope: tuple[float, float] = (0.0, 0.0)
    link: int = -1
    point: np.ndarray = field(default_factory=lambda: np.zeros(3))
    push: np.ndarray = field(default_factory=lambda: np.zeros(3))
    turn: np.ndarray = field(default_factory=lambda: np.zeros(3))


@dataclass
class Tendon:
    """A length that is linear in coordinates (revolute, prismatic), with a spring, damper, limits and dry friction along it.

    Attributes not listed here are as those of `Link`, along the length [N/m, N s/m, N].

    Attributes:
        moment: (dof, coefficient). rest: (2,) lengths between which the spring is slack [m].
    """

    name: str
    moment: Moment
    stiffness: float = 0.0
    rest: tuple[float, float] = (0.0, 0.0)
    damping: float = 0.0
    frictionloss: float = 0.0
    lower: float = -np.inf
    upper: float = np.inf
    limit_ke: float = 0.0
    stop_kd: float = 0.0


@dataclass
class Coupling:
    """A stiff spring that keeps one coordinate at a polynomial of another: q1 = c0 + c1 x + ... + c4 x^4, x = q2 - ref.

    Attributes:
        first, second: links with one coordinate each; `second` -1 for none.
        coefficients: (5,), c0 with the first coordinate's reference in it. ref: of the second coordinate.
        ke, kd: stiffness and damping [N m/rad, N m s/rad or N/m, N s/m].
    """

    name: str
    first: int
    second: int
    coefficients: tuple[float, float, float, float, float]
    ref: float
    ke: float
    kd: float


@dataclass
class Tie:
    """A stiff spring that keeps two points of links together, and if it is a weld their axes.

    Attributes:
        first, second: links, -1 for the world. first_point, second_point: (3,) in them [m].
        quat: of the second link's axes seen from the first's, xyzw.
        ke, kd: stiffness and damping of the points [N/m, N s/m]. turn_ke, turn_kd: of the axes [N m/rad, N m s/rad], 0 for
            points only.
    """

    name: str
    first: int
    second: int
    first_point: np.ndarray
    second_point: np.ndarray
    ke: float
    kd: float
    quat: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    turn_ke: float = 0.0
    turn_kd: float = 0.0
