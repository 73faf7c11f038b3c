"""Warp kernels around generated source. Equal source gives the same kernel; Warp keeps the machine code on disk."""

from __future__ import annotations

import fcntl
import linecache
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
import warp as wp

from rpo_lightning.sim.prelude import LANES
from rpo_lightning.sim.signatures import SIGNATURES

__all__ = ["build", "launch", "load", "quiet"]

_CUDA_BLOCK = 32  # threads; few, because 128 environments should still spread over many multiprocessors

# the adjoints are kernels of their own, so Warp is not asked for any
_WRAPPER = """
@wp.func_native(source)
def body({arrays}num_envs: int, {scalars}b: int): ...

@wp.kernel(module="unique", module_options={{"enable_backward": False}})
def articulated_{name}({arrays}num_envs: int, first: int, {scalars}):
    body({array_names}, num_envs, {scalar_names}first + wp.tid())
"""


@cache
def build(name: str, source: str) -> wp.Kernel:
    """Return the kernel that runs `source` once a block, with the arguments of `SIGNATURES[name]`."""
    signature = SIGNATURES[name]
    text = _WRAPPER.format(
        name=name,
        arrays="".join(f"{array}: wp.array(dtype=wp.float32), " for array in signature.arrays),
        scalars="".join(f"{scalar}: {kind}, " for scalar, kind in signature.scalars.items()),
        array_names=", ".join(signature.arrays),
        scalar_names="".join(f"{scalar}, " for scalar in signature.scalars),
    )
    file = f"<kernel {name}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file  # where Warp looks for a function's text
    scope: dict[str, Any] = {"wp": wp, "source": source, "__name__": __name__}
    exec(compile(text, file, "exec", dont_inherit=True), scope)
    return scope[f"articulated_{name}"]


def load(kernel: wp.Kernel, device: torch.device, cut: bool = False) -> None:
    """Compile a kernel or take its machine code from Warp's cache on disk; what is damaged there is made anew.

    Of several processes that come at once one compiles, and the others wait for it.

    Args:
        kernel: of `build`.
        device: to compile for.
        cut: whether its text is in `pieces`, in which Clang finds no more at -O2 than at -O1, and takes half as long again.

    Raises:
        RuntimeError: if that fails too, with the folder's name.
    """
    wp.init()  # sets the folder
    if cut and device.type == "cpu":
        kernel.module.options["optimization_level"] = 1
    block_dim = _CUDA_BLOCK if device.type == "cuda" else None
    with _alone(Path(str(wp.config.kernel_cache_dir)), kernel.module.name):
        _load(kernel, device, block_dim)


def _load(kernel: wp.Kernel, device: torch.device, block_dim: int | None) -> None:
    cached = list(Path(str(wp.config.kernel_cache_dir)).glob(f"wp_{kernel.module.name}_???????"))
    try:
        wp.load_module(kernel.module, device=str(device), block_dim=block_dim)
    except Exception as damage:  # of many kinds: no JSON, no object file, half of one
        if not cached:
            raise
        try:
            for folder in cached:
                shutil.rmtree(folder)
            wp.load_module(kernel.module, device=str(device), block_dim=block_dim)
        except Exception as error:
            raise RuntimeError(f"{damage}: damaged machine code; delete the folder {cached[0]} and start again") from error


@contextmanager
def _alone(cache: Path, name: str) -> Iterator[None]:
    """Keep other processes that use the cache away from a module; not where the file system knows no locks."""
    with ExitStack() as held:
        with suppress(OSError):  # Warp says what is wrong with the folder
            file = held.enter_context((cache / f"{name}.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def launch(
    kernel: wp.Kernel,
    device: torch.device,
    tensors: Sequence[torch.Tensor],
    num_envs: int,
    first: int,
    count: int,
    *scalars: float,
) -> None:
    """Run a kernel on `count` blocks of environments from `first` on, on CUDA in torch's stream."""
    inputs = [*(wp.from_torch(t, return_ctype=True) for t in tensors), num_envs, first, *scalars]
    if device.type == "cuda":
        stream = wp.stream_from_torch(torch.cuda.current_stream(device))
        wp.launch(kernel, dim=count * LANES["cuda"], inputs=inputs, stream=stream, block_dim=_CUDA_BLOCK)
    else:
        wp.launch(kernel, dim=count, inputs=inputs, device="cpu")


def quiet() -> None:
    """Start Warp without its banner and compile times and, where torch sees no GPU, its native complaint about that.

    For programs that own the terminal, before the first simulator.
    """
    wp.config.log_level = wp.LOG_ERROR
    if torch.cuda.is_available():
        wp.init()
        return
    silence = os.open(os.devnull, os.O_WRONLY)  # first: where standard error is closed, this may become it
    stderr = os.dup(2)
    try:
        os.dup2(silence, 2)
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)
