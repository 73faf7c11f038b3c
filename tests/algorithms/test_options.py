"""Options of the algorithms: what is refused, and in what words, from Python as from the command line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rpo_lightning.algorithms import RPO
from rpo_lightning.algorithms.options import above, at_least, check_options, within
from tests.algorithms.drivers import ALGORITHMS, SMALL, make_algorithm

WRONG: list[tuple[str, Any, str]] = [
    ("lr_schedule", "cosine", "must be one of exponential, linear, constant, kl, not 'cosine'"),
    ("lr_schedule", None, "must be one of exponential, linear, constant, kl, not None"),
    ("discount", 1.5, r"must be within \[0, 1"),
    ("discount", math.nan, "must be a number, not nan"),
    ("actor_lr", -1.0, "must be at least 0, not -1.0"),
    ("actor_lr", None, "must be a number, not None"),
    ("actor_lr", "fast", "must be a number, not 'fast'"),
    ("total_env_steps", 0, "must be at least 1, not 0"),
    ("total_env_steps", -5, "must be at least 1, not -5"),
    ("total_env_steps", 10.5, "must be a whole number, not 10.5"),
    ("total_env_steps", True, "must be a whole number, not True"),
    ("max_grad_norm", 0.0, "must be above 0, not 0.0"),
    ("max_grad_norm", math.inf, "must be a number, not inf"),
    ("weight_decay", -0.1, "must be at least 0, not -0.1"),
    ("hidden", (16, 0), "must be a list of numbers that are at least 1"),
    ("hidden", 16, "must be a list, not 16"),
]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(("option", "value", "message"), WRONG)
def test_common_options_are_checked_in_every_algorithm(name: str, option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{SMALL[name][0].__name__}: {option} {message}"):
        make_algorithm(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("rpo", "target_reduction", "max", "one of mean, min, not 'max'"),
        ("rpo", "bootstrap_state", "nxt", "one of next, current, not 'nxt'"),
        ("rpo", "clip_low", 2, r"within \[0, 1\], not 2"),
        ("rpo", "kl_coef", -0.1, "at least 0"),
        ("rpo", "kl_coef", math.inf, "a number, not inf"),
        ("rpo", "clip_high", math.nan, "a number, not nan"),
        ("rpo", "soft_value", 1, "true or false, not 1"),
        ("shac", "td_lambda", -1.0, r"within \[0, 1\]"),
        ("shac", "critic_epochs", 0, "at least 1"),
        ("shac", "target_smoothing", 1.0, r"within \[0, 1\)"),
        ("sapo", "entropy_coef", -1.0, "at least 0"),
        ("gippo", "td_lambda", 0.0, r"within \(0, 1\]"),
        ("ppo", "minibatch_size", 0, "at least 1"),
        ("ppo", "betas", (0.9,), "2 numbers"),
        ("ppo", "betas", (0.9, 1.0), "a list of numbers"),
        ("sac", "n_step", 0, "at least 1"),
        ("sac", "gradient_rounds", 0, "at least 1"),
        ("sac", "target_update", 1.5, r"within \[0, 1\]"),
    ],
)
def test_an_algorithm_s_own_options_are_checked(name: str, option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be {message}"):
        make_algorithm(name, **{option: value})


def test_rpo_without_an_upper_clip_is_told_by_infinity() -> None:
    assert make_algorithm("rpo", clip_high=math.inf).clip_high == math.inf


def test_an_exponential_schedule_needs_an_end_above_zero() -> None:
    with pytest.raises(ValueError, match="RPO: final_lr must be above 0 under the exponential schedule"):
        make_algorithm("rpo", final_lr=0.0)
    assert make_algorithm("shac", final_lr=0.0).options["final_lr"] == 0.0


def test_numbers_of_numpy_are_numbers() -> None:
    module = make_algorithm("rpo", actor_epochs=np.int64(3), kl_coef=np.float32(0.5))
    assert (module.options["actor_epochs"], module.options["kl_coef"]) == (3, 0.5)
    assert type(module.options["actor_epochs"]) is int
    with pytest.raises(ValueError, match="actor_epochs must be at least 1"):
        make_algorithm("rpo", actor_epochs=np.int64(0))


def test_what_can_be_used_is_let_through() -> None:
    assert make_algorithm("sapo", entropy_coef=None, discount=1, actor_lr=0.0).actor_lr == 0.0
    assert make_algorithm("rpo", actor_lr=0.0).learning_rate(0.0) == 0.0


def test_a_subclass_of_one_s_own_is_checked_by_its_annotations_and_ranges() -> None:
    class Mine(RPO):
        ranges = {"patience": at_least(2), "share": within(0.0, 1.0, low_open=True), "scale": above(0.0)}  # noqa: RUF012

        def __init__(
            self,
            obs_dim: int,
            action_dim: int,
            total_env_steps: int,
            patience: int = 3,
            share: float = 0.5,
            scale: float | None = None,
            **options: Any,
        ) -> None:
            super().__init__(obs_dim, action_dim, total_env_steps, **options)

    assert Mine(3, 1, 100, hidden=(4,)).options["patience"] == 3
    for options, message in (
        ({"patience": 1}, "Mine: patience must be at least 2, not 1"),
        ({"share": 0.0}, r"Mine: share must be within \(0, 1\], not 0.0"),
        ({"scale": 0.0}, "Mine: scale must be above 0 or null, not 0.0"),
        ({"clip_low": 2.0}, "Mine: clip_low"),
    ):
        with pytest.raises(ValueError, match=message):
            Mine(3, 1, 100, hidden=(4,), **options)


def test_any_class_can_be_checked() -> None:
    class Plain:
        def __init__(self, size: int) -> None:
            pass

    check_options(Plain, {"size": 3})
    with pytest.raises(ValueError, match="Plain: size must be a whole number, not 'x'"):
        check_options(Plain, {"size": "x"})
