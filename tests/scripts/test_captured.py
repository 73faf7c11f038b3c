"""An update that is recorded and replayed learns what one does that is launched operator by operator."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from gpu.capture import everything
from gpu.recorded_graph import RecordedGraph
from torch import Tensor

import rpo_lightning
from rpo_lightning import algorithms
from rpo_lightning.algorithms.base import RLModule
from rpo_lightning.algorithms.captured import PATIENCE, REHEARSALS, CapturedUpdate
from rpo_lightning.driver import PlainDriver
from rpo_lightning.rollout import Collector, RolloutBatch

N, H, BUDGET = 8, 8, 1000
FIRST_ORDER: dict[str, Any] = {"hidden": (8,), "critic_epochs": 2, "critic_minibatches": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "RPO": {**FIRST_ORDER, "actor_epochs": 3, "kl_limit": 0.01, "gradient_limit": 2.0, "gradient_lambda": 0.9},
    "NAPG": {**FIRST_ORDER, "iterations": 3},
    "SHAC": {**FIRST_ORDER, "target_smoothing": 0.2, "shuffle": True},
    "SAPO": FIRST_ORDER,
    "PPO": {"hidden": (8,), "actor_epochs": 2, "minibatch_size": 32, "lr_schedule": "linear"},
    "REPPO": {"hidden": (8,), "critic_width": 8, "epochs": 2, "minibatch_size": 32, "lr_schedule": "linear"},
}


class Told:
    """Keeps what a hook is called with."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, Tensor]] = []

    def on_actor_epoch_end(self, module: Any, epoch: int, metrics: dict[str, Tensor]) -> None:
        """Keep the number and the KL."""
        self.epochs.append((epoch, metrics["kl"]))


def made(name: str, **options: Any) -> RLModule:
    torch.manual_seed(0)
    env = rpo_lightning.make("cartpole", 1)
    return getattr(algorithms, name)(env.obs_dim, env.action_dim, BUDGET, **{**OPTIONS[name], **options})


def windows(module: RLModule, count: int) -> list[RolloutBatch]:
    """Collect windows in which episodes end, by a policy that stays as it is."""
    collector = Collector(rpo_lightning.make("cartpole", N, seed=0, episode_length=5), H, seed=1)
    return [collector.collect(copy.deepcopy(module)) for _ in range(count)]


def learned(module: RLModule, batches: list[RolloutBatch], captured: bool, callback: Any = None) -> list[dict[str, float]]:
    """Learn from windows, and return the metrics of each."""
    module.driver = PlainDriver(module, [] if callback is None else [callback])
    if captured:
        module._captured = CapturedUpdate(module, RecordedGraph)
    return [module.training_step(batch, 0) for batch in batches]


def replays(module: RLModule) -> bool:
    return module._captured is not None and module._captured.replaying


def weights(module: RLModule) -> dict[str, Tensor]:
    return {name: value for name, value in everything(module).items() if name in dict(module.named_parameters())}


@pytest.mark.parametrize("name", OPTIONS)
def test_replays_learn_what_launches_do(name: str) -> None:
    plain, taped = made(name), made(name)
    batches, first = windows(plain, REHEARSALS + 4), weights(plain)
    expected, found = learned(plain, batches, False), learned(taped, batches, True)
    assert replays(taped)
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"time/update", "time/steps_per_second", "time/rollout"}:
            torch.testing.assert_close(
                other[key], one[key], rtol=1e-4, atol=1e-6, msg=lambda told, key=key: f"{key}: {told}"
            )
    theirs = everything(taped)
    for key, value in everything(plain).items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-4, atol=1e-6, msg=lambda told, key=key: f"{key}: {told}")
    assert any(not torch.equal(value, theirs[key]) for key, value in first.items())


def test_optimizers_are_left_as_they_were_found() -> None:
    module = made("RPO")
    learned(module, windows(module, REHEARSALS + 2), True)
    for optimizer, initial in zip(module.driver.optimizers(), (module.actor_lr, module.critic_lr), strict=True):
        (group,) = optimizer.param_groups
        module.env_steps -= N * H  # of the last window
        assert type(group["lr"]) is float
        assert group["lr"] == module.learning_rate(initial)
        assert not group["capturable"]
        module.env_steps += N * H


def test_hooks_are_told_of_every_window() -> None:
    module, other, mine, theirs = made("RPO"), made("RPO"), Told(), Told()
    batches = windows(module, REHEARSALS + 3)
    learned(module, batches, True, mine), learned(other, batches, False, theirs)
    assert [epoch for epoch, _ in mine.epochs] == [0, 1, 2] * len(batches)
    found, expected = ([float(kl) for _, kl in told.epochs] for told in (mine, theirs))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert found[-1] != found[-4]


def test_what_changes_is_recorded_anew(caplog: pytest.LogCaptureFixture) -> None:
    plain, taped = made("RPO"), made("RPO")
    batches = windows(plain, 12 * PATIENCE)
    for module in (plain, taped):
        learned(module, [], module is taped)
        for i, batch in enumerate(batches):
            if i % 6 == 5:
                module.entropy_coef += 0.1
            module.kl_coef.fill_(0.1 + 0.01 * i)  # a buffer, which a graph reads
            module.training_step(batch, 0)
    for key, value in everything(plain).items():
        torch.testing.assert_close(everything(taped)[key], value, rtol=1e-3, atol=1e-5)
    assert "rpo: entropy_coef keeps changing, so that updates are no longer captured." in caplog.messages
    assert not replays(taped)


def test_a_change_now_and_then_is_followed_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpo_lightning.algorithms.captured.WORTH", 2)
    module = made("SAPO")
    batches = windows(module, (PATIENCE + 1) * (REHEARSALS + 2))
    learned(module, [], True)
    for i, batch in enumerate(batches):
        if i % (REHEARSALS + 2) == 0:
            module.discount -= 0.01
        module.training_step(batch, 0)
    assert replays(module)


def test_a_weight_that_moves_is_noticed() -> None:
    plain, taped = made("RPO"), made("RPO")
    batches = windows(plain, REHEARSALS + 5)
    for module in (plain, taped):
        learned(module, batches[:-2], module is taped)
        for state in module.driver.optimizers()[0].state.values():  # as a checkpoint that is loaded does
            state["exp_avg"] = state["exp_avg"].clone()
        for batch in batches[-2:]:
            module.training_step(batch, 0)
    for key, value in everything(plain).items():
        torch.testing.assert_close(everything(taped)[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("RPO", {"lr_schedule": "kl"}, "lr_schedule kl asks the device for the KL of every step"),
        ("SAC", {"hidden": (8,)}, "its update asks the device for numbers on its way"),
        ("GIPPO", {}, "its update asks the device for numbers on its way"),
        ("NAPG", {"fisher_stride": 2}, "fisher_stride takes other steps of every window"),
        ("REPPO", {"action_grad_coef": 1.0}, "action_grad_coef asks the device which gradients are finite"),
    ],
)
def test_what_cannot_be_captured_is_refused(name: str, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: capture is not possible: {why}"):
        getattr(algorithms, name)(3, 1, BUDGET, capture=True, **options)


def test_on_a_cpu_there_is_nothing_to_capture() -> None:
    plain, asked = made("RPO"), made("RPO", capture=True)
    batches = windows(plain, REHEARSALS + 2)
    learned(plain, batches, False), learned(asked, batches, False)
    assert asked._captured is None
    for key, value in everything(plain).items():
        torch.testing.assert_close(everything(asked)[key], value, rtol=0.0, atol=0.0)


def test_it_is_captured_after_the_rehearsals() -> None:
    module = made("SAPO")
    batches = windows(module, REHEARSALS + 1)
    learned(module, batches[:-1], True)
    assert not replays(module)
    module.training_step(batches[-1], 0)
    assert replays(module)


def test_what_optimizers_are_told_is_followed() -> None:
    plain, taped = made("SAPO"), made("SAPO")
    batches = windows(plain, 2 * REHEARSALS + 4)
    for module in (plain, taped):
        learned(module, batches[: REHEARSALS + 2], module is taped)
        _, critics, temperature = (optimizer.param_groups[0] for optimizer in module.driver.optimizers())
        critics["weight_decay"], temperature["lr"] = 5.0, 0.1
        for batch in batches[REHEARSALS + 2 :]:
            module.training_step(batch, 0)
    assert replays(taped)
    for key, value in everything(plain).items():
        torch.testing.assert_close(everything(taped)[key], value, rtol=1e-4, atol=1e-6)


class Counting(algorithms.RPO):
    """Reads what is no option."""

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Tell the iteration besides."""
        return {**super().update(batch), "count": float(self.iteration)}


class Looking(algorithms.RPO):
    """Waits for the device."""

    def update(self, batch: RolloutBatch) -> dict[str, Tensor | float]:
        """Look at a reward besides."""
        metrics = super().update(batch)
        return {**metrics, "first": batch.reward[0, 0].item()}


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Counting, "it reads `iteration`, which would be the same in every replay"),
        (Looking, r"rpo: the update cannot be captured \(_local_scalar_dense: .*\); train with capture: false."),
    ],
)
def test_what_a_replay_could_not_follow_ends_in_a_sentence(kind: type[RLModule], why: str) -> None:
    env = rpo_lightning.make("cartpole", 1)
    module = kind(env.obs_dim, env.action_dim, BUDGET, **FIRST_ORDER)
    with pytest.raises(RuntimeError, match=why):
        learned(module, windows(module, REHEARSALS + 1), True)
    for optimizer in module.driver.optimizers():
        assert all(type(group["lr"]) is float and not group["capturable"] for group in optimizer.param_groups)
