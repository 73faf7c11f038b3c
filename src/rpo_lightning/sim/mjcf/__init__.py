"""Robot files: MJCF into a `Model`."""

from rpo_lightning.sim.mjcf.reader import load_mjcf
from rpo_lightning.sim.mjcf.refusals import REFUSED, SIMULATED, MissingConstantsError

__all__ = ["REFUSED", "SIMULATED", "MissingConstantsError", "load_mjcf"]
