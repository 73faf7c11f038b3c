"""A configuration draws the constants of a task of this package's, without code."""

import pytest
import torch
import yaml

from rpo_lightning.callbacks import Evaluation
from rpo_lightning.cli import RPOCLI
from tests.command_line import LAST, call, differing

TASK = """
data:
  env:
    name: cartpole
    init_args:
      episode_length: 10
      threads: 1
      observe_parameters: true
      randomize:
        mass:cart_to_pole: [1.0, 4.0]
        damping:slider_to_cart: {distribution: log_uniform, value: [0.1, 10]}
        gravity: {scale: [0.9, 1.1]}
"""


@pytest.fixture
def randomized(folder):
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**yaml.safe_load((folder / "tiny.yaml").read_text()), "data": {
        **yaml.safe_load(TASK)["data"], "num_envs": 8, "horizon": 8, "iterations_per_epoch": 4
    }}))  # fmt: skip
    return folder


def test_a_resumed_run_draws_the_same_constants_and_its_critic_sees_them(randomized):
    call("fit", "--trainer.default_root_dir=straight")
    call("fit", "--trainer.default_root_dir=stopped", "--trainer.max_steps=6")
    call("fit", "--trainer.default_root_dir=stopped", "--ckpt_path=last")
    assert differing("straight", "stopped") == []
    weights = torch.load(randomized / "straight" / LAST, weights_only=True)["state_dict"]
    assert len(weights["privileged_normalizer.mean"]) == 5


def test_an_evaluation_draws_too_unless_it_is_told_not_to(randomized, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "rpo_lightning.callbacks.evaluation._play", lambda module, env, *_: seen.append(env.parameters.clone()) or ({}, {})
    )
    cli = RPOCLI("fit", ["--config=tiny.yaml"])
    for options in (None, {"randomize": None}):
        Evaluation(episodes=4, deterministic=False, env_options=options)._measure(cli.model)
    drawn, plain = seen
    assert drawn.shape == (4, 5)
    assert len(drawn[:, 0].unique()) == 4
    assert plain.shape == (4, 0)


def test_validate_can_play_on_the_robot_of_the_file(randomized, monkeypatch):
    call("fit", "--trainer.max_steps=1")
    seen = []
    played = {"mean": 0.0, "std": 0.0, "length": 1.0, "broken": 0}, {}
    monkeypatch.setattr(
        "rpo_lightning.callbacks.evaluation._play", lambda module, env, *_: seen.append(env.parameters.shape[1]) or played
    )
    plain = ("--trainer.callbacks=Evaluation", "--trainer.callbacks.env_options", "{randomize: null}")
    call("validate", "--ckpt_path=last", *plain)
    call("validate", "--ckpt_path=last")
    assert seen == [0, 0, 5, 5]
