"""The engine: differentiable articulated-body dynamics in Warp, exposed as torch operators."""

from rpo_lightning.sim.convert import from_mujoco, to_mujoco, velocity_at
from rpo_lightning.sim.devices import resolve_device
from rpo_lightning.sim.fluid import Fluid, FluidBox, FluidEllipsoid
from rpo_lightning.sim.kernels import quiet
from rpo_lightning.sim.linkage import Actuator, Coupling, Tendon, Tie
from rpo_lightning.sim.mjcf import load_mjcf
from rpo_lightning.sim.model import Contact, Geom, Joint, Link, Model, Pair
from rpo_lightning.sim.parameters import Parameters, parameter_width
from rpo_lightning.sim.quaternions import quat_multiply, quat_rotate
from rpo_lightning.sim.sensors import Sensors
from rpo_lightning.sim.simulator import Simulator

__all__ = [
    "Actuator",
    "Contact",
    "Coupling",
    "Fluid",
    "FluidBox",
    "FluidEllipsoid",
    "Geom",
    "Joint",
    "Link",
    "Model",
    "Pair",
    "Parameters",
    "Sensors",
    "Simulator",
    "Tendon",
    "Tie",
    "from_mujoco",
    "load_mjcf",
    "parameter_width",
    "quat_multiply",
    "quat_rotate",
    "quiet",
    "resolve_device",
    "to_mujoco",
    "velocity_at",
]
