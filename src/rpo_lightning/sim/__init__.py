"""The engine: differentiable articulated-body dynamics in Warp, exposed as torch operators."""

from rpo_lightning.sim.mjcf import from_mujoco, load_mjcf, to_mujoco
from rpo_lightning.sim.model import Contact, Joint, Link, Model
from rpo_lightning.sim.simulator import Simulator

__all__ = ["Contact", "Joint", "Link", "Model", "Simulator", "from_mujoco", "load_mjcf", "to_mujoco"]
