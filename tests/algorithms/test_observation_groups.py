"""Observations for actor and critic apart, and actors that remember."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from rpo_lightning.algorithms import RPO, SHAC
from rpo_lightning.callbacks.evaluation import evaluate
from rpo_lightning.export import export
from rpo_lightning.nn import Actor, GRUActor
from rpo_lightning.policies import read_policy, write_policy
from rpo_lightning.rollout import Collector, RolloutDataModule
from rpo_lightning.runs import Run
from rpo_lightning.trained_policy import load_policy
from tests.algorithms.captured import Captured, H, N, assert_gradients_equal
from tests.algorithms.drivers import (
    ALGORITHMS,
    ORIGINAL_NETWORKS,
    SMALL,
    largest_difference,
    make_trainer,
    run_fabric,
    snapshot,
)
from tests.toy import HiddenVelocity, PointMass

EVERY = pytest.mark.parametrize("name", ALGORITHMS)
STOP = 4
"""Iterations before a run is continued."""


def asymmetric(name: str, **options: Any) -> Any:
    """Return a small module whose critics see the velocity and whose actor does not."""
    torch.manual_seed(0)
    algorithm, defaults = SMALL[name]
    return algorithm(2, 1, 4096, **{"hidden": (16, 16), "privileged_dim": 1, **defaults, **options})


@EVERY
def test_critics_learn_from_what_the_actor_never_sees(name: str) -> None:
    module = asymmetric(name)
    data = RolloutDataModule(HiddenVelocity, num_envs=8, horizon=8, iterations_per_epoch=4, seed=5)
    assert (data.obs_dim, data.privileged_dim) == (2, 1)
    metrics = run_fabric(module, data)
    assert {"reward/effort", "reward/rest"} <= metrics[-1].keys()
    assert metrics[-1]["reward/effort"] < 0.0
    # the statistics are of the velocities that were seen
    assert float(module.privileged_normalizer.count) == float(module.normalizer.count) == 1 + 4 * 64
    assert float(module.privileged_normalizer.var[0]) != 1.0
    assert module.policy(torch.zeros(3, 2)).mean.shape == (3, 1)
    assert not any("privileged" in key for key in module.actor.state_dict())


@EVERY
def test_the_critics_objective_depends_on_the_privileged_observation(name: str) -> None:
    module = asymmetric(name)
    y = module.critic_input(torch.zeros(5, 2), torch.randn(5, 1))
    assert y.shape == (5, 3)
    y.requires_grad_(True)
    if name in ("reppo", "sac"):
        values = (
            module.critic(torch.cat([y, torch.zeros(5, 1)], -1)) if name == "sac" else module.critic(y, torch.zeros(5, 1))
        )
    elif name == "ppo":
        values = module.actor(torch.zeros(5, 2), y)[1]
    else:
        values = module.critics.mean(y)
    (slope,) = torch.autograd.grad(values.sum(), y)
    assert (slope[:, 2].abs() > 0.0).all()


def test_rollout_keeps_both_groups_before_and_after_resets() -> None:
    module = asymmetric("rpo")
    env = HiddenVelocity(4, seed=3, episode_length=3)
    batch = Collector(env, 5, seed=1).collect(module)
    assert (batch.obs.shape, batch.privileged.shape, batch.final_privileged.shape) == ((5, 4, 2), (5, 4, 1), (5, 4, 1))
    follows = ~batch.done[:-1]
    assert torch.equal(batch.privileged[1:][follows], batch.final_privileged[:-1][follows])
    assert not torch.equal(batch.privileged[1:][~follows], batch.final_privileged[:-1][~follows])
    assert set(batch.reward_terms) == {"effort", "rest"}
    torch.testing.assert_close(sum(batch.reward_terms.values()), batch.reward)


def hidden_data(seed: int = 5) -> RolloutDataModule:
    return RolloutDataModule(HiddenVelocity, num_envs=8, horizon=8, iterations_per_epoch=3, seed=seed)


@EVERY
def test_both_groups_resume_to_the_bit_and_only_the_actor_s_leaves(name: str, tmp_path: Path) -> None:
    straight, resumed = asymmetric(name), asymmetric(name)
    checkpoints = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=STOP)
    make_trainer(tmp_path, callbacks=[checkpoints], max_epochs=2).fit(straight, datamodule=hidden_data())
    make_trainer(tmp_path, max_epochs=2).fit(
        resumed, datamodule=hidden_data(77), ckpt_path=tmp_path / f"step={64 * STOP}.ckpt"
    )
    assert (straight.iteration, largest_difference(snapshot(straight), snapshot(resumed))) == (6, 0.0)

    score = evaluate(straight, lambda num_envs, seed: HiddenVelocity(num_envs, seed=seed), episodes=4, deterministic=True)
    assert (score["episodes"], score["broken"]) == (4, 0)

    write_policy(tmp_path / "policy.pt", straight, Run(tmp_path, "toy", name, 0, "", ""))
    policy, obs = load_policy(tmp_path / "policy.pt"), torch.randn(5, 2)
    assert policy.obs_dim == 2
    assert torch.equal(policy.act(obs), straight.act(obs, deterministic=True))
    assert not any("privileged" in weight for weight in read_policy(tmp_path / "policy.pt")[1])
    export(policy, tmp_path / "policy.torchscript", "torchscript")
    extra = {"metadata.json": ""}
    network = torch.jit.load(tmp_path / "policy.torchscript", _extra_files=extra)
    torch.testing.assert_close(network(obs)[0], policy.act(obs), atol=1e-6, rtol=0.0)
    assert json.loads(extra["metadata.json"])["inputs"] == ["obs"]


# Actors that remember


def remembering(algorithm: type, **options: Any) -> Any:
    torch.manual_seed(0)
    actor = partial(GRUActor, hidden=(8,), state_size=6)
    return algorithm(2, 1, 4096, hidden=(16,), actor=actor, critic_epochs=1, **options)


def straight_objective(module: Any, noise: Tensor, state: Tensor) -> Tensor:
    """Return the window objective of a SHAC with a remembering actor, unrolled step by step, per environment (N,)."""
    env = HiddenVelocity(N, seed=3, episode_length=5, limit=0.95, dtype=torch.float64)
    obs, total, weight = env.detach(), torch.zeros(N, dtype=torch.float64), torch.ones(N, dtype=torch.float64)
    for t in range(H):
        policy, state = module.behaviour(obs, state)
        step = env.step(policy.action(policy.from_noise(noise[t])))
        done = step.terminated | step.truncated
        total = total + weight * step.reward
        ends = done | torch.tensor(t == H - 1)
        value = torch.where(step.terminated, 0.0, module.value(step.final_obs))
        total = total + torch.where(ends, weight * module.discount * value, 0.0)
        weight = torch.where(done, 1.0, weight * module.discount)
        obs, state = step.obs, state.masked_fill(done[:, None], 0.0)
    return total


def test_the_gradient_of_a_remembering_policy_is_that_of_its_return_through_time() -> None:
    module = remembering(type("CapturedSHAC", (Captured, SHAC), {})).double()
    module.gradients, module.hooked = [], []
    env = HiddenVelocity(N, seed=3, episode_length=5, limit=0.95, dtype=torch.float64)
    collector = Collector(env, H, seed=1)
    noise = torch.randn(H, N, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batch = collector.collect(module)
    assert batch.done.any()
    module.improve_actor(batch, None, torch.Generator())
    loss = -straight_objective(module, noise, torch.zeros(N, 6, dtype=torch.float64)).sum() / (H * N)
    assert_gradients_equal(module.gradients[0], torch.autograd.grad(loss, list(module.actor.parameters())))


def test_memory_goes_on_over_windows_and_is_lost_at_an_episode_s_end() -> None:
    module = remembering(RPO)
    collector = Collector(HiddenVelocity(4, seed=3, episode_length=6), 4, seed=1)
    first, second = collector.collect(module), collector.collect(module)
    assert first.policy_state.shape == (4, 6)
    assert not first.policy_state.any()
    ended = first.done[-1]
    assert second.policy_state[~ended].any(-1).all()
    third = collector.collect(module)
    policy = module.over_window(module.normalizer(third.obs), third)
    torch.testing.assert_close(policy.mean, third.mean, atol=1e-6, rtol=1e-5)
    # the first step of a new episode is acted on without memory
    t, n = (second.done[:-1] & second.done[:-1]).nonzero()[0].tolist()
    alone, _ = module.behaviour(second.obs[t + 1, n : n + 1], torch.zeros(1, 6))
    torch.testing.assert_close(alone.mean[0], second.mean[t + 1, n], atol=1e-6, rtol=1e-5)


def test_a_state_dict_of_the_collector_holds_the_memory() -> None:
    module = remembering(RPO)
    one, other = (Collector(HiddenVelocity(4, seed=s, episode_length=6), 4, seed=s) for s in (1, 2))
    one.collect(module)
    other.load_state_dict(one.state_dict())
    ours, theirs = one.collect(module), other.collect(module)
    assert torch.equal(ours.sample, theirs.sample)
    assert torch.equal(ours.policy_state, theirs.policy_state)


def test_playing_remembers_within_an_episode() -> None:
    module, obs = remembering(RPO), torch.randn(3, 2)
    play = module.player(3, deterministic=True)
    first, second = play(obs), play(obs)
    assert not torch.equal(first, second)
    assert torch.equal(first, module.player(3, deterministic=True)(obs))


@pytest.mark.parametrize("name", ["sac", "napg"])
def test_an_algorithm_that_shuffles_or_differentiates_twice_refuses_memory_in_a_sentence(name: str) -> None:
    torch.manual_seed(0)
    algorithm, options = SMALL[name]
    module = algorithm(2, 1, 4096, **{**options, "actor": partial(GRUActor, hidden=(8,), state_size=6)})
    with pytest.raises(
        ValueError, match=f"GRUActor has a hidden state, with which RPO, SHAC and SAPO can learn, not {name}"
    ):
        module.setup("fit")


@pytest.mark.parametrize(
    ("actor", "fault"),
    [
        (lambda obs_dim, action_dim: torch.nn.Linear(obs_dim, action_dim), "but: Tensor"),
        (lambda obs_dim, action_dim: Actor(obs_dim, action_dim + 1), "but: SquashedGaussian"),
        (lambda obs_dim, action_dim: Actor(obs_dim + 2, action_dim), "but: mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_a_network_that_is_no_policy_is_refused_before_the_first_window(actor: Any, fault: str) -> None:
    module = RPO(3, 1, 4096, hidden=(4,), actor=actor)
    data = RolloutDataModule(PointMass, num_envs=8, horizon=8, iterations_per_epoch=2, seed=5)
    with pytest.raises(ValueError, match=f"cannot be the actor of rpo: .*{fault}"):
        run_fabric(module, data)


def test_networks_given_by_options_are_used() -> None:
    torch.manual_seed(0)
    module = RPO(3, 1, 4096, **ORIGINAL_NETWORKS)
    data = RolloutDataModule(PointMass, num_envs=8, horizon=8, iterations_per_epoch=2, seed=5)
    before = snapshot(module)
    run_fabric(module, data)
    assert type(module.actor).__name__ == "FreeStdActor"
    assert largest_difference(before, snapshot(module)) > 0.0
    assert module.options["actor"] == {
        "class_path": "rpo_lightning.nn.actor.FreeStdActor",
        "init_args": {"hidden": [16, 16]},
    }
