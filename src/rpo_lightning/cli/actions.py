"""What the commands do with the model, the data and the driver that have been built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpo_lightning import console, files, policies, processes, runs
from rpo_lightning.callbacks import Evaluation, Evidence
from rpo_lightning.claim import claimed
from rpo_lightning.cli import watching
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.trajectories import record

if TYPE_CHECKING:
    from rpo_lightning.cli.session import RPOCLI

__all__ = ["ACTIONS", "is_complete"]


def is_complete(cli: RPOCLI) -> bool:
    """Tell whether there is nothing left to train of a run, which is said and published then."""
    run: runs.Run = cli.model.run
    done = cli.checkpoint_files.env_steps
    if not (run.directory / "summary.json").exists() or done < cli.model.total_env_steps:
        return False
    console.say(f"{run.directory} is complete: {done} environment steps, see summary.json in it.")
    driver: Any = cli.trainer
    for callback in driver.callbacks:
        if isinstance(callback, Evidence) and processes.is_first_process():
            callback.publish(run)
    return True


def _train(cli: RPOCLI) -> None:
    if is_complete(cli):
        return
    run: runs.Run = cli.model.run
    driver: Any = cli.trainer
    alone = processes.is_first_process() and not cli.config["trainer"]["fast_dev_run"]
    with claimed(run.directory) if alone else contextlib.nullcontext():
        if isinstance(driver, FabricDriver):
            driver.fit(cli.checkpoint)
        else:
            driver.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.checkpoint)
    if driver.is_global_zero and cli.announcement is not None:
        cli.announcement.say_end(driver, cli.model)


def _load_policy(cli: RPOCLI) -> None:
    if cli.checkpoint is None:
        raise ValueError(
            f"{cli.command} needs --ckpt_path: a checkpoint, a policy.pt, or last or best of {cli.model.run.directory}."
        )
    policies.load_weights(cli.model, cli.checkpoint)


def _evaluate(cli: RPOCLI) -> None:
    _load_policy(cli)
    trainer: Any = cli.trainer
    getattr(trainer, cli.command)(cli.model, datamodule=cli.datamodule)
    if trainer.is_global_zero:
        evaluation = next(callback for callback in trainer.callbacks if isinstance(callback, Evaluation))
        print(files.as_json(evaluation.results))
        if broken := max(int(result["broken"]) for result in evaluation.results.values()):
            console.fail(
                f"{broken} of {evaluation.episodes} episodes broke: something in them was not finite. "
                f"The figures are of the others.",
                code=1,
            )


def _predict(cli: RPOCLI) -> None:
    _load_policy(cli)
    cli.model.to(cli.trainer.strategy.root_device)
    path, episodes = Path(cli.config["output"]), cli.config["episodes"]
    trajectories = record(cli.model, cli.model.make_env, episodes, cli.config["deterministic"])
    trajectories.save(path)
    console.say(f"{episodes} trajectories in {path}: mean return {trajectories.mean_return():.4g}.")


ACTIONS: dict[str, Callable[[RPOCLI], None]] = {
    "fit": _train,
    "fabric": _train,
    "validate": _evaluate,
    "test": _evaluate,
    "play": watching.play,
    "record": watching.record,
    "predict": _predict,
}
