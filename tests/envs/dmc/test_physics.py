"""The worlds move as MuJoCo's own loop moves them, and sensors belong to the state reached."""

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.envs.dmc.models import Options, load_model, suite_file
from rpo_lightning.envs.dmc.physics import CpuEngine, CpuPhysics

pytest.importorskip("dm_control")
N = 8
SENSORS = {"speed": ("subtreelinvel", "body", "torso"), "foot": ("framepos", "xbody", "bfoot")}


def cheetah(iterations=4, sensors=SENSORS, edit=None):
    return load_model(suite_file("cheetah"), Options(timestep=0.01, iterations=iterations, ls_iterations=8), sensors, edit)


def hard_cheetah():
    """One solver iteration: where it begins decides where it ends."""
    return cheetah(iterations=1)


def touchy_cheetah():
    """With a sensor that needs contact forces."""

    def edit(spec):
        spec.body("bfoot").add_site(name="sole", size=[0.3, 0.3, 0.3])

    return cheetah(sensors={**SENSORS, "touch": ("touch", "site", "sole")}, edit=edit)


def poses(model, seed=0):
    rng = np.random.default_rng(seed)
    qpos = np.tile(model.qpos0, (N, 1))
    qpos[:, 3:] += rng.uniform(-0.3, 0.3, (N, model.nq - 3))
    return qpos, np.zeros((N, model.nv)), np.zeros((N, model.nv))


def controls(model, count, seed=1):
    return torch.rand(count, N, model.nu, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def run(model, steps, substeps, threads=1):
    """Return the physics after `steps` random controls, and MuJoCo's data after its own loop with the same."""
    engine = CpuEngine(model, threads)
    physics = CpuPhysics(engine, N, substeps)
    qpos, qvel, warmstart = engine.advance(*poses(model), np.zeros((N, model.nu)), 40)
    start = {"qpos": qpos, "qvel": qvel, "warmstart": warmstart, "sensordata": np.zeros((N, model.nsensordata))}
    physics.load_state_dict({name: torch.from_numpy(part.copy()) for name, part in start.items()})
    loops = []
    for row in range(N):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:], data.qacc_warmstart[:] = qpos[row], qvel[row], warmstart[row]
        loops.append(data)
    for ctrl in controls(model, steps):
        physics.step(ctrl)
        for row, data in enumerate(loops):
            data.ctrl[:] = ctrl[row].numpy()
            mujoco.mj_step(model, data, substeps)
    return physics, loops


@pytest.mark.parametrize("model", [cheetah, hard_cheetah])
@pytest.mark.parametrize("substeps", [1, 3])
def test_moves_as_a_plain_loop(model, substeps):
    physics, loops = run(model(), 30, substeps)
    state = physics.state_dict()
    for row, data in enumerate(loops):
        np.testing.assert_allclose(state["qpos"][row], data.qpos, atol=1e-9)
        np.testing.assert_allclose(state["qvel"][row], data.qvel, atol=1e-8)


def test_the_warm_start_matters():
    """Otherwise the test above would not show that it is kept."""
    model = hard_cheetah()
    physics, _ = run(model, 30, 1)
    cold = CpuPhysics(physics.engine, N, 1)
    cold.load_state_dict(physics.state_dict() | {"warmstart": torch.zeros(N, model.nv)})
    for ctrl in controls(model, 5, seed=2):
        physics.step(ctrl)
        cold.step(ctrl)
    assert (physics.state_dict()["qvel"] - cold.state_dict()["qvel"]).abs().max() > 1e-4


@pytest.mark.parametrize("model", [cheetah, touchy_cheetah])
def test_sensors_are_of_the_state_reached(model):
    physics, loops = run(model(), 20, 2)
    _, _, sensed = physics.view()
    lagging = np.stack([data.sensordata.copy() for data in loops])
    for data in loops:
        mujoco.mj_forward(physics.engine.model, data)
    reached = np.stack([data.sensordata for data in loops])
    np.testing.assert_allclose(sensed, reached, rtol=1e-4, atol=1e-5)
    assert np.abs(lagging - reached).max() > 0.01
    assert (reached[:, 6:] > 0).any() == (model is touchy_cheetah)


def test_threads_do_not_change_bits():
    one, two = (run(cheetah(), 10, 2, threads)[0].state_dict() for threads in (1, 3))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_long_advance_is_many_short_ones():
    engine = CpuEngine(hard_cheetah(), 1)
    ctrl = np.zeros((N, 6))
    state = poses(engine.model)
    whole = engine.advance(*state, ctrl, 50)
    for _ in range(50):
        state = engine.advance(*state, ctrl, 1)
    for a, b in zip(whole, state, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


def test_penetration_is_contact():
    model = cheetah()
    qpos = np.tile(model.qpos0, (2, 1))
    qpos[:, 1] = [2.0, -0.3]
    assert CpuEngine(model, 1).penetrates(qpos).tolist() == [False, True]


def test_the_model_has_the_options_and_sensors_asked_for():
    model = load_model(
        suite_file("cartpole"), Options(0.004, 3, 5, "implicitfast", "elliptic", ("contact", "eulerdamp")), {}
    )
    flags = mujoco.mjtDisableBit
    assert (model.opt.timestep, model.opt.iterations, model.opt.ls_iterations) == (0.004, 3, 5)
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert model.opt.disableflags == flags.mjDSBL_CONTACT | flags.mjDSBL_EULERDAMP | flags.mjDSBL_AUTORESET
    assert model.nsensor == 0
    assert [cheetah().sensor(i).name for i in range(2)] == list(SENSORS)


def test_bad_threads():
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        CpuEngine(cheetah(), 0)
