"""The release's command: what it refuses, and the order of what it does. Nothing is built here; tests/test_wheel.py does."""

import subprocess

import pytest
import release

VERSION = "1.2.3"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with that version and its entry in the changelog."""
    (tmp_path / "src/rpo_lightning").mkdir(parents=True)
    (tmp_path / "src/rpo_lightning/__init__.py").write_text(f'"""Words."""\n\n__version__ = "{VERSION}"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION} (2026-01-31)\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_COMMITTER_NAME", "a")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "a@b")
    return tmp_path


@pytest.fixture
def steps(monkeypatch):
    """What was done, in order."""
    done = []
    monkeypatch.setattr(release, "build", lambda root, dist: done.append("build") or dist / "a.whl")
    monkeypatch.setattr(release, "use", lambda wheel, version, folder, python: done.append(f"use {version}"))
    return done


def tags(tree):
    return subprocess.run(["git", "-C", tree, "tag"], check=True, capture_output=True, text=True).stdout.split()


def test_it_tags_only_when_asked_to(tree, steps, capsys):
    release.main([])
    assert (steps, tags(tree)) == (["build", f"use {VERSION}"], [])
    assert "not tagged" in capsys.readouterr().out
    release.main(["--tag"])
    assert tags(tree) == [f"v{VERSION}"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tree: (tree / "new").touch(), "not committed"),
        (lambda tree: subprocess.run(["git", "-C", tree, "tag", f"v{VERSION}"], check=True), "raise __version__"),
        (lambda tree: (tree / "CHANGELOG.md").write_text(f"## {VERSION} (unreleased)\n"), "heading with the day"),
    ],
)
def test_what_stands_in_the_way_of_a_tag_is_said_before_anything_is_built(tree, steps, capsys, spoil, words):
    spoil(tree)
    before = tags(tree)
    with pytest.raises(SystemExit) as end:
        release.main(["--tag"])
    assert end.value.code == 1
    assert words in capsys.readouterr().err
    assert (steps, tags(tree)) == ([], before)
    release.main([])
    assert words in capsys.readouterr().out


def test_what_fails_leaves_no_tag(tree, monkeypatch, steps):
    def fail(wheel, version, folder, python):
        raise subprocess.CalledProcessError(1, ["rpo-lightning", "list"])

    monkeypatch.setattr(release, "use", fail)
    with pytest.raises(SystemExit):
        release.main(["--tag"])
    assert tags(tree) == []


def test_another_version_in_the_wheel_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        release.subprocess,
        "run",
        lambda command, **options: subprocess.CompletedProcess(command, 0, "rpo-lightning 1.2.2\n"),
    )
    with pytest.raises(ValueError, match=r"says it is 1\.2\.2, not 1\.2\.3"):
        release.use(tmp_path / "a.whl", VERSION, tmp_path, "python")
