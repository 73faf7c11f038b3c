"""The replay in a browser: it draws, plays, can be dragged through, and follows."""

import numpy as np
import pytest

from rpo_lightning import envs
from rpo_lightning.view.acting import acting
from rpo_lightning.view.filming import film, write_film
from rpo_lightning.view.scene import WORLD, Scene, Shape
from rpo_lightning.view.triangles import surfaces, triangles
from tests.view.browser import CHROMIUM, browser, differing

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
NOWHERE = np.zeros(3)


def shape(kind, *size, **more):
    return Shape(kind, 0, NOWHERE, UPRIGHT, np.array([*size, 0.0, 0.0, 0.0][:3]), np.ones(4), **more)


def volume(vertices, faces):
    corners = vertices[faces]
    return np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6.0


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        ("sphere", (0.5,), 4 / 3 * np.pi * 0.125),
        ("capsule", (0.5, 1.0), 4 / 3 * np.pi * 0.125 + 2 * np.pi * 0.25),
        ("cylinder", (0.5, 1.0), 2 * np.pi * 0.25),
        ("box", (0.5, 1.0, 2.0), 8.0),
        ("ellipsoid", (0.5, 1.0, 2.0), 4 / 3 * np.pi),
    ],
)
def test_triangles_close_the_shape_and_look_outwards(kind, size, expected):
    vertices, normals, faces = triangles(shape(kind, *size))
    assert volume(vertices, faces) == pytest.approx(expected, rel=0.03)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-9)
    assert (np.einsum("ij,ij->i", normals, vertices) > -1e-9).all()


def test_meshes_and_planes_become_triangles_too():
    tetrahedron = {"vertices": np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float)}
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    vertices, _, flat = triangles(shape("mesh", faces=faces, **tetrahedron))
    assert volume(vertices, flat) == pytest.approx(1 / 6)
    assert len(triangles(shape("plane"))[2]) == 4


def test_shapes_of_one_colour_are_one_surface_and_glass_is_drawn_last():
    glass = shape("sphere", 1.0)
    glass.rgba = np.array([1.0, 1.0, 1.0, 0.5])
    ground = shape("box", 1.0, 1.0, 1.0)
    ground.body = WORLD
    scene = Scene(
        "x", ["a"], [glass, shape("sphere", 1.0), shape("box", 1.0, 1.0, 1.0), ground], None, NOWHERE, 1.0, 0.0, 0.1
    )
    assert [(each.body, each.rgba[3]) for each in surfaces(scene)] == [(0, 1.0), (WORLD, 1.0), (0, 0.5)]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_in_a_browser(tmp_path):
    env = envs.make("ant", num_envs=2)
    write_film(tmp_path / "ant.html", film(env, acting("random", env), 1.0))
    with browser(500, 400) as page:
        page.open(f"file://{tmp_path}/ant.html")
        page.wait("frame > 2")  # it plays by itself
        page.evaluate("play(false), set(0)")
        start = page.screenshot()
        top, bottom = start[40:80].mean((0, 1)), start[250:300].mean((0, 1))
        orange = (start[..., 0] > 150) & (start[..., 2] < 110)
        assert orange.mean() > 0.02
        assert top.min() > bottom.max()  # sky over floor
        page.evaluate("at('step').click()")
        assert page.evaluate("frame") == 1
        page.evaluate("at('time').value = 50, at('time').oninput()")
        assert page.evaluate("frame") == 50
        assert "0.83 s" in page.evaluate("at('told').textContent")
        later = page.screenshot()
        assert differing(start[:320], later[:320]) > 0.02
        page.evaluate("at('env').value = '1', at('env').onchange()")
        other = page.screenshot()
        assert differing(later[:320], other[:320]) > 0.02
        page.evaluate("eyes[0] += 60, draw()")
        assert differing(other[:320], page.screenshot()[:320]) > 0.02
        page.resize(320, 500)
        page.wait("canvas.clientWidth === 320")
        assert page.evaluate("document.documentElement.scrollWidth <= 320")
        page.evaluate("at('speed').value = '2', play(true)")
        page.wait("frame < 50")  # it begins anew
        assert not page.errors


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_following_keeps_a_robot_that_runs_away_in_the_picture(tmp_path):
    env = envs.make("ant", num_envs=1)
    frames = film(env, acting("zero", env), 0.1)
    frames.poses[3:, ..., 0] += 50.0
    write_film(tmp_path / "ant.html", frames)
    seen = {}
    with browser(400, 400) as page:
        page.open(f"file://{tmp_path}/ant.html")
        page.evaluate("play(false), set(5)")
        for follow in ("true", "false"):
            page.evaluate(f"at('follow').checked = {follow}, at('follow').onchange()")
            picture = page.screenshot()[:300]
            seen[follow] = ((picture[..., 0] > 150) & (picture[..., 2] < 110)).mean()
    assert seen["true"] > 0.02
    assert seen["false"] == 0.0
