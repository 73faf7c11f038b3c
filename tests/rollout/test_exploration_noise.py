"""What explores: noise of one step beside that of the next."""

from __future__ import annotations

import torch
from torch import Tensor

from rpo_lightning.rollout import Collector
from tests.algorithms.drivers import make_rpo
from tests.toy import PointMass


def endless() -> PointMass:
    """Return points that never fail."""
    return PointMass(60, seed=3, limit=torch.inf)


def normalised_samples(collector: Collector, windows: int) -> Tensor:
    """Return the noise (H, N, A) that the policy's samples were made of."""
    batches = [collector.collect(make_rpo()) for _ in range(windows)]
    return torch.cat([(batch.sample - batch.mean) / batch.log_std.exp() for batch in batches])


def test_correlated_noise_stays_standard_normal_and_goes_on_from_window_to_window() -> None:
    collector = Collector(endless(), horizon=10, seed=1, noise_correlation=0.9)
    noise = normalised_samples(collector, 100)  # 1000 steps of 60 points
    assert abs(float(noise.mean())) < 0.06  # 60 000 samples count as 3000, of which 0.018 is the deviation
    assert abs(float(noise.std()) - 1.0) < 0.04
    for lag in (1, 5):
        within = (noise[lag:] * noise[:-lag]).mean()
        assert abs(float(within) - 0.9**lag) < 0.06
    across = noise[10::10] * noise[9:-1:10]  # of the last step of a window with the first of the next
    assert abs(float(across.mean()) - 0.9) < 0.1


def test_uncorrelated_noise_is_that_of_before_the_option() -> None:
    collectors = [Collector(endless(), horizon=10, seed=1, **given) for given in ({}, {"noise_correlation": 0.0})]
    first, second = (normalised_samples(collector, 1) for collector in collectors)
    assert torch.equal(first, second)
    torch.testing.assert_close(
        first, torch.randn(10, 60, 1, generator=torch.Generator().manual_seed(1)), rtol=1e-4, atol=1e-4
    )
    assert abs(float((first[1:] * first[:-1]).mean())) < 0.1


def test_correlated_noise_goes_on_after_a_resume() -> None:
    source, target = (Collector(endless(), horizon=4, seed=seed, noise_correlation=0.99) for seed in (1, 2))
    normalised_samples(source, 3)
    target.load_state_dict(source.state_dict())
    assert torch.equal(normalised_samples(source, 1), normalised_samples(target, 1))
