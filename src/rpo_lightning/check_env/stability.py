"""Whether the simulation stays finite, and its time step is short enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rpo_lightning.check_env.joints import grips
from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.subject import Subject, load, random_actions, visited_state
from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.sim import Joint, Model, velocity_at

__all__ = ["Rollout", "check_stability", "interval_error", "roll_out", "step_size_error"]

_STEPS = 300
_TOO_FAST = 1e4  # [m/s, rad/s] a robot that contact throws away counts as exploded long before its state does
_TOLERATED = 0.02  # share of environments that may explode
_SOON = 2  # an episode of so few steps teaches nothing

_COMPARED_STEPS = 16
_APART = 0.1  # of the 90th percentile; the built-in tasks stay below 0.035

_CURE = "raise substeps, or lower the stiffness and damping of contact and limits"


class Rollout(NamedTuple):
    """What happened in T steps of N environments.

    Attributes:
        steps: T.
        exploded: number of environments. first: the earliest such step, from 1, and `where`: the fastest joint before it.
        terminated: share of environments that terminated at least once. after: median number of steps until they did.
        speed: the largest velocity of those that did not explode, with unit and joint.
    """

    steps: int
    exploded: int
    first: int | None
    where: str
    terminated: float
    after: int | None
    speed: str


@torch.no_grad()
def roll_out(env: Any, actions: Iterable[Tensor]) -> Rollout:
    """Take a step for each of `actions` (N, A); environments that reset themselves go on doing so."""
    names = _velocity_names(env)
    limit = _TOO_FAST if isinstance(env, ArticulatedEnv) else torch.inf
    exploded = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
    life = torch.zeros(env.num_envs, device=env.device)  # steps until the first termination, 0: none
    largest = torch.zeros(len(names), device=env.device)
    before, steps, first, where = _velocities(env).clone(), 0, None, ""
    for action in actions:
        step = env.step(action)
        steps += 1
        velocities = _velocities(env)
        sound = (velocities.abs() < limit).all(1) & step.final_obs.isfinite().all(1) & ~env.invalid
        if first is None and not sound.all():
            first, where = steps, names[int(before[~sound].abs().amax(0).argmax())][0] if names else "nothing"
        exploded = exploded | ~sound
        life = torch.where(step.terminated & (life == 0), steps, life)
        largest = torch.maximum(largest, velocities.abs().masked_fill(exploded[:, None], 0.0).amax(0))
        before = velocities.clone()
    ended = life[life > 0]
    return Rollout(
        steps=steps,
        exploded=int(exploded.sum()),
        first=first,
        where=where,
        terminated=len(ended) / env.num_envs,
        after=int(ended.median()) if len(ended) else None,
        speed=_fastest(largest, names),
    )


def _fastest(largest: Tensor, names: list[tuple[str, str]]) -> str:
    if not names:  # an environment may have no velocities
        return "-"
    name, unit = names[int(largest.argmax())]
    return f"{largest.max().item():.3g}{unit} ({name})"


@torch.no_grad()
def step_size_error(subject: Subject) -> Tensor:
    """Return (N,): by how much twice the substeps change where 16 random actions lead, relative to the way there.

    |x - x'| / |x' - x_0| of x = (q, qd). The mass matrix is rebuilt as often per step as in the task.
    """
    cls: Any = subject.cls
    # without an interval of its own a task rebuilds it in proportion
    finer = {"substeps": 2 * cls.substeps, "mass_matrix_interval": cls.mass_matrix_interval and 2 * cls.mass_matrix_interval}
    return _distance(subject, finer)


@torch.no_grad()
def interval_error(subject: Subject) -> Tensor:
    """Return (N,): by how much a mass matrix of every substep changes where these actions lead, as `step_size_error` does.

    A kept one takes momentum from what moves, and turns bodies that nothing turns.
    """
    env = subject.make()

    class Rebuilt(subject.cls):  # type: ignore[name-defined,misc]
        def edit(self, model: Model) -> None:
            super().edit(model)
            self.mass_matrix_interval = 1

    return _distance(subject, Rebuilt) if env.simulator.mass_matrix_interval > 1 else torch.zeros(env.num_envs)


def _distance(subject: Subject, other: dict[str, Any] | type) -> Tensor:
    """Return (N,): how far apart a task and another, or one with other attributes, get, relative to the way there."""
    cls: Any = subject.cls
    changed = type(cls.__name__, (cls,), other) if isinstance(other, dict) else other
    start, reached = visited_state(subject), []
    for made in (subject, replace(subject, cls=changed)):
        env = made.make_endless()
        load(env, start)
        for action in random_actions(env, _COMPARED_STEPS, subject.seed + 1):
            env.step(action)
        reached.append(torch.cat(env.get_state()[:2], dim=1))
    coarse, fine = reached
    way = fine - torch.cat([start["q"], start["qd"]], dim=1)
    return ((coarse - fine).norm(dim=1) / way.norm(dim=1).clamp(min=1e-6)).nan_to_num(torch.inf, torch.inf)


def check_stability(subject: Subject, section: Section) -> None:
    """Roll out with random and with zero actions; for an articulated robot halve the time step too."""
    section.table = [("actions", "steps", "exploded", "terminated", "median after", "largest velocity")]
    results = section.result = {}
    for kind in ("random", "zero"):
        env = subject.make_endless()
        actions = random_actions(env, min(env.max_episode_steps, _STEPS), subject.seed + 2)
        found = results[kind] = roll_out(env, actions if kind == "random" else torch.zeros_like(actions))
        row = (
            kind,
            found.steps,
            f"{found.exploded} of {env.num_envs}",
            f"{found.terminated:.0%}",
            found.after or "-",
            found.speed,
        )
        section.table.append(tuple(map(str, row)))
        section.verdicts += _judge(kind, found, env)
    if not section.verdicts:
        section.verdicts.append(Verdict("ok", "nothing explodes"))
    if subject.articulated:
        error = results["step_size"] = step_size_error(subject)
        section.verdicts.append(_judge_step_size(error, subject.cls))
        results["interval"] = interval_error(subject)
        section.verdicts += _judge_interval(results["interval"], subject.make().simulator.mass_matrix_interval)


def _judge(kind: str, found: Rollout, env: Any) -> list[Verdict]:
    verdicts, n = [], env.num_envs
    if found.exploded:
        text = (
            f"{found.exploded} of {n} environments explode with {kind} actions, the first at step {found.first}, "
            f"where {found.where} is fastest; {_cure(env)}"
        )
        verdicts.append(Verdict("failed" if found.exploded > _TOLERATED * n else "warning", text))
    elif found.terminated > 0.5 and found.after is not None and found.after <= _SOON:
        text = f"with {kind} actions most episodes end within {_SOON} steps; do the start and `failed` fit each other?"
        verdicts.append(Verdict("warning", text))
    return verdicts


def _cure(env: Any) -> str:
    """Return what to do about an explosion: what is known to be too steep comes before what may be."""
    if not isinstance(env, ArticulatedEnv):
        return _CURE
    steepest = max(grips(env.model, env.dt / env.substeps), key=lambda grip: grip.steep, default=None)
    if steepest is not None and steepest.steep > 2.0:
        return f"{steepest}; {steepest.cure}, or raise substeps to {steepest.substeps(env.substeps)}"
    return _CURE


def _judge_step_size(error: Tensor, cls: Any) -> Verdict:
    median, most, largest = error.quantile(torch.tensor([0.5, 0.9, 1.0], device=error.device)).tolist()
    text = (
        f"{_COMPARED_STEPS} steps with {cls.substeps} and with {2 * cls.substeps} substeps lead apart by "
        f"{median:.1%} (median), {most:.1%} (90 % below), {largest:.1%} (largest)"
    )
    return Verdict("ok", text) if most <= _APART else Verdict("warning", f"{text}; {_CURE}")


def _judge_interval(error: Tensor, interval: int) -> list[Verdict]:
    if interval == 1:
        return []
    median, most = error.quantile(torch.tensor([0.5, 0.9], device=error.device)).tolist()
    text = (
        f"a mass matrix kept for {interval} substeps leads apart from one of each by "
        f"{median:.1%} (median), {most:.1%} (90 % below)"
    )
    if most <= _APART:
        return [Verdict("ok", text)]
    return [Verdict("warning", f"{text}; lower mass_matrix_interval, or take physics: right where the task has that option")]


def _velocities(env: Any) -> Tensor:
    """Return the rates (N, nd), of a free joint the velocity of its body instead of the twist about the world origin."""
    q, qd, _ = env.get_state()
    if not isinstance(env, ArticulatedEnv):
        return qd.reshape(env.num_envs, -1)
    parts = []
    for index, link in enumerate(env.model.links):
        rates = qd[:, env.model.dofs(index)]
        if link.joint is Joint.FREE:
            position = q[:, env.model.coordinates(index)][:, :3]
            rates = torch.cat([rates[:, :3], velocity_at(rates[:, :3], rates[:, 3:], position)], dim=1)
        parts.append(rates)
    return torch.cat(parts, dim=1)


def _velocity_names(env: Any) -> list[tuple[str, str]]:
    """Return name and unit of each column of `_velocities`."""
    if not isinstance(env, ArticulatedEnv):
        return [(f"qd[{i}]", "") for i in range(_velocities(env).shape[1])]
    names = []
    for link in env.model.links:
        turning, moving = link.joint is not Joint.PRISMATIC, link.joint in (Joint.PRISMATIC, Joint.FREE)
        axes = [f" {axis}" for axis in "xyz"] if link.joint in (Joint.FREE, Joint.BALL) else [""]
        names += [(link.name + axis, " rad/s") for axis in axes] * turning
        names += [(link.name + axis, " m/s") for axis in axes] * moving
    return names
