"""What every algorithm shares, under the Trainer and under Fabric alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn

from rpo_lightning import __version__
from rpo_lightning.algorithms.episodes import EndedEpisodes
from rpo_lightning.allocator import keep_freed_memory
from rpo_lightning.distributed import any_rank, mean_over_ranks, sum_over_ranks, world_size
from rpo_lightning.losses import gaussian_kl
from rpo_lightning.nn import Gaussian, RunningNormalizer
from rpo_lightning.rollout import RolloutBatch, Window

__all__ = ["LRSchedule", "RLModule"]

LRSchedule = Literal["exponential", "linear", "constant", "kl"]
EPISODE_WINDOW = 100

SCHEDULE_KL = 0.008
"""KL(old || new) that schedule "kl" aims at, within a factor of two."""
SCHEDULE_STEP = 1.5
SCHEDULE_RANGE = (0.002, 20.0)
"""Bounds of the factor on the initial rates: 1e-6 and 1e-2 at the usual 5e-4."""


class RLModule(LightningModule):
    """Base of the algorithms: one batch is one window and one iteration.

    Subclasses define `policy`, `update` and `configure_optimizers`, and, with `needs_action_grad`, `window_objective`.

    Args:
        obs_dim: observation dimension D.
        action_dim: action dimension A.
        total_env_steps: budget, summed over ranks; sets the learning-rate schedule too.
        discount: gamma.
        lr_schedule: exponential or linear: fall of the learning rates from their first value to `final_lr` over the budget;
            constant; kl: moved to keep KL(old || new) near 0.008.
        final_lr: learning rate at the end of the budget.
    """

    name: str
    needs_action_grad: bool = True
    bootstrap_state: Literal["next", "current"] = "next"
    actor: nn.Module
    normalizer: RunningNormalizer

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        total_env_steps: int,
        discount: float,
        lr_schedule: LRSchedule,
        final_lr: float,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        keep_freed_memory()
        self.automatic_optimization = False
        self.obs_dim = obs_dim
        self.action_dim = action_dim
        self.total_env_steps = total_env_steps
        self.discount = discount
        self.lr_schedule = lr_schedule
        self.final_lr = final_lr
        self.lr_factor = 1.0
        self.iteration = 0
        self.env_steps = 0
        self.nonfinite_updates = 0
        self.skip_update = False
        """Set by a callback in `on_rollout_end`: this window changes nothing but the counters."""
        self.stop_at = total_env_steps
        """Environment steps at which training ends; a callback may set fewer than `total_env_steps`."""
        self.make_env: Callable[..., Any] | None = None
        """(num_envs, seed, **overrides) -> Env of the training task; set by the data module."""
        self._ended = EndedEpisodes()
        self._episodes: list[list[float]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what ties the module to a run: a copy of it copies no simulator."""
        return {**super().__getstate__(), "make_env": None}

    def setup(self, stage: str) -> None:
        """Refuse a precision other than 32-true: the rollout would act by another policy than the updates see."""
        if self.fabric is None and self.trainer.precision != "32-true":
            raise ValueError(f"trainer.precision: {self.name} needs 32-true, got {self.trainer.precision}.")

    @property
    def budget_reached(self) -> bool:
        """Whether the environment steps asked for have been taken."""
        return self.env_steps >= self.stop_at

    def policy(self, obs: Tensor) -> Gaussian:
        """Return the action distribution (..., A) at raw observations (..., D)."""
        return self.actor(self.normalizer(obs))

    def behaviour(self, obs: Tensor) -> Gaussian:
        """Return the distribution (..., A) that explores at raw observations (..., D)."""
        return self.policy(obs)

    def target_value(self, obs: Tensor) -> Tensor:
        """Return the value (...,) stored with the window; 0 for algorithms that have no state values."""
        return torch.zeros_like(obs[..., 0])

    def reward_bonus(self, policy: Any, generator: torch.Generator) -> Tensor:
        """Return the bonus (...,) that belongs to the reward; 0 without entropy regularisation."""
        return torch.zeros_like(policy.mean[..., 0])

    def window_objective(self, window: Window) -> Tensor:
        """Return the scalar that the cached action-gradients are gradients of."""
        raise NotImplementedError

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Learn from one window and return metrics, equal on all ranks."""
        raise NotImplementedError

    @torch.no_grad()
    def act(self, obs: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Return actions (N, A) in [-1, 1] at raw observations (N, D)."""
        policy = self.policy(obs)
        if deterministic:
            return policy.mode
        return policy.action(policy.sample(policy.noise(generator)))

    def training_step(self, batch: RolloutBatch, batch_idx: int) -> dict[str, float]:
        """Run one iteration and return its metrics."""
        self.skip_update = False
        self.hook("on_rollout_end", batch)
        started = perf_counter()
        skipped = any_rank(self.skip_update, self.device)
        metrics: dict[str, Tensor | float] = {} if skipped else self.update(batch)
        metrics |= self._window_metrics(batch)
        values = [torch.as_tensor(value, dtype=torch.float32, device=self.device) for value in metrics.values()]
        report: dict[str, float] = dict(zip(metrics, torch.stack(values).tolist(), strict=True))

        steps = batch.reward.numel() * world_size()
        self._count_iteration()
        self.iteration += 1
        self.env_steps += steps
        report |= self._episode_metrics(batch)
        report["nan/skipped_updates"] = float(self.nonfinite_updates)
        report["time/rollout"] = batch.rollout_time
        report["time/update"] = perf_counter() - started
        report["time/steps_per_second"] = steps / (report["time/rollout"] + report["time/update"])
        self.report(report)
        return report

    def validation_step(self, batch: int, batch_idx: int) -> None:
        """Leave evaluation to the callbacks; Lightning runs its loop only if this exists."""

    test_step = validation_step

    def apply_gradients(self, optimizer: Any, params: Sequence[nn.Parameter], loss: Tensor, max_norm: float) -> Tensor:
        """Differentiate, average over ranks, clip and step; return the norm before clipping.

        A gradient that is not finite is refused: nothing changes and `nonfinite_updates` counts it.
        """
        grads = torch.autograd.grad(loss, params)
        if world_size() > 1:
            flat = mean_over_ranks(torch.cat([grad.reshape(-1) for grad in grads]))
            pieces = flat.split([grad.numel() for grad in grads])
            grads = tuple(piece.view_as(grad) for piece, grad in zip(pieces, grads, strict=True))
        norm = nn.utils.get_total_norm(grads)
        if not norm.isfinite():
            self.nonfinite_updates += 1
            return norm
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        nn.utils.clip_grads_with_norm_(params, max_norm, norm)
        optimizer.step()
        return norm

    def learning_rate(self, initial: float) -> float:
        """Return the learning rate of this iteration: a function of `env_steps`, but for schedule "kl"."""
        progress = min(self.env_steps / self.total_env_steps, 1.0)
        if self.lr_schedule == "exponential":
            return initial * (self.final_lr / initial) ** progress
        if self.lr_schedule == "linear":
            return initial + (self.final_lr - initial) * progress
        return initial * self.lr_factor if self.lr_schedule == "kl" else initial

    def adapt_learning_rate(self, kl: Tensor | float) -> None:
        """Under schedule "kl", lower the learning rates after too large a step and raise them after too small a one."""
        if self.lr_schedule != "kl":
            return
        if kl > 2.0 * SCHEDULE_KL:
            self.lr_factor /= SCHEDULE_STEP
        elif kl < 0.5 * SCHEDULE_KL:
            self.lr_factor *= SCHEDULE_STEP
        self.lr_factor = min(max(self.lr_factor, SCHEDULE_RANGE[0]), SCHEDULE_RANGE[1])

    def measure_step(self, old: Gaussian, new: Gaussian) -> dict[str, Tensor]:
        """Return how far the update has moved the policy over the window, and what the exploration is now."""
        means = torch.stack([gaussian_kl(old, new).mean(), new.std.mean()]).detach()
        kl, std = mean_over_ranks(means)
        return {"actor/kl": kl, "actor/std": std}

    def scheduled_optimizers(self, *initial: float) -> list[torch.optim.Optimizer]:
        """Return torch's optimizers with this iteration's learning rates set.

        Args:
            initial: learning rate of each optimizer at the start of the run; those beyond keep theirs.
        """
        wrappers = self._wrappers(use_pl_optimizer=False)
        optimizers = [getattr(wrapper, "optimizer", wrapper) for wrapper in wrappers]
        for optimizer, rate in zip(optimizers, initial, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(rate)
        return optimizers

    def _wrappers(self, use_pl_optimizer: bool = True) -> list[Any]:
        wrappers: Any = self.optimizers(use_pl_optimizer=use_pl_optimizer)
        return wrappers if isinstance(wrappers, list) else [wrappers]

    def _count_iteration(self) -> None:
        """Make Lightning's `global_step`, which counts optimizer steps, count iterations.

        The updates step torch's own optimizers, which Lightning does not see; this step sees no gradient.
        """
        for param in self.parameters():
            param.grad = None
        if self.fabric is None:
            self._wrappers()[-1].step()

    def hook(self, name: str, *args: Any) -> None:
        """Call `name(module, *args)` on every callback that has it."""
        if self.fabric is not None:
            self.fabric.call(name, self, *args)
            return
        trainer: Any = self.trainer
        for callback in trainer.callbacks:
            method = getattr(callback, name, None)
            if method is not None:
                method(self, *args)

    def report(self, metrics: dict[str, float]) -> None:
        """Log metrics against environment steps."""
        if self.fabric is not None:
            self.fabric.log_dict(metrics, step=self.env_steps)
        else:
            self.log_dict({**metrics, "step": float(self.env_steps)}, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the counters and what the checkpoint is of."""
        checkpoint["rpo_lightning"] = {
            "version": __version__,
            "algorithm": self.name,
            "obs_dim": self.obs_dim,
            "action_dim": self.action_dim,
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "nonfinite_updates": self.nonfinite_updates,
            "lr_factor": self.lr_factor,
            "episodes": self._episodes,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters.

        Raises:
            ValueError: the checkpoint is of another algorithm or of other dimensions.
        """
        state = checkpoint.get("rpo_lightning", {})
        then = (state.get("algorithm"), state.get("obs_dim"), state.get("action_dim"))
        now = (self.name, self.obs_dim, self.action_dim)
        if then != now:
            raise ValueError(
                "This checkpoint is of algorithm {}, obs_dim {}, action_dim {}, but the run is {}, {}, {}: "
                "choose its own config or start a new run.".format(*then, *now)
            )
        self.iteration = state["iteration"]
        self.env_steps = state["env_steps"]
        self.nonfinite_updates = state["nonfinite_updates"]
        self.lr_factor = state["lr_factor"]
        self._episodes = [list(window) for window in state["episodes"]]

    def _window_metrics(self, batch: RolloutBatch) -> dict[str, Tensor]:
        sums = torch.stack([batch.invalid.sum(), batch.nonfinite_grad.float().mean() / world_size()])
        return dict(zip(("nan/invalid_envs", "nan/nonfinite_grad_frac"), sum_over_ranks(sums), strict=True))

    def _episode_metrics(self, batch: RolloutBatch) -> dict[str, float]:
        """Average over the last windows that ended at least 100 episodes together; empty before the first."""
        self._ended.reset()
        self._ended.update(batch.episode_return, batch.episode_length)
        ended = self._ended.compute().tolist()
        if ended[2]:
            self._episodes.append(ended)
        while sum(window[2] for window in self._episodes[1:]) >= EPISODE_WINDOW:
            del self._episodes[0]
        if not self._episodes:
            return {}
        returns, lengths, count = (sum(column) for column in zip(*self._episodes, strict=True))
        return {"train/return": returns / count, "train/episode_length": lengths / count}
