"""What a run leaves behind, and that it can be checked."""

import csv
import itertools
import json
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from lightning import Trainer

from rpo_lightning import checkpoints, policies, provenance, runs
from rpo_lightning.algorithms import RPO
from rpo_lightning.callbacks import Evaluation, Evidence, LastAndBest, StopAtBudget, StopOnSignal
from rpo_lightning.cli import RPOCLI, main
from rpo_lightning.rollout import RolloutDataModule
from tests.command_line import LAST, REPOSITORY, RUN, call, events, refused
from tests.toy import PointMass


@pytest.fixture
def finished(folder):
    """A finished run that also wrote to results/; it learns so fast that its last policy is not its best."""
    call("fit", "--trainer.callbacks+=Evidence", "--trainer.callbacks.results=results", "--model.actor_lr=1.0")
    return RUN


def test_run_folder_and_results_hold_what_they_should(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "summary.json", "curve.csv", "policy.pt", "checkpoints"} <= names
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    results = finished.parents[3] / "results/point_mass/rpo/seed_0"
    assert {path.name for path in results.iterdir()} == {"summary.json", "curve.csv", "policy.pt", "config.yaml"}
    summary = json.loads((results / "summary.json").read_text())
    assert list(summary) == [
        "task", "algorithm", "seed", "env_steps", "wall_clock_s", "cpu_s", "commit", "machine", "command", "starts", "eval",
    ]  # fmt: skip
    assert (summary["task"], summary["algorithm"], summary["seed"]) == ("point_mass", "rpo", 0)
    assert summary["env_steps"] == 768
    assert summary["command"].startswith("rpo-lightning fit --config tiny.yaml")
    assert "cores" in summary["machine"]
    assert 0 < summary["wall_clock_s"] < 600
    assert 0 < summary["cpu_s"] < summary["wall_clock_s"] * os.cpu_count() + 1
    assert set(summary["eval"]) == {"sampled", "deterministic"}
    assert set(summary["eval"]["sampled"]) == {"mean", "std", "episodes", "length", "broken"}
    assert yaml.safe_load((results / "config.yaml").read_text())["data"]["num_envs"] == 8


def test_validate_reproduces_the_evaluation_of_policy_and_checkpoint(finished, capsys):
    expected = json.loads((finished / "summary.json").read_text())["eval"]
    for command, path in (
        ("validate", "results/point_mass/rpo/seed_0/policy.pt"),  # its own config.yaml lies beside it
        ("validate", str(finished / LAST)),
        ("test", str(finished / "policy.pt")),
    ):
        capsys.readouterr()
        main([command, "--ckpt_path", path])
        assert json.loads(capsys.readouterr().out) == expected
    capsys.readouterr()
    call("validate", "--ckpt_path=last", "--trainer.callbacks=Evaluation", "--trainer.callbacks.episodes=3")
    assert json.loads(capsys.readouterr().out)["sampled"]["episodes"] == 3


def test_summary_is_of_the_final_weights_not_the_best(finished, capsys):
    final = json.loads((finished / "summary.json").read_text())["eval"]
    policy, last = torch.load(finished / "policy.pt"), torch.load(finished / LAST)
    for name, value in policy["policy"].items():
        assert torch.equal(value, last["state_dict"][name]), name
    with (finished / "curve.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["eval/return"]]
    assert float(rows[-1]["eval/return"]) == pytest.approx(final["sampled"]["mean"])
    best = max(rows, key=lambda row: float(row["eval/return"]))
    best_checkpoint = checkpoints.counters(finished / "checkpoints/best.ckpt")
    assert best_checkpoint["env_steps"] == float(best["env_steps"])
    assert best is not rows[-1], "choose another seed: the final policy is the best here"


def test_curve_counts_environment_steps_and_every_iteration_once(finished):
    with (finished / "curve.csv").open() as file:
        rows = [{key: float(value) if value else math.nan for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["env_steps"] for row in rows] == [256, 512, 640, 768]
    for clock in ("wall_clock_s", "cpu_s"):
        assert all(later[clock] > row[clock] > 0 for row, later in itertools.pairwise(rows))
    assert math.isnan(rows[2]["eval/return"])
    logged = events(finished)["critic/loss"]
    assert [step for step, _ in logged] == list(range(64, 769, 64)), "x axis: environment steps"
    losses = [value for _, value in logged]
    parts = [losses[:4], losses[4:8], losses[8:10], losses[10:]]
    for row, part in zip(rows, parts, strict=True):
        assert row["critic/loss"] == pytest.approx(np.mean(part), rel=1e-5)
    assert [step for step, _ in events(finished)["eval/return"]] == [256, 512, 768]


def test_resumed_run_adds_up_time_and_keeps_curve_and_command(folder):
    call("fit", "--trainer.max_steps=6", "--trainer.callbacks+=Evidence", "--trainer.callbacks.every_n_iterations=1")
    first = json.loads((RUN / "summary.json").read_text())
    content = torch.load(RUN / LAST, weights_only=True)
    (key,) = [key for key in content["callbacks"] if "Evidence" in key]
    content["callbacks"][key]["wall_clock_s"] += 1000.0
    content["callbacks"][key]["cpu_s"] += 500.0
    torch.save(content, RUN / LAST)
    call("fit", "--ckpt_path=last", "--trainer.callbacks+=Evidence", "--trainer.callbacks.every_n_iterations=1")
    summary = json.loads((RUN / "summary.json").read_text())
    assert 1000 + first["wall_clock_s"] < summary["wall_clock_s"] < 1200
    assert 500 + first["cpu_s"] < summary["cpu_s"] < 700
    assert summary["command"] == first["command"]
    with (RUN / "curve.csv").open() as file:
        assert [float(row["env_steps"]) for row in csv.DictReader(file)] == list(range(64, 769, 64))


def test_a_run_begun_before_processors_were_counted_does_not_know_their_time(folder):
    call("fit", "--trainer.max_steps=6", "--trainer.callbacks+=Evidence", "--trainer.callbacks.every_n_iterations=1")
    content = torch.load(RUN / LAST, weights_only=True)
    (key,) = [key for key in content["callbacks"] if "Evidence" in key]
    del content["callbacks"][key]["cpu_s"]
    content["callbacks"][key]["rows"] = [[*row[:2], *row[3:]] for row in content["callbacks"][key]["rows"]]
    torch.save(content, RUN / LAST)
    call("fit", "--ckpt_path=last", "--trainer.callbacks+=Evidence", "--trainer.callbacks.every_n_iterations=1")
    assert json.loads((RUN / "summary.json").read_text())["cpu_s"] is None
    with (RUN / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["cpu_s"] for row in rows} == {""}
    assert all(float(row["critic/loss"]) > 0 for row in rows)
    assert rows[-1]["eval/return"]


def test_results_that_a_kill_has_left_incomplete_are_completed_by_the_next_start(finished, capsys):
    results = finished.parents[3] / "results/point_mass/rpo/seed_0"
    whole = {path.name: path.read_bytes() for path in results.iterdir()}
    (results / "summary.json").unlink()
    (results / "policy.pt").write_bytes(whole["policy.pt"][:100])
    (results / ".policy.pt.17.tmp").write_bytes(b"half")
    call("fit", "--trainer.callbacks+=Evidence", "--trainer.callbacks.results=results", "--ckpt_path=last")
    assert "is complete" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in results.iterdir()} == whole


def test_evidence_of_a_plain_trainer_can_be_checked_on_the_command_line(folder, capsys):
    data = RolloutDataModule(PointMass, num_envs=8, horizon=8, iterations_per_epoch=4, seed=3)
    module = RPO(3, 1, total_env_steps=256, hidden=[8])
    callbacks = [Evaluation(episodes=4), Evidence(results="out"), LastAndBest(), StopAtBudget(), StopOnSignal()]
    before = signal.getsignal(signal.SIGTERM)
    Trainer(
        accelerator="cpu", default_root_dir="mine", callbacks=callbacks, logger=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=-1,
    ).fit(module, datamodule=data)  # fmt: skip
    assert signal.getsignal(signal.SIGTERM) == before
    summary = json.loads((folder / "out/point_mass/rpo/seed_3/summary.json").read_text())
    assert (summary["task"], summary["seed"], summary["env_steps"]) == ("point_mass", 3, 256)
    assert (folder / "mine/checkpoints/last.ckpt").exists()
    assert "random_progress: false" in (folder / "mine/config.yaml").read_text()
    capsys.readouterr()
    options = ("--trainer.callbacks=Evaluation", "--trainer.callbacks.episodes=4", "--trainer.accelerator=cpu")
    main(["validate", "--ckpt_path", "mine/policy.pt", *options])
    assert json.loads(capsys.readouterr().out) == summary["eval"]


def test_without_an_iteration_there_is_no_evidence(tmp_path):
    callback = Evidence()
    callback.on_fit_end(SimpleNamespace(callbacks=[], is_global_zero=True, default_root_dir=tmp_path), None)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="Evidence needs every_n_iterations of at least 1, not 0"):
        Evidence(every_n_iterations=0)


def test_a_policy_whose_episodes_break_is_marked_and_never_best_and_no_success(folder, capsys):
    call("fit", "--data.env=tests.test_evidence.Breaking", "--trainer.max_steps=4")
    said = capsys.readouterr().err
    assert "256 of 768 steps, no return, 4 of 4 episodes broke: something in them was not finite; summary.json" in said
    run = folder / "runs/breaking/rpo/seed_0"
    evaluation = json.loads((run / "summary.json").read_text())["eval"]["sampled"]
    assert evaluation == {"mean": None, "std": None, "episodes": 4, "length": None, "broken": 4}
    assert not (run / "checkpoints/best.ckpt").exists()
    assert [value for _, value in events(run)["eval/broken"]] == [4.0]
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["validate", "--ckpt_path", str(run / "policy.pt")])
    assert end.value.code == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["sampled"] == evaluation
    assert "4 of 4 episodes broke" in captured.err


class Breaking(PointMass):
    """In an evaluation, which is of four, everything breaks in the third step."""

    name = "breaking"

    def step(self, action):
        step = super().step(action)
        if self.num_envs != 4:
            return step
        self.invalid = self.progress == 3
        return step._replace(terminated=step.terminated | self.invalid)


def test_commit_is_that_of_the_start(folder, monkeypatch):
    versions = iter(["at the start", "later"])
    monkeypatch.setattr("rpo_lightning.callbacks.evidence.code_version", lambda: next(versions))
    call("fit", "--trainer.max_steps=1")
    assert json.loads((RUN / "summary.json").read_text())["commit"] == "at the start"


def test_variant_has_a_folder_of_its_own(folder):
    call("fit", "--trainer.max_steps=1", "--trainer.callbacks+=Evidence", "--trainer.callbacks.results=out",
         "--trainer.callbacks.variant=nokl")  # fmt: skip
    assert json.loads((folder / "out/point_mass/rpo-nokl/seed_0/summary.json").read_text())["algorithm"] == "rpo-nokl"


def test_policy_of_the_paper_is_under_a_megabyte_and_acts_the_same(tmp_path):
    module = RPO(37, 8, total_env_steps=1)
    module.normalizer.update(torch.randn(4, 5, 37))
    run = runs.Run(tmp_path, "ant", "rpo", 0, "", "")
    policies.write_policy(tmp_path / "policy.pt", module, run)
    assert (tmp_path / "policy.pt").stat().st_size < 1_000_000
    other, obs = RPO(37, 8, total_env_steps=1), torch.randn(3, 37)
    assert not torch.equal(module.act(obs, deterministic=True), other.act(obs, deterministic=True))
    policies.load_weights(other, tmp_path / "policy.pt")
    assert torch.equal(module.act(obs, deterministic=True), other.act(obs, deterministic=True))
    for wrong, named in ((RPO(37, 8, 1, hidden=[8]), "actor"), (RPO(11, 3, 1), "obs_dim 37")):
        with pytest.raises(ValueError, match=named):
            policies.load_weights(wrong, tmp_path / "policy.pt")


def test_predict_writes_one_full_episode_per_environment(finished, capsys):
    call("predict", "--ckpt_path=last", "--episodes=3", "--output=out.npz")
    call("predict", "--ckpt_path=last", "--episodes=3", "--output=again.pt")
    data = np.load("out.npz")
    steps = int(data["length"].max())
    shapes = {"obs": (3,), "action": (1,), "q": (1,), "qd": (1,), "qpos": (0,), "qvel": (0,), "reward": (), "done": ()}
    assert {name: data[name].shape for name in shapes} == {name: (steps, 3, *rest) for name, rest in shapes.items()}
    assert data["done"].sum(0).tolist() == [1, 1, 1]
    for env, length in enumerate(data["length"]):
        assert data["done"][length - 1, env]
        assert np.isfinite(data["reward"][:length, env]).all()
        assert np.isnan(data["reward"][length:, env]).all()
        # obs is what the action saw, q and qd the state it started from
        np.testing.assert_array_equal(data["obs"][:length, env, 0], data["q"][:length, env, 0])
        np.testing.assert_array_equal(data["obs"][:length, env, 1], data["qd"][:length, env, 0])
    for name, value in torch.load("again.pt").items():
        np.testing.assert_array_equal(value.numpy(), data[name])
    assert "mean return" in capsys.readouterr().err
    assert "out.txt" in refused(
        capsys, "predict", "--config", "tiny.yaml", "--ckpt_path=last", "--output=out.txt", "--episodes=1"
    )


def test_predict_writes_a_table_that_other_tools_read(finished, capsys, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("out.npz", "out.parquet"):
        call("predict", "--ckpt_path=last", "--episodes=3", f"--output={name}")
    data, table = np.load("out.npz"), parquet.read_table("out.parquet").to_pydict()
    assert list(table) == ["episode", "step", "obs.0", "obs.1", "obs.2", "action.0", "reward", "q.0", "qd.0", "done"]
    lengths = data["length"].tolist()
    assert table["episode"] == [episode for episode, length in enumerate(lengths) for _ in range(length)]
    assert table["step"] == [step for length in lengths for step in range(length)]
    for column, values in (("obs.1", data["obs"][..., 1]), ("reward", data["reward"]), ("done", data["done"])):
        expected = np.concatenate([values[:length, episode] for episode, length in enumerate(lengths)])
        np.testing.assert_array_equal(table[column], expected)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = refused(capsys, "predict", "--config=tiny.yaml", "--ckpt_path=last", "--output=no.parquet", "--episodes=1")
    assert "pip install pyarrow" in line


def test_trajectories_hold_the_coordinates_of_mujoco():
    from rpo_lightning import envs
    from rpo_lightning.sim import from_mujoco
    from rpo_lightning.trajectories import record

    class Module:
        def player(self, num_envs, deterministic, generator):
            return lambda obs: torch.zeros(num_envs, 8)

    def make_env(num_envs, seed):
        return envs.make("ant", num_envs=num_envs, seed=seed, episode_length=4)

    seen = record(Module(), make_env, 2)
    env = make_env(1, 0)
    q, qd = from_mujoco(env.model, seen.qpos.flatten(0, 1), seen.qvel.flatten(0, 1))
    torch.testing.assert_close(q.view_as(seen.q), seen.q)
    torch.testing.assert_close(qd.view_as(seen.qd), seen.qd, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen.qpos[..., 3], seen.q[..., 6])  # w comes first there


def test_validate_and_predict_ask_for_a_policy(folder, capsys):
    assert "--ckpt_path" in refused(capsys, "validate", "--config", "tiny.yaml")
    assert "last.ckpt" in refused(capsys, "predict", "--config", "tiny.yaml", "--ckpt_path=last")


def test_a_policy_that_is_not_there_is_said_before_a_configuration_is_missed(folder, capsys):
    for path, words in (
        ("nowhere/policy.pt", "No checkpoint at nowhere/policy.pt."),
        (".", ". is a folder, no checkpoint."),
    ):
        for command in ("validate", "predict"):
            assert words in refused(capsys, command, "--ckpt_path", path)


def test_commit_is_ours_or_none(tmp_path, monkeypatch):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()
    assert provenance.code_version().removesuffix("-dirty") == head or not head
    # Installed inside someone else's repository, their commit says nothing about our code.
    (tmp_path / "provenance.py").touch()
    for command in (["init"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", *command], cwd=tmp_path, capture_output=True, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.code_version().startswith(("unknown", "rpo-lightning"))


def test_threads_are_shared_out_among_processes(folder, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    options = ["--config", "tiny.yaml", "--trainer.strategy=ddp"]
    for devices, threads in ((1, 8), (4, 2), (16, 1)):
        RPOCLI("fit", [*options, f"--trainer.devices={devices}"])
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
