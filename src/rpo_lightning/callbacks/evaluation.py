"""Evaluation on environments of its own: full episodes, own seeds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from rpo_lightning.distributed import rank, world_size

T = TypeVar("T")

EVALUATION_SEED = 770_001_234
"""Far from the seeds of training (`seed_everything` + 1000 * rank), and the same for every run."""


def evaluate(
    module: Any,
    make_env: Callable[..., Any],
    episodes: int = 128,
    deterministic: bool = False,
    seed: int = EVALUATION_SEED,
) -> dict[str, float]:
    """Run exactly one full episode in each of `episodes` fresh environments.

    Counting the first episodes to finish would favour short ones; one per environment does not.

    Args:
        module: anything with `act(obs, deterministic, generator) -> action`.
        make_env: `make_env(num_envs, seed) -> Env`.
        episodes: number of environments and so of episodes.
        deterministic: act with tanh(mean) instead of a sample.
        seed: of the starts and of the sampled actions.

    Returns:
        mean and std (over episodes) of the undiscounted return, the number of episodes, the mean length [steps].
    """
    # Lightning validates under inference mode, whose tensors the simulator's in-place updates may not touch later.
    with torch.inference_mode(False), torch.no_grad():
        env = make_env(num_envs=episodes, seed=seed)
        generator = torch.Generator(device=env.device).manual_seed(seed + 1)
        obs = env.reset()
        returns = torch.zeros(episodes, dtype=torch.float64, device=env.device)
        length = torch.zeros_like(returns)
        running = torch.ones(episodes, dtype=torch.bool, device=env.device)
        for _ in range(env.max_episode_steps):
            step = env.step(module.act(obs, deterministic=deterministic, generator=generator))
            returns += torch.where(running, step.reward, 0.0)
            length += running
            running &= ~(step.terminated | step.truncated)
            if not running.any():
                break
            obs = step.obs
    return {
        "mean": returns.mean().item(),
        "std": returns.std(correction=0).item(),
        "episodes": episodes,
        "length": length.mean().item(),
    }


def from_rank_zero(compute: Callable[[], T]) -> T:
    """Return on every process what `compute` returns on process 0; it runs only there."""
    if world_size() == 1:
        return compute()
    answer = [compute() if rank() == 0 else None]
    dist.broadcast_object_list(answer, src=0)
    return answer[0]  # type: ignore[return-value]


class Evaluation(Callback):
    """Evaluate the policy whenever the driver validates, when training ends, and in `validate` and `test`.

    `trainer.check_val_every_n_epoch` sets the pace. Process 0 evaluates and tells the others, so the figures do not
    depend on the number of processes. Metrics: `eval/return`, `eval/return_std`, `eval/length` with sampled actions
    and the same with `_deterministic` appended; `time/evaluation` [s].

    Args:
        episodes: episodes per evaluation, one in each of as many environments.
        deterministic: also evaluate tanh(mean) actions.
        seed: of the evaluation's starts and actions; the same 128 starts each time make figures comparable.
    """

    def __init__(self, episodes: int = 128, deterministic: bool = True, seed: int = EVALUATION_SEED) -> None:
        super().__init__()
        if episodes < 1:
            raise ValueError(f"Evaluation needs at least one episode, not {episodes}.")
        self.episodes, self.deterministic, self.seed = episodes, deterministic, seed
        self._iteration = -1
        self.results: dict[str, dict[str, float]] = {}

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate at the pace of validation."""
        if not trainer.sanity_checking:
            # The Trainer keeps these for callbacks that monitor a metric.
            pl_module.log_dict(self.run(pl_module), logger=False, sync_dist=True)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate in `test` as in `validate`."""
        pl_module.log_dict(self.run(pl_module), logger=False, sync_dist=True)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate the final weights, unless that has just been done."""
        if self._iteration != pl_module.iteration:
            self.run(pl_module)

    def run(self, module: Any) -> dict[str, float]:
        """Evaluate, log at the current environment step, tell the other callbacks, and return the metrics."""
        started = time.perf_counter()
        results = self.results = from_rank_zero(lambda: self._measure(module))
        self._iteration = module.iteration
        metrics = {"time/evaluation": time.perf_counter() - started}
        for kind, result in results.items():
            ending = "" if kind == "sampled" else f"_{kind}"
            metrics[f"eval/return{ending}"] = result["mean"]
            metrics[f"eval/return_std{ending}"] = result["std"]
            metrics[f"eval/length{ending}"] = result["length"]
        for logger in module.loggers:
            logger.log_metrics(metrics, step=int(module.env_steps))
        module.hook("on_evaluation_end", results)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Remember which iteration was evaluated last."""
        return {"iteration": self._iteration}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._iteration = state_dict["iteration"]

    def _measure(self, module: Any) -> dict[str, dict[str, float]]:
        kinds = {"sampled": False, **({"deterministic": True} if self.deterministic else {})}
        return {
            kind: evaluate(module, module.make_env, self.episodes, deterministic, self.seed)
            for kind, deterministic in kinds.items()
        }
