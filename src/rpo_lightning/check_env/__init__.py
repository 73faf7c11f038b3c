"""`rpo-lightning check-env`: tell whether an environment is fit to learn from its gradients.

From Python: `print(check("ant"))`, or `check(MyRobot, num_envs=16).failed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from rpo_lightning import console, envs
from rpo_lightning.check_env.contact import check_contact
from rpo_lightning.check_env.gradients import check_gradients
from rpo_lightning.check_env.growth import check_growth
from rpo_lightning.check_env.interface import allows_more, check_interface
from rpo_lightning.check_env.joints import check_joints
from rpo_lightning.check_env.report import Report, Section, Verdict
from rpo_lightning.check_env.reward import check_reward
from rpo_lightning.check_env.speed import check_speed
from rpo_lightning.check_env.stability import check_stability
from rpo_lightning.check_env.subject import Subject

__all__ = ["Report", "Section", "Verdict", "check", "sections"]


def check(
    env: str | type,
    num_envs: int = 64,
    horizon: int = 32,
    device: str | torch.device = "cpu",
    seed: int = 0,
    pairs: bool = False,
    **options: Any,
) -> Report:
    """Check an environment's interface, contact, joints, stability, gradients, their growth and its speed; show its reward.

    Args:
        env: a task, a class path or a class, called as `env(num_envs=, device=, seed=, **options)`.
        num_envs: number of environments N, at least 2; medians are over them.
        horizon: longest window that is differentiated [steps], at least 2.
        device: "cpu" or "cuda[:k]".
        seed: of starts, actions and directions.
        pairs: whether to name all shapes that touch each other, also if they are many.
        options: of the environment.

    Raises:
        ValueError: for a bad argument or an unknown task. Whatever the environment's constructor raises.
    """
    return Report(list(sections(env, num_envs, horizon, device, seed, pairs, **options)))


def sections(
    env: str | type, num_envs: int, horizon: int, device: str | torch.device, seed: int, pairs: bool, **options: Any
) -> Iterator[Section]:
    """Do what `check` does, and yield each section as soon as it is there."""
    for name, value in (("num_envs", num_envs), ("horizon", horizon)):
        if value < 2:
            raise ValueError(f"{name} must be at least 2, got {value}")
    cls = envs.env_class(env) if isinstance(env, str) else env
    subject = Subject(cls, num_envs, device, seed, options)
    subject.make()
    interface = _filled("Interface", partial(check_interface, subject))
    yield interface
    if not allows_more(interface):
        return
    yield _filled("Reward", partial(check_reward, subject))
    if subject.articulated:
        yield _filled("Contact", partial(check_contact, subject, pairs))
        yield _filled("Joints", partial(check_joints, subject))
    yield _filled("Stability", partial(check_stability, subject))
    yield _filled("Gradients against finite differences", partial(check_gradients, subject, horizon))
    yield _filled("Gradient growth", partial(check_growth, subject, horizon))
    yield _filled("Speed", partial(check_speed, subject, horizon, interface.result))


def _filled(title: str, fill: Callable[[Section], None]) -> Section:
    """Let a check fill a section, and turn an error of the environment's own code into a verdict."""
    section = Section(title)
    try:
        fill(section)
    except Exception as error:
        if console.debugging():
            raise
        text = console.located(error) or f"{type(error).__name__}: {error} (RPO_LIGHTNING_DEBUG=1 shows where)"
        section.verdicts.append(Verdict("failed", " ".join(text.split())))
    return section
