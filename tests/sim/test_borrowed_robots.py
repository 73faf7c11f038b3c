"""Robots of other projects, unmodified from their wheels: away from ground and limits they move as in MuJoCo."""

from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.sim import Joint, Simulator, load_mjcf, to_mujoco
from tests.sim import double, mujoco_witness, trees

GYMNASIUM, DM_CONTROL = "gymnasium/envs/mujoco/assets", "dm_control/suite"
CONTACT, LIMIT = (2e4, 2e3, 1e3, 0.8), (100.0, 1.0)
ENVS = 6
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute 'settotalmass' is deprecated")

# file -> what has to be dropped, links, contact points, motors, pairs of links that touch
ROBOTS = {
    f"{GYMNASIUM}/half_cheetah.xml": ((), 9, 16, 6, 0),
    f"{GYMNASIUM}/walker2d.xml": ((), 9, 14, 6, 0),
    f"{GYMNASIUM}/walker2d_v5.xml": ((), 9, 14, 6, 0),
    f"{GYMNASIUM}/hopper.xml": (("margin",), 6, 8, 3, 3),
    f"{GYMNASIUM}/ant.xml": (("margin",), 9, 25, 8, 0),
    f"{DM_CONTROL}/humanoid.xml": ((), 22, 35, 21, 142),
}


def located(file):
    package, _, inside = file.partition("/")
    found = find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.submodule_search_locations[0]) / inside


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=ROBOTS, ids=lambda file: Path(file).stem)
def file(request):
    return request.param


@pytest.fixture
def robot(file):
    """The path of a file and the robot in it."""
    path = located(file)
    return path, load_mjcf(path, CONTACT, LIMIT, ROBOTS[file][0])


def test_everything_is_read(file, robot):
    path, model = robot
    assert tuple(map(len, (model.links, model.contacts, model.actuators, model.pairs))) == ROBOTS[file][1:]
    assert {(c.ke, c.kd, c.kf, c.mu) for c in (*model.contacts, *model.pairs)} == {CONTACT}
    assert {(link.limit_ke, link.limit_kd) for link in model.links if link.joint is not Joint.FREE} == {LIMIT}
    assert (model.up.tolist(), model.ground) == ([0.0, 0.0, 1.0], 0.0)
    mj = mujoco.MjModel.from_xml_path(str(path))
    bounds = np.where(mj.jnt_limited[:, None], mj.jnt_range, [-np.inf, np.inf])
    assert [[link.lower, link.upper] for link in model.links] == bounds.tolist()


def test_accelerations_equal_mujocos(robot):
    path, model = robot
    model.contacts, model.geoms, model.pairs = [], [], []
    for link in model.links:
        link.limit_ke = link.limit_kd = 0.0
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(path)))
    q, qd, force = trees.state(model, ENVS, seed=1)
    force = 10.0 * force
    expected = mujoco_witness.acceleration(witness, model, q, qd, force)
    exact = double.acceleration(model, q, qd, force)
    torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())
    compiled = Simulator(model, ENVS, threads=1).acceleration(q.float(), qd.float(), force.float()).double()
    error = (compiled - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-4


def test_a_unit_of_action_is_the_end_of_mujocos_control_range(robot):
    path, model = robot
    mj = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(mj)
    action = np.random.default_rng(0).uniform(-1.0, 1.0, mj.nu)
    data.ctrl[:] = action * mj.actuator_ctrlrange[:, 1]
    mujoco.mj_forward(mj, data)
    force = np.zeros(model.nd)
    for actuator, share in zip(model.actuators, action, strict=True):
        ((dof, gear),) = actuator.moment
        force[dof] = gear * actuator.gain * actuator.control[1] * share
    np.testing.assert_allclose(force, data.qfrc_actuator, rtol=1e-12)
    assert np.count_nonzero(force) == mj.nu


def test_the_start_is_the_files(robot):
    path, model = robot
    start, _ = to_mujoco(model, torch.tensor(model.start)[None], torch.zeros(1, model.nd, dtype=torch.float64))
    assert start[0].tolist() == mujoco.MjModel.from_xml_path(str(path)).qpos0.tolist()
