"""Tasks, by name or by class path."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rpo_lightning.envs.dmc import TASKS as _CONTROL_TASKS

# the names are there without torch: `rpo-lightning list` answers at once
if TYPE_CHECKING:
    import torch

    from rpo_lightning.envs.protocol import Env

__all__ = ["class_path", "env_class", "make", "names"]

_TASKS = {
    "ant": "rpo_lightning.envs.ant.Ant",
    "anymal": "rpo_lightning.envs.anymal.Anymal",
    "arm_reach": "rpo_lightning.envs.arm_reach.ArmReach",
    "biped": "rpo_lightning.envs.legged.biped.Biped",
    "cartpole": "rpo_lightning.envs.cartpole.Cartpole",
    "cheetah": "rpo_lightning.envs.cheetah.Cheetah",
    "double_pendulum": "rpo_lightning.envs.double_pendulum.DoublePendulum",
    "hand_reorient": "rpo_lightning.envs.hand_reorient.HandReorient",
    "hopper": "rpo_lightning.envs.hopper.Hopper",
    "humanoid": "rpo_lightning.envs.humanoid.Humanoid",
    "quadrotor": "rpo_lightning.envs.quadrotor.Quadrotor",
    "quadruped": "rpo_lightning.envs.legged.quadruped.Quadruped",
    "quadruped_rough": "rpo_lightning.envs.legged.quadruped_rough.QuadrupedRough",
    **_CONTROL_TASKS,
}

# tasks of other libraries, `family/name`: the module whose `named` makes their classes
_FAMILIES = {
    "gymnasium": "rpo_lightning.envs.gymnasium_env",
    "maniskill": "rpo_lightning.envs.maniskill",
}


def names() -> list[str]:
    """Return the names `make` knows."""
    return list(_TASKS)


def class_path(name: str) -> str:
    """Return where the class of one of `names()` is: package, module and class."""
    return _TASKS[name]


def env_class(name: str) -> type:
    """Return the class of a task, by name or by class path.

    Raises:
        ValueError: if there is no such task, with the nearest name.
    """
    from rpo_lightning.envs.protocol import lacking

    family, _, member = name.partition("/")
    if family in _FAMILIES and member:
        try:
            return importlib.import_module(_FAMILIES[family]).named(member)
        except ImportError as error:
            raise ValueError(f"task {name!r}: {error}") from error
    path = _TASKS.get(name, name)
    module, _, attribute = path.rpartition(".")
    if not module:
        near = difflib.get_close_matches(name, _TASKS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = f"Tasks: {', '.join(_TASKS)}, or a class path such as my_robot.MyEnv"
        raise ValueError(f"no task is called {name!r}; {hint}{known}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"task {name!r} cannot be imported: {error}") from error
    if not isinstance(found, type) or lacking(found):
        lacks = ", ".join(lacking(found)) if isinstance(found, type) else "a constructor"
        raise ValueError(f"task {name!r} is not an environment class with {lacks}")
    return found


def make(
    env: str | Callable[..., Env], num_envs: int, device: str | torch.device = "cpu", seed: int = 0, **options: Any
) -> Any:
    """Return an environment, already reset. The process's own random generators are left as they were.

    Args:
        env: a task (`names()`), `gymnasium/<id>`, `maniskill/<id>`, a class path, or what one of these names: a class, or a
            function with the arguments below.
        num_envs: number of environments.
        device: "cpu" or "cuda[:k]".
        seed: of its random starts.
        options: those that the task has, see its class: `env_class(name).option_defaults()` lists those of ours.

    Raises:
        ValueError: for an unknown task or a bad value. TypeError: for an option that the task has not.
    """
    from rpo_lightning.envs.arguments import check_names
    from rpo_lightning.envs.global_generators import kept_generators

    with kept_generators():
        found = env_class(env) if isinstance(env, str) else env
        parameters = inspect.signature(found).parameters
        if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            known = [name for name in parameters if name not in ("num_envs", "device", "seed")]
            check_names(getattr(found, "name", found.__name__), options, known)
        return found(num_envs=num_envs, device=device, seed=seed, **options)
