"""Robots of others: found by name, downloaded once, checked."""

import hashlib
import subprocess

import pytest

from rpo_lightning import cli, robots
from rpo_lightning.robots import public
from rpo_lightning.sim import load_mjcf
from tests.command_line import refused

BALL = (
    '<mujoco><worldbody><body pos="0 0 0.2"><freejoint name="ball"/><geom size="0.1" mass="1"/></body></worldbody></mujoco>'
)


def git(folder, *words):
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository in the place of one on GitHub, whose robot is known as "ball"; the cache is empty."""
    origin = tmp_path / "github" / "someone" / "robots"
    (origin / "models/ball").mkdir(parents=True)
    (origin / "models/other").mkdir()
    (origin / "models/ball/ball.xml").write_text(BALL)
    (origin / "models/other/large.bin").write_text("not wanted")
    git(origin, "init", "--quiet")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "-m", "one")
    commit = git(origin, "rev-parse", "HEAD")
    digest = hashlib.sha256(BALL.encode()).hexdigest()
    ball = public.Source("a ball", "someone/robots", commit, "models/ball", "MIT", {"ball.xml": digest}, ground=True)
    monkeypatch.setitem(public.ROBOTS, "ball", ball)
    for key, value in {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/github/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }.items():
        monkeypatch.setenv(key, value)
    return origin


def test_a_robot_is_downloaded_once_and_given_a_ground(repository):
    path = robots.find("public/ball")
    assert (path.parent / "ball.xml").read_text() == BALL
    assert path.is_relative_to(public.cache())
    assert not list(public.cache().rglob("large.bin"))
    assert not list(public.cache().rglob(".git"))
    model = load_mjcf(path, contact=(1e3, 0.0, 10.0, 0.5))
    assert len(model.contacts) == 1
    repository.rename(repository.parent / "gone")
    assert public.fetch("ball") == path


def test_two_processes_may_download_at_once(repository):
    path, robot = public.fetch("ball"), public.ROBOTS["ball"]
    public._download("ball", robot, public.cache() / f"ball-{robot.commit[:8]}")
    assert public.fetch("ball") == path


def test_a_file_that_is_another_is_refused(repository):
    path = public.fetch("ball")
    (path.parent / "ball.xml").write_text(BALL.replace("0.1", "0.3"))
    with pytest.raises(ValueError, match=r"ball\.xml is not the file that was tried"):
        public.fetch("ball")


def test_without_a_network_it_is_said_what_to_do(repository, capsys):
    repository.rename(repository.parent / "gone")
    line = refused(capsys, "describe", "public/ball")
    assert "cannot be downloaded from https://github.com/someone/robots" in line
    assert "put its folder models/ball" in line
    assert not list(public.cache().glob("ball*"))  # nothing half done


def test_unknown_names_and_missing_packages_are_told(monkeypatch):
    with pytest.raises(ValueError, match="Did you mean 'panda'"):
        public.fetch("pandda")
    monkeypatch.setitem(public.ROBOTS, "lost", public.Wheel("lost", "no_such_package", "x.xml", "MIT"))
    with pytest.raises(FileNotFoundError, match="pip install no-such-package"):
        public.fetch("lost")


def test_a_robot_of_an_installed_package_loads():
    pytest.importorskip("gymnasium")
    model = load_mjcf(robots.find("public/gymnasium_half_cheetah"), contact=(1e4, 1e3, 1e2, 0.8), limit=(100.0, 1.0))
    assert model.links


def test_every_entry_is_pinned():
    sources = [robot for robot in public.ROBOTS.values() if isinstance(robot, public.Source)]
    assert len(sources) >= 9
    for robot in sources:
        assert len(robot.commit) == 40
        assert all(len(digest) == 64 for digest in robot.files.values())


def test_they_are_listed_with_where_they_come_from(capsys):
    cli.main(["list"])
    out = capsys.readouterr().out
    assert "public/go1" in out
    assert "kevinzakka/mink at cf1a302f, examples/unitree_go1 (BSD-3-Clause)" in out
