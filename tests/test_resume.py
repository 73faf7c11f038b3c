"""A run that was stopped, or killed, goes on as if nothing had happened; nothing is overwritten by accident."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning import Callback

from rpo_lightning import checkpoints, files, runs
from rpo_lightning.callbacks import Evidence, RunFolder
from rpo_lightning.claim import write_failure
from rpo_lightning.cli import RPOCLI
from tests.command_line import LAST, RUN, call, differing, environment, refused, spawn

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
    assert 0 < checkpoints.counters(last)["iteration"] < 50, "killed too late to show anything"
    call("fit", *options, *OTHER, "--ckpt_path", "last")
    assert checkpoints.counters(last) == {"iteration": 50, "env_steps": 3200}
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
    assert checkpoints.counters(RUN / LAST)["env_steps"] == 1024


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
        (["--model.hidden=[4]"], ["does not fit the model", "hidden [8] -> [4]"]),
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
    line = refused(capsys, "fit", "--config", "tiny.yaml", "--ckpt_path", "lst")
    assert "No checkpoint at lst. Did you mean 'last'?" in line
    call("fit", "--trainer.max_steps=1")
    capsys.readouterr()
    line = refused(capsys, "fit", "--config", "tiny.yaml", "--ckpt_path", str(RUN / "checkpoints/lst.ckpt"))
    assert str(RUN / LAST) in line
    (folder / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt" in refused(capsys, "fit", "--config", "tiny.yaml", *OTHER, "--ckpt_path=text.ckpt")
    torch.save({"weights": torch.zeros(1)}, "foreign.ckpt")
    assert "foreign.ckpt" in refused(capsys, "validate", "--config", "tiny.yaml", "--ckpt_path=foreign.ckpt")


@pytest.mark.parametrize("kind", ["truncated", "empty", "JSON", "folder", "object", "policy", "older", "foreign"])
def test_what_is_no_checkpoint_is_told_in_a_sentence_that_says_what_can_be_done(kind, folder, capsys):
    call("fit", "--trainer.max_steps=4")
    last = RUN / LAST
    content = torch.load(last, weights_only=True)
    whole = last.read_bytes()
    last.unlink()
    if kind == "folder":
        last.mkdir()
    elif kind == "object":  # for which torch advises to execute what is in the file
        torch.save({"rpo_lightning": signal.SIGTERM.__class__}, last)
    elif kind == "older":
        del content["rpo_lightning"]["version"]
        torch.save(content, last)
    else:
        text = {"truncated": whole[:1000], "empty": b"", "JSON": (RUN / "summary.json").read_bytes()}
        text |= {"policy": (RUN / "policy.pt").read_bytes(), "foreign": b""}
        last.write_bytes(text[kind])
    if kind == "foreign":
        torch.save({"state_dict": {}}, last)
    words = {
        "truncated": "is damaged", "empty": "is empty", "JSON": "no checkpoint", "folder": "is a folder",
        "object": "is damaged, or was not written by rpo-lightning", "policy": "is a policy", "older": "older version",
        "foreign": "no checkpoint of rpo-lightning",
    }[kind]  # fmt: skip
    for command in ("fit", "fabric"):
        capsys.readouterr()
        line = refused(capsys, command, "--config", "tiny.yaml", "--ckpt_path=last")
        assert words in line
        assert str(last) in line
        assert "weights_only" not in line
        if kind == "older":
            assert "start a new run" in line
        elif kind == "policy":
            assert f"--init_from {last} begins a new run with its weights" in line
        else:
            assert "best.ckpt" in line
    if kind != "policy":
        assert words in refused(capsys, "validate", "--config", "tiny.yaml", "--ckpt_path", str(last))
    assert not (RUN / ".lock").exists()


def test_a_checkpoint_is_read_once(folder, monkeypatch, capsys):
    call("fit", "--trainer.max_steps=4")
    read, load = [], torch.load
    monkeypatch.setattr("torch.load", lambda path, *args, **options: read.append(path) or load(path, *args, **options))
    for command in ("fit", "fabric"):
        call(command, "--ckpt_path=last", "--trainer.max_steps=8")
        assert read.count(RUN / LAST) == len(read) == 1
        read.clear()


def test_a_second_run_in_one_folder_is_refused_and_a_crash_leaves_no_lock(folder, capsys):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(RUN)], env=environment(), stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(SystemExit) as end:
        call("fit", "--ckpt_path=last")
    assert end.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{RUN} is in use by process {holder.pid} on " in line
    assert not list(RUN.glob("events*"))
    (RUN / "checkpoints").mkdir()
    halves = [RUN / ".curve.csv.17.tmp", RUN / "checkpoints/.best.ckpt.17.tmp", RUN / "checkpoints/.last.ckpt.tmp"]
    for half in halves:
        half.write_text("of a killed process")
    holder.kill()
    holder.communicate()
    assert (RUN / ".lock").exists()
    call("fit", "--ckpt_path=last", "--trainer.max_steps=1")
    assert not [half for half in (*halves, RUN / ".lock") if half.exists()]


HOLD = """
import sys
import time
from pathlib import Path
from rpo_lightning.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_without_a_checkpoint_is_no_run(folder, capsys):
    for command in ("fit", "fabric"):
        for wrong in (
            "--data.env=tests.toy.Opaque",
            "--data.env=tests.test_resume.Unready",
            "--trainer.callbacks+=tests.test_resume.Fails",
        ):
            with pytest.raises((SystemExit, ZeroDivisionError, FileNotFoundError)):
                call(command, wrong)
            assert [path.name for path in folder.iterdir()] == ["tiny.yaml"], wrong
    capsys.readouterr()
    call("fit", "--trainer.max_steps=1")
    assert (RUN / "config.yaml").exists()
    assert list(RUN.glob("events*"))
    # killed before its first checkpoint
    (RUN / LAST).unlink()
    call("fit", "--trainer.max_steps=1")


def test_a_dry_run_leaves_nothing(folder):
    call("fit", "--trainer.fast_dev_run=true", "--trainer.callbacks+=Evidence", "--trainer.callbacks.results=out",
         "--trainer.callbacks+=LastAndBest", "--trainer.callbacks.every_n_iterations=1")  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]
    call("fit", "--trainer.max_steps=1")
    call("fit", "--trainer.fast_dev_run=true")


@pytest.mark.parametrize("command", ["fit", "fabric"])
@pytest.mark.parametrize("at", ["first", "second"])
def test_a_full_disk_is_one_line_that_says_what_is_safe(command, at, folder, monkeypatch, capsys):
    save, calls = torch.save, []

    def full(content, path):
        calls.append(path)
        if len(calls) < (2 if at == "second" else 1):
            return save(content, path)
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(SystemExit) as end:
        call(command, *EVERY_ITERATION)
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert f"{RUN / LAST} cannot be written: No space left on device." in line
    assert (f"{RUN / LAST} is safe, at 64 steps" if at == "second" else "Nothing of the run is kept yet") in line
    assert not list(RUN.rglob(".*"))
    monkeypatch.undo()


def test_a_file_that_the_system_names_in_bytes_is_named_as_text(tmp_path):
    for path in (tmp_path / "events", bytes(tmp_path / "events")):  # TensorBoard opens its file by bytes
        said = write_failure(OSError(errno.EROFS, "Read-only file system", path), tmp_path, written=True)
        assert said.startswith(f"{tmp_path}/events cannot be written: Read-only file system.")


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_results_that_cannot_be_written_are_one_line_and_the_next_start_writes_them(command, folder, capsys):
    results = ("--trainer.callbacks+=Evidence", "--trainer.callbacks.results=results/mine")
    (folder / "results").write_text("no folder")
    with pytest.raises(SystemExit) as end:
        call(command, *results)
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "results/mine" in line
    assert f"{RUN / LAST} is safe, at 768 steps: --ckpt_path last goes on from it" in line
    (folder / "results").unlink()
    call(command, *results, "--ckpt_path=last")
    assert (folder / "results/mine/point_mass/rpo/seed_0/summary.json").exists()


def test_a_run_folder_that_is_removed_is_one_line(folder, capsys):
    with pytest.raises(SystemExit) as end:
        call("fit", "--trainer.callbacks+=tests.test_resume.Removes")
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert f"{RUN} is gone" in line
    assert not RUN.exists()


def test_a_run_folder_that_cannot_be_made_is_one_line(folder, capsys):
    line = refused(capsys, "fit", "--config", "tiny.yaml", "--trainer.default_root_dir", "tiny.yaml/mine")
    assert line == "rpo-lightning: error: tiny.yaml/mine: Not a directory"


def test_other_errors_of_a_running_training_keep_their_traceback(folder):
    with pytest.raises(FileNotFoundError):
        call("fit", "--trainer.callbacks+=tests.test_resume.Fails", "--trainer.callbacks.iteration=3")


@pytest.mark.parametrize("options", [[], ["--trainer.fast_dev_run=true"]], ids=["first window", "dry run"])
def test_a_file_that_the_users_code_misses_is_no_run_folder_that_is_gone(options, folder):
    with pytest.raises(FileNotFoundError, match="no_such_table"):
        call("fit", "--trainer.callbacks+=tests.test_resume.Misses", *options)
    assert not RUN.exists()


def test_a_resumed_run_says_where_it_goes_on_and_what_is_not_as_before(folder, capsys):
    call("fit", "--trainer.max_steps=4")
    content = torch.load(RUN / LAST, weights_only=True)
    (key,) = [key for key in content["callbacks"] if "Evidence" in key]
    content["callbacks"][key]["starts"][0]["threads"] = 7
    torch.save(content, RUN / LAST)
    capsys.readouterr()
    call("fit", "--ckpt_path=last", "--trainer.max_steps=8", "--model.total_env_steps=10000000")
    said = capsys.readouterr().err
    assert f"continuing at 256 of 10 000 000 steps from {RUN / LAST}" in said
    assert "torch threads: 1, before 7" in said
    starts = json.loads((RUN / "summary.json").read_text())["starts"]
    assert [start["env_steps"] for start in starts] == [0, 256]
    assert [start["threads"] for start in starts] == [7, 1]
    assert "--ckpt_path=last" in starts[1]["command"]
    assert {start["device"] for start in starts} == {"cpu"}


def test_another_seed_changes_nothing_and_that_is_said(folder, capsys):
    call("fit")
    call("fit", *OTHER, "--trainer.max_steps=4")
    for steps in (6, 12):
        capsys.readouterr()
        call("fit", *OTHER, "--seed_everything=3", "--ckpt_path=last", f"--trainer.max_steps={steps}")
        said = capsys.readouterr().err
        assert said.count("seed 3 changes nothing: the run goes on with the random numbers of seed 0.") == 1
    assert differing(RUN, "other") == []


def test_changed_options_are_said_and_kept_by_name(tmp_path, capsys):
    run = runs.Run(tmp_path, "point_mass", "rpo", 0, "rpo-lightning fit", "")
    resumed = SimpleNamespace(env_steps=256, changes={"kl_coef": (0.25, 5.0)})
    module = SimpleNamespace(run=run, resumed=resumed, env_steps=256, total_env_steps=768, device="cpu")
    evidence = Evidence()
    for callback in (RunFolder(), evidence):
        callback.on_train_start(SimpleNamespace(loggers=[]), module)
    assert "kl_coef is now 5.0, was 0.25" in capsys.readouterr().err
    assert [start["changed"] for start in evidence.state_dict()["starts"]] == [{"kl_coef": [0.25, 5.0]}]


def test_closed_standard_error(folder):
    start = "from rpo_lightning.streams import open_closed_streams as o; o(); from rpo_lightning.cli import main; main()"
    command = f"exec {sys.executable} -c '{start}' fit --config tiny.yaml --trainer.max_steps=1 2>&-"
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), check=True, timeout=180)
    assert checkpoints.counters(RUN / LAST)["iteration"] == 1
    script = (
        "import os, sys; from rpo_lightning.streams import open_closed_streams as o; o(); print('lost', file=sys.stderr)"
    )
    command = f"exec {sys.executable} -c \"{script}; sys.exit(open('tiny.yaml').fileno() - 3)\" 2>&- 0<&-"
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), check=True, timeout=180)


def test_a_write_that_is_interrupted_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    files.write_atomically(path, lambda temporary: temporary.write_text("new"))
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


class Unready(OtherTask):
    """A task whose first window fails."""

    def __new__(cls, **options):
        env = super().__new__(cls, **options)
        env.step = lambda action: 1 / 0
        return env


class Fails(Callback):
    """An error of somebody's code that looks like one of files."""

    def __init__(self, iteration: int = 0) -> None:
        super().__init__()
        self.iteration = iteration

    def on_rollout_end(self, module, batch):
        if module.iteration == self.iteration:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/robot.xml")


class Misses(Callback):
    """A file of the user's is not there."""

    def on_rollout_end(self, module, batch):
        Path("no_such_table").read_text()


class Removes(Callback):
    """Somebody removes the run folder."""

    def on_rollout_end(self, module, batch):
        if module.iteration == 6:
            shutil.rmtree(RUN)
