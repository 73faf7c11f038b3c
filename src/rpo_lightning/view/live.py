"""Environments that run on while somebody watches: pause, step, speed, reset, push, targets."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.gymnasium_tables import worlds
from rpo_lightning.view.acting import Act, forget
from rpo_lightning.view.drawing import Drawing
from rpo_lightning.view.rotations import turned

__all__ = ["Live"]

_BEHIND = 0.1  # what a slow machine lags behind beyond this is not made up for [s]
_DRAWS = 8  # targets by which their range is found


class Live:
    """N environments under somebody's actions, one of which is shown.

    Attributes:
        env, drawing: what runs, and how it is drawn.
        act: who acts; can be exchanged.
        paused, speed: the clock; 1 is real time.
        shown: index of the environment that is looked at.
        observation: (D,) of it. action: (A,) of the last step. terms: parts of its last reward by name.
        steps: since the start of its episode. total: of that episode's rewards.
        history: the last rows (time [s], reward, observation) of the shown environment.

    Args:
        env: as for `Drawing`.
        act: who acts.
        seed: of pushes.
        seconds: of history.

    Raises:
        ValueError: for an environment of which nothing can be drawn.
    """

    def __init__(self, env: Any, act: Act, seed: int = 0, seconds: float = 5.0) -> None:
        self.env, self.act, self.drawing = env, act, Drawing(env)
        self.paused, self.speed, self.shown = False, 1.0, 0
        self.time, self._due = 0.0, 0.0
        self.terms: dict[str, float] = {}
        self._random = np.random.default_rng(seed)
        self.history: deque[tuple[float, float, np.ndarray]] = deque(maxlen=max(2, round(seconds / self.dt)))
        self._obs = env.detach()
        self._total = torch.zeros(env.num_envs)
        self._held: Tensor | None = None
        self._unit = False
        self.action = np.zeros(env.action_dim)

    @property
    def dt(self) -> float:
        """Seconds between two steps."""
        return self.drawing.scene.dt

    @property
    def observation(self) -> np.ndarray:
        """What the policy sees of the environment that is shown, (D,)."""
        return self._obs[self.shown].detach().cpu().numpy()

    @property
    def steps(self) -> int:
        """Steps of the episode that is shown."""
        return int(self.env.progress[self.shown])

    @property
    def total(self) -> float:
        """Sum of the rewards of the episode that is shown."""
        return float(self._total[self.shown])

    def run(self, seconds: float) -> int:
        """Let time pass, unless it is paused; return how many steps that were."""
        if self.paused:
            return 0
        self._due = min(self._due + self.speed * seconds, self.dt + self.speed * _BEHIND)
        count = 0
        while self._due >= self.dt:
            self._due -= self.dt
            self.step()
            count += 1
        return count

    @torch.no_grad()
    def step(self) -> None:
        """Make one step in all environments; episodes that end begin anew."""
        action, drawn = self.act(self._obs), self._targets_drawn()
        step = self.env.step(action)
        self._obs, ended = step.obs, step.terminated | step.truncated
        forget(self.act, ended)
        reward = step.reward.cpu()
        self._total = torch.where(ended.cpu(), 0.0, self._total + reward)
        self.time += self.dt
        self.action = action[self.shown].cpu().numpy()
        self.terms = {name: float(part[self.shown]) for name, part in (step.reward_terms or {}).items()}
        self.history.append((self.time, float(reward[self.shown]), self.observation))
        if bool(ended[self.shown]) or self._targets_drawn() != drawn:
            self._keep_target()
        elif self._held is not None:
            self._held = self.env.target[self.shown].clone()  # tasks move theirs

    def show(self, index: int) -> None:
        """Look at another environment."""
        self.shown = index % self.env.num_envs
        self.history.clear()
        self._held = None

    @torch.no_grad()
    def reset(self) -> None:
        """Begin new episodes everywhere."""
        self._obs = self.env.reset()
        forget(self.act, torch.ones(self.env.num_envs, dtype=torch.bool, device=self.env.device))
        self._total = torch.zeros(self.env.num_envs)
        self.history.clear()
        self._keep_target()

    @torch.no_grad()
    def push(self, speed: float = 1.0) -> None:
        """Make the shown robot faster at once, in a random level direction: its base by `speed` [m/s].

        Of a robot that stays where it is all rates change, by that many units at random.
        """
        angle = self._random.uniform(0.0, 2.0 * math.pi)
        velocity = speed * np.array([math.cos(angle), math.sin(angle), 0.0])
        if gymnasiums := worlds(self.env):  # the policy sees it after the next step
            gymnasiums[self.shown][1].qvel += self._change(velocity)
            return
        q, qd, progress = self.env.get_state()
        qd = qd.clone()
        qd[self.shown] += torch.from_numpy(self._change(velocity)).to(qd)
        self._obs = self.env.set_state(q, qd, progress)

    def _change(self, velocity: np.ndarray) -> np.ndarray:
        """Return by what the rates (nd,) change so that the base becomes faster by a velocity (3,) of the scene."""
        mj, up = self.drawing.mj, self.drawing.up
        base = self.drawing.scene.base
        change = np.zeros(mj.nv)
        if base is None:
            return self._random.normal(size=mj.nv) * np.linalg.norm(velocity)
        body = mj.body(self.drawing.scene.bodies[base])
        joints = range(int(body.jntadr[0]), int(body.jntadr[0] + body.jntnum[0]))
        for joint in joints:
            first, kind = int(mj.jnt_dofadr[joint]), int(mj.jnt_type[joint])
            if kind == mujoco.mjtJoint.mjJNT_FREE.value:
                # here rates of a free joint are the turn, then the velocity; in MuJoCo the other way round
                first += 3 if isinstance(self.env, ArticulatedEnv) else 0
                change[first : first + 3] = turned(up * np.array([1.0, -1.0, -1.0, -1.0]), velocity)
            elif kind == mujoco.mjtJoint.mjJNT_SLIDE.value:
                change[first] = turned(up, turned(body.quat, mj.jnt_axis[joint])) @ velocity
        return change

    @torch.no_grad()
    def target_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return between what targets are drawn, (target_dim,) each; the generator is left as it was."""
        known = self.env.target_range() if isinstance(self.env, ArticulatedEnv) else None
        if known is not None:
            low, high = (ends.cpu().double().numpy() for ends in known)
            return low, np.maximum(high, low + 1e-6)
        generator = self.env.generator.get_state()
        if isinstance(self.env, ArticulatedEnv):
            draws = torch.cat([self.env.random_target() for _ in range(_DRAWS * 4)])
        else:
            draws = torch.cat([self.env.random_start()[2] for _ in range(_DRAWS)])
        self.env.generator.set_state(generator)
        # as if more had been drawn: what is seen of a uniform one is narrower than it is
        low, high = draws.min(0).values.cpu().double().numpy(), draws.max(0).values.cpu().double().numpy()
        self._unit = bool(((draws.norm(dim=1) - 1.0).abs() < 1e-4).all()) and draws.shape[1] > 1
        middle, half = (low + high) / 2.0, (high - low) / 2.0 * 1.1 + 1e-6
        return middle - half, middle + half

    @property
    def target(self) -> np.ndarray:
        """What the shown environment is to reach or follow, (target_dim,)."""
        return self.env.target[self.shown].detach().cpu().numpy()

    @property
    def holds_target(self) -> bool:
        """Whether the shown environment has a target that was given to it."""
        return self._held is not None

    @torch.no_grad()
    def aim(self, target: np.ndarray) -> None:
        """Give the shown environment a target, and again whenever one is drawn there, until another one is shown.

        It is seen from the next step on.
        """
        values = torch.from_numpy(np.asarray(target)).to(self.env.target)
        self._held = values / values.norm().clamp(min=1e-6) if self._unit else values
        self._keep_target()

    def _targets_drawn(self) -> int:
        """Return how many targets the shown environment has had; those that only have one for each episode do not tell."""
        return int(self.env.targets_drawn[self.shown]) if isinstance(self.env, ArticulatedEnv) else 0

    def _keep_target(self) -> None:
        """Put the target that is held, if any, where another one was drawn; nothing else of the state changes."""
        if self._held is not None and not torch.equal(self.env.target[self.shown], self._held):
            target = self.env.target.clone()
            target[self.shown] = self._held
            self.env.target = target

    def target_names(self) -> list[str]:
        """Return what each entry of a target is called, with its unit."""
        rows = self.env.target_quantities() if isinstance(self.env, ArticulatedEnv) else ()
        if not rows:
            return [f"target {index}" for index in range(self.env.target_dim)]
        return [f"{row.name} [{row.unit}]" if row.unit else row.name for row in rows]
