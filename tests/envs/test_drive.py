"""What actions mean: the control range, or offsets from what holds the start pose."""

import numpy as np
import torch

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.drive import Drive
from rpo_lightning.sim import Actuator, Joint, Link, Model


def arm(*actuators):
    axis, inertia = np.array([0.0, 0.0, 1.0]), np.eye(3)
    links = [Link(name, parent, Joint.REVOLUTE, axis, mass=1.0, inertia=inertia) for name, parent in (("a", -1), ("b", 0))]
    model = Model(links, actuators=list(actuators))
    model.start = np.array([0.3, -0.4])
    return model


def drive(model, controls=0, scale=None):
    return Drive(model, controls, scale, torch.device("cpu"))


ACTIONS = torch.tensor([[-1.0, -1.0], [0.0, 0.5], [1.0, 1.0]])


def test_motors_are_forces_and_several_on_a_joint_add_up():
    model = arm(Actuator("one", [(0, 2.0)], 3.0, control=(-0.5, 0.5)), Actuator("two", [(0, 1.0), (1, -4.0)]))
    force, control = drive(model)(ACTIONS)
    assert control is None
    torch.testing.assert_close(force, torch.tensor([[-4.0, 4.0], [0.5, -2.0], [4.0, -4.0]]))


def test_actions_span_a_range_that_is_not_symmetric():
    model = arm(Actuator("one", [(0, 1.0)], control=(0.0, 12.0)), Actuator("two", [(1, 1.0)], control=(-1.0, 3.0)))
    force, _ = drive(model)(ACTIONS)
    torch.testing.assert_close(force, torch.tensor([[0.0, -1.0], [6.0, 2.0], [12.0, 3.0]]))


def test_servos_take_controls():
    model = arm(*(Actuator(name, [(dof, 1.0)], 50.0, (0.0, -50.0, 0.0), (-2.0, 1.0)) for dof, name in enumerate("ab")))
    force, control = drive(model, controls=2)(ACTIONS)
    assert not force.any()
    torch.testing.assert_close(control, torch.tensor([[-2.0, -2.0], [-0.5, 0.25], [1.0, 1.0]]))


def test_offsets_are_from_what_holds_the_start_pose_and_stay_within_the_range():
    servo = Actuator("a", [(0, 2.0)], 50.0, (5.0, -25.0, 0.0), (-2.0, 0.4))  # half as strong by length, of gear 2
    model = arm(servo, Actuator("b", [(1, 1.0)], 3.0, control=(-0.2, 1.0)))
    control = drive(model, controls=2, scale=0.25).controls(ACTIONS)
    torch.testing.assert_close(control, torch.tensor([[-0.05, -0.2], [0.2, 0.125], [0.4, 0.25]]))


def test_a_task_whose_actions_are_offsets_holds_its_pose_with_zero_actions(tmp_path):
    class Arm(ArticulatedEnv):
        name, obs_dim, action_dim, action_scale = "arm", 2, 1, 0.5
        robot = tmp_path / "arm.xml"

        def observe(self, q, qd, action):
            return torch.cat([q, qd], dim=1)

        def reward(self, obs, action):
            return obs[:, 0]

    Arm.robot.write_text("""<mujoco><option gravity="0 0 0"/><worldbody><body><joint name="j" axis="0 1 0" damping="20"/>
      <geom size="0.1" pos="1 0 0" mass="1"/></body></worldbody>
      <actuator><position joint="j" kp="100" ctrlrange="-2 2"/></actuator>
      <keyframe><key qpos="0.7"/></keyframe></mujoco>""")
    env = Arm(2, threads=1)
    for _ in range(60):
        env.step(torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(env.q, torch.tensor([[0.7], [1.2]]), atol=1e-2, rtol=0)
