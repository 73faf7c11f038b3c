"""What all algorithms owe to the drivers: equal bits, exact resume, metrics, schedules, clear refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Fabric
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from rpo_lightning.algorithms import RLModule
from rpo_lightning.callbacks import NaNGuard
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.rollout import Collector, RolloutBatch
from tests.algorithms.drivers import (
    ALGORITHMS,
    SMALL,
    Record,
    largest_difference,
    make_algorithm,
    make_data,
    make_trainer,
    run_fabric,
    snapshot,
)
from tests.toy import Opaque

EVERY = pytest.mark.parametrize("name", ALGORITHMS)
WITHOUT_GRADIENTS = ("ppo", "reppo", "sac")
STOP = 5
"""Iterations before the run is continued: the second epoch of four has begun, the replay buffer has wrapped."""

# Equal bits


def states(module: RLModule) -> dict[str, Tensor]:
    """Return all parameters and buffers, what optimizers remember, and the replay buffer."""
    found = snapshot(module)
    for index, optimizer in enumerate(module.driver.optimizers()):
        for number, state in enumerate(optimizer.state.values()):
            found |= {f"optimizer {index}, {number}, {key}": value.clone() for key, value in state.items()}
    if hasattr(module, "replay"):
        found |= {f"replay.{key}": value.float() for key, value in module.replay.state_dict().items()}
    return found


def run_trainer(name: str, folder: Path, resume: Path | None = None) -> tuple[RLModule, list[dict[str, float]], dict]:
    record = Record()
    checkpoints = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=STOP)
    module, data = make_algorithm(name), make_data(4, seed=5 if resume is None else 77)
    trainer = make_trainer(folder, callbacks=[record, checkpoints], max_epochs=2)
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    return module, record.metrics, states(module)


def run_driver(name: str, folder: Path, resume: Path | None = None) -> tuple[RLModule, list[dict[str, float]], dict]:
    record = Record()
    fabric = Fabric(accelerator="cpu", devices=1, callbacks=[record])
    module, data = make_algorithm(name), make_data(4, seed=5 if resume is None else 77)
    FabricDriver(fabric, module, data, [record], folder, max_epochs=2, check_val_every_n_epoch=None).fit(resume)
    return module, record.metrics, states(module)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that gives the run of an algorithm under the Trainer, and its checkpoint; every run is made once."""
    runs: dict[str, Any] = {}

    def run(name: str) -> Any:
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            runs[name] = (*run_trainer(name, folder), folder / f"step={64 * STOP}.ckpt")
        return runs[name]

    return run


@EVERY
def test_fabric_gives_the_trainer_s_bits(name: str, straight: Any, tmp_path: Path) -> None:
    _, metrics, expected, _ = straight(name)
    _, ours, found = run_driver(name, tmp_path)
    assert ours == metrics
    assert len(metrics) == 8
    assert largest_difference(found, expected) == 0.0


@EVERY
@pytest.mark.parametrize("run", [run_trainer, run_driver], ids=["trainer", "fabric"])
def test_a_continued_run_is_the_straight_one(name: str, run: Any, straight: Any, tmp_path: Path) -> None:
    module, metrics, expected, checkpoint = straight(name)
    content = torch.load(checkpoint, weights_only=True)
    resumed, ours, found = run(name, tmp_path, checkpoint)
    assert ours == metrics[STOP:]
    assert largest_difference(found, expected) == 0.0
    assert (resumed.iteration, resumed.env_steps, resumed.rates.factor) == (8, 8 * 64, module.rates.factor)
    # what made the algorithm's own state worth keeping
    state = content["rpo_lightning"]
    assert (state["lr_factor"] != 1.0) == (name == "ppo")
    if name == "sac":
        assert state["replay"][0]["reward"].shape == (25, 8)
        assert 8 * STOP > 25
    if name == "gippo":
        assert float(content["state_dict"]["alpha"]) != 0.5
        assert float(content["state_dict"]["gains"][0]) == STOP
    if name == "shac_original":
        fast, slow = (content["state_dict"][f"critics.{part}.0.0.weight"] for part in ("ensemble", "target"))
        assert not torch.equal(fast, slow)
    if name in ("sapo", "sac"):
        assert float(content["state_dict"]["log_temperature"]) != 0.0
    if name == "reppo":
        multipliers = [float(content["state_dict"][key]) for key in ("log_temperature", "log_kl_coef")]
        assert all(abs(value - math.log(0.01)) > 1e-4 for value in multipliers)
        assert float(content["state_dict"]["scaler.largest"]) > 0.0


@EVERY
def test_runs_differ_by_their_seed(name: str, straight: Any) -> None:
    module = make_algorithm(name)
    run_fabric(module, make_data(8, seed=6))
    assert largest_difference(snapshot(module), snapshot(straight(name)[0])) > 0.0


# Windows that are left out


@EVERY
def test_a_window_that_the_guard_skips_changes_only_the_counters(name: str, tmp_path: Path) -> None:
    class Poison(Record):
        def on_rollout_end(self, module: RLModule, batch: RolloutBatch) -> None:
            if module.iteration == 4:
                batch.reward[2, 1] = torch.nan

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            seen.append((states(pl_module), pl_module.rates.factor))
            super().on_train_batch_end(trainer, pl_module, *args)

    seen: list[tuple[dict[str, Tensor], float]] = []
    module, record = make_algorithm(name), Poison()
    make_trainer(tmp_path, callbacks=[record, NaNGuard()]).fit(module, datamodule=make_data(6))
    before, skipped, after = seen[3:]
    assert largest_difference(before[0], skipped[0]) == 0.0
    assert before[1] == skipped[1]
    assert any(not torch.equal(skipped[0][key], after[0][key]) for key in skipped[0])
    assert all(value.isfinite().all() for value in after[0].values())
    assert (module.iteration, module.env_steps) == (6, 6 * 64)
    assert "actor/kl" not in record.metrics[4]
    assert "actor/kl" in record.metrics[5]


# Metrics and schedules


@EVERY
def test_metrics_that_every_algorithm_reports(name: str, straight: Any) -> None:
    _, (_, *metrics), _, _ = straight(name)  # SAC does not learn from its first window
    learning = {"actor/kl", "actor/std", "actor/grad_norm", "actor/entropy", "critic/loss", "actor/lr"}
    guards = {"nan/nonfinite_grad_frac", "nan/invalid_envs", "nan/skipped_updates"}
    for row in metrics:
        assert learning | guards <= row.keys()
        assert all(value == value for value in row.values())
        assert row["actor/kl"] > 0
        assert {metric.split("/")[0] for metric in row} <= {"train", "actor", "critic", "reward", "time", "nan"}
    assert {"train/return", "train/episode_length"} <= metrics[-1].keys()


@EVERY
@pytest.mark.parametrize("schedule", ["exponential", "linear", "constant", "kl"])
def test_every_schedule_moves_the_rates_of_actor_and_critics(name: str, schedule: str) -> None:
    options = {"sac": {"random_windows": 0}, "reppo": {"critic_lr": 5e-4}}.get(name, {})
    module = make_algorithm(name, lr_schedule=schedule, actor_lr=1e-4, total_env_steps=256, **options)
    apply, first = module.apply_gradients, []

    def watching(optimizer: Any, *args: Any) -> Tensor:
        optimizers = module.driver.optimizers()
        first[module.iteration].setdefault(optimizers.index(optimizer), optimizer.param_groups[0]["lr"])
        return apply(optimizer, *args)

    class Begin(Record):
        def on_rollout_end(self, module: RLModule, batch: RolloutBatch) -> None:
            first.append({})

    module.apply_gradients = watching
    metrics = run_fabric(module, make_data(4), callbacks=[Begin()])
    factor, factors = 1.0, set()
    for i, (rates, row) in enumerate(zip(first, metrics, strict=True)):
        expected = {
            "exponential": lambda lr, i=i: lr * (1e-5 / lr) ** (i / 4),
            "linear": lambda lr, i=i: lr + (1e-5 - lr) * i / 4,
            "constant": lambda lr: lr,
            "kl": lambda lr, factor=factor: lr * factor,
        }[schedule]
        if name == "napg":  # its actor has no optimizer
            rates = {0: expected(1e-4), 1: rates[0]}
            row["actor/lr"] = rates[0]
        assert rates[0] == pytest.approx(expected(1e-4))
        if name == "ppo":
            factor = row["actor/lr"] / 1e-4  # moved after every epoch
            continue
        assert row["actor/lr"] == pytest.approx(rates[0])
        assert rates[1] == pytest.approx(expected(5e-4))
        assert row["critic/lr"] == pytest.approx(rates[1])
        if name in ("sapo", "sac"):
            assert rates[2] == 5e-3
        if name == "reppo":
            assert rates[2] == 3e-3
        if schedule == "kl":
            factor *= 1.5 if row["actor/kl"] < 0.004 else 1 / 1.5 if row["actor/kl"] > 0.016 else 1.0
            factors.add(factor)
    assert module.rates.factor == pytest.approx(factor if schedule == "kl" else 1.0)
    assert schedule != "kl" or factors != {1.0}


TABLE_2 = {
    "rpo": {"critic_epochs": 16, "actor_epochs": 5, "actor_lr": 5e-4, "lr_schedule": "exponential", "max_grad_norm": 0.5},
    "shac": {"critic_epochs": 16, "actor_lr": 2e-3, "lr_schedule": "linear", "max_grad_norm": 0.5, "target_smoothing": 0.0},
    "sapo": {"critic_epochs": 16, "actor_lr": 2e-3, "temperature_lr": 5e-3, "lr_schedule": "linear", "target_entropy": 1.0},
    "ppo": {"actor_epochs": 5, "actor_lr": 5e-4, "lr_schedule": "kl", "max_grad_norm": 0.5, "betas": (0.9, 0.999)},
    "gippo": {"critic_epochs": 16, "actor_epochs": 5, "actor_lr": 5e-4, "lr_schedule": "constant", "max_grad_norm": 1.0},
    "sac": {"n_step": 3, "actor_lr": 5e-4, "temperature_lr": 5e-3, "batch_size": 2048, "gradient_rounds": 8},
}


@pytest.mark.parametrize("name", TABLE_2)
def test_defaults_are_those_of_table_2(name: str) -> None:
    module = SMALL[name][0](4, 2, 1000)
    expected = {"discount": 0.99, **TABLE_2[name]}
    if name not in WITHOUT_GRADIENTS:
        reduction = "min" if name in ("shac", "sapo") else "mean"
        expected |= {"td_lambda": 0.95, "betas": (0.7, 0.95), "critic_lr": 5e-4, "critic_minibatches": 4}
        expected |= {"target_reduction": reduction, "final_lr": 1e-5, "weight_decay": 0.01}
        assert len(module.critics.ensemble) == 2
        assert (module.critics.epochs, module.critics.minibatches, module.critics.smoothing) == (
            *(expected.pop(key) for key in ("critic_epochs", "critic_minibatches")),
            expected.pop("target_smoothing", 0.2 if name == "gippo" else 0.0),
        )
        assert module.critics.reduction == expected.pop("target_reduction")
    expected = {key: list(value) if isinstance(value, tuple) else value for key, value in expected.items()}
    found = {"target_entropy": getattr(module, "target_entropy", None), **module.options}
    assert {key: found[key] for key in expected} == expected
    sizes = [layer.out_features for layer in module.actor.modules() if isinstance(layer, nn.Linear)]
    assert sizes[:3] == [400, 200, 100]
    assert module.name == name
    for optimizer, rate in zip(module.configure_optimizers(), (module.actor_lr, 5e-4), strict=False):
        assert isinstance(optimizer, torch.optim.AdamW)
        group = optimizer.param_groups[0]
        assert (group["lr"], group["betas"], group["weight_decay"]) == (rate, module.betas, 0.01)


# Environments without gradients, and options that do not exist


@EVERY
def test_only_algorithms_without_action_gradients_take_any_environment(name: str) -> None:
    module = make_algorithm(name)
    if name in WITHOUT_GRADIENTS:
        batch = Collector(Opaque(4), 3, 0).collect(module)
        assert batch.action_grad is None
        assert not any(value.requires_grad for value in vars(batch).values() if isinstance(value, Tensor))
        return
    with pytest.raises(
        ValueError, match="Opaque is not differentiable, but .* learns from action-gradients: choose"
    ) as error:
        Collector(Opaque(4), 3, 0).collect(module)
    assert str(error.value).count(".") == 1
    assert type(module).__name__ in str(error.value)


@EVERY
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'horizon_length'"):
        make_algorithm(name, horizon_length=3)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("rpo", {"actor_epochs": 0}, "actor_epochs must be at least 1, not 0"),
        ("ppo", {"actor_epochs": 0}, "actor_epochs must be at least 1, not 0"),
        ("gippo", {"alpha_interval": 1.0}, r"alpha_interval must be within \(0, 1\), not 1.0"),
        ("gippo", {"fit_steps": 0}, "fit_steps must be at least 1, not 0"),
        ("sapo", {"init_temperature": 0.0}, "init_temperature must be above 0, not 0.0"),
        ("reppo", {"epochs": 0}, "epochs must be at least 1, not 0"),
        ("reppo", {"kl_target": 0.0}, "kl_target must be above 0, not 0.0"),
        ("reppo", {"discount": 1.0}, r"discount must be within \[0, 1\), not 1.0"),
        ("reppo", {"norm": "batch"}, "norm must be one of layer, rms, none, not 'batch'"),
        ("reppo", {"value_range": (1.0, 1.0)}, "values need a range and at least two bins"),
        ("sac", {"init_temperature": 0.0}, "init_temperature must be above 0, not 0.0"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_algorithm(name, **option)


@pytest.mark.parametrize("name", ["rpo", "shac", "shac_original", "sapo", "gippo"])
@pytest.mark.parametrize(
    "option",
    [{"critic_precision": "bf16"}, {"shuffle": True}, {"bootstrap_state": "current"}, {"target_smoothing": 0.5}],
    ids=lambda option: next(iter(option)),
)
def test_options_of_the_actor_critic_family_act_in_each_of_it(name: str, option: dict[str, Any]) -> None:
    module = make_algorithm(name, **option)
    run_fabric(module, make_data(2))
    plain = make_algorithm(name)
    run_fabric(plain, make_data(2))
    ours, theirs = snapshot(module), snapshot(plain)
    assert any(not torch.equal(ours[key], theirs[key]) for key in theirs if key.startswith("critic"))
    assert all(value.isfinite().all() for value in ours.values())
