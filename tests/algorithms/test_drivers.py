"""The traps of Lightning: stale batches, counters, exact resume, one result under every driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import DummyLogger

from rpo_lightning.algorithms import RPO
from rpo_lightning.rollout import Collector, RolloutBatch, RolloutDataModule
from tests.algorithms.drivers import (
    Record,
    UnionData,
    largest_difference,
    make_data,
    make_rpo,
    make_trainer,
    run_fabric,
    snapshot,
)


@pytest.mark.parametrize("validate", [False, True])
def test_every_window_is_collected_by_the_policy_that_trains_on_it(validate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    collect, collected, lags = Collector.collect, {}, []

    def tagged(self: Collector, agent: Any) -> RolloutBatch:
        batch = collect(self, agent)
        collected[batch.seed] = agent.iteration
        return batch

    class Lag(Record):
        def on_rollout_end(self, module: RPO, batch: RolloutBatch) -> None:
            lags.append(module.iteration - collected[batch.seed])

    monkeypatch.setattr(Collector, "collect", tagged)
    options = {"limit_val_batches": 1.0} if validate else {}
    trainer = make_trainer(callbacks=[Lag()], max_epochs=2, **options)
    trainer.fit(make_rpo(), datamodule=make_data(4))
    assert lags == [0] * 8
    assert len(collected) == 8


def test_reduced_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer\.precision: rpo needs 32-true, got bf16-mixed"):
        make_trainer(precision="bf16-mixed").fit(make_rpo(), datamodule=make_data())


def test_validation_runs_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(RPO, "validation_step", lambda self, batch, batch_idx: calls.append(batch))
    make_trainer(limit_val_batches=1.0).validate(make_rpo(), datamodule=make_data(), verbose=False)
    assert calls == [0]


def test_trainer_and_fabric_agree_bit_by_bit() -> None:
    states = []
    for driver in ("trainer", "fabric"):
        module, data = make_rpo(), UnionData(None, iterations_per_epoch=3)
        if driver == "trainer":
            make_trainer().fit(module, datamodule=data)
        else:
            run_fabric(module, data)
        states.append(snapshot(module))
    assert largest_difference(*states) == 0.0


def test_global_step_counts_iterations(tmp_path: Path) -> None:
    checkpoints = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    trainer = make_trainer(tmp_path, callbacks=[checkpoints], max_epochs=5, max_steps=7)
    module = make_rpo()
    trainer.fit(module, datamodule=make_data(4))
    assert trainer.global_step == module.iteration == 7
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["step=192.ckpt", "step=384.ckpt"]


# The logged `step`, environment steps, is what "{step}" in a file name means: 64 per iteration here.


def train(folder: Path, resume: str | None = None, **checkpointing: Any) -> tuple[RPO, Record]:
    """Train two epochs of four iterations, or continue, and return the module and the metrics seen."""
    record = Record()
    callbacks = [record, ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **checkpointing)]
    module = make_rpo(shuffle=True)
    data = make_data(4, seed=5 if resume is None else 77)
    make_trainer(folder, callbacks=callbacks, max_epochs=2).fit(module, datamodule=data, ckpt_path=resume)
    return module, record


@pytest.mark.parametrize(
    ("checkpointing", "step"),
    [
        ({"save_on_train_epoch_end": True}, 4),
        ({"every_n_train_steps": 3}, 3),
        ({"every_n_train_steps": 4}, 4),
        ({"every_n_train_steps": 5}, 5),
    ],
)
def test_a_resumed_run_is_the_straight_run(tmp_path: Path, checkpointing: dict[str, Any], step: int) -> None:
    straight, expected = train(tmp_path / "straight", **checkpointing)
    resumed, metrics = train(tmp_path / "resumed", str(tmp_path / f"straight/step={64 * step}.ckpt"), **checkpointing)
    assert metrics.metrics == expected.metrics[step:]
    assert len(metrics.metrics) == 8 - step
    assert largest_difference(snapshot(straight), snapshot(resumed)) == 0.0
    assert resumed.env_steps == straight.env_steps == 8 * 64


def test_checkpoints_hold_only_tensors_and_plain_types(tmp_path: Path) -> None:
    train(tmp_path, every_n_train_steps=3)
    checkpoint = torch.load(tmp_path / "step=192.ckpt", weights_only=True)
    assert checkpoint["rpo_lightning"]["env_steps"] == 3 * 64
    assert checkpoint["RolloutDataModule"]["num_envs"] == 8
    assert RPO.load_from_checkpoint(tmp_path / "step=192.ckpt").iteration == 3


def test_a_checkpoint_of_another_algorithm_or_shape_is_refused(tmp_path: Path) -> None:
    train(tmp_path, every_n_train_steps=3)

    class Other(RPO):
        name = "other"

    module = Other(3, 1, 4096, hidden=(16, 16))
    with pytest.raises(ValueError, match="is of algorithm rpo, obs_dim 3, action_dim 1, but the run is other"):
        make_trainer(tmp_path).fit(module, datamodule=make_data(), ckpt_path=str(tmp_path / "step=192.ckpt"))


def test_rollout_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(tmp_path, every_n_train_steps=3)
    with pytest.raises(ValueError, match=r"num_envs=8, processes=1, but this run has .*num_envs=4, processes=1"):
        make_trainer(tmp_path).fit(make_rpo(), datamodule=make_data(num_envs=4), ckpt_path=str(tmp_path / "step=192.ckpt"))


def test_a_checkpoint_without_this_data_module_is_refused(tmp_path: Path) -> None:
    """Lightning stores the state under the class's name and skips a missing one without a word."""
    train(tmp_path, every_n_train_steps=3)

    class Renamed(RolloutDataModule):
        pass

    data = make_data()
    data.__class__ = Renamed
    with pytest.raises(ValueError, match=r"restored at iteration 3, but its checkpoint has no state of .*Renamed"):
        make_trainer(tmp_path).fit(make_rpo(), datamodule=data, ckpt_path=str(tmp_path / "step=192.ckpt"))


def test_metrics_are_logged_against_environment_steps() -> None:
    class Logged(Record):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            logged.append({k: float(v) for k, v in trainer.callback_metrics.items()})
            super().on_train_batch_end(trainer, pl_module, *args)

    logged: list[dict[str, float]] = []
    record = Logged()
    make_trainer(callbacks=[record]).fit(make_rpo(), datamodule=make_data(4))
    assert [entry["step"] for entry in logged] == [64.0, 128.0, 192.0, 256.0]
    names = {
        *("actor/kl", "actor/effective_samples", "actor/max_ratio", "actor/grad_norm", "actor/entropy"),
        *("actor/std", "actor/kl_coef", "critic/loss", "actor/lr", "critic/lr", "train/return"),
        *("train/episode_length", "nan/nonfinite_grad_frac", "nan/invalid_envs", "nan/skipped_updates"),
        *("time/rollout", "time/update", "time/steps_per_second"),
    }
    assert names <= logged[-1].keys()
    assert all(record.metrics[-1][n] == pytest.approx(logged[-1][n]) for n in names if n[:4] != "time")


def test_a_loop_of_one_s_own_gives_way_to_the_trainer() -> None:
    module, data, record = make_rpo(), make_data(2), Record()
    data.attach(module).setup("fit")
    metrics = [module.training_step(batch, 0) for batch in data.train_dataloader()]
    assert [row["actor/kl"] > 0 for row in metrics] == [True, True]
    assert type(module.driver).__name__ == "PlainDriver"
    trainer = make_trainer(callbacks=[record])
    trainer.fit(module, datamodule=data)
    assert (trainer.global_step, len(record.metrics)) == (2, 2)


def test_fabric_logs_at_environment_steps_and_calls_hooks() -> None:

    class Sink(DummyLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            steps.append(step)

    class Hooked(Record):
        def on_actor_epoch_end(self, module: RPO, epoch: int, metrics: dict[str, torch.Tensor]) -> None:
            epochs.append(epoch)

    steps: list[int | None] = []
    epochs: list[int] = []
    run_fabric(make_rpo(), make_data(2), loggers=Sink(), callbacks=[Hooked()])
    assert steps == [64, 128]
    assert epochs == [0, 1, 2] * 2
