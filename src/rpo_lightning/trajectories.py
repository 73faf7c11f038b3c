"""Record what a policy does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.callbacks.evaluation import EVALUATION_SEED
from rpo_lightning.files import write_atomically, write_tensors

__all__ = ["Trajectories", "record"]


@dataclass
class Trajectories:
    """One episode in each of N environments; time-major, NaN after an episode's end."""

    obs: Tensor
    """Observations acted on, (T, N, D)."""
    action: Tensor
    """Actions in [-1, 1], (T, N, A)."""
    reward: Tensor
    """Rewards of the actions, (T, N)."""
    q: Tensor
    """Positions before the action, (T, N, nq)."""
    qd: Tensor
    """Velocities before the action, (T, N, nd)."""
    qpos: Tensor
    """The same positions in MuJoCo's coordinates, (T, N, nq), of robots of this engine; else (T, N, 0)."""
    qvel: Tensor
    """The same velocities in MuJoCo's coordinates, (T, N, nd), of robots of this engine; else (T, N, 0)."""
    done: Tensor
    """The episode ended with this step, (T, N) bool."""
    length: Tensor
    """Steps of each episode, (N,) int64."""

    def mean_return(self) -> float:
        """Return the mean over episodes of the sum of rewards."""
        return self.reward.nansum(0).mean().item()

    def save(self, path: Path) -> None:
        """Write to `path`, by its ending a NumPy archive or a torch file of all fields, or a table as Parquet.

        The table has a row for each step of an episode: episode, step, obs.0 ..., action.0 ..., reward, q.0 ..., qd.0 ...,
        qpos.0 ..., qvel.0 ..., done. pandas, Polars, DuckDB and Spark read it as it is.

        Raises:
            ValueError: for another ending. ImportError: in one line, without pyarrow for .parquet. OSError: if it cannot be
                written.
        """
        tensors = asdict(self)
        if path.suffix == ".npz":
            write_atomically(path, lambda temporary: _write_npz(temporary, tensors))
        elif path.suffix == ".pt":
            write_tensors(path, tensors)
        elif path.suffix == ".parquet":
            write_atomically(path, _parquet_writer(self._columns()))
        else:
            raise ValueError(f"Trajectories are written to .npz, .pt or .parquet, not to {path}.")

    def _columns(self) -> dict[str, np.ndarray]:
        """Return the columns of the table, episode after episode."""
        lengths = self.length.tolist()
        columns = {
            "episode": np.repeat(np.arange(len(lengths)), lengths),
            "step": np.concatenate([np.arange(length) for length in lengths]),
        }
        for name in ("obs", "action", "reward", "q", "qd", "qpos", "qvel", "done"):
            values = getattr(self, name)
            rows = torch.cat([values[:length, episode] for episode, length in enumerate(lengths)]).numpy()
            columns |= {name: rows} if rows.ndim == 1 else {f"{name}.{i}": rows[:, i] for i in range(rows.shape[1])}
        return columns


def _parquet_writer(columns: dict[str, np.ndarray]) -> Callable[[Path], None]:
    """Return what writes a table.

    Raises:
        ImportError: in one line, without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("a table as .parquet needs pyarrow: pip install pyarrow; .npz and .pt do not") from error
    return lambda path: parquet.write_table(pyarrow.table(columns), path)


def _write_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


@torch.no_grad()
def record(
    module: Any,
    make_env: Callable[..., Any],
    episodes: int,
    deterministic: bool = False,
    seed: int = EVALUATION_SEED,
) -> Trajectories:
    """Run one full episode in each of `episodes` fresh environments, which are closed after it, and keep all of it."""
    with closing(make_env(num_envs=episodes, seed=seed)) as env:
        return _recorded(env, module, episodes, deterministic, seed)


def _recorded(env: Any, module: Any, episodes: int, deterministic: bool, seed: int) -> Trajectories:
    play = module.player(episodes, deterministic, torch.Generator().manual_seed(seed + 1))
    obs = env.detach()
    running = torch.ones(episodes, dtype=torch.bool, device=env.device)
    length = torch.zeros(episodes, dtype=torch.int64, device=env.device)
    rows: list[tuple[Tensor, ...]] = []
    for _ in range(env.max_episode_steps):
        q, qd, _ = env.get_state()
        action = play(obs)
        step = env.step(action)
        ended = running & (step.terminated | step.truncated)
        values = (obs, action, step.reward[:, None], q, qd)
        rows.append((*(torch.where(running[:, None], value, torch.nan).cpu() for value in values), ended.cpu()))
        length += running
        running = running & ~ended
        if not running.any():
            break
        obs = step.obs
    obs, action, reward, q, qd, done = (torch.stack(column) for column in zip(*rows, strict=True))
    qpos, qvel = _in_mujocos(env, q, qd)
    return Trajectories(obs, action, reward.squeeze(-1), q, qd, qpos, qvel, done, length.cpu())


def _in_mujocos(env: Any, q: Tensor, qd: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates (T, N, ...) as MuJoCo has them, of width 0 for environments that are none of this engine."""
    from rpo_lightning.sim import Model, to_mujoco

    if not isinstance(model := getattr(env, "model", None), Model):
        return q[..., :0], qd[..., :0]
    qpos, qvel = to_mujoco(model, q.flatten(0, 1), qd.flatten(0, 1))
    return qpos.view_as(q), qvel.view_as(qd)
