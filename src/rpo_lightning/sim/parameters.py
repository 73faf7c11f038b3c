"""Constants of a robot that become arguments of its kernels, each environment its own, with gradients.

`KIND:NAME` is the value of one link, joint or actuator in SI units, `KIND` alone a factor on all of that kind (`gravity`
alone is the vector, and so are the fluid's constants). What is not named stays folded into the code.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rpo_lightning.sim.contact import Material
from rpo_lightning.sim.expressions import Scalar
from rpo_lightning.sim.linkage import Actuator
from rpo_lightning.sim.model import Joint, Link, Model

__all__ = ["KINDS", "Parameters", "parameter_width"]

_CONTACT = {"ke": "ke", "kd": "kd", "kf": "kf", "friction": "mu"}

KINDS = {
    "mass": "of a link [kg]; its inertia grows with it",
    "inertia": "factor on a link's rotational inertia",
    "com": "centre of mass in the link's frame, (3,) [m]",
    "damping": "of a joint [N m s/rad or N s/m]",
    "armature": "of a joint [kg m^2 or kg]",
    "frictionloss": "of a joint [N m or N]",
    "stiffness": "of a joint's spring [N m/rad or N/m]",
    "gain": "of an actuator [N m or N for each unit of control]",
    "kp": "of a servo: its gain, and minus its bias by length",
    "kv": "of a servo: minus its bias by velocity",
    "ke": "stiffness of a link's contact with the ground [N/m]",
    "kd": "damping of it",
    "kf": "viscosity of its friction [N s/m]",
    "friction": "its coefficient of friction",
    "radius": "of the spheres by which a link touches the ground [m]",
    "gravity": "(3,) [m/s^2]",
    "density": "of the fluid around the robot [kg/m^3]",
    "viscosity": "of the fluid [Pa s]",
    "wind": "(3,), the speed of the fluid [m/s]",
    "terrain": "which of the simulator's height fields is the ground, rounded; without gradient",
}
"""What can be a parameter. Factors without a name are also of the contact of pairs of shapes."""

_VECTORS = ("com", "gravity", "wind")
_ONLY_NAMED = ("com", "radius")
_OF_JOINTS = ("damping", "armature", "frictionloss", "stiffness")
_OF_ACTUATORS = ("gain", "kp", "kv")
_OF_FLUID = ("density", "viscosity", "wind")


def parameter_width(name: str) -> int:
    """Return how many numbers a parameter of that name has, whatever the robot."""
    return 3 if name.partition(":")[0] in _VECTORS else 1


@dataclass(frozen=True)
class _Entry:
    kind: str
    who: str | None
    values: tuple[float, ...]


class Parameters:
    """The named parameters of one robot, side by side in a vector.

    Attributes: `names`, `columns` (name -> slice of the vector), `size`, `values` (size,) those of the model,
    `controls`: how many a step takes, as of `Model`, or all if the force of actuators depends on a parameter.

    Raises:
        ValueError: for a name that does not exist, or twice the same.
    """

    def __init__(self, model: Model, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self._entries = [_entry(model, name) for name in self.names]
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"parameters: {next(n for n in names if self.names.count(n) > 1)!r} is named twice")
        ends = np.cumsum([0, *(len(entry.values) for entry in self._entries)]).tolist()
        self.columns = {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.names)}
        self.size: int = ends[-1]
        self.values = np.array([x for entry in self._entries for x in entry.values])
        driven = any(entry.kind in _OF_ACTUATORS for entry in self._entries)
        self.controls = len(model.actuators) if model.controls or driven else 0

    def applied(self, model: Model, values: Sequence[Scalar]) -> Model:
        """Return the model with the parameters at `values` (size,), floats or `Expr`; factors last."""
        if not self.size:
            return model
        model = copy.deepcopy(model)
        for name, entry in sorted(zip(self.names, self._entries, strict=True), key=lambda item: item[1].who is None):
            _write(model, entry, list(values[self.columns[name]]))
        return model

    def contact_factors(self, values: Sequence[Scalar]) -> Material:
        """Return what the constants of contact of pairs are multiplied by."""
        factors: dict[str, Scalar] = {
            _CONTACT[entry.kind]: values[self.columns[name]][0]
            for name, entry in zip(self.names, self._entries, strict=True)
            if entry.who is None and entry.kind in _CONTACT
        }
        return Material(*(factors.get(field, 1.0) for field in Material._fields))


def _entry(model: Model, name: str) -> _Entry:
    kind, _, who = name.partition(":")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.0)[0]
        raise ValueError(f"parameters: there is no kind {kind!r}, did you mean {near!r}? Kinds: {', '.join(KINDS)}")
    if kind in ("gravity", "terrain") or kind in _OF_FLUID:
        if who:
            raise ValueError(f"parameters: {kind} has no name")
        if kind == "terrain":
            if all(geom.kind != "hfield" for geom in model.geoms):
                raise ValueError("parameters: terrain: the robot's file has no height field")
            return _Entry(kind, None, (0.0,))
        if kind != "gravity" and not model.fluid_shapes:
            raise ValueError(
                f"parameters: {kind}: there is no fluid; <option density=... viscosity=.../> in the robot's file says one"
            )
        value = model.gravity if kind == "gravity" else getattr(model.fluid, kind)
        return _Entry(kind, None, tuple(map(float, np.atleast_1d(value))))
    if not who:
        if kind in _ONLY_NAMED:
            raise ValueError(f"parameters: {kind} needs a name, {kind}:NAME, of {', '.join(_whose(model, kind))}")
        return _Entry(kind, None, (1.0,))
    whose = _whose(model, kind)
    if who not in whose:
        what = "actuator" if kind in _OF_ACTUATORS else "link"
        raise ValueError(f"parameters: {name!r}: no {what} {who!r} has any; choose from {', '.join(whose) or 'none'}")
    if whose.count(who) > 1:
        raise ValueError(f"parameters: {name!r}: {whose.count(who)} are called {who!r}; name them apart in the robot's file")
    return _Entry(kind, who, _read(model, kind, who))


def _whose(model: Model, kind: str) -> list[str]:
    if kind in _OF_ACTUATORS:
        return [actuator.name for actuator in model.actuators if _has(actuator, kind)]
    if kind in _CONTACT or kind == "radius":
        return list(dict.fromkeys(model.links[contact.link].name for contact in model.contacts))
    if kind in ("mass", "inertia", "com"):
        return [link.name for link in model.links if link.mass > 0.0]
    # what acts on rates of a free joint about the world origin, or has no direction in it, is not simulated
    free = kind != "stiffness" and model.free_velocity == "body"
    return [link.name for link in model.links if free or link.joint is not Joint.FREE]


def _has(actuator: Actuator, kind: str) -> bool:
    if kind == "kp":
        return _there(actuator.bias[1]) and _there(actuator.gain)
    return kind == "gain" or _there(actuator.bias[2])


def _there(x: Any) -> bool:
    return not isinstance(x, float) or x != 0.0


def _read(model: Model, kind: str, who: str) -> tuple[float, ...]:
    if kind in _OF_ACTUATORS:
        actuator = next(a for a in model.actuators if a.name == who)
        return ({"gain": actuator.gain, "kp": actuator.gain, "kv": -actuator.bias[2]}[kind],)
    if kind in _CONTACT or kind == "radius":
        values = {float(getattr(c, _CONTACT.get(kind, kind))) for c in model.contacts if model.links[c.link].name == who}
        if len(values) > 1:
            raise ValueError(f"parameters: the contact points of {who!r} have different values of {kind}")
        return (values.pop(),)
    link = next(link for link in model.links if link.name == who)
    if kind == "com":
        return tuple(map(float, link.com))
    return (1.0 if kind == "inertia" else float(getattr(link, kind)),)


def _write(model: Model, entry: _Entry, values: list[Scalar]) -> None:
    kind, who, value = entry.kind, entry.who, values[0]

    def changed(old: Any) -> Any:
        return old * value if who is None else value

    if kind == "terrain":
        return  # the loops over pairs read it
    if kind == "gravity":
        model.gravity = np.array(values, dtype=object)
    elif kind in _OF_FLUID:
        model.fluid = replace(model.fluid, **{kind: np.array(values, dtype=object) if kind in _VECTORS else value})  # type: ignore[arg-type]
    elif kind in _OF_ACTUATORS:
        model.actuators = [_driven(a, kind, changed) if who in (None, a.name) else a for a in model.actuators]
    elif kind in _CONTACT or kind == "radius":
        for contact in model.contacts:
            if who in (None, model.links[contact.link].name):
                field = _CONTACT.get(kind, kind)
                setattr(contact, field, changed(getattr(contact, field)))
    else:
        for link in model.links:
            if link.name == who or who is None:
                _massive(link, kind, values, changed)


def _driven(actuator: Actuator, kind: str, changed: Callable[[Any], Any]) -> Actuator:
    if not _has(actuator, kind):
        return actuator
    if kind == "gain":
        return replace(actuator, gain=changed(actuator.gain))
    gain, (constant, by_length, by_velocity) = actuator.gain, actuator.bias
    old = gain if kind == "kp" else -1.0 * by_velocity
    new = changed(old)
    ratio = new * (1.0 / old)
    if kind == "kp":  # the length it pulls to stays
        gain, by_length = new, by_length * ratio
    else:  # so does the speed that a servo without a length keeps
        gain, by_velocity = gain if _there(by_length) else gain * ratio, -1.0 * new
    return replace(actuator, gain=gain, bias=(constant, by_length, by_velocity))


def _massive(link: Link, kind: str, values: list[Scalar], changed: Callable[[Any], Any]) -> None:
    fields: dict[str, Any] = vars(link)
    if kind in _OF_JOINTS:
        fields[kind] = changed(fields[kind])
    elif kind == "com":
        link.com = np.array(values, dtype=object)
    elif not isinstance(link.mass, float) or link.mass > 0.0:
        factor = values[0]
        if kind == "mass":
            old, link.mass = link.mass, changed(link.mass)  # type: ignore[assignment]
            factor = link.mass * (1.0 / old)
            link.lifted = link.lifted * factor  # compensated weight is a share of it
        link.inertia = link.inertia.astype(object) * factor
