"""Every algorithm from the command line: its run folder, its policy, what it refuses."""

import json
from functools import partial

import pytest
import torch
import yaml

from rpo_lightning.cli import main
from tests.algorithms.drivers import ALGORITHMS, SMALL
from tests.command_line import TINY, call, events, refused


def configure(folder, name, **options):
    """Write a tiny.yaml of the algorithm, four iterations in one epoch, and return its run folder."""
    config = yaml.safe_load(TINY)
    algorithm, small = SMALL[name]
    arguments = {"total_env_steps": 256, "hidden": [8], **small, **options}
    for part, network in arguments.items():
        if isinstance(network, partial):
            path = f"{network.func.__module__}.{network.func.__qualname__}"
            arguments[part] = {"class_path": path, "init_args": {**network.keywords, "hidden": [8]}}
    config["model"] = {"class_path": algorithm.__name__, "init_args": arguments}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return folder / "runs/point_mass" / name / "seed_0"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_validate_reproduces_the_summary_from_the_policy_alone(name, folder, capsys):
    run = configure(folder, name)
    call("fit", "--trainer.callbacks+=NaNGuard", "--trainer.callbacks+=EffectiveSamples")
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["algorithm"], summary["env_steps"]) == (name, 256)
    parts = {key.split(".")[0] for key in torch.load(run / "policy.pt")["policy"]}
    assert parts == {"actor", "normalizer"}
    assert {"actor/kl", "actor/lr", "critic/loss", "eval/return"} <= events(run).keys()
    for path in ("policy.pt", "checkpoints/last.ckpt"):
        capsys.readouterr()
        main(["validate", "--ckpt_path", str(run / path)])
        assert json.loads(capsys.readouterr().out) == summary["eval"]


OPAQUE = "--data.env=tests.toy.Opaque"


WITHOUT_GRADIENTS = ("ppo", "reppo", "sac")


@pytest.mark.parametrize("name", WITHOUT_GRADIENTS)
def test_some_take_a_task_without_gradients(name, folder):
    configure(folder, name)
    call("fit", OPAQUE, "--trainer.callbacks+=NaNGuard", "--trainer.max_steps=2")


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in WITHOUT_GRADIENTS])
def test_the_others_refuse_a_task_without_gradients_in_a_line(name, folder, capsys):
    configure(folder, name)
    line = refused(capsys, "fit", "--config", "tiny.yaml", OPAQUE)
    assert "Opaque is not differentiable" in line
    assert SMALL[name][0].__name__ in line


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_option_it_does_not_have_is_refused_in_a_line(name, folder, capsys):
    configure(folder, name)
    unknown = "critic_precision" if name in ("ppo", "sac") else "replay_size"
    line = refused(capsys, "fit", "--config", "tiny.yaml", f"--model.{unknown}=32")
    assert unknown in line


@pytest.mark.parametrize(
    "option", ["lr_schedule=cosine", "architecture=improvd", "target_reduction=max", "critic_precision=16"]
)
def test_a_value_that_is_none_of_the_choices_is_refused_in_a_line(option, folder, capsys):
    configure(folder, "shac")
    line = refused(capsys, "fit", "--config", "tiny.yaml", f"--model.{option}")
    assert option.split("=")[0] in line


def test_a_checkpoint_of_another_algorithm_is_refused_in_a_line(folder, capsys):
    run = configure(folder, "shac_original")
    call("fit", "--trainer.max_steps=1")
    for other in ("shac", "sac"):
        configure(folder, other)
        capsys.readouterr()
        path = str(run / "checkpoints/last.ckpt")
        line = refused(capsys, "fit", "--config", "tiny.yaml", "--ckpt_path", path)
        assert "is of algorithm shac_original" in line
        assert f"the run is {other}," in line
