"""Runs on an accelerator, as far as a machine without one can tell: on the stand-in of `tests/stand_in.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.fabric import Fabric
from lightning.fabric.strategies import SingleDeviceStrategy as FabricStrategy
from lightning.pytorch.strategies import SingleDeviceStrategy

import rpo_lightning
from rpo_lightning.callbacks.evaluation import evaluate
from rpo_lightning.checkpoints import CheckpointFiles
from rpo_lightning.envs import names
from rpo_lightning.envs.dmc import control_task, physics
from rpo_lightning.envs.dmc.worlds import Worlds
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.files import on_cpu
from rpo_lightning.seeding import normal, permutation
from tests.algorithms.drivers import (
    ALGORITHMS,
    Record,
    largest_difference,
    make_algorithm,
    make_data,
    make_trainer,
    snapshot,
)
from tests.stand_in import DEVICE, StandIn, accelerator

CPU = torch.device("cpu")


def run(
    name: str, device: torch.device, steps: int, ckpt: Path | None = None, save: Path | None = None
) -> tuple[dict, list]:
    """Train under Fabric on a device; return the weights, on the CPU, and metrics."""
    module, data, record = make_algorithm(name), make_data(2), Record()
    placed: dict[str, Any] = (
        {"accelerator": StandIn(), "strategy": FabricStrategy(device=device)} if device == DEVICE else {}
    )
    options = {"accelerator": "cpu", "devices": 1, "callbacks": [record], "plugins": [CheckpointFiles(ckpt)], **placed}
    driver = FabricDriver(Fabric(**options), module, data, [record], "runs", max_steps=steps, check_val_every_n_epoch=None)
    driver.fit(ckpt)
    assert module.device == device
    if save is not None:
        driver.save_checkpoint(save)
    return on_cpu(snapshot(module)), record.metrics


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_run_on_every_device(name: str) -> None:
    """Starts, noise, minibatches and replay draws are the CPU's; nothing is drawn there or lies in the wrong place."""
    weights, metrics = run(name, CPU, 2)
    with accelerator():
        others, there = run(name, DEVICE, 2)
    assert largest_difference(weights, others) == 0.0
    assert metrics == there
    assert largest_difference(weights, snapshot(make_algorithm(name))) > 0.0


@pytest.mark.parametrize(("name", "first"), [("rpo", CPU), ("reppo", DEVICE), ("sac", CPU), ("sac", DEVICE)])
def test_a_run_moves_between_devices_at_a_checkpoint(name: str, first: torch.device, tmp_path: Path) -> None:
    path, second = tmp_path / "half.ckpt", DEVICE if first == CPU else CPU
    whole, metrics = run(name, CPU, 3)
    with accelerator():
        _, before = run(name, first, 2, save=path)
        assert all_of_the_cpu(torch.load(path, weights_only=True))
        weights, after = run(name, second, 3, ckpt=path)
    assert largest_difference(whole, weights) == 0.0
    assert metrics == before + after


def all_of_the_cpu(value: Any) -> bool:
    """Tell whether a file's tensors, of which it has some, are torch's own and of the CPU."""
    if isinstance(value, dict | list | tuple):
        return all(map(all_of_the_cpu, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, torch.Tensor) or (type(value) is torch.Tensor and value.device == CPU)


def test_the_trainer_runs_there_too(tmp_path: Path) -> None:
    def weights(**options: Any) -> dict:
        module, trainer = make_algorithm("rpo"), make_trainer(tmp_path, plugins=[CheckpointFiles(None)], **options)
        trainer.fit(module, datamodule=make_data(2))
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        assert isinstance(trainer, Trainer)
        return on_cpu(snapshot(module))

    whole = weights()
    with accelerator():
        there = weights(accelerator=StandIn(), strategy=SingleDeviceStrategy(device=DEVICE))
        assert all_of_the_cpu(torch.load(tmp_path / "end.ckpt", weights_only=True))
    assert largest_difference(whole, there) == 0.0


class PlacedPhysics(physics.CpuPhysics):
    """MuJoCo's worlds on the CPU, seen from the stand-in."""

    def step(self, ctrl: torch.Tensor) -> None:
        super().step(ctrl.cpu())

    def view(self) -> Any:
        return tuple(part.to(DEVICE) for part in super().view())

    def put(self, mask: torch.Tensor, worlds: Any) -> None:
        super().put(mask.cpu(), Worlds(**{name: part.cpu() for name, part in worlds.parts().items()}))


OPTIONS = {
    "cartpole": {"history": 2, "randomize": {"mass": {"scale": [0.8, 1.2]}}, "observe_parameters": True},
    "quadruped": {"action_delay": [0, 1], "action_delay_substeps": 1},
}
TASKS = [*(name for name in names() if "/" not in name), "dmc/cheetah_run", "dmc/reacher_easy", "gymnasium/Pendulum-v1"]


@pytest.mark.parametrize("name", TASKS)
def test_tasks_start_and_step_the_same_on_every_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def played(device: torch.device) -> dict:
        env = rpo_lightning.make(name, 4, device=device, seed=3, **OPTIONS.get(name, {}))
        action = normal((2, 4, env.action_dim), torch.Generator().manual_seed(0), torch.zeros((), device=device))
        starts = dict(env.state_dict())
        step = [env.step(each) for each in action][-1]
        env.progress = torch.full_like(env.progress, env.max_episode_steps - 1)
        env.step(action[0])  # all begin anew
        found = on_cpu({"starts": starts, "step": list(step), "later": env.state_dict()})
        other = rpo_lightning.make(name, 4, device=device, **OPTIONS.get(name, {}))
        other.load_state_dict(found["later"])
        env.close(), other.close()
        return found

    make = control_task.make_physics
    monkeypatch.setattr(control_task, "make_physics", lambda *given: (make if given[3] == CPU else _placed)(*given))
    here = played(CPU)
    with accelerator():
        there = played(DEVICE)
    assert_same(here, there)


def _placed(engine: Any, num_worlds: int, substeps: int, device: torch.device) -> PlacedPhysics:
    return PlacedPhysics(engine, num_worlds, substeps)


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Check that two values agree to the bit, and say where not."""
    if isinstance(one, dict | list):
        pairs = one.items() if isinstance(one, dict) else enumerate(one)
        assert len(one) == len(other), where
        for key, value in pairs:
            assert_same(value, other[key], f"{where}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one.nan_to_num(), other.nan_to_num()), where
    else:
        assert one == other, where


def test_an_evaluation_gives_the_same_figure_on_every_device() -> None:
    def figure(device: torch.device) -> dict[str, float]:
        policy = rpo_lightning.load_policy("cartpole")
        policy.module.to(device)

        def make_env(**given: Any) -> Any:
            return rpo_lightning.make("cartpole", device=device, episode_length=40, **given)

        return evaluate(policy.module, make_env, 4, False, seed=7)

    here = figure(CPU)
    with accelerator():
        assert figure(DEVICE) == here


def test_without_a_generator_too_numbers_are_drawn_on_the_cpu() -> None:
    def drawn(device: torch.device) -> torch.Tensor:
        torch.manual_seed(4)
        return make_algorithm("rpo").to(device).act(torch.ones(2, 3, device=device)).cpu()

    expected = drawn(CPU)
    with accelerator():
        assert torch.equal(drawn(DEVICE), expected)


def test_the_stand_in_refuses_and_counts_what_a_gpu_would() -> None:
    generator = torch.Generator().manual_seed(0)
    with accelerator() as waits:
        x = torch.ones(3, device=DEVICE)
        for draw in (
            lambda: torch.rand(3, device=DEVICE),
            lambda: torch.rand_like(x),
            lambda: x.clone().normal_(),
            lambda: torch.nn.functional.dropout(x),
            lambda: torch.randperm(3, device=DEVICE),
            lambda: torch.randint(3, (2,), device=DEVICE),
            lambda: torch.randn(3, generator=generator, device=DEVICE),
        ):
            with pytest.raises(RuntimeError, match="draws random numbers on the accelerator"):
                draw()
        with pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
            x + torch.ones(3)
        assert sorted(permutation(3, generator, DEVICE).cpu().tolist()) == [0, 1, 2]
        waits.clear()
        for wait in (x.sum().item, x.tolist, x.cpu, x.nonzero, lambda: bool(x[0]), lambda: x[x > 0], lambda: float(x[1])):
            before = sum(waits.values())
            wait()
            assert sum(waits.values()) == before + 1
        assert type(x + 1) is type(x)
        assert sum(waits.values()) == 7
