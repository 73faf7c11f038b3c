"""Evaluation measures whole episodes, and changes nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from rpo_lightning.algorithms import RPO
from rpo_lightning.callbacks import Evaluation, evaluate
from rpo_lightning.callbacks.evaluation import evaluate_each
from rpo_lightning.cli import RPOCLI, main
from tests.command_line import RUN, call, differing, events, refused
from tests.toy import PointMass


class Step(NamedTuple):
    obs: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_obs: torch.Tensor
    reward_terms: dict[str, torch.Tensor]


class Countdown:
    """Environment i ends every i + 1 steps and starts anew; reward 1 a step, 10 in every later episode."""

    max_episode_steps = 6
    device = torch.device("cpu")

    def __init__(self, num_envs, seed):
        self.index = torch.arange(num_envs)
        self.time = 0
        self.invalid = torch.zeros(num_envs, dtype=torch.bool)
        self.closed = 0

    def detach(self):
        return torch.zeros(len(self.index), 1)

    def close(self):
        self.closed += 1

    def step(self, action):
        self.time += 1
        reward = torch.where(self.time <= self.index + 1, 1.0, 10.0)
        ended = self.time % (self.index + 1) == 0
        obs = self.detach()
        terms = {"half": 0.5 * reward, "time": torch.full_like(reward, self.time)}
        return Step(obs, reward, ended & (self.index % 2 == 0), ended & (self.index % 2 == 1), obs, terms)


def test_evaluate_counts_one_full_episode_of_every_environment():
    module = SimpleNamespace(player=lambda num_envs, deterministic, generator: lambda obs: obs)
    result = evaluate(module, Countdown, episodes=5)
    # lengths 1..5; the first five episodes to finish would have been 1, 1, 2, 1, 3
    assert result == {"mean": 3.0, "std": pytest.approx(2**0.5), "episodes": 5, "length": 3.0, "broken": 0}


def test_the_terms_of_the_reward_are_summed_over_the_same_episodes():
    class Breaking(Countdown):
        """The episode of 5 steps breaks."""

        def step(self, action):
            step = super().step(action)
            self.invalid = (self.index == 4) & (self.time == 3)
            return step

    module = SimpleNamespace(player=lambda num_envs, deterministic, generator: lambda obs: obs)
    for env, half, time in ((Countdown, 1.5, (1 + 3 + 6 + 10 + 15) / 5), (Breaking, 1.25, (1 + 3 + 6 + 10) / 4)):
        ((_, terms),) = evaluate_each(module, env, [False], 5, 0)
        assert terms == pytest.approx({"half": half, "time": time})


def test_a_broken_episode_is_counted_and_no_part_of_the_figures():
    class Breaking(Countdown):
        """The episode of 4 steps meets something that is not finite, the one of 5 a reward that is not."""

        def step(self, action):
            step = super().step(action)
            self.invalid = (self.index == 3) & (self.time == 2)
            reward = step.reward.masked_fill((self.index == 4) & (self.time == 3), float("nan"))
            return step._replace(reward=reward, terminated=step.terminated | self.invalid)

    module = SimpleNamespace(player=lambda num_envs, deterministic, generator: lambda obs: obs)
    result = evaluate(module, Breaking, episodes=5)
    assert result == {"mean": 2.0, "std": pytest.approx((2 / 3) ** 0.5), "episodes": 5, "length": 2.0, "broken": 2}

    class Known(Breaking):
        """What is paid before an end that the simulator is known for counts: 2 of the episode of 4 steps, 3 of the one of 5."""

        may_break = True

        def step(self, action):
            step = super().step(action)
            return step._replace(reward=step.reward.nan_to_num(1.0))

    result = evaluate(module, Known, episodes=5)
    assert (result["mean"], result["length"], result["broken"]) == (pytest.approx(13 / 5), pytest.approx(13 / 5), 0)


def test_an_evaluation_builds_one_environment_resets_it_once_and_closes_it():
    envs = []

    class Watched(PointMass):
        def __init__(self, **options):
            self.resets = self.closed = 0
            super().__init__(**options)
            envs.append(self)

        def reset(self, mask=None):
            self.resets += mask is None
            return super().reset(mask)

        def close(self):
            self.closed += 1

    module = RPO(3, 1, total_env_steps=1, hidden=[8])
    module.make_env = Watched
    each = Evaluation(episodes=4)._measure(module)
    (env,) = envs
    assert (env.resets, env.closed) == (1, 1)
    for kind, deterministic in (("sampled", False), ("deterministic", True)):
        assert each[kind] == (evaluate(module, make_env, 4, deterministic), {})
    broken = SimpleNamespace(player=lambda num_envs, deterministic, generator: lambda obs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(broken, Watched, 4)
    assert envs[-1].closed == 1


def make_env(num_envs, seed):
    return PointMass(num_envs, seed=seed)


def test_evaluate_repeats_itself_and_tells_sampled_from_deterministic():
    module = RPO(3, 1, total_env_steps=1, hidden=[8])
    torch.manual_seed(0)
    first = evaluate(module, make_env, 16)
    torch.manual_seed(1)
    assert evaluate(module, make_env, 16) == first
    assert evaluate(module, make_env, 16, seed=5) != first
    assert evaluate(module, make_env, 16, deterministic=True) != first


def test_evaluation_changes_nothing_in_training(folder):
    call("fit")
    (folder / "tiny.yaml").write_text((folder / "tiny.yaml").read_text().split("  callbacks:")[0])
    call("fit", "--trainer.default_root_dir=without", "--without=Evaluation")
    assert "eval/return" in events(RUN)
    assert "eval/return" not in events("without")
    assert differing(RUN, "without") == []


def test_evaluation_starts_are_not_training_starts(folder):
    cli = RPOCLI("fit", ["--config", "tiny.yaml", "--seed_everything=7"])
    cli.datamodule.setup("fit")
    training = cli.datamodule.collector.env.get_state()[0]
    evaluation = cli.model.make_env(num_envs=8, seed=Evaluation().seed).get_state()[0]
    assert not torch.isin(evaluation, training).any()


def test_evaluation_keeps_the_pace_of_validation_and_ends_with_the_final_weights(folder):
    call("fit", "--trainer.check_val_every_n_epoch=2", "--model.total_env_steps=640")
    assert [step for step, _ in events(RUN)["eval/return"]] == [512, 640]
    cli = RPOCLI("fit", ["--config", "tiny.yaml", "--trainer.default_root_dir=b"])
    cli.run()
    # what a hydra job returns as its score
    assert "eval/return" in cli.trainer.callback_metrics


@pytest.mark.parametrize("command", ["fit", "fabric"])
def test_options_that_the_environment_has_not_are_refused_before_training(command, folder, capsys):
    evaluation = ("--trainer.callbacks=Evaluation", "--trainer.callbacks.env_options")
    line = refused(capsys, command, "--config=tiny.yaml", *evaluation, "{limits: 2.0}")
    assert "env_options of Evaluation: point_mass: unknown option 'limits', did you mean 'limit'? Options: " in line
    assert not Path("runs").exists()
    main([command, "--config=tiny.yaml", *evaluation, "{limit: 2.0}", "--model.total_env_steps=256"])
    assert events(RUN)["eval/return"]


def test_terms_of_the_reward_are_logged_beside_the_returns_that_they_add_up_to(folder):
    call("fit", "--data.env=tests.toy.HiddenVelocity", "--trainer.callbacks=Evaluation", "--trainer.callbacks.episodes=4")
    (run,) = Path("runs").glob("hidden_velocity/*/*")
    seen = {name: [value for _, value in points] for name, points in events(run).items()}
    for total, terms in (
        ("train/return", ("reward/effort", "reward/rest")),
        ("eval/return", ("eval/reward/effort", "eval/reward/rest")),
        ("eval/return_deterministic", ("eval/reward/effort_deterministic", "eval/reward/rest_deterministic")),
    ):
        added = [sum(parts) for parts in zip(*(seen[name] for name in terms), strict=True)]
        assert added == pytest.approx(seen[total], rel=1e-4)


def test_options_are_tried_on_one_environment_before_training():
    made = []

    class Module:
        def make_env(self, num_envs, seed, **options):
            made.append((num_envs, options))

    Evaluation(episodes=64, env_options={"episode_length": 5}).setup(None, Module(), "fit")
    assert made == [(1, {"episode_length": 5})]
