"""Pictures without a display, by MuJoCo's renderer."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import mujoco
import numpy as np

from rpo_lightning.view.camera import Camera
from rpo_lightning.view.scene import Scene
from rpo_lightning.view.stage import Stage

__all__ = ["Renderer", "check_renderer"]

_KINDS = {"Linux": ("egl", "osmesa", "glfw"), "Darwin": ("cgl", "glfw")}


class Renderer:
    """Draw environments side by side in one picture, each in a tile of its own.

    Args:
        scene: of the task.
        count: number of environments N.
        size: (width, height) of the whole picture [pixels].
        camera: where from.
        samples, shadows: of `Stage`.

    Raises:
        ImportError: if this machine has no way to draw without a display.
    """

    def __init__(
        self,
        scene: Scene,
        count: int = 1,
        size: tuple[int, int] = (640, 480),
        camera: Camera | None = None,
        samples: int = 4,
        shadows: int = 1024,
    ) -> None:
        self.size, self.camera, self.scene = size, camera or Camera(), scene
        self._tiles = _tiles(count, size)
        self._stage = Stage(scene, size, samples, shadows)
        self._context = _context(size)
        self._context.make_current()
        model = self._stage.model
        self._drawn = mujoco.MjvScene(model, maxgeom=len(scene.shapes) + 100)
        self._option, self._eye = mujoco.MjvOption(), mujoco.MjvCamera()
        self._eye.azimuth, self._eye.elevation = self.camera.azimuth, self.camera.elevation
        self._eye.distance = self.camera.radius(scene)
        self._gpu = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gpu)

    def picture(self, poses: np.ndarray) -> np.ndarray:
        """Return the picture (height, width, 3) uint8 of environments whose bodies are at poses (N, B, 7)."""
        self._context.make_current()
        for tile, placed in zip(self._tiles, poses, strict=True):
            lookat = self.camera.lookat(self.scene, placed)
            self._stage.put(placed, lookat)
            self._eye.lookat[:] = lookat
            every = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(self._stage.model, self._stage.data, self._option, None, self._eye, every, self._drawn)
            mujoco.mjr_render(tile, self._drawn, self._gpu)
        width, height = self.size
        picture = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, mujoco.MjrRect(0, 0, width, height), self._gpu)
        return picture[::-1]

    def close(self) -> None:
        """Give the graphics memory back."""
        self._gpu.free()
        self._context.free()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_renderer() -> None:
    """Check that pictures can be drawn here.

    Raises:
        ImportError: if not, in one line that says what is missing.
    """
    _context((16, 16)).free()


def _tiles(count: int, size: tuple[int, int]) -> list[mujoco.MjrRect]:
    """Return a rectangle for each of `count` pictures, row by row from the top, in a grid that keeps them wide."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width, height = size[0] // columns, size[1] // rows
    return [
        mujoco.MjrRect(width * (i % columns), size[1] - height * (i // columns + 1), width, height) for i in range(count)
    ]


def _context(size: tuple[int, int]) -> Any:
    """Return an OpenGL context of the first kind that works; MUJOCO_GL names the one to try.

    Raises:
        ImportError: if none does.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    kinds = (wanted,) if wanted in ("egl", "osmesa", "glfw", "cgl") else _KINDS.get(platform.system(), ("glfw",))
    for kind in kinds:
        with contextlib.suppress(Exception), _platform(kind):  # whatever a driver that is not there raises
            return import_module(f"mujoco.{kind}").GLContext(*size)
    raise ImportError(
        f"pictures cannot be drawn here: OpenGL without a display was tried by {', '.join(kinds)}, and none works; "
        "on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6); "
        "to look without pictures: rpo-lightning play, or an output that ends in .html"
    )


@contextlib.contextmanager
def _platform(kind: str) -> Iterator[None]:
    """Let PyOpenGL load what a kind of context needs, also after another kind has failed."""
    before = os.environ.pop("PYOPENGL_PLATFORM", None)
    try:
        yield
    except Exception:
        os.environ.pop("PYOPENGL_PLATFORM", None)
        if before is not None:
            os.environ["PYOPENGL_PLATFORM"] = before
        raise
