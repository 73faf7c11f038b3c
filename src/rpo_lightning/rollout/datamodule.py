"""The source of windows for Lightning's Trainer and for Fabric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning import LightningDataModule

from rpo_lightning.deployment import task_facts
from rpo_lightning.distributed import gather_over_ranks, rank, world_size
from rpo_lightning.envs.protocol import Env
from rpo_lightning.files import plain
from rpo_lightning.processes import say
from rpo_lightning.provenance import code_version
from rpo_lightning.rollout.batch import RolloutBatch
from rpo_lightning.rollout.collector import Agent, Collector
from rpo_lightning.seeding import run_seeds

__all__ = ["RolloutDataModule", "RolloutLoader", "env_and_options", "with_options"]


class RolloutLoader:
    """A given number of fresh windows. Having a length keeps Lightning from prefetching a stale one."""

    def __init__(self, collector: Collector, agent: Agent, length: int) -> None:
        self.collector = collector
        self.agent = agent
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[RolloutBatch]:
        for _ in range(self.length):
            yield self.collector.collect(self.agent)


class RolloutDataModule(LightningDataModule):
    """Collect windows with the policy being trained.

    Args:
        env: a name of `rpo_lightning.make`, a mapping with `name` or `class_path` and `init_args`, or an environment class
            or callable (num_envs, device, seed) -> Env with the class's `name`, `obs_dim` and `action_dim`.
        num_envs: environments per process, N.
        horizon: steps per window, H.
        iterations_per_epoch: windows between evaluations and checkpoints.
        seed: of exploration and initial states, which draw from streams of their own on every rank.
        random_progress: begin every environment at a random step of its first episode, so that their time limits do not
            fall together.
        noise_correlation: of the exploration noise of one step with that of the next, within [0, 1). Above 0 the policy
            explores in one direction for about 1 / (1 - noise_correlation) steps, which finds what takes many actions of
            the same kind, as a swing does; for algorithms that learn off-policy (SAC).
        training: options of the task that the environments of training have beside those of `env`, or in their place;
            evaluations are made without. {episode_length: 250} begins anew four times as often as an episode of 1000
            steps, and shows the policy as many more starts.

    Raises:
        ValueError: for a count below one, or a correlation out of its range.
    """

    def __init__(
        self,
        env: str | dict[str, Any] | Callable[..., Any],
        num_envs: int = 128,
        horizon: int = 32,
        iterations_per_epoch: int = 50,
        seed: int = 0,
        random_progress: bool = False,
        noise_correlation: float = 0.0,
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        counts = {"num_envs": num_envs, "horizon": horizon, "iterations_per_epoch": iterations_per_epoch}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"data.{name} must be a whole number of at least 1, not {value!r}.")
        if not 0.0 <= noise_correlation < 1.0:
            raise ValueError(f"data.noise_correlation must be at least 0 and below 1, not {noise_correlation!r}.")
        self.env = env
        self.num_envs = num_envs
        self.horizon = horizon
        self.iterations_per_epoch = iterations_per_epoch
        self.seed = self._drawing_seed = seed
        self.random_progress = random_progress
        self.noise_correlation = noise_correlation
        self.training = dict(training or {})
        self.agent: Any = None
        self.collector: Collector | None = None
        self._pending: dict[str, Any] | None = None
        self._kept: dict[str, Any] | None = None
        """State of the collector whose environments were closed after a fit, for the next one."""

    @property
    def env_name(self) -> str:
        """Name of the task."""
        return self._env_class().name

    @property
    def obs_dim(self) -> int:
        """Observation dimension D, known without building the simulator."""
        found, (_, options) = self._env_class(), env_and_options(self.env)
        return found.observation_width(options) if hasattr(found, "observation_width") else found.obs_dim

    @property
    def privileged_dim(self) -> int:
        """Dimension P of what only critics see, 0 where there is nothing of the kind."""
        found, (_, options) = self._env_class(), env_and_options(self.env)
        return found.privileged_width(options) if hasattr(found, "privileged_width") else getattr(found, "privileged_dim", 0)

    @property
    def action_dim(self) -> int:
        """Action dimension A, known without building the simulator."""
        return self._env_class().action_dim

    def make_env(self, num_envs: int, seed: int, **overrides: Any) -> Env:
        """Build environments of this task and these options on the training device.

        Args:
            num_envs: N.
            seed: of the initial states.
            overrides: options in place of those of `env`.
        """
        device = self._device()
        from rpo_lightning import make

        env, options = env_and_options(self.env)
        return make(env, num_envs=num_envs, device=device, seed=seed, **{**options, **overrides})

    def attach(self, module: Any) -> RolloutDataModule:
        """Take the module whose policy acts, and give it `make_env` for evaluation."""
        self.agent = module
        module.make_env = self.make_env
        return self

    def setup(self, stage: str | None = None) -> None:
        """Attach the Trainer's module; for training, build the environments and the collector.

        Raises:
            ValueError: the module needs action-gradients and the environment has none.
        """
        if self.trainer is not None:
            self.attach(self.trainer.lightning_module)
        if stage not in (None, "fit") or (self.collector is not None and self._kept is None):
            return
        seeds = run_seeds(self.seed, rank())
        env = self.make_env(self.num_envs, seeds.env, **self.training)
        for width in ("obs_dim", "privileged_dim"):
            if (found := getattr(env, width, 0)) != (expected := getattr(self, width)):
                if not self.training:
                    raise ValueError(
                        f"{self.env_name}: its class says that {width} is {expected}, but its environments have {found}: "
                        "mend the class's, which networks are made for."
                    )
                options = ", ".join(self.training)
                raise ValueError(
                    f"data.training ({options}) makes {width} {found} instead of {expected}: give what changes observations "
                    "under data.env.init_args, so that evaluations have it too."
                )
        self.collector = Collector(env, self.horizon, seeds.exploration, self.random_progress, self.noise_correlation)
        self.collector.check(self.agent)
        if (compiles := getattr(env, "compile", None)) is not None:  # now, and not in the middle of the first window
            compiles(self.agent.needs_action_grad)
        self.agent.facts = {
            "task": self.env_name,
            "seed": self.seed,
            "env": _named(self.env),
            "commit": code_version(),
            **task_facts(env),
        }
        if self._kept is not None:
            self.collector.load_state_dict(self._kept)
            self._kept = None
        if self._pending is not None:
            self.load_state_dict(self._pending)

    def train_dataloader(self) -> RolloutLoader:
        """Return one epoch of windows.

        Raises:
            ValueError: the module was restored from a checkpoint that holds no simulator state.
        """
        if self.collector is None:
            raise ValueError("RolloutDataModule: call attach(module) and setup('fit') before collecting.")
        # Lightning stores this state under the class's name and says nothing when it is missing.
        if self.agent.iteration > 0 and self.collector.windows == 0:
            raise ValueError(
                f"The module was restored at iteration {self.agent.iteration}, but its checkpoint has no state "
                f"of {type(self).__qualname__}: resume with the data module class that wrote it."
            )
        return RolloutLoader(self.collector, self.agent, self.iterations_per_epoch)

    def val_dataloader(self) -> range:
        """Return one dummy element, so that Lightning runs one validation step."""
        return range(1)

    test_dataloader = val_dataloader

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch: it was collected on its device."""
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the collectors' states of all ranks; every rank must call it."""
        if self.collector is None:
            return {}
        ranks = gather_over_ranks(self.collector.state_dict())
        told = {"env": self.env_name, "num_envs": self.num_envs, "seed": self._drawing_seed}
        return {**told, "ranks": ranks, "options": self._options()}

    def teardown(self, stage: str) -> None:
        """Close the environments, which another fit makes anew in the state they were in."""
        if stage == "fit" and self.collector is not None and self._kept is None:
            self._kept = self.collector.state_dict()
            self.collector.close()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore this rank's state, at once or when `setup` builds the collector.

        Raises:
            ValueError: the state comes from another task, number of environments or number of processes.
        """
        if self.collector is None:
            self._pending = state_dict
            return
        self._pending = None
        then_options, now_options = state_dict.get("options", {}), self._options()
        then_options = {"noise_correlation": 0.0, "training": {}, **then_options}  # of older checkpoints
        changes = {f"data.{k}": (then_options[k], v) for k, v in now_options.items() if then_options.get(k, v) != v}
        self.agent.data_changes = changes
        if self.agent.resumed is not None:
            self.agent.resumed.changes.update(changes)
        now = {"env": self.env_name, "num_envs": self.num_envs, "processes": world_size()}
        ranks = state_dict["ranks"]
        then = {"env": state_dict["env"], "num_envs": state_dict["num_envs"], "processes": len(ranks)}
        if now != then:
            raise ValueError(
                f"This checkpoint's rollout state is for {_listing(then)}, but this run has {_listing(now)}: "
                "resume with the same settings or start a new run."
            )
        self._drawing_seed = state_dict.get("seed", self.seed)
        if self._drawing_seed != self.seed:
            say(f"seed {self.seed} changes nothing: the run goes on with the random numbers of seed {self._drawing_seed}.")
        self.collector.load_state_dict(ranks[rank()])

    def _options(self) -> dict[str, Any]:
        """Return what may change on resume, and then counts from there on."""
        return {
            "horizon": self.horizon,
            "iterations_per_epoch": self.iterations_per_epoch,
            "noise_correlation": self.noise_correlation,
            "training": {key: str(value) for key, value in self.training.items()},
            "env.init_args": {key: str(value) for key, value in env_and_options(self.env)[1].items()},
        }

    def _device(self) -> torch.device:
        # The Trainer moves the module only after `setup`, so its own device is the one to ask.
        return self.agent.device if self.trainer is None else self.trainer.strategy.root_device

    def _env_class(self) -> Any:
        from rpo_lightning.envs import env_class

        env, _ = env_and_options(self.env)
        return env_class(env) if isinstance(env, str) else env


def env_and_options(env: str | dict[str, Any] | Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """Return the task that `data.env` says, a name, a class path or what makes one, and its options.

    Raises:
        ValueError: for a mapping that names no task, or has other keys.
    """
    if not isinstance(env, dict):
        return env, {}
    name = env.get("name", env.get("class_path"))
    unknown = sorted(env.keys() - {"name", "class_path", "init_args"})
    if name is None or unknown:
        where = f" {', '.join(unknown)} may be of the task, which has its options under init_args." if unknown else ""
        raise ValueError(f"data.env: expected 'name' or 'class_path' and 'init_args', got {sorted(env)}.{where}")
    return name, dict(env.get("init_args") or {})


def _named(env: str | dict[str, Any] | Callable[..., Any]) -> dict[str, Any]:
    """Return what `data.env` says as text and plain options: a task's name or class path, and `init_args`."""
    name, options = env_and_options(env)
    name = name if isinstance(name, str) else f"{name.__module__}.{name.__qualname__}"
    return {"name": name, "init_args": {key: plain(value) for key, value in options.items()}}


def with_options(env: str | dict[str, Any] | Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return what `data.env` says with further options of the task."""
    name, given = env_and_options(env)
    return {"name": name, "init_args": {**given, **options}}


def _listing(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())
