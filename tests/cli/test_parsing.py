"""What the command line understands, and what it answers where it does not."""

import pytest
import yaml
from lightning import Callback

from rpo_lightning import envs
from rpo_lightning.cli import main
from tests.command_line import CONSOLE_SCRIPT, REPOSITORY, RUN, call, finish, refused, spawn

CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_preset_parses(path, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(path), "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert stop.value.code == 0
    assert config["model"]["init_args"]["total_env_steps"] > 0


def test_preset_is_found_from_any_directory_and_the_working_directory_comes_first(folder, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", "ant.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["env"] == "ant"
    (folder / "ant.yaml").write_text((folder / "tiny.yaml").read_text())
    with pytest.raises(SystemExit):
        main(["fit", "--config=ant.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["env"] == "tests.toy.PointMass"


def test_paper_hyper_parameters(folder, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", "ant.yaml", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    paper = {
        "total_env_steps": 10_000_000, "discount": 0.99, "td_lambda": 0.95, "actor_epochs": 5, "critic_epochs": 16,
        "critic_minibatches": 4, "actor_lr": 5e-4, "critic_lr": 5e-4, "lr_schedule": "exponential", "final_lr": 1e-5,
        "kl_coef": 0.25, "entropy_coef": 0.2, "target_entropy_per_dim": 0.5, "clip_low": 0.8, "clip_high": 1.0,
        "max_grad_norm": 0.5, "hidden": [400, 200, 100], "num_critics": 2, "betas": [0.7, 0.95], "weight_decay": 0.01,
    }  # fmt: skip
    assert {name: config["model"]["init_args"][name] for name in paper} == paper
    assert (config["data"]["num_envs"], config["data"]["horizon"]) == (128, 32)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data.num_env=3"], ["--data.num_env.", "'--data.num_envs'"]),  # an abbreviation
        (["--trainer.max_epoch", "3"], ["'--trainer.max_epochs'"]),
        (["--ckpt_pat", "last"], ["'--ckpt_path'"]),
        (["--model.actor_epoch", "3"], ["'actor_epoch'", "'actor_epochs'"]),
        (["--model", "RPOO"], ["'RPOO'", "'RPO'"]),
        (["--model.lr_schedule", "exponentil"], ["'exponential'", "linear"]),
        (["--trainer.callbacks+=KLTunr"], ["'KLTunr'", "'KLTuner'"]),
        (["--trainer.callbacks+=KLTuner", "--trainer.callbacks.targt=1"], ["'targt'", "'target'"]),
        (["--trainer.callbacks+=KLTuner", "--trainer.callbacks.target=-1"], ["KLTuner", "target=-1"]),
        (["--data.env", "antt"], ["'antt'", "'ant'"]),
        (["--data.env", "tests.toy.PointMas"], ["tests.toy.PointMas"]),
        (["--data.num_envs", "many"], ["data.num_envs", "many"]),
        (["--trainer.accelerator", "gpuu"], ["gpuu", "cuda"]),
        (["--trainer.precision", "16-mixed"], ["16-mixed", "32-true"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_mistake_in_an_option(arguments, named, folder, capsys):
    line = refused(capsys, "fit", "--config", "tiny.yaml", *arguments)
    for word in named:
        assert word in line


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("num_envs", "num_env", ["'num_env'", "'num_envs'"]),
        ("actor_epochs", "actor_epoch", ["'actor_epoch'", "'actor_epochs'"]),
        ("class_path: RPO", "class_path: RPPO", ["'RPPO'", "'RPO'"]),
        ("Evaluation", "Evalution", ["'Evalution'", "'Evaluation'"]),
        ("episodes", "episode", ["'episode'", "'episodes'"]),
        ("Evaluation", "missing.Thing", ["missing.Thing", "No module named 'missing'"]),
    ],
)
def test_mistake_in_a_file(old, new, named, folder, capsys):
    path = folder / "tiny.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    line = refused(capsys, "fit", "--config", "tiny.yaml")
    for word in named:
        assert word in line


def test_mistake_in_a_file_name_or_command(folder, capsys):
    assert "'tiny.yaml'" in refused(capsys, "fit", "--config", "tinny.yaml")
    assert "'ant.yaml'" in refused(capsys, "fit", "--config=antt.yaml")
    assert "'validate'" in refused(capsys, "valdate")
    (folder / "broken.yaml").write_text("a: [1\nb: }")
    assert "line 2" in refused(capsys, "fit", "--config", "broken.yaml")


def test_debug_shows_the_traceback(folder, monkeypatch):
    monkeypatch.setenv("RPO_LIGHTNING_DEBUG", "1")
    with pytest.raises(ValueError, match="antt"):
        call("fit", "--data.env", "antt")


def test_list_names_everything(folder, capsys):
    main(["list"])
    out = capsys.readouterr().out
    for name in ("ant ", "RPO", "KLTuner", "NaNGuard", "ant.yaml"):
        assert name in out
    assert "ModelCheckpoint" not in out


USERS = '''
from lightning import Callback

class Touch(Callback):
    """Leave a file."""

    def __init__(self, name: str = "touched") -> None:
        super().__init__()
        self.name = name

    def on_train_end(self, trainer, pl_module) -> None:
        open(self.name, "w").close()
'''


def test_users_callback_by_short_name_from_the_installed_script(folder):
    (folder / "bin").mkdir()
    (folder / "bin/rpo-lightning").write_text(CONSOLE_SCRIPT)
    (folder / "callbacks").mkdir()
    (folder / "callbacks/touch.py").write_text(USERS)
    config = folder / "tiny.yaml"
    config.write_text(f"{config.read_text()}    - {{class_path: Touch, init_args: {{name: from_file}}}}\n")
    out, err = finish(
        spawn(folder, "fit", "--config", "tiny.yaml", "--trainer.callbacks+=Touch", "--trainer.max_steps=2",
              launcher=("bin/rpo-lightning",))
    )  # fmt: skip
    assert (folder / "touched").exists()
    assert (folder / "from_file").exists()
    # A short run says nothing at all: no tips, no warnings.
    assert (out, err.replace("Warp CUDA warning", "").count("\n")) == ("", 0), err


def test_users_broken_callback_is_named(folder, capsys):
    (folder / "callbacks").mkdir()
    (folder / "callbacks/broken.py").write_text("import missing_library\n")
    line = refused(capsys, "fit", "--config", "tiny.yaml")
    assert "callbacks/broken.py" in line
    assert "missing_library" in line


@pytest.mark.parametrize("driver", ["fit", "fabric"])
def test_interrupted_run_says_how_it_goes_on(driver, folder, capsys):
    interrupt = "--trainer.callbacks+=tests.cli.test_parsing.Interrupt"
    with pytest.raises(SystemExit) as stop:
        call(driver, interrupt)
    assert stop.value.code not in (None, 0)
    assert capsys.readouterr().err == f"interrupted; --ckpt_path last continues {RUN} from its last checkpoint.\n"


class Interrupt(Callback):
    """Press Ctrl-C in the second epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if pl_module.iteration == 6:
            raise KeyboardInterrupt


def test_defect_in_a_users_callback_keeps_its_traceback(folder):
    with pytest.raises(ZeroDivisionError):
        call("fit", "--trainer.callbacks+=tests.cli.test_parsing.Defect")
    with pytest.raises(ValueError, match="in the middle of training"):
        call("fit", "--trainer.callbacks+=tests.cli.test_parsing.Misuse", "--trainer.default_root_dir=b")


class Defect(Callback):
    """A mistake in code."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.ratio = 1 / 0


class Misuse(Callback):
    """An error that, before training, would be one of the command line."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        raise ValueError("in the middle of training")


@pytest.mark.parametrize(
    ("task", "num_envs", "kl_coef", "entropy_coef", "budget"),
    [  # arXiv 2508.06214, Tables 3 to 5; Hopper's budget is twice the others'
        ("hopper", 1024, 0.2, 0.25, 20_000_000),
        ("ant", 128, 0.25, 0.2, 10_000_000),
        ("anymal", 128, 0.2, 0.25, 10_000_000),
        ("humanoid", 64, 0.5, 0.5, 10_000_000),
    ],
)
def test_presets_have_the_papers_hyper_parameters(task, num_envs, kl_coef, entropy_coef, budget):
    preset = yaml.safe_load((REPOSITORY / "configs" / f"{task}.yaml").read_text())
    model, data = preset["model"]["init_args"], preset["data"]
    assert (data["env"], data["num_envs"], data["horizon"]) == (task, num_envs, 32)
    assert (model["kl_coef"], model["entropy_coef"], model["total_env_steps"]) == (kl_coef, entropy_coef, budget)


def test_every_task_has_a_preset():
    assert {path.stem for path in CONFIGS} == set(envs.names())
