"""What a task looks like: films, replays in a browser, and viewers that move along.

A `Drawing` reads from an environment's MuJoCo file what is drawn and from its state where it is; `Scene` and `Frames` hold
that without saying how it is drawn, and everything that draws starts from them. What draws is imported when it is asked for.
"""

from __future__ import annotations

from rpo_lightning.lazy import lazily

__all__ = ["Camera", "Drawing", "Frames", "Scene", "Shape", "Viewer", "acting", "film", "pictures", "replay", "write_film"]

_ROOMS = {
    "Camera": "camera",
    "Drawing": "drawing",
    "Frames": "scene",
    "Scene": "scene",
    "Shape": "scene",
    "Viewer": "viewer",
    "acting": "acting",
    "film": "filming",
    "pictures": "filming",
    "replay": "replay",
    "write_film": "filming",
}
__getattr__ = lazily(__name__, {name: f"{__name__}.{room}" for name, room in _ROOMS.items()})
