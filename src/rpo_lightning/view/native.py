"""MuJoCo's own window, where there is a display."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Any

from rpo_lightning.view.camera import Camera
from rpo_lightning.view.live import Live
from rpo_lightning.view.stage import Stage

__all__ = ["KEYS", "NativeViewer"]

KEYS = {
    " ": "pause or go on",
    "S": "one step",
    "R": "reset",
    "N": "the next environment",
    "P": "push",
    "F": "follow the robot or stay",
    "-": "half the speed",
    "=": "twice the speed",
}
"""What keys do in the window; mouse and other keys are MuJoCo's."""

_PICTURES_S = 1.0 / 60.0


class NativeViewer:
    """Show environments in MuJoCo's window while they run.

    Args:
        live: what runs.
        camera: where from.
        launch: `mujoco.viewer.launch_passive`, or what takes its place.

    Raises:
        RuntimeError: where no window can be opened.
    """

    def __init__(self, live: Live, camera: Camera | None = None, launch: Callable[..., Any] | None = None) -> None:
        if launch is None:
            from mujoco.viewer import launch_passive

            launch = launch_passive
        self.live, self._camera, self._launch = live, camera or Camera(), launch
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()  # the window has a thread of its own
        self._open()

    def run(self, going_on: Callable[[], bool] = lambda: True, refresh: Callable[[], str] = lambda: "") -> None:
        """Run in real time until the window is closed, or as long as `going_on` says; `refresh` is called once a second."""
        last = told = time.perf_counter()
        refresh()
        while self._window.is_running() and going_on():
            now = time.perf_counter()
            while not self._keys.empty():
                self._obey(self._keys.get())
            self.live.run(now - last)
            last = now
            if now - told > 1.0:
                refresh()
                told = now
            self._place()
            time.sleep(max(0.0, _PICTURES_S - (time.perf_counter() - now)))

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _open(self) -> None:
        """Open a window with the scene as it is."""
        scene = self.live.drawing.scene
        self._stage, self._bodies = Stage(scene), len(scene.bodies)
        self._window = self._launch(
            self._stage.model, self._stage.data, key_callback=lambda code: self._keys.put(chr(code)),
            show_left_ui=False, show_right_ui=False,
        )  # fmt: skip
        eye = self._window.cam
        eye.azimuth, eye.elevation = self._camera.azimuth, self._camera.elevation
        eye.distance = self._camera.radius(scene)
        eye.lookat[:] = scene.centre
        self._looked_at = scene.centre.copy()

    def _place(self) -> None:
        """Put the bodies where they are, and take the camera along by as far as the robot has gone."""
        live = self.live
        poses = live.drawing.poses(live.env)[live.shown]
        if len(poses) > self._bodies:  # a window keeps the model that it was opened with
            self._window.close()
            self._open()
        lookat = self._camera.lookat(live.drawing.scene, poses)
        with self._window.lock():
            self._stage.put(poses, lookat)
            self._window.cam.lookat[:] += lookat - self._looked_at
        self._looked_at = lookat
        self._window.sync()

    def _obey(self, key: str) -> None:
        live = self.live
        does: dict[str, Callable[[], Any]] = {
            " ": lambda: setattr(live, "paused", not live.paused),
            "S": self._one_step,
            "R": live.reset,
            "N": lambda: live.show(live.shown + 1),
            "P": live.push,
            "F": lambda: setattr(self._camera, "follow", not self._camera.follow),
            "-": lambda: setattr(live, "speed", live.speed / 2.0),
            "=": lambda: setattr(live, "speed", live.speed * 2.0),
        }
        does.get(key, lambda: None)()

    def _one_step(self) -> None:
        self.live.paused = True
        self.live.step()
