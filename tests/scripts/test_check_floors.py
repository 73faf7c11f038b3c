"""The lowest versions allowed: found for every dependency, below those tested with, and tried one after the other."""

import re
import subprocess

import pytest
from packaging.version import Version

tomllib = pytest.importorskip("tomllib")  # the script wants Python 3.11
check_floors = pytest.importorskip("check_floors")

PROJECT = tomllib.loads((check_floors.ROOT / "pyproject.toml").read_text())["project"]


def test_every_dependency_has_a_lower_bound_below_the_version_tested_with():
    bounds = check_floors.lower_bounds(PROJECT, check_floors.EXTRAS)
    lines = (check_floors.ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(re.match(r"([\w-]+)==([\w.]+)", line).groups() for line in lines if "==" in line.split("#")[0])
    assert {
        "torch",
        "lightning",
        "warp-lang",
        "mujoco-warp",
        "gymnasium",
        "viser",
        "onnx",
        "wandb",
        "optuna",
    } <= bounds.keys()
    users = PROJECT["optional-dependencies"].keys() - {
        "dev",
        "study",
        "joblib",
        "slurm",
    }  # of the scripts, and of who runs them
    assert set(check_floors.EXTRAS) == users
    for name in bounds.keys() & tested.keys():
        assert Version(bounds[name]) <= Version(tested[name]), name
    assert bounds.keys() - tested.keys() == {"tqdm"}


def test_a_dependency_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="numpy has no lower bound"):
        check_floors.lower_bounds({"dependencies": ["numpy"], "optional-dependencies": {}}, ())


def test_what_fails_is_named_with_its_last_words_and_the_rest_is_tried(monkeypatch, tmp_path, capsys):
    works = []

    def run(command, cwd, **options):
        works.append(str(cwd) in command)
        assert list(cwd.iterdir()) == []
        assert "PYTHONPATH" not in options["env"]
        return subprocess.CompletedProcess(command, int("ppo/cartpole.yaml" in command), "", "one\ntwo\n")

    monkeypatch.setenv("PYTHONPATH", "src")
    monkeypatch.setattr(check_floors.subprocess, "run", run)
    assert check_floors.use(tmp_path / "python", tmp_path) == {"gymnasium": "one\ntwo"}
    said = [f"{name}: {'FAILED' if name == 'gymnasium' else 'works'}" for name in check_floors.USES]
    assert capsys.readouterr().out.splitlines() == said
    assert [name for name, told in zip(check_floors.USES, works, strict=True) if told] == ["docs"]
