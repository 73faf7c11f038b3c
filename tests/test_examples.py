"""The examples of docs/own_robot.md, which train in test_documentation, and those of docs/parameters.md."""

import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["walker", "push"])
def test_the_page_shows_files_that_exist(name):
    page = (ROOT / "docs" / "own_robot.md").read_text()
    assert all(f"examples/{name}/{name}.{end}" in page for end in ("xml", "py", "yaml"))
    assert len((ROOT / "examples" / name / f"{name}.py").read_text().splitlines()) <= 80


def test_its_feet_carry_it_and_gradients_arrive(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "walker"))
    import walker

    env = walker.Walker(num_envs=8, stochastic_init=False, early_termination=False, threads=1)
    action = torch.zeros(8, env.action_dim, requires_grad=True)
    for _ in range(10):
        step = env.step(action)
    # standing on eight box corners: hardly lower than where it started, where the soles touched the ground
    assert -0.02 < env.q[0, 1].item() < 0.0
    (gradient,) = torch.autograd.grad(step.obs[:, 8].sum(), action)
    assert (gradient.abs().sum(1) > 0).all()


def test_the_pusher_moves_the_ball_and_the_gradient_passes_their_contact(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "push"))
    import push

    env = push.Push(num_envs=4, stochastic_init=False, threads=1)
    action = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).requires_grad_()
    for _ in range(15):
        env.step(action)
    place = env.q[:, 2]
    (gradient,) = torch.autograd.grad(place.sum(), action)
    torch.testing.assert_close(place[[0, 3]], env.start_q[[0, 3], 2])  # nothing touched it
    assert (place[1:3] > env.start_q[0, 2] + 0.1).all()
    assert (gradient[[0, 3]] == 0.0).all()
    assert (gradient[1:3, 0] > 0.01).all()


def test_the_gradient_recovers_the_constants_of_a_leg_with_far_fewer_simulations(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "identify"))
    import identify

    windows = identify.Windows(identify.record(256), 16)
    guess, truth = (torch.tensor(list(each.values())) for each in (identify.GUESS, identify.TRUTH))
    shot = identify.by_gradient(windows, 160)
    assert shot.simulations[-1] == 160
    assert identify.worst_error(guess) > 0.5
    torch.testing.assert_close(shot.values, truth, rtol=0.05, atol=0.0)
    needed = shot.needed(0.1)
    alone = identify.by_gradient(windows, 60, shooting=False)
    searched = identify.without_gradient(windows, 30)
    assert alone.needed(0.25) < 60
    assert searched.simulations[-1] == 300 > needed
    assert searched.needed(0.25) is None
    with torch.no_grad():
        assert windows.misfit(searched.values) < 0.5 * windows.misfit(guess)  # it does search
    identify.picture(tmp_path / "identify.png", windows, {"search": searched, "gradient": shot})
    assert (tmp_path / "identify.png").stat().st_size > 10_000


def test_the_arm_throws_a_ball_into_baskets(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "throw"))
    import throw

    targets = throw.baskets(4)
    found = throw.optimise(targets, 80)
    assert (found.misses[0] > 0.1).all()
    assert (found.misses[-1] < 0.1).all()
    assert found.misses[-1].median() < 0.05
    assert found.actions.abs().max() <= 1.0
    torch.testing.assert_close((found.motion[-1, :, 2:] - targets).norm(dim=1), found.misses[-1])
    angles = torch.stack([found.motion[-1, :, 0], found.motion[-1, :, :2].sum(1)])
    hand = torch.tensor([0.0, 1.0]) + torch.stack([-0.4 * angles.cos().sum(0), 0.4 * angles.sin().sum(0)], dim=1)
    assert ((hand - targets).norm(dim=1) > 0.5).all()  # it flew there
    throw.picture(tmp_path / "throw.png", targets, found)
    assert (tmp_path / "throw.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("identify", "--steps 64 --iterations 3 --generations 1", ["gradient, starts too", "frictionloss:knee"]),
        ("throw", "--baskets 2 --iterations 2", ["median miss", "of 2", "s of CPU"]),
    ],
)
def test_they_print_and_draw_what_they_find(name, options, said, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / name))
    monkeypatch.setattr("sys.argv", [name, *options.split(), "--picture", str(tmp_path / "found.png")])
    importlib.import_module(name).main()
    shown = capsys.readouterr().out
    assert all(words in shown for words in said)
    assert (tmp_path / "found.png").stat().st_size > 10_000
    page = (ROOT / "docs" / "parameters.md").read_text()
    assert f"python {name}.py --picture {name}.png" in page
    assert (ROOT / "docs" / "figures" / f"{name}.png").exists()
