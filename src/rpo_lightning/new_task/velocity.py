"""The task of a robot that walks as commanded."""

from __future__ import annotations

from collections.abc import Iterator

from rpo_lightning.envs.legged.biped import Biped
from rpo_lightning.envs.legged.velocity_task import VelocityTask
from rpo_lightning.new_task.survey import Survey

__all__ = ["velocity_task"]

_OURS = {VelocityTask: 15.1 * 0.32, Biped: 34.2 * 0.72}
"""Mass times height [kg m] of the robots that the weights are for, our quadruped and biped: torques are in proportion."""

_TEXT = '''{imports}{sim}


class {cls}({base}):
    """Walk as commanded{how}. Observation, reward, commands and pushes are those of `{base}`."""

    name = "{name}"
    {robot}
    obs_dim, action_dim, privileged_dim = {obs_dim}, {action_dim}, {privileged_dim}
    feet = {feet}  # links that touch the ground when it stands
    action_scale = 0.5  # [rad]: actions are offsets from the start pose
    swing = {swing}  # [m] how high moving feet should be
{attributes}{weights}
{edit}'''


def velocity_task(found: Survey, name: str, cls: str, robot: str, attributes: list[str]) -> str:
    """Return the class, from its imports on."""
    steps, base = list(_edits(found)), Biped if found.biped else VelocityTask
    helpers = sorted(step.partition("(")[0] for step in steps)
    legged = ", ".join(helper for helper in helpers if helper != "motors_to_servos")
    imports = [f"from rpo_lightning.envs.legged.feet import {legged}"] if legged else []
    imports = sorted([*imports, f"from {base.__module__} import {base.__name__}"])
    edit = ["", "    def edit(self, model: Model) -> None:", '        """Make of the file\'s robot one that walks."""']
    actions, feet = len(found.model.actuators), len(found.feet)
    names = f"({', '.join(_quoted(foot) for foot in found.feet)})"
    below = ["from rpo_lightning.envs.servos import motors_to_servos"] if found.servos else []
    below += ["from rpo_lightning.robots.public import fetch"] if "fetch(" in robot else []
    below += ["from rpo_lightning.sim import Model"] if steps else []
    clock = 2 if found.biped else 0  # observations
    attributes = [*attributes, *([f"apart = {_apart(found):.2g}  # [m] sideways, between feet"] if found.biped else [])]
    return _TEXT.format(
        imports="\n".join(imports),
        sim="".join(f"\n{line}" for line in below),
        base=base.__name__,
        how=" on two legs, by a clock: forward, turn" if found.biped else ": forward, left, turn",
        cls=cls,
        name=name,
        robot=robot,
        obs_dim=9 + 3 * actions + clock,
        action_dim=actions,
        privileged_dim=13 + 3 * actions + 5 * feet + clock,
        feet=names,
        swing=f"{found.height / (9.0 if found.biped else 4.0):.2g}",
        attributes="\n".join(f"    {line}" for line in attributes),
        weights=_weights(found, base),
        edit="\n".join([*edit, *(f"        {step}" for step in steps), ""]) if steps else "",
    ).lstrip("\n")


def _edits(found: Survey) -> Iterator[str]:
    if found.bent:
        yield "bend_knees(model, self.feet)  # which are straight in the file's start pose; on the ground"
    elif found.gap:
        where = "over" if found.gap > 0.0 else "inside"
        yield f"set_down(model)  # the file's start pose is {1e3 * abs(found.gap):.0f} mm {where} the ground"
    if found.pruned:
        yield f"only_feet_touch(model, self.feet)  # {found.pruned} points less: cheaper, and a fall ends the episode"
    if found.servos:
        why = "so stiff that ankles hold it" if found.biped else "what your robot's controller does"
        yield f"motors_to_servos(model, error={found.servos:g})  # [rad] at which a motor gives all: {why}"


def _apart(found: Survey) -> float:
    """Return how far apart feet should be sideways at least: five sixths of how far they are in the start pose [m]."""
    left, right = (found.place(foot)[1] for foot in found.feet)
    return float(left - right) / 1.2


def _weights(found: Survey, base: type[VelocityTask]) -> str:
    """Return weights for a robot much heavier or lighter than ours, whose torques would else count too much or little."""
    times = (found.mass * found.height / _OURS[base]) ** 2
    if 0.5 < times < 2.0:
        return ""
    effort = base.weights["effort"] / times
    by = f"{found.mass:.3g} kg that stand {found.height:.2g} m high"
    return f'\n    weights = {{**{base.__name__}.weights, "effort": {effort:.2g}}}  # of torques of {by}'


def _quoted(name: str) -> str:
    return f'"{name}"'
