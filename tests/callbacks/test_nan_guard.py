"""What is not finite is named and kept, and a run that cannot learn ends."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rpo_lightning.algorithms import RPO
from rpo_lightning.algorithms.containment import look_through
from rpo_lightning.callbacks import NaNGuard
from rpo_lightning.cli import main
from rpo_lightning.rollout import Collector
from tests.command_line import LAST, call, differing
from tests.toy import PointMass


def window(module=None):
    """A healthy window of 4 steps in 3 environments."""
    module = module or RPO(3, 1, total_env_steps=1, hidden=[8])
    return Collector(PointMass(3), 4, 0).collect(module)


class Listener:
    """What the guard sees of a module."""

    def __init__(self, iteration=7):
        self.iteration = iteration
        self.skip_update = False


def guard(tmp_path, **options):
    guard = NaNGuard(**options)
    module = SimpleNamespace()
    guard.setup(SimpleNamespace(default_root_dir=tmp_path), module, "fit")
    assert (module.patience, module.tolerated) == (guard.patience, guard.tolerated)
    return guard


def show(watch, module, batch):
    """Let the guard see a window as the module does."""
    findings = look_through(batch)
    module.skip_update = findings.unusable(watch.tolerated)
    watch.on_window_checked(module, batch, findings)


@pytest.mark.parametrize("field", ["obs", "sample", "reward", "bonus", "next_value", "action_grad"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_guard_names_and_keeps_the_first_bad_value_and_skips_the_update(field, value, tmp_path, caplog):
    batch, module = window(), Listener()
    bad = getattr(batch, field).clone()
    bad[2, 1] = bad[3, 0] = value
    poisoned = replace(batch, **{field: bad})
    assert look_through(poisoned).broken == [field]
    show(guard(tmp_path), module, poisoned)
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


class Commanded(PointMass):
    """The toy with a constant and a command of its own in each environment; both count in the reward, and both change."""

    def __init__(self, num_envs, **options):
        self.parameters = torch.rand(num_envs, 2, generator=torch.Generator().manual_seed(1))
        self.target = torch.rand(num_envs, 1, generator=torch.Generator().manual_seed(2))
        super().__init__(num_envs, **options)

    def step(self, action):
        step = super().step(action)
        reward = step.reward * self.parameters.prod(-1) - (self.q - self.target).square().sum(-1)
        self.parameters += 0.1
        self.target += 0.1
        return step._replace(reward=reward)


def test_a_dump_has_the_constants_and_the_target_that_the_window_began_with(tmp_path):
    batch = Collector(Commanded(3), 4, 0).collect(RPO(3, 1, total_env_steps=1, hidden=[8]))
    bad = batch.reward.clone()
    bad[3, 2] = float("nan")
    show(guard(tmp_path), Listener(), replace(batch, reward=bad))
    dump = torch.load(tmp_path / "nan/iteration_7_rank_0.pt", weights_only=True)
    env = Commanded(1)
    env.parameters, env.target = dump["parameters"][None], dump["target"][None]
    env.set_state(*(part[None] for part in dump["start_state"]))
    for sample, reward in zip(dump["window"]["sample"][:3], dump["window"]["reward"], strict=False):
        torch.testing.assert_close(env.step(sample[None].tanh()).reward[0], reward)


def test_guard_names_the_earliest_of_several_quantities(tmp_path, caplog):
    batch = window()
    obs, reward = batch.obs.clone(), batch.reward.clone()
    obs[3, 0, 2] = reward[1, 2] = float("nan")
    show(guard(tmp_path), Listener(), replace(batch, obs=obs, reward=reward))
    assert "reward in environment 2 at step 1" in caplog.messages[0]


def test_guard_says_nothing_of_a_healthy_window(tmp_path, caplog):
    module = Listener()
    show(guard(tmp_path, patience=1), module, window())
    assert not module.skip_update
    assert not caplog.messages
    assert not list(tmp_path.iterdir())


def test_guard_reports_what_was_repaired_and_skips_only_when_there_is_much_of_it(tmp_path, caplog):
    batch = window()
    for count, skipped in ((1, False), (7, True)):
        module = Listener(iteration=count)
        repaired = torch.zeros(4, 3, dtype=torch.bool)
        repaired.view(-1)[:count] = True
        show(guard(tmp_path, tolerated=0.5), module, replace(batch, nonfinite_grad=repaired))
        assert module.skip_update == skipped
        assert "action_grad" in caplog.messages[-1]
        assert f"update {'skipped' if skipped else 'kept'}" in caplog.messages[-1]
    exploded = torch.zeros(4, 3, dtype=torch.bool)
    exploded[3, 2] = True
    show(guard(tmp_path, tolerated=0.5), Listener(), replace(batch, invalid=exploded))
    assert "state or reward in environment 2 at step 3" in caplog.messages[-1]


def test_only_the_first_findings_are_kept(tmp_path):
    batch = window()
    bad = replace(batch, reward=batch.reward * float("nan"))
    watch = guard(tmp_path, dumps=2)
    for index, each in enumerate((bad, batch, bad, bad)):
        show(watch, Listener(index), each)
    assert {path.name for path in (tmp_path / "nan").iterdir()} == {"iteration_0_rank_0.pt", "iteration_2_rank_0.pt"}


@pytest.mark.parametrize("patience", [2, 12])
def test_a_run_is_as_patient_as_its_guard(patience, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config=tiny.yaml", EXPLODING[0] % "true", "--model.total_env_steps=1280",
              "--trainer.callbacks+=NaNGuard", f"--trainer.callbacks.patience={patience}"])  # fmt: skip
    assert stop.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"rpo stopped: {patience} iterations in a row could not learn" in last
    assert (
        "the last one because of what is not finite: reward of the window. The dumps in runs/exploding/rpo/seed_0/nan hold"
        in last
    )


def test_a_window_that_was_repaired_too_much_stops_a_run_too(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        call("fit", "--data.env=tests.callbacks.test_nan_guard.Breaking")
    assert stop.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "5 iterations in a row could not learn" in last
    assert "what is not finite: state or reward in 12% of a window that was left out." in last


def test_one_monstrous_reward_does_not_train_the_whole_budget_on_nothing(folder, capsys):
    with pytest.raises(SystemExit) as end:
        call("fit", "--trainer.callbacks+=NaNGuard", "--model=PPO", "--data.env=tests.callbacks.test_nan_guard.Monstrous")
    assert end.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "ppo stopped: 5 iterations in a row could not learn" in line
    assert "what is not finite: the gradients of the update, from a window with next_value up to" in line
    assert " and reward up to 1e+30." in line


class Monstrous(PointMass):
    """Every reward is 1e30."""

    def step(self, action):
        return super().step(action)._replace(reward=torch.full((self.num_envs,), 1e30))


class Breaking(PointMass):
    """The state of one of eight environments breaks in every step."""

    def step(self, action):
        step = super().step(action)
        self.invalid = torch.arange(self.num_envs) == 0
        return step._replace(terminated=step.terminated | self.invalid)


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


EXPLODING = ("--data.env={class_path: tests.callbacks.test_nan_guard.Exploding, init_args: {forever: %s}}",)


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
