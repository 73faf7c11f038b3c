"""A viewer in the browser, which works over SSH and in a notebook."""

from __future__ import annotations

import contextlib
import io
import math
import queue
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rpo_lightning.view.camera import Camera
from rpo_lightning.view.live import Live
from rpo_lightning.view.scene import WORLD
from rpo_lightning.view.stage import floor_of, tile_of
from rpo_lightning.view.triangles import surfaces

__all__ = ["WebViewer"]

_ROOM = 1.4  # further away than in a film: the controls cover a third of the page
_PICTURES_S = 1.0 / 30.0
_PLOTS_S = 0.25
_POINTS = 200  # of a plot
_SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")


class WebViewer:
    """Serve a page that shows environments while they run.

    Attributes: `url` of the page, `live` what runs.

    Args:
        live: what runs.
        port: of the page; the next free one is taken.
        host: address it answers at; "0.0.0.0" lets other machines in.
        camera: where from.

    Raises:
        ValueError: if the machine has no such address or port. ImportError: in one line, without viser.
    """

    def __init__(self, live: Live, port: int = 8080, host: str = "127.0.0.1", camera: Camera | None = None) -> None:
        self.live, self._camera = live, camera or Camera()
        _check_address(host, port)
        with contextlib.redirect_stdout(io.StringIO()):  # its own announcement: ours says more
            self._server = _viser().ViserServer(host=host, port=port, label=live.drawing.scene.name, verbose=False)
        self.url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{self._server.get_port()}"
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._names, self._units = _names(live.env)
        self._placed: np.ndarray | None = None
        self._build_scene()
        self._build_controls()
        self._tell("")
        self._place()

    def run(self, going_on: Callable[[], bool] = lambda: True, refresh: Callable[[], str] = lambda: "") -> None:
        """Run in real time as long as `going_on` says; `refresh` is called once a second and returns a note to show."""
        last = told = plotted = time.perf_counter()
        note, said = refresh(), (-1.0, 0, False, "")
        while going_on():
            now = time.perf_counter()
            while not self._todo.empty():  # what was clicked, in the thread that owns the environments
                self._todo.get()()
            self.live.run(now - last)
            last = now
            if now - told > 1.0:
                note, told = refresh(), now
            self._place()
            if now - plotted > _PLOTS_S and (told_of := (self.live.time, self.live.steps, self.live.paused, note)) != said:
                self._tell(note)
                plotted, said = now, told_of
            time.sleep(max(0.0, _PICTURES_S - (time.perf_counter() - now)))

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()

    # ---- what is seen --------------------------------------------------------------------------------------------

    def _build_scene(self) -> None:
        scene, server = self.live.drawing.scene, self._server
        server.scene.set_up_direction("+z")
        # the world is moved under the camera, so that one can turn about a robot that runs away
        self._world = server.scene.add_frame("/world", show_axes=False)
        tile, floor = tile_of(scene), floor_of(scene)
        server.scene.add_grid(
            "/world/floor", infinite_grid=True, cell_size=tile, section_size=5.0 * tile, position=(0.0, 0.0, floor),
            fade_distance=30.0 * scene.extent, plane_color=(214, 220, 228), plane_opacity=1.0,
            cell_color=(176, 186, 199), section_color=(140, 152, 168), shadow_opacity=0.35,
        )  # fmt: skip
        self._frames: list[Any] = []
        self._add_bodies(WORLD)
        camera, azimuth, slope = self._camera, *np.deg2rad([self._camera.azimuth, self._camera.elevation])
        away = np.array([math.cos(slope) * math.cos(azimuth), math.cos(slope) * math.sin(azimuth), math.sin(slope)])
        server.initial_camera.position = scene.centre - _ROOM * camera.radius(scene) * away
        server.initial_camera.look_at = scene.centre
        server.initial_camera.fov = math.radians(45.0)
        server.initial_camera.near, server.initial_camera.far = 0.01 * scene.extent, 200.0 * scene.extent

    def _add_bodies(self, first: int) -> None:
        """Add the bodies from `first` on, `WORLD` or an index, with their shapes."""
        scene, added = self.live.drawing.scene, self._server.scene
        names = [f"/world/{index} {name}" for index, name in enumerate(scene.bodies)]
        self._frames += [added.add_frame(name, show_axes=False) for name in names[max(first, 0) :]]
        for index, surface in enumerate(surfaces(scene)):
            if surface.body >= first:
                parent = "/world" if surface.body == WORLD else names[surface.body]
                added.add_mesh_simple(
                    f"{parent}/shape {index}", surface.vertices.astype(np.float32), surface.faces,
                    color=tuple(int(255 * x) for x in surface.rgba[:3]), side="double",
                    opacity=None if surface.rgba[3] >= 1.0 else float(surface.rgba[3]),
                )  # fmt: skip

    def _place(self) -> None:
        """Put the bodies where they are."""
        live = self.live
        poses = live.drawing.poses(live.env)[live.shown]
        if len(poses) > len(self._frames):
            self._add_bodies(len(self._frames))
        moved = self._camera.lookat(live.drawing.scene, poses) - live.drawing.scene.centre
        if self._placed is not None and np.array_equal(self._placed, np.append(poses, moved)):
            return  # the browser rests where nothing moves
        self._placed = np.append(poses, moved)
        with self._server.atomic():
            self._world.position = -moved
            for frame, pose in zip(self._frames, poses, strict=True):
                frame.position, frame.wxyz = pose[:3], pose[3:]

    # ---- controls ------------------------------------------------------------------------------------------------

    def _build_controls(self) -> None:
        gui, live = self._server.gui, self.live
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self._status = gui.add_markdown("")
        self._pause = gui.add_button("Pause")
        self._on(self._pause, self._toggle)
        self._on(gui.add_button("One step"), self._one_step)
        self._on(gui.add_button("Reset"), live.reset)
        self._on(gui.add_button("Push"), lambda: live.push(self._strength.value))
        self._strength = gui.add_slider("Push by [m/s]", min=0.1, max=5.0, step=0.1, initial_value=1.0)
        speed = gui.add_dropdown("Speed", _SPEEDS, initial_value="1")
        self._on(speed, lambda: setattr(live, "speed", float(speed.value)))
        if live.drawing.scene.base is not None:
            follow = gui.add_checkbox("Follow the robot", self._camera.follow)
            self._on(follow, lambda: setattr(self._camera, "follow", follow.value))
        if live.env.num_envs > 1:
            chosen = gui.add_dropdown("Environment", [str(i) for i in range(live.env.num_envs)])
            self._on(chosen, lambda: self._show(int(chosen.value)))
        self._sliders: list[Any] = []
        if getattr(live.env, "target_dim", 0):
            self._build_targets()
        with gui.add_folder("Reward"):
            self._terms = gui.add_markdown("")
            self._reward_plot = self._plot("reward")
        with gui.add_folder("Observation"):
            self._watched = gui.add_dropdown("Plotted", self._names)
            self._on(self._watched, lambda: None)
            self._observation_plot = self._plot("value")
        with gui.add_folder("All observations", expand_by_default=False):
            self._table = gui.add_markdown("")

    def _build_targets(self) -> None:
        low, high = self.live.target_range()
        with self._server.gui.add_folder("Target"):
            ends = zip(self.live.target_names(), low.tolist(), high.tolist(), strict=True)
            for index, (name, least, most) in enumerate(ends):
                start = float(np.clip(self.live.target[index], least, most))
                self._sliders.append(self._server.gui.add_slider(name, least, most, (most - least) / 200.0, start))
        for slider in self._sliders:
            slider.on_update(lambda event: self._todo.put(self._aim) if event.client is not None else None)

    def _plot(self, label: str) -> Any:
        nothing = np.zeros(2)
        return self._server.gui.add_uplot(
            (nothing, nothing), ({"label": "s"}, {"label": label, "stroke": "#d9822b", "width": 2}),
            scales={"x": {"time": False}}, aspect=2.2,
        )  # fmt: skip

    def _on(self, handle: Any, does: Callable[[], Any]) -> None:
        """Let a control do something, in the thread of `run`."""
        hear = handle.on_click if hasattr(handle, "on_click") else handle.on_update
        hear(lambda _: self._todo.put(does))

    def _toggle(self) -> None:
        self.live.paused = not self.live.paused
        self._pause.label = "Run" if self.live.paused else "Pause"

    def _one_step(self) -> None:
        if not self.live.paused:
            self._toggle()
        self.live.step()

    def _show(self, index: int) -> None:
        self.live.show(index)
        self._move_sliders()

    def _aim(self) -> None:
        self.live.aim(np.array([slider.value for slider in self._sliders]))

    def _move_sliders(self) -> None:
        for slider, value in zip(self._sliders, self.live.target, strict=False):
            slider.value = float(np.clip(value, slider.min, slider.max))

    def _tell(self, note: str) -> None:
        """Show time, return, terms of the reward, and the plots."""
        live = self.live
        seconds = live.steps * live.dt
        lines = [f"**{live.drawing.scene.name}** {note}".strip()]
        lines.append(f"{seconds:.2f} s, step {live.steps}, return {live.total:.5g}{', paused' if live.paused else ''}")
        self._status.content = "  \n".join(lines)
        self._terms.content = "  \n".join(f"{name}: {value:.4g}" for name, value in live.terms.items()) or " "
        rows = zip(self._names, live.observation, self._units, strict=True)
        self._table.content = "\n".join(
            ["| observation | value | unit |", "| --- | ---: | --- |", *(f"| {n} | {x:.3f} | {u} |" for n, x, u in rows)]
        )
        if len(live.history) > 1:
            times, rewards, observations = map(np.array, zip(*live.history, strict=True))
            every = max(1, len(times) // _POINTS)
            watched = observations[::every, self._names.index(self._watched.value)].astype(float)
            self._reward_plot.data = times[::every], rewards[::every]
            self._observation_plot.data = times[::every], watched
        if self._sliders and not live.holds_target:
            self._move_sliders()


def _names(env: Any) -> tuple[list[str], list[str]]:
    """Return names, each with its index, and units of the observation's entries."""
    if hasattr(env, "observation_table"):
        rows = env.observation_table()
        return [f"{i} {row.name}" for i, row in enumerate(rows)], [row.unit for row in rows]
    return [str(i) for i in range(env.obs_dim)], [""] * env.obs_dim


def _check_address(host: str, port: int) -> None:
    """Refuse what can never be served at: viser would wait for ever."""
    if not 0 <= port < 2**16:
        raise ValueError(f"--port must be from 0 to 65535, not {port}.")
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ValueError(
            f"--host {host}: this machine has no such address ({error.strerror}). 127.0.0.1 is for itself alone, "
            "0.0.0.0 for other machines too."
        ) from error


def _viser() -> Any:
    """Return the library that serves the page.

    Raises:
        ImportError: in one line, without it.
    """
    try:
        import viser
    except ImportError as error:
        raise ImportError('the viewer in the browser needs viser: pip install "rpo-lightning[view]"') from error
    return viser
