"""A film in three dimensions as one HTML file that needs nothing else, neither a server nor a network."""

from __future__ import annotations

import base64
import html
import json
from importlib.resources import files

import numpy as np

from rpo_lightning.view.camera import Camera
from rpo_lightning.view.scene import Frames
from rpo_lightning.view.stage import floor_of, tile_of
from rpo_lightning.view.triangles import surfaces

__all__ = ["replay"]

_SPACING = 3.0  # of environments side by side, in units of the robot's size


def replay(frames: Frames, camera: Camera | None = None) -> str:
    """Return the page: play, pause, drag through time, turn, zoom, follow one of the environments."""
    scene, camera = frames.scene, camera or Camera()
    count = frames.poses.shape[1]
    content = {
        "name": scene.name,
        "dt": scene.dt,
        "shape": list(frames.poses.shape[:3]),
        "base": scene.base,
        "centre": scene.centre.tolist(),
        "extent": scene.extent,
        "floor": floor_of(scene),
        "tile": tile_of(scene),
        "hills": scene.hills,
        "offsets": [[0.0, max(_SPACING * scene.extent, scene.hills) * index] for index in range(count)],
        "camera": [camera.azimuth, camera.elevation, camera.radius(scene)],
        "follow": camera.follow,
        "poses": _packed(frames.poses, np.float32),
        "reward": _packed(frames.reward, np.float32),
        "done": _packed(frames.done, np.uint8),
        "surfaces": [
            {
                "body": surface.body,
                "rgba": surface.rgba.tolist(),
                "vertices": _packed(np.concatenate([surface.vertices, surface.normals], axis=1), np.float32),
                "faces": _packed(surface.faces, np.uint32),
            }
            for surface in surfaces(scene)
        ],
    }
    page = files("rpo_lightning.view").joinpath("replay.html").read_text(encoding="utf-8")
    return page.replace("{{NAME}}", html.escape(scene.name)).replace(
        "{{CONTENT}}", json.dumps(content).replace("<", "\\u003c")
    )


def _packed(values: np.ndarray, kind: type) -> str:
    """Return numbers in base 64, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<")).tobytes()).decode("ascii")
