"""A signal ends a run in order and a second one at once; what was running goes on bit for bit."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning import Callback

from rpo_lightning import checkpoints, run_folder
from rpo_lightning.interrupts import Interrupted, signals
from tests.command_line import LAST, RUN, call, differing, environment, spawn

OTHER = ("--trainer.default_root_dir", "other")
RAISE = "--trainer.callbacks+=tests.test_interrupts.Raise"


class Raise(Callback):
    """Send this process a signal in a hook of an iteration.

    Args:
        signum: the signal.
        hook: where.
        iteration: counted from 0, before it is done.
    """

    def __init__(self, signum: int, hook: str = "on_rollout_end", iteration: int = 2) -> None:
        super().__init__()
        self.signum, self.iteration = signum, iteration
        setattr(self, hook, self._send)

    def _send(self, *arguments, **named):
        module = next(each for each in (*arguments, *named.values()) if hasattr(each, "env_steps"))
        if module.iteration == self.iteration:
            os.kill(os.getpid(), self.signum)


class Slow(Callback):
    """Iterations that would take for ever, and a file that tells of the first."""

    def on_rollout_end(self, module, batch):
        Path("busy").touch()
        time.sleep(600)


def stopped(command, signum, *options, capsys):
    """Run a command that a signal must end in order; return what it said."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        call(command, RAISE, f"--trainer.callbacks.signum={int(signum)}", *options)
    assert end.value.code == 128 + signum
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "signum", "iteration"),
    [("fit", signal.SIGINT, 2), ("fit", signal.SIGTERM, 3), ("fabric", signal.SIGTERM, 2), ("fabric", signal.SIGINT, 3)],
    ids=["fit in the first epoch", "fit at its end", "fabric in the first epoch", "fabric at its end"],
)
def test_first_signal_ends_the_iteration_and_the_run_goes_on_as_if_nothing_had_happened(
    command, signum, iteration, folder, capsys
):
    said = stopped(command, signum, f"--trainer.callbacks.iteration={iteration}", capsys=capsys)
    done = 64 * (iteration + 1)
    assert f"stopped by {signum.name} at {done} of 768 steps; --ckpt_path last goes on from {RUN / LAST}" in said
    assert checkpoints.counters(RUN / LAST)["env_steps"] == done
    assert not (RUN / "summary.json").exists()
    assert not (RUN / ".lock").exists()
    call(command, "--ckpt_path=last")
    assert f"continuing at {done} of 768 steps from {RUN / LAST}" in capsys.readouterr().err
    call(command, *OTHER)
    assert differing(RUN, "other") == []
    assert measured(RUN) == measured("other")


def measured(run):
    """Return the evaluations of a run's curve."""
    with (Path(run) / "curve.csv").open() as file:
        return [(row["env_steps"], row["eval/return"]) for row in csv.DictReader(file) if row["eval/return"]]


@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_end"])
def test_an_evaluation_under_way_is_abandoned_and_made_up_for(hook, folder, capsys):
    iteration = 8 if hook == "on_validation_start" else 12
    options = ("--trainer.callbacks.hook", hook, f"--trainer.callbacks.iteration={iteration}")
    pace = ("--trainer.check_val_every_n_epoch=2",) if hook == "on_train_end" else ()
    said = stopped("fit", signal.SIGTERM, *options, *pace, capsys=capsys)
    assert f"at {64 * iteration} of 768 steps" in said
    assert str(64.0 * iteration) not in dict(measured(RUN))
    call("fit", "--ckpt_path=last", *pace)
    call("fit", *OTHER, *pace)
    assert measured(RUN) == measured("other")
    best = [checkpoints.counters(Path(run) / "checkpoints/best.ckpt") for run in (RUN, "other")]
    assert best[0] == best[1]
    assert (RUN / "summary.json").exists()


def test_a_signal_before_the_first_iteration_leaves_nothing(folder, capsys):
    said = stopped(
        "fit", signal.SIGINT, "--trainer.callbacks.hook=on_fit_start", "--trainer.callbacks.iteration=0", capsys=capsys
    )
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]
    assert "stopped" not in said


def test_a_second_signal_ends_at_once(folder):
    process = spawn(folder, "fit", "--config", "tiny.yaml", "--trainer.callbacks+=tests.test_interrupts.Slow")
    while not (folder / "busy").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "a second signal ends at once" in err
    assert not (folder / RUN / LAST).exists()
    call("fit", "--trainer.max_steps=1")


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_a_signal_to_the_second_of_two_processes_stops_both_at_the_same_iteration(command, folder):
    long = ("--model.total_env_steps=10000000", "--data.iterations_per_epoch=100000")
    process = spawn(folder, command, "--config", "tiny.yaml", *long, "--trainer.devices=2", "--trainer.strategy=ddp")
    while not (folder / RUN / "config.yaml").exists() and process.poll() is None:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (second,) = [int(each) for each in children if b"rpo_lightning" in Path(f"/proc/{each}/cmdline").read_bytes()]
    os.kill(second, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    assert err.count("stopped by SIGTERM") == 1
    assert "Traceback" not in err
    content = torch.load(folder / RUN / LAST, weights_only=True)
    assert len({state["windows"] for state in content["RolloutDataModule"]["ranks"]}) == 1


def test_slurm_requeues_between_two_iterations_and_the_same_line_goes_on(folder, monkeypatch, capsys):
    (folder / "scontrol").write_text("#!/bin/sh\necho $@ > asked\n")
    (folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name, value in {
        "NTASKS": "1",
        "JOB_ID": "7",
        "JOB_NAME": "train",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    handler = signal.getsignal(signal.SIGUSR1)
    call("fit", RAISE, f"--trainer.callbacks.signum={int(signal.SIGUSR1)}", "--trainer.max_steps=3")
    assert signal.getsignal(signal.SIGUSR1) == handler
    assert (folder / "asked").read_text() == "requeue 7\n"
    hpc = RUN / "hpc_ckpt_1.ckpt"
    assert checkpoints.counters(hpc)["iteration"] == 3
    (RUN / LAST).unlink()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    capsys.readouterr()
    call("fit")
    assert f"continuing at 192 of 768 steps from {hpc}" in capsys.readouterr().err
    assert run_folder.find_checkpoint("last", RUN) == RUN / LAST
    for name in ("NTASKS", "JOB_ID", "JOB_NAME", "PROCID", "LOCALID", "NODEID", "RESTART_COUNT"):
        monkeypatch.delenv(f"SLURM_{name}")
    call("fit", *OTHER)
    assert differing(RUN, "other") == []


def test_without_a_command_the_signals_are_what_they_were():
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:

        def of_the_user(signum, frame):
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, of_the_user)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, of_the_user)
        signals.defer("", 1, lambda: None)
        signals.defer("", 1, lambda: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.requeue_asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        signals.release()
        assert signals.received == 0
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGUSR1) is of_the_user
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def test_a_command_that_hangs_after_its_last_iteration_is_ended(folder):
    """As two of 31 runs did, waiting for the queue of TensorBoard's thread."""
    script = (
        "import signal, threading\n"
        "from rpo_lightning import interrupts\n"
        "interrupts.LAST_MOMENT_S = 0.2\n"
        "with interrupts.signals.command():\n"
        "    interrupts.signals.end_within_bounds(signal.SIGTERM)\n"
        "    threading.Lock().acquire() and threading.Event().wait()\n"
    )
    assert subprocess.run([sys.executable, "-c", script], env=environment(), timeout=60).returncode == 143


def test_a_signal_while_nothing_is_deferred_ends_the_command():
    with pytest.raises(Interrupted) as end, signals.command():
        os.kill(os.getpid(), signal.SIGINT)
    assert end.value.code == 130
    assert not end.value.in_order


ASYNCHRONOUS = """
model: {class_path: PPO, init_args: {total_env_steps: 10_000_000, hidden: [8], minibatch_size: 16}}
data:
  env: {name: gymnasium/Pendulum-v1, init_args: {asynchronous: true}}
  num_envs: 2
  horizon: 8
  iterations_per_epoch: 5
trainer: {accelerator: cpu, callbacks: [{class_path: Evaluation, init_args: {episodes: 2}}]}
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_run_and_the_processes_of_its_environments_ends_all_of_them_without_a_traceback(signum, folder):
    """As a terminal sends Ctrl-C, and a batch system SIGTERM."""
    pytest.importorskip("gymnasium")
    (folder / "tiny.yaml").write_text(ASYNCHRONOUS)
    arguments = [sys.executable, "-m", "rpo_lightning.cli", "fit", "--config=tiny.yaml", "--trainer.default_root_dir=a"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(arguments, cwd=folder, env=environment(), start_new_session=True, **pipes)
    deadline = time.monotonic() + 120
    while not (folder / "a" / LAST).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signum)
    lines = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 128 + signum
    assert lines.count("stopping after this iteration; a second signal ends at once.") == 1
    assert "Traceback (most recent call last):" not in lines
    assert f"stopped by {signum.name}" in "".join(lines)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
