"""Forces of a resting or steadily blowing fluid on what moves in it: MuJoCo's inertia boxes and ellipsoids.

Source: MuJoCo's documentation, "Computation", fluid forces. They depend on velocities alone: the mass that a body drags
along does not add to its inertia, in MuJoCo neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rpo_lightning.sim.algebra import Vector, cross, vector
from rpo_lightning.sim.expressions import Scalar, recip, sqrt, where_less

__all__ = ["Fluid", "FluidBox", "FluidEllipsoid", "fluid_wrench"]

_TINY = 1e-20  # keeps square roots and their derivatives finite at rest
_LEAST = 1e-18  # keeps what is 0 at rest from being divided by; its inverse's square is still a float32


@dataclass
class Fluid:
    """What surrounds the robot: density [kg/m^3], viscosity [Pa s], wind (3,) in world axes [m/s]."""

    density: float = 0.0
    viscosity: float = 0.0
    wind: np.ndarray = field(default_factory=lambda: np.zeros(3))


@dataclass
class FluidBox:
    """The box of a body's mass and inertia, which the fluid drags at.

    Attributes:
        link: that carries it. pos, quat: its centre and axes in the link's, [m] and xyzw. sides: (3,) whole lengths [m].
    """

    link: int
    pos: np.ndarray
    quat: np.ndarray
    sides: np.ndarray


@dataclass
class FluidEllipsoid:
    """An ellipsoid instead of a geom, which the fluid drags at and lifts.

    Attributes:
        link: that carries it. pos, quat: its centre and axes in the link's, [m] and xyzw. semiaxes: (3,) [m].
        coefficients: of blunt drag, slender drag, angular drag, Kutta lift, Magnus lift.
        volume, moment: (3,) of the fluid that moves along; times the density a mass and an inertia [m^3, m^5].
    """

    link: int
    pos: np.ndarray
    quat: np.ndarray
    semiaxes: np.ndarray
    coefficients: tuple[float, float, float, float, float]
    volume: np.ndarray
    moment: np.ndarray


def fluid_wrench(
    fluid: Fluid, shape: FluidBox | FluidEllipsoid, turned: np.ndarray, w: Vector, v: Vector
) -> tuple[Vector, Vector]:
    """Return torque and force (3,) of the fluid on a shape, about its centre [N m, N].

    Args:
        fluid: around it.
        shape: what is felt of a link.
        turned: (3, 3) of the shape's axes.
        w: (3,) its angular velocity [rad/s].
        v: (3,) velocity of its centre [m/s].
    """
    back = turned.T
    spin, flow = back @ w, back @ (v - vector(fluid.wind))
    if isinstance(shape, FluidBox):
        torque, push = _on_box(fluid, shape, spin, flow)
    else:
        torque, push = _on_ellipsoid(fluid, shape, spin, flow)
    return turned @ torque, turned @ push


def _on_box(fluid: Fluid, box: FluidBox, w: Vector, v: Vector) -> tuple[Vector, Vector]:
    """Drag in the box's axes: Stokes' of a sphere as wide as the box's mean, and of each pair of sides by itself."""
    a, b, c = box.sides.tolist()
    wide = (a + b + c) / 3.0
    torque = -math.pi * wide**3 * (fluid.viscosity * w)
    push = -3.0 * math.pi * wide * (fluid.viscosity * v)
    areas, moments = [b * c, a * c, a * b], [a * (b**4 + c**4), b * (a**4 + c**4), c * (a**4 + b**4)]
    torque = torque - fluid.density * vector([m / 64.0 * _squared(x) for m, x in zip(moments, w, strict=True)])
    return torque, push - fluid.density * vector([0.5 * area * _squared(x) for area, x in zip(areas, v, strict=True)])


def _squared(x: Scalar) -> Scalar:
    """Return |x| x."""
    return where_less(x, 0.0, -1.0 * x, x) * x


def _on_ellipsoid(fluid: Fluid, ellipsoid: FluidEllipsoid, w: Vector, v: Vector) -> tuple[Vector, Vector]:
    """Drag, lift and the fluid's own inertia, in the ellipsoid's axes; powers of ratios, which float32 can hold."""
    blunt, slender, angular, kutta, magnus = ellipsoid.coefficients
    size, rho = ellipsoid.semiaxes, fluid.density
    _, middle, large = sorted(size.tolist())
    speed = sqrt(v @ v + _TINY)

    seen = np.array([size[1] * size[2], size[2] * size[0], size[0] * size[1]]) / large**2
    shares, unit = vector(seen**2), v * recip(speed)
    squares = unit * unit
    num, den = squares @ shares + _LEAST, squares @ (shares * shares) + _LEAST
    area = math.pi * large**2 * sqrt(den * recip(num))  # across the flow
    circulation = (kutta * rho) * (speed * area * num * recip(den)) * cross(shares * unit, unit)
    lift = cross(circulation, v) + (magnus * 4.0 / 3.0 * math.pi * float(np.prod(size)) * rho) * cross(w, v)

    wide = 2.0 / 3.0 * float(size.sum())
    drag = 3.0 * math.pi * wide * fluid.viscosity
    drag = drag + rho * speed * (blunt * area + slender * (math.pi * large * middle - area))
    most = 8.0 / 15.0 * math.pi * middle * large**4
    each = [8.0 / 15.0 * math.pi * size[i] * max(size[i - 1], size[i - 2]) ** 4 / most for i in range(3)]
    felt = vector([(angular * x + slender * (1.0 - x)) * rate for x, rate in zip(each, w, strict=True)])
    brake = math.pi * wide**3 * fluid.viscosity + rho * most * sqrt(felt @ felt + _TINY)

    momentum = rho * vector([m * x for m, x in zip(ellipsoid.volume.tolist(), v, strict=True)])
    spin = rho * vector([m * x for m, x in zip(ellipsoid.moment.tolist(), w, strict=True)])
    return cross(momentum, v) + cross(spin, w) - brake * w, cross(momentum, w) + lift - drag * v
