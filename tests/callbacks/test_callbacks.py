"""Each callback by itself on a stand-in for the module, and in a run where the run matters."""

from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from rpo_lightning.algorithms import RPO
from rpo_lightning.callbacks import Evaluation, KLTuner, LastAndBest, NaNGuard, Progress, StopAtBudget, evaluate
from rpo_lightning.callbacks.nan_guard import NonFiniteError
from rpo_lightning.cli import RPOCLI, main
from rpo_lightning.rollout import Collector
from tests.command_line import LAST, RUN, call, differing, events
from tests.toy import PointMass

# KLTuner


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


# EffectiveSamples


def test_effective_samples_of_every_epoch(folder):
    call("fit", "--trainer.callbacks+=EffectiveSamples", "--model.actor_lr=0.05", "--model.kl_coef=0")
    logged = events(RUN)
    names = sorted(name for name in logged if name.startswith(("effective_samples/", "max_ratio/")))
    assert names == [f"{kind}/epoch_{epoch}" for kind in ("effective_samples", "max_ratio") for epoch in (1, 2, 3)]
    assert {value for _, value in logged["effective_samples/epoch_1"]} == {1.0}
    assert {value for _, value in logged["max_ratio/epoch_1"]} == {1.0}
    assert min(value for _, value in logged["effective_samples/epoch_3"]) < 1.0
    assert [step for step, _ in logged["max_ratio/epoch_3"]] == list(range(64, 769, 64))
    mean = sum(logged[f"effective_samples/epoch_{epoch}"][5][1] for epoch in (2, 3)) / 2
    assert logged["actor/effective_samples"][5][1] == pytest.approx(mean)


# Evaluation


class Step(NamedTuple):
    obs: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_obs: torch.Tensor


class Countdown:
    """Environment i ends every i + 1 steps and starts anew; reward 1 a step, 10 in every later episode."""

    max_episode_steps = 6
    device = torch.device("cpu")

    def __init__(self, num_envs, seed):
        self.index = torch.arange(num_envs)
        self.time = 0

    def reset(self):
        return torch.zeros(len(self.index), 1)

    def step(self, action):
        self.time += 1
        reward = torch.where(self.time <= self.index + 1, 1.0, 10.0)
        ended = self.time % (self.index + 1) == 0
        obs = self.reset()
        return Step(obs, reward, ended & (self.index % 2 == 0), ended & (self.index % 2 == 1), obs)


def test_evaluate_counts_one_full_episode_of_every_environment():
    module = SimpleNamespace(act=lambda obs, deterministic, generator: obs)
    result = evaluate(module, Countdown, episodes=5)
    # lengths 1..5; the first five episodes to finish would have been 1, 1, 2, 1, 3
    assert result == {"mean": 3.0, "std": pytest.approx(2**0.5), "episodes": 5, "length": 3.0}


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


# NaNGuard


def window(module=None):
    """A healthy window of 4 steps in 3 environments."""
    module = module or RPO(3, 1, total_env_steps=1, hidden=[8])
    return Collector(PointMass(3), 4, 0).collect(module)


class Listener:
    """What the guard sees of a module."""

    device = torch.device("cpu")

    def __init__(self, iteration=7):
        self.iteration = iteration
        self.skip_update = False


def guard(tmp_path, **options):
    guard = NaNGuard(**options)
    guard.setup(SimpleNamespace(default_root_dir=tmp_path), None, "fit")
    return guard


@pytest.mark.parametrize("field", ["obs", "sample", "reward", "bonus", "next_value", "action_grad"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_guard_names_and_keeps_the_first_bad_value_and_skips_the_update(field, value, tmp_path, caplog):
    batch, module = window(), Listener()
    bad = getattr(batch, field).clone()
    bad[2, 1] = bad[3, 0] = value
    guard(tmp_path).on_rollout_end(module, replace(batch, **{field: bad}))
    assert module.skip_update
    (line,) = caplog.messages
    for words in (f"Non-finite {field} in environment 1 at step 2 of iteration 7", "2 environments", "skipped"):
        assert words in line
    dump = torch.load(tmp_path / "nan/iteration_7_rank_0.pt", weights_only=True)
    assert (dump["env"], dump["step"], dump["quantity"]) == (1, 2, field)
    assert torch.equal(dump["window"]["sample"].nan_to_num(9.0), replace(batch, **{field: bad}).sample[:, 1].nan_to_num(9.0))
    # the start state and the actions replay the window
    env = PointMass(1)
    q, qd, progress = dump["start_state"]
    env.set_state(q[None], qd[None], progress[None])
    for t in range(2):
        torch.testing.assert_close(env.step(batch.sample[t, 1:2].tanh()).reward[0], batch.reward[t, 1])


def test_guard_names_the_earliest_of_several_quantities(tmp_path, caplog):
    batch = window()
    obs, reward = batch.obs.clone(), batch.reward.clone()
    obs[3, 0, 2] = reward[1, 2] = float("nan")
    guard(tmp_path).on_rollout_end(Listener(), replace(batch, obs=obs, reward=reward))
    assert "reward in environment 2 at step 1" in caplog.messages[0]


def test_guard_says_nothing_of_a_healthy_window(tmp_path, caplog):
    module = Listener()
    guard(tmp_path, patience=1).on_rollout_end(module, window())
    assert not module.skip_update
    assert not caplog.messages
    assert not list(tmp_path.iterdir())


def test_guard_reports_what_was_repaired_and_skips_only_when_there_is_much_of_it(tmp_path, caplog):
    batch = window()
    for count, skipped in ((1, False), (7, True)):
        module = Listener(iteration=count)
        repaired = torch.zeros(4, 3, dtype=torch.bool)
        repaired.view(-1)[:count] = True
        guard(tmp_path, tolerated=0.5).on_rollout_end(module, replace(batch, nonfinite_grad=repaired))
        assert module.skip_update == skipped
        assert "action_grad" in caplog.messages[-1]
    exploded = torch.zeros(4, 3, dtype=torch.bool)
    exploded[3, 2] = True
    guard(tmp_path, tolerated=0.5).on_rollout_end(Listener(), replace(batch, invalid=exploded))
    assert "state in environment 2 at step 3" in caplog.messages[-1]


def test_guard_stops_after_so_many_in_a_row(tmp_path):
    batch = window()
    bad = replace(batch, reward=batch.reward * float("nan"))
    watch = guard(tmp_path, patience=3, dumps=2)
    for index, each in enumerate((bad, bad, batch, bad, bad)):
        watch.on_rollout_end(Listener(iteration=index), each)
    restored = guard(tmp_path, patience=3)
    restored.load_state_dict(watch.state_dict())
    with pytest.raises(NonFiniteError, match="3 windows in a row"):
        restored.on_rollout_end(Listener(iteration=9), bad)
    assert {path.name for path in (tmp_path / "nan").iterdir()} == {
        "iteration_0_rank_0.pt", "iteration_1_rank_0.pt", "iteration_9_rank_0.pt"}  # fmt: skip


class Exploding(PointMass):
    """The toy, whose reward is no number at step 16, the first of the third window, or from then on."""

    name = "exploding"

    def __init__(self, *args, forever=False, **options):
        super().__init__(*args, **options)
        self.forever = forever
        self.steps = 0

    def step(self, action):
        step = super().step(action)
        bad = self.steps >= 16 if self.forever else self.steps == 16
        self.steps += 1
        return step._replace(reward=torch.where(torch.arange(self.num_envs) == 5, torch.nan, step.reward)) if bad else step


EXPLODING = ("--data.env={class_path: tests.callbacks.test_callbacks.Exploding, init_args: {forever: %s}}",)


def test_a_skipped_window_changes_no_weight_and_training_goes_on(folder, caplog):
    def weights(folder_name, steps):
        options = (f"--trainer.default_root_dir={folder_name}", f"--trainer.max_steps={steps}")
        call("fit", EXPLODING[0] % "false", "--trainer.callbacks+=NaNGuard", *options)

    for name, steps in (("two", 2), ("three", 3), ("four", 4)):
        weights(name, steps)
    assert "reward in environment 5 at step 0 of iteration 2" in caplog.messages[0]
    assert (folder / "three/nan/iteration_2_rank_0.pt").exists()
    assert differing("two", "three") == []
    assert differing("three", "four")
    values = [value for name in torch.load("four" / LAST)["state_dict"].values() for value in name.flatten()]
    assert all(value.isfinite() for value in values)


def test_guard_ends_a_hopeless_run_with_one_line(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config=tiny.yaml", EXPLODING[0] % "true", "--trainer.callbacks+=NaNGuard",
              "--trainer.callbacks.patience=2"])  # fmt: skip
    assert stop.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 windows in a row" in last
    assert "nan" in last


# StopAtBudget, LastAndBest, Progress


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


class Writer:
    """As much of a driver as LastAndBest needs; a checkpoint holds its number."""

    is_global_zero = True

    def __init__(self, folder):
        self.default_root_dir = str(folder)
        self.number = 0

    def save_checkpoint(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(self.number))
        if self.number == 99:
            raise KeyboardInterrupt


def test_last_and_best(tmp_path):
    keeper, writer = LastAndBest(every_n_iterations=2), Writer(tmp_path)
    module = SimpleNamespace(iteration=0)

    def files():
        return [(tmp_path / f"checkpoints/{name}.ckpt").read_text() for name in ("last", "best")]

    for writer.number, value in ((1, -5.0), (2, 3.0), (3, 1.0)):
        keeper.on_evaluation_end(module, {"sampled": {"mean": value}})
        keeper.on_train_epoch_end(writer, module)
    assert files() == ["3", "2"]
    writer.number, module.iteration = 4, 3
    keeper.on_train_batch_end(writer, module, None, None, 0)
    assert files() == ["3", "2"]
    module.iteration = 4
    keeper.on_train_batch_end(writer, module, None, None, 0)
    assert files() == ["4", "2"]
    # a resumed run knows the best of before
    resumed = LastAndBest()
    resumed.load_state_dict(keeper.state_dict())
    for writer.number, value, expected in ((5, 2.0, ["4", "2"]), (6, 4.0, ["6", "6"])):
        resumed.on_evaluation_end(module, {"sampled": {"mean": value}})
        resumed.on_train_end(writer, module)
        assert files() == expected
    writer.number = 99
    with pytest.raises(KeyboardInterrupt):
        resumed.on_train_epoch_end(writer, module)
    assert files() == ["6", "6"], "an interrupted write must leave the old file"
    with pytest.raises(ValueError, match="return_deterministic"):
        LastAndBest(monitor="eval/loss")


def test_progress_line_shows_steps_speed_times_returns_and_time_left(folder, capsys):
    call("fit", "--trainer.callbacks+=Progress", "--trainer.callbacks.every_s=0")
    lines = capsys.readouterr().err.splitlines()[2:-2]  # between start and end
    assert len(lines) == 12
    for words in ("rpo 640/768 steps", "steps/s", "rollout 0.", "update 0.", "return ", "eval ", "left"):
        assert words in lines[9]
    call("fit", "--trainer.default_root_dir=b", "--trainer.enable_progress_bar=false")
    assert capsys.readouterr().err == ""


def test_progress_bar_counts_environment_steps(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar, module = Progress(), SimpleNamespace(env_steps=64, stop_at=640, name="rpo", budget_reached=False)
    bar.setup(SimpleNamespace(is_global_zero=True), module, "fit")
    bar.on_train_start(None, module)
    module.env_steps = 128
    bar.on_evaluation_end(module, {"sampled": {"mean": 12.5}})
    bar.on_train_batch_end(None, module, {"time/rollout": 0.5, "time/update": 1.5, "train/return": 3.0}, None, 0)
    bar.on_train_end(None, module)
    shown = capsys.readouterr().err
    for words in ("rpo", "128/640", "rollout 0.50s, update 1.50s", "return 3", "eval 12.5"):
        assert words in shown
    other = Progress()
    other.setup(SimpleNamespace(is_global_zero=False), module, "fit")
    other.on_train_start(None, module)
    other.on_train_batch_end(None, module, {}, None, 0)
    assert capsys.readouterr().err == ""
