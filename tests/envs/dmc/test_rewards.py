"""The reward shaping is dm_control's, value for value."""

import numpy as np
import pytest
import torch

from rpo_lightning.envs.dmc.rewards import SIGMOIDS, tolerance

reference = pytest.importorskip("dm_control.utils.rewards")
X = np.linspace(-7.0, 7.0, 281)


@pytest.mark.parametrize("sigmoid", SIGMOIDS)
@pytest.mark.parametrize("bounds", [(0.0, 0.0), (-0.5, 1.5), (2.0, float("inf")), (float("-inf"), -1.0)])
@pytest.mark.parametrize(("margin", "value"), [(0.7, 0.1), (3.0, 0.6), (0.0, 0.1)])
def test_agrees_with_dm_control(sigmoid, bounds, margin, value):
    ours = tolerance(torch.from_numpy(X), bounds, margin, sigmoid, value).numpy()
    np.testing.assert_allclose(ours, reference.tolerance(X, bounds, margin, sigmoid, value), atol=1e-12)


@pytest.mark.parametrize("sigmoid", ["cosine", "linear", "quadratic"])
def test_may_vanish_at_the_margin(sigmoid):
    ours = tolerance(torch.from_numpy(X), (1.0, 2.0), 2.5, sigmoid, 0.0).numpy()
    np.testing.assert_allclose(ours, reference.tolerance(X, (1.0, 2.0), 2.5, sigmoid, 0.0), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bounds": (1.0, 0.0)}, "lower <= upper"),
        ({"margin": -1.0}, "margin >= 0"),
        ({"margin": 1.0, "sigmoid": "gauss"}, "no sigmoid is called 'gauss'"),
        ({"margin": 1.0, "value_at_margin": 0.0}, "value_at_margin must be in"),
        ({"margin": 1.0, "sigmoid": "linear", "value_at_margin": 1.0}, "value_at_margin must be in"),
    ],
)
def test_refuses_nonsense(arguments, words):
    with pytest.raises(ValueError, match=words):
        tolerance(torch.zeros(3), **arguments)
