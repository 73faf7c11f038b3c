"""Measure policies on the task that each was trained on, and write what was found beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rpo_lightning import envs, make
from rpo_lightning.callbacks.evaluation import EVALUATION_SEED
from rpo_lightning.files import write_json
from rpo_lightning.provenance import code_version
from rpo_lightning.trained_policy import Policy, load_policy

Measure = Callable[[Policy, Any], dict[str, float]]
"""Of a policy and environments that do not reset by themselves, the figures."""


Options = Callable[[type], Mapping[str, Any]]
"""Of a class of environments, what replaces options of the training."""


def measure_policies(
    description: str | None, measure: Measure, file: str, options: Options, arguments: Sequence[str] | None
) -> None:
    """Measure each policy of a command line, from starts of a seed that no training has.

    Args:
        description: of the command.
        measure: see above.
        file: name of what is written beside the policy: the commit, and the figures.
        options: see above.
        arguments: of the command line; None: those of this process.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="+", type=Path, help="policy.pt of a task that is measured here")
    parser.add_argument("--episodes", type=int, default=128)
    given = parser.parse_args(arguments)
    for path in given.policies:
        policy = load_policy(path)
        task = policy.metadata["env"]
        replaced = {**task["init_args"], **options(envs.env_class(task["name"])), "auto_reset": False}
        figures = measure(policy, make(task["name"], given.episodes, seed=EVALUATION_SEED, **replaced))
        figures = {name: round(value, 4) for name, value in figures.items()}
        write_json(path.with_name(file), {"commit": code_version(), **figures})
        print(path, figures, flush=True)
