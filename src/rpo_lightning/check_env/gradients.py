"""Whether gradients are those of what the environment computes, told by central differences."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rpo_lightning.check_env.report import Section, Verdict
from rpo_lightning.check_env.subject import Subject, gradient, load, random_actions, visited_state

__all__ = ["TOLERATED_NONFINITE", "Comparison", "check_gradients", "compare"]

_HORIZONS = (1, 4, 8, 16)
_DISCOUNT = 0.99
_STEP_SIZES = (1e-1, 3e-2, 1e-2, 3e-3)
_ROUNDING = 1e-6  # relative; what float32 leaves uncertain of a value after some steps
_SHORT = 4  # up to this horizon most environments meet no contact switch, so that the median must be right
_LIMIT = 0.01  # of a median relative error; the built-in tasks stay below 0.002
_STRADDLING = 0.1  # share of environments that may stand at a contact switch
TOLERATED_NONFINITE = 0.05  # share of environments


class Comparison(NamedTuple):
    """Directional derivatives of K quantities by all actions or parameters, in the M environments that can be compared.

    Attributes:
        exact: (M, K) by autograd. measured: (S, M, K) by central differences of several step sizes.
        scale: (M, K) usual size of a derivative in a random direction. noise: (M, K) what rounding makes of a difference.
        nonfinite: number of environments whose gradient is not finite.
    """

    exact: Tensor
    measured: Tensor
    scale: Tensor
    noise: Tensor
    nonfinite: int

    def error(self) -> Tensor:
        """Return relative errors (M, K), each with the best step size; small where rounding hides the derivative."""
        difference = (self.measured - self.exact).abs().amin(0)
        sizes = [self.exact.abs(), self.measured.abs().amin(0), self.scale, self.noise / _LIMIT]
        return difference / torch.stack(sizes).amax(0).clamp(min=1e-30)

    def unconnected(self) -> Tensor:
        """Return (K,) bool: autograd finds no gradient in any environment."""
        return (self.scale == 0.0).all(0)

    def visible(self) -> Tensor:
        """Return (K,) bool: differences show that inputs matter, in more environments than may straddle a switch."""
        return (self.measured.abs().amin(0) > self.noise).double().mean(0) > _STRADDLING


def compare(
    env: Any, start: dict[str, Any], actions: Tensor, weights: Tensor, seed: int, by_parameters: bool = False
) -> Comparison:
    """Differentiate weighted sums of the discounted return and the final observation by the actions or the parameters.

    Environments are independent, so each has a direction of its own and all are differentiated at once.

    Args:
        env: best one that does not reset itself: environments that were reset before the end are left out.
        start: what `state_dict` returned.
        actions: (H, N, A).
        weights: (K, N, 1 + D) of the return and of each entry of the observation.
        seed: of the random unit directions.
        by_parameters: by the environment's parameters, in units of what the robot has, not by the actions.
    """

    def outcome(inputs: Tensor) -> _Outcome:
        return _outcome(env, start, actions, inputs[0]) if by_parameters else _outcome(env, start, inputs)

    given = torch.zeros_like(start["parameters"])[None] if by_parameters else actions
    given = given.to(actions.device)
    horizon, _, width = given.shape
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(given.shape, generator=generator).to(actions.device)
    direction = direction / direction.square().sum((0, 2), keepdim=True).sqrt()

    inputs = given.clone().requires_grad_()
    values, usable = outcome(inputs)
    sums = torch.einsum("knd,nd->nk", weights.double(), values)
    grads = torch.stack([gradient(column.sum(), inputs) for column in sums.unbind(1)]).double()
    exact = torch.einsum("khna,hna->nk", grads, direction.double())
    scale = grads.square().sum((1, 3)).div(horizon * width).sqrt().T

    measured = []
    with torch.no_grad():
        for size in _STEP_SIZES:
            ends = [outcome(given + sign * size * direction) for sign in (1.0, -1.0)]
            measured.append(torch.einsum("knd,nd->nk", weights.double(), ends[0].values - ends[1].values) / (2.0 * size))
            usable = usable & ends[0].usable & ends[1].usable
    noise = _ROUNDING / max(_STEP_SIZES) * torch.einsum("knd,nd->nk", weights.double().abs(), values.detach().abs())
    finite = grads.isfinite().all(3).all(1).all(0)
    keep = usable & finite
    slopes = torch.stack(measured)[:, keep]
    return Comparison(exact[keep], slopes, scale[keep], noise[keep], int((usable & ~finite).sum()))


def check_gradients(subject: Subject, horizon: int, section: Section) -> None:
    """Compare for several horizons the gradient of return and observation together, for a short one also of each alone.

    Where the environment has parameters, a short one is differentiated by them as well.
    """
    section.table = [("steps", "compared", "median error", "90 % below", "not finite")]
    env, start = subject.make_endless(), visited_state(subject)
    if not env.differentiable:
        section.verdicts = [Verdict("ok", f"{subject.cls.__name__}.differentiable is False: there is nothing to check")]
        return
    generator = torch.Generator().manual_seed(subject.seed + 3)
    mixture = torch.randn(env.num_envs, env.obs_dim, generator=generator).to(env.device)
    ones = torch.ones(env.num_envs, 1, device=env.device)
    weights = torch.cat([ones, mixture / mixture.norm(dim=1, keepdim=True)], dim=1)[None]
    section.result = {}
    for steps in [h for h in _HORIZONS if h <= horizon]:
        actions = random_actions(env, steps, subject.seed + 4)
        found = section.result[steps] = compare(env, start, actions, weights, subject.seed + 5)
        section.table.append(_row(str(steps), found))
        section.verdicts += _judge(f"over {steps} steps", steps, found, env.num_envs)
    short = min(_SHORT, horizon)
    each = torch.eye(1 + env.obs_dim, device=env.device)[:, None].expand(-1, env.num_envs, -1)
    actions = random_actions(env, short, subject.seed + 4)
    found = section.result["each"] = compare(env, start, actions, each, subject.seed + 5)
    section.verdicts += _judge_each(short, found)
    if subject.articulated and env.parameters.shape[1]:
        found = compare(env, start, actions, weights, subject.seed + 8, by_parameters=True)
        section.table.append(_row(f"{short}, by parameters", found))
        section.verdicts += _judge(f"by the parameters over {short} steps", short, found, env.num_envs)
        found = section.result["parameters"] = compare(env, start, actions, each, subject.seed + 8, by_parameters=True)
        section.verdicts += _judge_each(short, found, "parameters")


def _row(steps: str, found: Comparison) -> tuple[str, ...]:
    error = found.error()
    figures = [f"{error.quantile(share).item():.1e}" if len(error) else "-" for share in (0.5, 0.9)]
    return (steps, str(len(error)), *figures, str(found.nonfinite))


def _judge(which: str, steps: int, found: Comparison, n: int) -> list[Verdict]:
    error, verdicts = found.error(), []
    if found.nonfinite:
        grave = found.nonfinite > TOLERATED_NONFINITE * n
        text = f"the gradient {which} is not finite in {found.nonfinite} of {n}"
        if grave:
            text += "; does reward or observe divide by zero, or take the root or norm of it?"
        verdicts.append(Verdict("failed" if grave else "warning", text))
    text = ""
    if not len(error) and not found.nonfinite:
        text = f"no environment can be compared {which}: all explode or are reset before"
    elif len(error) and (median := error.median().item()) > _LIMIT:
        text = f"the gradient {which} is wrong by {median:.0%} (median)"
    if text:
        verdicts.append(Verdict("failed" if steps <= _SHORT else "warning", text))
    return verdicts


def _judge_each(steps: int, found: Comparison, by: str = "actions") -> list[Verdict]:
    """Name the quantities whose gradient is missing or wrong."""
    if not len(found.exact):
        return []
    names = ["the reward", *(f"observation {i}" for i in range(found.exact.shape[1] - 1))]
    unconnected, visible = found.unconnected(), found.visible()
    wrong = found.error().median(0).values > _LIMIT
    verdicts, behind = [], "" if by == "actions" else f" by the {by}"
    if by == "actions" and unconnected[0] and not visible[0]:
        text = f"the reward has no gradient: it does not change, or only in jumps, with the actions of {steps} steps"
        verdicts.append(Verdict("failed", text))
    for chosen, text in (
        (unconnected & visible, f"no gradient by the {by}, which do change it; is it detached?"),
        (wrong & ~unconnected, f"a wrong gradient{behind}; is a part of it detached, or a backward of your own wrong?"),
    ):
        which = [name for name, hit in zip(names, chosen.tolist(), strict=True) if hit]
        if which:
            verdicts.append(Verdict("failed", f"{', '.join(which)}: {text}"))
    if verdicts or found.nonfinite:
        return verdicts
    return [Verdict("ok", f"the reward and each of {len(names) - 1} observations, over {steps} steps{behind}")]


class _Outcome(NamedTuple):
    """What H steps lead to: discounted return and final observation (N, 1 + D); whether that can be differentiated (N,)."""

    values: Tensor
    usable: Tensor


def _outcome(env: Any, start: dict[str, Any], actions: Tensor, change: Tensor | None = None) -> _Outcome:
    load(env, start)
    if change is not None:
        env.parameters = env.parameters + env.parameter_units * change
    total = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    usable = torch.ones_like(env.invalid)
    cut = torch.zeros_like(env.invalid)
    for t, action in enumerate(actions.unbind()):
        usable = usable & ~cut
        step = env.step(action)
        total = total + _DISCOUNT**t * step.reward
        usable = usable & ~env.invalid
        cut = (step.obs != step.final_obs).any(1)  # a reset ends the graph
    values = torch.cat([total[:, None], step.final_obs.double()], dim=1)
    return _Outcome(values, usable & values.detach().isfinite().all(1))
