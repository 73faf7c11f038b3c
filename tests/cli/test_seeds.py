"""`--seeds 0,1` and `--sweep model.kl_coef=0.1,0.5`: runs of one process, with the files of runs of their own."""

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
    assert "rpo, seed 1:\n192 of 384 steps" in said
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


def test_each_value_is_a_run_with_a_label_of_its_own_that_is_what_it_would_be_alone(cartpole, capsys):
    alone = ["--seed_everything=3", "--model.kl_coef=0.5", "--model.actor_lr=1e-3", "--trainer.default_root_dir=alone"]
    main(["fabric", "--config=tiny.yaml", *alone])
    sweep = ["--sweep", "model.kl_coef=0.1,0.5", "--sweep=model.init_args.actor_lr=1e-3,2e-3"]
    main(["fit", "--config=tiny.yaml", *sweep, "--seeds=2,3"])
    runs = cartpole / "runs/cartpole"
    values = [f"rpo-actor_lr_{rate}-kl_coef_{kl_coef}" for rate in ("1e-3", "2e-3") for kl_coef in ("0.1", "0.5")]
    assert sorted(path.name for path in runs.iterdir()) == values
    assert {path.name for label in values for path in (runs / label).iterdir()} == {"seed_2", "seed_3"}
    assert f"{values[1]}, seed 3:\n384 of 384 steps" in capsys.readouterr().err
    theirs = torch.load(cartpole / "alone/policy.pt", weights_only=True)["policy"]
    for label in values:
        run = runs / label / "seed_3"
        options = yaml.safe_load((run / "config.yaml").read_text())
        assert "sweep" not in options
        options = options["model"]["init_args"]
        assert label.endswith(f"kl_coef_{options['kl_coef']}")
        assert options["label"] == label
        assert json.loads((run / "summary.json").read_text())["algorithm"] == label
        ours = torch.load(run / "policy.pt", weights_only=True)["policy"]
        alike = all(torch.allclose(each, theirs[name], rtol=1e-4, atol=1e-6) for name, each in ours.items())
        assert alike == (label == values[1])
    main(["fit", "--config=tiny.yaml", *sweep, "--seeds=2,3", "--ckpt_path=last"])
    assert f"{values[1]}/seed_3 is complete: 384 environment steps" in capsys.readouterr().err


def test_a_sweep_adds_to_a_label_and_keeps_the_seed_and_a_named_folder(cartpole):
    options = ["--model.label=mine", "--seed_everything=5", "--trainer.max_steps=1", "--trainer.default_root_dir=there"]
    main(["fit", "--config=tiny.yaml", "--sweep=model.kl_coef=0.1,0.5", *options])
    found = sorted(path.parent.relative_to(cartpole).as_posix() for path in cartpole.glob("there/*/*/config.yaml"))
    assert found == ["there/mine-kl_coef_0.1/seed_5", "there/mine-kl_coef_0.5/seed_5"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--sweep=data.num_envs=1,2"],
            "--sweep must be an option of the algorithm and different values, as model.kl_coef=",
        ),
        (["--sweep", "model.kl_coef=0.1,0.1"], "different values, as model.kl_coef=0.1,0.5, not 'model.kl_coef=0.1,0.1'"),
        (["--sweep=model.kl_coef=0.1,0.10"], "different values, as model.kl_coef=0.1,0.5, not 'model.kl_coef=0.1,0.10'"),
        (["--sweep=model.obs_dim=3,4"], "--sweep of obs_dim: the task decides it"),
        (["--sweep"], "as model.kl_coef=0.1,0.5, not ''"),
        (["--sweep=model.kl_coef=1,2", "--sweep=model.kl_coef=3,4"], "--sweep names an option twice: say all of its values"),
        (["--sweep=model.kl_coef=1,2", "--model.kl_coef=3"], "--sweep and --model.kl_coef both say kl_coef: leave one out."),
        (["--sweep=model.label=a,b"], "--sweep makes labels itself"),
        (["--sweep=model.kl_coeff=1,2"], "Did you mean 'kl_coef'?"),
        (["--sweep=model.kl_coef=1,-2"], "kl_coef must be"),
        (["--config=sweep.yaml"], "sweep is an option of the command line, as --sweep model.kl_coef=0.1,0.5, not of a file"),
        (["--seeds=1,1"], "--seeds must be different whole numbers, as 0,1,2,3, not '1,1'"),
        (["--seeds", "a"], "--seeds must be different whole numbers, as 0,1,2,3, not 'a'"),
        (["--seeds=0,1", "--seed_everything=1"], "--seeds and --seed_everything both say the seed"),
        (["--seeds=0,1", "--ckpt_path=tiny.yaml"], "with --seeds or --sweep it is last, best or step_N of each run"),
        (["--seeds=0,1", "--trainer.devices=2"], "trainer.devices must be 1"),
        (["--seeds=0,1", "--model=PPO"], "PPO: several runs in one process are for RPO, NAPG, SHAC, SAPO only"),
        (["--seeds=0,1", "--data.env=tests.toy.PointMass"], "point_mass: several runs in one process need a task on"),
        (["--config=seeds.yaml"], "seeds is an option of the command line"),
    ],
)
def test_what_cannot_be_run_so_is_said_in_a_line(options, said, cartpole, capsys):
    (cartpole / "seeds.yaml").write_text("seeds: 0,1\n")
    (cartpole / "sweep.yaml").write_text("sweep: model.kl_coef=0.1,0.5\n")
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
