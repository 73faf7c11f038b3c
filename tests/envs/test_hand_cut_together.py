"""Where one hand begins anew, no gradient of any goes back beyond that step, as in the reference."""

import pytest
import torch

from tests.envs.test_hand_reorient import make


@pytest.mark.parametrize(
    ("options", "together"), [({}, True), ({"cut_together": False}, False), ({"physics": "right"}, False)]
)
def test_where_one_environment_begins_anew_the_graph_of_all_is_cut(options, together):
    env = make(num_envs=2, **options)
    actions = 0.1 * torch.ones(3, 2, 16)
    actions.requires_grad_()
    env.step(actions[0])
    env.progress = torch.tensor([0, env.max_episode_steps - 1])
    before = env.step(actions[1])
    after = env.step(actions[2])
    (of_the_step,) = torch.autograd.grad(before.final_obs[0, :32].sum(), actions, retain_graph=True)
    assert of_the_step[:2, 0].any(dim=1).all()  # up to the step in which the other ends, it is as ever
    (grad,) = torch.autograd.grad(after.final_obs[0, :32].sum(), actions)
    assert grad[2, 0].any()
    assert bool(grad[:2, 0].any()) != together
    assert not grad[:, 1].any()
