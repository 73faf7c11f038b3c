"""A run stops at its budget, or at a part of it."""

from types import SimpleNamespace

import pytest

from rpo_lightning.callbacks import StopAtBudget
from rpo_lightning.cli import RPOCLI
from tests.command_line import RUN, call, differing


@pytest.mark.parametrize(("budget", "done"), [(768, 768), (700, 704)])
def test_the_run_stops_at_its_budget(budget, done, folder):
    cli = RPOCLI("fit", ["--config=tiny.yaml", f"--model.total_env_steps={budget}", "--trainer.max_steps=15"])
    cli.run()
    assert cli.model.env_steps == done
    trainer = SimpleNamespace(should_stop=False)
    StopAtBudget().on_train_start(trainer, SimpleNamespace(budget_reached=True))
    assert trainer.should_stop


@pytest.mark.parametrize("driver", ["fit", "fabric"])
def test_a_part_of_the_budget_leaves_the_schedule_alone_and_goes_on_to_the_whole(driver, folder):
    call(driver)
    part = ["--trainer.default_root_dir=part", "--ckpt_path=last"]
    stop = ["--trainer.callbacks+=StopAtBudget", "--trainer.callbacks.env_steps=300"]
    cli = RPOCLI(driver, ["--config=tiny.yaml", *part, *stop])
    cli.run()
    assert cli.model.env_steps == 320
    assert cli.model.learning_rate(5e-4) == pytest.approx(5e-4 * (1e-5 / 5e-4) ** (320 / 768))
    call(driver, *part)
    assert differing(RUN, "part") == []
