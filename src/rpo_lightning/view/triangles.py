"""Shapes as triangles, for what draws in a browser."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rpo_lightning.view.rotations import turned
from rpo_lightning.view.scene import Scene, Shape

__all__ = ["Surface", "surfaces", "triangles"]

_AROUND, _ALONG = 24, 6  # facets of a circle, and of a quarter of one
_ENDLESS = 10.0  # half width of a plane without end [m]


class Surface(NamedTuple):
    """All of one colour on a body: vertices (V, 3) in its frame, normals (V, 3), faces (F, 3), rgba (4,)."""

    body: int
    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    rgba: np.ndarray


def surfaces(scene: Scene) -> list[Surface]:
    """Return the shapes of a scene as triangles, one surface for each body and colour; what one can see through is last."""
    groups: dict[tuple[int, bytes], list[Shape]] = {}
    for shape in scene.shapes:
        groups.setdefault((shape.body, shape.rgba.tobytes()), []).append(shape)
    found = [_joined(body, shapes) for (body, _), shapes in groups.items()]
    return sorted(found, key=lambda surface: surface.rgba[3] < 1.0)


def triangles(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices (V, 3), normals (V, 3) and faces (F, 3) of a shape in its own frame."""
    x, y = shape.size[:2]
    if shape.kind in ("box", "plane", "mesh"):
        corners, faces = shape.vertices, shape.faces
        if shape.kind == "box":
            corners, faces = _box(shape.size)
        elif shape.kind == "plane":
            a, b = x or _ENDLESS, y or _ENDLESS
            corners = np.array([[-a, -b, 0.0], [a, -b, 0.0], [a, b, 0.0], [-a, b, 0.0]])
            faces = np.array([[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0]])
        return _flat(corners, faces)
    if shape.kind == "cylinder":
        profile = [(0.0, -y, 0, -1), (x, -y, 0, -1), (x, -y, 1, 0), (x, y, 1, 0), (x, y, 0, 1), (0.0, y, 0, 1)]
        return _turned_on_lathe(np.array(profile))
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 2 * _ALONG + 1)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if shape.kind == "capsule":
        lower, upper = arc[: _ALONG + 1], arc[_ALONG:]
        ends = np.concatenate([x * lower - [0.0, y], x * upper + [0.0, y]])
        return _turned_on_lathe(np.concatenate([ends, np.concatenate([lower, upper])], axis=1))
    vertices, normals, faces = _turned_on_lathe(np.concatenate([arc, arc], axis=1))
    radii = np.array([x, x, x]) if shape.kind == "sphere" else shape.size
    scaled = normals / radii
    return vertices * radii, scaled / np.linalg.norm(scaled, axis=1, keepdims=True), faces


def _joined(body: int, shapes: list[Shape]) -> Surface:
    vertices, normals, faces, count = [], [], [], 0
    for shape in shapes:
        points, directions, corners = triangles(shape)
        vertices.append(turned(shape.quat, points) + shape.pos)
        normals.append(turned(shape.quat, directions))
        faces.append(corners + count)
        count += len(points)
    return Surface(body, np.concatenate(vertices), np.concatenate(normals), np.concatenate(faces), shapes[0].rgba)


def _turned_on_lathe(profile: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn a line (P, 4) of radius, height and the normal's radius and height about z."""
    angles = np.linspace(0.0, 2.0 * np.pi, _AROUND + 1)
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def around(radius: np.ndarray, height: np.ndarray) -> np.ndarray:
        return np.stack([c * radius, s * radius, np.broadcast_to(height, (len(angles), len(profile)))], axis=-1).reshape(
            -1, 3
        )

    vertices, normals = around(profile[:, 0], profile[:, 1]), around(profile[:, 2], profile[:, 3])
    first = (np.arange(_AROUND)[:, None] * len(profile) + np.arange(len(profile) - 1)).ravel()
    right = first + len(profile)
    lower, upper = np.stack([first, right, right + 1], axis=1), np.stack([first, right + 1, first + 1], axis=1)
    return vertices, normals, np.concatenate([lower, upper])


def _box(size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[i, j, k] for i in (-1.0, 1.0) for j in (-1.0, 1.0) for k in (-1.0, 1.0)]) * size
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([face for a, b, c, d in sides for face in ((a, b, c), (a, c, d))])


def _flat(corners: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give every triangle vertices and a normal of its own."""
    points = corners[faces]
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
    return points.reshape(-1, 3), np.repeat(normals, 3, axis=0), np.arange(3 * len(faces)).reshape(-1, 3)
