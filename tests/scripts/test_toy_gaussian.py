"""The toy study of REPPO: estimators against closed forms and quadrature, climbs against the order that is claimed."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from study import toy_figure, toy_gaussian
from study.toy_gaussian import (
    KNOWN,
    KNOWN_PROBLEM,
    LEARNED,
    LEARNED_PROBLEM,
    PPO_CLIPPED,
    RPO_CLIPPED,
    SAMPLES,
    Method,
    Problem,
)

from rpo_lightning.nn import Gaussian
from tests.command_line import REPOSITORY

METHODS = {method.label: method for method in (*KNOWN, *LEARNED)}
SCORE, PATHWISE = METHODS["score, reused"], METHODS["pathwise, reused"]
FREE, BOUND = METHODS["pathwise, learned Q"], METHODS["pathwise, learned Q, KL bound (REPPO)"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def policy(repetitions, mean, log_std):
    """A policy (R, 1, A) from rows of numbers."""
    return Gaussian(
        *(torch.tensor(row, dtype=torch.float64).expand(repetitions, 1, len(row)).clone() for row in (mean, log_std))
    )


def quadrature(problem, mean, log_std):
    """E[Q] of one dimension."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    action = torch.as_tensor(mean + math.exp(log_std) * nodes)[:, None]
    return (problem.value(action).numpy() * weights).sum() / weights.sum()


# --- what is known exactly


@pytest.mark.parametrize("problem", [Problem(dims=1), Problem(dims=1, distance=0.4, ripple=0.2, frequency=5.0)])
def test_exact_gradient_is_that_of_the_expectation(problem):
    point, step = np.array([0.3, -0.4]), 1e-5
    exact = toy_gaussian.exact_gradient(problem, policy(1, point[:1], point[1:])).numpy()
    for i, direction in enumerate(np.eye(2) * step):
        slope = (quadrature(problem, *(point + direction)) - quadrature(problem, *(point - direction))) / (2 * step)
        assert exact[i] == pytest.approx(slope, abs=1e-7)


def test_gap_is_zero_at_the_optimum_alone():
    best = [1.0] * 4, [0.5 * math.log(toy_gaussian.ENTROPY)] * 4
    assert KNOWN_PROBLEM.gap(policy(1, *best)).item() == 0.0
    for row in (0, 1):
        for move in (-0.05, 0.05):
            moved = [list(values) for values in best]
            moved[row][2] += move
            assert KNOWN_PROBLEM.gap(policy(1, *moved)).item() > 1e-5


# --- estimators


@pytest.mark.parametrize("method", [SCORE, PATHWISE], ids=lambda method: method.label)
def test_estimates_from_an_older_policy_have_no_bias(method):
    repetitions = 20_000
    problem = Problem(dims=2, distance=0.8, ripple=0.2, frequency=2.0, noise=0.3)
    old, new = policy(repetitions, [0.0, 0.0], [0.0, 0.0]), policy(repetitions, [0.3, -0.2], [-0.2, 0.1])
    estimates = toy_gaussian.gradients(method.surrogate, toy_gaussian.draw(problem, old, SAMPLES, generator()), new)
    exact = toy_gaussian.exact_gradient(problem, policy(1, [0.3, -0.2], [-0.2, 0.1]))
    error = estimates.std(0) / math.sqrt(repetitions)
    assert ((estimates.mean(0) - exact).abs() < 4.5 * error).all()
    assert (error < 0.03).all(), "the test would see little"


def test_estimates_that_ignore_how_old_the_samples_are_would_be_seen():
    problem, old, new = Problem(dims=1), policy(20_000, [0.0], [0.0]), policy(20_000, [0.4], [0.0])
    batch = toy_gaussian.draw(problem, old, SAMPLES, generator())
    stale = toy_gaussian.gradients(PATHWISE.surrogate, batch._replace(old=new), new)[:, 0]
    exact = toy_gaussian.exact_gradient(problem, policy(1, [0.4], [0.0]))[0]
    assert (stale.mean() - exact).abs() > 20 * stale.std() / math.sqrt(len(stale))


def test_clipping_bounds_what_a_sample_counts():
    old, new = policy(500, [0.0], [0.0]), policy(500, [1.5], [0.0])
    batch = toy_gaussian.draw(Problem(dims=1), old, SAMPLES, generator())
    ratio = (new.log_prob(batch.action) - old.log_prob(batch.action)).exp()
    kept = PPO_CLIPPED.surrogate(batch, new, generator())
    assert torch.equal(kept, torch.minimum(ratio * batch.advantage, ratio.clamp(0.8, 1.2) * batch.advantage))
    inside = (ratio >= 0.2) & (ratio <= 2.0)
    kept = RPO_CLIPPED.surrogate(batch, new, generator())
    assert torch.allclose(kept, torch.where(inside, ratio, 0.0) * (batch.slope * batch.action).sum(-1))


def test_error_of_the_pathwise_estimate_is_the_closed_form():
    # At N(0, 1) with the goal at 1 a sample's error has the mean square 4 A, the gradient the square 2 A.
    for dims in (1, 16):
        error = toy_gaussian.relative_error(Problem(dims=dims), PATHWISE, 0.0, 5000)
        assert error == pytest.approx(2.0 / SAMPLES, rel=0.05)


def test_error_of_the_score_estimate_is_that_of_quadrature():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights /= weights.sum()
    value = -0.5 * (nodes - 1.0) ** 2
    advantage = value - (weights * value).sum()
    score = np.stack([nodes, nodes**2 - 1.0])
    exact = (weights * advantage * score).sum(1)
    assert exact == pytest.approx([1.0, -1.0])
    noise = (weights * advantage**2 * score**2).sum() - (exact**2).sum()
    # the other samples' mean is not quite the expectation: what that adds, but for a share of 1 / (n - 1)
    noise += (weights * advantage**2).sum() * (weights * score**2).sum() / (SAMPLES - 1)
    error = toy_gaussian.relative_error(Problem(dims=1), SCORE, 0.0, 40_000)
    assert error == pytest.approx(noise / SAMPLES / (exact**2).sum(), rel=0.1)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_learned_value_is_exact_without_noise_and_with_it_wrong_far_from_its_samples(noise):
    batch = toy_gaussian.draw(Problem(dims=2, noise=noise), policy(300, [0.0, 0.0], [0.0, 0.0]), 64, generator())
    errors = []
    for mean in (0.2, 4.0):
        new = policy(300, [mean] * 2, [0.0, 0.0])
        used = new.from_noise(torch.randn(300, 64, 2, generator=generator(), dtype=torch.float64))
        estimate = toy_gaussian.gradients(FREE.surrogate, batch, new)[:, :2]
        errors.append((estimate - (1.0 - used).mean(1)).norm(dim=-1).median().item())
    near, far = errors
    if noise:
        assert near < 0.4
        assert far > 3.0
    else:
        assert near < 0.02
        assert far < 0.1  # of a slope of 4: the ridge


# --- what the figure claims


def errors(method, problems, shift=0.0):
    return [toy_gaussian.relative_error(problem, method, shift, 1000) for problem in problems]


def test_score_gets_worse_with_the_dimension_and_pathwise_with_ripples():
    problems = [Problem(dims=dims) for dims in (4, 16, 64)]
    score, pathwise = errors(SCORE, problems), errors(PATHWISE, problems)
    assert all(a > 8 * b for a, b in zip(score, pathwise, strict=True))
    assert max(pathwise) < 1.15 * min(pathwise)
    # as the dimensions: a constant and a share of each
    assert (score[2] - score[1]) / (score[1] - score[0]) == pytest.approx(4.0, rel=0.25)
    rippled = [Problem(ripple=0.2, frequency=each) for each in (0, 40)]
    score, pathwise = errors(SCORE, rippled), errors(PATHWISE, rippled)
    assert score[1] == pytest.approx(score[0], rel=0.1)
    assert pathwise[0] < score[0] / 8
    assert pathwise[1] > 1.2 * score[1]


def test_both_get_worse_with_the_age_of_the_samples_and_clipping_helps():
    far = math.sqrt(2.0 * 0.5)
    for free, clipped in ((SCORE, PPO_CLIPPED), (PATHWISE, RPO_CLIPPED)):
        (now,), (later,), (bounded,) = (
            errors(free, [Problem()]),
            errors(free, [Problem()], far),
            errors(clipped, [Problem()], far),
        )
        assert later > 2 * now
        assert bounded < later


@pytest.fixture(scope="module")
def known():
    """Method -> median gaps, with fewer climbs than the study has."""
    return {method.label: toy_gaussian.climb(KNOWN_PROBLEM, method, 40).median(1).values.tolist() for method in KNOWN}


def test_order_of_the_climbs(known):
    last = {label: gaps[-1] for label, gaps in known.items()}
    assert last["pathwise, fresh samples"] < last["score, fresh samples"] / 2
    assert last["pathwise, reused"] < last["score, reused"] / 2
    assert last["pathwise, reused, clipped (RPO)"] < last["score, reused, clipped (PPO)"] / 5
    assert last["pathwise, fresh samples"] < last["pathwise, reused"] / 2
    assert last["score, fresh samples"] < last["score, reused"] / 2
    # as many samples: one for each update against one for eight
    same = toy_gaussian.UPDATES // toy_gaussian.REUSE
    assert last["pathwise, reused"] < known["score, fresh samples"][same] / 10


def test_reuse_makes_the_score_function_uncertain():
    def spread(method):
        low, high = toy_gaussian.climb(KNOWN_PROBLEM, method, 40, updates=80)[-1].quantile(
            torch.tensor([0.25, 0.75]).double()
        )
        return (high / low).item()

    assert spread(SCORE) > 2 * spread(PATHWISE)


def test_learned_value_needs_the_bound():
    gaps = {
        method.label: toy_gaussian.climb(LEARNED_PROBLEM, method, 40, samples=toy_gaussian.LEARNED_SAMPLES)
        for method in (FREE, BOUND, PPO_CLIPPED)
    }
    assert (gaps[FREE.label][-1] >= toy_gaussian.CEILING).double().mean() > 0.5
    assert gaps[BOUND.label][-1].max() < 1.0
    quarter = toy_gaussian.UPDATES // 4
    assert gaps[BOUND.label][quarter].median() < gaps[PPO_CLIPPED.label][quarter].median() / 2
    # what the report says as well: fitted anew to few noisy samples, it ends above
    assert gaps[BOUND.label][-1].median() > gaps[PPO_CLIPPED.label][-1].median()


# --- climbs


def test_samples_are_drawn_anew_only_when_they_are_used_up(monkeypatch):
    draws, draw = [], toy_gaussian.draw
    monkeypatch.setattr(toy_gaussian, "draw", lambda *args: draws.append(args[2]) or draw(*args))
    for method, times in ((KNOWN[0], 20), (SCORE, 3)):
        draws.clear()
        toy_gaussian.climb(KNOWN_PROBLEM, method, 2, updates=20)
        assert draws == [SAMPLES] * times


def test_bound_stops_a_climb_and_brings_it_back():
    never = Method("", FREE.surrogate, kl_bound=0.0)
    gaps = toy_gaussian.climb(LEARNED_PROBLEM, never, 3, updates=6)
    assert (gaps == gaps[0]).all()
    kls, kl = [], toy_gaussian.gaussian_kl
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_gaussian, "gaussian_kl", lambda *args: kls.append(kl(*args)) or kls[-1])
        toy_gaussian.climb(LEARNED_PROBLEM, BOUND, 50, samples=32, updates=24)
    kls = torch.stack(kls).squeeze(-1)
    over = kls[:-1] >= toy_gaussian.KL_BOUND
    assert over.any()
    renewed = torch.arange(1, 24) % toy_gaussian.REUSE == 0
    assert (kls[1:] < kls[:-1])[over & ~renewed[:, None]].all()


def test_climb_that_is_lost_counts_as_diverged():
    away = Method("", partial(lambda batch, new, _: (batch.action * new.mean).sum(-1) * math.nan), 1)
    assert (toy_gaussian.climb(KNOWN_PROBLEM, away, 2, updates=3)[-1] == toy_gaussian.CEILING).all()


# --- record and figure


@pytest.fixture(scope="module")
def record():
    return toy_gaussian.measure(repetitions=3, batches=4, updates=64)


def test_record_holds_what_the_figure_shows(record, tmp_path):
    path = tmp_path / "toy_gaussian.json"
    path.write_text(json.dumps(record, allow_nan=False))
    picture, table = toy_figure.toy_gaussian_blocks(path, tmp_path)
    assert (tmp_path / picture.file).stat().st_size > 50_000
    assert "3 climbs (seed 0)" in picture.caption
    assert table.header[2:5] == ["gap after 64 updates", "diverged", "gap after 128 samples"]
    assert len(table.rows) == len(KNOWN) + len(LEARNED)
    fresh = record["known"]["score, fresh samples"]
    assert fresh["updates"] == list(range(0, 65, 8))
    assert fresh["samples"] == [16 * at for at in fresh["updates"]]
    assert record["known"]["score, reused"]["samples"] == [16 * at // 8 for at in fresh["updates"]]
    assert table.rows[0][4] == f"{fresh['median'][1]:.2g}"  # 128 samples after 8 updates
    assert table.rows[0][6] == table.rows[0][2].split(" ")[0]  # the step size of the climbs among the others


def test_gradients_of_a_step_size_are_comparable(record):
    assert list(record["last_median"]) == ["0.02", "0.1", "0.05"]
    assert all(set(of) == {method.label for method in KNOWN} for of in record["last_median"].values())


def test_file_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "toy_gaussian.json"
    for content in ("{", '{"known": {}}', "[]"):
        path.write_text(content)
        with pytest.raises(ValueError, match="no record of reproduce.py toy_gaussian"):
            toy_figure.toy_gaussian_blocks(path, tmp_path)


def test_recorded_numbers_are_of_these_methods():
    content = json.loads((REPOSITORY / "results/studies/toy_gaussian.json").read_text())
    assert list(content["known"]) == [method.label for method in KNOWN]
    assert list(content["learned"]) == [method.label for method in LEARNED]
    assert set(toy_figure.STYLES) == set(METHODS)
    last = content["last_median"]
    assert all(of["pathwise, reused"] < of["score, reused"] for of in last.values())
    assert all(of["pathwise, fresh samples"] < of["score, fresh samples"] for of in last.values())
