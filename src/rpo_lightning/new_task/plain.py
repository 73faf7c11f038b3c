"""The task of any other robot: an honest least of what can be learned, to be changed."""

from __future__ import annotations

from rpo_lightning.new_task.survey import Survey
from rpo_lightning.sim import Joint

__all__ = ["plain_task"]

_HEAD = '''import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
{imports}


class {cls}(ArticulatedEnv):
    """{what}"""

    name = "{name}"
    {robot}
    obs_dim, action_dim = {obs_dim}, {action_dim}
    episode_length = 500
{attributes}
'''

_PREPARE = '''
    def prepare(self) -> None:
        """Compute once what `observe` and `reward` need."""
        self.base = BasePose(self.model, self.device)
        self.upright = self.base.down(self.start_q[:1])  # where gravity points in the axes of the base, as it starts
        self.stand = self.base.{stand}(self.start_q[:1])
'''

_SET_DOWN = '''
    def edit(self, model: Model) -> None:
        """Start on the ground: the file's start pose is {depth:.0f} mm inside it."""
        set_down(model)
'''

_TURNED = '''
    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts near the start pose: tilted by up to 0.1 rad, at up to 0.1 m/s and 0.1 rad/s."""
        q = self.base.turned(self.start_q, self.uniform(-0.1, 0.1, 1)[:, 0], self.uniform(-0.1, 0.1, 3))
        base = self.base.twist(q, self.uniform(-0.1, 0.1, 3), self.uniform(-0.1, 0.1, 3))
        return q, torch.cat([base, self.uniform(-0.1, 0.1, self.model.nd - 6)], dim=1)
'''

_WALK = '''
    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what is observed, see `quantities`; rates are scaled to be of order one."""
        velocity = self.base.local(q, self.base.velocity(q, qd))
        turning = self.base.local(q, self.base.angular_velocity(qd))
        height = self.base.height(q)[:, None]
        return torch.cat([height, self.base.down(q), velocity, turning, q[:, 7:], 0.1 * qd[:, 6:]], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name what is observed."""
        return [
            Quantity("base height", "m", "world"),
            *vector("gravity", "", "base"),
            *vector("velocity", "m/s", "base"),
            *vector("angular velocity", "rad/s", "base"),
            *positions(self.model)[7:],
            *scaled(velocities(self.model)[6:], 0.1),
        ]

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Move forward, upright, with little effort."""
        return {
            "forward": obs[:, 4],
            "upright": (obs[:, 1:4] * self.upright).sum(1),
            "effort": -0.05 * action.square().sum(1),
        }

    def failed(self, obs: Tensor) -> Tensor:
        """Return which have fallen: below half the height of the start pose, or tilted by more than 60 degrees."""
        return (obs[:, 0] < 0.5 * self.stand) | ((obs[:, 1:4] * self.upright).sum(1) < 0.5)
'''

_HOVER = '''
    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what is observed, see `quantities`; rates of joints are scaled to be of order one."""
        velocity = self.base.local(q, self.base.velocity(q, qd))
        turning = self.base.local(q, self.base.angular_velocity(qd))
        away = self.base.position(q) - self.stand
        return torch.cat([away, self.base.down(q), velocity, turning, q[:, 7:], 0.1 * qd[:, 6:]], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name what is observed."""
        return [
            *vector("position from the start", "m"),
            *vector("gravity", "", "base"),
            *vector("velocity", "m/s", "base"),
            *vector("angular velocity", "rad/s", "base"),
            *positions(self.model)[7:],
            *scaled(velocities(self.model)[6:], 0.1),
        ]

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Stay at the start, upright and slow."""
        return {
            "near": 1.0 + tracking(obs[:, :3], 0.1),
            "upright": (obs[:, 3:6] * self.upright).sum(1),
            "motion": -0.05 * obs[:, 6:12].square().sum(1),
        }

    def failed(self, obs: Tensor) -> Tensor:
        """Return which are lost: more than 2 m away."""
        return obs[:, :3].square().sum(1) > 4.0
'''

_RUN = '''
    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what is observed, see `quantities`: all but how far it has come; rates are scaled to be of order one."""
        return torch.cat([q[:, 1:], 0.1 * qd], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name what is observed."""
        return [*positions(self.model)[1:], *scaled(velocities(self.model), 0.1)]

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Move forward, with little effort. A robot that can fall needs a method `failed` too."""
        return {{
            "forward": 10.0 * obs[:, {speed}],
            "effort": -0.05 * action.square().sum(1),
        }}
'''

_HOLD = '''
    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what is observed, see `quantities`; rates are scaled to be of order one."""
        return torch.cat([q, 0.1 * qd], dim=1)

    def quantities(self) -> list[Quantity]:
        """Name what is observed."""
        return [*positions(self.model), *scaled(velocities(self.model), 0.1)]

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Hold the start pose, slowly, with little effort: put what you want in the place of it."""
        return {{
            "pose": -(obs[:, : {nq}] - self.start_q).square().sum(1),
            "rates": -obs[:, {nq} :].square().sum(1),
            "effort": -0.01 * action.square().sum(1),
        }}
'''

_SPREAD = '''
    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts near the start pose: joints give or take {spread:g} rad or m, rates 0.1."""
        return self.uniform_start({spread:g}, 0.1)
'''


def plain_task(found: Survey, name: str, cls: str, robot: str, attributes: list[str]) -> str:
    """Return the class, from its imports on."""
    model = found.model
    legs = found.free and found.stands and len(model.links) > 1
    tables = ["Quantity", "positions", "scaled", "velocities"]
    imports, parts = [], []
    if found.free:
        what = "Move forward." if legs else "Hold the place where it starts."
        width = model.nq - 7 + model.nd - 6 + (10 if legs else 12)
        tables = ["Quantity", "positions", "scaled", "vector", "velocities"]
        imports += ["from rpo_lightning.envs.base_pose import BasePose"]
        if found.gap:
            imports += ["from rpo_lightning.envs.legged.feet import set_down"]
            parts.append(_SET_DOWN.format(depth=-1e3 * found.gap))
        imports += [] if legs else ["from rpo_lightning.envs.legged.terms import tracking"]
        parts += [_PREPARE.format(stand="height" if legs else "position"), _WALK if legs else _HOVER, _TURNED]
    elif found.forward >= 0:
        what, width = "Move forward.", model.nq - 1 + model.nd
        parts = [_RUN.format(speed=model.nq - 1), _SPREAD.format(spread=_spread(found))]
    else:
        what, width = "Hold the start pose.", model.nq + model.nd
        parts = [_HOLD.format(nq=model.nq)]
        parts += [_SPREAD.format(spread=_spread(found))] if model.nq == model.nd else []  # else it has quaternions
    if "fetch(" in robot:
        imports.append("from rpo_lightning.robots.public import fetch")
    imports.append(f"from rpo_lightning.envs.tables import {', '.join(tables)}")
    imports += ["from rpo_lightning.sim import Model"] if found.gap else []
    head = _HEAD.format(
        imports="\n".join(sorted(imports)),
        cls=cls,
        what=f"{what} A reward to begin with.",
        name=name,
        robot=robot,
        obs_dim=width,
        action_dim=len(model.actuators),
        attributes="\n".join(f"    {line}" for line in attributes),
    )
    return head + "".join(parts)


def _spread(found: Survey) -> float:
    """Return by how much starts may differ: little where a joint has a short way, as fingers have."""
    ways = [link.upper - link.lower for link in found.model.links if link.joint in (Joint.REVOLUTE, Joint.PRISMATIC)]
    return min(0.1, float(f"{min(ways, default=1.0) / 8.0:.1g}"))
