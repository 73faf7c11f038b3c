"""Evaluation on environments of its own: full episodes, own seeds."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from rpo_lightning.distributed import rank, world_size
from rpo_lightning.interrupts import signals
from rpo_lightning.policies import policy_state

T = TypeVar("T")

EVALUATION_SEED = 770_001_234
"""The same for every run, and none of training's, which are drawn (`seeding.run_seeds`)."""


class Abandoned(Exception):  # noqa: N818
    """A signal asked the run to stop in the middle of an evaluation."""


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
        module: anything with `player(num_envs, deterministic, generator)`, which returns obs -> action.
        make_env: `make_env(num_envs, seed) -> Env`.
        episodes: number of environments and so of episodes.
        deterministic: act with tanh(mean) instead of a sample.
        seed: of the starts and of the sampled actions.

    Returns:
        mean and std (over episodes) of the undiscounted return and the mean length [steps], of the episodes that did not
        break, NaN where all did; the number of episodes; how many of them are broken: ended by the environment because of
        something not finite. Where it says that it `may_break` by itself, that is an end like others.
    """
    ((result, _),) = evaluate_each(module, make_env, [deterministic], episodes, seed)
    return result


def evaluate_each(
    module: Any, make_env: Callable[..., Any], kinds: Sequence[bool], episodes: int, seed: int
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Return what `evaluate` does for each of `kinds`, deterministic or not, from the same starts of one environment.

    Beside each, the mean of every term of the reward, summed over an episode.
    """
    # Lightning validates under inference mode, whose tensors the simulator's in-place updates may not touch later.
    with torch.inference_mode(False), torch.no_grad():
        env = make_env(num_envs=episodes, seed=seed)
        try:
            start = copy.deepcopy(env.state_dict()) if len(kinds) > 1 else None
            results: list[tuple[dict[str, float], dict[str, float]]] = []
            for kind in kinds:
                if results:
                    env.load_state_dict(start)
                results.append(_play(module, env, kind, seed))
        finally:
            _close(env)
    return results


def _close(env: Any) -> None:
    if (close := getattr(env, "close", None)) is not None:
        close()


def _play(module: Any, env: Any, deterministic: bool, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Play one episode in each environment, from its present state; return the result, and the means of the terms."""
    obs = env.detach()
    play = module.player(len(obs), deterministic, torch.Generator().manual_seed(seed + 1))
    returns = torch.zeros(len(obs), dtype=torch.float64, device=env.device)
    length, terms = torch.zeros_like(returns), dict[str, torch.Tensor]()
    running = torch.ones(len(obs), dtype=torch.bool, device=env.device)
    broken = torch.zeros_like(running)
    may_break = torch.tensor(getattr(env, "may_break", False), device=env.device)
    for _ in range(env.max_episode_steps):
        if signals.received:
            raise Abandoned
        step = env.step(play(obs))
        broken |= running & ((env.invalid & ~may_break) | ~step.reward.isfinite())
        returns += torch.where(running, step.reward, 0.0)
        for name, term in (step.reward_terms or {}).items():
            terms[name] = terms.get(name, 0.0) + torch.where(running, term.double(), 0.0)
        length += running
        running &= ~(step.terminated | step.truncated | broken)
        if not running.any():
            break
        obs = step.obs
    returns, length = returns[~broken], length[~broken]
    means = {name: total[~broken].mean().item() for name, total in terms.items()}
    return {
        "mean": returns.mean().item(),
        "std": returns.std(correction=0).item() if len(returns) else math.nan,
        "episodes": len(obs),
        "length": length.mean().item(),
        "broken": int(broken.sum()),
    }, means


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
    depend on the number of processes. Metrics: `eval/return`, `eval/return_std`, `eval/length`, `eval/broken` with sampled
    actions, `eval/reward/<name>` of an episode's reward terms, and the same with `_deterministic` appended;
    `time/evaluation` [s]. A signal that asks the run to stop ends an evaluation; the resumed run begins with it.

    Args:
        episodes: episodes per evaluation, one in each of as many environments.
        deterministic: also evaluate tanh(mean) actions.
        seed: of the evaluation's starts and actions; the same 128 starts each time make figures comparable.
        env_options: options of the task in place of those of `data.env`, such as `{randomize: null}`.
    """

    def __init__(
        self,
        episodes: int = 128,
        deterministic: bool = True,
        seed: int = EVALUATION_SEED,
        env_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if episodes < 1:
            raise ValueError(f"Evaluation needs at least one episode, not {episodes}.")
        self.episodes, self.deterministic, self.seed = episodes, deterministic, seed
        self.env_options = env_options or {}
        self._iteration = -1
        self._weights = ""
        self._abandoned = False
        self.results: dict[str, dict[str, float]] = {}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Try whether the environment takes `env_options`, before anything has been trained.

        Raises:
            ValueError: for an option that the environment has not, or a bad value.
        """
        if self.env_options:
            try:
                _close(pl_module.make_env(num_envs=1, seed=self.seed, **self.env_options))
            except (TypeError, ValueError) as error:
                raise ValueError(f"env_options of Evaluation: {error}") from error

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Evaluate what a run that was stopped could not finish evaluating."""
        if self._abandoned:
            self.run(pl_module)

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
        if self._iteration != pl_module.iteration or not self.is_of(pl_module):
            self.run(pl_module)

    def is_of(self, module: Any) -> bool:
        """Tell whether the last evaluation is of the weights that the module has now."""
        return self._weights == _digest(module)

    def run(self, module: Any) -> dict[str, float]:
        """Evaluate, log at the current environment step, tell the other callbacks, and return the metrics.

        Nothing, if a signal asks the run to stop.
        """
        started = time.perf_counter()
        measured = from_rank_zero(lambda: self._measure(module))
        self._abandoned = measured is None
        if measured is None:
            return {}
        results = {kind: result for kind, (result, _) in measured.items()}
        self.results, self._iteration, self._weights = results, module.iteration, _digest(module)
        metrics = {"time/evaluation": time.perf_counter() - started}
        for kind, (result, terms) in measured.items():
            ending = "" if kind == "sampled" else f"_{kind}"
            metrics[f"eval/return{ending}"] = result["mean"]
            metrics[f"eval/return_std{ending}"] = result["std"]
            metrics[f"eval/length{ending}"] = result["length"]
            metrics[f"eval/broken{ending}"] = float(result["broken"])
            metrics |= {f"eval/reward/{name}{ending}": mean for name, mean in terms.items()}
        for logger in module.loggers:
            logger.log_metrics(metrics, step=int(module.env_steps))
        module.hook("on_evaluation_end", results)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Remember which weights were evaluated last, and whether an evaluation is due."""
        return {"iteration": self._iteration, "weights": self._weights, "abandoned": self._abandoned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._iteration, self._weights = state_dict["iteration"], state_dict["weights"]
        self._abandoned = state_dict["abandoned"]

    def _measure(self, module: Any) -> dict[str, tuple[dict[str, float], dict[str, float]]] | None:
        kinds = {"sampled": False, **({"deterministic": True} if self.deterministic else {})}
        make_env = functools.partial(module.make_env, **self.env_options)
        try:
            results = evaluate_each(module, make_env, list(kinds.values()), self.episodes, self.seed)
        except Abandoned:
            return None
        return dict(zip(kinds, results, strict=True))


def _digest(module: Any) -> str:
    """Return a short name of the weights that act."""
    digest = hashlib.sha256()
    for name, value in policy_state(module).items():
        digest.update(name.encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
