"""What is measured of a state: the base in its own axes, and points fixed to links. The equations and the kernels' text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpo_lightning.sim.algebra import ZERO, cross, vector
from rpo_lightning.sim.dynamics import inner_rates
from rpo_lightning.sim.emission import assigned
from rpo_lightning.sim.expressions import Scalar, Trace, gradient
from rpo_lightning.sim.kinematics import bodies
from rpo_lightning.sim.model import Joint, Model
from rpo_lightning.sim.pieces import emit
from rpo_lightning.sim.prelude import PRELUDE
from rpo_lightning.sim.signatures import SIGNATURES

__all__ = ["BASE", "Place", "sensed", "source"]

Place = tuple[int, np.ndarray]
"""The index of a link, and a point (3,) in its frame [m]."""

BASE = 10
"""Entries about a free base: angular velocity, down and velocity in its own axes, and the height of its origin."""


def sensed(model: Model, places: Sequence[Place], q: Sequence[Scalar], qd: Sequence[Scalar]) -> list[Scalar]:
    """Return `BASE` entries if the first joint is free, positions of all places, and velocities of all, in world axes.

    Everything is computed relative to a free base, so that float32 does not lose its digits far from the world's origin.
    """
    free = model.links[0].joint is Joint.FREE
    origin = vector(q[:3]) if free else ZERO
    found = bodies(model, q, inner_rates(model, q, qd, origin), origin)
    out: list[Scalar] = []
    if free:
        base, up = found[0], vector(model.up)
        own = base.rotation.T
        out += [*(own @ base.angular), *(own @ (-1.0 * up)), *(own @ base.linear), up @ origin - float(model.ground)]
    spots = [found[link].position + found[link].rotation @ vector(place) for link, place in places]
    for spot in spots:
        out += [*(origin + spot)]
    for (link, _), spot in zip(places, spots, strict=True):
        out += [*(found[link].linear + cross(found[link].angular, spot))]
    return out


def source(name: str, model: Model, places: Sequence[Place]) -> str:
    """Return the C text of "sensors" or "sensors_adjoint" for one block of environments."""
    signature, trace = SIGNATURES[name], Trace()
    q, qd = trace.inputs("q", model.nq), trace.inputs("qd", model.nd)
    out = sensed(model, places, q, qd)
    if name == "sensors":
        body = assigned("s", out)
    else:
        grads = gradient(out, trace.inputs("gs", len(out)), [*q, *qd])
        body = assigned("gq", grads[: model.nq]) | assigned("gqd", grads[model.nq :])
    sizes = {"NQ": model.nq, "ND": model.nd, "NS": len(out)}
    constants = "".join(f"const int {size} = {value};\n" for size, value in sizes.items())
    return PRELUDE + constants + signature.prologue(sizes) + emit(body) + signature.epilogue(sizes)
