"""Terms of walking: closed values, and slopes."""

import math

import pytest
import torch

from rpo_lightning.envs.legged import terms


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_power_is_that_of_the_joints_without_its_sign():
    torque, rate = rows([100.0, -100.0], [0.0, 3.0]), rows([2.0, 3.0], [5.0, 0.0])
    torch.testing.assert_close(terms.power(torque, rate, 1e-3), rows(500.0, 0.0), atol=3e-3, rtol=0)
    assert terms.power(rows([1.0]), rows([1.0])).item() == pytest.approx(math.sqrt(2.0) - 1.0)


def test_limits_count_what_is_beyond_and_nothing_within():
    low, high = rows(-1.0, -torch.inf), rows(0.5, torch.inf)
    angle = rows([0.5, 40.0], [0.7, -40.0], [-1.3, 0.0]).requires_grad_()
    paid = terms.limits(angle, low, high)
    torch.testing.assert_close(paid, rows(0.0, 0.04, 0.09))
    (slope,) = torch.autograd.grad(paid.sum(), angle)
    torch.testing.assert_close(slope, rows([0.0, 0.0], [0.4, 0.0], [-0.6, 0.0]))


def test_a_steady_change_of_action_is_smooth():
    first, second = rows([0.0, 0.0], [0.0, 0.0]), rows([0.1, -0.2], [1.0, 0.0])
    third = rows([0.2, -0.4], [0.0, 3.0])
    torch.testing.assert_close(terms.smoothness(third, second, first), rows(0.0, 13.0))


@pytest.mark.parametrize("duty", [0.3, 0.5, 0.75])
def test_feet_stand_for_their_share_of_a_cycle(duty):
    phase = torch.linspace(0.0, 1.0, 10001, dtype=torch.float64)[None, :-1]
    standing = terms.stance(phase, duty, 0.01)
    assert standing.mean().item() == pytest.approx(duty, abs=1e-3)
    torch.testing.assert_close(terms.stance(rows([duty / 2.0, 1.0 - duty / 2.0, 3.0 + duty / 2.0]), duty), rows([0.5] * 3))
    assert terms.stance(rows([0.0, 0.5]), duty, 0.01)[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_a_gait_is_met_by_feet_at_its_heights_and_pulls_at_all_others():
    standing = rows([1.0, 0.0, 0.5])
    assert terms.gait(rows([0.0, 0.08, 0.04]), standing, 0.08).item() == 0.0
    high = rows([0.3, 0.3, 0.3]).requires_grad_()
    paid = terms.gait(high, standing, 0.1)
    assert paid.item() == pytest.approx(9.0 + 4.0 + 6.25)
    (slope,) = torch.autograd.grad(paid, high)
    torch.testing.assert_close(slope, rows([60.0, 40.0, 50.0]))


def test_terms_have_the_slopes_of_their_values():
    torch.manual_seed(0)

    def given(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    two, three = (given(3, 4), given(3, 4)), (given(3, 4), given(3, 4), given(3, 4))
    low, high = rows(-0.5, -0.4, -0.3, -0.2), rows(0.1, 0.2, 0.3, 0.4)
    for term, arguments in (
        (lambda error: terms.tracking(error, 0.1), two[:1]),
        (terms.squared, two[:1]),
        (terms.effort, two[:1]),
        (terms.power, two),
        (lambda angle: terms.limits(angle, low, high), two[:1]),
        (terms.jerk, two),
        (terms.smoothness, three),
        (lambda height: terms.contact(height, 0.7), two[:1]),
        (terms.slip, (given(3, 4), given(3, 4, 2))),
        (lambda height, velocity: terms.lift(height, velocity, 0.8), (given(3, 4), given(3, 4, 2))),
        (terms.stance, two[:1]),
        (lambda height, standing: terms.gait(height, standing, 0.8), two),
    ):
        assert torch.autograd.gradcheck(term, arguments)
