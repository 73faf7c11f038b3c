"""`--seeds 0,1`: runs of one process, with the files of runs of their own."""

import json
import signal
import time

import pytest
import torch
import yaml

from rpo_lightning.cli import main
from tests.command_line import events, refused, spawn

CARTPOLE = """
model:
  class_path: RPO
  init_args: {total_env_steps: 384, hidden: [8], critic_epochs: 2, critic_minibatches: 2}
data: {env: {name: cartpole, init_args: {episode_length: 20}}, num_envs: 8, horizon: 8, iterations_per_epoch: 2}
trainer:
  accelerator: cpu
  callbacks:
    - {class_path: Evaluation, init_args: {episodes: 2}}
"""


@pytest.fixture
def cartpole(folder):
    """A working directory with a configuration of six iterations."""
    (folder / "tiny.yaml").write_text(CARTPOLE)
    return folder


def test_each_seed_is_a_run_of_its_own_that_commands_read(cartpole, capsys):
    main(["fabric", "--config=tiny.yaml", "--seed_everything=1", "--trainer.default_root_dir=alone"])
    main(["fit", "--config=tiny.yaml", "--seeds=0,1", "--trainer.max_steps=3"])
    said = capsys.readouterr().err
    assert said.count("RPO on cartpole: 8 environments x 8 steps") == 2  # of the run alone, and once for both seeds
    assert "folder runs/cartpole/rpo/seed_0;" in said
    assert "seed 1:\n192 of 384 steps" in said
    main(["fit", "--config=tiny.yaml", "--seeds", "0,1", "--ckpt_path=last"])
    run = cartpole / "runs/cartpole/rpo/seed_1"
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "curve.csv", "summary.json", "policy.pt", "checkpoints"}
    ours, theirs = (torch.load(each / "policy.pt", weights_only=True)["policy"] for each in (run, cartpole / "alone"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    ours, theirs = (torch.tensor(events(each)["critic/loss"]) for each in (run, cartpole / "alone"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    summary, config = json.loads((run / "summary.json").read_text()), yaml.safe_load((run / "config.yaml").read_text())
    assert summary["seed"] == config["seed_everything"] == 1
    assert summary["command"] == "rpo-lightning fit --config=tiny.yaml --seeds=0,1 --trainer.max_steps=3"
    assert "seeds" not in config
    capsys.readouterr()
    main(["validate", f"--ckpt_path={run}/policy.pt"])
    again = json.loads(capsys.readouterr().out)["sampled"]["mean"]
    assert again == pytest.approx(summary["eval"]["sampled"]["mean"], rel=1e-6)
    main(["fit", "--config=tiny.yaml", "--seeds=0,1", "--ckpt_path=last"])
    assert "seed_1 is complete: 384 environment steps" in capsys.readouterr().err


def test_a_folder_that_is_named_has_one_for_each_seed(cartpole):
    main(["fit", "--config=tiny.yaml", "--seeds=4,7", "--trainer.max_steps=2", "--trainer.default_root_dir=there"])
    assert sorted(path.name for path in (cartpole / "there").iterdir()) == ["seed_4", "seed_7"]
    config = yaml.safe_load((cartpole / "there/seed_7/config.yaml").read_text())
    assert config["trainer"]["default_root_dir"] == "there/seed_7"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds=1,1"], "--seeds must be different whole numbers, as 0,1,2,3, not '1,1'"),
        (["--seeds", "a"], "--seeds must be different whole numbers, as 0,1,2,3, not 'a'"),
        (["--seeds=0,1", "--seed_everything=1"], "--seeds and --seed_everything both say the seed"),
        (["--seeds=0,1", "--ckpt_path=tiny.yaml"], "with --seeds it is last, best or step_N of each run"),
        (["--seeds=0,1", "--trainer.devices=2"], "trainer.devices must be 1"),
        (["--seeds=0,1", "--model=PPO"], "PPO: several seeds in one process are for RPO, SHAC, SAPO only"),
        (["--seeds=0,1", "--data.env=tests.toy.PointMass"], "point_mass: several seeds in one process need a task on"),
        (["--config=seeds.yaml"], "seeds is an option of the command line"),
    ],
)
def test_what_cannot_be_run_so_is_said_in_a_line(options, said, cartpole, capsys):
    (cartpole / "seeds.yaml").write_text("seeds: 0,1\n")
    assert said in refused(capsys, "fit", "--config=tiny.yaml", *options)
    assert not (cartpole / "runs").exists()


def test_a_signal_stops_all_seeds_with_a_checkpoint(cartpole):
    process = spawn(cartpole, "fit", "--config=tiny.yaml", "--seeds=0,1", "--model.init_args.total_env_steps=10000000")
    checkpoints = [cartpole / f"runs/cartpole/rpo/seed_{seed}/checkpoints/last.ckpt" for seed in (0, 1)]
    begun = time.monotonic()
    while not checkpoints[1].exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - begun < 120.0
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert said.count("stopped by SIGTERM at") == 2
    first, second = (torch.load(path, weights_only=True)["rpo_lightning"]["iteration"] for path in checkpoints)
    assert abs(first - second) <= 1  # the signal may come between the ends of their iterations
