"""Each callback by itself on a stand-in for the module, and in a run where the run matters."""

import copy
import json
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
        return Step(obs, reward, ended & (self.index % 2 == 0), ended & (self.index % 2 == 1), obs)


def test_evaluate_counts_one_full_episode_of_every_environment():
    module = SimpleNamespace(player=lambda num_envs, deterministic, generator: lambda obs: obs)
    result = evaluate(module, Countdown, episodes=5)
    # lengths 1..5; the first five episodes to finish would have been 1, 1, 2, 1, 3
    assert result == {"mean": 3.0, "std": pytest.approx(2**0.5), "episodes": 5, "length": 3.0, "broken": 0}


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
        assert each[kind] == evaluate(module, make_env, 4, deterministic)
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


# NaNGuard


def window(module=None):
    """A healthy window of 4 steps in 3 environments."""
    module = module or RPO(3, 1, total_env_steps=1, hidden=[8])
    return Collector(PointMass(3), 4, 0).collect(module)


class Listener:
    """What the guard sees of a module."""

    device = torch.device("cpu")

    def __init__(self, iteration=7, refused_in_a_row=0):
        self.iteration = iteration
        self.refused_in_a_row = refused_in_a_row
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
    assert "state or reward in environment 2 at step 3" in caplog.messages[-1]


def test_guard_stops_after_so_many_in_a_row(tmp_path):
    batch = window()
    bad = replace(batch, reward=batch.reward * float("nan"))
    watch = guard(tmp_path, patience=3, dumps=2)
    in_a_row = 0
    for index, each in enumerate((bad, bad, batch, bad, bad)):
        module = Listener(index, in_a_row)
        watch.on_rollout_end(module, each)
        in_a_row = in_a_row + 1 if module.skip_update else 0
    assert not watch.state_dict()
    restored = guard(tmp_path, patience=3)
    # a sound window of a continued run is learned from, whatever was before it
    restored.on_rollout_end(Listener(8, 5), batch)
    with pytest.raises(NonFiniteError, match="3 iterations in a row were not finite, the last one in: reward"):
        restored.on_rollout_end(Listener(9, in_a_row), bad)
    assert {path.name for path in (tmp_path / "nan").iterdir()} == {
        "iteration_0_rank_0.pt", "iteration_1_rank_0.pt", "iteration_9_rank_0.pt"}  # fmt: skip


def test_guard_counts_refused_updates_and_names_what_was_large(tmp_path):
    batch = window()
    watch = guard(tmp_path, patience=3)
    large = replace(batch, reward=batch.reward * 1e30)
    for index, (each, in_a_row) in enumerate([(large, 1), (large, 2), (batch, 0), (batch, 1), (batch, 2)]):
        module = Listener(index, max(in_a_row - 1, 0))
        watch.on_rollout_end(module, each)
        assert not module.skip_update
        watch.on_train_batch_end(None, Listener(index + 1, in_a_row), None, each, index)
    with pytest.raises(
        NonFiniteError, match=r"3 iterations in a row .*gradients of the update, from a window with reward up to"
    ):
        watch.on_train_batch_end(None, Listener(6, 3), None, large, 5)
    assert not list(tmp_path.iterdir())


def test_one_monstrous_reward_does_not_train_the_whole_budget_on_nothing(folder, capsys):
    with pytest.raises(SystemExit) as end:
        call("fit", "--trainer.callbacks+=NaNGuard", "--model=PPO", "--data.env=tests.callbacks.test_callbacks.Monstrous")
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "NaNGuard stopped the run" in line
    assert "reward" in line


class Monstrous(PointMass):
    """Every reward is 1e30."""

    def step(self, action):
        return super().step(action)._replace(reward=torch.full((self.num_envs,), 1e30))


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
    assert "2 iterations in a row" in last
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


@pytest.fixture
def files(tmp_path):
    return lambda: [(tmp_path / f"checkpoints/{name}.ckpt").read_text() for name in ("last", "best")]


def sound():
    """A module as LastAndBest sees it."""
    module = torch.nn.Linear(1, 1)
    module.iteration, module.env_steps, module.device = 0, 640, torch.device("cpu")
    return module


def evaluated(value, broken=0):
    return {"sampled": {"mean": value, "broken": broken}}


def test_last_and_best(tmp_path, files):
    keeper, writer = LastAndBest(every_n_iterations=2), Writer(tmp_path)
    module = sound()

    for writer.number, value in ((1, -5.0), (2, 3.0), (3, 1.0)):
        keeper.on_evaluation_end(module, evaluated(value))
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
        resumed.on_evaluation_end(module, evaluated(value))
        resumed.on_train_end(writer, module)
        assert files() == expected
    writer.number = 99
    with pytest.raises(KeyboardInterrupt):
        resumed.on_train_epoch_end(writer, module)
    assert files() == ["6", "6"], "an interrupted write must leave the old file"
    with pytest.raises(ValueError, match="return_deterministic"):
        LastAndBest(monitor="eval/loss")
    # a broken episode may have missed what costs most
    writer.number = 7
    resumed.on_evaluation_end(module, evaluated(100.0, broken=1))
    resumed.on_train_epoch_end(writer, module)
    assert files() == ["7", "6"]


def test_best_is_never_older_than_what_last_knows_of(tmp_path, files, monkeypatch):
    keeper, writer, module = LastAndBest(), Writer(tmp_path), sound()
    keeper.on_evaluation_end(module, evaluated(1.0))
    keeper.on_train_epoch_end(writer, module)
    known = keeper.state_dict()
    keeper.on_evaluation_end(module, evaluated(2.0))
    writer.number = 1

    def kill(*paths):
        raise SystemExit("the process is killed")

    # before and after the moment in which best.ckpt is moved to its place
    for function, kept in (("shutil.copyfile", ["0", "0"]), ("pathlib.Path.replace", ["0", "1"])):
        with monkeypatch.context() as patched:
            patched.setattr(function, kill)
            with pytest.raises(SystemExit):
                keeper.on_train_epoch_end(writer, module)
        assert files() == kept
    resumed = LastAndBest()
    resumed.load_state_dict(known)
    resumed.on_evaluation_end(module, evaluated(2.0))
    resumed.on_train_epoch_end(writer, module)
    assert files() == ["1", "1"]


def test_a_checkpoint_by_the_clock_beside_the_one_by_epochs(tmp_path, monkeypatch):
    keeper, writer, module = LastAndBest(every_minutes=2.0), Writer(tmp_path), sound()
    now = [0.0]
    monkeypatch.setattr("rpo_lightning.callbacks.checkpoint.time.monotonic", lambda: now[0])
    keeper.on_train_start(writer, module)
    last = tmp_path / "checkpoints/last.ckpt"
    for now[0], written in ((119.0, False), (121.0, True), (239.0, False), (242.0, True)):
        keeper.on_train_batch_end(writer, module, None, None, 0)
        assert last.exists() == written
        last.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="every_minutes"):
        LastAndBest(every_minutes=0)


def test_weights_that_are_not_finite_do_not_replace_sound_ones(tmp_path, capsys):
    keeper, writer, module = LastAndBest(), Writer(tmp_path), sound()
    keeper.on_train_epoch_end(writer, module)
    module.weight.data.fill_(float("inf"))
    for writer.number in (1, 2):
        keeper.on_train_epoch_end(writer, module)
    assert (tmp_path / "checkpoints/last.ckpt").read_text() == "0"
    (line,) = capsys.readouterr().err.splitlines()
    assert "not finite after 640 steps" in line
    # as a mask may be
    module.register_buffer("mask", torch.tensor(float("-inf")))
    module.weight.data.zero_()
    keeper.on_train_epoch_end(writer, module)
    assert (tmp_path / "checkpoints/last.ckpt").read_text() == "2"


@pytest.mark.parametrize("averaged_first", [True, False])
def test_averaged_weights_are_those_of_the_summary_and_of_the_policy(averaged_first, folder, capsys):
    average = ["lightning.pytorch.callbacks.EMAWeightAveraging", "--trainer.callbacks.decay=0.5"]
    evaluation = ["Evaluation", "--trainer.callbacks.episodes=4"]
    first, second = (average, evaluation) if averaged_first else (evaluation, average)
    call("fit", "--trainer.callbacks", *first, "--trainer.callbacks+", *second)
    summary = json.loads((RUN / "summary.json").read_text())["eval"]
    capsys.readouterr()
    main(["validate", "--ckpt_path", str(RUN / "policy.pt")])
    assert json.loads(capsys.readouterr().out) == summary


def test_a_copy_of_the_module_copies_no_simulator(folder):
    cli = RPOCLI("fit", ["--config", "tiny.yaml"])
    cli.datamodule.setup("fit")
    assert cli.model.make_env is not None
    copied = copy.deepcopy(cli.model)
    assert copied.make_env is None
    assert all(torch.equal(*pair) for pair in zip(copied.parameters(), cli.model.parameters(), strict=True))


def test_progress_line_shows_steps_speed_times_returns_and_time_left(folder, capsys):
    call("fit", "--trainer.callbacks+=Progress", "--trainer.callbacks.every_s=0")
    lines = capsys.readouterr().err.splitlines()[2:-2]  # between start and end
    assert len(lines) == 12
    for words in ("rpo 640/768 steps", "steps/s", "rollout 0.", "update 0.", "return ", "eval ", "left"):
        assert words in lines[9]
    call("fit", "--trainer.default_root_dir=b", "--trainer.enable_progress_bar=false")
    assert len(capsys.readouterr().err.splitlines()) == 4  # two at the start and two at the end


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
