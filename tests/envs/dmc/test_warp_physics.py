"""Worlds in MuJoCo Warp move, sense and restart as those in MuJoCo; here on Warp's CPU device unless there is a GPU.

From an empty cache of Warp the kernels take about 35 s of CPU time to compile, of 50 s in all; afterwards it is 15 s.
"""

import sys
import warnings

import numpy as np
import pytest
import torch

import rpo_lightning
from rpo_lightning.envs.dmc import control_task, physics
from rpo_lightning.envs.dmc.models import Options, load_model, suite_file
from rpo_lightning.envs.dmc.physics import CpuEngine, CpuPhysics
from rpo_lightning.envs.dmc.worlds import Worlds
from tests.envs.dmc.test_physics import SENSORS, cheetah, touchy_cheetah

pytest.importorskip("dm_control")
pytest.importorskip("mujoco_warp")
from rpo_lightning.envs.dmc import warp_physics
from rpo_lightning.envs.dmc.warp_physics import WarpPhysics, capacity

N = 6
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
RUN = "dmc/cheetah_run"
on_every_device = pytest.mark.parametrize("device", DEVICES)


def cartpole():
    options = Options(timestep=0.01, iterations=1, ls_iterations=4, disable=("contact", "eulerdamp"))
    return load_model(suite_file("cartpole"), options, {})


def reacher():
    """With a solver that converges: where few iterations end depends on where they begin, which Warp chooses otherwise."""
    return load_model(
        suite_file("reacher"), Options(timestep=0.005, iterations=20), {"finger": ("framepos", "geom", "finger")}
    )


def place(device):
    return torch.device(device, 0) if device == "cuda" else torch.device(device)


def both(model, device="cpu", substeps=2, settling=60):
    """Worlds in the same random states in both backends: a cheetah is on the ground, the reacher's wrist at its limit."""
    engine = CpuEngine(model, 1)
    one, other = CpuPhysics(engine, N, substeps), WarpPhysics(model, N, substeps, place(device))
    random = np.random.default_rng(0)
    qpos = model.qpos0 + random.uniform(-0.3, 0.3, (N, model.nq))
    still = np.zeros((N, model.nv))
    if model.jnt_limited[-1]:
        qpos[:, -1] = model.jnt_range[-1, 1] + random.uniform(-0.2, 0.1, N)
    moved = engine.advance(qpos, still, still, np.zeros((N, model.nu)), settling)
    sensed = engine.sense(*moved, np.zeros((N, model.nu)))
    start = Worlds(*(torch.from_numpy(part.copy()) for part in (*moved, sensed)), torch.zeros(N, 0))
    for backend in (one, other):
        there = place(device) if backend is other else "cpu"
        backend.put(torch.ones(N, dtype=torch.bool, device=there), moved_to(start, there))
    return one, other


def moved_to(worlds, device):
    return Worlds(*(part.to(device) for part in worlds.parts().values()))


def controls(model, count, seed=1):
    return torch.rand(count, N, model.nu, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def run(backend, count, seed=1):
    seen = []
    for ctrl in controls(backend._model, count, seed):
        backend.step(ctrl.to(backend.device))
        seen += backend.view()
    return seen


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@on_every_device
@pytest.mark.parametrize("model", [cartpole, reacher, touchy_cheetah])
def test_moves_and_senses_as_mujoco(model, device):
    """Largest differences seen on the CPU: positions 8e-7, velocities 4e-5, sensors 2e-5 of 1 plus their size."""
    model = model()
    one, other = both(model, device)
    for ctrl in controls(model, 10):
        one.step(ctrl)
        other.step(ctrl.to(other.device))
        for name, own, expected, bound in zip(
            ("qpos", "qvel", "sensordata"), other.view(), one.view(), (1e-5, 4e-4, 2e-4), strict=True
        ):
            assert own.dtype == torch.float32
            difference = (own.cpu() - expected).abs() - 1e-4 * expected.abs()
            assert (difference < bound).all(), f"{name}: {difference.max()}"
    if model.nsensor > 2:
        assert (one.view()[2][:, 6:] > 0).any()
        assert other._data.nacon.numpy()[0] > 0
    assert other._data.nefc.numpy().any() or model.nsensor == 0


@on_every_device
def test_put_leaves_the_others_alone(device):
    _, touched = both(cheetah(), device)
    _, whole = both(cheetah(), device)
    seen = run(touched, 3)
    kept = [part.clone() for part in seen]
    run(whole, 3)
    random = torch.Generator().manual_seed(3)
    widths = {name: values.shape[1] for name, values in touched.state_dict().items()}
    worlds = Worlds(*(torch.rand(N, width, generator=random).double() for width in widths.values()), torch.zeros(N, 0))
    chosen = torch.tensor([False, True, False, False, True, False])
    touched.put(chosen.to(touched.device), moved_to(worlds, touched.device))
    state, parts, rest = touched.state_dict(), worlds.parts(), torch.tensor([0, 2, 3, 5])
    bound = {"rtol": 0.0, "atol": 0.0} if device == "cpu" else {"rtol": 1e-3, "atol": 1e-3}  # see `WarpPhysics`
    for name, values in whole.state_dict().items():
        assert torch.equal(state[name].cpu()[chosen], parts[name].float()[chosen])
        torch.testing.assert_close(state[name].cpu()[rest], values.cpu()[rest], **bound)
    for own, other in zip(run(touched, 3, seed=2), run(whole, 3, seed=2), strict=True):
        torch.testing.assert_close(own.cpu()[rest], other.cpu()[rest], **bound)
    assert same(seen, kept)  # what was returned before


def test_state_dict_continues_to_the_bit():
    _, straight = both(touchy_cheetah())
    _, other = both(touchy_cheetah(), settling=10)
    run(straight, 4)
    state = straight.state_dict()
    expected = run(straight, 6, seed=2)
    other.load_state_dict(state)
    assert same(list(other.state_dict().values()), list(state.values()))
    assert same(expected, run(other, 6, seed=2))
    straight.load_state_dict(state)  # which stepping must not have changed
    assert same(expected, run(straight, 6, seed=2))


def test_a_graph_does_what_its_launches_do():
    """The graph of a CUDA device, captured and replayed on the CPU; of streams it tells nothing."""
    _, direct = both(touchy_cheetah())
    _, captured = both(touchy_cheetah())
    state = captured.state_dict()
    captured._graph = captured._captured()
    captured.load_state_dict(state)
    assert same(run(direct, 5), run(captured, 5))


def test_either_backend_continues_from_the_other():
    one, other = both(cheetah())
    run(other, 3)
    one.load_state_dict(other.state_dict())
    for ctrl in controls(cheetah(), 3, seed=2):
        one.step(ctrl)
        other.step(ctrl)
    for own, expected in zip(other.view(), one.view(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=5e-4)
    other.load_state_dict(one.state_dict())
    assert same(one.view(), other.view())


@pytest.mark.parametrize("bad", [float("nan"), 1e30])
def test_a_broken_world_stays_alone_and_can_be_replaced(bad):
    _, broken = both(cheetah())
    _, whole = both(cheetah())
    good = Worlds(**{name: part.double() for name, part in whole.state_dict().items()}, target=torch.zeros(N, 0))
    state = broken.state_dict()
    state["qvel"][2, 4] = bad
    broken.load_state_dict(state)
    rest = torch.arange(N) != 2
    for own, other in zip(run(broken, 4), run(whole, 4), strict=True):
        assert torch.equal(own[rest], other[rest])
    for backend in (broken, whole):
        backend.put(torch.ones(N, dtype=torch.bool), good)
    assert same(run(broken, 4), run(whole, 4))


def test_room_is_made_where_it_lacks(monkeypatch):
    monkeypatch.setattr(warp_physics, "_CHECK_INTERVAL", 3)
    _, short = both(cheetah())
    state = short.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(short, 6)
    short._allocate(1, 6)
    short.load_state_dict(state)
    run(short, 2)
    words = r"lacked room .*NEFC.* in . of 6 worlds: .* room for 2 contacts and 12 constraint rows instead of 1 and 6"
    with pytest.warns(RuntimeWarning, match=words):
        run(short, 1)
    assert (short._data.naconmax, short._data.njmax) == (2 * N, 12)
    assert all(torch.isfinite(part).all() for part in run(short, 2))


def test_room_is_the_models():
    assert capacity(cartpole()) == (0, 1)  # the rail's ends
    assert capacity(load_model(suite_file("acrobot"), Options(timestep=0.01), {})) == (0, 0)  # nothing constrains it
    assert capacity(load_model(suite_file("walker"), Options(timestep=0.0025), {})) == (14, 62)  # 7 capsules and 6 limits
    assert capacity(load_model(suite_file("humanoid"), Options(timestep=0.005), {})) == (128, 256)


def test_a_task_runs_on_it(monkeypatch):
    options = {"num_envs": N, "threads": 1, "episode_length": 4}
    expected = rpo_lightning.make(RUN, **options)
    monkeypatch.setattr(control_task, "make_physics", lambda engine, *rest: WarpPhysics(engine.model, *rest))
    env, other = rpo_lightning.make(RUN, **options), rpo_lightning.make(RUN, seed=5, **options)
    assert isinstance(env.physics, WarpPhysics)
    for action in controls(env.model, 10):
        for own, reference in zip(env.step(action)[:-1], expected.step(action)[:-1], strict=True):
            torch.testing.assert_close(own, reference, rtol=1e-3, atol=2e-3)
    state = env.state_dict()
    steps = controls(env.model, 6, seed=2)
    steps[1, 3, 0] = float("nan")
    straight = [part for action in steps for part in (*env.step(action)[:-1], env.invalid)]
    assert straight[8:16][-1].tolist() == [False, False, False, True, False, False]
    other.load_state_dict(state)
    assert same(straight, [part for action in steps for part in (*other.step(action)[:-1], other.invalid)])


def test_without_mujoco_warp(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    monkeypatch.delitem(sys.modules, warp_physics.__name__)
    with pytest.raises(ImportError, match=r"need the package mujoco-warp on CUDA.*pip install 'rpo-lightning\[dmc\]'"):
        physics.make_physics(CpuEngine(cheetah(sensors=SENSORS), 1), N, 1, torch.device("cuda", 0))
