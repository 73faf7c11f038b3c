"""The task of an arm that brings its tip to points."""

from __future__ import annotations

from rpo_lightning.new_task.survey import Survey

__all__ = ["reach_task"]

_TEXT = '''import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.legged.terms import tracking
from rpo_lightning.envs.points import Points
from rpo_lightning.envs.tables import Quantity, positions, scaled, vector, velocities{fetch}
from rpo_lightning.sim import Model


class {cls}(ArticulatedEnv):
    """Bring the tip to a point, another one every 4 seconds."""

    name = "{name}"
    {robot}
    obs_dim, action_dim, target_dim = {obs_dim}, {action_dim}, 3
    episode_length = 400
{attributes}{scale}
    tip = ("{link}", ({x:.4g}, {y:.4g}, {z:.4g}))  # a link, a point of it [m]; first its centre of mass

    def edit(self, model: Model) -> None:
        """Let it touch nothing: it moves through the air. Leave this out to have its surroundings back."""
        model.contacts, model.pairs = [], []

    def prepare(self) -> None:
        """Compute once what `observe` and `reward` need."""
        link, place = self.tip
        index = [link.name for link in self.model.links].index(link)
        self.points = Points(self.model, [(index, np.array(place))], self.device)
        self.low = self.start_q.new_tensor([max(link.lower, -3.0) for link in self.model.links])
        self.high = self.start_q.new_tensor([min(link.upper, 3.0) for link in self.model.links])

    def where(self, q: Tensor, qd: Tensor) -> Tensor:
        """Return where the tip is (N, 3) [m]."""
        return self.points(q, qd)[0][:, 0]

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what is observed, see `quantities`; rates are scaled to be of order one."""
        return torch.cat([q, 0.1 * qd, self.target, self.target - self.where(q, qd)], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name what is observed."""
        return [
            *positions(self.model),
            *scaled(velocities(self.model), 0.1),
            *vector("goal", "m"),
            *vector("goal from the tip", "m"),
        ]

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Be near, slow, with little effort; the first has the same slope at any distance beyond some centimetres."""
        return {{
            "near": tracking(obs[:, -3:], 0.02),
            "rates": -0.1 * obs[:, {nq} : {both}].square().sum(1),
            "effort": -0.001 * action.square().sum(1),
        }}

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts near the start pose: joints give or take 0.1, rates 0.1."""
        q, qd = self.uniform_start(0.1, 0.1)
        return q.clamp(self.low, self.high), qd

    def random_target(self) -> Tensor:
        """Draw points that can be reached: where the tip is with each joint within 0.6 rad or m of the start pose."""
        q = (self.start_q + self.uniform(-0.6, 0.6, self.model.nq)).clamp(self.low, self.high)
        return self.where(q, torch.zeros_like(q))

    def target_done(self, obs: Tensor) -> Tensor:
        """Return where a point's time is over."""
        return (self.progress + 1) % 200 == 0
'''


def reach_task(found: Survey, name: str, cls: str, robot: str, attributes: list[str]) -> str:
    """Return the class, from its imports on."""
    model = found.model
    depth = [0] * len(model.links)
    for index, link in enumerate(model.links):
        depth[index] = 1 + (depth[link.parent] if link.parent >= 0 else 0)
    tip = model.links[depth.index(max(depth))]  # of two fingers the first
    servos = all(actuator.bias[1] < 0.0 for actuator in model.actuators)
    scale = "\n    action_scale = 1.0  # [rad or m]: actions are offsets from the start pose" if servos else ""
    x, y, z = tip.com.tolist()
    return _TEXT.format(
        fetch="\nfrom rpo_lightning.robots.public import fetch" if "fetch(" in robot else "",
        cls=cls,
        name=name,
        robot=robot,
        obs_dim=model.nq + model.nd + 6,
        action_dim=len(model.actuators),
        attributes="\n".join(f"    {line}" for line in attributes),
        scale=scale,
        link=tip.name,
        x=x,
        y=y,
        z=z,
        nq=model.nq,
        both=model.nq + model.nd,
    )
