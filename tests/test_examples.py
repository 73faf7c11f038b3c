"""The examples of docs/own_robot.md; that they train is shown by the page's commands, which test_documentation runs."""

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
