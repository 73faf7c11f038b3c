"""Proposition 1: the measured gradients against closed forms and against quadrature."""

import math

import numpy as np
import pytest
from study import proposition1
from study.proposition1 import ESTIMATORS, GOAL, PARAMETERS, SHIFTS, SLOPE


@pytest.fixture(scope="module")
def record():
    return proposition1.measure(samples=100_000, seed=1)


def surrogate(mean, log_std):
    """E_new[Q] by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    action = mean + math.exp(log_std) * nodes
    return (weights * -0.5 * (action - GOAL) ** 2).sum() / weights.sum()


@pytest.mark.parametrize("shift", SHIFTS)
def test_exact_gradient_is_that_of_the_surrogate(shift):
    exact, step = proposition1.surrogate_gradient(shift), 1e-5
    point = np.array([shift, SLOPE * shift])
    for parameter, direction in zip(PARAMETERS, np.eye(2) * step, strict=True):
        slope = (surrogate(*(point + direction)) - surrogate(*(point - direction))) / (2 * step)
        assert exact[parameter] == pytest.approx(slope, abs=1e-8)


def test_estimator_of_the_proposition_has_no_bias(record):
    assert proposition1.largest_deviation(record, "proposition 1") < 4.0


def test_leaving_out_rho_or_regeneration_is_biased_by_what_theory_says(record):
    for i, shift in enumerate(SHIFTS):
        std = math.exp(SLOPE * shift)
        expected = {
            "without rho": {"mean": GOAL, "log_std": -(1.0 + GOAL * shift)},
            "without regeneration": {"mean": GOAL - shift, "log_std": -std * (std**2 + (shift - GOAL) * shift)},
        }
        for name, gradients in expected.items():
            for parameter, value in gradients.items():
                measured = record[parameter][name]
                assert abs(measured["mean"][i] - value) < 4.0 * measured["standard_error"][i]
    for name in ("without rho", "without regeneration"):
        assert proposition1.largest_deviation(record, name) > 10.0


def test_standard_errors_are_those_of_repeated_measurements(record):
    repeated = [proposition1.measure(samples=2000, seed=seed) for seed in range(100)]
    for name in ESTIMATORS:
        for parameter in PARAMETERS:
            means = [measurement[parameter][name]["mean"][2] for measurement in repeated]
            claimed = np.mean([measurement[parameter][name]["standard_error"][2] for measurement in repeated])
            assert np.std(means) == pytest.approx(claimed, rel=0.3)
