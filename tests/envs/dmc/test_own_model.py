"""A task of one's own on MuJoCo, in one file beside its XML, and what a control task holds and gives back."""

import gc
import re
import weakref
from pathlib import Path

import pytest
import torch

import rpo_lightning
from rpo_lightning.envs.dmc.control_task import ControlTask
from rpo_lightning.envs.dmc.physics import CpuEngine

N = 4
PAGE = (Path(__file__).parents[3] / "docs" / "control.md").read_text()
XML = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody><body pos="0 0 1"><joint name="hinge" axis="0 1 0" damping="0.1"/><geom type="capsule" size="0.05" fromto="0 0 0 0 0 -0.5"/>
    <site name="tip" pos="0 0 -0.5"/></body></worldbody>
  <actuator><motor joint="hinge" gear="3" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


@pytest.fixture
def arm(folder, monkeypatch):
    """The task of the documentation, as a module beside its XML."""
    (code,) = re.findall(r"```text\n(# arm.py\n.*?)```", PAGE, re.DOTALL)
    (folder / "arm.py").write_text(code)
    (folder / "arm.xml").write_text(XML)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(__import__("sys").modules, "arm", raising=False)
    return "arm.Arm"


def test_a_task_of_ones_own_is_one_file_beside_its_xml(arm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the XML is found beside the class
    env = rpo_lightning.make(arm, num_envs=N, threads=1, seed=1)
    assert env.model.opt.timestep == 0.005
    assert (env.physics.substeps, env.obs_dim, env.privileged_dim) == (4, 3, 1)
    start = env.q.clone()
    step = env.step(torch.ones(N, 1))
    assert torch.equal(step.reward, step.reward_terms["up"] + step.reward_terms["effort"])
    torch.testing.assert_close(step.reward_terms["up"], env._state().sensor("tip")[:, 2] - 1.0)
    assert torch.equal(step.privileged, env.qd)
    assert (env.qd != 0).all()
    q = torch.full((N, 1), 0.3).index_fill(0, torch.tensor([1]), 4.0)
    env.set_state(q, torch.zeros(N, 1))
    step = env.step(torch.zeros(N, 1))
    assert step.terminated.tolist() == [False, True, False, False]
    assert not env.invalid.any()
    lasting = rpo_lightning.make(arm, num_envs=N, threads=1, early_termination=False, stochastic_init=False)
    lasting.set_state(q, torch.zeros(N, 1))
    assert not lasting.step(torch.zeros(N, 1)).terminated.any()
    assert not torch.equal(lasting.reset(), start)


def test_a_missing_xml_is_named_with_the_places():
    task = type("Lost", (ControlTask,), {"name": "lost", "file": "lost.xml", "obs_dim": 1, "action_dim": 1, "dt": 0.01})
    task.observe = task.reward = lambda self, *given: None
    task.__abstractmethods__ = frozenset()
    with pytest.raises(FileNotFoundError, match="lost: the file lost.xml does not exist, looked for .*lost.xml"):
        task(N)


def test_a_step_that_is_no_multiple_of_the_models_is_refused(arm):
    rpo_lightning.make(arm, num_envs=1, threads=1)
    import arm as module

    with pytest.raises(ValueError, match=r"arm: dt 0.012 is no multiple of the model's timestep 0.005"):
        type("Uneven", (module.Arm,), {"dt": 0.012})(N)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"reward": lambda self, state, action: state.qpos[:, 0].double()}, "arm: reward must return float32, got float64"),
        ({"failed": lambda self, state: state.qpos[:, 0]}, "arm: failed must return bool, got float32"),
        ({"observe": lambda self, state: state.qpos.mul_(2.0)}, "arm: observe must not change in place what it is given"),
    ],
)
def test_what_its_methods_return_is_checked(arm, members, words):
    rpo_lightning.make(arm, num_envs=1, threads=1)
    import arm as module

    if "observe" in members:
        members = {**members, "obs_dim": 1}
    with pytest.raises(ValueError, match=words):
        type("Mine", (module.Arm,), members)(N, threads=1)


def test_a_broken_reward_ends_its_world_alone(arm):
    rpo_lightning.make(arm, num_envs=1, threads=1)
    import arm as module

    class Broken(module.Arm):
        name = "broken_arm"

        def reward(self, state, action):
            return (1.0 - state.qpos[:, 0]).sqrt()

    env = Broken(N, threads=1)
    env.set_state(torch.zeros(N, 1).index_fill(0, torch.tensor([3]), 2.0), torch.zeros(N, 1))
    step = env.step(torch.zeros(N, 1))
    assert env.invalid.tolist() == env.invalid_reward.tolist() == step.terminated.tolist() == [False, False, False, True]
    assert step.reward.isfinite().all()


def test_an_environment_goes_with_its_last_reference(arm):
    env = rpo_lightning.make(arm, num_envs=N, threads=2)
    env.step(torch.zeros(N, 1))
    engine, gone = weakref.ref(env.engine), weakref.ref(env)
    gc.disable()
    try:
        del env
        assert gone() is None
        assert engine() is None
    finally:
        gc.enable()
    env = rpo_lightning.make(arm, num_envs=N, threads=2)
    env.close()
    env.close()


def test_threads_are_torchs_unless_given(arm):
    usual = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert len(rpo_lightning.make(arm, num_envs=N).engine._data) == threads
            assert len(rpo_lightning.make(arm, num_envs=N, threads=2).engine._data) == 2
    finally:
        torch.set_num_threads(usual)


def test_equal_starts_settle_once(arm, monkeypatch):
    settled = []
    advance = CpuEngine.advance
    monkeypatch.setattr(
        CpuEngine, "advance", lambda self, qpos, *rest: settled.append(len(qpos)) or advance(self, qpos, *rest)
    )
    fixed = rpo_lightning.make(arm, num_envs=N, threads=1, stochastic_init=False)
    fixed.reset()
    assert settled == [1]
    assert (fixed.q == fixed.q[:1]).all()
    rpo_lightning.make(arm, num_envs=N, threads=1)
    assert settled == [1, 1, N, N, N]  # of which the first have begun
