"""Running a study: every run once, whatever ends a call; a failure is told and stops nothing else."""

import contextlib
import fcntl
import functools
import importlib.util
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import reproduce
import yaml
from study import cell, studies, toy_gaussian
from study.studies import NO_KL, REPPO, RPO, Study, Variant

from rpo_lightning import checkpoints, provenance
from tests.command_line import REPOSITORY, TINY

BROKEN = Variant("rpo", "broken", "broken", ("--model.no_such_option=1",))
RESULTS = "results/studies/budget_1/point_mass"
RECORD = "results/studies/budget_3"
FINDS_IT_COMPLETE = SimpleNamespace(executable="true")
"""In place of `sys`: the command line ends at once and in peace."""
FILES = {"summary.json", "curve.csv", "policy.pt", "config.yaml", "train.log"}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An empty working directory with a task of 768 steps and a study of it."""
    (tmp_path / "point_mass.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setitem(studies.BUDGET, "point_mass", 768)
    monkeypatch.setitem(studies.STUDIES, "toy", Study("", (BROKEN, NO_KL, RPO), "eval/return", "", ("point_mass",)))
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """The processes that are started, with their environments; `act(process)` runs in a thread beside each."""

    class Started(list):
        act = staticmethod(lambda process: None)

    processes = Started()

    class Recorded(subprocess.Popen):
        def __init__(self, *args, env, **options):
            super().__init__(*args, env=env, **options)
            self.env = env
            processes.append(self)
            threading.Thread(target=processes.act, args=(self,), daemon=True).start()

    monkeypatch.setattr(cell.subprocess, "Popen", Recorded)
    return processes


@pytest.fixture
def untrained(monkeypatch):
    """The runs that would have been trained."""
    cells = []
    monkeypatch.setattr(cell.Cell, "train", lambda self, threads: cells.append(self))
    return cells


def call(*arguments):
    """Run the script in this process on one seed of the toy study; return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = reproduce.main(["toy", "--seeds=1", "--budget=1", *arguments])
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


def test_one_run_is_killed_one_broken_one_finishes_and_the_next_call_goes_on(toy, started):
    killed, broken, good = (f"point_mass/{name}/seed_0" for name in ("rpo", "rpo-broken", "rpo-no_kl"))
    last = toy / "runs/studies" / killed / "checkpoints/last.ckpt"

    def kill_first(process):
        while process is started[0] and not last.exists() and process.poll() is None:
            time.sleep(0.005)
        if process is started[0]:
            process.send_signal(signal.SIGKILL)

    started.act = kill_first
    code, out, err = call("--variants=rpo,rpo-broken,rpo-no_kl", "--budget=3", "--threads=1")
    assert 0 < checkpoints.counters(last)["env_steps"] < 2304, "killed too late to show anything"

    # what was said
    assert code == 1
    heads = [f"[{i}/3] {name}" for i, name in enumerate((killed, broken, good), 1) for _ in range(2)]
    assert [line.split(":")[0] for line in out] == heads
    summary = json.loads((toy / RECORD / good / "summary.json").read_text())
    assert f"return {summary['eval']['sampled']['mean']:.5g}" in out[5]
    for line, left in ((out[1], "left: 3 runs"), (out[3], "left: 3 runs"), (out[5], "left: 2 runs")):
        assert left in line
    assert err[0] == "2 of 3 runs failed:"
    assert len(err) == 3
    for line, words in ((err[1], (killed, "exit code -9")), (err[2], (broken, "exit code 2", "no_such_option"))):
        for word in (*words, f"runs/studies/{words[0]}/train.log"):
            assert word in line

    # what is there
    assert (summary["task"], summary["algorithm"], summary["env_steps"]) == ("point_mass", "rpo-no_kl", 2304)
    assert {path.name for path in (toy / RECORD / good).iterdir()} == FILES
    assert summary["command"] in (toy / RECORD / good / "train.log").read_text()
    assert [process.env["OMP_NUM_THREADS"] for process in started] == ["1"] * 3
    assert {path.name for path in toy.iterdir()} == {"point_mass.yaml", "runs", "results"}
    assert {path.name for path in (toy / "runs/studies").iterdir()} == {"point_mass", "hydra"}
    assert [path.name for path in (toy / "runs/studies/hydra").rglob("*")] == ["multirun.yaml"]

    # the same call again
    code, out, err = call("--variants=rpo,rpo-no_kl", "--budget=3", "--threads=1")
    assert (code, err, len(started)) == (0, [], 4)
    assert out[0] == f"[1/2] {killed}: continues, 0.002304 M steps"
    assert out[2] == f"[2/2] {good}: finished before, return {summary['eval']['sampled']['mean']:.5g}"
    assert checkpoints.counters(last)["env_steps"] == 2304
    log = (toy / RECORD / killed / "train.log").read_text()
    assert log.count("$ rpo-lightning fit") == 2
    assert log.count("starting from the beginning") == 1


def test_a_larger_budget_continues_the_run_and_keeps_both_results(toy, started):
    for budget, steps in (("0.5", 384), ("1", 768)):
        code, out, _ = call("--variants=rpo", f"--budget={budget}")
        assert code == 0
        summary = json.loads((toy / f"results/studies/budget_{budget}/point_mass/rpo/seed_0/summary.json").read_text())
        assert summary["env_steps"] == steps
    assert "continues" in out[0]
    # what has gone on is not what a smaller budget would have given
    code, _, err = call("--variants=rpo", "--budget=0.25")
    assert code == 1
    assert "it has already taken 768 steps" in err[1]
    assert not (toy / "results/studies/budget_0.25").exists()


def test_results_that_are_gone_are_filled_from_a_complete_run(toy, started, monkeypatch):
    folder = toy / "runs/studies/point_mass/rpo/seed_0"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(json.dumps({"env_steps": 768}))
    monkeypatch.setattr(cell, "sys", FINDS_IT_COMPLETE)
    code, _, err = call("--variants=rpo")
    assert (code, err, len(started)) == (0, [], 1)
    assert {path.name for path in (toy / RESULTS / "rpo/seed_0").iterdir()} == FILES


def test_ctrl_c_ends_the_run_and_says_that_one_can_go_on(toy, started, monkeypatch):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(cell, "GRACE_S", 20.0)
    started.act = lambda process: (time.sleep(0.2), os.kill(os.getpid(), signal.SIGINT))
    try:
        code, out, err = call("--variants=rpo-no_kl,rpo")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (code, err) == (130, ["stopped; the same command continues."])
    # in order, or before it had begun to listen
    assert [process.returncode for process in started] in ([128 + signal.SIGTERM], [-signal.SIGTERM])
    assert len(out) == 1


def test_run_that_another_process_trains_is_left_alone(toy, started):
    log = toy / "runs/studies/point_mass/rpo/seed_0/train.log"
    log.parent.mkdir(parents=True)
    with log.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, out, err = call("--variants=rpo")
    assert (code, err, started) == (0, [], [])  # machines that share a folder divide a grid among them
    assert out == ["[1/1] point_mass/rpo/seed_0: starts, 0.000768 M steps", f"[1/1] point_mass/rpo/seed_0: {cell.ELSEWHERE}"]


def test_the_state_of_a_grid_and_what_the_rest_will_cost(toy, untrained):
    def record(name, **changes):
        summary = toy / RESULTS / name / "seed_0/summary.json"
        summary.parent.mkdir(parents=True)
        evaluation = {"sampled": {"mean": 123.456}}
        content = {"task": "point_mass", "algorithm": name, "env_steps": 768, "wall_clock_s": 768.0, "eval": evaluation}
        summary.write_text(json.dumps({**content, "commit": provenance.code_version(), **changes}))

    assert call("--status")[1][-1].endswith("0 of 3 runs are done; to go: 3 runs of unknown cost")
    record("rpo-no_kl", commit="0123456789abcdef")
    states = call("--status")
    assert states == (
        0,
        [
            "point_mass/rpo-broken/seed_0: missing, 0 of 0.000768 M steps, 13 min to go",
            "point_mass/rpo-no_kl/seed_0: done, return 123.46; of another commit, 0123456",
            "point_mass/rpo/seed_0: missing, 0 of 0.000768 M steps, 13 min to go",
            "1 of 3 runs are done; to go: 26 min of one run at a time",
        ],
        [],
    )
    record("rpo")
    assert call("--status", "--variants=rpo")[1][0] == "point_mass/rpo/seed_0: done, return 123.46"
    log = toy / "runs/studies/point_mass/rpo-broken/seed_0/train.log"
    log.parent.mkdir(parents=True)
    with log.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = call("--status", "--variants=rpo-broken")[1][0]
    assert state == "point_mass/rpo-broken/seed_0: running, 0 of 0.000768 M steps, 13 min to go"
    assert untrained == []


@pytest.mark.parametrize(
    ("changes", "schedule", "counts"),
    [
        ({}, 768, True),
        ({"env_steps": 800}, 768, True),  # the last window goes over the budget
        ({"env_steps": 832}, 768, False),
        ({"env_steps": 700}, 768, False),
        ({}, 7680, False),
        ({"seed": 1}, 768, False),
        ({"algorithm": "rpo-other"}, 768, False),
        ({"task": "another"}, 768, False),
    ],
)
def test_a_run_beside_the_studies_counts_where_it_is_the_same(toy, untrained, changes, schedule, counts):
    folder = toy / "results/point_mass/rpo/seed_0"
    folder.mkdir(parents=True)
    evaluation = {"sampled": {"mean": 123.456}}
    same = {"task": "point_mass", "algorithm": "rpo", "seed": 0, "env_steps": 768, "commit": "0123456789abcdef"}
    (folder / "summary.json").write_text(json.dumps({**same, "eval": evaluation, **changes}))
    assert "missing" in call("--status", "--variants=rpo")[1][0]  # nobody knows its schedule
    config = {"data": {"num_envs": 8, "horizon": 8}, "model": {"init_args": {"total_env_steps": schedule}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    line = call("--status", "--variants=rpo")[1][0]
    done = "point_mass/rpo/seed_0: done, return 123.46, in results/point_mass/rpo/seed_0; of another commit, 0123456"
    assert (line == done) if counts else ("missing" in line)
    assert (call("--variants=rpo")[1] == ["[1/1] point_mass/rpo/seed_0: finished before, return 123.46"]) == counts
    assert len(untrained) == 1 - counts


def test_run_without_its_whole_budget_is_not_finished(toy, started, monkeypatch):
    summary = toy / RESULTS / "rpo/seed_0/summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps({"env_steps": 767, "eval": {}}))
    monkeypatch.setattr(cell, "sys", FINDS_IT_COMPLETE)
    code, _, err = call("--variants=rpo")
    assert (code, len(started)) == (1, 1)
    assert "it ended before its 768 environment steps" in err[1]


def test_dry_run_prints_commands_and_nothing_else_happens(toy, untrained):
    code, out, _ = call("--dry-run", "--seeds=2", "--budget=0.5", "--runs=r", "--results=o", "--", "--data.num_envs=4")
    assert code == 0
    commands = [shlex.split(line) for line in out]
    assert [(c[3], c[5], c[9]) for c in commands] == [
        ("point_mass.yaml", str(seed), f"r/point_mass/{name}/seed_{seed}")
        for seed in (0, 1) for name in ("rpo-broken", "rpo-no_kl", "rpo")
    ]  # fmt: skip
    assert commands[1] == [
        *("rpo-lightning", "fit", "--config", "point_mass.yaml", "--seed_everything", "0", "--model.total_env_steps", "768"),
        *("--trainer.default_root_dir", "r/point_mass/rpo-no_kl/seed_0", "--ckpt_path", "last"),
        *("--trainer.callbacks+=StopAtBudget", "--trainer.callbacks.env_steps=384"),
        *("--trainer.callbacks+=Evidence", "--trainer.callbacks.results=o/budget_0.5", "--trainer.callbacks.variant=no_kl"),
        *("--model.kl_coef=0.0", "--data.num_envs=4"),
    ]
    assert not any(option.startswith("--trainer.callbacks.variant") for option in commands[2])
    assert {path.name for path in toy.iterdir()} == {"point_mass.yaml"}
    assert untrained == []


def test_every_variant_passes_through_hydra(toy, untrained, monkeypatch):
    variants = {variant.name: variant for study in studies.STUDIES.values() for variant in study.variants}
    monkeypatch.setitem(studies.STUDIES, "toy", Study("", tuple(variants.values()), "", "", ("ant",)))
    code, _, _ = call("--runs=it's, a {odd}=place")
    assert code == 0
    assert [run.variant for run in untrained] == list(variants.values())
    assert (toy / "it's, a {odd}=place/hydra").is_dir()


def test_disk_that_is_full_fails_one_run(toy, monkeypatch):
    def train(self, threads):
        raise OSError("No space left on device")

    monkeypatch.setattr(cell.Cell, "train", train)
    code, _, err = call("--variants=rpo,rpo-no_kl")
    assert (code, len(err)) == (1, 3)
    assert "No space left" in err[1]


def test_joblib_divides_the_cores(toy, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    options, _ = reproduce.parse(["toy", "--launcher=joblib"])
    assert (reproduce.make_grid(options, ()).threads, options.jobs) == (1, 8)
    options, _ = reproduce.parse(["toy", "--launcher=joblib", "--jobs=3"])
    assert (reproduce.make_grid(options, ()).threads, options.jobs) == (2, 3)
    options, _ = reproduce.parse(["toy"])
    assert reproduce.make_grid(options, ()).threads is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fig2"], ["fig2", "a drawing", "docs/rpo.md", "fig4"]),
        ([], ["name a study", "table1"]),
        (["table1", "--tasks=ant,mars"], ["mars", "humanoid"]),
        (["table1", "--variants=rpo-x"], ["rpo-x", "gippo"]),
        (["table1", "--seeds=0"], ["--seeds", "0"]),
        (["table1", "--budget=-1"], ["--budget", "-1"]),
        (["table1", "--jobs=2"], ["--jobs", "--launcher joblib"]),
        (["table1", "--launcher=joblib"], ['pip install "rpo-lightning[joblib]"']),
        (["table1", "--launcher=slurm"], ['pip install "rpo-lightning[slurm]"']),
        (["table1", "--hydra=hydra.nothing=1"], ["--hydra", "hydra.nothing"]),
    ],
)
def test_refusals_are_a_line(arguments, words, toy, untrained, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("hydra_plugins") else find(name))
    assert reproduce.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reproduce.py: error: ")
    for word in words:
        assert word in line


def test_script_runs_by_itself_and_lists_every_study():
    command = [sys.executable, str(REPOSITORY / "scripts/reproduce.py"), "--list"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name, study in studies.STUDIES.items():
        assert name in out
        for variant in study.variants:
            assert variant.name in out


def test_proposition1_writes_its_numbers(toy, capsys):
    assert reproduce.main(["proposition1", "--results", "out"]) == 0
    record = json.loads((toy / "out/proposition1.json").read_text())
    assert {"shift", "samples", "mean", "log_std"} <= set(record)
    assert "out/proposition1.json" in capsys.readouterr().out


def test_toy_gaussian_writes_its_numbers(toy, capsys, monkeypatch):
    monkeypatch.setattr(toy_gaussian, "measure", functools.partial(toy_gaussian.measure, 2, 2, updates=8))
    assert reproduce.main(["toy_gaussian", "--results", "out"]) == 0
    record = json.loads((toy / "out/toy_gaussian.json").read_text())
    out = capsys.readouterr().out
    last = record["known"]["pathwise, reused"]["median"][-1]
    assert f"known Q, pathwise, reused: {last:.2g} below the optimum after 8 updates" in out
    assert "out/toy_gaussian.json" in out


def test_tasks_with_a_slash_pass_through_hydra_and_are_found_finished(toy, untrained, monkeypatch):
    tasks = ("dmc/cheetah_run", "dmc/ball_in_cup_catch")
    monkeypatch.setitem(studies.STUDIES, "toy", Study("", (REPPO,), "eval.deterministic", "", tasks))
    summary = toy / "results/studies/budget_1/dmc/cheetah_run/reppo/seed_0/summary.json"
    summary.parent.mkdir(parents=True)
    evaluation = {"sampled": {"mean": 12.5}}
    summary.write_text(json.dumps({"env_steps": 50_000_000, "eval": evaluation}))
    code, out, _ = call()
    assert code == 0
    assert out[0] == "[1/2] dmc/cheetah_run/reppo/seed_0: finished before, return 12.5"
    (run,) = untrained
    assert (run.task, run.env_steps) == ("dmc/ball_in_cup_catch", 50_000_000)
    assert str(run.folder) == "runs/studies/dmc/ball_in_cup_catch/reppo/seed_0"
    assert run.command()[3] == "reppo/dmc/ball_in_cup_catch.yaml"


def test_results_of_a_task_with_a_slash_are_collected_at_that_depth(toy, started, monkeypatch):
    name = "dmc/point_mass"
    monkeypatch.setitem(studies.BUDGET, name, 768)
    folder = toy / "runs/studies" / name / "rpo/seed_0"
    folder.mkdir(parents=True)
    for file in FILES:
        (folder / file).write_text(json.dumps({"env_steps": 768}))
    monkeypatch.setattr(cell, "sys", FINDS_IT_COMPLETE)
    monkeypatch.setitem(studies.STUDIES, "toy", Study("", (RPO,), "eval/return", "", (name,)))
    code, _, err = call()
    assert (code, err, len(started)) == (0, [], 1)
    assert {path.name for path in (toy / "results/studies/budget_1" / name / "rpo/seed_0").iterdir()} == FILES
