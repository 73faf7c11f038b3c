"""Two gloo processes on tasks that are not our own simulator's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.algorithms import processes
from tests.algorithms.drivers import largest_difference
from tests.algorithms.processes import TASKS, UNION_OF_TASKS, fit_union, run_ranks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(processes.tasks, tmp_path_factory.mktemp("tasks"))


@pytest.mark.parametrize("task", TASKS.values())
def test_ranks_of_other_simulators_learn_the_same_from_different_starts(task: str, tasks: list[dict]) -> None:
    first, second = (result[task] for result in tasks)
    assert largest_difference(*first["states"]) > 0.0
    assert largest_difference(first["states"][1], second["states"][1]) == 0.0
    assert not torch.isclose(first["obs"], second["obs"]).all(1).any()
    assert first["env_steps"] == 2 * 2 * 4 * 8


@pytest.mark.parametrize(("name", "task"), UNION_OF_TASKS)
def test_two_processes_match_one_on_the_union_of_other_simulators(
    name: str, task: str, tasks: list[dict], tmp_path: Path
) -> None:
    first, second = (result[name, task] for result in tasks)
    alone, _ = fit_union(name, tmp_path, env=task)
    assert largest_difference(first, second) == 0.0
    assert largest_difference(first, alone) < 1e-5  # values of some 30, in float32
