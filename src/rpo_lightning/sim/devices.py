"""Where a simulator can run."""

from __future__ import annotations

import torch
import warp as wp

__all__ = ["resolve_device", "why_no_cuda"]


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device a simulator can run on: the CPU, or a CUDA device with its index.

    Raises:
        ValueError: for anything else, or a CUDA device that is not there or that Warp cannot use.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} does not exist; choose 'cpu' or 'cuda'") from error
    if found.type == "cpu":
        return found
    if found.type != "cuda":
        raise ValueError(f"device {device!r}: the simulator runs on 'cpu' and 'cuda'")
    if (why := why_no_cuda()) is not None:
        raise ValueError(f"device {device!r}: {why}; choose device='cpu' (--trainer.accelerator cpu)")
    index = torch.cuda.current_device() if found.index is None else found.index
    if index >= (count := torch.cuda.device_count()):
        raise ValueError(f"device {device!r}: there are {count} CUDA devices; choose device='cpu'")
    return torch.device("cuda", index)


def why_no_cuda() -> str | None:
    """Return why no CUDA device can be used, None if one can: torch and Warp must both see it."""
    if not torch.cuda.is_available():
        return "no usable CUDA device was found"
    if wp.is_cuda_available():
        return None
    seen = f"torch {torch.__version__} sees a GPU, but Warp {wp.__version__}, by which the simulator runs, does not"
    driver, toolkit = wp.get_cuda_driver_version(), wp.get_cuda_toolkit_version()
    if driver is None or toolkit is None:
        return f"{seen}: it finds no CUDA driver, or was built without CUDA"
    had, needed = (".".join(map(str, version)) for version in (driver, toolkit))
    return f"{seen}: it was built with CUDA {needed}, and the driver is one of CUDA {had}; a newer driver would do"
