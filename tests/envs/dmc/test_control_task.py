"""The promises of an environment, kept by the suite's tasks."""

import copy
import importlib.util
import math

import pytest
import torch

import rpo_lightning
from rpo_lightning.envs import env_class, names
from rpo_lightning.envs.dmc import TASKS

pytest.importorskip("dm_control")
N = 6
RUN, SWINGUP = "dmc/cheetah_run", "dmc/cartpole_swingup"
both = pytest.mark.parametrize("name", [RUN, SWINGUP])


def make(name, seed=0, num_envs=N, **options):
    return rpo_lightning.make(name, num_envs=num_envs, seed=seed, **{"threads": 1, **options})


def actions(env, count, seed=0):
    draws = torch.rand(count, env.num_envs, env.action_dim, generator=torch.Generator().manual_seed(seed))
    return draws * 2 - 1


def record(env, steps):
    seen = []
    for action in steps:
        step = env.step(action)
        seen += [*step[:-1], env.q, env.qd, env.progress, env.target]
    return seen


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_what_its_class_says(name):
    assert name in names()
    cls = env_class(name)
    env = make(name)
    assert (cls.name, type(env), env.differentiable) == (name, cls, False)
    step = env.step(actions(env, 1)[0])
    assert step.obs.shape == step.final_obs.shape == (N, cls.obs_dim)
    assert step.reward.shape == step.terminated.shape == step.truncated.shape == (N,)
    assert torch.isfinite(step.obs).all()
    assert ((step.reward >= 0) & (step.reward <= 1)).all()
    assert not env.invalid.any()


@both
def test_seeds(name):
    env, again, other = make(name), make(name), make(name, seed=1)
    steps = actions(env, 12)
    first = record(env, steps)
    assert same(first, record(again, steps))
    assert not same(first, record(other, steps))


@both
@pytest.mark.parametrize("threads", [1, 2])
def test_state_dict_continues_to_the_bit(name, threads):
    env, other = make(name, episode_length=5), make(name, seed=3, episode_length=5, threads=threads)
    record(env, actions(env, 7))
    env.reset(torch.arange(N) < 2)  # starts remain in the bank, but not all
    state = copy.deepcopy(env.state_dict())
    straight = record(env, actions(env, 12, seed=1))
    record(other, actions(env, 3, seed=2))
    other.load_state_dict(state)
    assert same(straight, record(other, actions(env, 12, seed=1)))
    env.load_state_dict(state)  # which stepping must not have changed
    assert same(straight, record(env, actions(env, 12, seed=1)))


def test_state_of_another_environment_is_refused():
    env = make(RUN)
    with pytest.raises(ValueError, match="lacks"):
        env.load_state_dict({})
    with pytest.raises(ValueError, match="must have shape"):
        env.load_state_dict(make(SWINGUP).state_dict())
    with pytest.raises(ValueError, match="must have shape"):
        env.load_state_dict(make(RUN, num_envs=N + 1).state_dict())


@both
def test_reset_leaves_the_others_alone(name):
    env, other = make(name), make(name)
    steps = actions(env, 6)
    record(env, steps[:3])
    record(other, steps[:3])
    mask = torch.arange(N) % 2 == 0
    before = [part.clone() for part in (env.detach(), *env.get_state())]
    after = [env.reset(mask), *env.get_state()]
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[~mask], b[~mask])
        assert not torch.equal(a[mask], b[mask])
    assert not env.progress[mask].any()
    for a, b in zip(record(env, steps[3:]), record(other, steps[3:]), strict=True):
        assert torch.equal(a[~mask], b[~mask])


def test_no_start_is_used_twice():
    env = make(RUN)
    seen = [env.q.clone()]
    for _ in range(3):
        env.reset(torch.arange(N) < 4)
        seen.append(env.q[:4].clone())
    everything = torch.cat(seen)
    assert len(everything.unique(dim=0)) == len(everything)


def test_truncation_shows_the_state_reached():
    env, straight = make(RUN, episode_length=4), make(RUN, auto_reset=False)
    for time, action in enumerate(actions(env, 4), 1):
        step, other = env.step(action), straight.step(action)
        assert torch.equal(step.final_obs, other.obs)
        assert torch.equal(step.reward, other.reward)
        assert step.truncated.all() == (time == 4)
        assert not step.terminated.any()
    assert not torch.equal(step.obs, step.final_obs)
    assert not env.progress.any()
    assert torch.equal(step.obs, env.detach())
    assert torch.equal(step.obs[:, :8], env.q[:, 1:])


def test_what_was_returned_does_not_change():
    env = make(RUN, episode_length=3)
    seen = record(env, actions(env, 2))
    kept = [part.clone() for part in seen]
    record(env, actions(env, 4, seed=1))
    assert same(seen, kept)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2e6])
@pytest.mark.parametrize("auto_reset", [True, False])
def test_a_bad_action_breaks_one_environment_only(bad, auto_reset):
    env, other = make(RUN, auto_reset=auto_reset), make(RUN, auto_reset=auto_reset)
    good = actions(env, 3)
    broken = good.clone()
    broken[0, 2, 1] = bad
    rest = torch.arange(N) != 2
    for time in range(3):
        step, fine = env.step(broken[time]), other.step(good[time])
        assert env.invalid.tolist() == [False, False, time == 0, False, False, False]
        assert torch.equal(step.terminated, env.invalid)
        for a, b in zip(step[:-1], fine[:-1], strict=True):
            assert torch.isfinite(a).all()
            assert torch.equal(a[rest], b[rest])
        if time == 0:
            assert step.reward[2] == 0
            assert not step.final_obs[2].any()


@pytest.mark.parametrize("speed", [float("nan"), 5e6, 1e20])
def test_an_exploded_state_is_replaced(speed):
    env, other = make(RUN), make(RUN)
    q, qd, _ = env.get_state()
    qd = qd.clone()
    other.set_state(q, qd)
    qd = qd.clone()
    qd[4, 3] = speed
    env.set_state(q, qd)
    rest = torch.arange(N) != 4
    for time, action in enumerate(actions(env, 3)):
        step, fine = env.step(action), other.step(action)
        assert env.invalid.tolist() == [False] * 4 + [time == 0, False]
        assert all(torch.isfinite(part).all() for part in (*step[:-1], env.q, env.qd))
        assert all(torch.equal(a[rest], b[rest]) for a, b in zip(step[:-1], fine[:-1], strict=True))


def test_set_state():
    env = make(SWINGUP)
    q, qd = torch.zeros(N, 2), torch.zeros(N, 2)
    q[:, 1], qd[:, 0] = math.pi / 2, 0.5
    obs = env.set_state(q, qd, torch.full((N,), 998))
    torch.testing.assert_close(obs, torch.tensor([0.0, 0.0, 1.0, 0.5, 0.0]).expand(N, -1), atol=1e-6, rtol=0)
    assert torch.equal(env.get_state()[0], q)
    ends = [env.step(torch.zeros(N, 1)).truncated.all().item() for _ in range(3)]
    assert ends == [False, True, False]
    for arguments, words in (
        ((q[:2], qd), "q must be"),
        ((q, qd.double()), "qd must be"),
        ((q, qd, q[:, 0]), "progress must be"),
    ):
        with pytest.raises(ValueError, match=words):
            env.set_state(*arguments)


def test_fixed_starts():
    env = make(SWINGUP, stochastic_init=False)
    expected = torch.tensor([0.0, math.pi]).expand(N, -1)
    assert torch.equal(env.q, expected)
    record(env, actions(env, 3))
    env.reset(torch.arange(N) == 1)
    assert torch.equal(env.q[1], expected[1])
    assert not torch.equal(env.q[0], expected[0])


def test_a_cheetah_starts_on_the_ground_at_rest():
    env = make(RUN, num_envs=64)
    assert env.qd.abs().max() < 1.0
    assert env.q[:, 1].max() < 0.1
    assert env.q[:, 3:].std(0).max() > 1e-3


def test_cartpole_rewards():
    up, down = torch.zeros(N, 2), torch.tensor([0.0, math.pi]).expand(N, -1)
    rest, idle, full = torch.zeros(N, 2), torch.zeros(N, 1), torch.ones(N, 1)
    rewards = {}
    for name in (SWINGUP, "dmc/cartpole_swingup_sparse"):
        for label, q, action in (("up", up, idle), ("pushed", up, full), ("down", down, idle)):
            env = make(name)
            env.set_state(q, rest)
            rewards[name, label] = env.step(action).reward[0].item()
    assert rewards[SWINGUP, "up"] == pytest.approx(1.0)
    assert rewards[SWINGUP, "pushed"] == pytest.approx(0.8, abs=0.01)
    assert rewards[SWINGUP, "down"] == pytest.approx(0.0, abs=1e-6)
    assert [rewards["dmc/cartpole_swingup_sparse", label] for label in ("up", "pushed", "down")] == [1.0, 1.0, 0.0]


def test_poses_without_contact():
    env = make(RUN)
    heights = iter([[-0.4, 2.0, -0.4, 2.0, 2.0, 2.0], [3.0] * 6])

    def draw():
        qpos = env.fixed_start()[0]
        qpos[:, 1] = torch.tensor(next(heights), dtype=qpos.dtype)
        return qpos

    assert env.untouching(draw)[:, 1].tolist() == [3.0, 2.0, 3.0, 2.0, 2.0, 2.0]
    with pytest.raises(RuntimeError, match="found no pose without contact"):
        env.untouching(lambda: env.fixed_start()[0] - 0.4)


@pytest.mark.parametrize("action", [torch.zeros(N, 5), torch.zeros(N, 6, dtype=torch.float64), [[0.0] * 6] * N])
def test_bad_actions(action):
    with pytest.raises(ValueError, match=f"{RUN}: action must be a"):
        make(RUN).step(action)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"episode_lenght": 5}, TypeError, "did you mean 'episode_length'"),
        ({"reward_from": "next"}, TypeError, "unknown option 'reward_from'. Options of this task: stochastic_init, "),
        ({"observe_action": True}, TypeError, "unknown option 'observe_action'"),
        ({"early_termination": False}, TypeError, "unknown option 'early_termination'"),
        ({"auto_reset": "no"}, ValueError, "auto_reset must be true or false, got 'no'"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"num_envs": 0}, ValueError, "num_envs must be at least 1"),
        ({"device": "meta"}, ValueError, "device 'meta'"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        rpo_lightning.make(RUN, **{"num_envs": N, **options})


def test_bad_masks():
    with pytest.raises(ValueError, match="mask must be bool of shape"):
        make(SWINGUP).reset(torch.ones(N))


def test_without_dm_control(monkeypatch):
    from rpo_lightning.envs.dmc import models

    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"dm_control, which is not installed: pip install 'rpo-lightning\[dmc\]'"):
        make(RUN)
    assert env_class(RUN).obs_dim == 17  # known without it


def test_dm_control_is_not_imported():
    import subprocess
    import sys

    code = (
        "import sys, rpo_lightning; rpo_lightning.make('dmc/cheetah_run', num_envs=2);"
        "print([m for m in ('dm_control', 'labmaze', 'mujoco_warp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == "[]"
    assert importlib.util.find_spec("dm_control") is not None
