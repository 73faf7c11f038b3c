"""Three gloo processes against one on the union of their environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.algorithms import processes
from tests.algorithms.drivers import largest_difference
from tests.algorithms.processes import THREE, fit_union, run_ranks


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(processes.three, tmp_path_factory.mktemp("three"), world=3)


@pytest.mark.parametrize("name", THREE)
def test_three_processes_match_one_on_the_union(name: str, three: list[dict], tmp_path: Path) -> None:
    alone, _ = fit_union(name, tmp_path, 9)
    assert all(largest_difference(three[0][name], other[name]) == 0.0 for other in three[1:])
    assert largest_difference(three[0][name], alone) < 1e-6
