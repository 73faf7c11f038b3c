"""scripts/gradient_signal.py: shares of signal against closed forms, gradients against differences of what was rolled out."""

import math
import re
from functools import partial

import gradient_signal
import pytest
import torch

import rpo_lightning
from rpo_lightning.algorithms import RPO
from rpo_lightning.rollout import Collector, RolloutDataModule
from tests.algorithms.drivers import make_trainer


def test_signal_is_what_the_mean_over_continuations_holds():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(400, 1, 3, generator=generator)
    grads = mean + 2.0 * torch.randn(400, 5, 3, generator=generator)
    assert gradient_signal.signal_share(grads) == pytest.approx(1 / 5, abs=0.03)  # |m|^2 = 3 beside 4 * 3
    assert gradient_signal.signal_share(grads - mean) == pytest.approx(0.0, abs=0.02)  # biased by 1/5 without the correction
    assert gradient_signal.signal_share(mean.expand(-1, 5, -1)) == pytest.approx(1.0)
    assert math.isnan(gradient_signal.signal_share(torch.zeros(4, 5, 3)))


def test_long_gradients_are_shortened_to_ten_medians():
    grads = torch.ones(1, 5, 1)
    grads[0, 0] = 1000.0
    assert gradient_signal.shortened(grads, gradient_signal.CUT)[0].flatten().tolist() == [10.0, 1.0, 1.0, 1.0, 1.0]


def test_noise_is_told_in_robots():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(1, 50, generator=generator)
    noise = torch.randn(400, 50, generator=generator)
    robots = 3.0 * noise.square().sum(1).mean() / signal.square().sum()
    assert gradient_signal.noise_scale(signal + math.sqrt(3.0) * noise) == pytest.approx(float(robots), rel=0.1)
    assert gradient_signal.noise_scale(signal.expand(5, -1)) == pytest.approx(0.0, abs=1e-4)


def test_gradients_of_single_robots_make_that_of_the_first_epoch():
    torch.manual_seed(0)
    module = RPO(5, 1, 4096, hidden=(16, 16), kl_coef=0.0, entropy_coef=0.0, actor_epochs=1)
    make = partial(rpo_lightning.make, "cartpole", num_envs=4, seed=1)
    alone = gradient_signal.policy_gradients(make(), module, 8, 0)
    taken: list = []
    module.apply_gradients = lambda optimizer, params, loss, norm: (
        taken.append(torch.autograd.grad(loss, params)) or torch.zeros(())
    )
    module.improve_actor(Collector(make(), 8, 0).collect(module), None, torch.Generator().manual_seed(0))
    torch.testing.assert_close(-alone.mean(0), torch.cat([part.flatten() for part in taken[0]]), rtol=1e-4, atol=1e-5)
    assert taken[0][0].abs().max() > 0.0


@pytest.fixture(scope="module")
def cartpole():
    module = rpo_lightning.load_policy("cartpole").module.requires_grad_(False)
    return rpo_lightning.make("cartpole", num_envs=6, seed=1), module


def test_rows_of_a_state_begin_alike_and_part_later(cartpole):
    env, module = cartpole
    gradient_signal.visit(env, module, 20, 3, torch.Generator().manual_seed(2))
    q, _, progress = env.get_state()
    assert torch.equal(q.view(2, 3, -1)[:, 0], q.view(2, 3, -1)[:, 2])
    assert not torch.equal(q[0], q[3])
    assert torch.equal(progress.view(2, 3)[:, 0], progress.view(2, 3)[:, 1])
    found = gradient_signal.roll_out(env, module, 4, 3, False, torch.Generator().manual_seed(3))
    returns = found.returns.detach().view(4, 2, 3)
    assert torch.equal(
        returns[1, :, 0], returns[1, :, 1]
    )  # rewards are of the state before: two steps know the first sample alone
    assert not torch.equal(returns[3, :, 0], returns[3, :, 1])


def test_gradients_are_slopes_of_the_return(cartpole, monkeypatch):
    env, module = cartpole
    gradient_signal.visit(env, module, 20, 3, torch.Generator().manual_seed(2))
    state = env.state_dict()

    def returns(shift):
        env.load_state_dict(state)
        zeros = torch.zeros_like
        with monkeypatch.context() as patched:
            if shift:
                patched.setattr(torch, "zeros_like", lambda like, **options: zeros(like, **options) + shift)
            return gradient_signal.roll_out(env, module, 8, 3, False, torch.Generator().manual_seed(3))

    found = returns(0.0)
    grads = gradient_signal.gradients(found.returns[-1], found.first, 3).flatten()
    measured = (returns(0.01).returns[-1] - returns(-0.01).returns[-1]).detach() / 0.02
    torch.testing.assert_close(grads, measured, rtol=0.02, atol=0.02)


def test_the_table_is_printed_and_critics_are_asked_where_there_are_any(capsys, tmp_path):
    gradient_signal.main(["cartpole", "--horizons", "2,4", "--states", "2", "--continuations", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4].endswith("2 states, 3 continuations each")
    assert "slope" not in lines[-3]
    assert [line.split()[0] for line in lines[-2:]] == ["2", "4"]
    assert all(0.0 < float(line.split()[2]) <= 1.001 for line in lines[-2:])


def test_a_checkpoint_s_critics_are_asked_and_robots_counted(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_signal, "ROBOTS", 3)
    task = {"name": "cartpole", "init_args": {"physics": "right"}}
    data = RolloutDataModule(task, num_envs=2, horizon=4, iterations_per_epoch=1)
    module = RPO(5, 1, 8, hidden=(16, 16))
    trainer = make_trainer(tmp_path)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    command = [
        "cartpole",
        "--ckpt_path",
        str(tmp_path / "last.ckpt"),
        "--horizons",
        "2,4",
        "--states=2",
        "--continuations=3",
    ]
    physics, make = [], rpo_lightning.make
    monkeypatch.setattr(
        rpo_lightning, "make", lambda *given, **options: (physics.append(options["physics"]), make(*given, **options))[1]
    )
    gradient_signal.main(command)
    assert physics == ["right", "right"]  # in which it was trained
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4].endswith("cosine of the critics' slope beyond")
    assert all(-1.0 <= float(line.split()[4]) <= 1.0 for line in lines[-3:-1])
    assert re.fullmatch(r"a window of 4 steps: noise equals signal with \S+ robots", lines[-1])
