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
from rpo_lightning.files import write_atomically

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
    done: Tensor
    """The episode ended with this step, (T, N) bool."""
    length: Tensor
    """Steps of each episode, (N,) int64."""

    def mean_return(self) -> float:
        """Return the mean over episodes of the sum of rewards."""
        return self.reward.nansum(0).mean().item()

    def save(self, path: Path) -> None:
        """Write all fields to `path`, by its ending a NumPy archive or a torch file.

        Raises:
            ValueError: if it ends in neither .npz nor .pt.
        """
        tensors = asdict(self)
        if path.suffix == ".npz":
            write_atomically(path, lambda temporary: _write_npz(temporary, tensors))
        elif path.suffix == ".pt":
            write_atomically(path, lambda temporary: torch.save(tensors, temporary))
        else:
            raise ValueError(f"Trajectories are written to .npz or .pt, not to {path}.")


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
    return Trajectories(obs, action, reward.squeeze(-1), q, qd, done, length.cpu())
