"""Evaluate policies of the paper's tasks under three kinds of physics, and write what comes out beside each: physics.json.

    python scripts/validate_physics.py results/humanoid/rpo/seed_0/policy.pt ...

As `rpo-lightning validate` does, 128 episodes each: "near", with the tasks' default, the paper's physics with digits at any
distance; "world", the same with vectors about the world's origin (`reference_point: world`), far from which the
reference's digits end, and so its episodes; and "exact", with `physics: right` and the mass matrix rebuilt in every
substep. `scripts/physics_table.py` makes the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rpo_lightning import make
from rpo_lightning.callbacks.evaluation import EVALUATION_SEED, evaluate
from rpo_lightning.envs import env_class
from rpo_lightning.envs.protocol import Step
from rpo_lightning.envs.reference_task import ReferenceTask
from rpo_lightning.files import write_json
from rpo_lightning.provenance import code_version
from rpo_lightning.sim import Model
from rpo_lightning.trained_policy import load_policy

OPTIONS: Mapping[str, dict[str, Any]] = {
    "near": {"physics": "paper"},
    "world": {"physics": "paper", "reference_point": "world"},
    "exact": {"physics": "right"},
}
"""Of the task, by the name of the physics; whatever a policy was trained under."""
QUANTILES = (0.05, 0.5, 0.95)
"""Of the step and the place [m] at which episodes end."""


def watched(task: str, exact: bool) -> type:
    """Return a task of the paper that remembers when and where each environment's first episode ended.

    Raises:
        SystemExit: for another task.
    """
    base: Any = env_class(task)
    if not issubclass(base, ReferenceTask):
        raise SystemExit(f"{task} is no task of DFlex, whose physics is in question here")

    class Watched(base):
        def prepare(self) -> None:
            super().prepare()
            self.going, self.broken = (torch.full((self.num_envs,), begun) for begun in (True, False))
            self.ends = {"steps": torch.zeros(self.num_envs), "forward": torch.zeros(self.num_envs)}

        def edit(self, model: Model) -> None:
            super().edit(model)
            if exact:
                self.mass_matrix_interval = 1

        def step(self, action: Tensor) -> Step:
            ends = self.ends
            self.ends = {
                "steps": ends["steps"] + self.going,
                "forward": torch.where(self.going, self.q[:, 0], ends["forward"]),
            }
            taken = super().step(action)
            self.broken = self.broken | (self.going & self.invalid)
            self.going = self.going & ~(taken.terminated | taken.truncated)
            return taken

    return Watched


def measure(path: Path, episodes: int) -> dict[str, Any]:
    """Return for each physics what `validate` prints, and quantiles of where its episodes end, [step] and [m]."""
    policy = load_policy(path)
    task = policy.metadata["env"]
    found: dict[str, Any] = {}
    for name, options in OPTIONS.items():
        found[name] = {}
        for kind in ("sampled", "deterministic"):
            given = {**task["init_args"], **options}
            env = make(watched(task["name"], name == "exact"), episodes, seed=EVALUATION_SEED, **given)
            result = evaluate(policy.module, lambda env=env, **_: env, episodes, kind == "deterministic")
            result = {key: round(value, 2) for key, value in result.items()} | {"broken": int(env.broken.sum())}
            found[name][kind] = {**result, **{key: _quantiles(value) for key, value in env.ends.items()}}
            print(path, name, kind, found[name][kind], flush=True)
    return found


def _quantiles(values: Tensor) -> list[float]:
    return [round(value, 1) for value in values.quantile(torch.tensor(QUANTILES)).tolist()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="+", type=Path, help="policy.pt")
    parser.add_argument("--episodes", type=int, default=128)
    given = parser.parse_args(arguments)
    for path in given.policies:
        figures = measure(path, given.episodes)
        write_json(path.with_name("physics.json"), {"commit": code_version(), "eval": figures})


if __name__ == "__main__":
    main()
