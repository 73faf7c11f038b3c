"""Python without the command line: the plain classes, the notebook, the search for hyper-parameters."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Fabric, Trainer

from rpo_lightning.callbacks import Evaluation, Evidence, LastAndBest, RunFolder, StopAtBudget
from rpo_lightning.event_file import EventFile
from rpo_lightning.fabric import FabricDriver
from tests.algorithms.drivers import make_data, make_rpo
from tests.command_line import LAST, differing, events

ROOT = Path(__file__).parents[1]


def trained(driver, folder, steps=384, ckpt_path=None):
    """Train as docs/python.md does, in a folder, and return the final evaluation."""
    data, model = make_data(2, seed=0), make_rpo(total_env_steps=512)
    callbacks = [RunFolder(), Evaluation(episodes=4), StopAtBudget(steps), Evidence(), LastAndBest()]
    if driver == "trainer":
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, num_sanity_val_steps=0, log_every_n_steps=1, enable_model_summary=False,
            enable_progress_bar=False, callbacks=callbacks, logger=EventFile(folder), default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
    else:
        fabric = Fabric(accelerator="cpu", devices=1, callbacks=callbacks, loggers=EventFile(folder))
        FabricDriver(fabric, model, data, callbacks, folder).fit(ckpt_path)
    return callbacks[1].results["sampled"]["mean"]


def test_plain_classes_leave_what_the_command_line_does(tmp_path):
    for driver in ("trainer", "fabric"):
        folder = tmp_path / driver
        result = trained(driver, folder, steps=512)
        assert {path.name for path in folder.iterdir()} >= {
            "config.yaml",
            "summary.json",
            "curve.csv",
            "policy.pt",
            "checkpoints",
        }
        assert json.loads((folder / "summary.json").read_text())["eval"]["sampled"]["mean"] == result
        assert [step for step, _ in events(folder)["eval/return"]] == [128, 256, 384, 512]
        assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["num_envs"] == 8
    assert differing(tmp_path / "trainer", tmp_path / "fabric") == []
    # and go on exactly, under either
    for first, second in (("trainer", "fabric"), ("fabric", "trainer")):
        folder = tmp_path / f"{first}_{second}"
        trained(first, folder)
        trained(second, folder, steps=512, ckpt_path=folder / LAST)
        assert differing(tmp_path / "trainer", folder) == []
        assert events(folder)["eval/return"] == events(tmp_path / "trainer")["eval/return"]


def test_evidence_alone_needs_no_run_folder(tmp_path):
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Evidence()], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(make_rpo(), datamodule=make_data(1))  # no command line has set `run`
    assert torch.load(tmp_path / "policy.pt", weights_only=True)["task"] == "point_mass"
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]["class_path"].endswith("RPO")


def test_fifteen_lines_are_fifteen():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    for block in blocks:
        statements = [line for line in block.splitlines() if line and not line.startswith((" ", ")", "from ", "import "))]
        assert len(statements) <= 15


def test_the_notebook_runs_and_its_policy_learns(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "examples" / "notebook" / "cartpole.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept without, so that changes can be read
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    first, last = map(int, re.search(r"return (-\d+) at first, (-\d+) at last", printed).groups())
    assert last > 0.5 * first  # returns are negative
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert "Warp" not in printed


@pytest.fixture
def search(monkeypatch):
    """The example as a module."""
    optuna = pytest.importorskip("optuna")
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "search"))
    import search

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return search


def test_search_starts_from_the_preset_and_reports_returns_at_environment_steps(search, tmp_path):
    study = search.search(2, 1280, storage=f"sqlite:///{tmp_path}/search.db", num_envs=8)
    preset = yaml.safe_load((ROOT / "configs" / "cartpole.yaml").read_text())["model"]["init_args"]
    assert {name: study.trials[0].params[name] for name in ("kl_coef", "entropy_coef")} == {
        name: preset[name] for name in ("kl_coef", "entropy_coef")
    }
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    assert list(study.trials[1].intermediate_values) == [256, 512, 768, 1024, 1280]
    assert study.trials[1].params != study.trials[0].params
    assert all(trial.value == trial.intermediate_values[1280] for trial in study.trials)
    # another process goes on with the same search
    assert len(search.search(1, 256, storage=f"sqlite:///{tmp_path}/search.db", num_envs=8).trials) == 3


def test_search_prunes_by_the_return(search):
    optuna = search.optuna
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(lower=0.0))  # returns of cartpole are negative
    study.optimize(lambda trial: search.train(trial, 1280, num_envs=8), n_trials=1)
    (trial,) = study.trials
    assert trial.state.name == "PRUNED"
    assert list(trial.intermediate_values) == [256]  # of the first epoch, in order


def test_the_search_prints_its_trials(search, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["search", "--trials", "1", "--steps", "1024"])
    monkeypatch.setattr(search, "train", lambda trial, steps: float(steps))
    search.main()
    assert capsys.readouterr().out.splitlines()[-1] == "best: trial 0, return 1024"
