"""A run that was stopped, or killed, goes on as if nothing had happened; nothing is overwritten by accident."""

import signal
import time

import pytest
import torch
import yaml

from rpo_lightning import runs
from rpo_lightning.cli import RPOCLI
from tests.command_line import LAST, RUN, call, differing, refused, spawn

OTHER = ("--trainer.default_root_dir", "other")
EVERY_ITERATION = ("--trainer.callbacks+=LastAndBest", "--trainer.callbacks.every_n_iterations=1")


@pytest.mark.parametrize("stop_at", [4, 6], ids=["end of an epoch", "middle of an epoch"])
def test_resumed_run_equals_the_straight_one(stop_at, folder):
    call("fit")
    call("fit", *OTHER, f"--trainer.max_steps={stop_at}")
    assert differing(RUN, "other")
    call("fit", *OTHER, "--ckpt_path=last")
    assert differing(RUN, "other") == []


def test_killed_run_goes_on_bit_for_bit(folder):
    options = ("--model.total_env_steps=3200", *EVERY_ITERATION)
    call("fit", *options)
    process = spawn(folder, "fit", "--config", "tiny.yaml", *options, *OTHER)
    last = folder / "other" / LAST
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 0 < runs.counters(last)["iteration"] < 50, "killed too late to show anything"
    call("fit", *options, *OTHER, "--ckpt_path", "last")
    assert runs.counters(last) == {"iteration": 50, "env_steps": 3200}
    assert differing(RUN, "other") == []


def test_users_callback_that_moves_a_coefficient_resumes_exactly(folder):
    anneal = ("--trainer.callbacks+=callbacks.anneal_entropy.AnnealEntropy",)
    call("fit", *anneal)
    call("fit", *anneal, *OTHER, "--trainer.max_steps=6")
    call("fit", *anneal, *OTHER, "--ckpt_path=last")
    assert differing(RUN, "other") == []
    call("fit", "--trainer.default_root_dir", "plain")
    assert differing(RUN, "plain"), "the callback changed nothing"


def test_starting_over_a_run_is_refused_with_the_two_ways_out(folder, capsys):
    call("fit", "--trainer.max_steps=4")
    before = (RUN / LAST).read_bytes()
    capsys.readouterr()
    line = refused(capsys, "fit", "--config", "tiny.yaml")
    assert str(RUN) in line
    assert "--ckpt_path last" in line
    assert "--trainer.default_root_dir" in line
    line = refused(capsys, "fabric", "--config", "tiny.yaml")
    assert "rpo-lightning fabric" in line
    # a checkpoint of another run does not make it one's own
    call("fit", *OTHER, "--trainer.max_steps=1")
    assert str(RUN) in refused(capsys, "fit", "--config", "tiny.yaml", "--ckpt_path", str("other" / LAST))
    assert (RUN / LAST).read_bytes() == before
    call("fit", "--seed_everything=1", "--trainer.max_steps=1")
    assert (RUN.parent / "seed_1" / LAST).exists()


def test_last_starts_a_run_that_has_no_checkpoint_and_leaves_a_finished_one(folder, capsys):
    RUN.mkdir(parents=True)
    (RUN / "config.yaml").write_text("left by a run that was killed in its first epoch")
    call("fit", "--ckpt_path=last")
    assert "starting from the beginning" in capsys.readouterr().err
    before = (RUN / LAST).read_bytes()
    call("fit", "--ckpt_path=last")
    assert "is complete: 768" in capsys.readouterr().err
    assert (RUN / LAST).read_bytes() == before
    call("fit", "--ckpt_path=last", "--model.total_env_steps=1024")
    assert runs.counters(RUN / LAST)["env_steps"] == 1024


def test_command_line_wins_over_the_checkpoint(folder):
    call("fit", "--trainer.max_steps=2")
    options = ["--config", "tiny.yaml", "--ckpt_path", str(RUN / LAST), "--model.actor_epochs=1"]
    cli = RPOCLI("fit", options)
    cli.run()
    assert cli.model.actor_epochs == 1
    assert cli.model.env_steps == 768
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    assert saved["model"]["init_args"]["actor_epochs"] == 1
    # whoever starts a new run from this file does not want to resume this one
    assert "ckpt_path" not in saved


def test_saved_config_is_a_config(folder):
    call("fit", "--trainer.max_steps=2")
    options = ["--config", str(RUN / "config.yaml"), "--seed_everything=3", "--trainer.max_steps=2"]
    RPOCLI("fit", options).run()
    assert (RUN.parent / "seed_3" / LAST).exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--data.num_envs=4"], ["num_envs=8", "num_envs=4"]),
        (["--model.hidden=[4]"], ["size mismatch"]),
        (["--data.env=tests.test_resume.OtherTask"], ["point_mass", "other_task"]),
    ],
    ids=["environments", "network", "task"],
)
def test_checkpoint_that_does_not_fit_is_refused_in_a_line(change, named, folder, capsys):
    call("fit", *OTHER, "--trainer.max_steps=1")
    capsys.readouterr()
    line = refused(capsys, "fit", "--config", "tiny.yaml", *OTHER, "--ckpt_path=last", *change)
    for word in named:
        assert word in line


def test_missing_or_foreign_checkpoint(folder, capsys):
    call("fit", "--trainer.max_steps=1")
    capsys.readouterr()
    line = refused(capsys, "fit", "--config", "tiny.yaml", "--ckpt_path", str(RUN / "checkpoints/lst.ckpt"))
    assert str(RUN / LAST) in line
    (folder / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt" in refused(capsys, "fit", "--config", "tiny.yaml", *OTHER, "--ckpt_path=text.ckpt")
    torch.save({"weights": torch.zeros(1)}, "foreign.ckpt")
    assert "foreign.ckpt" in refused(capsys, "validate", "--config", "tiny.yaml", "--ckpt_path=foreign.ckpt")


def test_a_write_that_is_interrupted_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    runs.write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


class OtherTask:
    """The toy under another name, made when asked for: `tests.toy` must not know of it."""

    def __new__(cls, **options):
        from tests.toy import PointMass

        env = PointMass(**options)
        env.name = cls.name
        return env

    name = "other_task"
    obs_dim = 3
    action_dim = 1
