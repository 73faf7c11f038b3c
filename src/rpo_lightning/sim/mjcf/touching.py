"""Which geoms of a robot file MuJoCo lets touch."""

from __future__ import annotations

from typing import Any, NamedTuple

import mujoco
import numpy as np

__all__ = ["Touching", "touching"]


class Touching(NamedTuple):
    """Two geoms that MuJoCo lets touch, by number, and the explicit pair that says so, -1 if none does."""

    first: int
    second: int
    pair: int


def touching(mj: Any) -> list[Touching]:
    """Return every two geoms that MuJoCo lets touch, whatever their shapes.

    An explicit pair overrides all filters. Without one both must have bits for each other, and bodies that move against each
    other, are not excluded and, unless the file says otherwise, not parent and child. A fixed body counts as its parent.
    """
    bit = mujoco.mjtDisableBit
    if mj.opt.disableflags & (bit.mjDSBL_CONTACT | bit.mjDSBL_CONSTRAINT):
        return []
    bits = (mj.geom_contype[:, None] & mj.geom_conaffinity) != 0
    body = mj.geom_bodyid
    excluded = np.isin((np.minimum.outer(body, body) << 16) + np.maximum.outer(body, body), mj.exclude_signature)
    weld = mj.body_weldid[body]
    parent = mj.body_weldid[mj.body_parentid[weld]]
    # the world is nobody's parent here
    child = (weld[:, None] == parent) & (weld[:, None] != 0) & (parent != weld)
    if mj.opt.disableflags & bit.mjDSBL_FILTERPARENT:
        child[:] = False
    may = (bits | bits.T) & ~excluded & (weld[:, None] != weld) & ~(child | child.T)
    ends = np.sort(np.stack([mj.pair_geom1, mj.pair_geom2], axis=1), axis=1).tolist()
    explicit = [Touching(first, second, pair) for pair, (first, second) in enumerate(ends)]
    for first, second, _ in explicit:
        may[first, second] = False
    return sorted([*explicit, *(Touching(first, second, -1) for first, second in np.argwhere(np.triu(may)).tolist())])
