"""Fabric drives the same module, callbacks and files as the Trainer, and to the same bits."""

import json
import socket

import pytest
import torch
import yaml
from lightning import Callback

from rpo_lightning.cli import RPOCLI
from tests.command_line import LAST, RUN, call, differing, events, finish, refused, spawn

FABRIC = ("--trainer.default_root_dir", "fabric")
TWO = ("--config", "tiny.yaml", "--trainer.callbacks+=EffectiveSamples")


class Diary(Callback):
    """Write down which hook was called when."""

    hooks = (
        "setup", "on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_rollout_end",
        "on_actor_epoch_end", "on_train_batch_end", "on_validation_start", "on_validation_epoch_start",
        "on_evaluation_end", "on_validation_epoch_end", "on_validation_end", "on_train_epoch_end", "on_train_end",
        "on_fit_end", "teardown",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.entries = []


def entry(hook):
    def write(self, *args, **kwargs):
        module = next(arg for arg in (*args, *kwargs.values()) if hasattr(arg, "env_steps"))
        self.entries.append((hook, module.iteration, module.training))

    return write


for hook in Diary.hooks:
    setattr(Diary, hook, entry(hook))


@pytest.mark.parametrize(
    "limit",
    [
        "--trainer.check_val_every_n_epoch=2",
        "--trainer.max_epochs=2",
        "--trainer.max_steps=6",
        "--model.total_env_steps=640",
        "--trainer.limit_train_batches=3",
    ],
)
def test_same_bits_hooks_metrics_and_evidence_as_the_trainer(limit, folder):
    diaries, summaries = [], []
    for command, name in (("fit", "trainer"), ("fabric", "fabric")):
        run = RPOCLI(command, ["--config=tiny.yaml", limit, f"--trainer.default_root_dir={name}",
                               "--trainer.callbacks+=tests.test_fabric.Diary"])  # fmt: skip
        run.run()
        diaries.append(next(c.entries for c in run.trainer.callbacks if isinstance(c, Diary)))
        summaries.append(json.loads((folder / name / "summary.json").read_text()))
    assert differing("trainer", "fabric") == []
    first, second = diaries
    assert first == second
    assert summaries[0]["eval"] == summaries[1]["eval"]
    assert summaries[0]["env_steps"] == summaries[1]["env_steps"]
    ours, theirs = events("fabric"), events("trainer")
    for name in ("critic/loss", "train/return", "eval/return"):
        assert ours[name] == theirs[name]
    assert {path.name for path in (folder / "fabric").iterdir()} >= {"config.yaml", "curve.csv", "policy.pt"}


@pytest.mark.parametrize("stop_at", [4, 6], ids=["end of an epoch", "middle of an epoch"])
def test_resumed_fabric_run_equals_the_straight_one(stop_at, folder):
    call("fabric")
    call("fabric", *FABRIC, f"--trainer.max_steps={stop_at}")
    call("fabric", *FABRIC, "--ckpt_path=last")
    assert differing(RUN, "fabric") == []
    assert torch.load("fabric" / LAST, weights_only=True)["rpo_lightning"]["env_steps"] == 768
    # the epoch that was cut short ends where it would have ended
    assert [step for step, _ in events("fabric")["eval/return"]] == sorted({256, 512, 768, 64 * stop_at})


@pytest.mark.parametrize(("first", "second"), [("fit", "fabric"), ("fabric", "fit")])
def test_either_driver_continues_the_other(first, second, folder):
    call("fit")
    call(first, *FABRIC, "--trainer.max_steps=6")
    call(second, *FABRIC, "--ckpt_path=last")
    assert differing(RUN, "fabric") == []


def test_fabric_names_what_it_ignores(folder, capsys):
    call("fabric", "--trainer.gradient_clip_val=1", "--trainer.max_time=00:01:00:00", "--trainer.max_steps=1",
         "--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor")  # fmt: skip
    line, *_ = capsys.readouterr().err.splitlines()
    assert line == "fabric ignores trainer.max_time, trainer.gradient_clip_val, LearningRateMonitor."


def test_fabric_reads_a_configuration_made_of_parts(folder):
    whole = yaml.safe_load((folder / "tiny.yaml").read_text())
    for section in ("data", "trainer"):
        (folder / f"{section}.yaml").write_text(yaml.safe_dump(whole[section]))
        whole[section] = f"{section}.yaml"
    (folder / "tiny.yaml").write_text(yaml.safe_dump(whole))
    call("fit")
    call("fabric", *FABRIC)
    assert differing(RUN, "fabric") == []


def test_fabric_refuses_a_checkpoint_without_a_simulator(folder, capsys):
    call("fit", "--trainer.max_steps=1")
    content = torch.load(RUN / LAST, weights_only=True)
    del content["RolloutDataModule"]
    torch.save(content, RUN / LAST)
    capsys.readouterr()
    assert "no simulator" in refused(capsys, "fabric", "--config=tiny.yaml", "--ckpt_path=last")


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_a_command_parts_from_the_other_processes_at_its_end(command, folder):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    call(command, "--trainer.max_steps=1")
    assert not torch.distributed.is_initialized()


def test_two_processes_by_torchrun_and_by_the_trainer_give_the_same_run(folder):
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "rpo_lightning.cli")
    runs = [
        spawn(folder, "fabric", *TWO, *FABRIC, launcher=torchrun),
        spawn(folder, "fit", *TWO, "--trainer.devices=2", "--trainer.strategy=ddp"),
    ]
    for process in runs:
        finish(process)
    assert differing(RUN, "fabric") == []
    summary = json.loads((folder / "fabric/summary.json").read_text())
    assert summary["env_steps"] == 768
    assert torch.load("fabric" / LAST, weights_only=True)["rpo_lightning"]["iteration"] == 6
    assert summary["eval"] == json.loads((RUN / "summary.json").read_text())["eval"]
    assert yaml.safe_load((folder / "fabric/config.yaml").read_text())["data"]["num_envs"] == 8


@pytest.mark.long
def test_two_machines_of_one_process_give_the_same_run_as_two_processes_of_one(folder):
    """The machines are two launchers on this one, that find each other by a port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    nodes = []
    for node in range(2):
        place = (
            f"--node-rank={node}",
            "--nnodes=2",
            "--nproc-per-node=1",
            "--master-addr=127.0.0.1",
            f"--master-port={port}",
        )
        torchrun = ("-m", "torch.distributed.run", *place, "-m", "rpo_lightning.cli")
        nodes.append(spawn(folder, "fit", *TWO, *FABRIC, launcher=torchrun))
    for process in (*nodes, spawn(folder, "fit", *TWO, "--trainer.devices=2", "--trainer.strategy=ddp")):
        finish(process)
    assert differing(RUN, "fabric") == []
    assert json.loads((folder / "fabric/summary.json").read_text())["env_steps"] == 768
