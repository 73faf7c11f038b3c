"""Progress is shown in environment steps, as a bar or as lines."""

from types import SimpleNamespace

from rpo_lightning.callbacks import Progress
from tests.command_line import call


def test_progress_line_shows_steps_speed_times_returns_and_time_left(folder, capsys):
    call("fit", "--trainer.callbacks+=Progress", "--trainer.callbacks.every_s=0")
    lines = capsys.readouterr().err.splitlines()[2:-2]  # between start and end
    assert len(lines) == 12
    for words in ("rpo 640/768 steps", "steps/s", "rollout 0.", "update 0.", "return ", "eval ", "left"):
        assert words in lines[9]
    call("fit", "--trainer.default_root_dir=b", "--trainer.enable_progress_bar=false")
    assert len(capsys.readouterr().err.splitlines()) == 4  # two at the start and two at the end


def test_progress_bar_counts_environment_steps(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar, module = Progress(), SimpleNamespace(env_steps=64, stop_at=640, name="rpo", budget_reached=False)
    bar.setup(SimpleNamespace(is_global_zero=True), module, "fit")
    bar.on_train_start(None, module)
    module.env_steps = 128
    bar.on_evaluation_end(module, {"sampled": {"mean": 12.5}})
    bar.on_train_batch_end(None, module, {"time/rollout": 0.5, "time/update": 1.5, "train/return": 3.0}, None, 0)
    bar.on_train_end(None, module)
    shown = capsys.readouterr().err
    for words in ("rpo", "128/640", "rollout 0.50s, update 1.50s", "return 3", "eval 12.5"):
        assert words in shown
    other = Progress()
    other.setup(SimpleNamespace(is_global_zero=False), module, "fit")
    other.on_train_start(None, module)
    other.on_train_batch_end(None, module, {}, None, 0)
    assert capsys.readouterr().err == ""
