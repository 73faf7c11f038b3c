"""Tasks of gymnasium by name: `gymnasium/HalfCheetah-v5`, or a class made here for one that needs arguments or wrappers."""

from __future__ import annotations

import functools
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from rpo_lightning.envs.global_generators import kept_generators
from rpo_lightning.envs.vector_adapter import VectorAdapter
from rpo_lightning.envs.vector_spec import dimensions, gymnasium

__all__ = ["GymnasiumTask", "gymnasium_task", "named"]

log = logging.getLogger("rpo_lightning")


class GymnasiumTask(VectorAdapter):
    """A kind of vector environment with a name and known dimensions; `gymnasium_task` makes such classes.

    Args:
        num_envs: number of sub-environments N.
        device: of the tensors given and taken; the simulation runs where gymnasium does.
        seed: of the starts.
        episode_length: time limit [steps]; None: the task's own.
        asynchronous: a process for each sub-environment instead of one after the other in this one.
        options: passed to `gymnasium.make`, or to the function the class was made from.

    Raises:
        ValueError: for a task that cannot be made or used. TypeError: for an argument that the task does not know.
    """

    make_vector_env: ClassVar[Callable[..., Any]]
    arguments: ClassVar[dict[str, Any]] = {}
    reset_mask: ClassVar[bool | None] = None  # of `VectorAdapter`

    def __init__(
        self,
        num_envs: int,
        device: str | torch.device = "cpu",
        seed: int = 0,
        episode_length: int | None = None,
        **options: Any,
    ) -> None:
        env = self.built(num_envs, torch.device(device), episode_length, {**self.arguments, **options})
        try:
            found = dimensions(env.single_observation_space, env.single_action_space, self.name)
            if found != (self.obs_dim, self.action_dim):
                raise ValueError(
                    f"{self.name}: with these arguments there are {found[0]} observations and {found[1]} actions, without "
                    f"them {self.obs_dim} and {self.action_dim}; let gymnasium_task(..., argument=value) make a class of "
                    f"its own"
                )
            super().__init__(env, device, seed, episode_length, self.reset_mask)
        except BaseException:
            env.close()
            raise

    @classmethod
    def built(cls, num_envs: int, device: torch.device, episode_length: int | None, options: dict[str, Any]) -> Any:
        """Return what `build` does, and tell in one line why it does not."""
        try:
            with _warning_once(), _deaf_to_interrupts():
                return cls.build(num_envs, device, episode_length, options)
        except (gymnasium.error.Error, ImportError) as error:
            raise ValueError(f"{cls.name}: {' '.join(str(error).split())}") from error
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise TypeError(
                f"{cls.name}: {' '.join(str(error).split())}. Options: episode_length, asynchronous, those of "
                "gymnasium.make and of the task itself"
            ) from error

    @classmethod
    def build(cls, num_envs: int, device: torch.device, episode_length: int | None, options: dict[str, Any]) -> Any:
        """Return a vector environment with a time limit of `episode_length`, None: its own."""
        return cls.make_vector_env(num_envs=num_envs, **options)


class _Registered(GymnasiumTask):
    """A task that gymnasium knows by `env_id`; its vector environments report the states that episodes ended in."""

    env_id: ClassVar[str]

    @classmethod
    def build(cls, num_envs: int, device: torch.device, episode_length: int | None, options: dict[str, Any]) -> Any:
        """Return one of gymnasium's own vector environments."""
        mode = "async" if options.get("asynchronous", False) else "sync"
        options = {key: value for key, value in options.items() if key != "asynchronous"}
        if episode_length is not None:
            options["max_episode_steps"] = episode_length
        same_step = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        env = gymnasium.make_vec(cls.env_id, num_envs, vectorization_mode=mode, vector_kwargs=same_step, **options)
        if episode_length is not None and env.spec is not None:
            env.spec.max_episode_steps = episode_length
        return env


def gymnasium_task(source: str | Callable[..., Any], name: str | None = None, **arguments: Any) -> type[GymnasiumTask]:
    """Return a class of environments that `data.env` can name, or `RolloutDataModule` take.

    For example, in a module of yours: `Cheetah = gymnasium_task("HalfCheetah-v5", forward_reward_weight=2.0)`. One
    environment is made and closed, to learn the dimensions. `wrappers` wrap every sub-environment, as in
    `gymnasium.make_vec`.

    Args:
        source: an id of gymnasium, or a function `(num_envs=..., **options)` that returns a `gymnasium.vector.VectorEnv`.
        name: of the task, and of its folder below `runs`; None: "gymnasium/" and the id or the function's name.
        arguments: given to it each time.

    Raises:
        ValueError: if it cannot be made, or its spaces cannot be used.
    """
    title = source if isinstance(source, str) else source.__name__
    members: dict[str, Any] = {"name": name or f"gymnasium/{title}", "arguments": arguments, "__doc__": f"{title}."}
    if isinstance(source, str):
        return with_dimensions(type(title, (_Registered,), {**members, "env_id": source}))
    return with_dimensions(type(title, (GymnasiumTask,), {**members, "make_vector_env": staticmethod(source)}))


def with_dimensions(task: type[GymnasiumTask], num_envs: int = 1, device: str = "cpu") -> type[GymnasiumTask]:
    """Give a class the dimensions that environments made by it have, and return it."""
    with kept_generators():
        env = task.built(num_envs, torch.device(device), None, task.arguments)
    try:
        task.obs_dim, task.action_dim = dimensions(env.single_observation_space, env.single_action_space, task.name)
    finally:
        env.close()
    return task


@functools.cache
def named(env_id: str) -> type[GymnasiumTask]:
    """Return the class of `gymnasium/<env_id>`.

    Raises:
        ValueError: if there is no such task or it cannot be used here.
    """
    return gymnasium_task(env_id)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started here not see a terminal's Ctrl-C: this one ends them, once its iteration is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _warning_once() -> Iterator[None]:
    """Let MuJoCo say each of its warnings once, not once for every sub-environment of every evaluation."""
    try:
        import mujoco
    except ImportError:
        yield
        return
    usual = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_say_once)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(usual)


@functools.cache
def _say_once(text: str) -> None:
    log.warning(f"MuJoCo: {text}")
