"""The data module by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rpo_lightning.algorithms import RPO
from rpo_lightning.rollout import Collector, RolloutDataModule
from rpo_lightning.seeding import run_seeds
from rpo_lightning.sim import kernels
from tests.algorithms.drivers import SMALL, make_algorithm, make_data, make_rpo, run_fabric
from tests.toy import PointMass


def test_dimensions_and_name_are_known_without_a_simulator() -> None:
    data = make_data()
    assert (data.obs_dim, data.action_dim, data.env_name) == (3, 1, "point_mass")
    assert data.collector is None


@pytest.mark.parametrize("name", ["num_envs", "horizon", "iterations_per_epoch"])
@pytest.mark.parametrize("value", [0, -5, 2.5, None])
def test_a_count_below_one_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"data.{name} must be a whole number of at least 1, not {value}"):
        make_data(**{name: value})


def test_training_environments_take_number_and_seed() -> None:
    data = make_data(num_envs=8, seed=5)
    module = make_rpo()
    data.attach(module).setup("fit")
    assert torch.equal(data.collector.env.q, PointMass(8, seed=run_seeds(5, 0).env).q)
    loader = data.train_dataloader()
    assert len(loader) == len(list(loader)) == 4
    assert data.collector.windows == 4


def test_setup_keeps_a_running_simulator() -> None:
    data = make_data()
    data.attach(make_rpo()).setup("fit")
    collector = data.collector
    data.setup("fit")
    assert data.collector is collector


def test_evaluation_needs_no_training_simulator_and_makes_its_own() -> None:
    data, module = make_data(), make_rpo()
    data.attach(module).setup("validate")
    assert data.collector is None
    env = module.make_env(num_envs=3, seed=1, episode_length=7)
    assert (env.num_envs, env.max_episode_steps) == (3, 7)


def test_collecting_before_setup_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"call attach\(module\) and setup\('fit'\)"):
        make_data().train_dataloader()


def test_state_loaded_before_setup_waits_for_it() -> None:
    source, target = make_data(), make_data(seed=9)
    source.attach(make_rpo()).setup("fit")
    next(iter(source.train_dataloader()))
    target.load_state_dict(source.state_dict())
    target.attach(make_rpo()).setup("fit")
    assert target.collector.windows == 1
    assert torch.equal(target.collector.env.q, source.collector.env.q)


def test_random_progress_is_passed_on_and_yields_to_a_loaded_state() -> None:
    plain, source, target = make_data(), make_data(random_progress=True), make_data(random_progress=True, seed=9)
    for data in (plain, source):
        data.attach(make_rpo()).setup("fit")
    assert not plain.collector.env.progress.any()
    assert source.collector.env.progress.any()
    next(iter(source.train_dataloader()))
    target.load_state_dict(source.state_dict())
    target.attach(make_rpo()).setup("fit")
    assert torch.equal(target.collector.env.progress, source.collector.env.progress)
    first, second = (next(iter(data.train_dataloader())) for data in (source, target))
    assert torch.equal(first.episode_return.nan_to_num(-9), second.episode_return.nan_to_num(-9))
    assert torch.equal(first.episode_length.nan_to_num(-9), second.episode_length.nan_to_num(-9))


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_correlation_out_of_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"data.noise_correlation must be at least 0 and below 1, not {value}"):
        make_data(noise_correlation=value)


def test_the_correlation_of_the_noise_is_passed_on() -> None:
    data = make_data(noise_correlation=0.7).attach(make_rpo())
    data.setup("fit")
    assert data.collector.noise_correlation == 0.7


def test_options_of_training_that_change_what_is_observed_are_refused() -> None:
    data = RolloutDataModule("cartpole", num_envs=4, training={"history": 2})
    with pytest.raises(ValueError, match=r"data.training \(history\) makes obs_dim 10 instead of 5: give what changes"):
        data.attach(RPO(data.obs_dim, data.action_dim, 1000, hidden=(8,))).setup("fit")
    randomized = {"randomize": {"mass": {"scale": [0.8, 1.25]}}, "observe_parameters": True}
    data = RolloutDataModule("cartpole", num_envs=4, training=randomized)
    with pytest.raises(ValueError, match="makes privileged_dim"):
        data.attach(RPO(data.obs_dim, data.action_dim, 1000, hidden=(8,))).setup("fit")


def test_a_class_that_says_another_width_than_its_environments_have_is_named() -> None:
    class Wrong(PointMass):
        @classmethod
        def observation_width(cls, options: dict[str, Any]) -> int:
            """Say one more than there are."""
            return cls.obs_dim + 1

    data = RolloutDataModule(Wrong, num_envs=8, horizon=8)
    with pytest.raises(ValueError, match="its class says that obs_dim is 4, but its environments have 3: mend"):
        data.attach(RPO(4, data.action_dim, 1000, hidden=(8,))).setup("fit")


def test_options_of_training_are_not_those_of_evaluations() -> None:
    env = {"name": "cartpole", "init_args": {"episode_length": 30, "stochastic_init": False}}
    data = RolloutDataModule(env, num_envs=4, horizon=5, iterations_per_epoch=1, training={"episode_length": 7})
    data.attach(RPO(data.obs_dim, data.action_dim, 1000, hidden=(8,))).setup("fit")
    assert data.collector.env.max_episode_steps == 7
    assert data.collector.env.options["stochastic_init"] is False
    assert data.make_env(2, seed=1).max_episode_steps == 30


@pytest.mark.parametrize("env", [{"init_args": {}}, {"class_path": "x", "option": 1}])
def test_a_malformed_environment_is_named(env: dict) -> None:
    with pytest.raises(ValueError, match=r"data\.env: expected 'name' or 'class_path' and 'init_args', got"):
        _ = RolloutDataModule(env).obs_dim


def test_environments_are_found_by_name_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    import rpo_lightning

    def make(name: str, **options: object) -> dict:
        return {"name": name, **options}

    monkeypatch.setattr(rpo_lightning, "make", make)
    data = RolloutDataModule({"class_path": "ant", "init_args": {"episode_length": 9, "threads": 1}})
    data.attach(make_rpo())
    made = data.make_env(4, 2, episode_length=5)
    assert made == {
        "name": "ant",
        "num_envs": 4,
        "seed": 2,
        "device": torch.device("cpu"),
        "episode_length": 5,
        "threads": 1,
    }


def test_a_second_fit_goes_on_with_new_environments_in_the_same_state() -> None:
    class Closing(PointMass):
        """A point that cannot move once closed."""

        closed = False

        def step(self, action: torch.Tensor) -> Any:
            assert not self.closed
            return super().step(action)

        def close(self) -> None:
            self.closed = True

    data, module = make_data(4), make_rpo()
    data.env = Closing
    run_fabric(module, data)
    closed = data.collector.env
    assert closed.closed
    data.attach(module).setup("fit")
    assert data.collector.env is not closed
    assert torch.equal(data.collector.env.q, closed.q)
    assert torch.equal(data.collector.env.progress, closed.progress)
    assert data.collector.windows == 4
    run_fabric(module, data, epochs=2)
    assert module.iteration == 8


def test_changed_options_of_the_data_are_found_on_resume() -> None:
    source, target = make_data(4), make_data(3, horizon=4, noise_correlation=0.5, training={"episode_length": 9})
    target.env = {"class_path": "tests.toy.PointMass", "init_args": {"limit": 1.2}}
    source.attach(make_rpo()).setup("fit")
    module = make_rpo()
    target.attach(module).setup("fit")
    target.load_state_dict(source.state_dict())
    assert module.data_changes == {
        "data.horizon": (8, 4),
        "data.iterations_per_epoch": (4, 3),
        "data.noise_correlation": (0.0, 0.5),
        "data.training": ({}, {"episode_length": "9"}),
        "data.env.init_args": ({}, {"limit": "1.2"}),
    }


def test_a_window_larger_than_the_replay_buffer_is_refused_before_the_first() -> None:
    data = make_data(1)
    with pytest.raises(ValueError, match=r"replay_size is 10, fewer than the 8 x 8 steps of a window"):
        data.attach(make_algorithm("sac", replay_size=10)).setup("fit")


def test_episodes_that_begin_anew_on_resume_are_spread_again() -> None:
    class Foreign(PointMass):
        """A simulator that cannot be restored."""

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.reset()

    def collector(seed: int) -> Collector:
        return Collector(Foreign(16, seed=seed, episode_length=50), 3, seed=seed, random_progress=True)

    one, other = collector(1), collector(2)
    one.collect(make_rpo())
    other.load_state_dict(one.state_dict())
    assert len(other.env.progress.unique()) > 5


def test_kernels_are_compiled_before_the_first_window(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = kernels.load
    monkeypatch.setattr(kernels, "load", lambda kernel, *given: (loaded.append(kernel.key), load(kernel, *given)))
    forward, both = ["articulated_step"], ["articulated_step", "articulated_step_adjoint"]
    for name, task, expected in (
        ("rpo", "cartpole", both),
        ("ppo", "cartpole", forward),
        (
            "rpo",
            "quadruped",
            ["articulated_sensors", *both, "articulated_sensors_adjoint"],
        ),  # the height it stands at is measured at once
        ("ppo", "quadruped", ["articulated_sensors", *forward]),
    ):
        loaded.clear()
        torch.manual_seed(0)
        data = RolloutDataModule(task, num_envs=4, horizon=2)
        module = SMALL[name][0](data.obs_dim, data.action_dim, total_env_steps=64, hidden=(4,))
        data.attach(module).setup("fit")
        assert loaded == expected
        data.collector.collect(module)
        assert loaded == expected
