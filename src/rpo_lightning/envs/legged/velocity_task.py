"""Walking as commanded: a velocity and a rate of turning, drawn anew every few seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.arguments import checked_number, checked_range
from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.base import Reached, below
from rpo_lightning.envs.base_pose import BasePose
from rpo_lightning.envs.legged import terms
from rpo_lightning.envs.legged.feet import leg
from rpo_lightning.envs.legged.noise import Noise
from rpo_lightning.envs.points import Points
from rpo_lightning.envs.starts import StartBank, Starts
from rpo_lightning.envs.tables import Quantity, action_rows, angle, last_actions, positions, vector, velocities
from rpo_lightning.sim import Actuator, Joint
from rpo_lightning.transfers import sent

__all__ = ["VelocityTask"]


class VelocityTask(ArticulatedEnv):
    """Walk as commanded, for robots of a free base and hinges that are all driven.

    The actor sees what a robot measures: angular velocity [rad/s] and gravity (a unit vector) in the base's axes, the
    command, joint angles less those of the start pose [rad], joint rates [rad/s], the last action. The critic sees this
    without noise, and besides: the base's velocity in its own axes [m/s], its height over the start pose's [m], of each foot
    the height of its sole [m], how much it touches, and its velocity in world axes [m/s]. The target is the command: forward
    and left [m/s], and the rate of turning [rad/s].

    A subclass says which robot, which of its links carry feet, and may change the weights of the reward. With `phases` a
    clock is seen last, as sine and cosine, and a weight "gait" can pay for feet that follow it.

    Args:
        num_envs, device, seed: see `BaseEnv`.
        options: those of `ArticulatedEnv` (here observe_action is True), and commands (three pairs: forward, left, turn),
            command_seconds (5: how long a command lasts), standing (0.1: share of commands that are zero), push (0.5: pushes
            change the base's velocity by up to so much [m/s], horizontally), push_seconds (4: between two), noise (1: times
            `noise_widths`, the half widths of uniform noise on what the actor sees).
    """

    target_dim: ClassVar[int] = 3
    dt: ClassVar[float] = 0.02
    episode_length: ClassVar[int] = 1000
    # what a robot sets
    feet: ClassVar[tuple[str, ...]]
    lowest: ClassVar[float] = 0.5
    """Fails below this share of the height of the start pose, or tilted by more than 60 degrees."""
    swing: ClassVar[float] = 0.08
    """How high moving feet should be [m]."""
    weights: ClassVar[Mapping[str, float]] = {
        "velocity": 1.5,
        "turning": 0.75,
        "upright": -1.0,
        "bounce": -0.5,
        "roll": -0.05,
        "height": -20.0,
        "effort": -1e-4,
        "jerk": -0.01,
        "slip": -0.05,
        "lift": -0.05,
        "pose": -0.1,
    }
    """Of the terms of the reward, see `reward`; per step, velocity 1 where the command is met. A robot may name others too:
    limits, power, gait, spacing, straight."""
    phases: ClassVar[tuple[float, ...]] = ()
    """Of each foot in a gait, in cycles: 0, 0.5, 0.5, 0 is a trot; none: no clock. obs_dim and privileged_dim grow by 2."""
    stride: ClassVar[float] = 2.0
    """Cycles of the gait in a second."""
    duty: ClassVar[float] = 0.5
    """Share of a cycle in which a foot stands."""
    apart: ClassVar[float] = 0.15
    """How far the feet of a pair, a left and then a right one, should at least be apart sideways [m], for "spacing"."""
    noise_widths: ClassVar[Mapping[str, float]] = {"turning": 0.2, "gravity": 0.05, "angles": 0.01, "rates": 1.5}

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Return the options of this task and their values if not given."""
        return {
            **super().option_defaults(),
            "observe_action": True,
            "commands": ((-1.0, 1.0), (-1.0, 1.0), (-1.0, 1.0)),
            "command_seconds": 5.0,
            "standing": 0.1,
            "push": 0.5,
            "push_seconds": 4.0,
            "noise": 1.0,
        }

    def prepare(self) -> None:
        """Compute what observation and reward need of the robot.

        Raises:
            ValueError: for a robot of another kind, feet that do not exist, or a value that an option cannot have.
        """
        self.base = BasePose(self.model, self.device)
        if self.model.up[2] < 0.999:
            raise ValueError(f"{self.name}: gravity must point along -z in the file of {self.robot}, not have y or x up")
        links = [link.name for link in self.model.links]
        if any(link.joint is not Joint.REVOLUTE for link in self.model.links[1:]) or self.model.nd - 6 != self.action_dim:
            raise ValueError(f"{self.name}: the robot {self.robot} must have a free base and hinges that are all driven")
        touching = self.ground_points()
        soles = [[point for point in touching if links[point[0]] == foot] for foot in self.feet]
        if len({len(sole) for sole in soles}) != 1 or not soles[0]:
            raise ValueError(
                f"{self.name}: feet must name links that touch the ground in equally many points, got {self.feet}; "
                f"points: {', '.join(sorted(links[link] for link, _, _ in touching))}"
            )
        corners = [corner for sole in soles for corner in sole]
        self._points = Points(self.model, [(link, place) for link, place, _ in corners], self.device)
        self._radii = torch.tensor([radius for _, _, radius in corners], device=self.device)
        self._stand = self.start_q[:1, 7:]
        driven = [servo.moment[0][0] for servo in self.model.actuators]
        order = sorted(range(self.action_dim), key=driven.__getitem__)  # files may list actuators otherwise than joints
        self._by_joint = torch.tensor(order, device=self.device)
        laws = [_law(self.model.actuators[i]) for i in order]
        self._gain, self._constant, self._by_angle, self._by_rate = torch.tensor(laws, device=self.device).unbind(1)
        self._standing_height = float(self.base.height(self.start_q[:1]))
        self._weights = torch.tensor(list(self.weights.values()), device=self.device)
        self._soft = self._soft_limits()
        if self.phases and len(self.phases) != len(self.feet):
            raise ValueError(f"{self.name}: phases must be one for each of {len(self.feet)} feet, got {self.phases}")
        aside = {link - 1 for foot in self.feet for link, across in leg(self.model, foot) if abs(across) < 0.9}
        self._aside = torch.tensor(sorted(aside), device=self.device)
        self._offsets = torch.tensor(self.phases, device=self.device)
        self._phase = self.start_q.new_zeros(self.num_envs)
        self._read_options()
        self._pushes = StartBank()
        self._unit_noise = Noise(self.num_envs, len(self._noise), self.device)

    def _read_options(self) -> None:
        """Turn options into numbers.

        Raises:
            ValueError: for a value that an option cannot have.
        """
        given = self.options
        commands = given["commands"]
        if not isinstance(commands, list | tuple) or len(commands) != 3:
            raise ValueError(f"{self.name}: commands must be three pairs (forward, left, turn), got {commands!r}")
        pairs = [checked_range(self.name, "commands, three pairs (forward, left, turn), each", pair) for pair in commands]
        low, high = zip(*pairs, strict=True)
        self._commands = torch.tensor(low), torch.tensor(high)
        seconds = (checked_number(self.name, name, given[name], self.dt) for name in ("command_seconds", "push_seconds"))
        self._command_steps, self._push_steps = (round(each / self.dt) for each in seconds)
        checked_number(self.name, "standing", given["standing"], 0.0, 1.0)
        checked_number(self.name, "push", given["push"], 0.0)
        scale = checked_number(self.name, "noise", given["noise"], 0.0)
        widths = [self.noise_widths[what] for what in ("turning", "gravity", "angles", "rates")]
        sizes = [3, 3, self.action_dim, self.action_dim]
        turning, down, angles, rates = (torch.full((size,), width) for size, width in zip(sizes, widths, strict=True))
        exact = torch.zeros(self.action_dim + len(self._clock()[0]))
        noise = torch.cat([turning, down, torch.zeros(3), angles, rates, exact])
        self._noise = scale * noise.to(self.device)

    # ---- the ground -----------------------------------------------------------------------------------------------

    def ground_points(self) -> list[tuple[int, np.ndarray, float]]:
        """Return link, centre in its frame (3,) [m] and radius [m] of the spheres by which the robot touches the ground."""
        return [(contact.link, contact.point, contact.radius) for contact in self.model.contacts]

    def over_ground(self, points: Tensor) -> Tensor:
        """Return how far points (N, P, 3) are from the ground below them (N, P) [m]."""
        return (points * self.base.up).sum(-1) - float(self.model.ground)

    def base_height(self, q: Tensor, qd: Tensor) -> Tensor:
        """Return how high the base is over the ground about it (N, 1) [m]."""
        return self._points.base(q, qd).height

    # ---- what is seen and paid ------------------------------------------------------------------------------------

    def observe(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what the actor sees (N, 9 + 3 A or 2 more), see the class."""
        measured = self._measured(q, qd, action)
        if not self.options["noise"]:
            return measured
        return measured + self._noise * self._unit_noise.numbers

    def observe_privileged(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what the critic sees besides (N, 13 + 3 A + 5 F or 2 more), see the class."""
        sole, velocity = self.soles(q, qd)
        own = self._points.base(q, qd).velocity
        height = self.base_height(q, qd) - self._standing_height
        return torch.cat([self._measured(q, qd, action), own, height, sole, terms.contact(sole), velocity.flatten(1)], dim=1)

    def soles(self, q: Tensor, qd: Tensor) -> tuple[Tensor, Tensor]:
        """Return how high soles are over the ground (N, F) [m], and how their middles move in world axes (N, F, 3) [m/s].

        A sole of several points is as high as the lowest of them, rounded off over 3 mm.
        """
        position, velocity = self._points(q, qd)
        height = self.over_ground(position) - self._radii
        feet = len(self.feet)
        height, velocity = height.view(len(q), feet, -1), velocity.view(len(q), feet, -1, 3)
        return terms.lowest(height, 0.003), velocity.mean(2)

    def quantities(self) -> list[Quantity]:
        """Name what the actor sees."""
        return [
            *vector("angular velocity", "rad/s", "base"),
            *vector("gravity", "", "base"),
            *(row._replace(name=f"command {row.name}") for row in self.target_quantities()),
            *(row._replace(name=f"{row.name} less that of the start pose") for row in positions(self.model)[7:]),
            *velocities(self.model)[6:],
            *last_actions(action_rows(self.model)),
            *(angle("gait", "sine", "cosine") if self.phases else []),
        ]

    def privileged_quantities(self) -> list[Quantity]:
        """Name what only the critic sees."""
        return [
            *(row._replace(name=f"{row.name}, exact") for row in self.quantities()),
            *vector("velocity", "m/s", "base"),
            Quantity("height over the start pose's", "m", "world"),
            *(Quantity(f"{foot} height", "m", "world") for foot in self.feet),
            *(Quantity(f"{foot} contact") for foot in self.feet),
            *(row for foot in self.feet for row in vector(f"{foot} velocity", "m/s")),
        ]

    def reward(self, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Return the terms of `weights`, each times its weight; all but velocity and turning are costs."""
        feet, n = len(self.feet), self.action_dim
        own = type(self).obs_dim
        exact, seen = obs[:, own:].tensor_split([own], dim=1)  # without noise
        widths = [3, 3, 3, n, n, n, own - 9 - 3 * n]
        turning, down, command, angles, rates, last, clock = exact.split(widths, dim=1)
        velocity, height, lifted, touching, moving = seen[:, : 4 + 5 * feet].split([3, 1, feet, feet, 3 * feet], dim=1)
        horizontal = self.base.horizontal(moving.view(-1, feet, 3))
        terms_of = {
            "velocity": lambda: terms.tracking(velocity[:, :2] - command[:, :2], 0.1),
            "turning": lambda: terms.tracking(turning[:, 2:] - command[:, 2:], 0.1),
            "upright": lambda: terms.squared(down[:, :2]),
            "bounce": lambda: terms.squared(velocity[:, 2:]),
            "roll": lambda: terms.squared(turning[:, :2]),
            "height": lambda: terms.squared(height),
            "effort": lambda: terms.effort(self._torque(angles, rates, action)),
            "power": lambda: terms.power(self._torque(angles, rates, action), rates),
            "limits": lambda: terms.limits(angles, *self._soft),
            "jerk": lambda: terms.jerk(action, last),
            "slip": lambda: terms.slip(touching, horizontal),
            "lift": lambda: terms.lift(lifted, horizontal, self.swing),
            "pose": lambda: terms.squared(angles),
            "straight": lambda: terms.squared(angles[:, self._aside]),
            "gait": lambda: terms.gait(lifted, self._standing(clock, command), self.swing),
            "spacing": lambda: terms.spacing(self._sideways(angles), self.apart),
        }
        # only what is paid for is computed
        weighed = torch.stack([terms_of[name]() for name in self.weights], dim=1) * self._weights
        return dict(zip(self.weights, weighed.unbind(1), strict=True))

    def failed(self, obs: Tensor) -> Tensor:
        """Return which robots have fallen: too low, or tilted by more than 60 degrees."""
        own = type(self).obs_dim
        seen = obs[:, own:]
        low = seen[:, own + 3] < (self.lowest - 1.0) * self._standing_height
        return low | (seen[:, 5] > -0.5)

    # ---- what is drawn --------------------------------------------------------------------------------------------

    def random_target(self) -> Tensor:
        """Draw a command (N, 3); some are to stand."""
        low, high = self._commands
        command = low + (high - low) * torch.rand(self.num_envs, 3, generator=self.generator)
        still = torch.rand(self.num_envs, 1, generator=self.generator) < self.options["standing"]
        return sent(command.masked_fill(still, 0.0), self.device)

    def target_quantities(self) -> list[Quantity]:
        """Name what a command is."""
        return [Quantity("forward", "m/s", "base"), Quantity("left", "m/s", "base"), Quantity("turn", "rad/s", "base")]

    def target_range(self) -> tuple[Tensor, Tensor]:
        """Return between what commands are drawn."""
        return self._commands

    def target_done(self, obs: Tensor) -> Tensor:
        """Return where a command's time is over."""
        return (self.progress + 1) % self._command_steps == 0

    def random_start(self) -> tuple[Tensor, Tensor]:
        """Draw starts near the start pose, in any direction: joints give or take 0.1 rad, all rates up to 0.3."""
        q = torch.cat([self.start_q[:, :7], self.start_q[:, 7:] + self.uniform(-0.1, 0.1, self.action_dim)], dim=1)
        q = self.base.turned(q, self.uniform(-math.pi, math.pi, 1)[:, 0], self.uniform(-0.1, 0.1, 3))
        base = self.base.twist(q, self.uniform(-0.3, 0.3, 3), self.uniform(-0.3, 0.3, 3))
        return q, torch.cat([base, self.uniform(-0.3, 0.3, self.action_dim)], dim=1)

    # ---- a step ---------------------------------------------------------------------------------------------------

    def reseed(self, seed: int) -> None:
        """Let all that is drawn from here on be of another seed."""
        self._unit_noise.clear()
        super().reseed(seed)

    def set_state(self, q: Tensor, qd: Tensor, progress: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """Continue from (q, qd), see `ArticulatedEnv.set_state`; a gait is where `progress` steps bring it."""
        if self.phases:
            steps = torch.zeros_like(self._phase) if progress is None else progress
            self._phase = self.stride * self.dt * steps % 1.0
        return super().set_state(q, qd, progress, target)

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on."""
        noise = {f"noise.{key}": value for key, value in self._unit_noise.state_dict().items()}
        return {**super().state_dict(), **noise, "phase": self._phase.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken, on this device or another."""
        super().load_state_dict(state)
        if noise := below("noise.", state):  # older versions kept none
            self._unit_noise.load_state_dict(noise)
        self._phase = state["phase"].to(self.device, copy=True)

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _advance(self, action: Tensor) -> Reached:
        if self.options["push"]:
            self._push((self.progress + 1) % self._push_steps == 0)
        if self.phases:
            self._phase = (self._phase + self.stride * self.dt) % 1.0
        self._unit_noise.renew(self.generator)
        return super()._advance(action)

    def _as_begun(self, starts: Starts) -> dict[str, Tensor]:
        clock = {"_phase": torch.zeros_like(self._phase)} if self.phases else {}
        return {**super()._as_begun(starts), **clock}

    def _draw(self) -> Starts:
        self._unit_noise.renew(self.generator)
        return super()._draw()

    def _stores(self) -> dict[str, tuple[StartBank, Callable[[], Starts]]]:
        pushes = {"pushes": (self._pushes, self._draw_pushes)} if self.options["push"] else {}
        return {**super()._stores(), **pushes}

    def _push(self, mask: Tensor) -> None:
        """Change the base's velocity where `mask` (N,), in any horizontal direction."""
        if not self._looks or mask.any():
            change = self._pushes.take(mask)["change"]
            self.qd = self.qd + torch.where(mask[:, None], change, 0.0)

    def _draw_pushes(self) -> Starts:
        velocity = self.options["push"] * self.base.horizontal(self.uniform(-1.0, 1.0, 3))
        return {"change": torch.nn.functional.pad(velocity, (3, self.model.nd - 6))}

    def _measured(self, q: Tensor, qd: Tensor, action: Tensor) -> Tensor:
        """Return what a robot measures (N, 9 + 3 A), without noise, and its clock."""
        turning, down, _, _ = self._points.base(q, qd)
        return torch.cat([turning, down, self.target, q[:, 7:] - self._stand, qd[:, 6:], action, self._clock()], dim=1)

    def _clock(self) -> Tensor:
        """Return sine and cosine (N, 2) of the gait's phase; nothing (N, 0) without a gait."""
        turn = 2.0 * math.pi * self._phase[:, None]
        return torch.cat([turn.sin(), turn.cos()], dim=1) if self.phases else turn[:, :0]

    def _standing(self, clock: Tensor, command: Tensor) -> Tensor:
        """Return how much feet should stand (N, F) by a clock (N, 2): all, where the command (N, 3) is to stand."""
        phase = torch.atan2(clock[:, :1], clock[:, 1:]) / (2.0 * math.pi) + self._offsets
        still = (command == 0.0).all(1, keepdim=True)
        return terms.stance(phase, self.duty).masked_fill(still, 1.0)

    def _sideways(self, angles: Tensor) -> Tensor:
        """Return how far the middles of soles are to the left of the base, in its axes (N, F) [m], of angles (N, A)."""
        base = angles.new_tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]).expand(len(angles), 7)
        position, _ = self._points(
            torch.cat([base, angles + self._stand], dim=1), angles.new_zeros(len(angles), self.model.nd)
        )
        return position[:, :, 1].view(len(angles), len(self.feet), -1).mean(2)

    def _soft_limits(self) -> tuple[Tensor, Tensor]:
        """Return 0.9 of the ranges of the joints about their middles (A,), as angles less those of the start pose [rad]."""
        ends = torch.tensor([[link.lower, link.upper] for link in self.model.links[1:]], device=self.device).float()
        inward = 0.05 * (ends[:, 1] - ends[:, 0]).nan_to_num(posinf=0.0)  # of joints that turn for ever: none
        return ends[:, 0] + inward - self._stand[0], ends[:, 1] - inward - self._stand[0]

    def _torque(self, angles: Tensor, rates: Tensor, action: Tensor) -> Tensor:
        """Return what servos pull with (N, A) [N m], before any clamp, in the order of the joints."""
        control = self._drive.controls(action)[:, self._by_joint]
        return self._gain * control + self._constant + self._by_angle * (angles + self._stand) + self._by_rate * rates


def _law(servo: Actuator) -> tuple[float, float, float, float]:
    """Return what a servo on one joint pulls that with: by control, always, by angle, by rate."""
    ((_, gear),) = servo.moment
    constant, by_length, by_speed = servo.bias
    return gear * servo.gain, gear * constant, gear**2 * by_length, gear**2 * by_speed
