"""One step down a loss: what is refused, and how often an update makes the host wait for the device."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rpo_lightning.algorithms.descent import descend, step_back
from tests.algorithms.drivers import make_algorithm, make_data, run_fabric


def everything(layer: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return copies of all that a step changes."""
    states = [value for state in optimizer.state.values() for value in state.values()]
    return [part.detach().clone() for part in (*layer.parameters(), *states)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("poison", [torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_changes_no_bit_of_weights_and_optimizer(fused: bool, poison: float) -> None:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1, fused=fused)
    params, x = list(layer.parameters()), torch.ones(4, 3)
    norm, refused = descend(optimizer, params, layer(x).square().sum(), 1.0)
    assert not refused
    assert norm > 0.0
    before = everything(layer, optimizer)
    bad = x.clone()
    bad[0, 0] = poison
    _, refused = descend(optimizer, params, layer(bad).square().sum(), 1.0)
    assert refused
    assert all(torch.equal(old, new) for old, new in zip(before, everything(layer, optimizer), strict=True))
    _, refused = descend(optimizer, params, layer(x).square().sum(), 1.0)  # the next one counts again
    assert not refused
    assert not any(torch.equal(old, new) for old, new in zip(before, everything(layer, optimizer), strict=True))


class HostReads(TorchDispatchMode):
    """Counts operators whose result the host needs, for which it would wait on a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(i is not None and i.dtype == torch.bool for i in _indices(args))
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def _indices(args: Any) -> Any:
    return args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()


# GI-PPO decides after its epochs whether to take them back; PPO's rates follow each epoch's KL, of which there are three
@pytest.mark.parametrize(
    ("name", "most"), [("rpo", 0), ("shac", 0), ("sapo", 0), ("sac", 0), ("reppo", 1), ("ppo", 3), ("gippo", 12)]
)
def test_an_update_makes_the_host_wait_no_oftener_than_it_must(name: str, most: int) -> None:
    counts: list[Counter[str]] = []

    def watched(update: Any) -> Any:
        def counted(batch: Any) -> Any:
            with HostReads() as reads:
                result = update(batch)
            counts.append(reads.found)
            return result

        return counted

    module = make_algorithm(name)
    module.update = watched(module.update)  # type: ignore[method-assign]
    run_fabric(module, make_data(2))
    assert len(counts) >= 2
    assert max(sum(count.values()) for count in counts) <= most, counts


@pytest.mark.parametrize(
    ("limit", "left"),
    [(2.5, 1.0), (1.4, 44 / 64), (1.01, 0.5), (1e-9, 0.0), (math.inf, 1.0), (torch.tensor(math.inf), 1.0)],
)
def test_steps_are_taken_back_until_the_divergence_is_within_its_limit(limit: float | Tensor, left: float) -> None:
    before = [torch.tensor([1.0, -1.0]), torch.tensor([[2.0]])]
    after = [torch.tensor([1.0, 0.0]), torch.tensor([[2.0 + math.sqrt(3.0)]])]  # two away
    params = [nn.Parameter(each.clone()) for each in after]

    def distance() -> Tensor:
        return (
            torch.stack([(param - start).square().sum() for param, start in zip(params, before, strict=True)]).sum().sqrt()
        )

    assert float(step_back(params, before, distance, limit)) == left
    for param, start, end in zip(params, before, after, strict=True):
        torch.testing.assert_close(param.data, start + left * (end - start))
        assert left < 1.0 or torch.equal(param.data, end)


def test_what_has_no_divergence_is_taken_back_whole() -> None:
    before, param = torch.zeros(2), nn.Parameter(torch.ones(2))
    share = step_back([param], [before], lambda: torch.tensor(math.nan), 1.0)
    assert float(share) == 0.0
    assert torch.equal(param.data, before)
