"""The last checkpoint and the best one, whatever happens while they are written."""

import json

import pytest
import torch

from rpo_lightning.callbacks import LastAndBest
from rpo_lightning.cli import main
from rpo_lightning.run_folder import history
from tests.command_line import RUN, call, events, refused


class Writer:
    """As much of a driver as LastAndBest needs; a checkpoint holds its number."""

    is_global_zero = True
    num_training_batches = 4

    def __init__(self, folder):
        self.default_root_dir = str(folder)
        self.number = 0

    def save_checkpoint(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(self.number))
        if self.number == 99:
            raise KeyboardInterrupt


@pytest.fixture
def files(tmp_path):
    return lambda: [(tmp_path / f"checkpoints/{name}.ckpt").read_text() for name in ("last", "best")]


def sound():
    """A module as LastAndBest sees it."""
    module = torch.nn.Linear(1, 1)
    module.iteration, module.env_steps, module.device = 0, 640, torch.device("cpu")
    return module


def evaluated(value, broken=0):
    return {"sampled": {"mean": value, "broken": broken}}


def test_last_and_best(tmp_path, files):
    keeper, writer = LastAndBest(every_n_iterations=2), Writer(tmp_path)
    module = sound()

    for writer.number, value in ((1, -5.0), (2, 3.0), (3, 1.0)):
        keeper.on_evaluation_end(module, evaluated(value))
        keeper.on_train_epoch_end(writer, module)
    assert files() == ["3", "2"]
    writer.number, module.iteration = 4, 3
    keeper.on_train_batch_end(writer, module, None, None, 0)
    assert files() == ["3", "2"]
    module.iteration = 4
    keeper.on_train_batch_end(writer, module, None, None, 0)
    assert files() == ["4", "2"]
    # a resumed run knows the best of before
    resumed = LastAndBest()
    resumed.load_state_dict(keeper.state_dict())
    for writer.number, value, expected in ((5, 2.0, ["4", "2"]), (6, 4.0, ["6", "6"])):
        resumed.on_evaluation_end(module, evaluated(value))
        resumed.on_train_end(writer, module)
        assert files() == expected
    writer.number = 99
    with pytest.raises(KeyboardInterrupt):
        resumed.on_train_epoch_end(writer, module)
    assert files() == ["6", "6"], "an interrupted write must leave the old file"
    with pytest.raises(ValueError, match="return_deterministic"):
        LastAndBest(monitor="eval/loss")
    # a broken episode may have missed what costs most
    writer.number = 7
    resumed.on_evaluation_end(module, evaluated(100.0, broken=1))
    resumed.on_train_epoch_end(writer, module)
    assert files() == ["7", "6"]


def test_best_is_never_older_than_what_last_knows_of(tmp_path, files, monkeypatch):
    keeper, writer, module = LastAndBest(), Writer(tmp_path), sound()
    keeper.on_evaluation_end(module, evaluated(1.0))
    keeper.on_train_epoch_end(writer, module)
    known = keeper.state_dict()
    keeper.on_evaluation_end(module, evaluated(2.0))
    writer.number = 1

    def kill(*paths):
        raise SystemExit("the process is killed")

    # before and after the moment in which best.ckpt is moved to its place
    for function, kept in (("shutil.copyfile", ["0", "0"]), ("pathlib.Path.replace", ["0", "1"])):
        with monkeypatch.context() as patched:
            patched.setattr(function, kill)
            with pytest.raises(SystemExit):
                keeper.on_train_epoch_end(writer, module)
        assert files() == kept
    resumed = LastAndBest()
    resumed.load_state_dict(known)
    resumed.on_evaluation_end(module, evaluated(2.0))
    resumed.on_train_epoch_end(writer, module)
    assert files() == ["1", "1"]


def test_a_checkpoint_by_the_clock_beside_the_one_by_epochs(tmp_path, monkeypatch):
    keeper, writer, module = LastAndBest(every_minutes=2.0), Writer(tmp_path), sound()
    now = [0.0]
    monkeypatch.setattr("rpo_lightning.callbacks.checkpoint.time.monotonic", lambda: now[0])
    keeper.on_train_start(writer, module)
    last = tmp_path / "checkpoints/last.ckpt"
    for now[0], written in ((119.0, False), (121.0, True), (239.0, False), (242.0, True)):
        keeper.on_train_batch_end(writer, module, None, None, 0)
        assert last.exists() == written
        last.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="every_minutes"):
        LastAndBest(every_minutes=0)


def test_a_history_of_checkpoints(tmp_path):
    def run(keeper, first, last):
        keeper.on_train_start(writer, module)
        for iteration in range(first, last):
            module.iteration, module.env_steps = iteration + 1, 64 * (iteration + 1)
            keeper.on_train_batch_end(writer, module, None, None, iteration % 4)
            if iteration % 4 == 3:
                keeper.on_train_epoch_end(writer, module)

    def kept():
        return history(tmp_path / "checkpoints")

    writer, module = Writer(tmp_path), sound()
    module.env_steps = 0
    keeper = LastAndBest(every_minutes=None, every_n_steps=100)
    run(keeper, 0, 6)
    assert kept() == [128, 256, 320]  # the first iterations that reach 100, 200, 300
    # at an epoch's end it waits for the evaluation, also where the last one is due anyway
    every, module.env_steps = LastAndBest(every_n_iterations=1, every_n_steps=100), 0
    every.on_train_start(writer, module)
    module.iteration, module.env_steps = 4, 104
    every.on_train_batch_end(writer, module, None, None, 3)
    assert 104 not in kept()
    every.on_train_epoch_end(writer, module)
    assert 104 in kept()
    (tmp_path / "checkpoints/step_104.ckpt").unlink()
    module.env_steps = 320
    # one that has just been written is not due again in the run that continues it
    run(LastAndBest(every_minutes=None, every_n_steps=100), 5, 7)
    assert kept() == [128, 256, 320, 448]
    module.env_steps = 128
    run(LastAndBest(every_minutes=None, every_n_steps=100, keep=1), 2, 4)  # taken back: what comes later stays for now
    assert kept() == [256, 320, 448]
    module.env_steps = 256
    run(LastAndBest(every_minutes=None, every_n_steps=100, keep=2), 4, 10)
    assert kept() == [512, 640]
    for options, word in (({"every_n_steps": 0}, "every_n_steps"), ({"keep": 2}, "without every_n_steps"),
                          ({"every_n_steps": 9, "keep": 0}, "keep")):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            LastAndBest(**options)


HISTORY = ("--trainer.callbacks+=LastAndBest", "--trainer.callbacks.every_n_steps=100")


@pytest.mark.parametrize(("command", "other"), [("fit", "fabric"), ("fabric", "fit")])
def test_a_run_goes_on_exactly_from_any_of_the_history(command, other, folder, capsys):
    call(command, *HISTORY)
    steps = history(RUN / "checkpoints")
    assert steps == [128, 256, 320, 448, 512, 640, 704]
    straight = {name: torch.load(RUN / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("last", "step_704")}
    curve = events(RUN)["eval/return"]
    # from the middle of an epoch, and from the end of one, whose evaluation is not made again
    for step, driver in ((448, command), (256, other)):
        call(driver, *HISTORY, "--ckpt_path", f"step_{step}")
        for name, before in straight.items():
            after = torch.load(RUN / f"checkpoints/{name}.ckpt", weights_only=True)
            assert all(torch.equal(value, after["state_dict"][key]) for key, value in before["state_dict"].items())
            assert before["rpo_lightning"]["env_steps"] == after["rpo_lightning"]["env_steps"]
        assert f"continuing at {step} of 768 steps from {RUN}/checkpoints/step_{step}.ckpt." in capsys.readouterr().err
        assert events(RUN)["eval/return"] == curve
    line = refused(capsys, command, "--config=tiny.yaml", "--ckpt_path=step_300")
    assert "step_300.ckpt: there is step_128, step_256" in line


def test_weights_that_are_not_finite_do_not_replace_sound_ones(tmp_path, capsys):
    keeper, writer, module = LastAndBest(), Writer(tmp_path), sound()
    keeper.on_train_epoch_end(writer, module)
    module.weight.data.fill_(float("inf"))
    for writer.number in (1, 2):
        keeper.on_train_epoch_end(writer, module)
    assert (tmp_path / "checkpoints/last.ckpt").read_text() == "0"
    (line,) = capsys.readouterr().err.splitlines()
    assert "not finite after 640 steps" in line
    # as a mask may be
    module.register_buffer("mask", torch.tensor(float("-inf")))
    module.weight.data.zero_()
    keeper.on_train_epoch_end(writer, module)
    assert (tmp_path / "checkpoints/last.ckpt").read_text() == "2"


@pytest.mark.parametrize("averaged_first", [True, False])
def test_averaged_weights_are_those_of_the_summary_and_of_the_policy(averaged_first, folder, capsys):
    average = ["lightning.pytorch.callbacks.EMAWeightAveraging", "--trainer.callbacks.decay=0.5"]
    evaluation = ["Evaluation", "--trainer.callbacks.episodes=4"]
    first, second = (average, evaluation) if averaged_first else (evaluation, average)
    call("fit", "--trainer.callbacks", *first, "--trainer.callbacks+", *second)
    summary = json.loads((RUN / "summary.json").read_text())["eval"]
    capsys.readouterr()
    main(["validate", "--ckpt_path", str(RUN / "policy.pt")])
    assert json.loads(capsys.readouterr().out) == summary
