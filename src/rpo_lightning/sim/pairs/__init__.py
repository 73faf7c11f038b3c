"""Contact between any two shapes: which pairs of kinds there are, where they touch, and the loops over a robot's pairs."""

from rpo_lightning.sim.pairs.kinds import DETECTIONS, KINDS, ordered
from rpo_lightning.sim.pairs.loops import Loops
from rpo_lightning.sim.pairs.wrenches import wrenches

__all__ = ["DETECTIONS", "KINDS", "Loops", "ordered", "wrenches"]
