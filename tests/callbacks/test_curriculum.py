"""Difficulties move by how episodes went."""

from types import SimpleNamespace

import pytest
import torch

from rpo_lightning.callbacks import Curriculum
from tests.command_line import LAST, RUN, call, differing, events, refused
from tests.toy import PointMass

OPTIONS = (
    "--data.env=tests.callbacks.test_curriculum.Windy",
    "--data.random_progress=true",
    "--trainer.callbacks+=Curriculum",
)
THRESHOLDS = ("--trainer.callbacks.up=-0.4", "--trainer.callbacks.down=-0.8")
WHERE = RUN.parent.parent.parent / "windy" / "rpo" / "seed_0"


class Windy(PointMass):
    """A point that is blown away, the more the more difficult it is."""

    name = "windy"

    def __init__(self, num_envs, **options):
        self.difficulty = torch.full((num_envs,), 0.5)
        super().__init__(num_envs, **options)

    def step(self, action):
        self.qd = self.qd + 0.05 * self.difficulty[:, None]
        return super().step(action)

    def state_dict(self):
        return {**super().state_dict(), "difficulty": self.difficulty}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.difficulty = state["difficulty"]


def window(returns, lengths, terminated, terms=None):
    shape = {name: torch.tensor(rows) for name, rows in (("episode_return", returns), ("episode_length", lengths))}
    terms = {name: torch.tensor(rows) for name, rows in (terms or {}).items()}
    return SimpleNamespace(**shape, terminated=torch.tensor(terminated), episode_terms=terms)


def after(callback, batch, difficulty):
    """Return the difficulties after a window, and what is logged."""
    env, logged = SimpleNamespace(difficulty=torch.tensor(difficulty)), {}
    trainer = SimpleNamespace(datamodule=SimpleNamespace(collector=SimpleNamespace(env=env)))
    callback.on_train_batch_end(trainer, SimpleNamespace(report=logged.update), {}, batch, 0)
    return env.difficulty.tolist(), logged


def test_episodes_that_went_well_make_it_harder_and_others_easier():
    nan = float("nan")
    # went well, badly, in between, fell after going well, unknown beginning, none ended; twice in one window, at the bounds
    first = [12.0, 4.0, 8.0, 12.0, nan, nan, 12.0, 12.0]
    fell = [False, False, False, True, True, False, False, False]
    batch = window([first, [nan] * 6 + [12.0, nan]], [[10.0] * 8] * 2, [fell, [False] * 8])
    batch.episode_length[1] = torch.where(batch.episode_return[1].isnan(), nan, 10.0)
    callback, begun = Curriculum(up=1.0, down=0.5, step=0.25), [0.5] * 6 + [0.25, 0.9]
    got, logged = after(callback, batch, begun)
    assert got == pytest.approx([0.75, 0.25, 0.5, 0.25, 0.5, 0.5, 0.75, 1.0])
    assert logged == {"curriculum/difficulty": pytest.approx(sum(begun) / 8)}  # with which the window was made
    assert after(callback, batch, got)[1] == {"curriculum/difficulty": pytest.approx(sum(got) / 8)}


def test_a_term_of_the_reward_can_be_what_counts():
    batch = window([[0.0, 0.0]], [[10.0, 10.0]], [[False, False]], {"velocity": [[12.0, 1.0]]})
    assert after(Curriculum(1.0, 0.5, "velocity"), batch, [0.5, 0.5])[0] == pytest.approx([0.6, 0.4])
    with pytest.raises(ValueError, match="no term 'speed'; terms: velocity"):
        after(Curriculum(1.0, 0.5, "speed"), batch, [0.5, 0.5])


@pytest.mark.parametrize("options", [{"up": 0.0, "down": 1.0}, {"up": 1.0, "down": 0.0, "step": 0.0}])
def test_thresholds_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="down <= up"):
        Curriculum(**options)


def test_both_drivers_move_alike_and_a_resumed_run_goes_on_exactly(folder, capsys):
    call("fit", *OPTIONS, *THRESHOLDS)
    logged = events(WHERE)["curriculum/difficulty"]
    assert len({round(value, 4) for _, value in logged}) > 4
    call("fabric", *OPTIONS, *THRESHOLDS, "--trainer.default_root_dir=fabric")
    assert differing(WHERE, "fabric") == []
    call("fit", *OPTIONS, *THRESHOLDS, "--trainer.default_root_dir=other", "--trainer.max_steps=6")
    call("fit", *OPTIONS, *THRESHOLDS, "--trainer.default_root_dir=other", "--ckpt_path=last")
    assert differing(WHERE, "other") == []
    one, other = (
        torch.load(run / LAST)["RolloutDataModule"]["ranks"][0]["env"]["difficulty"] for run in (WHERE, folder / "other")
    )
    assert torch.equal(one, other)
    call("fit", *OPTIONS[:2], "--trainer.default_root_dir=plain")
    assert differing(WHERE, "plain"), "the callback changed nothing"
    line = refused(capsys, "fit", "--config=tiny.yaml", OPTIONS[2], *THRESHOLDS)
    assert "point_mass" in line
    assert "difficulty" in line
