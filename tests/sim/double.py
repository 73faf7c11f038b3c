"""The physics in double precision, environment by environment: the witness of the compiled kernels."""

import numpy as np
import torch

from rpo_lightning.sim import dynamics, factorization, kinematics, pairs
from rpo_lightning.sim.springs import implicit_damping


def acceleration(model, q, qd, force, control=None):
    """Accelerations (N, nd); pairs row by row."""
    out = []
    for a, b, c, u in _rows(model, q, qd, force, control):
        origin = kinematics.reference_point(model, a)
        b = dynamics.inner_rates(model, a, b, origin)
        factors = _factors(model, a, origin, {})
        x = factorization.solve(factors, _bias(model, a, b, c, origin, u))
        out.append(dynamics.outer_acceleration(model, a, b, x, origin))
    return torch.tensor(out, dtype=torch.float64)


def step(model, q, qd, force, dt, substeps, interval, control=None):
    """States (N, nq + nd) after one step."""
    out, h = [], dt / substeps
    for a, b, c, u in _rows(model, q, qd, force, control):
        origin = kinematics.reference_point(model, a)
        b = dynamics.inner_rates(model, a, b, origin)
        for s in range(substeps):
            if s % interval == 0:
                damping = implicit_damping(model, a, b, u) if model.damping == "implicit" else {}
                factors = _factors(model, a, origin, {entry: h * d for entry, d in damping.items()})
            x = factorization.solve(factors, _bias(model, a, b, c, origin, u))
            a, b = dynamics.integrate(model, a, b, x, h, origin)
        out.append([*a, *dynamics.outer_rates(model, a, b, origin)])
    return torch.tensor(out, dtype=torch.float64)


def _rows(model, q, qd, force, control):
    control = torch.zeros(len(q), 0) if control is None else control
    return zip(*(t.double().tolist() for t in (q, qd, force, control)), strict=True)


def _factors(model, q, origin, damping):
    matrix = factorization.augmented(model, dynamics.mass_matrix(model, q, origin), damping)
    return factorization.factorize(matrix)


def _bias(model, q, qd, force, origin, control):
    heights = next((geom.heights for geom in model.geoms if geom.kind == "hfield"), np.zeros((1, 1)))
    found = (
        pairs.wrenches(model, kinematics.bodies(model, q, qd, origin), kinematics.world(origin), heights)
        if model.pairs
        else []
    )
    return dynamics.bias_force(model, q, qd, force, origin, dict(enumerate(found)), control)
