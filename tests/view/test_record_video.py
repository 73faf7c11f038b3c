"""Films of evaluations: in the run folder, in TensorBoard, without changing what is learned."""

import json
from pathlib import Path

import pytest
import torch

from rpo_lightning.callbacks import RecordVideo
from rpo_lightning.cli import main
from tests.command_line import events, refused
from tests.view.test_record import changes, draws, read

SHORT = (
    "--config=ant.yaml", "--model.init_args.total_env_steps=256", "--model.init_args.critic_epochs=1",
    "--model.init_args.hidden=[8]", "--data.num_envs=8", "--data.horizon=16", "--data.iterations_per_epoch=1",
    "--trainer.check_val_every_n_epoch=1", "--trainer.callbacks+=Evaluation", "--trainer.callbacks.episodes=4", '--data.env={"name": "ant", "init_args": {"episode_length": 20}}',
)  # fmt: skip
FILMED = (
    "--trainer.callbacks+=RecordVideo", "--trainer.callbacks.seconds=0.3", "--trainer.callbacks.size=[48,32]",
)  # fmt: skip
RUN = Path("runs/ant/rpo/seed_0")


def fit(directory, *options):
    main(["fit", *SHORT, f"--trainer.default_root_dir={directory}", *options])


@draws
def test_evaluations_are_filmed_and_training_learns_the_same(folder):
    fit(RUN, *FILMED)
    films = sorted((RUN / "videos").iterdir())
    assert [film.name for film in films] == ["000000000128.gif", "000000000256.gif"]
    shown, _ = read(films[0])
    assert shown.shape[1:] == (32, 48, 3)
    assert changes(shown).max() > 0.002
    told = events(RUN)
    assert [step for step, _ in told["time/video"]] == [128, 256]
    assert all(seconds > 0.0 for _, seconds in told["time/video"])
    fit("plain")
    filmed, plain = (torch.load(Path(run) / "policy.pt", weights_only=True)["policy"] for run in (RUN, "plain"))
    assert all(torch.equal(filmed[name], plain[name]) for name in plain)

    # TensorBoard is given the film itself
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(RUN), size_guidance={"images": 0}).Reload()
    images = accumulator.Images("eval/video")
    assert [image.step for image in images] == [128, 256]
    assert images[0].encoded_image_string == films[0].read_bytes()
    assert (images[0].width, images[0].height) == (48, 32)


class Module:
    """What a driver gives a callback, with a logger that takes videos."""

    env_steps = 100

    def __init__(self):
        self.loggers, self.videos = [self], []

    def log_video(self, key, videos, step):
        self.videos.append((key, videos, step))

    def log_metrics(self, metrics, step):
        assert set(metrics) == {"time/video"}

    def make_env(self, num_envs, seed):
        from rpo_lightning import envs

        return envs.make("ant", num_envs=num_envs, seed=seed)

    def player(self, num_envs, deterministic, generator):
        return lambda obs: torch.zeros(num_envs, 8)


@draws
def test_every_third_evaluation_is_filmed_also_after_a_resume(tmp_path):
    module, callback = Module(), RecordVideo(every_n_evaluations=3, seconds=0.05, size=(32, 32))
    callback._folder = tmp_path
    for module.env_steps in (1, 2):
        callback.on_evaluation_end(module, {})
    resumed = RecordVideo(every_n_evaluations=3, seconds=0.05, size=(32, 32))
    resumed.load_state_dict(json.loads(json.dumps(callback.state_dict())))
    resumed._folder = tmp_path
    for module.env_steps in (3, 4):
        resumed.on_evaluation_end(module, {})
    names = [f"{step:012d}.gif" for step in (1, 4)]
    assert sorted(film.name for film in tmp_path.iterdir()) == names
    assert module.videos == [("eval/video", [str(tmp_path / name)], step) for name, step in zip(names, (1, 4), strict=True)]


def test_what_cannot_be_filmed_is_refused_before_training(folder, capsys, monkeypatch):
    monkeypatch.setattr("rpo_lightning.view.filming.check_renderer", lambda: None)
    monkeypatch.setattr("rpo_lightning.view.filming.find_spec", lambda name: name)
    line = refused(capsys, "fit", "--config=tiny.yaml", "--trainer.callbacks+=RecordVideo")
    assert "point_mass: nothing of it can be drawn" in line
    for options, named in (
        ({"seconds": 0.0}, "seconds"),
        ({"num_envs": 0}, "num_envs"),
        ({"every_n_evaluations": 0}, "every_n"),
    ):
        with pytest.raises(ValueError, match=named):
            RecordVideo(**options)


@draws
def test_a_film_that_fails_ends_the_films_and_not_the_training(folder, capsys, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rpo_lightning.view.filming.write_film", full)
    fit(RUN, *FILMED)
    said = capsys.readouterr().err
    assert said.count("RecordVideo: OSError: [Errno 28] No space left on device; there are no more films") == 1
    assert (RUN / "policy.pt").exists()
