"""The replay buffer against a loop over everything that was recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rpo_lightning.rollout import ReplayBuffer, Transitions

H, N = 4, 3
LENGTH = 10
CAPACITY = LENGTH * N + 2
"""Ten steps of three environments, and a rest that is not used."""


def random_window(index: int) -> Any:
    """Return a window whose observations are numbers that occur nowhere else."""
    generator = torch.Generator().manual_seed(index)
    rows = torch.arange(H * N, dtype=torch.float32).view(H, N, 1) + 1000.0 * index
    terminated, truncated, lost = torch.rand(3, H, N, generator=generator) < 0.15
    return SimpleNamespace(
        obs=rows,
        action=torch.randn(H, N, 2, generator=generator),
        reward=torch.randn(H, N, generator=generator),
        final_obs=rows + 0.5,
        privileged=rows + 0.1,
        final_privileged=rows + 0.6,
        alive=~(terminated | lost),
        done=terminated | truncated,
        truncated=truncated & ~terminated,
    )


def filled(windows: int, first: int = 0) -> tuple[ReplayBuffer, dict[str, Tensor]]:
    """Return a buffer with so many windows added, and all their steps in time order, step i in row i."""
    buffer, added = ReplayBuffer(CAPACITY), [random_window(first + i) for i in range(windows)]
    for window in added:
        buffer.add(window, window.action)
    return buffer, {name: torch.cat([getattr(window, name) for window in added]) for name in vars(added[0])}


def brute_force(steps: dict[str, Tensor], t: int, n: int, n_step: int, discount: float) -> tuple[float, float, float, str]:
    """Return reward, discount and next observation of the transition that begins at step t, and what ended it."""
    total, k, end = 0.0, 0, "whole"
    while True:
        total += discount**k * float(steps["reward"][t + k, n])
        if steps["done"][t + k, n]:
            end = "truncated" if steps["truncated"][t + k, n] else "terminated"
        elif t + k == len(steps["reward"]) - 1:
            end = "newest"
        if end != "whole" or k + 1 == n_step:
            break
        k += 1
    weight = discount ** (k + 1) if steps["alive"][t + k, n] else 0.0
    return total, weight, float(steps["final_obs"][t + k, n]), end


def draw(buffer: ReplayBuffer, n_step: int = 3, size: int = 500) -> Transitions:
    return buffer.draw(size, n_step, 0.9, torch.Generator().manual_seed(7))


@pytest.mark.parametrize("n_step", [1, 3, 6])
@pytest.mark.parametrize("windows", [1, 2, 3, 6, 12], ids=lambda windows: f"{windows} windows")
def test_transitions_are_those_of_the_recorded_steps(windows: int, n_step: int) -> None:
    buffer, steps = filled(windows)
    kept = min(windows * H, LENGTH)
    assert len(buffer) == kept * N
    drawn, ends, seams, borders = draw(buffer, n_step), set(), 0, 0
    place = {float(steps["obs"][t, n]): (t, n) for t in range(windows * H) for n in range(N)}
    places = [place[float(obs)] for obs in drawn.obs]
    # every step that is kept, and none that was overwritten
    assert set(places) == {(t, n) for t in range(windows * H - kept, windows * H) for n in range(N)}
    for row, (t, n) in enumerate(places):
        reward, discount, next_obs, end = brute_force(steps, t, n, n_step, 0.9)
        assert float(drawn.reward[row]) == pytest.approx(reward, abs=1e-5)
        assert float(drawn.discount[row]) == pytest.approx(discount)
        assert float(drawn.next_obs[row]) == next_obs
        assert torch.equal(drawn.action[row], steps["action"][t, n])
        last, _ = place[next_obs - 0.5]
        ends.add(end)
        borders += t // H < last // H
        seams += t // LENGTH < last // LENGTH
    if windows == 12:
        assert ends >= {"truncated", "terminated", "newest"}
        assert n_step == 1 or (borders and seams)


@pytest.mark.parametrize("windows", [0, 1, 6], ids=["empty", "before the ring is full", "after"])
def test_a_state_dict_draws_and_goes_on_as_the_original(windows: int) -> None:
    buffer = ReplayBuffer(CAPACITY)
    for index in range(windows):
        buffer.add(random_window(index), random_window(index).action)
    state = buffer.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    restored = ReplayBuffer(CAPACITY)
    restored.load_state_dict(state, torch.device("cpu"))
    assert len(restored) == len(buffer)
    for extra in range(windows, windows + 4):
        if extra > 0:
            for ours, theirs in zip(vars(draw(restored)).values(), vars(draw(buffer)).values(), strict=True):
                assert torch.equal(ours, theirs)
        for each in (buffer, restored):
            each.add(random_window(extra), random_window(extra).action)
    # neither buffer writes into the state that was taken
    assert all(torch.equal(state[name], kept[name]) for name in kept)


@pytest.mark.parametrize("gap", [1, 5, 6])
def test_no_return_is_summed_across_a_gap(gap: int) -> None:
    """Before window 5 the ring's next row is its first."""
    buffer, steps = ReplayBuffer(CAPACITY), filled(7)[1]
    for index in range(gap + 1):
        window = random_window(index)
        buffer.add(window, window.action, consecutive=index != gap)
    steps = {name: rows[: (gap + 1) * H] for name, rows in steps.items()}
    steps["done"][gap * H - 1] = True
    place = {float(steps["obs"][t, n]): (t, n) for t in range((gap + 1) * H) for n in range(N)}
    drawn, before = draw(buffer), 0
    for row, obs in enumerate(drawn.obs):
        t, n = place[float(obs)]
        reward, discount, next_obs, _ = brute_force(steps, t, n, 3, 0.9)
        assert float(drawn.reward[row]) == pytest.approx(reward, abs=1e-5)
        assert float(drawn.discount[row]) == pytest.approx(discount)
        assert float(drawn.next_obs[row]) == next_obs
        before += t == gap * H - 1
    assert before


def test_a_smaller_buffer_takes_the_newest_of_a_state() -> None:
    buffer, steps = filled(6)
    smaller = ReplayBuffer(7 * N)
    smaller.load_state_dict(buffer.state_dict(), torch.device("cpu"))
    assert torch.equal(smaller.state_dict()["obs"], steps["obs"][-7:])
    window = random_window(6)
    smaller.add(window, window.action)
    assert torch.equal(smaller.state_dict()["obs"], torch.cat([steps["obs"][-3:], window.obs]))


def test_a_state_holds_only_what_has_been_kept_oldest_first() -> None:
    state = filled(1)[0].state_dict()
    assert state["reward"].shape == (H, N)
    buffer, steps = filled(6)
    assert torch.equal(buffer.state_dict()["obs"], steps["obs"][-LENGTH:])


def test_a_window_larger_than_the_buffer_is_refused() -> None:
    window = random_window(0)
    with pytest.raises(ValueError, match="holds 11 transitions, fewer than a window of 4 x 3: raise replay_size"):
        ReplayBuffer(11).add(window, window.action)
    ReplayBuffer(12).add(window, window.action)


def test_the_buffer_keeps_copies() -> None:
    buffer, window = ReplayBuffer(CAPACITY), random_window(0)
    buffer.add(window, window.action)
    before = draw(buffer)
    for value in vars(window).values():
        value.zero_()
    for ours, theirs in zip(vars(draw(buffer)).values(), vars(before).values(), strict=True):
        assert torch.equal(ours, theirs)
