"""`rpo-lightning fit | validate | test | predict | fabric | list | check-env`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

# Before torch loads OpenMP: let its threads spin shortly, then sleep. On two cores an update took 12 ms so, beside a second
# training 26 ms; with libgomp's own setting 11 to 18 and 250 ms, with sleep alone 16 and 21 ms.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from lightning import Callback, Trainer
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from rpo_lightning import console, discovery, processes, runs
from rpo_lightning.algorithms import RLModule
from rpo_lightning.callbacks import Evaluation, Evidence, LastAndBest, Progress, RunFolder, StopAtBudget, StopOnSignal
from rpo_lightning.callbacks.nan_guard import NonFiniteError
from rpo_lightning.check_env import command as check_env
from rpo_lightning.checkpoints import CheckpointFiles
from rpo_lightning.event_file import EventFile
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.interrupts import signals
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.run_folder import claimed, write_failure
from rpo_lightning.streams import open_closed_streams
from rpo_lightning.trajectories import record

__all__ = ["RPOCLI", "main"]

COMMANDS = {
    "fit": "Train; continue a run with --ckpt_path last.",
    "validate": "Evaluate a checkpoint or a policy.pt.",
    "test": "The same as validate, calling the test hooks of callbacks.",
    "predict": "Write the trajectories of a policy to a file.",
    "fabric": "Train with Lightning Fabric instead of the Trainer, from the same file.",
    "list": "Show tasks, algorithms, callbacks and presets.",
    "check-env": "Check a task: interface, stability, gradients by finite differences, their growth, speed.",
}

USER_ERRORS = (ValueError, TypeError, RuntimeError, OSError, ImportError, LookupError)

TRAINER_DEFAULTS = {
    "devices": 1,
    "max_epochs": -1,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

FABRIC_OPTIONS = ("accelerator", "strategy", "devices", "num_nodes", "precision")
FABRIC_LIMITS = ("max_epochs", "max_steps", "check_val_every_n_epoch", "limit_train_batches")
FABRIC_USES = {
    *FABRIC_OPTIONS,
    *FABRIC_LIMITS,
    *("callbacks", "logger", "default_root_dir", "enable_checkpointing", "enable_progress_bar", "plugins"),
}


class RPOCLI(LightningCLI):
    """Build model, data and driver from configuration files and options.

    Args:
        command: one of `COMMANDS`, except list and check-env; `run()` carries it out.
        arguments: options, as on the command line after the command.
    """

    def __init__(self, command: str, arguments: list[str]) -> None:
        self.command = command
        self.arguments = arguments
        self.folder: RunFolder | None = None
        self.checkpoint: Path | None = None
        discovery.import_user_callbacks()
        super().__init__(
            RLModule,
            RolloutDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            trainer_defaults=dict(TRAINER_DEFAULTS),
            parser_class=console.FriendlyParser,
            parser_kwargs={
                "allow_abbrev": False,
                "prog": f"rpo-lightning {command}",
                "description": COMMANDS[command],
            },
            args=discovery.find_configs(arguments, command),
            run=False,
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed; unlike Lightning's it is always a number, so that every run can be repeated."""
        parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights, exploration and starts.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what Lightning's parser lacks, and hand dimensions and seed on."""
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="A checkpoint, or last or best of the run folder; validate, test and predict take a policy.pt too.",
        )
        for option in FABRIC_OPTIONS:
            parser.add_argument(
                f"--fabric.{option}",
                type=int | str | None,
                default=None,
                help=f"For the command fabric; default: trainer.{option}.",
            )
        if self.command == "predict":
            parser.add_argument("--output", type=str, default="trajectories.npz", help="File to write: .npz or .pt.")
            parser.add_argument("--episodes", type=int, default=8, help="Number of episodes.")
            parser.add_argument("--deterministic", type=bool, default=False, help="Act with tanh(mean), not a sample.")
        for name in ("obs_dim", "action_dim"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed")

    def before_instantiate_classes(self) -> None:
        """Divide the cores among the processes of this machine; torch would give every process all of them."""
        settings = self._settings()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or processes.process_count(settings["devices"])
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, cores // local))

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the driver with the run folder, the logger and the callbacks every run has."""
        self.datamodule.attach(self.model)
        settings = {**self._settings(), **kwargs}
        run = self._run(settings["default_root_dir"])
        self.model.run = run
        settings["default_root_dir"] = str(run.directory)
        self.checkpoint = self._find_checkpoint(run.directory)
        trains = self.command in ("fit", "fabric")
        if trains and processes.is_first_process() and not settings["fast_dev_run"]:
            runs.check_new_run(run.directory, self.checkpoint, self.command)
        self.checkpoint_files = CheckpointFiles(self.checkpoint if trains else None)
        plugins = settings["plugins"] or []
        settings["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), self.checkpoint_files]
        settings["callbacks"] = self._callbacks(settings, run, trains)
        settings["logger"] = self._loggers(settings["logger"], run.directory, trains)
        settings["enable_checkpointing"] = any(isinstance(c, Checkpoint) for c in settings["callbacks"])
        settings["enable_progress_bar"] = any(isinstance(c, ProgressBar) for c in settings["callbacks"])
        return self._fabric_driver(settings) if self.command == "fabric" else Trainer(**settings)

    def run(self) -> None:
        """Carry out the command."""
        getattr(self, f"_{self.command}")()

    def _settings(self) -> dict[str, Any]:
        """Return the Trainer's arguments, with the layout of processes that torchrun has made."""
        config = getattr(self, "config_init", self.config)
        settings = {**config["trainer"]}
        if self.command == "fabric":
            settings |= {name: value for name, value in {**config["fabric"]}.items() if value is not None}
        # Where nothing else is there, auto means the CPU: the simulation knows no other accelerator than CUDA.
        if settings["accelerator"] == "auto" and not torch.cuda.is_available():
            settings["accelerator"] = "cpu"
        if str(settings["precision"] or "32-true") not in ("32", "32-true"):
            raise ValueError(
                f"trainer.precision is {settings['precision']}, but only 32-true keeps the policy that collects and the "
                f"policy that learns the same; model.init_args.critic_precision=bf16 makes the critics alone faster."
            )
        return processes.match_torchrun(settings)

    def _run(self, directory: str | None) -> runs.Run:
        task, algorithm, seed = self.datamodule.env_name, self.model.name, self.config["seed_everything"]
        config = self.config.clone()
        for name in ("config", "ckpt_path"):
            config.pop(name, None)
        return runs.Run(
            directory=Path(directory) if directory else runs.run_directory(task, algorithm, seed),
            task=task,
            algorithm=algorithm,
            seed=seed,
            command=runs.command_line([self.command, *self.arguments]),
            config=self.parser.dump(config, skip_none=False),
        )

    def _find_checkpoint(self, directory: Path) -> Path | None:
        name = self.config["ckpt_path"]
        path = runs.find_checkpoint(name, directory)
        if name is None:
            return path
        if path is None and self.command not in ("fit", "fabric"):
            raise ValueError(f"There is no {directory / runs.CHECKPOINTS / 'last.ckpt'}.")
        if path is None and processes.is_first_process():
            console.say(f"{directory} holds no checkpoint yet: starting from the beginning.")
        return path

    def _callbacks(self, settings: dict[str, Any], run: runs.Run, trains: bool) -> list[Callback]:
        """Add to the user's callbacks those of every run, unless the user has configured one of the kind."""
        given = settings["callbacks"] or []
        callbacks = list(given) if isinstance(given, list) else [given]
        kinds: list[type[Callback]] = []
        if not trains:
            kinds = [Evaluation] if self.command in ("validate", "test") else []
        else:
            kinds += [StopAtBudget, Evidence]
            kinds += [Progress] if settings["enable_progress_bar"] is not False else []
            kinds += [LastAndBest] if settings["enable_checkpointing"] is not False else []
            kinds += [StopOnSignal]
        callbacks += [kind() for kind in kinds if not any(isinstance(callback, kind) for callback in callbacks)]
        if trains:
            self.folder = RunFolder(self.checkpoint)
            callbacks.insert(0, self.folder)
        return sorted(callbacks, key=lambda each: (isinstance(each, Checkpoint), isinstance(each, StopOnSignal)))

    def _loggers(self, given: Any, directory: Path, trains: bool) -> list[Any]:
        """Return the configured loggers; by default TensorBoard in the run folder, and none without training."""
        if given is None or given is True:
            if not trains:
                return []
            return [EventFile(directory)]
        if given is False:
            return []
        return list(given) if isinstance(given, list) else [given]

    def _fabric_driver(self, settings: dict[str, Any]) -> FabricDriver:
        defaults = {**self.parser.get_defaults()["trainer"]}
        ignored = [
            f"trainer.{name}"
            for name, value in {**self.config["trainer"]}.items()
            # a section read from a file of its own also has that file's name
            if name in defaults and name not in FABRIC_USES and value != defaults[name]
        ]
        # Lightning's own callbacks ask the Trainer for more than Fabric has.
        foreign = [c for c in settings["callbacks"] if type(c).__module__.startswith("lightning.")]
        ignored += [type(callback).__name__ for callback in foreign]
        if ignored and processes.is_first_process():
            console.say(f"fabric ignores {', '.join(ignored)}.")
        callbacks = [callback for callback in settings["callbacks"] if callback not in foreign]
        options = {name: settings[name] for name in FABRIC_OPTIONS if settings[name] is not None}
        fabric = Fabric(**options, plugins=settings["plugins"], callbacks=callbacks, loggers=settings["logger"])
        limits = {name: settings[name] for name in FABRIC_LIMITS if settings[name] is not None}
        return FabricDriver(fabric, self.model, self.datamodule, callbacks, settings["default_root_dir"], **limits)

    def _fit(self) -> None:
        run: runs.Run = self.model.run
        driver: Any = self.trainer
        done = self.checkpoint_files.env_steps
        if (run.directory / "summary.json").exists() and done >= self.model.total_env_steps:
            console.say(f"{run.directory} is complete: {done} environment steps, see summary.json in it.")
            for callback in driver.callbacks:
                if isinstance(callback, Evidence) and processes.is_first_process():
                    callback.publish(run)
            return
        alone = processes.is_first_process() and not self.config["trainer"]["fast_dev_run"]
        with claimed(run.directory) if alone else contextlib.nullcontext():
            if isinstance(driver, FabricDriver):
                driver.fit(self.checkpoint)
            else:
                driver.fit(self.model, datamodule=self.datamodule, ckpt_path=self.checkpoint)

    _fabric = _fit

    def _load_policy(self) -> None:
        if self.checkpoint is None:
            raise ValueError(
                f"{self.command} needs --ckpt_path: a checkpoint, a policy.pt, or last or best of "
                f"{self.model.run.directory}."
            )
        runs.load_weights(self.model, self.checkpoint)

    def _validate(self) -> None:
        self._load_policy()
        trainer: Any = self.trainer
        getattr(trainer, self.command)(self.model, datamodule=self.datamodule)
        if trainer.is_global_zero:
            evaluation = next(callback for callback in trainer.callbacks if isinstance(callback, Evaluation))
            print(runs.as_json(evaluation.results))
            if broken := max(int(result["broken"]) for result in evaluation.results.values()):
                console.fail(
                    f"{broken} of {evaluation.episodes} episodes broke: something in them was not finite. "
                    f"The figures are of the others.",
                    code=1,
                )

    _test = _validate

    def _predict(self) -> None:
        self._load_policy()
        self.model.to(self.trainer.strategy.root_device)
        path = Path(self.config["output"])
        trajectories = record(self.model, self.model.make_env, self.config["episodes"], self.config["deterministic"])
        trajectories.save(path)
        console.say(f"{self.config['episodes']} trajectories in {path}: mean return {trajectories.mean_return():.4g}.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Raises:
        SystemExit: 2 after an error of the user's making, told in one line; 1 when a run stopped itself or a check failed.
    """
    open_closed_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console.quiet()
    command = console.choose_command(arguments, COMMANDS)
    with signals.command():
        _run(command, arguments[1:])


def _run(command: str, arguments: list[str]) -> None:
    cli: RPOCLI | None = None
    try:
        if command == "list":
            discovery.import_user_callbacks()
            print(discovery.listing())
            return
        if command == "check-env":
            discovery.import_user_callbacks()
            if check_env.main(arguments, COMMANDS[command]):
                raise SystemExit(1)
            return
        cli = RPOCLI(command, arguments)
        cli.run()
    except NonFiniteError as error:
        console.fail(str(error), code=1)
    except (*USER_ERRORS, MisconfigurationException) as error:
        began = cli is not None and cli.folder is not None and cli.folder.began
        if cli is not None and began and (sentence := write_failure(error, cli.model.run.directory)) is not None:
            console.fail(sentence, code=1)
        # Once training runs, an error is a defect of the code, and its traceback is what one needs.
        if began or os.environ.get("RPO_LIGHTNING_DEBUG"):
            raise
        console.fail(str(error) or type(error).__name__, code=2)


if __name__ == "__main__":
    main()
