"""Models of MuJoCo, of dm_control's suite or of one's own, with the options and sensors that a task asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import mujoco

__all__ = ["Options", "Sensor", "load_model", "suite_file"]

Sensor = tuple[str, str, str]
"""A MuJoCo sensor's type, the type of what it is attached to and the name of that: ("framepos", "xbody", "head")."""


@dataclass(frozen=True)
class Options:
    """The part of MuJoCo's options that MuJoCo Playground changed; its values are the defaults of all tasks.

    Attributes:
        timestep: of one physics step, in seconds.
        iterations, ls_iterations: of the constraint solver and of its line search, at most.
        integrator: "Euler", "implicitfast", "implicit" or "RK4". cone: "pyramidal" or "elliptic".
        disable: flags switched off, besides those that the XML switches off.
    """

    timestep: float
    iterations: int = 100
    ls_iterations: int = 50
    integrator: str = "Euler"
    cone: str = "pyramidal"
    disable: tuple[str, ...] = ("eulerdamp",)


def load_model(
    path: Path,
    options: Options | None,
    sensors: Mapping[str, Sensor],
    edit: Callable[[mujoco.MjSpec], None] | None = None,
) -> mujoco.MjModel:
    """Compile a model whose sensors are exactly `sensors`, in order.

    Args:
        path: of the XML.
        options: to apply; None: those of the file.
        sensors: by name.
        edit: changes the model before it is compiled.

    Raises:
        ValueError: if MuJoCo cannot read the file.
    """
    spec = mujoco.MjSpec.from_file(str(path))
    for sensor in list(spec.sensors):
        spec.delete(sensor)
    for name, (kind, owner_kind, owner) in sensors.items():
        spec.add_sensor(
            name=name,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind.upper()}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{owner_kind.upper()}"),
            objname=owner,
        )
    if edit is not None:
        edit(spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*settotalmass", category=UserWarning)  # dm_control's files have it
        model = spec.compile()
    opt = model.opt
    opt.enableflags = 0  # only energy, which nobody reads
    opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # a broken state must be seen, not be replaced in silence
    if options is None:
        return model
    opt.timestep, opt.iterations, opt.ls_iterations = options.timestep, options.iterations, options.ls_iterations
    opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{options.integrator.upper()}")
    opt.cone = getattr(mujoco.mjtCone, f"mjCONE_{options.cone.upper()}")
    for flag in options.disable:
        opt.disableflags |= getattr(mujoco.mjtDisableBit, f"mjDSBL_{flag.upper()}")
    return model


def suite_file(name: str) -> Path:
    """Return the XML of a model of dm_control's suite, "cheetah".

    The package is not imported: that would need labmaze, OpenGL and an older MuJoCo.

    Raises:
        ImportError: if dm_control is not installed.
    """
    found = find_spec("dm_control")
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            "the tasks dmc/... read their models from the package dm_control, which is not installed: "
            "pip install 'rpo-lightning[dmc]' (on Python 3.13 and later: pip install --no-deps dm_control)"
        )
    return Path(found.submodule_search_locations[0]) / "suite" / f"{name}.xml"
