"""What carries a robot is no obstacle to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from rpo_lightning.sim.mjcf.refusals import Refusals, listed, owned
from rpo_lightning.sim.mjcf.shapes import kind
from rpo_lightning.sim.mjcf.touching import Touching

__all__ = ["without_own_base"]

log = logging.getLogger("rpo_lightning")


def without_own_base(mj: Any, touches: Sequence[Touching], refuse: Refusals) -> list[Touching]:
    """Leave out contact of links with fixed bodies that carry them, and say which; not planes, fields and explicit pairs."""

    def carries(fixed: int, moving: int) -> bool:
        base, body = int(mj.geom_bodyid[fixed]), int(mj.geom_bodyid[moving])
        if base == 0 or kind(mj, fixed) in ("plane", "hfield") or mj.body_weldid[base] != 0 or mj.body_weldid[body] == 0:
            return False
        while body > base:  # parents come first
            body = int(mj.body_parentid[body])
        return body == base

    def own(two: Touching) -> int:
        """Return the geom that carries the other, -1 if none does."""
        if two.pair >= 0:
            return -1
        return next((one for one, other in (two[:2], two[1::-1]) if carries(one, other)), -1)

    bases = {two: own(two) for two in touches}
    if found := sorted({geom for geom in bases.values() if geom >= 0}):
        names = listed([owned(mj, "geom", geom) for geom in found])
        log.warning(
            f"{refuse.path}: no obstacle to the links that hang on it: {names}; "
            '<custom><numeric name="own_base" data="1"/></custom> makes it one'
        )
    return [two for two in touches if bases[two] < 0]
