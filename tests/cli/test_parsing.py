"""What the command line understands, and what it answers where it does not."""

import re

import pytest
import yaml
from lightning import Callback

from rpo_lightning import discovery, envs, pretrained
from rpo_lightning.cli import main
from rpo_lightning.cli.arguments import split
from tests.command_line import CONSOLE_SCRIPT, REPOSITORY, call, finish, refused, spawn

PAPER_TASKS = ("hopper", "ant", "anymal", "humanoid", "hand_reorient")


def resolved(capsys, *arguments):
    """Return the configuration as the command line resolves it."""
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments, "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("name", discovery.presets())
def test_every_preset_is_of_the_task_and_algorithm_it_is_named_after(name, folder, capsys):
    config = resolved(capsys, "--config", name)
    algorithm = config["model"]["class_path"].split(".")[-1].lower()
    folders = {"rpo": ["", "exact/"], "shac": ["shac/", "shac_original/"]}.get(algorithm, [f"{algorithm}/"])
    task = config["data"]["env"]
    if isinstance(task, dict):  # with options
        task = task["name"]
    if task.startswith("gymnasium/"):  # gymnasium/HalfCheetah-v5 is half_cheetah
        task = f"gymnasium/{re.sub('(?<=[a-z])(?=[A-Z])', '_', task[10:].removesuffix('-v5')).lower()}"
    assert name in [f"{place}{task}.yaml" for place in folders]
    assert config["model"]["init_args"]["total_env_steps"] > 0
    assert config["trainer"]["check_val_every_n_epoch"] == 2
    assert config["data"]["random_progress"] is True


def test_exact_presets_ask_for_right_physics_and_for_the_rest_of_the_paper(folder, capsys):
    names = [name for name in discovery.presets() if name.startswith("exact/")]
    assert len(names) >= 3
    for name in names:
        config, papers = (resolved(capsys, "--config", each) for each in (name, name.removeprefix("exact/")))
        assert config["data"]["env"]["init_args"] == {"physics": "right"}
        told = {"total_env_steps", "critic_epochs", "kl_limit", "label"}
        options, published = (each["model"]["init_args"] for each in (config, papers))
        assert {key for key in published if options[key] != published[key]} <= told
        assert options["label"] == "rpo-exact_physics"


@pytest.mark.parametrize("preset", [name for name in discovery.presets() if "/" not in name])
def test_few_robots_change_a_preset_and_leave_its_weights(preset, folder, capsys):
    preset = ("--config", preset)
    config, changed = resolved(capsys, *preset), resolved(capsys, *preset, "--config", "with/few_robots.yaml")
    told = {"total_env_steps", "critic_epochs", "num_critics", "label"}
    few, many = (each["model"]["init_args"] for each in (changed, config))
    assert {key for key in many if few[key] != many[key]} <= told
    assert (few["critic_epochs"], few["num_critics"]) == (4, 1)
    told = {"num_envs", "horizon", "iterations_per_epoch", "training"}
    few, many = changed["data"], config["data"]
    assert {key for key in many if few[key] != many[key]} <= told
    assert (few["num_envs"], few["horizon"], few["training"]) == (16, 28, {"shortest_episode": 50})


def test_what_changes_a_preset_is_listed_and_is_none_itself(folder, capsys):
    (name,) = discovery.overlays()
    assert name == "with/few_robots.yaml"
    assert name not in discovery.presets()
    main(["list"])
    assert f"  {name}  RPO on a dozen robots" in capsys.readouterr().out
    line = refused(capsys, "fit", "--config", name)
    assert line.endswith(f"{name} changes a preset: give one before it, --config ant.yaml --config {name}.")
    assert f"Did you mean '{name}'?" in refused(capsys, "fit", "--config", "ant.yaml", "--config", "with/few_robot.yaml")


def test_preset_is_found_from_any_directory_and_the_working_directory_comes_first(folder, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", "ant.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["env"] == "ant"
    (folder / "ant.yaml").write_text((folder / "tiny.yaml").read_text())
    with pytest.raises(SystemExit):
        main(["fit", "--config=ant.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["data"]["env"] == "tests.toy.PointMass"


def test_paper_hyper_parameters(folder, capsys):
    config = resolved(capsys, "--config", "ant.yaml")
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
        (
            ["--model=SAC", "--model.critic_epochs", "3"],
            ["option 'critic_epochs' there; GIPPO, NAPG, RPO, SAPO, SHAC have it."],
        ),
        (["--model.batch_size", "3"], ["option 'batch_size' there; SAC has it."]),
        (["--trainer.callbacks+=KLTuner", "--trainer.callbacks.episodes=3"], ["'episodes' there; Evaluation has it."]),
        (["--model", "RPOO"], ["'RPOO'", "'RPO'"]),
        (["--model.lr_schedule", "exponentil"], ["'exponential'", "linear"]),
        (["--trainer.callbacks+=KLTunr"], ["'KLTunr'", "'KLTuner'"]),
        (["--trainer.callbacks+=KLTuner", "--trainer.callbacks.targt=1"], ["'targt'", "'target'"]),
        (["--trainer.callbacks+=KLTuner", "--trainer.callbacks.target=-1"], ["KLTuner", "target=-1"]),
        (["--data.env", "antt"], ["'antt'", "'ant'"]),
        (["--data.env", "tests.toy.PointMas"], ["tests.toy.PointMas"]),
        (["--data.env.init_args.limt", "2"], ["'limt'", "'limit'"]),
        (["--data.env.init_args.limit"], ["--data.env.init_args.limit needs a value"]),
        (["--data.env", "{name: tests.toy.PointMass, limit: 2}"], ["limit may be of the task", "under init_args"]),
        (["--model.actor", "missing.Actor"], ["model.init_args.actor: No module named 'missing'", "nn.Actor."]),
        (["--model.actor", "rpo_lightning.nn.Actr"], ["attribute 'Actr'", "Did you mean 'rpo_lightning.nn.Actor'?"]),
        (
            ["--model.critic", "rpo_lightning.nn.Values"],
            ["model.init_args.critic", "such as rpo_lightning.nn.CriticEnsemble"],
        ),
        (["--model.critic", "CriticEnsembl"], ["model.init_args.critic", "Did you mean 'CriticEnsemble'?"]),
        (["tiny.yaml"], ["'tiny.yaml' belongs to no option. Did you mean '--config tiny.yaml'?"]),
        (["--data.num_envs", "many"], ["data.num_envs", "many"]),
        (["--trainer.accelerator", "gpuu"], ["gpuu", "cuda"]),
        (["--trainer.precision", "16-mixed"], ["16-mixed", "32-true"]),
        (["--seed", "1"], ["--seed.", "'--seed_everything'"]),
        (["--lr", "1e-3"], ["--lr. Did you mean '--model.init_args.actor_lr'", "'--model.init_args.critic_lr'"]),
        (["--kl_coef", "0.1"], ["'--model.init_args.kl_coef'?"]),
        (["--total_env_steps", "1e6"], ["'--model.init_args.total_env_steps'?"]),
        (["--env", "ant"], ["'--data.env'?"]),
        (["--resume"], ["'--ckpt_path last'?"]),
        (["--max_epochs=3"], ["'--trainer.max_epochs'?"]),
        (["--ckpt_path"], ["--ckpt_path", "expected one argument"]),
        (["--without", "Evalution"], ["Evalution", "'Evaluation'"]),
        (["--data.num_envs", "null"], ["data.num_envs must be a whole number, not null."]),
        (["--trainer.barebones", "true"], ["trainer.barebones", "checkpoints"]),
        (["--trainer.strategy", "fsdp"], ["trainer.strategy is fsdp", "only auto and ddp"]),
        (["--trainer.strategy", "deepspeed"], ["trainer.strategy is deepspeed"]),
        (["--trainer.strategy.class_path", "DeepSpeedStrategy"], ["DeepSpeedStrategy"]),
        (["--trainer.check_val_every_n_epoch", "0"], ["check_val_every_n_epoch must be at least 1"]),
        (["--trainer.limit_train_batches", "0"], ["limit_train_batches is 0"]),
        (["--trainer.max_epochs", "0"], ["trainer.max_epochs must be at least 1"]),
        (["--trainer.max_steps", "0"], ["trainer.max_steps must be at least 1"]),
        (["--trainer.callbacks+=StopAtBudget", "--trainer.callbacks.env_steps=0"], ["StopAtBudget", "not 0"]),
        (["--help", "everything"], ["everything", "'trainer'"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_mistake_in_an_option(arguments, named, folder, capsys):
    line = refused(capsys, "fit", "--config", "tiny.yaml", *arguments)
    for word in named:
        assert word in line
    hinted = line.partition("Did you mean")[2]
    assert not [word for word in arguments if f"'{word}'" in hinted], "what was typed is no hint"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("num_envs", "num_env", ["'num_env'", "'num_envs'"]),
        ("actor_epochs", "actor_epoch", ["'actor_epoch'", "'actor_epochs'"]),
        ("class_path: RPO", "class_path: RPOO", ["'RPOO'", "'RPO'"]),
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


def test_what_was_typed_is_no_hint():
    assert discovery.nearest("critic_epochs", ["critic_epochs", "actor_lr"]) == ""
    assert discovery.nearest("critic_epochs", ["critic_epochs", "actor_epochs"]) == " Did you mean 'actor_epochs'?"
    assert discovery.nearest("rpo", ["RPO"]) == " Did you mean 'RPO'?"


def test_a_command_without_its_subject_says_how_it_is_given(folder, capsys):
    for options in ([], ["--ckpt_path", "last"]):
        line = refused(capsys, "fit", *options)
        for word in ("data.env, model must be given", "rpo-lightning fit --config ant.yaml", "--data.env TASK", "list"):
            assert word in line
    assert "Did you mean '--config cartpole.yaml'?" in refused(capsys, "fit", "cartpole")
    for command, example in (
        ("play", "ant"),
        ("record", "ant"),
        ("describe", "anymal"),
        ("check-env", "ant"),
        ("export", "--ckpt_path ant"),
    ):
        assert f" must be given, as in rpo-lightning {command} {example};" in refused(capsys, command)
    assert "A task comes first, as in rpo-lightning play ant." in refused(capsys, "play", "--viewer", "web", "ant")


def test_a_callback_without_its_arguments_says_which(folder, capsys):
    line = refused(capsys, "fit", "--config", "cartpole.yaml", "--trainer.callbacks+=Curriculum")
    assert "Curriculum needs up and down" in line
    assert "--trainer.callbacks.up VALUE --trainer.callbacks.down VALUE" in line


def test_options_of_the_task_are_options_of_the_command(folder, capsys):
    config = folder / "tiny.yaml"
    config.write_text(config.read_text().replace("tests.toy.PointMass", "cartpole"))
    task = ["--config", "tiny.yaml", "--data.env.init_args.episode_length=7", "--data.env.init_args.reward_from", "previous"]
    said = resolved(capsys, *task)["data"]["env"]
    assert said == {"name": "cartpole", "init_args": {"episode_length": 7, "reward_from": "previous"}}
    (folder / "said.yaml").write_text(yaml.safe_dump({"data": {"env": said}}))
    said = resolved(capsys, "--config", "tiny.yaml", "--config", "said.yaml", "--data.env.init_args.episode_length", "9")
    assert said["data"]["env"]["init_args"] == {"episode_length": 9, "reward_from": "previous"}


@pytest.mark.parametrize("command", ["validate", "predict", "record"])
def test_a_policy_of_the_package_is_named_by_its_task(command, folder):
    file = pretrained.find("cartpole")
    assert f"--ckpt_path={file}" in split(command, ["--ckpt_path", "cartpole"]).options
    (folder / "cartpole").write_bytes(b"")
    assert "--ckpt_path=cartpole" in split(command, ["--config", "tiny.yaml", "--ckpt_path", "cartpole"]).options


def test_mistake_in_a_file_name_or_command(folder, capsys):
    assert "'tiny.yaml'" in refused(capsys, "fit", "--config", "tinny.yaml")
    assert "'ant.yaml'" in refused(capsys, "fit", "--config=antt.yaml")
    line = refused(capsys, "fit", "--config", "ant")
    assert "'ant.yaml'" in line
    assert len(line) < 150
    assert "'validate'" in refused(capsys, "valdate")
    (folder / "broken.yaml").write_text("a: [1\nb: }")
    assert "line 2" in refused(capsys, "fit", "--config", "broken.yaml")


@pytest.mark.parametrize("place", ["option", "file"])
@pytest.mark.parametrize(("written", "value"), [("2e6", 2_000_000), ("1.5e6", 1_500_000), ("1e3", 1000)])
def test_numbers_with_an_exponent_are_whole_where_they_can_be(written, value, place, folder, capsys):
    options = []
    if place == "file":
        path = folder / "tiny.yaml"
        path.write_text(path.read_text().replace("total_env_steps: 768", f"total_env_steps: {written}, actor_lr: 5e-4"))
    else:
        options = [f"--model.total_env_steps={written}", "--model.actor_lr", "5e-4"]
    model = resolved(capsys, "--config", "tiny.yaml", *options)["model"]["init_args"]
    assert (model["total_env_steps"], model["actor_lr"]) == (value, 5e-4)


def test_options_win_over_files_wherever_they_stand(folder, capsys):
    assert resolved(capsys, "--data.num_envs=3", "--config", "tiny.yaml")["data"]["num_envs"] == 3


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_shows_what_is_ours_first_and_the_trainer_s_options_on_request(folder, capsys):
    short = helped(capsys, "fit", "--help")
    for word in ("--seed_everything 0", "--data.num_envs 128", "--without", "GIPPO, NAPG, PPO", "--help trainer"):
        assert word in short
    assert "--trainer." not in short
    chosen = helped(capsys, "fit", "--config", "ant.yaml", "--model.clip_low=0.7", "--help")
    for word in ("--data.env ant", "--model.init_args.kl_coef 0.25", "--model.init_args.clip_low 0.7", "lambda_KL"):
        assert word in chosen
    assert "--model.init_args.minibatch_size" in helped(capsys, "fit", "--help", "--model", "PPO")
    assert "--output trajectories.npz" in helped(capsys, "predict", "-h")
    everything, trainer = (helped(capsys, "fit", "--help", topic) for topic in ("all", "trainer"))
    assert "--trainer.max_epochs -1" in trainer
    assert "--data." not in trainer
    assert {"--trainer.max_epochs", "--data.env"} < set(everything.split())


def test_version_help_and_commands_import_nothing_heavy(folder):
    heavy = {"torch", "lightning", "numpy", "mujoco", "warp", "jsonargparse", "tensorboard"}
    for word, said in (("--version", "rpo-lightning"), ("--help", "rpo-lightning"), ("list", "dmc/cheetah_run")):
        call = f"import sys; from rpo_lightning.cli import main\ntry: main(['{word}'])\n"
        code = f"{call}finally: assert not {heavy} & set(sys.modules)"
        assert said in finish(spawn(folder, code, launcher=("-c",)))[0]


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
    # two lines at the start, two at the end; no tips, no warnings
    assert (out, err.replace("Warp CUDA warning", "").count("\n")) == ("", 4), err


def test_users_broken_callback_is_named(folder, capsys):
    (folder / "callbacks").mkdir()
    (folder / "callbacks/broken.py").write_text(f"import missing_library\n{USERS}")
    line = refused(capsys, "fit", "--config", "tiny.yaml", "--trainer.callbacks+=Touch")
    assert "callbacks/broken.py" in line
    assert "missing_library" in line


def test_callbacks_that_nobody_names_are_read_and_not_run(folder, capsys):
    (folder / "callbacks").mkdir()
    (folder / "callbacks/loud.py").write_text(f"{USERS}\nraise SystemExit('executed')\n")
    (folder / "callbacks/torn.py").write_text("class Torn(Callback:\n")
    main(["list"])
    listed = capsys.readouterr().out
    assert "Touch             Leave a file." in listed
    assert "Torn              (cannot be read: " in listed
    resolved(capsys, "--config", "tiny.yaml")
    with pytest.raises(SystemExit, match="executed"):
        main(["fit", "--config", "tiny.yaml", "--trainer.callbacks+=Touch"])


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


COMMON = {"discount": 0.99, "td_lambda": 0.95, "hidden": [400, 200, 100]}
FIRST_ORDER = {**COMMON, "critic_epochs": 16, "critic_lr": 5e-4, "num_critics": 2, "betas": [0.7, 0.95]}
TABLE_2 = {  # arXiv 2508.06214
    "RPO": {**FIRST_ORDER, "actor_epochs": 5, "actor_lr": 5e-4, "lr_schedule": "exponential", "max_grad_norm": 0.5},
    "SHAC": {**FIRST_ORDER, "actor_lr": 2e-3, "lr_schedule": "linear", "max_grad_norm": 0.5},
    "SAPO": {**FIRST_ORDER, "actor_lr": 2e-3, "temperature_lr": 5e-3, "lr_schedule": "linear", "max_grad_norm": 0.5,
             "target_entropy_per_dim": 0.5, "init_temperature": 1.0},
    "GIPPO": {**FIRST_ORDER, "actor_epochs": 5, "actor_lr": 5e-4, "max_grad_norm": 1.0, "clip": 0.2,
              "alpha_interval": 0.4, "alpha_factor": 1.02},
    "PPO": {**COMMON, "actor_epochs": 5, "actor_lr": 5e-4, "lr_schedule": "kl", "max_grad_norm": 0.5,
            "betas": [0.9, 0.999]},
}  # fmt: skip
TABLES_3_TO_7 = {  # num_envs, budget, RPO's KL and entropy, GI-PPO's alpha and share; budgets are not in the tables
    "hopper": (1024, 20_000_000, 0.2, 0.25, 0.5, 0.7),
    "ant": (128, 10_000_000, 0.25, 0.2, 0.5, 0.8),
    "anymal": (128, 10_000_000, 0.2, 0.25, 1e-3, 0.5),
    "humanoid": (64, 10_000_000, 0.5, 0.5, 5e-3, 0.1),
    "hand_reorient": (64, 4_100_000, 0.003, 0.001, 5e-4, 0.1),
}
OF_THE_HAND = {"SAPO": {"init_temperature": 0.005}, "GIPPO": {"clip": 0.05}}


@pytest.mark.parametrize("algorithm", TABLE_2)
@pytest.mark.parametrize("task", PAPER_TASKS)
def test_presets_have_the_papers_hyper_parameters(task, algorithm, folder, capsys):
    folder_name = "" if algorithm == "RPO" else f"{algorithm.lower()}/"
    config = resolved(capsys, "--config", f"{folder_name}{task}.yaml")
    model, data = config["model"]["init_args"], config["data"]
    num_envs, budget, kl_coef, entropy_coef, alpha, share = TABLES_3_TO_7[task]
    own = {"RPO": {"kl_coef": kl_coef, "entropy_coef": entropy_coef}, "GIPPO": {"alpha": alpha, "max_out_of_range": share}}
    expected = {**TABLE_2[algorithm], **own.get(algorithm, {}), "total_env_steps": budget}
    if task == "hand_reorient":
        expected |= OF_THE_HAND.get(algorithm, {})
    assert {name: model[name] for name in expected} == expected
    assert (data["num_envs"], data["horizon"]) == (num_envs, 32)


@pytest.mark.parametrize(("task", "n_step", "actor_lr", "tau"), [("humanoid", 3, 5e-4, 0.2), ("anymal", 10, 2e-3, 0.6)])
def test_sac_presets_have_table_7(task, n_step, actor_lr, tau, folder, capsys):
    model = resolved(capsys, "--config", f"sac/{task}.yaml")["model"]["init_args"]
    assert (model["n_step"], model["actor_lr"], model["target_update"]) == (n_step, actor_lr, tau)


REPPO_SMALL = {  # arXiv 2507.11019, batches of 32 thousand on the control suite
    "epochs": 8, "minibatch_size": 2048, "discount": 0.99, "td_lambda": 0.95, "actor_lr": 3e-4, "critic_lr": 3e-4,
    "max_grad_norm": 0.5, "bins": 151, "kl_target": 0.1, "init_temperature": 0.01, "init_kl_coef": 0.01,
    "target_entropy_per_dim": 0.5, "aux_coef": 1.0, "hidden": [512, 512], "critic_width": 512, "lr_schedule": "constant",
    "total_env_steps": 50_000_000,
}  # fmt: skip


@pytest.mark.parametrize("task", ["cheetah_run", "fish_swim"])
def test_reppo_presets_have_its_paper_s_hyper_parameters(task, folder, capsys):
    config = resolved(capsys, "--config", f"reppo/dmc/{task}.yaml")
    model, data = config["model"]["init_args"], config["data"]
    assert {name: model[name] for name in REPPO_SMALL} == REPPO_SMALL
    assert (data["num_envs"], data["horizon"], data["random_progress"]) == (1024, 32, True)


def test_every_task_has_a_preset_of_every_algorithm():
    presets = set(discovery.presets())
    assert set(discovery.algorithms()) == {"RPO", "NAPG", "SHAC", "SAPO", "GIPPO", "PPO", "SAC", "REPPO"}
    for name in discovery.algorithms():
        algorithm = "" if name == "RPO" else f"{name.lower()}/"
        suite = name in ("PPO", "REPPO", "SAC")
        tasks = [task for task in envs.names() if suite or not task.startswith("dmc/")]
        assert {f"{algorithm}{task}.yaml" for task in tasks} <= presets


def test_gymnasiums_tasks_have_presets_of_the_algorithms_that_need_no_gradients():
    tasks = {"ant", "half_cheetah", "hopper", "humanoid", "swimmer", "walker2d"}
    found = {name for name in discovery.presets() if "gymnasium/" in name}
    assert found == {f"{algorithm}/gymnasium/{task}.yaml" for algorithm in ("ppo", "reppo", "sac") for task in tasks}


def test_a_preset_taken_out_of_its_folder_says_how_to_copy_it(folder, capsys):
    (folder / "mine.yaml").write_text((REPOSITORY / "configs/ant.yaml").read_text())
    line = refused(capsys, "fit", "--config", "mine.yaml")
    assert "parts/ant.yaml" in line
    assert "--print_config > mine.yaml" in line
