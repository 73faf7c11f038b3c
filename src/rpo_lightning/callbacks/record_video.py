"""Films of the policy while it learns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from rpo_lightning.callbacks.evaluation import EVALUATION_SEED
from rpo_lightning.distributed import rank
from rpo_lightning.event_file import write_summary
from rpo_lightning.interrupts import signals
from rpo_lightning.processes import say
from rpo_lightning.runs import keeps_files, run_of

__all__ = ["RecordVideo"]


class RecordVideo(Callback):
    """Film the policy after evaluations, into the run folder's `videos/` and for TensorBoard and W&B.

    Training waits for it: `time/video` [s] says how long. A film of the usual length and size takes 2.5 to 3 s of one core
    where there is no GPU to draw (Ant, Humanoid), which grows with seconds, fps and num_envs, and little with the size.

    Args:
        every_n_evaluations: one film after so many evaluations; the first has one.
        seconds: length of a film.
        num_envs: environments side by side.
        size: width and height [pixels], even.
        fps: pictures a second.
        deterministic: act with the policy's mode instead of a sample.
        seed: of the starts: the same each time, so that films can be compared.

    Raises:
        ValueError: for a number that makes no sense.
    """

    def __init__(
        self,
        every_n_evaluations: int = 1,
        seconds: float = 3.0,
        num_envs: int = 1,
        size: tuple[int, int] = (240, 180),
        fps: float = 12.5,
        deterministic: bool = True,
        seed: int = EVALUATION_SEED,
    ) -> None:
        super().__init__()
        for name, value in (("every_n_evaluations", every_n_evaluations), ("num_envs", num_envs)):
            if value < 1:
                raise ValueError(f"RecordVideo needs {name} of at least 1, not {value}.")
        if seconds <= 0.0 or fps <= 0.0:
            raise ValueError(f"RecordVideo needs seconds and fps above 0, not {seconds:g} and {fps:g}.")
        self.every_n_evaluations, self.seconds, self.num_envs = every_n_evaluations, seconds, num_envs
        self.size, self.fps, self.deterministic, self.seed = size, fps, deterministic, seed
        self._evaluations = 0
        self._folder: Path | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Try whether the task can be drawn here, before anything has been trained.

        Raises:
            ValueError: if nothing of the task can be drawn. ImportError: if a library or a way to draw is missing.
        """
        from rpo_lightning.view.drawing import Drawing
        from rpo_lightning.view.filming import check_output, check_size

        if stage != "fit" or rank() != 0:
            return
        self.size = check_size(self.size)
        check_output(Path("film.gif"))
        env = pl_module.make_env(num_envs=1, seed=self.seed)
        try:
            Drawing(env)
        finally:
            env.close()
        self._folder = run_of(trainer, pl_module).directory / "videos" if keeps_files(trainer) else None

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Film what has just been evaluated, if it is its turn."""
        self._evaluations += 1
        due = (self._evaluations - 1) % self.every_n_evaluations == 0
        if due and self._folder is not None and not signals.received:
            try:
                self._film(module, self._folder / f"{int(module.env_steps):012d}.gif")
            except Exception as error:  # of a disk, a driver, an encoder: no film is worth a training
                say(f"RecordVideo: {type(error).__name__}: {error}; there are no more films, training goes on.")
                self._folder = None

    def state_dict(self) -> dict[str, Any]:
        """Remember how many evaluations there have been."""
        return {"evaluations": self._evaluations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._evaluations = state_dict["evaluations"]

    def _film(self, module: Any, path: Path) -> None:
        from rpo_lightning.view.acting import acting
        from rpo_lightning.view.filming import film, write_film

        started = time.perf_counter()
        # Lightning validates under inference mode, whose tensors the simulator's in-place updates may not touch later
        with torch.inference_mode(False), torch.no_grad():
            env = module.make_env(num_envs=self.num_envs, seed=self.seed)
            try:
                frames = film(env, acting(module, env, self.deterministic, self.seed + 1), self.seconds)
            finally:
                env.close()
        write_film(path, frames, self.fps, self.size, samples=2, shadows=512)
        for logger in module.loggers:
            _show(logger, path, self.size, int(module.env_steps))
            logger.log_metrics({"time/video": time.perf_counter() - started}, step=int(module.env_steps))


def _show(logger: Any, path: Path, size: tuple[int, int], step: int) -> None:
    """Give a film to a logger that can show it."""
    if isinstance(logger, TensorBoardLogger):
        from tensorboard.compat.proto.summary_pb2 import Summary

        # TensorBoard hands a picture's file on as it is, and a browser plays a GIF
        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=path.read_bytes())
        summary = Summary(value=[Summary.Value(tag="eval/video", image=image)])
        write_summary(logger, summary, step)
    elif hasattr(logger, "log_video"):
        logger.log_video("eval/video", [str(path)], step=step)
