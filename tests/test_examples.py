"""The example of docs/own_robot.md; that it trains is shown by the page's commands, which test_documentation runs."""

from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[1] / "examples" / "walker"


def test_the_page_shows_files_that_exist():
    page = (EXAMPLE.parents[1] / "docs" / "own_robot.md").read_text()
    assert all(f"examples/walker/{name}" in page for name in ("walker.xml", "walker.py", "walker.yaml"))
    assert len((EXAMPLE / "walker.py").read_text().splitlines()) <= 80


def test_its_feet_carry_it_and_gradients_arrive(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import walker

    env = walker.Walker(num_envs=8, stochastic_init=False, early_termination=False, threads=1)
    action = torch.zeros(8, env.action_dim, requires_grad=True)
    for _ in range(10):
        step = env.step(action)
    # standing on eight box corners: hardly lower than where it started, where the soles touched the ground
    assert -0.02 < env.q[0, 1].item() < 0.0
    (gradient,) = torch.autograd.grad(step.obs[:, 8].sum(), action)
    assert (gradient.abs().sum(1) > 0).all()
