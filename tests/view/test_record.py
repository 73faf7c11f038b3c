"""`rpo-lightning record`: films that show motion, in real time, of who was asked to act."""

import json
import re
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from rpo_lightning import envs
from rpo_lightning.cli import arguments, main, watching
from rpo_lightning.view import renderer as renderer_module
from rpo_lightning.view.acting import acting
from rpo_lightning.view.camera import Camera
from rpo_lightning.view.filming import film, pictures
from rpo_lightning.view.renderer import Renderer, check_renderer
from tests.command_line import REPOSITORY, refused


def can_draw():
    try:
        check_renderer()
    except ImportError:
        return False
    return find_spec("imageio_ffmpeg") is not None


draws = pytest.mark.skipif(not can_draw(), reason="no OpenGL without a display, or no imageio")
POLICY = REPOSITORY / "results/ant/rpo/seed_0/policy.pt"
SMALL = ("--size=[64,48]", "--seconds=0.2")


def read(path):
    """Pictures (K, height, width, 3) of a film, and how many there are a second."""
    import imageio.v2 as imageio

    with imageio.get_reader(path) as film:
        told = film.get_meta_data()
        return np.stack([frame[..., :3] for frame in film]).astype(float), told.get("fps") or 1000.0 / told["duration"]


def changes(shown):
    """Share of pixels that are clearly others in the next picture."""
    return (np.abs(np.diff(shown, axis=0)).max(-1) > 25).mean((1, 2))


@draws
@pytest.mark.parametrize(("ending", "fps"), [("mp4", 30.0), ("gif", 25.0)])
def test_a_film_shows_the_ant_moving_in_real_time(ending, fps, folder, capsys):
    main(["record", "ant", f"--output=ant.{ending}", *SMALL])
    shown, rate = read(folder / f"ant.{ending}")
    assert shown.shape == (7 if ending == "mp4" else 6, 48, 64, 3)
    assert rate == pytest.approx(fps)
    assert (changes(shown) > 0.002).all()
    assert str(POLICY) in capsys.readouterr().err


@draws
@pytest.mark.parametrize(("asked", "fps", "count"), [(12.5, 12.5, 7), (60, 50.0, 26), (1000, 50.0, 26)])
def test_a_gif_is_in_real_time_at_any_rate(asked, fps, count, folder):
    main(["record", "cartpole", "--output=a.gif", "--size=[32,32]", "--seconds=0.5", f"--fps={asked}"])
    shown, rate = read(folder / "a.gif")
    assert rate == pytest.approx(fps)
    assert len(shown) == count


@draws
def test_environments_are_tiles_and_each_is_followed(folder):
    env = envs.make("ant", num_envs=3)
    env.set_state(env.q + env.q.new_tensor([[100.0], [0.0], [-50.0]]) * env.q.new_tensor([1.0, *[0.0] * 14]), env.qd)
    frames = film(env, acting("zero", env), 0.05)
    (first, *_) = pictures(frames, 60.0, (128, 96))
    tiles = [first[:48, :64], first[:48, 64:], first[48:, :64], first[48:, 64:]]
    orange = [float(((tile[..., 0] > 120) & (tile[..., 2] < 80)).mean()) for tile in tiles]
    assert min(orange[:3]) > 0.03, orange  # although they are far apart
    assert orange[3] == 0.0
    (still, *_) = pictures(frames, 60.0, (128, 96), Camera(follow=False))
    assert ((still[:48, 64:, 0] > 120) & (still[:48, 64:, 2] < 80)).mean() == 0.0


@draws
def test_light_and_sky_are_there():
    env = envs.make("ant", num_envs=1)
    frames = film(env, acting("zero", env), 0.02)
    with Renderer(frames.scene, 1, (128, 96)) as renderer:
        lit = renderer.picture(frames.poses[0]).astype(float)
    with Renderer(frames.scene, 1, (128, 96), shadows=0) as renderer:
        flat = renderer.picture(frames.poses[0]).astype(float)
    assert lit[:10].mean() > 180.0  # sky
    assert lit[60:].mean() > 120.0  # floor
    assert ((flat - lit).max(-1) > 30.0).mean() > 0.02  # the shadow


def test_actions_are_the_policys_zero_or_random():
    env = envs.make("ant", num_envs=2)
    obs = env.detach()
    assert not acting("zero", env)(obs).any()
    random = acting("random", env, seed=3)
    first = random(obs)
    assert first.abs().max() <= 1.0
    assert not first.equal(random(obs))
    assert first.equal(acting("random", env, seed=3)(obs))
    with pytest.raises(ValueError, match="not 'policies'"):
        acting("policies", env)
    with pytest.raises(ValueError, match="name a checkpoint"):
        acting("policy", env)


def poses(path):
    with np.load(path) as content:
        return {name: content[name] for name in content.files}


def test_poses_go_into_an_archive(folder, monkeypatch):
    monkeypatch.setattr(renderer_module, "_context", None)  # nothing is drawn
    main(["record", "ant", "--num_envs=2", "--output=ant.npz", "--seconds=0.5", "--seed_everything=4"])
    content = poses(folder / "ant.npz")
    assert content["poses"].shape == (31, 2, 9, 7)
    assert content["bodies"][0] == "torso"
    assert content["dt"] == pytest.approx(1 / 60)
    assert content["action"].shape == (31, 2, 8)
    assert content["action"][1:].any()
    main(["record", "ant", "--num_envs=2", "--output=again.npz", "--seconds=0.5", "--seed_everything=4"])
    np.testing.assert_array_equal(content["poses"], poses(folder / "again.npz")["poses"])
    main(
        [
            "record",
            "ant",
            "--num_envs=2",
            "--output=sampled.npz",
            "--seconds=0.5",
            "--seed_everything=4",
            "--no_deterministic",
        ]
    )
    sampled = poses(folder / "sampled.npz")
    np.testing.assert_array_equal(content["poses"][0], sampled["poses"][0])
    assert np.abs(content["action"] - sampled["action"]).max() > 0.01


def test_a_task_is_looked_at_without_a_policy(folder, capsys):
    main(["record", "dmc/acrobot_swingup_sparse", "--output=c.npz", "--seconds=0.1"])
    assert "random actions" in capsys.readouterr().err
    main(
        ["record", "ant", "--actions=zero", "--output=a.npz", "--seconds=0.1", "--data.env.init_args.stochastic_init=false"]
    )
    assert "zero actions" in capsys.readouterr().err
    assert not poses("a.npz")["action"].any()
    main(["record", "--config=ant.yaml", "--output=b.npz", "--seconds=0.1"])
    assert "random actions" in capsys.readouterr().err
    main(["record", f"--ckpt_path={POLICY}", "--output=d.npz", "--seconds=0.1"])
    assert f"actions of {POLICY}" in capsys.readouterr().err


def test_a_replay_is_one_page_that_asks_for_nothing(folder):
    main(["record", "hand_reorient", "--num_envs=2", "--actions=zero", "--output=hand.html", "--seconds=0.1"])
    page = (folder / "hand.html").read_text()
    assert not re.search(r"(src|href)\s*=|@import|fetch\(|https?://", page)
    content = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert content["shape"] == [13, 2, 22]
    assert content["base"] is None


def test_mistakes_are_told_in_one_line(folder, capsys, monkeypatch):
    assert "none.avi" in refused(capsys, "record", "ant", "--output=none.avi")
    assert "two even numbers" in refused(capsys, "record", "ant", "--size=[641,480]")
    assert "--seconds must be above 0" in refused(capsys, "record", "ant", "--output=a.npz", "--seconds=0")
    assert "--fps must be above 0" in refused(capsys, "record", "ant", "--output=a.npz", "--fps=0")
    assert "size must be a list, such as [1,2], not 3" in refused(capsys, "record", "ant", "--size=3")
    assert "--num_envs must be at least 1" in refused(capsys, "record", "ant", "--output=a.npz", "--num_envs=0")
    assert "leave one of them out" in refused(capsys, "record", "ant", "--config=ant.yaml")
    assert "as in rpo-lightning record ant" in refused(capsys, "record")
    assert "did you mean 'ant'" in refused(capsys, "record", "amt", "--output=a.npz")
    line = refused(capsys, "record", "--config=tiny.yaml", "--output=a.npz")
    assert "point_mass: nothing of it can be drawn" in line
    assert "name a checkpoint" in refused(capsys, "record", "--config=tiny.yaml", "--actions=policy", "--output=a.npz")
    monkeypatch.setenv("MUJOCO_GL", "cgl")
    assert "pictures cannot be drawn here" in refused(capsys, "record", "ant", "--output=a.gif")
    monkeypatch.setattr("rpo_lightning.view.filming.find_spec", lambda name: None)
    assert 'pip install "rpo-lightning[view]"' in refused(capsys, "record", "ant", "--output=a.gif")
    assert not list(folder.glob("a.*"))


def test_a_policy_that_comes_with_the_package_is_taken_if_there_is_one():
    assert watching.with_task("record", ["ant"]) == ["--ckpt_path=ant"]
    assert f"--ckpt_path={POLICY}" in arguments.split("record", ["--ckpt_path=ant"]).options
    assert "--ckpt_path=ant" in watching.with_task("record", ["ant", "--actions", "policy"])
    assert not any("ckpt_path" in option for option in watching.with_task("record", ["ant", "--actions=zero"]))
    assert "--data.env=dmc/acrobot_swingup_sparse" in watching.with_task("record", ["dmc/acrobot_swingup_sparse"])


def test_what_is_given_beside_a_policy_goes_before_what_its_file_tells(folder, capsys):
    shutil.copyfile(POLICY, folder / "alone.pt")
    for command in ("record", "validate"):
        output = ["--output=a.npz"] if command == "record" else []
        line = refused(capsys, command, "--ckpt_path=alone.pt", "--data.env=cartpole", *output)
        assert "obs_dim 37, but the configuration's model has 5" in line
        assert "algorithm rpo, but" in refused(capsys, command, "--ckpt_path=alone.pt", "--model=SHAC", *output)


def test_a_policy_that_lies_alone_tells_model_and_task_itself(folder, capsys):
    shutil.copyfile(POLICY, folder / "alone.pt")
    main(["record", "--ckpt_path=alone.pt", "--output=a.npz", "--seconds=0.5"])
    main(["record", "ant", "--output=b.npz", "--seconds=0.5"])
    one, other = np.load(folder / "a.npz"), np.load(folder / "b.npz")
    assert np.array_equal(one["poses"], other["poses"])
    assert np.ptp(one["poses"][:, 0, 0, 0]) > 0.1  # it runs
