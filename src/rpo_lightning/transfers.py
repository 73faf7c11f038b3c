"""Between the host and a device without waiting: what is sent on, and what is told some time later."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Told", "sent"]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; the host goes on before it has arrived, which what follows there awaits."""
    return tensor.to(device, non_blocking=True)


class Told:
    """One number on its way from a device: asked for some time later, as by the next window, it is there.

    Args:
        number: a tensor of one entry; as it is now.
    """

    def __init__(self, number: Tensor) -> None:
        self._number = number.detach().to("cpu", non_blocking=True)  # into pinned memory
        self._arrived: torch.cuda.Event | None = None
        if number.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(number.device))

    def __float__(self) -> float:
        """Return it; the host waits if it is still on its way."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return float(self._number)
