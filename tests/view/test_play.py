"""`rpo-lightning play`: which viewer opens, who acts in it, and how it ends."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from rpo_lightning.cli import main
from rpo_lightning.interrupts import Interrupted
from tests.command_line import refused
from tests.view.test_record_video import RUN, fit

pytest.importorskip("viser")
from rpo_lightning.view.web import WebViewer


@pytest.fixture
def watched(monkeypatch):
    """What is done instead of serving on, with the viewer; then Ctrl-C."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    seen = []

    def run(self, going_on=None, refresh=lambda: ""):
        for look in seen:
            look(self, refresh)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(WebViewer, "run", run)
    return seen


def test_a_page_is_served_without_a_display_until_ctrl_c(folder, capsys, watched):
    told = []
    watched.append(lambda viewer, refresh: told.append((viewer.url, viewer.live.env.num_envs, refresh())))
    before = signal.getsignal(signal.SIGINT)
    main(["play", "ant", "--num_envs=3", "--port=8230"])
    ((url, count, note),) = told
    assert (count, note) == (3, "")
    err = capsys.readouterr().err
    assert err.splitlines() == [f"ant, actions of {shown_policy(err)}: {url} (Ctrl-C ends it)"]
    assert signal.getsignal(signal.SIGINT) == before


def shown_policy(err):
    return err.partition("actions of ")[2].partition(": ")[0]


def test_a_display_decides_for_the_window(folder, capsys, monkeypatch, watched):
    assert "no display" in refused(capsys, "play", "ant", "--viewer=native")
    assert "native or web" in refused(capsys, "play", "ant", "--viewer=other")
    opened = []

    class Window:
        def __init__(self, live, camera):
            opened.append(live.env.name)

        def run(self, refresh):
            raise Interrupted(signal.SIGINT)

        def close(self):
            opened.append("closed")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("rpo_lightning.view.native.NativeViewer", Window)
    main(["play", "cartpole", "--actions=zero"])
    assert opened == ["cartpole", "closed"]


def test_the_newest_checkpoint_of_a_run_acts_as_it_is_written(folder, capsys, watched):
    assert "is no run folder" in refused(capsys, "play", f"--follow={RUN}")
    fit(RUN)
    last = RUN / "checkpoints/last.ckpt"
    fit("longer", "--seed_everything=1", "--model.init_args.total_env_steps=384")
    notes, actions = [], []

    def look(viewer, refresh):
        notes.append(refresh())
        actions.append(viewer.live.act(viewer.live.env.detach()))
        assert refresh() == notes[-1]
        shutil.copy(Path("longer/checkpoints/last.ckpt"), last)
        notes.append(refresh())
        actions.append(viewer.live.act(viewer.live.env.detach()))

    watched.append(look)
    main(["play", f"--follow={RUN}", "--port=8231"])
    assert notes == ["after 256 steps", "after 384 steps"]
    assert not actions[0].equal(actions[1])
