"""Every robot in the wheels of other projects, and our own: it loads as it is, or its refusals are in a table.

`corpus.json` has for each file the keys of `drop` that it needs, and why. What loads moves as in MuJoCo away from contact and
limits, with servos, springs, dampers, tendons, fluids and compensated weight on both sides; friction loss has a law of its own.
"""

import json
import logging
import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import mujoco
import pytest
import torch

from rpo_lightning.sim import Simulator, load_mjcf
from tests.sim import double, mujoco_witness, trees

TABLE = json.loads((Path(__file__).parents[1] / "data" / "corpus.json").read_text())
ROBOTS = {f"{package}/{file}": keys for package, found in TABLE.items() for file, keys in found["robots"].items()}
LAWS = {"contact": (2e4, 2e3, 1e3, 0.8), "limit": (100.0, 1.0), "equality": (1e3, 10.0)}  # that no file of others has
ENVS = 3
# a humanoid's head on a ball, a hand of 20 servos on tendons, a swimmer, and a quadruped whose free joint is damped
COMPILED = (
    "dm_control/locomotion/soccer/assets/boxhead/boxhead.xml",
    "gymnasium_robotics/envs/assets/hand/reach.xml",
    "gymnasium/envs/mujoco/assets/swimmer.xml",
    "dm_control/suite/fish.xml",
    "mjlab/asset_zoo/robots/unitree_go1/xmls/go1.xml",
)
# inertias of the reference that no body has; MuJoCo "repairs" them
UNPHYSICAL = [
    f"rpo_lightning/robots/{name}.xml" for name in ("ant", "anymal", "cheetah", "hand_reorient", "hopper", "humanoid")
]
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute 'settotalmass' is deprecated")


@cache
def root(package):
    """Where a package lies, without importing it."""
    found = find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.submodule_search_locations[0])


def located(robot):
    package, _, inside = robot.partition("/")
    path = root(package) / inside
    if not path.is_file():
        pytest.skip(f"this {package} has no {inside}")
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, caplog):
    """MuJoCo logs its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.ERROR, "rpo_lightning")


def refused(path):
    """The robot, or the keys of all that is refused."""
    try:
        return load_mjcf(path, **LAWS), []
    except ValueError as error:
        message = str(error)
    keys = re.findall(r"^  ([\w-]+): .* is not simulated \(", message, re.MULTILINE)
    assert keys, message
    return None, keys


def without_contact(model):
    """Leave what acts in MuJoCo without its constraints."""
    model.contacts, model.geoms, model.pairs, model.couplings, model.ties = [], [], [], [], []
    for spring in (*model.links, *model.tendons):
        spring.limit_ke = spring.stop_kd = spring.frictionloss = 0.0
    for link in model.links:
        link.limit_kd = 0.0
    return model


def state_and_control(model):
    low, high = torch.tensor([actuator.control for actuator in model.actuators], dtype=torch.float64).reshape(-1, 2).T
    part = torch.rand(ENVS, len(low), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return trees.state(model, ENVS, seed=1), low + (high - low) * part


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_robot_loads_or_its_refusals_are_known(robot):
    path = located(robot)
    model, keys = refused(path)
    assert keys == ROBOTS[robot]
    if model is None:
        assert load_mjcf(path, **LAWS, drop=keys).links
        return
    if robot in UNPHYSICAL:
        return
    model, (state, control) = without_contact(model), state_and_control(model)
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(path)))
    expected = mujoco_witness.acceleration(witness, model, *state, control)
    error = (double.acceleration(model, *state, control) - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-8


@pytest.mark.parametrize("robot", COMPILED)
def test_kernels_move_it_as_mujoco_does(robot):
    path = located(robot)
    model = without_contact(load_mjcf(path, **LAWS))
    state, control = state_and_control(model)
    witness = mujoco_witness.without_constraints(mujoco.MjModel.from_xml_path(str(path)))
    expected = mujoco_witness.acceleration(witness, model, *state, control)
    simulator = Simulator(model, ENVS, threads=1)
    compiled = simulator.acceleration(*(t.float() for t in state), control.float() if simulator.controls else None)
    assert ((compiled - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


@pytest.mark.parametrize("package", TABLE)
def test_the_table_is_of_all_robots(package):
    """Of this version of the package: each file that has a joint, or is listed as a part of others."""
    found = TABLE[package]
    if package != "rpo_lightning" and (root(package), version(package))[1] != found["version"]:
        pytest.skip(f"the table is of {package} {found['version']}")
    files = {str(path.relative_to(root(package))) for path in root(package).rglob("*.xml")}
    files = {file for file in files if file.startswith(tuple(found["folders"]))}
    assert files == found["robots"].keys() | set(found["parts"])


def test_every_refusal_has_its_reason():
    """At least so many of the robots with servos load without `drop`."""
    for found in TABLE.values():
        assert {key for keys in found["robots"].values() for key in keys} <= found["reasons"].keys()
        assert set(found["servos"]) <= found["robots"].keys()
    served = [(f, found["robots"][f]) for found in TABLE.values() for f in found["servos"]]
    # the others have activation dynamics or stick by adhesion
    assert sum(not keys for _, keys in served) >= 0.8 * len(served)
