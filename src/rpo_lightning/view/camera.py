"""Where one looks from: to the side of a robot, going along with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpo_lightning.view.scene import Scene

__all__ = ["Camera"]


@dataclass
class Camera:
    """A camera on a circle about what it looks at.

    Attributes:
        azimuth, elevation: of the direction it looks in [deg]: 90 is along y, so that x points to the right; -90 is down.
        distance: in units of the robot's size.
        follow: go along with a robot that goes somewhere.
    """

    azimuth: float = 115.0
    elevation: float = -18.0
    distance: float = 2.6
    follow: bool = True

    def lookat(self, scene: Scene, poses: np.ndarray) -> np.ndarray:
        """Return the point (..., 3) to look at for poses (..., B, 7).

        On a level floor it keeps its height, so that one sees a jump.
        """
        at = np.broadcast_to(scene.centre, (*poses.shape[:-2], 3)).copy()
        if self.follow and scene.base is not None:
            seen = slice(3 if scene.hills else 2)
            at[..., seen] = poses[..., scene.base, seen]
        return at

    def radius(self, scene: Scene) -> float:
        """Return the distance from the point that is looked at [m]."""
        return self.distance * scene.extent
