"""Search RPO's hyper-parameters on cartpole with Optuna; trials that fall behind at an evaluation are pruned.

    pip install -e ".[search]"
    python examples/search/search.py --trials 12
    python examples/search/search.py --trials 12 --storage sqlite:///search.db   # in several terminals: one search

The first trial has the preset's values. Prints every trial and the best one.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import Any

import optuna
from lightning import Callback, Trainer, seed_everything

from rpo_lightning import sim
from rpo_lightning.algorithms import RPO
from rpo_lightning.callbacks import Evaluation, StopAtBudget
from rpo_lightning.rollout import RolloutDataModule

PRESET = {"actor_lr": 5e-4, "critic_lr": 5e-4, "kl_coef": 0.25, "entropy_coef": 0.2}


class Prune(Callback):
    """Report the return of every evaluation to a trial, and stop training when the trial is to be pruned."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__()
        self.trial = trial
        self.pruned = False

    def on_evaluation_end(self, module: Any, results: dict[str, dict[str, float]]) -> None:
        """Report eval/return at environment steps."""
        self.trial.report(results["sampled"]["mean"], step=module.env_steps)
        self.pruned = not module.budget_reached and self.trial.should_prune()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop in order: the environments are closed as at every end."""
        trainer.should_stop |= self.pruned


def train(trial: optuna.Trial, steps: int, num_envs: int = 16, evaluations: int = 5) -> float:
    """Train for a number of environment steps, evaluated so many times, and return the last evaluation's return.

    Raises:
        TrialPruned: if it was stopped before.
    """
    seed_everything(0, verbose=False)
    epoch = max(1, steps // (32 * num_envs * evaluations))
    data = RolloutDataModule("cartpole", num_envs=num_envs, horizon=32, iterations_per_epoch=epoch, random_progress=True)
    model = RPO(
        data.obs_dim,
        data.action_dim,
        total_env_steps=steps,
        hidden=[64, 64],
        actor_lr=trial.suggest_float("actor_lr", 1e-4, 1e-2, log=True),
        critic_lr=trial.suggest_float("critic_lr", 1e-4, 1e-2, log=True),
        kl_coef=trial.suggest_float("kl_coef", 0.02, 2.0, log=True),
        entropy_coef=trial.suggest_float("entropy_coef", 0.01, 1.0, log=True),
    )
    evaluation, prune = Evaluation(episodes=16, deterministic=False), Prune(trial)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=[evaluation, prune, StopAtBudget()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    if prune.pruned:
        raise optuna.TrialPruned
    return evaluation.results["sampled"]["mean"]


def search(trials: int, steps: int, storage: str | None = None, **options: Any) -> optuna.Study:
    """Return the study of `trials` further trials."""
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=None if storage else 0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        storage=storage,
        study_name="rpo on cartpole",
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(PRESET)
    study.optimize(lambda trial: train(trial, steps, **options), n_trials=trials)
    return study


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=12, help="further ones, if the database has some")
    parser.add_argument("--steps", type=int, default=40_960, help="environment steps of a trial")
    parser.add_argument("--storage", help="a database, for example sqlite:///search.db; None: memory")
    options = parser.parse_args()

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    sim.quiet()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = search(options.trials, options.steps, options.storage)
    for trial in study.trials:
        values = ", ".join(f"{name} {value:.2g}" for name, value in trial.params.items())
        last = max(trial.intermediate_values, default=0)
        reached = f"{trial.intermediate_values[last]:.0f}" if last else "-"
        print(f"{trial.number:3}  {trial.state.name.lower():8}  {last:7} steps  return {reached:>6}  {values}")
    print(f"best: trial {study.best_trial.number}, return {study.best_value:.0f}")


if __name__ == "__main__":
    main()
