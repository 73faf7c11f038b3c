"""How fast the gradient grows with the number of steps it passes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rpo_lightning.check_env.gradients import TOLERATED_NONFINITE
from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.subject import Subject, gradient, load, random_actions, visited_state

__all__ = ["Growth", "check_growth", "gradient_norms", "growth_factor"]

_FACTOR_LIMIT = 1.15  # per step, 88 in 32 steps; the built-in tasks stay below 1.035, a falling pole of 1 m has 1.07


class Growth(NamedTuple):
    """Gradient norms (M,) of the M environments that can be looked at, for one horizon; some may not be finite."""

    horizon: int
    norms: Tensor


def gradient_norms(env: Any, start: dict[str, Any], actions: Tensor, seed: int) -> list[Growth]:
    """Return how strongly the first action moves the observation after 1, 2, 4 ... H steps.

    The quantity is |d(w . o_h) / d(a_0)| with a random unit vector w for each environment.

    Args:
        env: best one that does not reset itself: environments that were reset before are left out.
        start: what `state_dict` returned.
        actions: (H, N, A).
        seed: of w.
    """
    load(env, start)
    first = actions[0].clone().requires_grad_()
    w = torch.randn(env.num_envs, env.obs_dim, generator=torch.Generator().manual_seed(seed)).to(env.device)
    w = w / w.norm(dim=1, keepdim=True)
    usable, found = torch.ones_like(env.invalid), []
    for t, action in enumerate([first, *actions[1:]], 1):
        step = env.step(action)
        usable = usable & ~env.invalid
        if t & (t - 1) == 0 or t == len(actions):
            grad = gradient((w * step.final_obs).sum(), first)
            found.append(Growth(t, grad[usable].norm(dim=1)))
        usable = usable & (step.obs == step.final_obs).all(1)
    return found


def growth_factor(horizons: list[int], norms: list[float]) -> float:
    """Return the factor per step of the exponential that fits best (least squares of logarithms), NaN if none does."""
    points = [(h, math.log(norm)) for h, norm in zip(horizons, norms, strict=True) if 0.0 < norm < math.inf]
    if len(points) < 2:
        return math.nan
    x, y = torch.tensor(points, dtype=torch.float64).T
    x = x - x.mean()
    return math.exp((x @ y / (x @ x)).item())


def check_growth(subject: Subject, horizon: int, section: Section) -> None:
    """Follow the first action's gradient through windows of up to `horizon` steps."""
    section.table = [("steps", "median", "90 % below", "largest", "not finite")]
    env = subject.make_endless()
    if not env.differentiable:
        section.verdicts = [Verdict("ok", f"{subject.cls.__name__}.differentiable is False: there is nothing to check")]
        return
    actions = random_actions(env, horizon, subject.seed + 6)
    found = section.result = gradient_norms(env, visited_state(subject), actions, subject.seed + 7)
    for horizon, norms in found:
        figures = [f"{norm:.3g}" for norm in _levels(norms)]
        section.table.append((str(horizon), *figures, str(int((~norms.isfinite()).sum()))))
    section.verdicts = _judge(found)


def _levels(norms: Tensor) -> list[float]:
    """Return median, 90th percentile and maximum; what is not finite counts as infinite."""
    if not len(norms):
        return [math.nan] * 3
    ordered = norms.nan_to_num(torch.inf, torch.inf).sort().values
    return [ordered[math.ceil(share * len(ordered)) - 1].item() for share in (0.5, 0.9, 1.0)]


def _judge(found: list[Growth]) -> list[Verdict]:
    horizons = [horizon for horizon, _ in found]
    middle, upper = (growth_factor(horizons, [_levels(norms)[i] for _, norms in found]) for i in (0, 1))
    text = f"per step the median changes by a factor of {middle:.3f}, the 90th percentile by {upper:.3f}"
    share = max((~norms.isfinite()).float().mean().item() if len(norms) else 0.0 for _, norms in found)
    if share > TOLERATED_NONFINITE:
        return [Verdict("failed", f"{share:.0%} of the gradients are not finite; {text}")]
    if not len(found[0].norms):
        return [Verdict("warning", "no growth can be told: no environment takes a step without exploding")]
    if math.isnan(middle):
        return [Verdict("warning", "no growth can be told: the first action moves no observation")]
    if max(middle, upper) > _FACTOR_LIMIT:
        advice = "use a shorter horizon, more joint damping, softer contact (ke) or friction (kf)"
        return [Verdict("warning", f"{text}, which drowns learning within a window; {advice}")]
    return [Verdict("ok", text)]
