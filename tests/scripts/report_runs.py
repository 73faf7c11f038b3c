"""Runs written for the report, and the report made of them."""

import csv
import json
import math

import numpy as np
import pytest
import report
import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COLUMNS = ("env_steps", "wall_clock_s", "train/return", "actor/kl", "actor/effective_samples", "actor/max_ratio",
           "eval/return", "eval/return_deterministic")  # fmt: skip


def write_run(
    results, task, name, seed, level, steps=2_000_000, total=None, stop=None, rows=20, machine="2 cores", wall_clock_s=600.0
):
    """A run whose evaluations, at every fourth row, rise to `level`."""
    folder = results / task / name / f"seed_{seed}"
    folder.mkdir(parents=True)
    at = np.arange(1, rows + 1) * steps // rows
    values = level * (1 - np.exp(-5 * np.arange(1, rows + 1) / rows)) / (1 - math.exp(-5))
    with (folder / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for i, (step, value) in enumerate(zip(at, values, strict=True)):
            evaluated = [value, 1.02 * value] if (i + 1) % 4 == 0 else ["", ""]
            writer.writerow(
                [
                    step,
                    wall_clock_s * (i + 1) / rows,
                    0.9 * value,
                    0.3 * math.exp(-i / 5),
                    1 - 0.3 * math.exp(-i / 5),
                    1 + 9 / (i + 1),
                    *evaluated,
                ]
            )
    sampled = {"mean": level, "std": 1.0, "episodes": 128, "length": 1000.0}
    summary = {
        "task": task, "algorithm": name, "seed": seed, "env_steps": steps, "wall_clock_s": wall_clock_s, "commit": COMMIT,
        "machine": machine, "command": f"rpo-lightning fit --config {task}.yaml --seed_everything {seed}",
        "eval": {"sampled": sampled, "deterministic": {**sampled, "mean": 1.02 * level}},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    callbacks = [{"class_path": "NaNGuard"}]
    callbacks += [{"class_path": "rpo_lightning.callbacks.StopAtBudget", "init_args": {"env_steps": stop}}] if stop else []
    config = {"model": {"init_args": {"total_env_steps": total or steps}}, "trainer": {"callbacks": callbacks}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def results(tmp_path):
    """RPO and SHAC on Ant and Anymal, two seeds each."""
    folder = tmp_path / "budget_0.2"
    for task, scale in (("ant", 1.0), ("anymal", 2.0)):
        for seed in (0, 1):
            write_run(folder, task, "rpo", seed, scale * (7000 + 200 * seed))
            write_run(folder, task, "shac", seed, scale * (5000 + 300 * seed))
    return folder


def make(results, *arguments):
    """Run the script; return report.md and report.html."""
    output = results.parent / "report"
    report.main([*arguments, "--results", str(results), "--output", str(output)])
    return (output / "report.md").read_text(), (output / "report.html").read_text()


def refused(capsys, results, *arguments):
    """Run the script, which must end with one line of error; return it."""
    with pytest.raises(SystemExit) as caught:
        make(results, *arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def cells(markdown, task, label):
    """The rows of the results table of one algorithm, without task and algorithm."""
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in markdown.splitlines() if line.startswith("|")
    ]
    return [row[2:] for row in rows if row[:2] == [task, label] and len(row) > 5]


@pytest.fixture
def drawn(monkeypatch):
    """Panels, scale and what they are over of every figure of curves, instead of drawing them, by its file's name."""
    figures = {}

    def draw_curves(path, panels, axis, scale, markers, over):
        figures[path.name] = panels, scale, over
        path.write_bytes(b"")

    monkeypatch.setattr("study.study_figures.draw_curves", draw_curves)
    return figures
