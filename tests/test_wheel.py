"""The wheel, installed into a folder of its own and used from an empty one: nothing of the working copy is needed.

And the source distribution: it holds what the tests and the documentation read.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import rpo_lightning
from rpo_lightning import pretrained

ROOT = Path(__file__).parents[1]
SHORT = ["--model.init_args.total_env_steps=256", "--data.num_envs=16", "--data.horizon=8", "--data.iterations_per_epoch=2"]


def pip(*arguments):
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def use(wheel, tmp_path_factory):
    """Run the installed command in an empty folder, which is returned with what was printed."""
    site = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", site, wheel)

    def run(*arguments):
        folder = tmp_path_factory.mktemp("elsewhere")
        command = [sys.executable, site / "bin/rpo-lightning", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return folder, done.stdout

    where = "import rpo_lightning; print(rpo_lightning.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=site, env={**os.environ, "PYTHONPATH": str(site)}, text=True, stdout=-1
    )
    assert found.stdout.startswith(str(site))
    return run


def test_it_holds_presets_and_robots_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    presets = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name.removeprefix("rpo_lightning/configs/") for name in names if "/configs/" in name} == presets
    source = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.suffix in (".py", ".xml", ".html")
    }
    assert source <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rpo_lightning"}
    assert wheel.name.split("-")[1] == rpo_lightning.__version__


def test_it_lists_tasks_and_presets(use):
    _, out = use("list")
    assert all(name in out for name in ("cartpole", "dmc/cheetah_run", "RPO", "reppo/ant.yaml"))


def test_it_trains_with_a_preset(use):
    folder, _ = use("fit", "--config", "cartpole.yaml", *SHORT)
    summary = json.loads((folder / "runs/cartpole/rpo/seed_0/summary.json").read_text())
    assert (summary["task"], summary["env_steps"]) == ("cartpole", 256)
    assert summary["commit"].startswith("rpo-lightning ")


def test_it_holds_the_pretrained_policies_and_stays_small(wheel, use):
    names = {
        name.removeprefix("rpo_lightning/pretrained/")
        for name in zipfile.ZipFile(wheel).namelist()
        if "/pretrained/" in name
    }
    assert names == {f"{name}.pt" for name in pretrained.FILES}
    assert wheel.stat().st_size < 8_000_000
    _, out = use("export", "--ckpt_path", "dmc/cartpole_swingup", "--format", "torchscript")
    assert "reppo on dmc/cartpole_swingup after 5505024 steps" in out


def test_the_source_distribution_has_what_tests_and_documentation_read(tmp_path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=ROOT, check=True)
    (file,) = tmp_path.iterdir()
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    alone = {"mkdocs.yml", "constraints.txt", "Makefile", "pyproject.toml", "LICENSE", "CITATION.cff"}
    pages = {
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/site.css",
        "docs/figures/ant.gif",
        "scripts/site_pages.py",
    }
    records = {f"results/ant/rpo/seed_0/{name}" for name in ("README.md", "config.yaml", "policy.pt", "summary.json")}
    assert {*alone, *pages, *records, "results/studies/toy_gaussian.json", "tests/data/corpus.json"} <= names
    assert {str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "site/", "runs/"))]
