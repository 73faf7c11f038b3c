"""From configuration and options to model, data and driver."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from signal import Signals
from typing import Any

from jsonargparse import ActionYesNo
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from rpo_lightning import (
    console,
    discovery,
    distributed,
    fine_tuning,
    pretrained,
    processes,
    provenance,
    run_folder,
    runs,
    sim,
)
from rpo_lightning.algorithms import RLModule
from rpo_lightning.algorithms.containment import NonFiniteError
from rpo_lightning.allocator import keep_freed_memory
from rpo_lightning.callbacks import Evidence, RunFolder
from rpo_lightning.checkpoints import CheckpointFiles, no_state_of_training
from rpo_lightning.claim import write_failure
from rpo_lightning.cli import COMMANDS, actions, arguments, side_by_side, watching
from rpo_lightning.cli.callbacks import Announcement, with_standard_ones
from rpo_lightning.cli.fabric import fabric_driver
from rpo_lightning.cli.help import help_text
from rpo_lightning.cli.parser import FriendlyParser, load_yaml
from rpo_lightning.cli.settings import TRAINER_DEFAULTS, adjusted, divide_cores, multiply_in_float32
from rpo_lightning.event_file import EventFile
from rpo_lightning.interrupts import Interrupted, signals
from rpo_lightning.loggers import in_run_folder
from rpo_lightning.rollout import RolloutDataModule, env_and_options, with_options

__all__ = ["RPOCLI", "main"]

TRAINS = ("fit", "fabric")


class RPOCLI(LightningCLI):
    """Build model, data and driver from configuration files and options.

    Args:
        command: one of `COMMANDS`, except list and check-env; `run()` carries it out.
        options: as on the command line after the command.
        place: among several runs of this process; None: there is one.
    """

    def __init__(self, command: str, options: list[str], place: side_by_side.Place | None = None) -> None:
        self.command, self.trains, self.place = command, command in TRAINS, place
        self.called = command if place is None else place.command
        self.line = provenance.command_line([command, *options]) if place is None else place.line
        if command in arguments.WATCHES:
            options = watching.with_task(command, options)
        self.given = arguments.split(command, options)
        self.folder: RunFolder | None = None
        self.checkpoint: Path | None = None
        self.announcement: Announcement | None = None
        discovery.import_user_callbacks(self.given.words())
        super().__init__(
            RLModule,
            RolloutDataModule,
            subclass_mode_model=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            trainer_defaults=dict(TRAINER_DEFAULTS),
            parser_class=FriendlyParser,
            parser_kwargs={"allow_abbrev": False, "prog": f"rpo-lightning {self.called}", "add_help": False},
            args=self.given.for_parser(),
            run=False,
        )

    @property
    def began(self) -> bool:
        """Whether training runs by now, or has run."""
        return self.folder is not None and self.folder.began

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed; unlike Lightning's it is always a number, so that every run can be repeated."""
        parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights, exploration and starts.")
        if self.trains:
            parser.add_argument("--seeds", type=str | None, default=None, help=side_by_side.SEEDS)
            parser.add_argument("--sweep", type=str | None, default=None, help=side_by_side.SWEEP)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what Lightning's parser lacks, and hand dimensions and seed on."""
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="A checkpoint, or last, best or step_N of the run folder; all that only plays takes a policy.pt too.",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="fit and fabric: a policy.pt or checkpoint whose weights a new run begins with.",
        )
        parser.add_argument(
            "--without",
            type=str | list[str],
            default=[],
            help="Callbacks of every run to leave out: a name, or several as [Evaluation, NaNGuard].",
        )
        if self.command in arguments.WATCHES:
            watching.add_options(parser, self.command)
        if self.command == "predict":
            parser.add_argument(
                "--output", type=str, default="trajectories.npz", help="File to write: .npz, .pt or .parquet."
            )
            parser.add_argument("--episodes", type=int, default=8, help="Number of episodes.")
            parser.add_argument(
                "--deterministic",
                action=ActionYesNo,
                no_prefix="not_",
                nargs="?",
                default=False,
                help="Act with tanh(mean), not a sample.",
            )
        for name in ("obs_dim", "action_dim", "privileged_dim"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: FriendlyParser, args: Any) -> None:  # type: ignore[override]
        """Parse, or answer --help.

        Raises:
            SystemExit: 0 after help or the configuration was printed, 2 after a mistake.
        """
        if self.given.help is not None:
            print(help_text(parser, self.called, COMMANDS[self.command].summary, self.given))
            raise SystemExit(0)
        if self.given.task_options:
            options = {name: load_yaml(value) for name, value in self.given.task_options.items()}
            env = parser.parse_args([each for each in args if not each.startswith("--print_config")])["data"]["env"]
            args = [*args, f"--data.env={arguments.in_one_line(with_options(env, options))}"]
        parser.beside = self.given.beside
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Check the Trainer's options and settle what the process computes with, before anything is built."""
        for name, example in {"seeds": "0,1,2,3", "sweep": "model.kl_coef=0.1,0.5"}.items() if self.trains else ():
            if self.config[name] is not None:
                raise ValueError(f"{name} is an option of the command line, as --{name} {example}, not of a file.")
        data = self.config["data"]
        if self.place is not None:
            side_by_side.place_in(self.config, self.place)
        task, _ = env_and_options(data["env"])
        self.adjusted = adjusted(self.config["trainer"], str(task), data["num_envs"])
        # they are built once the run folder is known
        self.configured_loggers, self.config["trainer"]["logger"] = self.config["trainer"]["logger"], None
        divide_cores({**self.config["trainer"], **self.adjusted}["devices"])
        multiply_in_float32()
        if self.trains:
            keep_freed_memory()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the driver with the run folder, the logger and the callbacks every run has."""
        self.config["trainer"]["logger"] = self.configured_loggers
        self.datamodule.attach(self.model)
        settings = {**self.config_init["trainer"], **self.adjusted, **kwargs}
        task, algorithm, seed = self.datamodule.env_name, self.model.name, self.config["seed_everything"]
        directory = Path(settings["default_root_dir"] or run_folder.run_directory(task, algorithm, seed))
        self.checkpoint = self._find_checkpoint(directory)
        if self.trains and processes.is_first_process() and not settings["fast_dev_run"]:
            run_folder.check_new_run(directory, self.checkpoint, self.called)
        if self.trains and self.config["init_from"] is not None:
            self._begin_with(self.config["init_from"])
        run = self.model.run = runs.Run(directory, task, algorithm, seed, self.line, self._resolved())
        settings["default_root_dir"] = str(directory)
        self.checkpoint_files = CheckpointFiles(self.checkpoint if self.trains else None)
        plugins = settings["plugins"] or []
        settings["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), self.checkpoint_files]
        settings["callbacks"] = self._callbacks(settings, run)
        settings["logger"] = [] if settings["fast_dev_run"] else self._loggers(run)
        settings["enable_checkpointing"] = any(isinstance(c, Checkpoint) for c in settings["callbacks"])
        settings["enable_progress_bar"] = any(isinstance(c, ProgressBar) for c in settings["callbacks"])
        if self.command == "fabric":
            return fabric_driver(settings, self.parser.get_defaults()["trainer"], self.model, self.datamodule)
        # the callback RunFolder logs them all, once the run has begun
        return Trainer(**{**settings, "enable_autolog_hparams": False})

    def run(self) -> None:
        """Carry out the command."""
        actions.ACTIONS[self.command](self)

    def _resolved(self) -> str:
        """Return the configuration as resolved, without what belongs to this start alone."""
        config = self.config.clone()
        for name in ("config", "ckpt_path", "seeds", "sweep", *(["init_from"] if config["init_from"] is None else [])):
            config.pop(name, None)
        return self.parser.dump(config, skip_none=False)

    def _find_checkpoint(self, directory: Path) -> Path | None:
        name = self.config["ckpt_path"]
        if self.trains and name in pretrained.names() and not Path(name).is_file():
            raise ValueError(no_state_of_training(name))
        if self.place is not None and name is not None and not run_folder.NAMED.fullmatch(name):
            raise ValueError(f"--ckpt_path {name}: with --seeds or --sweep it is last, best or step_N of each run.")
        path = run_folder.find_checkpoint(name, directory)
        if name is None:
            return path
        if path is None and not self.trains:
            raise ValueError(f"There is no {directory / run_folder.CHECKPOINTS / 'last.ckpt'}.")
        if path is None and processes.is_first_process():
            console.say(f"{directory} holds no checkpoint yet: starting from the beginning.")
        return path

    def _begin_with(self, source: str) -> None:
        """Take the weights of another run, unless this one goes on: a job that is started again has the same options."""
        if self.checkpoint is None:
            said = fine_tuning.init_from(self.model, source)
        else:
            said = f"init_from {source} is left alone: the run goes on from {self.checkpoint}."
        if processes.is_first_process():
            console.say(said)

    def _callbacks(self, settings: dict[str, Any], run: runs.Run) -> list[Any]:
        given = settings["callbacks"] or []
        given = list(given) if isinstance(given, list) else [given]
        without = self.config["without"]
        without = [without] if isinstance(without, str) else list(without)
        if self.place is not None and self.place.number > 0:
            without.append("Progress")  # that of the first shows how far all are
        callbacks = with_standard_ones(given, without, settings, self.command)
        if self.trains:
            self.folder, self.announcement = RunFolder(self.checkpoint), Announcement(run, self.datamodule)
            callbacks[:0] = [self.folder, self.announcement]
        return callbacks

    def _loggers(self, run: runs.Run) -> list[Any]:
        """Return TensorBoard's event file and the loggers configured beside it; none without training, or on `false`."""
        if not self.trains or self.configured_loggers is False:
            return []
        given = [] if self.configured_loggers in (None, True) else self.configured_loggers
        given = given if isinstance(given, list) else [given]
        kinds = [resolve_name(each["class_path"]) for each in given]
        for name in {kind.__name__ for kind in kinds if kinds.count(kind) > 1}:
            raise ValueError(f"trainer.logger names {name} twice.")
        name = f"{run.task}/{run.algorithm}/seed_{run.seed}"
        loggers: list[Any] = []
        for kind, each in zip(kinds, given, strict=True):
            options = {**dict(each.get("init_args") or {}), **(each.get("dict_kwargs") or {})}
            loggers.append(in_run_folder(kind, run.directory, name, **options))
        own = any(isinstance(logger, TensorBoardLogger) for logger in loggers)
        return loggers if own else [EventFile(run.directory), *loggers]


def main(command: str, options: list[str]) -> None:
    """Carry out a command, and tell the user's mistakes in a line.

    Raises:
        SystemExit: 2 after an error of the user's making; 1 when a run stopped itself.
    """
    console.quiet()
    sim.quiet()
    clis: list[RPOCLI] = []
    with console.one_line_errors(MisconfigurationException, began=lambda: any(cli.began for cli in clis)):
        try:
            _carry_out(command, options, clis)
        except NonFiniteError as error:
            console.fail(str(error), code=1)
        except Exception as error:
            if signals.received:  # the processes that worked for this one were told to end as well
                name = Signals(signals.received).name
                console.say(f"stopped by {name} in the middle of an iteration; --ckpt_path last goes on from before it.")
                raise Interrupted(signals.received) from error
            if not isinstance(error, RuntimeError | OSError):
                raise
            for sentence in [_write_failure(error, cli) for cli in clis if cli.began]:
                if sentence is not None:
                    console.fail(sentence, code=1)
            raise
        finally:
            distributed.leave()


def _carry_out(command: str, options: list[str], clis: list[RPOCLI]) -> None:
    """Carry out a command, of a run or of several, which are added to `clis` as they are built."""
    line = provenance.command_line([command, *options])
    places, others = side_by_side.split(command, options, line) if command in TRAINS else ([], options)
    if not places:
        clis.append(RPOCLI(command, options))
        clis[0].run()
        return
    with console.said_once():  # by however many runs
        for place in places:
            clis.append(RPOCLI("fabric", [*others, *place.options], place))
        side_by_side.train(clis)


def _write_failure(error: Exception, cli: RPOCLI) -> str | None:
    """Return what became of a run whose folder could not be written; None for every other error."""
    assert cli.folder is not None
    trainer: Any = cli.trainer
    results = [Path(each.results) for each in trainer.callbacks if isinstance(each, Evidence) and each.results]
    return write_failure(error, cli.model.run.directory, cli.folder.written, results)
