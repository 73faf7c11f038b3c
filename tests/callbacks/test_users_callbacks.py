"""The small callbacks in `callbacks/` work as their first lines say."""

import shutil

import pytest

from rpo_lightning.cli import RPOCLI
from tests.command_line import REPOSITORY, call, refused
from tests.test_algorithms import configure


@pytest.fixture
def with_callbacks(folder):
    """The working directory holds a copy of the repository's callbacks, as a user's would."""
    shutil.copytree(REPOSITORY / "callbacks", folder / "callbacks", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("driver", ["fit", "fabric"])
def test_print_return(driver, with_callbacks, capsys):
    call(driver, "--trainer.callbacks+=PrintReturn", "--trainer.callbacks.every=4")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["256 steps", "512 steps", "768 steps"]


@pytest.mark.parametrize("driver", ["fit", "fabric"])
def test_stop_when_solved(driver, with_callbacks):
    options = ["--config=tiny.yaml", "--trainer.callbacks+=StopWhenSolved"]
    for wanted, steps in ((-1e6, 256), (1e6, 768)):
        run = RPOCLI(
            driver, [*options, f"--trainer.callbacks.return_wanted={wanted}", f"--trainer.default_root_dir={steps}"]
        )
        run.run()
        assert run.model.env_steps == steps


@pytest.mark.parametrize("driver", ["fit", "fabric"])
def test_anneal_entropy(driver, with_callbacks):
    run = RPOCLI(driver, ["--config=tiny.yaml", "--trainer.callbacks+=AnnealEntropy", "--trainer.callbacks.final=0.1"])
    run.run()
    assert run.model.entropy_coef == pytest.approx(0.1)


@pytest.mark.parametrize("driver", ["fit", "fabric"])
def test_anneal_kl_target(driver, with_callbacks, capsys):
    configure(with_callbacks, "reppo")
    options = ["--trainer.callbacks+=AnnealKLTarget", "--trainer.callbacks.final=0.02"]
    run = RPOCLI(driver, ["--config=tiny.yaml", *options, "--trainer.max_steps=2"])
    run.run()
    assert run.model.kl_target == pytest.approx((0.1 * 0.02) ** 0.5)
    configure(with_callbacks, "rpo")
    assert "AnnealKLTarget moves `kl_target`" in refused(capsys, driver, "--config", "tiny.yaml", *options)
