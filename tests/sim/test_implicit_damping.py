"""Damping at a step's end, as MuJoCo's implicit integrator has it; and what of it does not bear a kept mass matrix."""

import mujoco
import numpy as np
import pytest
import torch

from rpo_lightning.sim import Joint, Link, Model, Simulator, Tendon, load_mjcf
from tests.sim import double

H = 1e-3
HAND = f"""<mujoco><option timestep="{H}" integrator="implicitfast"/><default><geom contype="0" conaffinity="0"/></default><worldbody>
    <body><joint name="a" axis="0 1 0" damping="0.3"/><geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.01"/>
    <body pos="0.1 0 0"><joint name="b" axis="0 0 1"/><geom type="capsule" fromto="0 0 0 0.1 0 0" size="0.01"/>
    <body pos="0.1 0 0"><joint name="c" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0.05 0 0" size="0.01"/></body></body></body>
    </worldbody>
    <tendon><fixed name="t"><joint joint="a" coef="1"/><joint joint="c" coef="-0.7"/></fixed>
    <fixed name="d" damping="4"><joint joint="b" coef="1"/><joint joint="c" coef="0.5"/></fixed></tendon>
    <actuator><position tendon="t" kp="3" kv="5" forcerange="-4 4"/></actuator></mujoco>"""


def test_servos_and_dampers_on_tendons_over_a_chain_act_as_in_mujocos_implicit_step(tmp_path):
    (tmp_path / "hand.xml").write_text(HAND)
    model, mj = load_mjcf(tmp_path / "hand.xml"), mujoco.MjModel.from_xml_string(HAND)
    generator, data, rows = torch.Generator().manual_seed(0), mujoco.MjData(mj), []
    q, qd = (torch.randn(8, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    control = torch.randn(8, 1, generator=generator, dtype=torch.float64)
    unclamped = []
    for n in range(8):
        mujoco.mj_resetData(mj, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q[n].numpy(), qd[n].numpy(), control[n].numpy()
        mujoco.mj_forward(mj, data)
        unclamped.append(abs(data.actuator_force[0]) < 4.0)
        mujoco.mj_step(mj, data)
        rows.append([*data.qpos, *data.qvel])
    expected, none = torch.tensor(np.array(rows)), torch.zeros(8, 3)
    assert any(unclamped)
    assert not all(unclamped)
    exact = double.step(model, q, qd, none, H, 1, 1, control)
    torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-10)
    simulator = Simulator(model, 8, H, 1, 1, threads=1)
    compiled = torch.cat(simulator.step(q.float(), qd.float(), none, control.float()), dim=1)
    torch.testing.assert_close(compiled.double(), exact, rtol=1e-4, atol=1e-4)


def finger(inertia, **fields):
    return Link("j", -1, Joint.REVOLUTE, np.array([0.0, 0.0, 1.0]), mass=0.01, inertia=np.eye(3) * inertia, **fields)


def rubbing_tendon():
    return Model([finger(1e-5)], tendons=[Tendon("t", [(0, 2.0)], frictionloss=0.05)])


@pytest.mark.parametrize(
    ("model", "interval"),
    [
        (Model([finger(1e-5, frictionloss=0.1)]), 1),
        (Model([finger(1e-5, frictionloss=0.1, armature=1e-3)]), 4),
        (Model([finger(1e-5, frictionloss=0.1, damping=1.0)]), 4),
        (Model([finger(1e-5, frictionloss=0.1)], damping="explicit"), 4),
        (Model([finger(1e-5, frictionloss=0.1)], friction_width=20.0), 4),
        (rubbing_tendon(), 1),
        (Model([finger(1e-5)]), 4),
    ],
)
def test_the_matrix_is_rebuilt_in_each_substep_where_dry_friction_is_steep(model, interval):
    """Else a light finger trembles: after a step of 16 substeps it moves at 0.2 rad/s, with one rebuild it swings for many."""
    assert Simulator(model, 1).mass_matrix_interval == interval


@pytest.mark.parametrize("model", [Model([finger(1e-5, frictionloss=0.1)]), rubbing_tendon()])
def test_a_light_finger_comes_to_rest_without_trembling(model):
    after = {}
    for interval in (None, 4):
        q, qd = torch.zeros(1, 1), torch.full((1, 1), 5.0)
        simulator = Simulator(model, 1, mass_matrix_interval=interval, threads=1)
        after[interval] = abs(simulator.step(q, qd, torch.zeros(1, 1))[1].item())
    assert after[None] < 1e-6
    assert after[4] > 0.01
