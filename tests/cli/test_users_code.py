"""What comes out of a user's own code is told with its file and line; what it leaves out is no mistake."""

import sys

import pytest

from rpo_lightning.cli import main
from tests.command_line import call, refused

ROBOTS = """
import torch
from tests.toy import PointMass

class Misshapen(PointMass):
    def reset(self, mask=None):
        return torch.zeros(3) + torch.zeros(4)

class Misnamed(PointMass):
    def reset(self, mask=None):
        return missing_name

class Unmade(PointMass):
    def __init__(self, *arguments, **options):
        self.size = {}["size"]

class Stuck(PointMass):
    def step(self, action):
        return missing_name

class Wrong(PointMass):
    def reset(self, mask=None):
        raise ValueError("an odd knee")
"""

CALLBACKS = """
from lightning import Callback

class Unmade(Callback):
    def __init__(self) -> None:
        {}["key"]

class Unready(Callback):
    def setup(self, trainer, pl_module, stage) -> None:
        raise AttributeError("no such robot")
"""

ALGORITHMS = '''
from __future__ import annotations
from typing import TYPE_CHECKING
from rpo_lightning.algorithms import PPO

if TYPE_CHECKING:
    from collections.abc import Sequence

class Unannotated(PPO):
    """Mine."""

    def __init__(self, obs_dim, action_dim, total_env_steps, my_coef=0.5, **options):
        super().__init__(obs_dim, action_dim, total_env_steps, **options)

class Forwarding(PPO):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)

class HalfAnnotated(PPO):
    def __init__(self, obs_dim: int, action_dim: int, total_env_steps: int, my_coef: Sequence[int] = (4,), **options):
        super().__init__(obs_dim, action_dim, total_env_steps, **options)
'''


@pytest.fixture
def users(folder, monkeypatch):
    """A working directory with modules of the user's."""
    monkeypatch.syspath_prepend(str(folder))
    for name, text in (("users_robots", ROBOTS), ("users_calls", CALLBACKS), ("users_algorithms", ALGORITHMS)):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--data.env=users_robots.Misshapen", "users_robots.py:7 in reset: RuntimeError: The size of tensor a (3)"),
        ("--data.env=users_robots.Misnamed", "users_robots.py:11 in reset: NameError: name 'missing_name'"),
        ("--data.env=users_robots.Unmade", "users_robots.py:15 in __init__: KeyError: 'size' ("),
        ("--data.env=users_robots.Wrong", "users_robots.py:23 in reset: ValueError: an odd knee ("),
        ("--trainer.callbacks+=users_calls.Unmade", "users_calls.py:6 in __init__: KeyError: 'key' ("),
        ("--trainer.callbacks+=users_calls.Unready", "users_calls.py:10 in setup: AttributeError: no such robot ("),
    ],
)
def test_an_error_of_the_users_code_says_where(option, named, users, capsys, monkeypatch):
    line = refused(capsys, "fit", "--config", "tiny.yaml", option)
    assert named in line
    assert "RPO_LIGHTNING_DEBUG=1 shows the whole traceback" in line
    monkeypatch.setenv("RPO_LIGHTNING_DEBUG", "1")
    with pytest.raises((RuntimeError, NameError, LookupError, ValueError, AttributeError)):
        call("fit", option)


def test_a_check_says_where(users, capsys):
    with pytest.raises(SystemExit):
        main(["check-env", "users_robots.Stuck", "--num_envs=4", "--horizon=2"])
    assert (
        "failed: users_robots.py:19 in step: NameError: name 'missing_name' is not defined (RPO_LIGHTNING_DEBUG=1"
        in capsys.readouterr().out
    )


def test_an_error_of_ours_has_no_place(users, capsys):
    assert ".py:" not in refused(capsys, "fit", "--config", "tiny.yaml", "--model.actor_epochs=0")


@pytest.mark.parametrize(
    ("name", "option"), [("Unannotated", "my_coef"), ("Forwarding", "td_lambda"), ("HalfAnnotated", "my")]
)
def test_an_algorithm_needs_no_annotations(name, option, users, capsys):
    config = users / "tiny.yaml"
    config.write_text(
        f"model: {{class_path: users_algorithms.{name}, init_args: {{total_env_steps: 64}}}}\n"
        "data: {env: tests.toy.PointMass, num_envs: 8, horizon: 8, iterations_per_epoch: 1}\ntrainer: {accelerator: cpu}\n"
    )
    with pytest.raises(SystemExit) as end:
        call("fit", "--help")
    assert end.value.code == 0
    assert f"--model.init_args.{option}" in capsys.readouterr().out
    call("fit", "--without=Evaluation")
    assert "64 of 64 steps" in capsys.readouterr().err
