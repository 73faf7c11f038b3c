"""The KL coefficient is moved until the measured KL is the one wanted."""

from types import SimpleNamespace

import pytest
import torch

from rpo_lightning.callbacks import KLTuner
from tests.algorithms.drivers import make_rpo
from tests.command_line import LAST, RUN, call, events


def settle(tuner, first, iterations=300):
    """Run the tuner against a policy whose KL falls with the coefficient, kl = 0.1 / coefficient."""
    module = SimpleNamespace(kl_coef=torch.tensor(first))
    for index in range(iterations):
        tuner.on_train_batch_end(None, module, {"actor/kl": 0.1 / module.kl_coef.item()}, None, index)
    return 0.1 / module.kl_coef.item()


@pytest.mark.parametrize("first", [0.01, 100.0])
@pytest.mark.parametrize("target", [0.02, 0.5])
def test_kl_tuner_reaches_the_target_from_both_sides(first, target):
    assert settle(KLTuner(target=target), first) == pytest.approx(target, rel=1e-3)


def test_kl_tuner_is_bounded_and_ignores_windows_without_kl():
    module = SimpleNamespace(kl_coef=torch.tensor(1.0))
    tuner = KLTuner(target=0.02, lowest=0.5, highest=2.0)
    for outputs in ({}, {"actor/kl": float("nan")}):
        tuner.on_train_batch_end(None, module, outputs, None, 0)
    assert module.kl_coef == 1.0
    for kl, bound in ((1e9, 2.0), (0.0, 0.5)):
        for index in range(200):
            tuner.on_train_batch_end(None, module, {"actor/kl": kl}, None, index)
        assert module.kl_coef == bound
    with pytest.raises(ValueError, match="kl_coef"):
        tuner.setup(None, SimpleNamespace(), "fit")


def test_kl_tuner_is_off_by_default_and_on_with_a_line(folder):
    call("fit", "--trainer.default_root_dir=off")
    coefficient = [value for _, value in events("off")["actor/kl_coef"]]
    assert coefficient == [0.25] * 12
    call("fit", "--trainer.callbacks+=KLTuner")
    assert events(RUN)["actor/kl_coef"][-1][1] != 0.25
    assert torch.load(RUN / LAST)["state_dict"]["kl_coef"] != 0.25


def test_a_limit_that_hides_the_kl_from_what_holds_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"KLTuner holds the KL at 0.02, but kl_limit takes back what is above 0.03"):
        KLTuner(target=0.02).setup(None, make_rpo(kl_limit=0.03), "fit")
    KLTuner(target=0.02).setup(None, make_rpo(kl_limit=0.04), "fit")
    with pytest.raises(
        ValueError, match=r"lr_schedule kl holds the KL near 0.008, but kl_limit takes back what is above 0.01"
    ):
        make_rpo(kl_limit=0.01, lr_schedule="kl")
