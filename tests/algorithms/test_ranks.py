"""Two gloo processes against one on the union of their environments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rpo_lightning.nn import RunningNormalizer
from rpo_lightning.rollout import Collector
from tests.algorithms import processes
from tests.algorithms.drivers import largest_difference, make_rpo
from tests.algorithms.processes import APART, UNION, critic_loss, fit_union, run_ranks
from tests.toy import PointMass


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(processes.trainer, tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def fabric() -> list[dict]:
    return run_ranks(processes.fabric)


@pytest.mark.parametrize("name", UNION)
def test_two_processes_match_one_on_the_union(name: str, trainer: list[dict], fabric: list[dict], tmp_path: Path) -> None:
    alone, _ = fit_union(name, tmp_path)
    for first, second in (trainer, fabric):
        assert largest_difference(first["union"][name], second["union"][name]) == 0.0
        assert largest_difference(first["union"][name], alone) < 1e-6


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
        assert (decided["taken_back"], decided["calls"]) == (8, 16)  # the mean of both losses rises


def test_ranks_explore_with_different_noise(fabric: list[dict]) -> None:
    assert not torch.equal(fabric[0]["noise"], fabric[1]["noise"])
