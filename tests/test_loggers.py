"""Loggers of other services, and TensorBoard's file: in the run folder, one run however often it is resumed, one x axis."""

import csv
import json
import struct

import pytest
import yaml
from lightning.pytorch import loggers as lightning_loggers
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from rpo_lightning.loggers import in_run_folder
from tests.command_line import RUN, call, events, finish, refused, spawn

LOGGERS = """
trainer:
  logger:
    - class_path: WandbLogger
      init_args: {offline: true}
    - class_path: MLFlowLogger
    - class_path: CSVLogger
      init_args: {save_dir: csv}
  callbacks:
    - class_path: LastAndBest
      init_args: {every_n_steps: 256}
"""
PREFIXES = {"train", "eval", "actor", "critic", "reward", "time", "nan"}


@pytest.fixture
def logged(folder, monkeypatch):
    """A working directory with the loggers' file; W&B keeps to itself."""
    (folder / "loggers.yaml").write_text(LOGGERS)
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    # a service that an earlier test of this process has started still holds its runs
    for name in ("WANDB_SERVICE", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def start(command, *options):
    """Run a command with all loggers in a process of its own: W&B keeps more in one than a run."""
    finish(spawn(".", command, "--config=tiny.yaml", "--config=loggers.yaml", *options))


def of_csv(path=RUN / "csv/metrics.csv"):
    """Return the curve eval/return of a CSVLogger's file."""
    with path.open(newline="") as file:
        return [(int(row["step"]), float(row["eval/return"])) for row in csv.DictReader(file) if row["eval/return"]]


def of_mlflow():
    """Return parameters, tags and the curve of the only run in MLflow's folder."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"file:{RUN.absolute() / 'mlruns'}")
    (run,) = client.search_runs([client.get_experiment_by_name("rpo-lightning").experiment_id])
    curve = [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "eval/return")]
    return run, curve


def records(path):
    """Yield the records of a W&B file, which is a log of LevelDB's behind seven bytes: blocks of 32 KiB, records in parts."""
    data, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def of_wandb(folder):
    """Return the curve and the configuration in a W&B run's file."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    curve, config = [], {}
    for record in map(Record.FromString, records(path)):
        items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        if "eval/return" in items:
            curve.append((items["trainer/global_step"], items["eval/return"]))
        for each in (*record.config.update, *record.run.config.update):
            config[each.key or each.nested_key[0]] = json.loads(each.value_json)
    return curve, config


def test_they_share_the_folder_the_run_and_the_axis_under_both_drivers(logged, monkeypatch):
    start("fit", "--trainer.max_steps=6")
    first = json.loads((RUN / "loggers.json").read_text())
    assert {path.name for path in logged.iterdir()} == {"tiny.yaml", "loggers.yaml", "runs"}
    # the process was killed after 384 steps, and goes on from 256
    start("fabric", "--ckpt_path=step_256", "--model.init_args.kl_coef=0.4")
    assert {path.name for path in logged.iterdir()} == {"tiny.yaml", "loggers.yaml", "runs"}
    assert json.loads((RUN / "loggers.json").read_text()) == first

    tensorboard = events(RUN)["eval/return"]
    assert [step for step, _ in tensorboard] == [256, 512, 768]
    assert of_csv() == [(step, pytest.approx(value)) for step, value in tensorboard]
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # for this process, which only reads
    run, curve = of_mlflow()
    assert run.info.run_id == first["MLFlowLogger"]
    assert curve == [(step, pytest.approx(value)) for step, value in (tensorboard[0], curve[1], *tensorboard[1:])]
    assert curve[1][0] == 384  # MLflow forgets nothing
    folders = sorted((RUN / "wandb").glob("offline-run-*"))
    assert [folder.name.rpartition("-")[2] for folder in folders] == [first["WandbLogger"]] * 2
    (before, config), (after, changed) = map(of_wandb, folders)
    assert [step for step, _ in before] == [256, 384]
    assert after == [(step, pytest.approx(value)) for step, value in tensorboard[1:]]

    # what they know of the run
    known = {"task": "point_mass", "algorithm": "rpo", "seed": 0, "num_envs": 8, "horizon": 8, "critic_epochs": 2}
    assert {name: config[name] for name in known} == known
    assert (config["kl_coef"], changed["kl_coef"]) == (0.25, 0.4)
    assert {name: run.data.params[name] for name in known} == {name: str(value) for name, value in known.items()}
    assert run.data.params["kl_coef"] == "0.25"
    assert run.data.tags["kl_coef from 256 steps"] == "0.4"
    assert run.data.tags["mlflow.runName"] == "point_mass/rpo/seed_0"
    in_file = yaml.safe_load((RUN / "csv/hparams.yaml").read_text())
    assert {name: in_file[name] for name in known} == known
    # the evaluation of the final weights is the last value everywhere
    assert run.data.metrics["eval/return"] == pytest.approx(tensorboard[-1][1])
    assert "WandbLogger" in (RUN / "config.yaml").read_text()


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_tensorboard_has_tidy_names_first_charts_a_card_and_hyper_parameters(command, folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
    from tensorboard.plugins.hparams import plugin_data_pb2
    from tensorboard.util.tensor_util import make_ndarray

    call(command, "--data.env={class_path: tests.toy.PointMass, init_args: {episode_length: 10}}")
    call(command, "--ckpt_path=last", "--model.init_args.total_env_steps=1024",
         "--data.env={class_path: tests.toy.PointMass, init_args: {episode_length: 10}}")  # fmt: skip
    assert [path for path in RUN.rglob("*") if path.is_dir()] == [RUN / "checkpoints"]
    file = EventAccumulator(str(RUN)).Reload()
    names = file.Tags()["scalars"]
    assert {name.split("/")[0] for name in names} <= PREFIXES
    assert {name.count("/") for name in names} == {1}

    (layout,) = {make_ndarray(each.tensor_proto).item() for each in file.Tensors("custom_scalars__config__")}
    (category,) = Layout.FromString(layout).category
    shown = [chart.multiline.tag[0].removesuffix("$") for chart in category.chart]
    assert shown == ["eval/return", "train/return", "actor/kl", "critic/loss", "time/steps_per_second"]
    assert set(shown) <= set(names)

    cards = file.Tensors("run/text_summary")
    assert [each.step for each in cards] == [0, 768]
    text = make_ndarray(cards[1].tensor_proto).item().decode()
    assert "rpo-lightning " + command in text
    assert "total_env_steps: 1024" in text

    def parameters(kind):
        content = file.SummaryMetadata(f"_hparams_/{kind}").plugin_data.content
        return plugin_data_pb2.HParamsPluginData.FromString(content)

    start = parameters("session_start_info").session_start_info.hparams
    assert start["task"].string_value == "point_mass"
    assert (start["num_envs"].number_value, start["horizon"].number_value, start["seed"].number_value) == (8, 8, 0)
    assert start["env.episode_length"].number_value == 10
    assert start["hidden"].string_value == "[8]"
    assert [each.name.tag for each in parameters("experiment").experiment.metric_infos] == ["eval/return"]
    assert parameters("session_end_info").session_end_info.status == 1  # success


def test_tensorboard_stays_beside_others_unless_loggers_are_off(folder):
    call("fit", "--trainer.max_steps=1", "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.")
    assert events(RUN)["eval/return"] == [(64, pytest.approx(of_csv(RUN / "metrics.csv")[0][1]))]
    call("fit", "--trainer.max_steps=1", "--trainer.logger=false", "--trainer.default_root_dir=none")
    call("fit", "--trainer.max_steps=1", "--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=tb",
         "--trainer.default_root_dir=own")  # fmt: skip
    assert not list((folder / "none").glob("events.*"))
    assert not list((folder / "own").glob("events.*"))
    assert events(folder / "own/tb")["eval/return"]


def test_a_tensorboard_logger_of_ones_own_shows_no_point_twice_after_a_resume(folder):
    own = ("--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=tb",
           "--trainer.callbacks+=LastAndBest", "--trainer.callbacks.every_n_steps=256")  # fmt: skip
    call("fit", *own, "--trainer.max_steps=6")
    assert [step for step, _ in events(RUN / "tb")["eval/return"]] == [256, 384]
    # the process was killed after 384 steps, and goes on from 256
    call("fit", *own, "--ckpt_path=step_256")
    assert [step for step, _ in events(RUN / "tb")["eval/return"]] == [256, 512, 768]


def test_mistakes_are_told_in_a_line(folder, capsys, monkeypatch):
    twice = "--trainer.logger=[{class_path: CSVLogger, init_args: {save_dir: a}}, {class_path: CSVLogger, init_args: {save_dir: b}}]"
    assert "trainer.logger names CSVLogger twice" in refused(capsys, "fit", "--config=tiny.yaml", twice)
    monkeypatch.setattr(lightning_loggers.wandb, "_WANDB_AVAILABLE", False)
    line = refused(capsys, "fit", "--config=tiny.yaml", "--trainer.logger=WandbLogger")
    assert 'pip install "rpo-lightning[loggers]"' in line
    assert not (folder / "runs").exists()


def test_a_start_that_fails_opens_no_logger(folder, capsys):
    options = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=csv", "--data.env=tests.test_loggers.Fails"]
    assert "nothing works" in refused(capsys, "fit", "--config=tiny.yaml", *options)
    assert not (folder / "runs").exists()


class Fails:
    """A task that is known by name only."""

    name, obs_dim, action_dim = "fails", 3, 1

    def __init__(self, num_envs, device="cpu", seed=0):
        raise RuntimeError("nothing works")


def test_from_python_a_folder_is_given(tmp_path):
    logger = in_run_folder(WandbLogger, tmp_path, "mine", offline=True)
    assert isinstance(logger, WandbLogger)
    assert (logger.save_dir, logger.name, logger.version) == (str(tmp_path), "rpo-lightning", None)
    file = in_run_folder(CSVLogger, tmp_path, save_dir="csv")
    file.log_metrics({"eval/return": 1.0}, step=64)  # without the callback RunFolder the first metric opens it
    file.save()
    assert of_csv(tmp_path / "csv/metrics.csv") == [(64, 1.0)]


def test_half_a_row_of_a_process_that_was_killed_is_left_out(tmp_path):
    def opened(env_steps):
        logger = in_run_folder(CSVLogger, tmp_path)
        logger.begin(env_steps)
        return logger

    first = opened(0)
    for step in (64, 128):
        first.log_metrics({"eval/return": 1.5, "train/return": 2.5}, step=step)
    first.save()
    file = tmp_path / "metrics.csv"
    whole = file.read_text()
    for cut in (3, 5, 9):
        file.write_text(whole[:-cut])
        opened(128)
        assert of_csv(file) == [(64, 1.5)]
        file.write_text(whole)
