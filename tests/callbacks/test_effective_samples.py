"""What every epoch left out is logged apart."""

import pytest

from tests.command_line import RUN, call, events


def test_effective_samples_of_every_epoch(folder):
    call("fit", "--trainer.callbacks+=EffectiveSamples", "--model.actor_lr=0.05", "--model.kl_coef=0")
    logged = events(RUN)
    names = sorted(name for name in logged if "_epoch_" in name)
    assert names == [f"actor/{kind}_epoch_{epoch}" for kind in ("effective_samples", "max_ratio") for epoch in (1, 2, 3)]
    assert {value for _, value in logged["actor/effective_samples_epoch_1"]} == {1.0}
    assert {value for _, value in logged["actor/max_ratio_epoch_1"]} == {1.0}
    assert min(value for _, value in logged["actor/effective_samples_epoch_3"]) < 1.0
    assert [step for step, _ in logged["actor/max_ratio_epoch_3"]] == list(range(64, 769, 64))
    mean = sum(logged[f"actor/effective_samples_epoch_{epoch}"][5][1] for epoch in (2, 3)) / 2
    assert logged["actor/effective_samples"][5][1] == pytest.approx(mean)
