"""Cart-pole: a cart on a rail that holds or swings up a pole (dm_control/suite/cartpole.py, Apache-2.0)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from rpo_lightning.envs.dmc.control_task import ControlTask, Start
from rpo_lightning.envs.dmc.models import Options
from rpo_lightning.envs.dmc.rewards import tolerance
from rpo_lightning.envs.dmc.worlds import State
from rpo_lightning.envs.tables import Quantity, angle, positions, velocities

__all__ = ["CartpoleBalance", "CartpoleBalanceSparse", "CartpoleSwingup", "CartpoleSwingupSparse"]


class CartpoleBalance(ControlTask):
    """Keep the pole up, the cart in the middle and both slow; 5 observations, one force of up to 10 N."""

    name: ClassVar[str] = "dmc/cartpole_balance"
    obs_dim: ClassVar[int] = 5
    action_dim: ClassVar[int] = 1
    file: ClassVar[str] = "cartpole"
    physics_options: ClassVar[Options] = Options(
        timestep=0.01, iterations=1, ls_iterations=4, disable=("contact", "eulerdamp")
    )
    dt: ClassVar[float] = 0.01

    def observe(self, state: State) -> Tensor:
        """Return the cart's position, the pole's cosine and sine (1, 0 upright), and both velocities."""
        cart, angle = state.qpos.split(1, dim=1)
        return torch.cat([cart, angle.cos(), angle.sin(), state.qvel], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name the observation."""
        cart, pole = positions(self.model)
        return [cart, *angle(pole.name, "cosine", "sine"), *velocities(self.model)]

    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return a product in [0, 1] of uprightness, centredness, and smallness of control and of the pole's velocity."""
        cart, angle = state.qpos.unbind(1)
        upright = (angle.cos() + 1.0) / 2.0
        centred = (1.0 + tolerance(cart, margin=2.0)) / 2.0
        gentle = (4.0 + tolerance(action[:, 0], margin=1.0, value_at_margin=0.0, sigmoid="quadratic")) / 5.0
        slow = (1.0 + tolerance(state.qvel[:, 1], margin=5.0)) / 2.0
        return upright * centred * gentle * slow

    def random_start(self) -> Start:
        """Draw a cart within 0.1 m of the middle and a pole within 0.034 rad of upright, nearly at rest."""
        cart, angle = self.uniform(-0.1, 0.1, 1), self.uniform(-0.034, 0.034, 1)
        return torch.cat([cart, angle], dim=1), 0.01 * self.normal(2), cart.new_zeros(self.num_envs, 0)


class CartpoleSwingup(CartpoleBalance):
    """Swing the hanging pole up and keep it there; reward and observations of `CartpoleBalance`."""

    name: ClassVar[str] = "dmc/cartpole_swingup"

    def random_start(self) -> Start:
        """Draw a hanging pole, 0.01 rad and the cart 0.01 m off (one deviation), nearly at rest."""
        qpos, qvel, target = self.fixed_start()
        return qpos + 0.01 * self.normal(2), qvel + 0.01 * self.normal(2), target

    def fixed_start(self) -> Start:
        """Return the hanging pole at rest."""
        qpos, qvel, target = super().fixed_start()
        return qpos + qpos.new_tensor([0.0, math.pi]), qvel, target


class _Sparse(CartpoleBalance):
    def reward(self, state: State, action: Tensor) -> Tensor:
        """Return 1 where the cart is within 0.25 m of the middle and the pole's cosine above 0.995, else 0."""
        cart, angle = state.qpos.unbind(1)
        return tolerance(cart, (-0.25, 0.25)) * tolerance(angle.cos(), (0.995, 1.0))


class CartpoleBalanceSparse(_Sparse):
    """`CartpoleBalance`, paid only for a pole upright above the rail's middle."""

    name: ClassVar[str] = "dmc/cartpole_balance_sparse"


class CartpoleSwingupSparse(_Sparse, CartpoleSwingup):
    """`CartpoleSwingup`, paid only for a pole upright above the rail's middle."""

    name: ClassVar[str] = "dmc/cartpole_swingup_sparse"
