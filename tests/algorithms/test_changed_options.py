"""A run continued with other options: the new value counts, and is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from rpo_lightning.algorithms import RLModule
from rpo_lightning.algorithms.resume import changed_options
from rpo_lightning.files import plain
from tests.algorithms.drivers import Record, make_algorithm, make_data, make_trainer


def continued(name: str, folder: Path, first: dict[str, Any], then: dict[str, Any]) -> tuple[RLModule, dict[str, Any]]:
    """Train two iterations with some options, restore with others, and return the module as restored and the checkpoint."""
    saved = ModelCheckpoint(folder, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    trainer = make_trainer(folder, callbacks=[saved], max_epochs=1)
    trainer.fit(make_algorithm(name, **first), datamodule=make_data(2))
    (path,) = folder.glob("*.ckpt")

    class Look(Record):
        def on_train_start(self, trainer: Any, pl_module: RLModule) -> None:
            seen.update({key: value.clone() for key, value in pl_module.state_dict().items()})
            groups.extend(dict(group) for each in pl_module.driver.optimizers() for group in each.param_groups)

    seen: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    module = make_algorithm(name, **then)
    make_trainer(folder / "again", callbacks=[Look()], max_epochs=2).fit(module, datamodule=make_data(2), ckpt_path=path)
    return module, {"state": seen, "groups": groups, "checkpoint": torch.load(path, weights_only=True)}


@pytest.mark.parametrize(
    ("name", "option", "first", "then", "state"),
    [
        ("rpo", "kl_coef", 0.3, 5.0, ("kl_coef", 5.0)),
        ("gippo", "alpha", 0.4, 0.1, ("alpha", 0.1)),
        ("sapo", "init_temperature", 1.0, 0.2, ("log_temperature", math.log(0.2))),
        ("sac", "init_temperature", 1.0, 0.2, ("log_temperature", math.log(0.2))),
    ],
)
def test_a_coefficient_given_anew_counts(
    name: str, option: str, first: float, then: float, state: tuple[str, float], tmp_path: Path
) -> None:
    module, found = continued(name, tmp_path, {option: first}, {option: then})
    assert float(found["state"][state[0]]) == pytest.approx(state[1])
    assert module.resumed is not None
    assert module.resumed.changes == {option: (first, then)}
    assert module.resumed.env_steps == 128


@pytest.mark.parametrize(("name", "state"), [("gippo", "alpha"), ("sapo", "log_temperature"), ("reppo", "log_kl_coef")])
def test_a_coefficient_that_was_not_given_anew_keeps_its_moved_value(name: str, state: str, tmp_path: Path) -> None:
    module, found = continued(name, tmp_path, {}, {"weight_decay": 0.02})
    moved = found["checkpoint"]["state_dict"][state]
    assert torch.equal(found["state"][state], moved)
    assert not torch.equal(moved, make_algorithm(name).state_dict()[state])
    assert module.resumed is not None
    assert module.resumed.changes == {"weight_decay": (0.01, 0.02)}


@pytest.mark.parametrize(
    ("name", "option", "value", "key", "index"),
    [
        ("rpo", "weight_decay", 0.3, "weight_decay", 0),
        ("ppo", "betas", (0.5, 0.6), "betas", 0),
        ("sac", "temperature_lr", 0.07, "lr", 2),
        ("sapo", "temperature_lr", 0.07, "lr", 2),
        ("reppo", "multiplier_lr", 0.07, "lr", 2),
    ],
)
def test_settings_of_optimizers_given_anew_count(
    name: str, option: str, value: Any, key: str, index: int, tmp_path: Path
) -> None:
    module, found = continued(name, tmp_path, {}, {option: value})
    assert found["groups"][index][key] == value
    assert module.resumed is not None
    assert list(module.resumed.changes) == [option]


def test_a_checkpoint_of_an_older_version_says_so() -> None:
    module, checkpoint = make_algorithm("rpo"), {}
    module.on_save_checkpoint(checkpoint)
    del checkpoint["rpo_lightning"]["options"]
    with pytest.raises(ValueError, match="written by an older version"):
        module.on_load_checkpoint(checkpoint)


def test_another_network_is_refused_in_a_sentence_that_names_the_option() -> None:
    checkpoint: dict[str, Any] = {}
    first = make_algorithm("rpo")
    first.on_save_checkpoint(checkpoint)
    checkpoint["state_dict"] = first.state_dict()
    with pytest.raises(
        ValueError, match=r"does not fit the model: .* has \(16, 3\), the model has \(8, 3\) .*hidden \[16, 16\] -> \[8\]"
    ):
        make_algorithm("rpo", hidden=(8,)).on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match=r"critics.target.* the checkpoint lacks it"):
        make_algorithm("rpo", target_smoothing=0.5).on_load_checkpoint(checkpoint)


def test_options_are_compared_as_a_file_keeps_them() -> None:
    assert changed_options({"hidden": [4], "gone": 1}, {"hidden": plain((4,)), "new": 2}) == {}
    assert changed_options({"hidden": [4]}, {"hidden": [8]}) == {"hidden": ([4], [8])}
    assert plain({"a": (1, None), "b": torch.nn.Linear}) == {"a": [1, None], "b": "torch.nn.modules.linear.Linear"}
