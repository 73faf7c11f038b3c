"""What episodes begin with, drawn ahead on the CPU and handed out on the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rpo_lightning.transfers import Told

__all__ = ["StartBank", "Starts"]

Starts = dict[str, Tensor]
"""The parts of M starts by name, (M, width) each."""

_SPARE = 3  # times as many as were handed out between two fillings there should be


class StartBank:
    """Starts that are handed out by mask, so that the host need not know where episodes begin, nor wait to be told.

    They are handed out in the order drawn, to the environments of a mask from the first on. `fill`, called every so many
    steps, replaces those that were gone when it was called before, which by now the device has told. Each is used once,
    unless more are taken between two fillings than there are: then they come again from the first on, and from the next
    filling on there are more.

    Args:
        draws: how many the bank begins with, each of which is for all environments.
    """

    def __init__(self, draws: int = 4) -> None:
        self._draws = draws
        self._parts: dict[str, tuple[int, torch.dtype]] = {}
        self._rows: Tensor | None = None  # all parts side by side
        self._size = 0  # how many there are at least after a filling
        self._last: Tensor | None = None  # (1,) the row that was handed out last, from -1 on
        self._told: Told | None = None  # what that was at the last filling

    def take(self, mask: Tensor) -> Starts:
        """Return the parts of N starts, (N, width) each: fresh ones where `mask` (N,) bool, elsewhere whatever there is."""
        assert self._rows is not None
        assert self._last is not None
        at = mask.cumsum(0) + self._last
        self._last = at[-1:]
        picked = self._rows.index_select(0, at % len(self._rows))
        return self._named(picked)

    def fill(self, draw: Callable[[], Starts], now: bool = False) -> None:
        """Draw as many as are gone, M at a time as `draw` returns them.

        `draw` is not kept: it is a method of the environment that keeps the bank, and a circle would outlive both.

        Args:
            draw: of all environments.
            now: count those gone up to now, not up to the last filling; the host may wait to be told.
        """
        if self._rows is None:
            rows = [self._packed(draw())]
            self._size = self._size or self._draws * len(rows[0])
            self._last = torch.full((1,), -1, device=rows[0].device)
        else:
            assert self._last is not None
            assert self._told is not None
            gone = int(float(Told(self._last) if now else self._told)) + 1
            if not now:
                self._size = max(self._size, _SPARE * gone)
            rows = [self._rows[gone:]]
            self._last = self._last - gone
        while sum(map(len, rows)) < self._size:
            rows.append(self._packed(draw()))
        self._rows = torch.cat(rows) if len(rows) > 1 else rows[0]
        self._told = Told(self._last)

    def clear(self) -> None:
        """Forget the starts that are left; `fill` draws others."""
        self._rows = None

    def replace(self, name: str, part: Tensor) -> None:
        """Replace a part (M, width) of all starts that there are."""
        assert self._rows is not None
        self._rows = self._packed({**self._named(self._rows), name: part})

    def state_dict(self) -> Starts:
        """Return the starts, which was handed out last, which had been at the last filling, and the size."""
        assert self._rows is not None
        assert self._last is not None
        assert self._told is not None
        counts = {"last": self._last.clone(), "told": torch.tensor(int(float(self._told))), "size": torch.tensor(self._size)}
        return {name: part.clone() for name, part in self._named(self._rows).items()} | counts

    def load_state_dict(self, state: Starts, device: torch.device) -> None:
        """Continue with what `state_dict` returned, on a device."""
        parts = {name: part.to(device) for name, part in state.items() if name not in ("last", "told", "size")}
        self._rows = self._packed(parts)
        self._last, self._told = state["last"].to(device, copy=True), Told(state["told"])
        self._size = int(state["size"])

    @property
    def rows(self) -> Tensor:
        """All starts that there are, their parts side by side (M, width)."""
        assert self._rows is not None
        return self._rows

    def __getitem__(self, name: str) -> Tensor:
        """Return a part (M, width) of all starts that there are."""
        assert self._rows is not None
        return self._named(self._rows)[name]

    def _packed(self, starts: Starts) -> Tensor:
        """Return the parts side by side, in the precision of the finest."""
        self._parts = {name: (part.shape[1], part.dtype) for name, part in starts.items()}
        exact = torch.float64 if torch.float64 in {part.dtype for part in starts.values()} else torch.float32
        return torch.cat([part.detach().to(exact) for part in starts.values()], dim=1)

    def _named(self, rows: Tensor) -> Starts:
        pieces = rows.split([width for width, _ in self._parts.values()], dim=1)
        return {name: piece.to(dtype) for (name, (_, dtype)), piece in zip(self._parts.items(), pieces, strict=True)}
