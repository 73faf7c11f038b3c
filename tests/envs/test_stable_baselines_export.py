"""Our environments as stable-baselines3's: to the letter what its DummyVecEnv would give, and its algorithms take them."""

import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor, VecNormalize

import rpo_lightning
from rpo_lightning.envs.to_stable_baselines import to_stable_baselines
from rpo_lightning.envs.vector_adapter import VectorAdapter
from tests.envs.counters import makers, vector_env
from tests.toy import PointMass

N = 3


def counters():
    return to_stable_baselines(VectorAdapter(vector_env("sync_same"), episode_length=50))


def test_steps_ends_and_infos_are_those_of_a_dummy_vec_env():
    ours, theirs = counters(), DummyVecEnv(makers())
    theirs.reset()  # the adapter had begun the first episodes
    assert (ours.reset() == theirs.reset()).all()
    assert len(ours.reset_infos) == len(theirs.reset_infos) == N
    action, same = np.full((N, 2), 0.5, np.float32), np.tile(np.float32([4.0, 0.375]), (N, 1))
    limits = 0
    for _ in range(12):
        obs, reward, done, infos = ours.step(action)
        for one, other in zip((obs, reward, done), theirs.step(same)[:3], strict=True):
            assert one.shape == other.shape
            assert (one == other).all()
        assert (obs.dtype, reward.dtype, done.dtype) == (np.float32, np.float32, bool)
        for one, other in zip(infos, theirs.buf_infos, strict=True):
            assert one.keys() - {"TimeLimit.truncated"} == other.keys() - {"TimeLimit.truncated"}
            assert one["TimeLimit.truncated"] == other.get("TimeLimit.truncated", False)
            if "terminal_observation" in one:
                assert (one["terminal_observation"] == other["terminal_observation"]).all()
        limits += sum(info["TimeLimit.truncated"] for info in infos)
    assert limits == 2  # of the second sub-environment, whose episodes of five steps are cut off


def test_a_failure_at_the_time_limit_is_a_failure():
    class Both(PointMass):
        def step(self, action):
            return super().step(action)._replace(terminated=~self.invalid, truncated=~self.invalid)

    infos = to_stable_baselines(Both(N)).step(np.zeros((N, 1)))[3]
    assert [info["TimeLimit.truncated"] for info in infos] == [False] * N
    assert all("terminal_observation" in info for info in infos)


def test_what_was_returned_stays_as_it_was():
    env = to_stable_baselines(rpo_lightning.make("cartpole", num_envs=N, seed=4))
    first = env.reset()
    copy = first.copy()
    env.step(np.ones((N, 1)))
    assert (first == copy).all()


def test_a_seed_counts_from_the_next_reset():
    env = to_stable_baselines(rpo_lightning.make("cartpole", num_envs=N, seed=4))
    assert env.seed(5) == [5] * N
    one = env.reset()
    assert (env.reset() != one).any()  # a seed counts once
    env.seed(5)
    assert (env.reset() == one).all()
    with pytest.raises(ValueError, match="make it with seed=5"):
        to_stable_baselines(PointMass(N)).seed(5)
    foreign = counters()
    foreign.seed(5)
    with pytest.raises(ValueError, match="cannot be seeded again"):
        foreign.reset()


def test_environments_are_one_object():
    env = to_stable_baselines(rpo_lightning.make("cartpole", num_envs=N))
    assert env.get_attr("name") == ["cartpole"] * N
    assert env.get_attr("num_envs", [0, 2]) == [N, N]
    assert env.env_is_wrapped(VecMonitor) == [False] * N
    assert len(env.env_method("get_state")) == N
    env.set_attr("mark", 3)
    assert env.get_attr("mark", 1) == [3]
    with pytest.raises(ValueError, match="one object"):
        env.env_method("reset", indices=[0])
    with pytest.raises(ValueError, match="auto_reset"):
        to_stable_baselines(rpo_lightning.make("cartpole", num_envs=N, auto_reset=False))


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_its_algorithms_and_wrappers_take_them(algorithm):
    ours = to_stable_baselines(rpo_lightning.make("cartpole", num_envs=4, seed=1, episode_length=20))
    env = VecNormalize(VecMonitor(VecCheckNan(ours, raise_exception=True)))
    options = {"PPO": {"n_steps": 24, "batch_size": 48, "n_epochs": 1}, "SAC": {"learning_starts": 40, "batch_size": 16}}
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, seed=0, device="cpu", **options[algorithm])
    model.learn(100)
    assert len(model.ep_info_buffer) >= 4
    assert {episode["l"] for episode in model.ep_info_buffer} == {20}
    env.training, env.norm_reward = False, False
    returns, lengths = evaluate_policy(model, env, 4, return_episode_rewards=True)
    assert lengths == [20] * 4
    assert np.isfinite(returns).all()
    env.close()
