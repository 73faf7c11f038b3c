"""The last k observations as one: what is in them, episode starts, gradients, state, names, and policies that need them."""

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.check_env import check
from rpo_lightning.cli import main
from rpo_lightning.deployment import task_facts
from rpo_lightning.envs.cartpole import Cartpole
from rpo_lightning.envs.history import History
from rpo_lightning.envs.legged.quadruped import Quadruped
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.trained_policy import Policy, load_policy
from tests.algorithms.drivers import SMALL
from tests.command_line import differing, refused

N = 4


def actions(count, width=1, seed=0):
    return 2.0 * torch.rand(count, N, width, generator=torch.Generator().manual_seed(seed)) - 1.0


def test_the_last_observations_stand_side_by_side_the_newest_first():
    env, plain = Cartpole(N, history=3), Cartpole(N)
    assert (env.obs_dim, plain.obs_dim, Cartpole.obs_dim) == (15, 5, 5)
    first = plain.detach()
    assert torch.equal(env.detach(), first.repeat(1, 3))
    seen = [first] * 3
    for action in actions(4):
        step, alone = env.step(action), plain.step(action)
        seen = [alone.obs, *seen[:2]]
        assert torch.equal(step.obs, torch.cat(seen, 1))
        assert torch.equal(step.final_obs, step.obs)
        assert torch.equal(step.reward, alone.reward)


@pytest.mark.parametrize("task", ["cartpole", "dmc/pendulum_swingup"])
def test_an_episode_begins_with_its_first_observation_throughout(task):
    env, plain = (rpo_lightning.make(task, N, episode_length=5, history=k) for k in (3, 1))
    env.progress = plain.progress = torch.tensor([0, 2, 0, 0])
    width, kept = plain.obs_dim, []
    for action in actions(3):
        step, alone = env.step(action), plain.step(action)
        kept.append(alone.final_obs)
    reached = torch.cat(kept[::-1], 1)
    assert torch.equal(step.final_obs, reached)  # of the state reached, also where the episode has ended
    assert torch.equal(step.obs[[0, 2, 3]], reached[[0, 2, 3]])
    assert torch.equal(step.obs[1], alone.obs[1].repeat(3))
    assert not torch.equal(step.obs[1, :width], step.final_obs[1, :width])
    mask = torch.tensor([True, False, False, False])
    obs, alone = env.reset(mask), plain.reset(mask)
    assert torch.equal(obs[0], alone[0].repeat(3))
    assert torch.equal(obs[1:], step.obs[1:])


def objective(env, given, state):
    """A mixture of all that is seen on the way."""
    env.set_state(*state)
    weights = torch.randn(len(given), N, env.obs_dim, generator=torch.Generator().manual_seed(1))
    return sum((w * env.step(action).final_obs).sum(1) for w, action in zip(weights, given, strict=True))


def test_gradients_flow_through_all_of_it():
    env = Cartpole(N, history=3)
    state = env.q.clone(), env.qd.clone()
    given = (0.5 * actions(4)).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(env, given, state).sum(), given)
    h = 0.02
    for t in range(4):
        shift = torch.zeros(4, N, 1)
        shift[t] = h
        with torch.no_grad():
            difference = (objective(env, given + shift, state) - objective(env, given - shift, state)) / (2.0 * h)
        torch.testing.assert_close(gradient[t, :, 0], difference, rtol=0.01, atol=0.01)
    # of a start, too, which stands in all three places
    q = state[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(env.set_state(q, state[1]).sum(), q)
    (alone,) = torch.autograd.grad(Cartpole(N).set_state(q, state[1]).sum(), q)
    torch.testing.assert_close(slope, 3.0 * alone)


def test_check_env_finds_nothing_wrong_with_it():
    report = check(Cartpole, 8, 3, history=2)
    assert not [line for line in str(report).splitlines() if "failed" in line], str(report)


def test_detach_cuts_what_is_behind():
    env = Cartpole(N, history=3)
    given = actions(2).requires_grad_()
    for action in given:
        seen = env.step(action).obs
    assert seen.requires_grad
    assert not env.detach().requires_grad
    after = env.step(actions(1, seed=3)[0]).obs
    assert not after.requires_grad


def test_what_breaks_is_zero_without_a_gradient_and_the_others_go_on():
    env = Cartpole(N, history=2)
    given = actions(2).requires_grad_()
    env.step(given[0])
    q = env.q.clone()
    env.q = env.q + torch.zeros_like(q).index_put((torch.tensor(1), torch.tensor(0)), torch.tensor(torch.inf))
    step = env.step(given[1])
    assert env.invalid.tolist() == [False, True, False, False]
    assert not step.final_obs[1].any()
    (gradient,) = torch.autograd.grad(step.final_obs.square().sum(), given)
    assert (gradient[:, 1] == 0.0).all()
    assert (gradient[:, [0, 2, 3]].abs() > 0.0).all()
    assert torch.equal(step.obs[1, :5], step.obs[1, 5:])


def test_a_state_continues_to_the_bit():
    one, other = (Cartpole(N, seed=seed, history=3, episode_length=6) for seed in (1, 2))
    moves = actions(10)
    for action in moves[:4]:
        one.step(action)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.detach(), other.detach())
    for action in moves[4:]:
        ours, theirs = one.step(action), other.step(action)
        assert torch.equal(ours.obs, theirs.obs)
        assert torch.equal(ours.final_obs, theirs.final_obs)
    with pytest.raises(ValueError, match="past"):
        one.load_state_dict(Cartpole(N).state_dict())


def test_every_entry_says_how_old_it_is():
    env = Cartpole(N, history=3)
    names = [row.name for row in env.observation_table()]
    assert len(names) == 15
    assert names[5::5] == [f"{names[0]}, 1 step ago", f"{names[0]}, 2 steps ago"]
    facts = task_facts(env)
    assert facts["history"] == 3
    assert [row[0] for row in facts["observations"]] == names


@pytest.mark.parametrize("history", [0, 1.5, True, "2"])
def test_what_is_no_length_is_refused(history):
    message = "cartpole: history must be a whole number of observations, 1 or more, got"
    with pytest.raises(ValueError, match=message):
        rpo_lightning.make("cartpole", 1, history=history)
    with pytest.raises(ValueError, match=message):
        RolloutDataModule({"name": "cartpole", "init_args": {"history": history}}).obs_dim  # noqa: B018


def test_noise_of_the_past_is_what_it_was():
    env = Quadruped(N, threads=1, history=2, push=0.0)
    first = env.detach()
    seen = env.step(torch.zeros(N, 12)).obs
    assert (env.obs_dim, seen.shape) == (90, (N, 90))
    assert torch.equal(seen[:, 45:], first[:, :45])
    assert (seen[:, :3] != seen[:, 45:48]).all()


def test_a_policy_keeps_what_it_is_given_one_by_one():
    module = SMALL["rpo"][0](15, 1, 1000, hidden=(8,))
    policy = Policy(module, {"history": 3})
    env, plain = Cartpole(N, history=3, episode_length=3), Cartpole(N, episode_length=3)
    stacks, singles = env.detach(), plain.detach()
    for action in actions(6):
        assert torch.equal(policy.act(singles), policy.module.act(stacks, deterministic=True))
        step = env.step(action)
        stacks, singles = step.obs, plain.step(action).obs
        policy.reset(step.terminated | step.truncated)
    assert torch.equal(policy.act(stacks), policy.module.act(stacks, deterministic=True))
    with pytest.raises(ValueError, match=r"remembers 4 episodes, obs is of 2"):
        policy.act(singles[:2])
    policy.reset()
    assert policy.act(singles[0].numpy()).shape == (1,)
    with pytest.raises(ValueError, match=r"\(N, 15\) or \(15,\), or 5 in place of 15 for one at a time, not \(4, 6\)"):
        policy.act(torch.zeros(4, 6))


def test_one_observation_is_no_history():
    obs = torch.rand(2, 3)
    history = History(1, obs)
    history.add(obs)
    assert history.of(obs) is obs
    assert history.past.shape == (2, 0)


def test_a_run_with_a_history_from_training_to_the_robot(folder, capsys):
    task = """'{"name": "cartpole", "init_args": {"history": 2, "episode_length": 20, "threads": 1}}'""".strip("'")
    given = ["--config", "tiny.yaml", f"--data.env={task}"]
    whole, halves = "runs/cartpole/rpo/seed_0", "elsewhere"
    main(["fit", *given])
    main(["fit", *given, "--trainer.default_root_dir=elsewhere", "--trainer.max_steps=6"])
    main(["fit", *given, "--trainer.default_root_dir=elsewhere", "--ckpt_path=last"])
    assert differing(whole, halves) == []
    main(["validate", *given, f"--ckpt_path={whole}/policy.pt"])
    main(["record", *given, f"--ckpt_path={whole}/policy.pt", "--output=film.npz", "--seconds=0.1"])
    capsys.readouterr()
    main(["export", f"--ckpt_path={whole}/policy.pt", "--format=torchscript", "--output=p.torchscript"])
    assert "takes obs (N, 10): the last 2 observations, the newest first" in capsys.readouterr().out
    extra = {"metadata.json": ""}
    network = torch.jit.load("p.torchscript", _extra_files=extra)
    policy, obs = load_policy(f"{whole}/policy.pt"), np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    assert (policy.obs_dim, policy.history, policy.metadata["observations"][9][0]) == (
        10, 2, "cart_to_pole velocity, 1 step ago",
    )  # fmt: skip
    policy.act(obs[0])
    action = network(torch.tensor(np.concatenate([obs[1], obs[0]]))[None])[0]
    np.testing.assert_allclose(policy.act(obs[1]), action[0].numpy(), atol=1e-6)
    assert '"history": 2' in extra["metadata.json"].decode()
    line = refused(capsys, "validate", "--config", "tiny.yaml", "--data.env=cartpole", f"--ckpt_path={whole}/policy.pt")
    assert "obs_dim 10" in line
