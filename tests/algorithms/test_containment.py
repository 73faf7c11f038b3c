"""Nothing that is not finite is learned from, with or without a guard among the callbacks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from rpo_lightning.algorithms import RLModule
from rpo_lightning.algorithms.containment import NonFiniteError
from rpo_lightning.envs.protocol import Step
from rpo_lightning.nn import RunningNormalizer
from rpo_lightning.rollout import RolloutBatch
from tests.algorithms.drivers import ALGORITHMS, Record, largest_difference, make_algorithm, make_data, run_fabric, snapshot
from tests.toy import PointMass


class Poison(Record):
    """Put a value into every window from some iteration on."""

    def __init__(self, quantity: str, value: float, first: int = 1) -> None:
        super().__init__()
        self.quantity, self.value, self.first = quantity, value, first

    def on_rollout_end(self, module: RLModule, batch: RolloutBatch) -> None:
        """Poison one entry."""
        if module.iteration >= self.first:
            getattr(batch, self.quantity)[1, 2] = self.value


class Skip(Record):
    """Leave every window out."""

    def on_rollout_end(self, module: RLModule, batch: RolloutBatch) -> None:
        """Say so."""
        module.skip_update = True


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("quantity", ["obs", "reward", "sample", "next_value"])
def test_a_broken_window_changes_nothing_even_without_a_guard(name: str, quantity: str) -> None:
    module, states = make_algorithm(name), []

    class Look(Record):
        def on_train_batch_end(self, trainer: Any, pl_module: RLModule, outputs: Any, batch: Any, batch_idx: int) -> None:
            states.append(snapshot(pl_module))

    run_fabric(module, make_data(3), callbacks=[Poison(quantity, torch.nan), Look()])
    assert largest_difference(states[0], states[1]) == largest_difference(states[1], states[2]) == 0.0
    assert module.refused_in_a_row == 2


class Breaking(PointMass):
    """The state of one of eight environments breaks in every step, which the environment contains."""

    def step(self, action: Tensor) -> Step:
        """Mark it."""
        step = super().step(action)
        self.invalid = torch.arange(self.num_envs) == 0
        return step._replace(terminated=step.terminated | self.invalid)


def test_a_window_that_is_mostly_repaired_is_left_out_even_without_a_guard() -> None:
    module, data = make_algorithm("ppo"), make_data(20)
    data.env = Breaking
    before = snapshot(module)
    with pytest.raises(NonFiniteError, match=r"10 iterations in a row .*: state or reward in 12% of a window that was left"):
        run_fabric(module, data)
    assert largest_difference(before, snapshot(module)) == 0.0
    module.tolerated = 0.2
    module.refused_in_a_row = 0
    run_fabric(module, data)
    assert largest_difference(before, snapshot(module)) > 0.0


def test_a_run_that_cannot_learn_stops_and_says_of_what() -> None:
    module = make_algorithm("rpo")
    with pytest.raises(
        NonFiniteError, match=r"rpo stopped: 10 iterations in a row .*not finite: reward of the window. A smaller"
    ):
        run_fabric(module, make_data(20), callbacks=[Poison("reward", torch.inf)])
    assert module.iteration == 11
    module = make_algorithm("rpo")
    with pytest.raises(
        NonFiniteError, match="10 iterations in a row .* because of a callback or another process, which left"
    ):
        run_fabric(module, make_data(20), callbacks=[Skip()])
    module = make_algorithm("ppo")
    module.apply_gradients = refusing(module)  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="not finite: the gradients of the update, from a window with .* up to"):
        run_fabric(module, make_data(20))


def refusing(module: RLModule) -> Any:
    """Return a step that is always refused."""

    def apply(*args: Any) -> Tensor:
        module.nonfinite_updates += 1
        return torch.tensor(torch.inf)

    return apply


def test_a_normaliser_fed_one_row_stays_finite() -> None:
    normalizer = RunningNormalizer(2)
    for row in ([1.0, 2.0], [3.0, 2.0]):
        normalizer.update(torch.tensor([row]))
    assert normalizer.var.isfinite().all()
    assert normalizer.mean.tolist() == pytest.approx([4.0 / 3.0, 4.0 / 3.0])
    assert float(normalizer.count) == 3.0


def test_sac_learns_with_one_environment_and_one_step() -> None:
    module = make_algorithm("sac", batch_size=4)
    metrics = run_fabric(module, make_data(6, num_envs=1, horizon=1))
    assert all(value == value for row in metrics for key, value in row.items() if key.startswith(("actor", "critic")))
    assert all(value.isfinite().all() for value in snapshot(module).values())


def test_fewer_steps_than_minibatches_make_fewer_minibatches(caplog: pytest.LogCaptureFixture) -> None:
    metrics = run_fabric(make_algorithm("rpo"), make_data(2, num_envs=1, horizon=2))
    assert all(row["critic/loss"] == row["critic/loss"] for row in metrics)
    assert caplog.text.count("critic_minibatches is 4, but a window has 2 steps") == 1


def test_a_copy_of_a_module_copies_no_simulator() -> None:
    module, data = make_algorithm("rpo"), make_data(2)
    run_fabric(module, data)
    assert module.make_env is not None
    twin = copy.deepcopy(module)
    assert twin.make_env is None
    assert twin._driver is None
    assert module._driver is not None
    assert largest_difference(snapshot(module), snapshot(twin)) == 0.0
