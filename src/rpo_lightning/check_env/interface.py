"""The promises of an environment that training, resuming and evaluation rely on."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.speed import first_use
from rpo_lightning.check_env.subject import Subject, load, random_actions
from rpo_lightning.envs.protocol import Step, lacking

__all__ = ["allows_more", "check_interface"]

_STEPS = 24  # of each comparison
_SHAPES = "shapes, types and device of what reset, step, detach and get_state return"


def check_interface(subject: Subject, section: Section) -> None:
    """Compare an environment with what is asked of it (`rpo_lightning.envs.protocol.Env`).

    The section's result is the `FirstUse` of the environment, which nothing may come before.
    """
    env = subject.make()
    if names := lacking(env):
        section.verdicts = [Verdict("failed", f"the environment lacks {', '.join(names)}")]
        return
    section.result = first_use(subject)
    if faults := _wrong_shapes(env):
        section.verdicts = [Verdict("failed", fault) for fault in faults]
        return
    section.verdicts.append(Verdict("ok", _SHAPES))
    for promise, kept, advice in (
        (
            "the same seed gives the same bits",
            _repeats(subject),
            "draw from a generator seeded with `seed`, not from torch's global one",
        ),
        (
            "load_state_dict continues to the bit",
            _continues(subject),
            "state_dict must hold all that the future depends on, the generator included",
        ),
        (
            "reset(mask) leaves the other environments alone",
            _resets_only(subject),
            "write new states with torch.where(mask, ...)",
        ),
        (
            "detach cuts the graph",
            _cuts(subject),
            "detach every tensor that the next step reads",
        ),
    ):
        section.verdicts.append(Verdict("ok", promise) if kept else Verdict("failed", f"not so: {promise}; {advice}"))


def allows_more(section: Section) -> bool:
    """Tell whether what `check_interface` found lets the other checks make sense."""
    return Verdict("ok", _SHAPES) in section.verdicts


@torch.no_grad()
def _wrong_shapes(env: Any) -> list[str]:
    """Return a line for everything whose shape, type, device or value cannot be right."""
    n, width = env.num_envs, (env.num_envs, env.obs_dim)
    obs = env.reset()
    step = env.step(random_actions(env, 1, 0)[0])
    q, qd, progress = env.get_state()
    seen = (n, env.privileged_dim)
    expected: list[tuple[str, Any, tuple[int, ...], torch.dtype]] = [
        ("the observation of reset()", obs, width, torch.float32),
        ("step().obs", step.obs, width, torch.float32),
        ("step().final_obs", step.final_obs, width, torch.float32),
        ("step().reward", step.reward, (n,), torch.float32),
        ("step().terminated", step.terminated, (n,), torch.bool),
        ("step().truncated", step.truncated, (n,), torch.bool),
        *((f"step().reward_terms[{name!r}]", part, (n,), torch.float32) for name, part in (step.reward_terms or {}).items()),
        ("privileged", env.privileged, seen, torch.float32),
        ("invalid", env.invalid, (n,), torch.bool),
        ("the observation of detach()", env.detach(), width, torch.float32),
        ("q of get_state()", q, (n, *q.shape[1:]), torch.float32),
        ("qd of get_state()", qd, (n, *qd.shape[1:]), torch.float32),
        ("progress of get_state()", progress, (n,), torch.int64),
    ]
    if env.privileged_dim:
        both = ("privileged", "final_privileged")
        expected += [(f"step().{name}", getattr(step, name), seen, torch.float32) for name in both]
    lines = []
    for name, value, shape, dtype in expected:
        if not isinstance(value, Tensor):
            lines.append(f"{name} must be a torch tensor, but is {type(value).__name__}")
        elif (tuple(value.shape), value.dtype, value.device.type) != (shape, dtype, torch.device(env.device).type):
            lines.append(
                f"{name} must be {dtype} of shape {shape} on {env.device}, "
                f"but is {value.dtype} {tuple(value.shape)} on {value.device}"
            )
        elif not value.isfinite().all():
            count = int((~value.isfinite()).reshape(n, -1).any(1).sum())
            lines.append(f"{name} is not finite in {count} of {n} environments")
    return lines


@torch.no_grad()
def _record(env: Any, actions: Tensor) -> list[Tensor]:
    """Return all that a rollout shows."""
    shown = []
    for action in actions:
        step: Step = env.step(action)
        parts = (step.obs, step.reward, step.terminated, step.truncated, step.final_obs, env.invalid, env.privileged)
        shown += [part.clone() for part in parts]
    return shown


def _same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _repeats(subject: Subject) -> bool:
    first, second = subject.make(), subject.make()
    actions = random_actions(first, _STEPS, 1)
    return _same(_record(first, actions), _record(second, actions))


def _continues(subject: Subject) -> bool:
    env, other = subject.make(), subject.make(seed=subject.seed + 1)
    before, after = random_actions(env, 2 * _STEPS, 2).chunk(2)
    _record(env, before)
    state = copy.deepcopy(env.state_dict())
    straight = _record(env, after)
    load(other, state)
    return _same(straight, _record(other, after))


@torch.no_grad()
def _resets_only(subject: Subject) -> bool:
    """Reset every second environment; an environment whose reset takes no mask has made no such promise."""
    env = subject.make()
    if "mask" not in inspect.signature(env.reset).parameters:
        return True
    _record(env, random_actions(env, 3, 3))
    before = [part.clone() for part in (env.detach(), *env.get_state())]
    mask = torch.arange(env.num_envs, device=env.device) % 2 == 0
    after = [env.reset(mask), *env.get_state()]
    progress = after[-1]
    return _same([part[~mask] for part in before], [part[~mask] for part in after]) and not progress[mask].any()


def _cuts(subject: Subject) -> bool:
    env = subject.make()
    env.step(random_actions(env, 1, 4)[0].requires_grad_())
    obs = env.detach()
    return not any(part.requires_grad for part in (obs, env.privileged, *env.get_state()))
