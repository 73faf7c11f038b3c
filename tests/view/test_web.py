"""The viewer in a browser: what is clicked happens, and one sees it."""

import itertools
import socket
import sys
import time
import urllib.request

import numpy as np
import pytest
import torch

from rpo_lightning import envs
from rpo_lightning.view import Viewer
from rpo_lightning.view.acting import acting
from rpo_lightning.view.live import Live
from rpo_lightning.view.native import KEYS, NativeViewer
from tests.command_line import REPOSITORY, refused
from tests.view.browser import CHROMIUM, browser

pytest.importorskip("viser")
from rpo_lightning.view.web import WebViewer


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rounds(count):
    left = iter(range(count))
    return lambda: next(left, None) is not None


@pytest.fixture
def web(request):
    name, options = request.param
    env = envs.make(name, **options)
    viewer = WebViewer(Live(env, acting("random", env)), free_port())
    yield viewer
    viewer.close()
    env.close()


ANT = ("ant", {"num_envs": 2})


@pytest.mark.parametrize("web", [ANT], indirect=True)
def test_page_is_served_and_follows_what_runs(web):
    with urllib.request.urlopen(web.url) as answer:
        assert b"<html" in answer.read(1000)
    before = [np.array(frame.position) for frame in web._frames]
    notes = itertools.count()
    web.run(rounds(12), lambda: f"note {next(notes)}")
    assert web.live.time > 0.0
    assert any(not np.allclose(frame.position, was) for frame, was in zip(web._frames, before, strict=True))
    web._tell("note")
    assert "**ant** note" in web._status.content
    assert f"return {web.live.total:.5g}" in web._status.content
    assert len(web._table.content.splitlines()) == 2 + 37
    assert len(web._reward_plot.data[0]) == len(web.live.history)


@pytest.mark.parametrize("web", [ANT], indirect=True)
def test_controls_do_what_they_say(web):
    live = web.live
    web._toggle()
    assert live.paused
    assert web._pause.label == "Run"
    web._one_step()
    assert live.steps == 1
    web._show(1)
    assert live.shown == 1
    web._todo.put(live.reset)
    web.run(rounds(1))
    assert live.steps == 0
    live.env.set_state(live.env.q + live.env.q.new_tensor([7.0, *[0.0] * 14]), live.env.qd)
    web._place()
    assert web._world.position[0] == pytest.approx(-7.0, abs=0.2)  # under the camera again
    web._camera.follow = False
    web._place()
    assert web._world.position[0] == 0.0


def test_targets_have_sliders(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / "push"))
    env = envs.make("push.Push", num_envs=1)
    viewer = WebViewer(Live(env, acting("zero", env)), free_port())
    try:
        assert len(viewer._sliders) == 2
        viewer._sliders[0].value = 0.8
        viewer._aim()
        np.testing.assert_allclose(env.target[0].numpy(), [0.8, viewer._sliders[1].value], atol=1e-6)
        viewer._tell("")  # a held target does not move the sliders
        assert viewer._sliders[0].value == 0.8
    finally:
        viewer.close()
        del sys.modules["push"]


def test_commands_have_sliders_by_their_names_within_their_ranges():
    commands = ((-0.5, 1.0), (0.0, 0.0), (-1.0, 1.0))
    env = envs.make("quadruped", num_envs=1, threads=1, commands=commands, command_seconds=0.04, standing=0.0)
    viewer = WebViewer(Live(env, acting("zero", env)), free_port())
    try:
        assert [each.label for each in viewer._sliders] == ["forward [m/s]", "left [m/s]", "turn [rad/s]"]
        ends = [(each.min, each.max) for each in viewer._sliders]
        np.testing.assert_allclose(ends, commands, atol=2e-6)
        viewer._sliders[0].value = 0.75
        viewer._aim()
        for _ in range(5):
            viewer.live.step()
            viewer._tell("")
        assert viewer._sliders[0].value == 0.75
        np.testing.assert_allclose(env.target[0, 0].item(), 0.75)
    finally:
        viewer.close()


def test_from_python_it_runs_beside_and_ends():
    env = envs.make("ant", num_envs=1)
    viewer = Viewer(env, "random", port=free_port())
    assert viewer.show(block=False) is None
    url = viewer.url
    urllib.request.urlopen(url).close()
    viewer.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "80000"), "--port must be from 0 to 65535, not 80000"),
        (("--host", "192.0.2.1"), "192.0.2.1: this machine has no such address"),
    ],
)
def test_an_address_that_cannot_be_served_at_is_refused(options, words, capsys):
    assert words in refused(capsys, "play", "cartpole", "--viewer", "web", *options)


def test_without_viser_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    env = envs.make("ant", num_envs=1)
    with pytest.raises(ImportError, match=r'pip install "rpo-lightning\[view\]"'):
        WebViewer(Live(env, acting("zero", env)))


class Window:
    """What MuJoCo's viewer gives, without a display."""

    def __init__(self, model, data, key_callback, **_):
        from types import SimpleNamespace

        self.data, self.press, self.left, self.synced = data, key_callback, 6, []
        self.cam = SimpleNamespace(azimuth=0.0, elevation=0.0, distance=0.0, lookat=np.zeros(3))

    def is_running(self):
        self.left -= 1
        return self.left >= 0

    def lock(self):
        import contextlib

        return contextlib.nullcontext()

    def sync(self):
        self.synced.append((self.data.xpos.copy(), self.cam.lookat.copy()))

    def close(self):
        self.left = 0


def test_the_window_shows_what_runs_and_obeys_its_keys():
    env = envs.make("ant", num_envs=2)
    live = Live(env, acting("random", env))
    viewer = NativeViewer(live, launch=Window)
    window = viewer._window
    viewer.run()
    assert len(window.synced) == 6
    assert not np.allclose(window.synced[0][0], window.synced[-1][0])
    np.testing.assert_allclose(window.cam.lookat[:2], live.drawing.poses(env)[0, 0, :2], atol=1e-6)
    for key in KEYS:
        viewer._obey(key)
    assert (live.paused, live.shown, viewer._camera.follow, live.speed) == (True, 1, False, 1.0)
    steps = live.steps
    viewer._obey("S")
    assert live.steps == steps + 1


def test_ground_that_a_robot_comes_to_later_is_shown():
    env = envs.make("quadruped_rough", num_envs=1, terrain="stairs", difficulty=0.5, threads=1)
    live = Live(env, acting("zero", env))
    page, window = WebViewer(live, free_port()), NativeViewer(live, launch=Window)
    try:
        first, count = window._window, len(page._frames)
        env.difficulty = torch.tensor([1.0])
        live.reset()
        for viewer in (page, window):
            viewer._place()
        assert window._window is not first
        assert (first.left, window._window.left) == (0, 6)  # closed, and open
        assert window._stage.model.body(f"{count} terrain 10") is not None
        assert len(page._frames) == count + 1
        assert [page._frames[field].position[2] for field in (-2, -1)] == [-1000.0, 0.0]
        handles = page._server.scene._handle_from_node_name
        assert any(name.startswith(f"/world/{count} terrain 10/shape") for name in handles)
    finally:
        page.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("web", [ANT], indirect=True)
def test_the_page_in_a_browser(web):
    import threading

    done = threading.Event()
    thread = threading.Thread(target=web.run, args=(lambda: not done.is_set(),))

    def click(label):
        page.wait(f"[...document.querySelectorAll('button')].some(b => b.innerText.trim() === '{label}')")
        page.evaluate(f"[...document.querySelectorAll('button')].find(b => b.innerText.trim() === '{label}').click()")

    def robot(seen):
        """Where the ant is in the picture, once `seen` is true of that."""
        for _ in range(60):
            picture = page.screenshot()
            where = picture[..., 0] - picture[..., 2] > 40.0
            if seen(where):
                return where
        raise AssertionError("nothing of the kind is seen")

    def become(true):
        until = time.monotonic() + 120.0
        while not true():
            assert time.monotonic() < until
            time.sleep(0.05)

    live = web.live
    web._toggle()
    scene = web._server.scene  # what a processor alone would draw for a second or more
    scene.configure_default_lights(cast_shadow=False)
    scene.configure_environment_map(None)
    scene.remove_by_name("/world/floor")
    thread.start()
    try:
        with browser(900, 320) as page:
            page.open(web.url)
            first = robot(lambda where: where.mean() > 0.01)  # the page fades in
            for count in range(1, 21):
                click("One step")
                become(lambda: live.steps == count)  # noqa: B023 - used at once
            page.wait("document.body.innerText.includes('step 20,')")
            robot(lambda where: (where != first).sum() > 0.15 * first.sum())
            click("Run")
            become(lambda: live.time > 0.5)
            click("Pause")
            become(lambda: live.paused)
            assert not page.errors
    finally:
        done.set()
        thread.join()
