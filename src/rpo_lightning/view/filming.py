"""From an environment to its frames, and from frames to a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpo_lightning.files import write_atomically
from rpo_lightning.view.acting import Act, forget
from rpo_lightning.view.camera import Camera
from rpo_lightning.view.drawing import OUT_OF_SIGHT, Drawing
from rpo_lightning.view.renderer import Renderer, check_renderer
from rpo_lightning.view.replay import replay
from rpo_lightning.view.scene import Frames

__all__ = ["SUFFIXES", "check_output", "check_size", "film", "pictures", "write_film"]

SUFFIXES = (".mp4", ".gif", ".html", ".npz")
_GIF_FPS, _GIF_LEAST = 25.0, 2  # a GIF counts hundredths of a second, and browsers slow down what is faster than 50
_MP4_FPS = 30.0
_COLOURS = 128


@torch.no_grad()
def film(env: Any, act: Act, seconds: float) -> Frames:
    """Return what is seen of an environment from its present state on; episodes that end begin anew.

    Raises:
        ValueError: for an environment of which nothing can be drawn.
    """
    drawing = Drawing(env)
    obs = env.detach()
    nothing = torch.zeros(env.num_envs)
    rows: list[tuple[Any, ...]] = [(drawing.poses(env), nothing, nothing.bool(), torch.zeros(env.num_envs, env.action_dim))]
    for _ in range(max(1, round(seconds / drawing.scene.dt))):
        action = act(obs)
        step = env.step(action)
        ended = step.terminated | step.truncated
        rows.append((drawing.poses(env), step.reward.cpu(), ended.cpu(), action.cpu()))
        forget(act, ended)
        obs = step.obs
    poses, *others = zip(*rows, strict=True)
    reward, done, actions = (torch.stack(column).numpy() for column in others)
    return Frames(drawing.scene, _stacked(poses), reward, done, actions)


def _stacked(poses: Sequence[np.ndarray]) -> np.ndarray:
    """Return poses (T, N, B, 7) of poses (N, B or fewer, 7): bodies that came later are out of sight before."""
    stacked = np.tile(np.array([*OUT_OF_SIGHT, 1.0, 0.0, 0.0, 0.0]), (len(poses), *poses[-1].shape[:2], 1))
    for frame, placed in zip(stacked, poses, strict=True):
        frame[:, : placed.shape[1]] = placed
    return stacked


def pictures(
    frames: Frames, fps: float, size: tuple[int, int] = (640, 480), camera: Camera | None = None, **quality: int
) -> Iterator[np.ndarray]:
    """Yield pictures (height, width, 3) uint8, `fps` for each second, the environments side by side.

    Args:
        frames: what is seen.
        fps: pictures a second.
        size: (width, height) [pixels].
        camera: where from.
        quality: `samples` and `shadows` of `Stage`.

    Raises:
        ImportError: if this machine has no way to draw without a display.
    """
    with Renderer(frames.scene, frames.poses.shape[1], size, camera, **quality) as renderer:
        for index in frames.at(fps):
            yield renderer.picture(frames.poses[index])


def check_output(path: Path) -> None:
    """Check that a film can be written to a file of this name, before anything is simulated.

    Raises:
        ValueError: for an ending that is none of `SUFFIXES`. ImportError: if a library or a way to draw is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a film is written to {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not to {path}")
    if path.suffix in (".mp4", ".gif"):
        _check_libraries()
        check_renderer()


def check_size(size: Sequence[int]) -> tuple[int, int]:
    """Return width and height of a film.

    Raises:
        ValueError: if they are not two even numbers of at least 16 pixels, which encoders ask for.
    """
    if len(size) != 2 or min(size) < 16 or any(length % 2 for length in size):
        raise ValueError(f"the size of a film must be two even numbers of at least 16 pixels, not {list(size)}")
    return size[0], size[1]


def write_film(
    path: Path,
    frames: Frames,
    fps: float | None = None,
    size: tuple[int, int] = (640, 480),
    camera: Camera | None = None,
    **quality: int,
) -> None:
    """Write frames by the ending of `path`: .mp4, .gif, .html (a replay in three dimensions) or .npz (poses).

    Args:
        path: of the file.
        frames: what is seen.
        fps: pictures a second, of which as many are taken as make real time; None: at most 30, of a GIF 25. A GIF has the
            nearest rate that it can say: 50, 33.3, 25, 20, ...
        size: (width, height) [pixels].
        camera: where from.
        quality: `samples` and `shadows` of `Stage`.

    Raises:
        ValueError, ImportError: as `check_output`.
    """
    check_output(path)
    if path.suffix == ".html":
        write_atomically(path, lambda temporary: temporary.write_text(replay(frames, camera)))
    elif path.suffix == ".npz":
        write_atomically(path, lambda temporary: _write_poses(temporary, frames))
    else:
        most = _GIF_FPS if path.suffix == ".gif" else _MP4_FPS
        rate = fps or min(most, 1.0 / frames.scene.dt)
        if path.suffix == ".gif":
            rate = 100.0 / max(_GIF_LEAST, round(100.0 / rate))
        write = _write_gif if path.suffix == ".gif" else _write_mp4
        drawn = pictures(frames, rate, size, camera, **quality)
        write_atomically(path, lambda temporary: write(temporary, drawn, rate))


def _write_mp4(path: Path, drawn: Iterator[np.ndarray], fps: float) -> None:
    from imageio_ffmpeg import write_frames

    first = next(drawn)
    size = first.shape[1], first.shape[0]
    # the file has no ending yet by which the container could be known
    writer = write_frames(path, size, fps=fps, quality=7, macro_block_size=2, output_params=["-f", "mp4"])
    writer.send(None)
    try:
        for picture in itertools.chain([first], drawn):
            writer.send(np.ascontiguousarray(picture))
    finally:
        writer.close()


def _write_gif(path: Path, drawn: Iterator[np.ndarray], fps: float) -> None:
    """Write a GIF whose pictures share one palette, so that what does not change costs nothing and does not flicker."""
    from PIL import Image

    first = next(drawn)
    palette = Image.fromarray(first).quantize(_COLOURS, dither=Image.Dither.NONE)
    flat = [
        Image.fromarray(each).quantize(palette=palette, dither=Image.Dither.NONE) for each in itertools.chain([first], drawn)
    ]
    duration = round(100.0 / fps) * 10
    flat[0].save(path, format="GIF", save_all=True, append_images=flat[1:], duration=duration, loop=0, optimize=False)


def _write_poses(path: Path, frames: Frames) -> None:
    scene = frames.scene
    with path.open("wb") as file:
        np.savez_compressed(
            file, poses=frames.poses.astype(np.float32), bodies=np.array(scene.bodies), dt=scene.dt,
            reward=frames.reward, done=frames.done, action=frames.action,
        )  # fmt: skip


def _check_libraries() -> None:
    """Check that what encodes films is there.

    Raises:
        ImportError: in one line, if it is not.
    """
    if missing := [name for name in ("PIL", "imageio_ffmpeg") if find_spec(name) is None]:
        raise ImportError(
            f'films as .mp4 or .gif need {" and ".join(missing)}: pip install "rpo-lightning[view]"; .html and .npz do not'
        )
