"""Robot files: MJCF into a `Model`."""

from rpo_lightning.sim.mjcf.reader import load_mjcf
from rpo_lightning.sim.mjcf.refusals import REFUSED, SIMULATED

__all__ = ["REFUSED", "SIMULATED", "load_mjcf"]
