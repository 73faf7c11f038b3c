"""How many processes take part, before any of them has started to talk."""

from __future__ import annotations

import os
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from rpo_lightning import console

__all__ = ["is_first_process", "process_count", "say", "torchrun_layout"]


def is_first_process() -> bool:
    """Tell whether this is process 0, or the only one; known from the environment before anything is launched."""
    return getattr(rank_zero_only, "rank", 0) in (0, None)


def process_count(devices: Any) -> int:
    """Return how many processes the Trainer's `devices` starts on this machine; 1 where that is its own choice."""
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, int):
        return max(devices, 1)
    return len(devices) if isinstance(devices, list) and devices else 1


def say(text: str) -> None:
    """Print one line for the user, on the first process."""
    if is_first_process():
        console.say(text)


def torchrun_layout(strategy: Any) -> dict[str, Any]:
    """Return number of devices, of machines and strategy as torchrun has laid them out; nothing if it did not start us.

    With `devices: 1` every process would else be a world of its own: each trains alone, and nothing tells.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return {}
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return {"devices": local, "num_nodes": world // local, **({"strategy": "ddp"} if strategy == "auto" else {})}
