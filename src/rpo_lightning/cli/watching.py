"""`play` and `record`: what is looked at, by whom it is moved, and their options."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import ActionYesNo

from rpo_lightning import console, policies, pretrained
from rpo_lightning.interrupts import Interrupted
from rpo_lightning.run_folder import newest_checkpoint

if TYPE_CHECKING:
    from rpo_lightning.cli.session import RPOCLI
    from rpo_lightning.view.acting import Act
    from rpo_lightning.view.live import Live

__all__ = ["add_options", "play", "record", "with_task"]


def with_task(command: str, options: list[str]) -> list[str]:
    """Return the options in full: `play ant` names a task, and needs no configuration; `--follow RUN` names a run.

    Raises:
        ValueError: if a task is named beside a configuration or a checkpoint, or a run has no configuration yet.
    """
    given = {option.partition("=")[0] for option in options}
    if run := _value(options, "--follow"):
        if not (config := Path(run) / "config.yaml").is_file():
            raise ValueError(f"{run} is no run folder: there is no {config}.")
        return [*options, *(() if given & {"-c", "--config"} else ("--config", str(config)))]
    sources = given & {"-c", "--config", "--ckpt_path"}
    if options and not options[0].startswith("-"):
        task, *options = options
        if sources:
            raise ValueError(
                f"{command} {task}: {', '.join(sorted(sources))} names a task already, so leave one of them out."
            )
        if task in pretrained.names() and (_value(options, "--actions") or "policy") == "policy":
            return [*options, f"--ckpt_path={task}"]
        options = [f"--data.env={task}", *options]
    if not sources and "--model" not in given and not given & {"-h", "--help"}:
        options = [*options, "--model=RPO", "--model.init_args.total_env_steps=1"]
    return options


def _value(options: list[str], name: str) -> str | None:
    for option, following in zip(options, [*options, ""][1:], strict=True):
        if option.partition("=")[0] == name:
            return option.partition("=")[2] or following
    return None


def add_options(parser: Any, command: str) -> None:
    """Add the options of `play` or `record`."""
    parser.add_argument(
        "--actions", type=str, default=None,
        help="policy, zero or random; by default the policy of --ckpt_path, random without one.",
    )  # fmt: skip
    parser.add_argument(
        "--deterministic", action=ActionYesNo, nargs="?", default=True,
        help="Act with the policy's mode, not a sample.",
    )  # fmt: skip
    parser.add_argument("--num_envs", type=int, default=1, help="Environments: in tiles of a film, to choose from in play.")
    parser.add_argument(
        "--azimuth", type=float, default=115.0, help="Direction the camera looks in [deg]; 90: x to the right."
    )
    parser.add_argument("--elevation", type=float, default=-18.0, help="Its slope [deg]; -90: from above.")
    parser.add_argument("--distance", type=float, default=2.6, help="Its distance, in units of the robot's size.")
    if command == "record":
        parser.add_argument("--output", type=str, default=None, help="File to write: .mp4, .gif, .html or .npz.")
        parser.add_argument("--seconds", type=float, default=8.0, help="Length of the film.")
        parser.add_argument("--size", type=list[int], default=[640, 480], help="Width and height [pixels].")
        parser.add_argument("--fps", type=float, default=None, help="Pictures a second; at most 30 by default, of a GIF 25.")
        parser.add_argument("--still", action=ActionYesNo, nargs="?", default=False, help="Do not follow the robot.")
    else:
        parser.add_argument(
            "--viewer", type=str, default=None, help="native (MuJoCo's window) or web; by default what the display allows."
        )
        parser.add_argument("--port", type=int, default=8080, help="Of the web viewer.")
        parser.add_argument(
            "--host", type=str, default="127.0.0.1", help="Address it answers at; 0.0.0.0: from other machines too."
        )
        parser.add_argument(
            "--follow", type=str | None, default=None, help="A run folder whose newest checkpoint acts, as it is written."
        )


def record(cli: RPOCLI) -> None:
    """Film what happens and write it to a file."""
    from rpo_lightning.view.camera import Camera
    from rpo_lightning.view.filming import check_output, check_size, film, write_film

    config = cli.config
    path = Path(config["output"] or f"{cli.datamodule.env_name.replace('/', '_')}.mp4")
    size = check_size(config["size"])
    check_output(path)
    if config["seconds"] <= 0.0:
        raise ValueError(f"--seconds must be above 0, not {config['seconds']:g}.")
    if config["fps"] is not None and config["fps"] <= 0.0:
        raise ValueError(f"--fps must be above 0, not {config['fps']:g}.")
    camera = Camera(config["azimuth"], config["elevation"], config["distance"], not config["still"])
    with _environment(cli) as env:
        act, who = _acting(cli, env)
        frames = film(env, act, config["seconds"])
    write_film(path, frames, config["fps"], size, camera)
    console.say(f"{path}: {config['seconds']:g} s of {cli.datamodule.env_name}, {who}; {frames.told()}")


def play(cli: RPOCLI) -> None:
    """Show it while it happens, until the window is closed or Ctrl-C."""
    from rpo_lightning.view.camera import Camera
    from rpo_lightning.view.live import Live
    from rpo_lightning.view.native import KEYS, NativeViewer
    from rpo_lightning.view.web import WebViewer

    config = cli.config
    kind = config["viewer"] or ("native" if has_display() else "web")
    if kind not in ("native", "web"):
        raise ValueError(f"--viewer must be native or web, not {kind!r}.")
    if kind == "native" and not has_display():
        raise ValueError("--viewer native opens a window, but there is no display; --viewer web works over SSH too.")
    camera = Camera(config["azimuth"], config["elevation"], config["distance"])
    with _environment(cli) as env:
        act, who = _acting(cli, env)
        live = Live(env, act, config["seed_everything"])
        viewer: NativeViewer | WebViewer
        if kind == "native":
            viewer = NativeViewer(live, camera)
            where = "keys: " + ", ".join(f"{'space' if key == ' ' else key} {does}" for key, does in KEYS.items())
        else:
            viewer = WebViewer(live, config["port"], config["host"], camera)
            where = f"{viewer.url} (Ctrl-C ends it)"
        console.say(f"{cli.datamodule.env_name}, {who}: {where}")
        try:
            follows = config["follow"] and config["actions"] in (None, "policy")
            viewer.run(refresh=_Newest(cli, live).load if follows else lambda: "")
        except Interrupted:  # the way to end it
            pass
        finally:
            viewer.close()


def has_display() -> bool:
    """Tell whether a window can be opened."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class _Newest:
    """Lets the newest checkpoint of a run act, as it is written."""

    def __init__(self, cli: RPOCLI, live: Live) -> None:
        self._cli, self._live = cli, live
        self._run, self._written = Path(cli.config["follow"]), 0

    def load(self) -> str:
        """Load what is new; return which training step acts."""
        path = newest_checkpoint(self._run)
        if path is None:
            return "(no checkpoint yet)"
        if (written := path.stat().st_mtime_ns) != self._written:
            self._written = written
            policies.load_weights(self._cli.model, path)
            env, config = self._live.env, self._cli.config
            self._live.act = self._cli.model.player(
                env.num_envs, config["deterministic"], torch.Generator().manual_seed(config["seed_everything"])
            )
        return f"after {self._cli.model.env_steps:,} steps".replace(",", " ")


@contextlib.contextmanager
def _environment(cli: RPOCLI) -> Iterator[Any]:
    count = cli.config["num_envs"]
    if count < 1:
        raise ValueError(f"--num_envs must be at least 1, not {count}.")
    with contextlib.closing(cli.model.make_env(num_envs=count, seed=cli.config["seed_everything"])) as env:
        yield env


def _acting(cli: RPOCLI, env: Any) -> tuple[Act, str]:
    """Return who acts, and the words for it."""
    from rpo_lightning.view.acting import acting

    config = cli.config
    checkpoint = cli.checkpoint or (newest_checkpoint(Path(run)) if (run := config.get("follow")) else None)
    kind = config["actions"] or ("policy" if checkpoint or config.get("follow") else "random")
    if kind == "policy" and checkpoint is not None:
        policies.load_weights(cli.model, checkpoint)
        cli.model.to(env.device)
    known = checkpoint is not None or config.get("follow")
    who = cli.model if kind == "policy" and known else kind
    act = acting(who, env, config["deterministic"], config["seed_everything"])
    return act, f"actions of {checkpoint}" if kind == "policy" else f"{kind} actions"
