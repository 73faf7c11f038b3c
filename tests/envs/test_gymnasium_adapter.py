"""Vector environments of gymnasium behind our interface: no transition is missing, none is made up."""

from __future__ import annotations

import itertools
import logging
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from rpo_lightning.algorithms import PPO
from rpo_lightning.envs import base
from rpo_lightning.envs.vector_adapter import VectorAdapter
from rpo_lightning.rollout import Collector
from tests.envs.counters import LENGTHS, Batched, Counter, makers, truth, vector_env

N = len(LENGTHS)
KINDS = ("sync_same", "sync_next", "sync_disabled", "async_same", "async_next", "async_disabled", "tensors")
ACTION = torch.tensor([[0.5, -0.5], [1.0, -1.0], [3.0, -3.0]])


def adapted(kind: str, lengths: tuple[int, ...] = LENGTHS, episode_length: int | None = 50, **options: Any) -> VectorAdapter:
    return VectorAdapter(vector_env(kind, lengths, **options), episode_length=episode_length)


def record(env: VectorAdapter, steps: int, action: Tensor = ACTION) -> list[dict[str, Tensor]]:
    return [{**env.step(action)._asdict(), "progress": env.progress, "invalid": env.invalid} for _ in range(steps)]


def assert_same(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> None:
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        for name, value in theirs.items():
            assert torch.equal(ours[name], value), f"{name} of step {k}: {ours[name]} instead of {value}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_autoreset_mode_gives_the_truth(kind: str) -> None:
    env = adapted(kind)
    assert env.detach().tolist() == [[1.0, 0.0, 0.0, 0.0]] * N
    found = record(env, 17)
    assert_same(found, truth(17, ACTION))
    assert {found[0][name].dtype for name in ("obs", "reward", "final_obs")} == {torch.float32}
    env.close()


@pytest.mark.parametrize("kind", KINDS)
def test_episodes_may_all_end_together(kind: str) -> None:
    lengths = (3, 3, 3)
    env = adapted(kind, lengths)
    assert_same(record(env, 8), truth(8, ACTION, lengths))
    env.close()


def test_wrappers_around_a_vector_environment_are_seen_through() -> None:
    inner = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector_env("sync_next"))
    doubled = gymnasium.wrappers.vector.TransformObservation(inner, lambda obs: 2 * obs)
    expected = truth(9, ACTION)
    for step in expected:
        step["obs"], step["final_obs"] = 2 * step["obs"], 2 * step["final_obs"]
    assert_same(record(VectorAdapter(doubled, episode_length=50), 9), expected)


def test_a_wrapper_that_looks_again_changes_nothing_for_those_that_go_on() -> None:
    """As a running normaliser does: the reset of some gives other numbers for all."""
    looks = itertools.count()
    restless = gymnasium.wrappers.vector.TransformObservation(vector_env("sync_next"), lambda obs: obs + 1000 * next(looks))
    for step in record(VectorAdapter(restless, episode_length=50), 9):
        running = step["progress"] > 0
        assert torch.equal(step["obs"][running], step["final_obs"][running])


@pytest.mark.parametrize("kind", ["sync_same", "sync_next"])
def test_no_window_holds_a_step_that_was_a_reset(kind: str) -> None:
    """All that a learner sees, windows and their seams included, is what happened."""
    collector = Collector(adapted(kind), horizon=4, seed=0)
    agent = PPO(4, 2, total_env_steps=100, hidden=(8,))
    batches = [collector.collect(agent) for _ in range(4)]
    joined = {
        name: torch.cat([getattr(batch, name) for batch in batches]) for name in ("obs", "final_obs", "reward", "done")
    }
    ended = [torch.cat([getattr(batch, name) for batch in batches]) for name in ("episode_return", "episode_length")]
    expected = truth(16, torch.zeros(N, 2))
    for k, step in enumerate(expected):
        assert torch.equal(joined["reward"][k], step["reward"])
        assert torch.equal(joined["done"][k], step["terminated"] | step["truncated"])
        # episode and step of the state acted on, and of the state reached one step later
        assert torch.equal(joined["final_obs"][k, :, :2][~step["terminated"]], step["final_obs"][:, :2][~step["terminated"]])
        if k:
            assert torch.equal(joined["obs"][k, :, :2], expected[k - 1]["obs"][:, :2])
    for n, length in enumerate(LENGTHS):
        ends = ended[1][:, n].isfinite()
        assert (ended[1][ends, n] == length).all()
        first = 100.0 * length + length * (length + 1) / 2
        assert ended[0][ends, n].tolist() == [first + 100.0 * length * i for i in range(int(ends.sum()))]


class Deaf(SyncVectorEnv):
    """Resets in the next step and knows nothing of masks, as `unwrapped` betrays."""

    @property
    def unwrapped(self) -> Any:
        return self.envs[0]


def unshared() -> AsyncVectorEnv:
    return AsyncVectorEnv(makers(), shared_memory=False, autoreset_mode=AutoresetMode.NEXT_STEP)


def test_a_step_that_would_be_spent_on_resets_is_refused() -> None:
    with pytest.raises(ValueError, match="with autoreset NextStep the step after an episode's end would reset"):
        VectorAdapter(Deaf(makers()), episode_length=50)
    assured = VectorAdapter(Deaf(makers()), episode_length=50, reset_mask=True)
    assert_same(record(assured, 9), truth(9, ACTION))
    # without autoreset there is no other way to reset some
    disabled = VectorAdapter(Deaf(makers(), autoreset_mode=AutoresetMode.DISABLED), episode_length=50)
    assert_same(record(disabled, 9), truth(9, ACTION))


def test_workers_without_shared_memory_reset_twice_and_are_refused() -> None:
    """gymnasium's worker forgets the reset that is due only with shared memory; when it no longer does, lift the refusal."""
    vectors = unshared()
    with pytest.raises(ValueError, match="would reset instead of moving"):
        VectorAdapter(vectors, episode_length=50)
    env = VectorAdapter(vectors, episode_length=50, reset_mask=True)
    with pytest.raises(AssertionError, match="obs of step 2"):
        assert_same(record(env, 9), truth(9, ACTION))
    env.close()


def test_nothing_is_assumed_of_a_users_worker() -> None:
    vectors = vector_env("async_next")
    vectors.worker = print
    with pytest.raises(ValueError, match="would reset instead of moving"):
        VectorAdapter(vectors, episode_length=50)
    vectors.close()


def test_an_unknown_autoreset_mode_is_named() -> None:
    with pytest.raises(ValueError, match=r"metadata\['autoreset_mode'\].* got None"):
        VectorAdapter(Batched(mode=None))


def test_missing_final_observations_are_an_error() -> None:
    env = VectorAdapter(Batched())
    env.vector_env.step = lambda action: (*Batched.step(env.vector_env, action)[:4], {})
    env.step(ACTION)
    with pytest.raises(RuntimeError, match="neither final_obs nor final_observation"):
        env.step(ACTION)


# ---- actions, observations, limits -----------------------------------------------------------------------------------


def test_actions_reach_the_bounds_and_never_pass_them() -> None:
    env = adapted("sync_same", (50, 50, 50))
    applied = env.step(torch.tensor([[-1.0, -1.0], [1.0, 1.0], [7.0, 7.0]])).obs[:, 2:]
    assert applied.tolist() == [[-2.0, 0.0], [6.0, 0.5], [6.0, 0.5]]
    high = np.array([0.1, 0.7])  # whose nearest float32 are larger
    env.vector_env.single_action_space = gymnasium.spaces.Box(-high, high, dtype=np.float64)
    given = []
    env.vector_env.step = lambda action: given.append(action) or SyncVectorEnv.step(env.vector_env, action)
    VectorAdapter(env.vector_env, episode_length=50).step(torch.ones(3, 2))
    assert given[0].dtype == np.float64
    assert (given[0] == high).all()


def test_a_vector_environment_of_tensors_is_given_tensors() -> None:
    env = adapted("tensors")
    env.step(ACTION)
    assert isinstance(env.vector_env.actions[0], Tensor)


def test_what_was_returned_is_not_changed_by_the_next_step() -> None:
    """gymnasium may reuse the memory of its observations, and float32 needs no conversion."""
    vectors = SyncVectorEnv([Narrow] * 2, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    env = VectorAdapter(vectors, episode_length=50)
    shown = [env.detach(), *env.step(ACTION[:2])[:-1]]
    kept = [part.clone() for part in shown]
    env.step(ACTION[:2])
    assert all(map(torch.equal, shown, kept))


class Narrow(Counter):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def __init__(self) -> None:
        super().__init__(50)


def test_a_wrong_action_shape_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"action must be a float32 tensor of shape \(3, 2\) on cpu, got torch.float32 \(3, 1\)"
    ):
        adapted("sync_same").step(torch.zeros(3, 1))


BOX = gymnasium.spaces.Box(-1.0, 1.0, (2,))


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (
            "observation_space",
            gymnasium.spaces.Dict(a=BOX),
            "observation space must be a one-dimensional Box, not Dict.*Flatten",
        ),
        ("observation_space", gymnasium.spaces.Box(0, 1, (3, 3)), "observation space must be a one-dimensional Box"),
        ("action_space", gymnasium.spaces.Discrete(3), r"action space must be a one-dimensional Box, not Discrete\(3\)"),
        ("action_space", gymnasium.spaces.Box(0, 3, (2,), np.int64), "actions must be floats, not int64"),
        ("action_space", gymnasium.spaces.Box(-np.inf, 1.0, (2,)), "needs finite bounds"),
    ],
)
def test_spaces_that_cannot_be_used_are_named_in_a_line(space: str, value: Any, message: str) -> None:
    vectors = vector_env("sync_same")
    setattr(vectors, f"single_{space}", value)
    with pytest.raises(ValueError, match=message) as error:
        VectorAdapter(vectors, episode_length=50)
    assert "\n" not in str(error.value)


def test_a_time_limit_must_be_known_and_can_be_shortened() -> None:
    with pytest.raises(ValueError, match="no time limit is known, give episode_length"):
        adapted("sync_next", episode_length=None)
    with pytest.raises(ValueError, match="episode_length must be at least 1, got 0"):
        adapted("sync_next", episode_length=0)
    with pytest.raises(ValueError, match="episode_length 4 cannot be enforced"):
        VectorAdapter(Batched(), episode_length=4)
    assert VectorAdapter(Batched()).max_episode_steps == 50
    assert VectorAdapter(Batched(), episode_length=90).max_episode_steps == 50
    pendula = SyncVectorEnv([partial(gymnasium.make, "Pendulum-v1")])
    assert VectorAdapter(gymnasium.wrappers.vector.RecordEpisodeStatistics(pendula)).max_episode_steps == 200


@pytest.mark.parametrize("kind", ["sync_same", "sync_next", "sync_disabled", "async_next"])
def test_a_shorter_time_limit_cuts_without_failing(kind: str) -> None:
    env = adapted(kind, episode_length=4)
    steps = record(env, 8)
    longest = [
        (step["obs"][1, :2].tolist(), step["final_obs"][1, :2].tolist(), bool(step["truncated"][1])) for step in steps
    ]
    assert longest[3] == ([2.0, 0.0], [1.0, 4.0], True)
    assert longest[7] == ([3.0, 0.0], [2.0, 4.0], True)
    assert [step["progress"][1].item() for step in steps] == [1, 2, 3, 0, 1, 2, 3, 0]
    assert not any(step["terminated"][1] for step in steps)
    for k, step in enumerate(truth(8, ACTION)):  # the others end by themselves
        assert torch.equal(steps[k]["final_obs"][[0, 2]], step["final_obs"][[0, 2]])
    env.close()


def test_time_limits_can_fall_apart() -> None:
    env = adapted("sync_same", (20, 20, 20), episode_length=10)
    env.progress = torch.tensor([0, 4, 9])
    ends = torch.stack([env.step(ACTION).truncated for _ in range(10)])
    assert ends.nonzero().tolist() == [[0, 2], [5, 1], [9, 0]]
    with pytest.raises(ValueError, match="time limits cannot be moved where"):
        VectorAdapter(Batched()).progress = torch.zeros(3, dtype=torch.int64)


# ---- what is not finite ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e6])
@pytest.mark.parametrize("kind", ["sync_same", "sync_next", "sync_disabled", "async_same"])
@pytest.mark.parametrize("broken", [1, 5], ids=["within_an_episode", "at_its_end"])
def test_a_broken_sub_environment_ends_and_starts_anew_alone(kind: str, bad: float, broken: int) -> None:
    env = adapted(kind, (5, 7, 3), broken=broken, bad=bad)
    k = 5 + broken - 1  # in the second episode of the first one
    steps = record(env, k + 1)
    last = steps[k]
    assert last["invalid"].tolist() == [True, False, False]
    assert last["terminated"][0]
    assert last["reward"][0] == 0
    assert last["final_obs"][0].tolist() == [0.0] * 4
    assert last["obs"][0].tolist() == [3.0, 0.0, 0.0, 0.0]
    assert last["progress"][0] == 0
    assert last["final_obs"][1, :2].tolist() == [k // 7 + 1, k % 7 + 1]
    env.close()


def test_an_action_that_is_not_finite_does_not_reach_the_simulator() -> None:
    env = adapted("sync_same", (50, 50, 50))
    action = ACTION.clone()
    action[1, 0] = torch.nan
    step = env.step(action)
    assert env.invalid.tolist() == step.terminated.tolist() == [False, True, False]
    assert env.vector_env.envs[1].episode == 2
    assert step.obs.isfinite().all()
    other = adapted("tensors")
    other.step(action)
    assert other.vector_env.actions[0][1].tolist() == [2.0, 0.25]  # the middle of the bounds


def test_a_start_that_is_not_finite_is_not_shown() -> None:
    step = record(adapted("sync_same", broken=0), 2)[1]
    assert step["obs"][2].tolist() == [0.0] * 4


def test_the_very_first_start_is_contained_like_all_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_SAID", set())

    def make() -> VectorAdapter:
        vectors = SyncVectorEnv([partial(kind, 3) for kind in (Counter, InfAtFirst)], autoreset_mode="SameStep")
        return VectorAdapter(vectors, episode_length=3)

    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        env = make()
        begun = env.reset().clone()
        env.load_state_dict(make().state_dict())
    for obs in (make().detach(), begun, env.detach()):
        assert obs[1].tolist() == [0.0] * 4
        assert obs[0].isfinite().all()
    said = [record.message for record in caplog.records if "first observation" in record.message]
    assert said == ["gymnasium: first observation 1 is inf in 1 of 2 environments. Zeros are seen in place of such a start."]
    step = env.step(ACTION[:2])
    assert not env.invalid.any()
    assert step.obs[1, 1] == 1.0


class InfAtFirst(Counter):
    """The second number is infinite in the first observation of every episode."""

    def _observe(self, action: Any) -> np.ndarray:
        return np.array([self.episode, np.inf if self.t == 0 else self.t, *action])


class OnceInf(Counter):
    """The second number is infinite at step 2 of every episode."""

    def _observe(self, action: Any) -> np.ndarray:
        return np.array([self.episode, np.inf if self.t == 2 else self.t, *action])


def test_an_entry_that_is_infinite_now_and_then_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    vectors = SyncVectorEnv([partial(OnceInf, length) for length in (5, 7, 2)], autoreset_mode=AutoresetMode.SAME_STEP)
    env = VectorAdapter(vectors, episode_length=9)
    env.name = "once_inf"
    with caplog.at_level(logging.WARNING, "rpo_lightning"):
        for _ in range(8):
            env.step(ACTION)
    (record,) = caplog.records
    assert record.message.startswith("once_inf: observation 1 is inf in 3 of 3 environments, though the state is sound.")


# ---- starts, state ---------------------------------------------------------------------------------------------------


def seeds(env: VectorAdapter) -> list[int]:
    return [counter.starts[-1] for counter in env.vector_env.envs]


def test_every_sub_environment_has_a_seed_and_neighbouring_runs_share_none() -> None:
    found = [seeds(VectorAdapter(vector_env("sync_same"), seed=seed, episode_length=9)) for seed in range(8)]
    assert len({seed for row in found for seed in row}) == 8 * N
    assert found[3] == seeds(VectorAdapter(vector_env("sync_same"), seed=3, episode_length=9))


@pytest.mark.parametrize("kind", ["sync_same", "sync_next"])
def test_reset_takes_a_mask(kind: str) -> None:
    env = adapted(kind)
    record(env, 1)
    obs = env.reset(torch.tensor([True, False, False]))
    assert obs[:, :2].tolist() == [[2.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    assert env.progress.tolist() == [0, 1, 1]
    assert torch.equal(env.reset(torch.zeros(3, dtype=torch.bool)), obs)
    assert env.reset()[:, :2].tolist() == [[3.0, 0.0], [2.0, 0.0], [2.0, 0.0]]
    with pytest.raises(ValueError, match="mask must be bool"):
        env.reset(torch.zeros(3))
    with pytest.raises(ValueError, match="can only be reset together"):
        adapted("tensors").reset(torch.tensor([True, False, False]))


def test_a_state_begins_new_episodes_which_it_determines(caplog: pytest.LogCaptureFixture) -> None:
    env, other = adapted("sync_same"), adapted("sync_same")
    record(env, 4)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(env.state_dict())
    assert [line.message for line in caplog.records] == [
        "gymnasium: a foreign simulator cannot be restored, so all environments begin new episodes."
    ]
    assert other.progress.tolist() == [0, 0, 0]
    starts = seeds(other)
    assert not set(starts) & set(seeds(adapted("sync_same")))
    other.load_state_dict(env.state_dict())
    assert seeds(other) == starts
    with pytest.raises(ValueError, match="the state is not of 3 environments"):
        other.load_state_dict({"num_envs": 2, "seed": 0, "steps": 0})


def test_a_resumed_collector_counts_only_whole_episodes() -> None:
    agent = PPO(4, 2, total_env_steps=100, hidden=(8,))
    collector, resumed = (Collector(adapted("sync_next"), horizon=4, seed=0) for _ in range(2))
    collector.collect(agent)
    resumed.load_state_dict(collector.state_dict())
    lengths = torch.cat([resumed.collect(agent).episode_length for _ in range(3)])
    for n, length in enumerate(LENGTHS):
        assert set(lengths[:, n][lengths[:, n].isfinite()].tolist()) == {float(length)}
