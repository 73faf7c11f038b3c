"""Every DFlex task against trajectories and gradients recorded from the reference simulator (DFlex, AHAC version)."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import rpo_lightning

DATA = Path(__file__).parents[1] / "data"
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
HORIZONS = (1, 4, 8, 16, 32)
TASKS = ("ant", "hopper", "anymal", "humanoid", "cheetah", "cartpole", "double_pendulum")
WITH_RESETS = TASKS[:5]  # the recordings there are
SHOWS_ACTIONS = ("ant", "anymal", "humanoid")


def load(name, device):
    with np.load(DATA / name) as file:
        return {key: torch.as_tensor(file[key], device=device) for key in file.files}


@pytest.fixture(scope="module", params=itertools.product(TASKS, DEVICES), ids="-".join)
def golden(request):
    task, device = request.param
    return load(f"dflex_{task.replace('_', '')}.npz", device) | {"task": task}


@pytest.fixture(scope="module", params=itertools.product(WITH_RESETS, DEVICES), ids="-".join)
def golden_resets(request):
    task, device = request.param
    return load(f"dflex_reset_{task}.npz", device) | {"task": task}


def make(data, num_envs, **options):
    return rpo_lightning.make(data["task"], num_envs=num_envs, device=data["actions"].device, **options)


def test_one_step_from_every_recorded_state(golden):
    steps, n, _ = golden["actions"].shape
    env = make(golden, steps * n, auto_reset=False)
    env.set_state(golden["joint_q"][:-1].flatten(0, 1), golden["joint_qd"][:-1].flatten(0, 1))
    env.step(golden["actions"].flatten(0, 1))
    for name, state, floor in (("q", env.q, 5e-6), ("qd", env.qd, 1e-4)):
        error = (state.view(steps, n, -1) - golden[f"joint_{name}"][1:]).abs().amax((1, 2))
        noise = golden[f"noise_onestep_{name}"].amax(1)
        assert (error <= 2 * noise.clamp(min=floor)).all(), f"{name}: {error.max():.2e}"


@pytest.mark.parametrize(("reward_from", "recorded"), [("previous", "reward"), ("next", "reward_next")])
def test_a_whole_rollout(golden, reward_from, recorded):
    steps, n, _ = golden["actions"].shape
    env = make(golden, n, auto_reset=False, reward_from=reward_from)
    obs = env.set_state(golden["joint_q"][0], golden["joint_qd"][0])
    for t in range(steps):
        noise = golden["noise_rollout_qd"][t].max().item()
        torch.testing.assert_close(obs, golden["obs_gradmode"][t], rtol=5e-6, atol=max(1e-4, noise))
        step = env.step(golden["actions"][t])
        obs = step.obs
        assert (env.q - golden["joint_q"][t + 1]).abs().max() <= 1e-4
        torch.testing.assert_close(step.reward, golden[recorded][t], rtol=0, atol=reward_tolerance(golden[recorded]))
        assert torch.equal(step.terminated, golden["termination"][t].bool())
        assert torch.equal(step.obs, step.final_obs)


def test_the_observation_shows_the_action_on_request(golden):
    assert torch.equal(golden["obs"], golden["obs_gradmode"]) == (golden["task"] not in SHOWS_ACTIONS)
    n = golden["actions"].shape[1]
    if golden["task"] not in SHOWS_ACTIONS:
        with pytest.raises(TypeError, match="unknown option 'observe_action': `observe` shows no action"):
            make(golden, n, observe_action=True)
        return
    env = make(golden, n, auto_reset=False, observe_action=True)
    env.set_state(golden["joint_q"][0], golden["joint_qd"][0])
    for t in range(8):
        obs = env.step(golden["actions"][t]).obs
        torch.testing.assert_close(obs, golden["obs"][t + 1], rtol=5e-6, atol=1e-4)


def reward_tolerance(rewards):
    """5e-5, or 3e-6 of the largest where quadratic terms make rewards large."""
    return max(5e-5, 3e-6 * rewards.abs().max().item())


def along_the_sphere(task, q, gradient):
    """Drop what a gradient (..., nq and more) says of a quaternion's length, for Anymal.

    The recording walked through 63 fixed links that are merged here: the same robot for unit quaternions only.
    """
    if task != "anymal":
        return gradient
    quat = q[:, 3:7]
    keep = torch.eye(4, device=q.device) - quat[:, :, None] * quat[:, None, :]
    projected = (gradient[..., None, 3:7] @ (keep if gradient.dim() == 2 else keep[:, None])).squeeze(-2)
    return torch.cat([gradient[..., :3], projected, gradient[..., 7:]], dim=-1)


def relative_error(ours, reference):
    """Relative L2 error per environment; absolute where the reference is below 1e-6."""
    ours, reference = ours.flatten(1), reference.flatten(1)
    norm, error = reference.norm(dim=1), (ours - reference).norm(dim=1)
    return torch.where(norm > 1e-6, error / norm, error * 1e3)  # 1e-6 absolute passes the mark of 1e-3


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize(("reward_from", "prefix"), [("previous", "grad"), ("next", "gradnext")])
def test_gradients_of_the_discounted_return(golden, reward_from, prefix, horizon):
    env = make(golden, golden["actions"].shape[1], auto_reset=False, reward_from=reward_from)
    inputs = [golden[key].clone().requires_grad_() for key in ("joint_q", "joint_qd", "actions")]
    q0, qd0, actions = inputs[0], inputs[1], inputs[2]
    env.set_state(q0[0], qd0[0])
    total = sum(golden["gamma"].item() ** t * env.step(actions[t]).reward for t in range(horizon))
    grad_q, grad_qd, grad_actions = torch.autograd.grad(total.sum(), inputs, allow_unused=True, materialize_grads=True)
    noise = golden[f"noise_grad_act_rel_H{horizon}"]
    for name, ours in (("act", grad_actions[:horizon].transpose(0, 1)), ("q0", grad_q[0]), ("qd0", grad_qd[0])):
        reference = golden[f"{prefix}_{name}_H{horizon}"]
        reference = reference.transpose(0, 1) if name == "act" else reference
        if name == "q0":
            ours, reference = (along_the_sphere(golden["task"], q0[0].detach(), g) for g in (ours, reference))
        error = relative_error(ours, reference)
        assert (error <= (5 * noise).clamp(min=1e-3)).all(), f"{name}: {error.tolist()}"


@pytest.mark.parametrize("at", [0, 8])
def test_jacobian_of_one_step(golden, at):
    env = make(golden, golden["actions"].shape[1], auto_reset=False)
    inputs = [golden[key][at].clone().requires_grad_() for key in ("joint_q", "joint_qd", "actions")]
    env.set_state(inputs[0], inputs[1])
    env.step(inputs[2])
    rows = torch.cat([env.q, env.qd], dim=1).unbind(1)
    jacobian = torch.stack([torch.cat(torch.autograd.grad(r.sum(), inputs, retain_graph=True), 1) for r in rows], dim=1)
    both = (along_the_sphere(golden["task"], inputs[0].detach(), j) for j in (jacobian, golden[f"jac_step{at}"]))
    assert relative_error(*both).max() <= 1e-3


def test_resets_inside_a_rollout(golden_resets):
    data = golden_resets
    steps, n, _ = data["actions"].shape
    env = make(data, n, stochastic_init=False, episode_length=int(data["episode_length"]))
    actions = data["actions"].clone().requires_grad_()
    env.set_state(data["joint_q"][0], data["joint_qd"][0])
    total = torch.zeros(n, device=actions.device)
    assert data["termination"].any() or data["task"] == "cheetah"
    assert data["truncation"].any()
    for t in range(steps):
        step = env.step(actions[t])
        total = total + data["gamma"].item() ** t * step.reward
        torch.testing.assert_close(step.obs, data["obs_gradmode"][t + 1], rtol=0, atol=1e-4)
        torch.testing.assert_close(step.final_obs, data["obs_before_reset_gradmode"][t], rtol=0, atol=1e-4)
        torch.testing.assert_close(step.reward, data["reward"][t], rtol=0, atol=reward_tolerance(data["reward"]))
        torch.testing.assert_close(env.q, data["joint_q"][t + 1], rtol=0, atol=1e-4)
        for name, ours in (
            ("termination", step.terminated),
            ("truncation", step.truncated),
            ("progress", env.progress),
        ):
            assert torch.equal(ours, data[name][t].to(ours.dtype)), (name, t)
    (grad,) = torch.autograd.grad(total.sum(), actions)
    assert relative_error(grad.transpose(0, 1), data["grad_act"].transpose(0, 1)).max() <= 1e-3
