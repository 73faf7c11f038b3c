"""The studies as data: every run can be started as described, and is described once."""

import contextlib
import io
import math
from pathlib import Path

import pytest
import yaml
from study.cell import Cell
from study.studies import BUDGET, PAPER, PAPER_RUNS, PAPER_TASKS, RPO, STUDIES, UNKNOWN_FIGURES, find_study, find_variants

from rpo_lightning import discovery
from rpo_lightning.callbacks.evidence import COLUMNS
from rpo_lightning.cli import main

VARIANTS = {variant.name: variant for study in STUDIES.values() for variant in study.variants}
PRESETS = sorted({variant.preset(task) for study in STUDIES.values() for variant in study.variants for task in study.tasks})


def configuration(cell):
    """Return what the command line makes of a run's command."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as end:
        main([*cell.command()[1:], "--print_config"])
    assert end.value.code == 0
    return yaml.safe_load(text.getvalue())


@pytest.mark.parametrize("name", VARIANTS)
def test_command_of_every_variant_means_what_it_says(name):
    variant = VARIANTS[name]
    config = configuration(Cell(variant, "anymal", 3, 0.2, Path("runs"), Path("out")))
    assert config["data"]["env"] == "anymal"
    assert config["seed_everything"] == 3
    assert config["ckpt_path"] == "last"
    assert config["trainer"]["default_root_dir"] == f"runs/anymal/{name}/seed_3"
    assert config["model"]["class_path"].rsplit(".", 1)[-1].lower() == variant.algorithm
    assert config["model"]["init_args"]["total_env_steps"] == 10_000_000 * variant.budget_scale
    callbacks = {
        entry["class_path"].rsplit(".", 1)[-1]: entry.get("init_args", {}) for entry in config["trainer"]["callbacks"]
    }
    assert callbacks["StopAtBudget"]["env_steps"] == round(2_000_000 * variant.budget_scale)
    assert callbacks["Evidence"]["results"] == "out/budget_0.2"
    assert callbacks["Evidence"]["variant"] == variant.variant
    assert "Evaluation" in callbacks
    for option in variant.overrides:
        key, value = option.split("=")
        if key == "--trainer.callbacks+":
            assert value in callbacks
        else:
            assert config["model"]["init_args"][key.removeprefix("--model.")] == yaml.safe_load(value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_of_a_study_is_there_and_of_its_task(preset):
    assert preset in discovery.presets()
    path = discovery.presets_folder() / preset
    data = path.parent / yaml.safe_load(path.read_text())["data"]
    assert yaml.safe_load(data.read_text())["env"] == path.stem


def test_budgets_are_those_of_the_presets():
    for task, steps in BUDGET.items():
        config = yaml.safe_load((discovery.presets_folder() / RPO.preset(task)).read_text())
        assert config["model"]["init_args"]["total_env_steps"] == steps, task


def test_a_run_has_one_description_and_one_name():
    described = {}
    for study in STUDIES.values():
        for variant in study.variants:
            assert described.setdefault(variant.name, variant) == variant
    trained = [(variant.algorithm, variant.overrides, variant.budget_scale) for variant in described.values()]
    assert len(set(trained)) == len(trained), "one run under two names is trained twice"


def test_metrics_are_columns_of_the_curve_or_known_kinds():
    kinds = {*COLUMNS, "eval.sampled", "eval.deterministic", "wall_clock", "gradient"}
    assert {study.metric for study in STUDIES.values()} <= kinds


def test_numbers_of_the_paper():
    assert PAPER["table1"]["anymal"]["rpo"] == (15674.12, 316.26)
    assert PAPER["table1"]["humanoid"]["ppo"] == (1665.66, 410.93)
    assert PAPER["table1"]["hopper"]["sapo"] == (5407.79, 4.28)
    assert PAPER["table6"]["ant"]["shac"] == (8205.95, 940.18)
    assert PAPER["table6"]["anymal"]["gippo"] == (12247.36, 3552.17)
    assert PAPER_RUNS == {"hopper": 12, "ant": 24, "humanoid": 24, "anymal": 24}
    for table, exceptions in (("table1", set()), ("table6", {"ant"})):
        assert set(PAPER[table]) == set(PAPER_TASKS)
        for task, cells in PAPER[table].items():
            assert set(cells) == {variant.name for variant in STUDIES[table].variants}
            assert (max(cells, key=cells.get) == "rpo") == (task not in exceptions)


def test_options_that_are_easily_mistaken():
    (no_clip,) = find_variants(STUDIES["fig4"], ["rpo-no_clip"])
    config = configuration(Cell(no_clip, "ant", 0, 1.0, Path("runs"), Path("results")))["model"]["init_args"]
    assert config["clip_high"] == math.inf
    assert config["clip_low"] == 1.0
    assert VARIANTS["ppo-long"].env_steps("hopper", 1.0) == 200_000_000
    assert VARIANTS["rpo"].env_steps("hopper", 0.2) == 4_000_000


@pytest.mark.parametrize("name", UNKNOWN_FIGURES)
def test_figures_we_do_not_know_are_refused_honestly(name):
    with pytest.raises(
        ValueError, match=f"^{name}: this repository does not know what that figure shows; studies: table1, "
    ):
        find_study(name)


def test_wrong_names_are_refused_with_the_right_ones():
    with pytest.raises(ValueError, match="^tabel1: there is no such study; studies: table1, .*proposition1"):
        find_study("tabel1")
    with pytest.raises(ValueError, match="^rpo-nokl: .* variants: rpo, rpo-no_kl, rpo-one_epoch, rpo-no_clip"):
        find_variants(STUDIES["fig4"], ["rpo", "rpo-nokl"])
