"""One update of REPPO as published (arXiv 2507.11019, the torch code), written plainly: one state after the other.

It knows nothing of the package but the layout of the parameters, which it updates in its own copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

__all__ = ["Settings", "update"]

Weights = dict[str, Tensor]


@dataclass
class Settings:
    """Hyper-parameters in the paper's terms."""

    lr: float
    discount: float
    td_lambda: float
    epochs: int
    minibatch_size: int
    kl_target: float
    kl_samples: int
    target_entropy: float
    low: float
    high: float
    bins: int
    min_std: float
    aux_coef: float
    max_grad_norm: float


def block(w: Weights, name: str, first: int, x: Tensor) -> Tensor:
    """Return Linear -> RMS norm -> SiLU."""
    y = linear(x, w[f"{name}.{first}.weight"], w[f"{name}.{first}.bias"])
    y = y / (y * y).mean().sqrt() * w[f"{name}.{first + 1}.weight"]
    return silu(y)


def act(w: Weights, s: Settings, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (A,) of the sample before the tanh."""
    y = block(w, "actor.mlp", 3, block(w, "actor.mlp", 0, x))
    mean, log_std = linear(y, w["actor.mlp.6.weight"], w["actor.mlp.6.bias"]).chunk(2)
    return mean, log_std.exp() + s.min_std


def log_density(mean: Tensor, std: Tensor, u: Tensor) -> Tensor:
    """Return the log density () of the action tanh(u)."""
    normal = -0.5 * ((u - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
    return (normal - (1 - u.tanh() ** 2).log()).sum()


def encode(w: Weights, x: Tensor, action: Tensor) -> Tensor:
    """Return the features of a state and an action."""
    y = block(w, "critic.encoder", 0, torch.cat([x, action]))
    return linear(y, w["critic.encoder.3.weight"], w["critic.encoder.3.bias"])


def logits(w: Weights, feature: Tensor) -> Tensor:
    """Return the bins' logits at features."""
    y = block(w, "critic.head", 1, silu(feature))
    return linear(y, w["critic.output.weight"], w["critic.output.bias"]) + 40.9 * w["critic.prior"]


def predict(w: Weights, feature: Tensor) -> Tensor:
    """Return the next features as predicted from these."""
    y = block(w, "critic.predictor", 1, silu(feature))
    return linear(y, w["critic.predictor.4.weight"], w["critic.predictor.4.bias"])


def value(w: Weights, s: Settings, x: Tensor, action: Tensor) -> Tensor:
    """Return Q ()."""
    p = logits(w, encode(w, x, action)).softmax(0)
    width = (s.high - s.low) / (s.bins - 1)
    return sum(p[i] * (s.low + i * width) for i in range(s.bins))


def shares(s: Settings, target: float) -> Tensor:
    """Return what of a Gaussian about the target falls into each bin."""
    width = (s.high - s.low) / (s.bins - 1)
    target = min(max(target, s.low), s.high)
    below = [
        0.5 * (1 + math.erf((s.low + (i - 0.5) * width - target) / (0.75 * width) / math.sqrt(2))) for i in range(s.bins + 1)
    ]
    inside = below[-1] - below[0]
    return torch.tensor([(below[i + 1] - below[i]) / inside for i in range(s.bins)], dtype=torch.float64)


def update(state: Weights, s: Settings, batch: object) -> Weights:
    """Return the parameters after all epochs over a window."""
    names = [name for name in state if name.startswith(("actor.", "critic.", "log_"))]
    w = {name: state[name].clone().requires_grad_() for name in names}
    of_actor = [w[name] for name in names if not name.startswith("critic.")]
    of_critic = [w[name] for name in names if name.startswith("critic.")]
    actor_optimizer = torch.optim.AdamW(of_actor, lr=s.lr)
    critic_optimizer = torch.optim.AdamW(of_critic, lr=s.lr)
    mean, scale = state["normalizer.mean"], (state["normalizer.var"] + 1e-5).sqrt()
    draw = torch.Generator().manual_seed(batch.seed)
    H, N, A = batch.sample.shape

    # what the collection adds to every transition
    noise = torch.randn(H, N, A, generator=draw, dtype=torch.float64)
    soft_reward, next_value, next_feature = {}, {}, {}
    with torch.no_grad():
        for t in range(H):
            for n in range(N):
                x = (batch.final_obs[t, n] - mean) / scale
                centre, std = act(w, s, x)
                u = centre + std * noise[t, n]
                next_value[t, n] = float(value(w, s, x, u.tanh()))
                next_feature[t, n] = encode(w, x, u.tanh())
                entropy = -float(log_density(centre, std, u))
                soft_reward[t, n] = float(batch.reward[t, n]) + s.discount * float(w["log_temperature"].exp()) * entropy

    target = {}
    for n in range(N):
        for t in reversed(range(H)):
            if batch.truncated[t, n] or (t == H - 1 and not batch.terminated[t, n]):
                following = next_value[t, n]
            elif batch.terminated[t, n]:
                following = 0.0
            else:
                following = s.td_lambda * target[t + 1, n] + (1 - s.td_lambda) * next_value[t, n]
            target[t, n] = soft_reward[t, n] + s.discount * following

    for _ in range(s.epochs):
        order = torch.randperm(H * N, generator=draw).tolist()
        count = H * N // s.minibatch_size
        for part in range(count):
            rows = order[part * s.minibatch_size : (part + 1) * s.minibatch_size]
            places = [divmod(row, N) for row in rows]

            critic_optimizer.zero_grad()
            loss = 0.0
            for t, n in places:
                feature = encode(w, (batch.obs[t, n] - mean) / scale, batch.sample[t, n].tanh())
                cross_entropy = -(shares(s, target[t, n]) * logits(w, feature).log_softmax(0)).sum()
                missed = ((predict(w, feature) - next_feature[t, n]) ** 2).mean()
                loss = loss + (cross_entropy + s.aux_coef * missed) / len(places)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(of_critic, s.max_grad_norm)
            critic_optimizer.step()

            noise = torch.randn(len(places), A, generator=draw, dtype=torch.float64)
            kl_noise = torch.randn(s.kl_samples, len(places), A, generator=draw, dtype=torch.float64)
            actor_optimizer.zero_grad()
            alpha, beta = w["log_temperature"].exp(), w["log_kl_coef"].exp()
            loss, entropies, kls = 0.0, [], []
            for i, (t, n) in enumerate(places):
                x = (batch.obs[t, n] - mean) / scale
                centre, std = act(w, s, x)
                u = centre + std * noise[i]
                log_prob = log_density(centre, std, u)
                kl = 0.0
                for k in range(s.kl_samples):
                    old = batch.mean[t, n], batch.log_std[t, n].exp()
                    other = old[0] + old[1] * kl_noise[k, i]
                    kl = kl + (log_density(*old, other) - log_density(centre, std, other)) / s.kl_samples
                if float(kl.detach()) < s.kl_target:
                    loss = loss + (alpha.detach() * log_prob - value(w, s, x, u.tanh())) / len(places)
                else:
                    loss = loss + beta.detach() * kl / len(places)
                entropies.append(-float(log_prob.detach()))
                kls.append(float(kl.detach()))
            loss = loss + alpha * (sum(entropies) / len(places) - s.target_entropy)
            loss = loss - beta * (sum(kls) / len(places) - s.kl_target)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(of_actor, s.max_grad_norm)
            actor_optimizer.step()
    return {name: value.detach() for name, value in w.items()}
