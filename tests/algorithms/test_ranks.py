"""Two gloo processes against one on the union of their environments."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rpo_lightning
from rpo_lightning.nn import RunningNormalizer
from rpo_lightning.rollout import Collector
from tests.algorithms.drivers import largest_difference, make_rpo, make_trainer, snapshot
from tests.algorithms.two_processes import APART, UNION, critic_loss, on_union, union_data
from tests.toy import PointMass

ROOT = Path(__file__).parents[2]


def run_two(task: str, folder: Path) -> list[dict]:
    """Run a task of two_processes.py and return what both processes saved."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    source = str(Path(rpo_lightning.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, str(ROOT)]), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.algorithms.two_processes", task, index, port, str(folder)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in ("0", "1")
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return [torch.load(folder / f"{task}{index}.pt", weights_only=True) for index in (0, 1)]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_two("trainer", tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_two("fabric", tmp_path_factory.mktemp("fabric"))


@pytest.mark.parametrize("name", UNION)
def test_two_processes_match_one_on_the_union(name: str, trainer: list[dict], fabric: list[dict]) -> None:
    module = on_union(name)
    make_trainer().fit(module, datamodule=union_data())
    for first, second in (trainer, fabric):
        assert largest_difference(first["union"][name], second["union"][name]) == 0.0
        assert largest_difference(first["union"][name], snapshot(module)) < 1e-6


@pytest.mark.parametrize("name", APART)
def test_ranks_stay_equal_and_each_resumes_its_own_simulator_and_buffer(name: str, trainer: list[dict]) -> None:
    first, second = (result["apart"][name] for result in trainer)
    for result in (first, second):
        assert largest_difference(*result["states"]) == 0.0
        assert torch.equal(*result["positions"])
        assert largest_difference(*({key: rows.float() for key, rows in b.items()} for b in result["buffers"])) == 0.0
        assert result["env_steps"] == 2 * 4 * 64
    assert largest_difference(first["states"][0], second["states"][0]) == 0.0
    assert not torch.equal(first["positions"][0], second["positions"][0])
    if name == "sac":
        assert first["buffers"][0]["obs"].shape == (25, 8, 3)
        assert not torch.equal(first["buffers"][0]["obs"], second["buffers"][0]["obs"])


@pytest.mark.parametrize("name", sorted({*UNION, *APART}))
def test_metrics_are_equal_on_all_ranks(name: str, trainer: list[dict]) -> None:
    """A callback may decide by them."""
    first, second = (result["metrics"][name] for result in trainer)
    assert len(first) >= 3
    assert first == second


def test_the_averaged_gradient_is_that_of_the_union(fabric: list[dict]) -> None:
    module = make_rpo(entropy_coef=0.0)
    batch = Collector(PointMass(8, seed=1), 8, seed=1).collect(module)
    expected = torch.autograd.grad(critic_loss(module, batch), list(module.critics.ensemble.parameters()))
    for result in fabric:
        for ours, theirs in zip(result["gradient"], expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_normaliser_is_equal_on_all_ranks_and_saw_all_data(fabric: list[dict]) -> None:
    data = [torch.randn(50, 3, generator=torch.Generator().manual_seed(r)) + r for r in (0, 1)]
    expected = RunningNormalizer(3)
    expected.update(torch.cat(data))
    for result in fabric:
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(result["normalizer"][name], value)
    assert torch.equal(fabric[0]["normalizer"]["var"], fabric[1]["normalizer"]["var"])


def test_a_skip_on_one_rank_skips_on_both(fabric: list[dict]) -> None:
    for result in fabric:
        assert largest_difference(*result["skipped"]) == 0.0


def test_what_one_rank_alone_sees_is_decided_by_both(fabric: list[dict]) -> None:
    """A rank that went another way would wait for the other for ever."""
    for result in fabric:
        decided = result["decisions"]
        assert decided["factor"] == pytest.approx(1 / 1.02)  # one policy has become too wide
        assert decided["max_ratio"] == 1.0  # one is far away: ratios are to the alpha policy everywhere
        assert (decided["fitted"], decided["calls"]) == (False, 16)  # the mean of both losses rises


def test_ranks_explore_with_different_noise(fabric: list[dict]) -> None:
    assert not torch.equal(fabric[0]["noise"], fabric[1]["noise"])
