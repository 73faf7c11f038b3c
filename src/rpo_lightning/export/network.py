"""The part of an algorithm that acts, as one module of tensors alone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rpo_lightning.nn import RunningNormalizer
from rpo_lightning.nn.normalizer import EPSILON
from rpo_lightning.trained_policy import Policy

__all__ = ["DeployedPolicy"]


class DeployedPolicy(nn.Module):
    """Map raw observations (N, D) to actions (N, A) in [-1, 1] and to controls (N, A) in the actuators' units.

    The action is the deterministic one. Of a policy with a hidden state it also takes that of the step before (N, S), zeros
    where an episode begins, and returns the next one. Without a `control` in the metadata the controls are the actions.

    Args:
        policy: what is deployed.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.actor = copy.deepcopy(policy.module.actor).requires_grad_(False)
        self.normalizer = policy.module.normalizer
        if type(self.normalizer) is RunningNormalizer:
            self.normalizer = _Frozen(self.normalizer)
        acting = copy.copy(policy.module)
        acting._modules = {**acting._modules, "actor": self.actor, "normalizer": self.normalizer}
        self._acting = (acting,)  # hidden from torch: critics stay out of the file
        control = policy.metadata["control"]
        self.controlled = control is not None
        for name, values in (control or {}).items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))

    def forward(self, obs: Tensor, state: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return action and control, and the next state if there is a state."""
        known = obs.new_zeros(obs.shape[0], 0) if state is None else state
        policy, after = self._acting[0].remembering_policy(obs, known)
        action = policy.mode
        control = self.control(action) if self.controlled else action.clone()
        return (action, control) if state is None else (action, control, after)

    def control(self, action: Tensor) -> Tensor:
        """Return what actions (N, A) are in the actuators' units."""
        own: Any = self
        return (own.scale * action + own.offset).clamp(own.low, own.high)


class _Frozen(nn.Module):
    """The normaliser with what it computes from its statistics computed once, in float32 as it does for float32."""

    mean: Tensor
    scale: Tensor

    def __init__(self, normalizer: RunningNormalizer) -> None:
        super().__init__()
        self.limit = normalizer.limit
        self.register_buffer("mean", normalizer.mean.float())
        self.register_buffer("scale", (normalizer.var + EPSILON).rsqrt().float())

    def forward(self, obs: Tensor) -> Tensor:
        """Return normalised observations (N, D)."""
        normalized = (obs - self.mean) * self.scale
        return normalized if self.limit is None else normalized.clamp(-self.limit, self.limit)
