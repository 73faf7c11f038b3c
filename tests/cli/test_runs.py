"""What every run has, says and leaves, whatever else is configured."""

import json
import re

import pytest
import torch
import warp
from lightning import Callback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar, TQDMProgressBar

import rpo_lightning
from rpo_lightning.callbacks import Evaluation, LastAndBest, NaNGuard, Progress
from rpo_lightning.cli import RPOCLI, accelerator, main, settings
from rpo_lightning.cli.callbacks import STANDARD
from rpo_lightning.fabric import FabricDriver
from tests.command_line import RUN, call, events, finish, refused, spawn

ONE = "--trainer.max_steps=1"


def kinds(*options, command="fit"):
    """Return the classes of the callbacks that a run would have."""
    return [type(callback) for callback in RPOCLI(command, ["--config=tiny.yaml", *options]).trainer.callbacks]


def test_standard_callbacks_stay_beside_a_users_list(folder):
    (folder / "more.yaml").write_text("trainer: {callbacks: [{class_path: KLTuner}]}\n")
    for options in (["--config=more.yaml"], ["--trainer.callbacks=KLTuner"], ["--trainer.callbacks+=KLTuner"]):
        for command in ("fit", "fabric"):
            found = kinds(*options, command=command)
            assert set(STANDARD) < set(found)
            assert [kind.__name__ for kind in found].count("KLTuner") == 1
            assert len(found) == len(set(found))


def test_one_of_the_users_takes_the_place_of_a_standard_one(folder):
    run = RPOCLI("fit", ["--config=tiny.yaml", "--trainer.callbacks+=NaNGuard", "--trainer.callbacks.patience=2"])
    (evaluation,) = (each for each in run.trainer.callbacks if isinstance(each, Evaluation))
    (guard,) = (each for each in run.trainer.callbacks if isinstance(each, NaNGuard))
    assert (evaluation.episodes, guard.patience) == (4, 2)
    assert isinstance(run.trainer.callbacks[-1], Checkpoint)


def test_standard_callbacks_are_switched_off_by_name(folder):
    assert not {Evaluation, NaNGuard} & set(kinds("--without", "[Evaluation, NaNGuard]", "--trainer.callbacks=KLTuner"))
    assert Progress not in kinds("--without=Progress")
    assert Progress not in kinds("--trainer.enable_progress_bar=false")
    assert LastAndBest not in kinds("--trainer.enable_checkpointing=false")
    call("fit", "--without", "Evaluation", "--trainer.callbacks=KLTuner")
    assert json.loads((RUN / "summary.json").read_text())["eval"] == {}


def test_a_users_progress_bar_replaces_ours(folder):
    for command, bar in (("fit", TQDMProgressBar), ("fabric", Progress)):  # Fabric cannot use Lightning's own
        found = kinds("--trainer.callbacks+=TQDMProgressBar", command=command)
        assert [kind for kind in found if issubclass(kind, ProgressBar)] == [bar]


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_two_lines_at_the_start_and_two_at_the_end(command, folder, capsys):
    call(command)
    first, second, *_, third, fourth = capsys.readouterr().err.splitlines()
    assert first == "RPO on point_mass: 8 environments x 8 steps, 768 steps in all; cpu, 1 thread"
    assert second == f"folder {RUN}; to watch: tensorboard --logdir {RUN}"
    score = json.loads((RUN / "summary.json").read_text())["eval"]["sampled"]["mean"]
    assert third == f"768 of 768 steps, return {score:.4g} over 4 episodes; summary.json, curve.csv, policy.pt in {RUN}"
    assert fourth == f"next: rpo-lightning predict --ckpt_path {RUN}/policy.pt writes what it does"
    main(fourth.removeprefix("next: rpo-lightning ").removesuffix(" writes what it does").split())
    assert (folder / "trajectories.npz").exists()


def test_no_second_file_describes_the_run(folder):
    call("fit", ONE)
    call("fit", "--model.kl_coef=3", "--trainer.max_steps=2", "--ckpt_path=last")
    assert "kl_coef: 3" in (RUN / "config.yaml").read_text()
    assert [path.name for path in RUN.rglob("*.yaml")] == ["config.yaml"]


def test_a_run_cut_short_says_how_it_goes_on(folder, capsys):
    call("fit", ONE, "--trainer.logger=false")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == f"folder {RUN}; to watch: curve.csv in it, after every epoch"
    assert lines[-2].startswith("64 of 768 steps, return ")
    assert lines[-1] == "stopped: trainer.max_steps 1 is reached; with a larger one, or without, --ckpt_path last goes on"


def test_a_run_that_a_callback_has_stopped_goes_on_by_the_same_command(folder, capsys):
    call("fit", "--trainer.callbacks+=tests.cli.test_runs.Stops")
    assert capsys.readouterr().err.splitlines()[-1] == "next: the same command with --ckpt_path last goes on"


class Stops(Callback):
    """Somebody stops after an epoch."""

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_a_fast_dev_run_leaves_nothing_behind(command, folder, capsys):
    before = set(folder.rglob("*"))
    call(command, "--trainer.fast_dev_run=true", "--trainer.callbacks+=Evidence", "--trainer.callbacks.results=results")
    assert set(folder.rglob("*")) == before
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "fast_dev_run: nothing is written"
    assert lines[-1].startswith("64 of 768 steps, return ")


def test_what_is_asked_of_lightning_is_printed(folder):
    out, err = finish(
        spawn(folder, "fit", "--config=tiny.yaml", ONE, "--trainer.profiler=simple", "--trainer.enable_model_summary=true",
              "--trainer.callbacks+=LearningRateMonitor")
    )  # fmt: skip
    assert "FIT Profiler Report" in out + err
    assert "Trainable params" in out + err
    assert "LearningRateMonitor logs against iterations, everything else against environment steps." in err


def test_null_means_our_default(folder):
    call("fit", "--trainer.log_every_n_steps=null", "--trainer.max_epochs=null", "--model.total_env_steps=128")
    assert [step for step, _ in events(RUN)["critic/loss"]] == [64, 128]


@pytest.mark.parametrize("value", [["--deterministic"], ["--deterministic", "true"], ["--deterministic=true"]])
def test_predict_takes_deterministic_with_and_without_a_value(value, folder):
    call("fit", ONE)
    policy = ("predict", "--ckpt_path", f"{RUN}/policy.pt", "--episodes=4", "--output")
    for name, options in (("a.pt", value), ("b.pt", value), ("c.pt", ["--deterministic=false"])):
        main([*policy, name, *options])
    first, second, sampled = (torch.load(name)["action"] for name in ("a.pt", "b.pt", "c.pt"))
    assert torch.equal(first.nan_to_num(), second.nan_to_num())
    assert not torch.equal(first[0], sampled[0])


@pytest.fixture
def with_cuda(monkeypatch, tmp_path):
    """A machine with a GPU, as far as the choice of the accelerator can tell; no record of a check lies anywhere yet."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("warp.is_cuda_available", lambda: True)
    monkeypatch.setattr(accelerator, "RECORD", tmp_path / "gpu.json")
    monkeypatch.setattr(accelerator, "PACKAGED", tmp_path / "packaged/gpu.json")
    return tmp_path


PASSED = {name: {"status": "passed"} for name in accelerator.PARTS}


def test_auto_means_the_cpu_until_the_gpu_has_been_checked(folder, with_cuda, capsys):
    call("fit", ONE, "--trainer.accelerator=auto")
    first, second, *_ = capsys.readouterr().err.splitlines()
    until = "accelerator auto means the CPU until `make gpu` {}; the GPU: --trainer.accelerator cuda"
    assert first == until.format("has written results/benchmarks/gpu.json")
    assert "; cpu, 1 thread" in second
    contents = ({}, [], {"device": "cpu", "parts": PASSED}, {"device": "cuda", "parts": {"golden": PASSED["golden"]}})
    for content in contents:
        (with_cuda / "gpu.json").write_text(json.dumps(content))
        assert settings.adjusted({**DEFAULTS, "accelerator": "auto"}, "ant", 128) == {"accelerator": "cpu"}
    assert f"{until.format('in gpu.json passes gradients, updates, equal, resume')}\n" in capsys.readouterr().err
    (with_cuda / "gpu.json").write_text(json.dumps({"device": "cuda", "parts": PASSED}))
    assert accelerator.chosen("ant", 128) == ("cpu", until.format("in gpu.json passes choice"))


def test_auto_means_what_was_faster_for_the_task_and_the_number_of_environments(with_cuda):
    speeds = [("ant", 128, 5000, 3000), ("ant", 4096, 9000, 90000), ("hopper", 128, 800, 900), ("hopper", 4096, 9, 8)]
    keys = ("task", "num_envs", "cpu_steps_per_s", "cuda_steps_per_s")
    choice = {"status": "out of time", "rows": [dict(zip(keys, each, strict=True)) for each in speeds]}
    record = {"device": "cuda", "machine": "16 cores A, B", "parts": {**PASSED, "choice": choice}}
    (with_cuda / "gpu.json").write_text(json.dumps(record))
    for task, num_envs, taken in (
        ("ant", 128, "cpu"), ("ant", 700, "cpu"), ("ant", 800, "cuda"), ("ant", 4096, "cuda"), ("hopper", 1, "cuda"),
        ("mine.Env", 128, "cpu"), ("mine.Env", 9999, "cpu"),
    ):  # fmt: skip
        assert accelerator.chosen(task, num_envs)[0] == taken, (task, num_envs)
    assert accelerator.chosen("ant", 5000)[1] == (
        "accelerator auto means cuda, by gpu.json: ant with 4096 environments made 90 000 against 9 000 steps/s on "
        "16 cores A, B; --trainer.accelerator cpu takes the other"
    )
    (with_cuda / "packaged").mkdir()
    (with_cuda / "gpu.json").rename(with_cuda / "packaged/gpu.json")
    assert accelerator.chosen("ant", 5000)[0] == "cuda"


def test_a_gpu_that_warp_does_not_see_is_explained(with_cuda, monkeypatch, folder, capsys):
    monkeypatch.setattr("warp.is_cuda_available", lambda: False)
    monkeypatch.setattr("warp.get_cuda_driver_version", lambda: (12, 2))
    monkeypatch.setattr("warp.get_cuda_toolkit_version", lambda: (13, 4))
    why = (
        f"torch {torch.__version__} sees a GPU, but Warp {warp.__version__}, by which the simulator runs, does not: it was built "
        "with CUDA 13.4, and the driver is one of CUDA 12.2; a newer driver would do"
    )
    assert accelerator.chosen("ant", 4096) == ("cpu", f"accelerator auto means the CPU: {why}.")
    with pytest.raises(
        ValueError, match=re.escape(f"device 'cuda': {why}; choose device='cpu' (--trainer.accelerator cpu)")
    ):
        rpo_lightning.make("cartpole", 2, device="cuda")
    monkeypatch.setattr("warp.get_cuda_driver_version", lambda: None)
    assert accelerator.chosen("ant", 1)[1].endswith("does not: it finds no CUDA driver, or was built without CUDA.")


def test_products_are_those_of_float32(folder, monkeypatch):
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    torch.set_float32_matmul_precision("medium")
    try:
        call("fit", ONE)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
    finally:
        torch.set_float32_matmul_precision("highest")


DEFAULTS = {
    **settings.TRAINER_DEFAULTS,
    "barebones": False,
    "precision": None,
    "strategy": "auto",
    "check_val_every_n_epoch": 1,
    "limit_train_batches": None,
    "max_steps": -1,
}


@pytest.mark.parametrize("command", ["fit", "fabric"])
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (["--trainer.max_epochs=1"], "trainer.max_epochs 1"),
        (["--trainer.max_steps=4"], "trainer.max_steps 4"),
        (["--trainer.callbacks+=StopAtBudget", "--trainer.callbacks.env_steps=256"], "env_steps 256 of StopAtBudget"),
    ],
    ids=["epochs", "steps", "budget"],
)
def test_a_limit_that_is_reached_is_named(command, limit, said, folder, capsys):
    for what, options in (("stopped", []), ("nothing trained", ["--ckpt_path=last"])):
        call(command, *limit, *options)
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == f"{what}: {said} is reached; with a larger one, or without, --ckpt_path last goes on"


def test_time_is_a_limit_too(folder, capsys):
    limit = ["--trainer.max_time", "00:00:00:01", "--model.total_env_steps=1_000_000"]
    for what, options in (("stopped", []), ("nothing trained", ["--ckpt_path=last"])):
        call("fit", *limit, *options)
        last = capsys.readouterr().err.splitlines()[-1]
        assert (
            last == f"{what}: trainer.max_time 0:00:01 is reached; with a larger one, or without, --ckpt_path last goes on"
        )


def test_nobody_reads_on(folder):
    process = spawn(folder, "import sys; from rpo_lightning.cli import main; sys.stdout.close = None; main(['list'])",
                    launcher=("-c",))  # fmt: skip
    process.stdout.close()
    assert process.wait(120) == 1
    assert process.stderr.read() == ""


def test_list_takes_no_options(folder, capsys):
    assert "--all" in refused(capsys, "list", "--all")


def test_fabric_runs_the_module_itself(folder):
    run = RPOCLI("fabric", ["--config=tiny.yaml", ONE])
    run.run()
    assert isinstance(run.trainer, FabricDriver)
    assert type(run.model.driver) is FabricDriver
    assert [type(each) for each in run.trainer.optimizers()] == [torch.optim.AdamW] * 2
    assert run.trainer.precision == "32-true"
