"""What is drawn of a task, apart from how: rigid bodies made of shapes, in a world whose z axis points up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rpo_lightning.view.rotations import turned

__all__ = ["WORLD", "Frames", "Scene", "Shape"]

WORLD = -1
"""The body of a shape that never moves."""


@dataclass
class Shape:
    """A geometric shape on a body.

    Attributes:
        kind: "sphere", "capsule", "cylinder", "ellipsoid", "box", "plane" or "mesh".
        body: index of the body that carries it, or `WORLD`.
        pos, quat: its frame in the body's, [m] and wxyz. Capsules and cylinders lie along z; a plane's normal is z.
        size: (3,) as in MJCF [m]; half extents of a plane along x and y, 0 without end.
        rgba: (4,) within 0 ... 1.
        vertices, faces: (V, 3) [m] and (F, 3) of a mesh.
    """

    kind: str
    body: int
    pos: np.ndarray
    quat: np.ndarray
    size: np.ndarray
    rgba: np.ndarray
    vertices: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    faces: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), dtype=int))

    @property
    def radius(self) -> float:
        """Radius of a sphere about the shape's frame that holds it [m]; of a plane 0."""
        if self.kind == "mesh":
            return float(np.linalg.norm(self.vertices, axis=1).max(initial=0.0))
        if self.kind in ("capsule", "sphere"):
            return float(self.size[:2].sum()) if self.kind == "capsule" else float(self.size[0])
        if self.kind == "plane":
            return 0.0
        if self.kind == "cylinder":
            return float(np.hypot(self.size[0], self.size[1]))
        return float(np.linalg.norm(self.size) if self.kind == "box" else self.size.max())

    def gap(self, point: np.ndarray) -> float:
        """Return how far a point (3,) of the body is from the surface [m], of most kinds from the sphere around it."""
        local = turned(self.quat * np.array([1.0, -1.0, -1.0, -1.0]), point - self.pos)
        if self.kind == "capsule":
            local[2] -= np.clip(local[2], -self.size[1], self.size[1])
            return float(np.linalg.norm(local)) - float(self.size[0])
        return float(np.linalg.norm(local)) - self.radius


@dataclass
class Scene:
    """One environment of a task as it is drawn.

    Attributes:
        name: of the task.
        bodies: names of the bodies that move, B of them.
        shapes: what is seen.
        base: index of the body that the camera follows, None if the robot stays where it is.
        centre: (3,) what the camera looks at in the start pose [m]. extent: radius of what moves about it [m].
        floor: height of the ground [m]; None if the task's shapes have none that is level.
        dt: seconds between two steps.
        hills: width of a ground of its own that each environment has [m]; 0: all are on the floor.
    """

    name: str
    bodies: list[str]
    shapes: list[Shape]
    base: int | None
    centre: np.ndarray
    extent: float
    floor: float | None
    dt: float
    hills: float = 0.0


@dataclass
class Frames:
    """Where the bodies of N environments are, step by step.

    Attributes:
        scene: what is drawn.
        poses: (T, N, B, 7) position [m] and quaternion wxyz of each body, z up.
        reward: (T, N) of the step that led there, 0 in the first frame. done: (T, N) bool, an episode ended with it.
        action: (T, N, A) of that step, 0 in the first frame.
    """

    scene: Scene
    poses: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    action: np.ndarray

    @property
    def seconds(self) -> float:
        """Time from the first to the last frame [s]."""
        return (len(self.poses) - 1) * self.scene.dt

    def told(self) -> str:
        """Return in words how the episodes went: the reward in each environment, and how many ended."""
        ended = int(self.done.sum())
        ends = f", {ended} {'episode' if ended == 1 else 'episodes'} ended" if ended else ""
        return f"rewards {self.reward.sum(0).mean():.4g} in all{ends}"

    def at(self, fps: float) -> np.ndarray:
        """Return the frames (K,) that show the motion in real time at `fps` pictures a second."""
        return np.round(np.arange(0.0, self.seconds + 1e-9, 1.0 / fps) / self.scene.dt).astype(int)
