"""What every algorithm shares, under the Trainer and under Fabric alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor, nn

from rpo_lightning import __version__
from rpo_lightning.algorithms.captured import CapturedUpdate
from rpo_lightning.algorithms.containment import CURES, Findings, NonFiniteError, largest, look_through
from rpo_lightning.algorithms.descent import descend
from rpo_lightning.algorithms.learning_rate import LearningRates, LRSchedule
from rpo_lightning.algorithms.options import Range, above, at_least, check_options, within
from rpo_lightning.algorithms.player import Player
from rpo_lightning.algorithms.resume import Resumed, apply_options, changed_options, check_shapes, checked_state
from rpo_lightning.algorithms.statistics import RecentEpisodes, window_metrics
from rpo_lightning.deployment import no_facts
from rpo_lightning.distributed import any_rank, mean_over_ranks, world_size
from rpo_lightning.driver import Driver, PlainDriver, TrainerDriver
from rpo_lightning.files import plain
from rpo_lightning.losses import gaussian_kl
from rpo_lightning.nn import Gaussian, RunningNormalizer, side_by_side
from rpo_lightning.rollout import RolloutBatch, Window

if TYPE_CHECKING:
    from rpo_lightning.runs import Run

__all__ = ["ActorFactory", "RLModule"]

ActorFactory = Callable[[int, int], nn.Module]
"""(observation dimension, action dimension) -> network; a class path with `init_args` in a configuration."""


class Checked(NamedTuple):
    """What has been decided of a window before the update."""

    findings: Findings
    skipped: bool
    """Nothing is learned from it, on no process."""
    refused: Tensor
    """`nonfinite_updates` before the update, ()."""
    started: float
    """Time of the check [s]."""


class RLModule(LightningModule):
    """Base of the algorithms: one batch is one window and one iteration.

    Subclasses define `policy`, `update` and `configure_optimizers`, and, with `needs_action_grad`, `window_objective`.
    What they take beyond their own options they hand on here; `ranges` bounds the numbers among their options.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        discount: gamma.
        lr_schedule: exponential or linear: fall of the learning rates from their first value to `final_lr` over the budget;
            constant; kl: moved to keep KL(old || new) near 0.008.
        final_lr: learning rate at the end of the budget.
        actor_lr: learning rate of the actor at the start.
        max_grad_norm: gradients are clipped to this norm, those of each optimizer apart.
        betas: AdamW's.
        weight_decay: AdamW's, for the networks.
        privileged_dim: dimension P of what the critics see beside the observation.
        label: names the run's folder, checkpoints and results in place of the algorithm; for a variant of it.
        capture: whether on CUDA an update is recorded as one graph and launched as a whole, where one module learns alone:
            in one process, not beside others (`--seeds`).

    Raises:
        ValueError: for an option out of its range or choices. TypeError: for one that does not exist.
    """

    name: str
    needs_action_grad: bool = True
    capturable: ClassVar[bool] = False
    """Whether `update` can be recorded: what it launches depends on shapes and options alone, and nothing is waited for."""
    recurrent: ClassVar[bool] = False
    """Whether actors with a hidden state can be trained."""
    ranges: ClassVar[dict[str, Range]] = {
        "obs_dim": at_least(1),
        "action_dim": at_least(1),
        "total_env_steps": at_least(1),
        "discount": within(0.0, 1.0),
        "final_lr": at_least(0.0),
        "actor_lr": at_least(0.0),
        "max_grad_norm": above(0.0),
        "betas": within(0.0, 1.0, high_open=True),
        "weight_decay": at_least(0.0),
        "privileged_dim": at_least(0),
        "hidden": at_least(1),
    }
    moved_by_training: ClassVar[dict[str, str]] = {}
    """Options that are the first value of a state: option -> the state's name."""
    actor: nn.Module
    normalizer: RunningNormalizer
    nonfinite_updates: Tensor
    """Gradient steps that were refused since the run began, (); on the device, so that counting waits for nothing."""

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        discount: float = 0.99,
        lr_schedule: LRSchedule = "constant",
        final_lr: float = 1e-5,
        actor_lr: float = 5e-4,
        max_grad_norm: float = 0.5,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        privileged_dim: int = 0,
        label: str | None = None,
        capture: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        given = {
            name: value for name, value in self.hparams.items() if not name.startswith("_")
        }  # Lightning's own: _class_path
        check_options(type(self), given)
        self.options: dict[str, Any] = plain(given)
        """All options of the constructor, as a checkpoint keeps them."""
        self.hparams.update(self.options)  # networks by their class paths, not as the objects that Lightning would pickle
        if lr_schedule == "exponential" and final_lr == 0.0:
            raise ValueError(f"{type(self).__name__}: final_lr must be above 0 under the exponential schedule, not 0.0.")
        if capture and (why := self._why_not_captured(lr_schedule)) is not None:
            raise ValueError(f"{type(self).__name__}: capture is not possible: {why}.")
        self.automatic_optimization = False
        self.name = label or type(self).name
        self.obs_dim = obs_dim
        self.action_dim = action_dim
        self.privileged_dim = privileged_dim
        self.total_env_steps = total_env_steps
        self.discount = discount
        self.actor_lr = actor_lr
        self.max_grad_norm = max_grad_norm
        self.betas = (betas[0], betas[1])
        self.weight_decay = weight_decay
        self.rates = LearningRates(lr_schedule, final_lr)
        self.capture = capture
        self._captured: CapturedUpdate | None = None
        self.iteration = 0
        self.env_steps = 0
        self.refused_in_a_row = 0
        """Iterations in a row, up to now, that ended with a refused gradient or did not update at all."""
        self.skip_update = False
        """This window changes only the counters: it is unusable, or a callback says so (after the rollout or the check)."""
        self.tolerated = 0.05
        """Share of a window's samples that may have been repaired; `NaNGuard` sets its own."""
        self.patience = 10
        """Iterations in a row that may learn nothing before the run gives up; `NaNGuard` sets its own."""
        self.advice = CURES
        """What a run that gives up tells the user to do."""
        self.stop_at = total_env_steps
        """Environment steps at which training ends; a callback may set fewer than `total_env_steps`."""
        self.make_env: Callable[..., Any] | None = None
        """(num_envs, seed, **overrides) -> Env of the training task; set by the data module."""
        self.run: Run | None = None
        """The run folder and what it is for; set by the command line or the first callback that needs it."""
        self.facts: dict[str, Any] = no_facts()
        """What the task says of itself to files of the policy, with the seed and the commit; set by the data module."""
        self.source: dict[str, Any] | None = None
        """Whose weights a run began with, if not fresh ones; set by `fine_tuning.init_from`."""
        self.resumed: Resumed | None = None
        """Where a continued run began this time, and which options have changed."""
        self.data_changes: dict[str, tuple[Any, Any]] = {}
        """What the data module found changed on resume, by option."""
        self._driver: Driver | None = None
        self._own_loop: PlainDriver | None = None
        self._episodes = RecentEpisodes()
        self.register_buffer("nonfinite_updates", torch.zeros((), dtype=torch.int64), persistent=False)
        if privileged_dim > 0:
            self.privileged_normalizer = RunningNormalizer(privileged_dim)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what ties the module to a run: a copy of it copies no simulator and no driver."""
        return {**super().__getstate__(), "make_env": None, "_driver": None, "_own_loop": None, "_captured": None}

    @property
    def driver(self) -> Driver:
        """What runs the loop: the one that was set, else the Trainer, else a loop of the caller's own."""
        if self._driver is not None:
            return self._driver
        if self._trainer is not None:
            return TrainerDriver(self)
        if self._own_loop is None:
            self._own_loop = PlainDriver(self)
        return self._own_loop

    @driver.setter
    def driver(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def class_path(self) -> str:
        """Where Python imports the algorithm from."""
        return plain(type(self))

    @property
    def budget_reached(self) -> bool:
        """Whether the environment steps asked for have been taken."""
        return self.env_steps >= self.stop_at

    def setup(self, stage: str) -> None:
        """Refuse what cannot be trained.

        Raises:
            ValueError: a precision other than 32-true, by which the rollout would act by another policy than the updates
                see; an actor with a hidden state where windows are not learned from as a whole.
        """
        if self.driver.precision != "32-true":
            raise ValueError(f"trainer.precision: {self.name} needs 32-true, got {self.driver.precision}.")
        if self.state_size > 0 and not self.recurrent:
            network = type(self.actor).__name__
            raise ValueError(f"{network} has a hidden state, with which RPO, SHAC and SAPO can learn, not {self.name}.")
        self._check_actor()

    @torch.no_grad()
    def _check_actor(self) -> None:
        """Let a network that is no policy be found before the first window."""
        obs = torch.zeros(1, self.obs_dim, dtype=self.normalizer.mean.dtype, device=self.normalizer.mean.device)
        obs, fault = obs.to(next(self.actor.parameters()).dtype), "nothing of the kind"
        try:
            policy, _ = self.remembering_policy(obs, obs.new_zeros(1, self.state_size))
            fault = type(policy).__name__
        except (AttributeError, TypeError, RuntimeError) as error:
            policy, fault = None, str(error).splitlines()[0]
        if not isinstance(policy, Gaussian) or policy.mean.shape != (1, self.action_dim):
            raise ValueError(
                f"{type(self.actor).__name__} cannot be the actor of {self.name}: of observations (..., {self.obs_dim}) it "
                f"must make a distribution of rpo_lightning.nn over (..., {self.action_dim}), but: {fault}."
            )

    # ---- acting: what a rollout asks ---------------------------------------------------------------------------------

    @property
    def state_size(self) -> int:
        """Size S of the actor's hidden state, 0 without one."""
        return getattr(self.actor, "state_size", 0)

    def policy(self, obs: Tensor) -> Gaussian:
        """Return the action distribution (..., A) at raw observations (..., D)."""
        return self.actor(self.normalizer(obs))

    def behaviour(self, obs: Tensor, state: Tensor) -> tuple[Gaussian, Tensor]:
        """Return the distribution (N, A) that explores at raw observations (N, D), and the next hidden state (N, S)."""
        return self.remembering_policy(obs, state)

    def remembering_policy(self, obs: Tensor, state: Tensor) -> tuple[Gaussian, Tensor]:
        """Return the action distribution (N, A) at raw observations (N, D), and the next hidden state (N, S)."""
        if self.state_size == 0:
            return self.policy(obs), state
        going_on = torch.zeros(1, obs.shape[0], dtype=torch.bool, device=obs.device)
        policy, state = self.actor(self.normalizer(obs)[None], state, going_on)
        return type(policy)(policy.mean[0], policy.log_std[0]), state

    def over_window(self, x: Tensor, batch: RolloutBatch) -> Any:
        """Return the action distribution (H, N, A) at all steps of a window, from its normalised observations (H, N, D)."""
        return self.actor(x) if self.state_size == 0 else self.actor(x, batch.policy_state, batch.done)[0]

    def next_value(self, window: Window) -> Tensor:
        """Return the value (H, N) of the states reached; 0 for algorithms that have no state values."""
        return torch.zeros_like(window.reward)

    def reward_bonus(self, policy: Any, generator: torch.Generator) -> Tensor:
        """Return the bonus (...,) that belongs to the reward; 0 without entropy regularisation."""
        return torch.zeros_like(policy.mean[..., 0])

    def window_objective(self, window: Window) -> Tensor:
        """Return the scalar that the cached action-gradients are gradients of."""
        raise NotImplementedError

    def act(self, obs: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Return actions (N, A) in [-1, 1] at raw observations (N, D), of a policy without a hidden state."""
        return self.player(len(obs), deterministic, generator)(obs)

    def player(self, num_envs: int, deterministic: bool = False, generator: torch.Generator | None = None) -> Player:
        """Return what acts in N episodes that begin together."""
        return Player(self, num_envs, deterministic, generator)

    # ---- learning ----------------------------------------------------------------------------------------------------

    def check_window(self, horizon: int, num_envs: int) -> None:
        """Refuse windows of H steps in N environments that cannot be learned from, before the first.

        Raises:
            ValueError: naming the option to change.
        """

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Learn from one window and return metrics, equal on all ranks."""
        raise NotImplementedError

    def training_step(self, batch: RolloutBatch, batch_idx: int) -> dict[str, float]:
        """Run one iteration and return its metrics.

        Raises:
            NonFiniteError: `patience` iterations in a row had gradients that were not finite, or nothing to learn from.
        """
        checked = self.check(batch)
        return self.conclude(batch, checked, {} if checked.skipped else self.run_update(batch))

    def run_update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Call `update`, or replay it where it is captured."""
        if self._captured is None and self.capture and self.device.type == "cuda" and world_size() == 1:
            self._captured = CapturedUpdate(self)
        return self.update(batch) if self._captured is None else self._captured(batch)

    def check(self, batch: RolloutBatch) -> Checked:
        """Look through a window, and decide whether it is learned from."""
        self.skip_update = False
        self.hook("on_rollout_end", batch)
        started, refused = perf_counter(), self.nonfinite_updates.clone()
        findings = look_through(batch)
        self.skip_update |= findings.unusable(self.tolerated)
        self.hook("on_window_checked", batch, findings)
        return Checked(findings, any_rank(self.skip_update, self.device), refused, started)

    def conclude(self, batch: RolloutBatch, checked: Checked, metrics: dict[str, Tensor | float]) -> dict[str, float]:
        """Count an iteration whose update returned `metrics`, report it, and return all of its metrics.

        Raises:
            NonFiniteError: see `training_step`.
        """
        findings, skipped, refused, started = checked
        metrics |= window_metrics(batch)
        metrics["nan/skipped_updates"] = self.nonfinite_updates
        there = {name: value for name, value in metrics.items() if isinstance(value, Tensor)}
        values = torch.stack([*(value.to(torch.float64) for value in there.values()), self.nonfinite_updates - refused])
        episodes = self._episodes.sums(batch)
        # one wait of the host for all of them
        numbers = torch.cat([values, episodes]).tolist()
        lately, sums = numbers[len(there)], numbers[len(there) + 1 :]
        told = dict(zip(there, numbers, strict=False))
        report = {name: told[name] if name in told else float(value) for name, value in metrics.items()}

        steps = batch.reward.numel() * world_size()
        for param in self.parameters():
            param.grad = None
        self.driver.count_iteration()
        self.iteration += 1
        self.env_steps += steps
        self.refused_in_a_row = self.refused_in_a_row + 1 if skipped or lately else 0
        report |= self._episodes.metrics(sums)
        report["time/rollout"] = batch.rollout_time
        report["time/update"] = perf_counter() - started
        report["time/steps_per_second"] = steps / (report["time/rollout"] + report["time/update"])
        self.report(report)
        if self.refused_in_a_row >= self.patience:
            why = f"what is not finite: the gradients of the update, from {largest(batch)}"
            if findings.broken:
                why = f"what is not finite: {', '.join(findings.broken)} of the window"
            elif findings.unusable(self.tolerated):
                why = f"what is not finite: {findings.of_what} in {findings.repaired:.0%} of a window that was left out"
            elif skipped:
                why = "a callback or another process, which left the window out"
            raise NonFiniteError(
                f"{self.name} stopped: {self.refused_in_a_row} iterations in a row could not learn, the last one because of "
                f"{why}. {self.advice}"
            )
        return report

    def _why_not_captured(self, lr_schedule: str) -> str | None:
        if not type(self).capturable:
            return "its update asks the device for numbers on its way"
        return "lr_schedule kl asks the device for the KL of every step" if lr_schedule == "kl" else None

    def validation_step(self, batch: int, batch_idx: int) -> None:
        """Leave evaluation to the callbacks; Lightning runs its loop only if this exists."""

    test_step = validation_step

    def apply_gradients(self, optimizer: Any, params: Sequence[nn.Parameter], loss: Tensor, max_norm: float) -> Tensor:
        """Differentiate, average over ranks, clip and step; return the norm () before clipping, see `descend`.

        A gradient that is not finite is refused: nothing changes and `nonfinite_updates` counts it.
        """
        norm, refused = descend(optimizer, params, loss, max_norm)
        self.nonfinite_updates += refused
        return norm

    def at_once(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function makes of tensors, which have one more entry in front for each of several runs (`Stack`)."""
        return call(*arguments)

    @property
    def progress(self) -> float:
        """Share of the budget that is done, within [0, 1]."""
        return min(self.env_steps / self.total_env_steps, 1.0)

    def learning_rate(self, initial: float) -> float:
        """Return the learning rate of this iteration."""
        return self.rates.rate(initial, self.progress)

    def measure_step(self, old: Gaussian, new: Gaussian) -> dict[str, Tensor]:
        """Return how far the update has moved the policy over the window, and what the exploration is now."""
        means = torch.stack([gaussian_kl(old, new).mean(), new.std.mean()]).detach()
        kl, std = mean_over_ranks(means)
        return {"actor/kl": kl, "actor/std": std}

    def adamw(self, params: Iterable[nn.Parameter], rate: float, **options: Any) -> torch.optim.AdamW:
        """Return an optimizer of a network's parameters with the betas and the decay configured."""
        settings = {"betas": self.betas, "weight_decay": self.weight_decay, "fused": True, **options}
        return torch.optim.AdamW(params, lr=rate, **settings)

    def scheduled_optimizers(self, *initial: float) -> list[torch.optim.Optimizer]:
        """Return torch's optimizers with this iteration's learning rates set.

        Args:
            initial: learning rate of each optimizer at the start of the run; those beyond keep theirs.
        """
        optimizers = self.driver.optimizers()
        for optimizer, rate in zip(optimizers, initial, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(rate)
        return optimizers

    def generator(self, batch: RolloutBatch) -> torch.Generator:
        """Return the random numbers of this window's update, of the CPU on every device."""
        return torch.Generator().manual_seed(batch.seed)

    # ---- statistics of observations ----------------------------------------------------------------------------------

    def critic_input(self, obs: Tensor, privileged: Tensor) -> Tensor:
        """Return what critics see: normalised observations (..., D) beside normalised privileged ones (..., P)."""
        return side_by_side(self.normalizer(obs), self.privileged(privileged))

    def privileged(self, privileged: Tensor) -> Tensor:
        """Return normalised privileged observations (..., P)."""
        return self.privileged_normalizer(privileged) if self.privileged_dim else privileged[..., :0]

    def update_normalizers(self, batch: RolloutBatch) -> None:
        """Take a window into the statistics; at the end of an iteration, all of which sees the same ones."""
        self.normalizer.update(batch.obs)
        if self.privileged_dim:
            self.privileged_normalizer.update(batch.privileged)

    # ---- driver and checkpoint ---------------------------------------------------------------------------------------

    def hook(self, name: str, *args: Any) -> None:
        """Call `name(module, *args)` on every callback that has it."""
        self.driver.hook(name, *args)

    def report(self, metrics: dict[str, float]) -> None:
        """Log metrics against environment steps."""
        self.driver.log(metrics, self.env_steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the counters and what the checkpoint is of."""
        checkpoint["rpo_lightning"] = {
            "version": __version__,
            "algorithm": self.name,
            "obs_dim": self.obs_dim,
            "action_dim": self.action_dim,
            "class_path": self.class_path,
            "options": self.options,
            "facts": self.facts,
            "source": self.source,
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "nonfinite_updates": int(self.nonfinite_updates),
            "refused_in_a_row": self.refused_in_a_row,
            "lr_factor": self.rates.factor,
            "episodes": self._episodes.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters, and let options count that were changed since.

        Raises:
            ValueError: the checkpoint is of another algorithm, of other dimensions or of an older version.
        """
        state = checked_state(checkpoint, self.name, self.obs_dim, self.action_dim)
        changes = changed_options(state["options"], self.options)
        optimizers: Any = self.configure_optimizers()
        if "state_dict" in checkpoint:
            check_shapes(checkpoint["state_dict"], self.state_dict(), changes)
        apply_options(checkpoint, changes, self.moved_by_training, self.state_dict(), optimizers)
        self.source = state.get("source")
        self.iteration = state["iteration"]
        self.env_steps = state["env_steps"]
        self.nonfinite_updates.fill_(state["nonfinite_updates"])
        self.refused_in_a_row = state["refused_in_a_row"]
        self.rates.factor = state["lr_factor"]
        self._episodes.load_state_dict(state["episodes"])
        self.resumed = Resumed(self.env_steps, {**changes, **self.data_changes})
