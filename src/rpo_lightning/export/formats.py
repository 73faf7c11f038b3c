"""The formats that a policy is exported to, each with its metadata inside."""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rpo_lightning import __version__
from rpo_lightning.export.network import DeployedPolicy
from rpo_lightning.files import write_atomically
from rpo_lightning.trained_policy import Policy

__all__ = ["SUFFIXES", "export"]

METADATA = "metadata.json"
"""Name of the metadata among the extra files of TorchScript and torch.export."""
ROWS = 2
"""Of the example that is traced; torch takes a size of 1 for a constant."""


class _Traced(NamedTuple):
    network: DeployedPolicy
    example: tuple[Tensor, ...]
    inputs: list[str]
    outputs: list[str]
    metadata: dict[str, Any]

    @property
    def any_rows(self) -> tuple[dict[int, Any], ...]:
        """Say of every input that its number of rows is free."""
        rows = torch.export.Dim("rows")
        return tuple({0: rows} for _ in self.example)


def export(policy: Policy, path: str | Path, format: str) -> None:  # noqa: A002 (the option's name)
    """Write a policy as one file that runs without this package.

    Inputs are `obs` (N, D), raw, the last k observations side by side if the policy was trained with a `history`, and for
    one with a hidden state `state` (N, S), zeros where an episode begins; outputs are `action` (N, A) in [-1, 1], `control`
    (N, A) in the actuators' units, and `next_state` (N, S). N is free, all is float32.

    Args:
        policy: of `rpo_lightning.load_policy`.
        path: of the file.
        format: one of `SUFFIXES`.

    Raises:
        ValueError: for another format, or a name that does not suit it. ImportError: if what writes ONNX is not installed.
        OSError: if the file cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}.")
    ending = Path(path).suffix
    if format == "torch_export" and ending != SUFFIXES[format]:
        raise ValueError(f"{path}: torch.export.load reads files that end in {SUFFIXES[format]} only; choose such a name.")
    for other, its_ending in SUFFIXES.items():
        if ending == its_ending and other != format:
            raise ValueError(f"{path} is the name of a file of format {other}, not {format}; choose another name.")
    network = DeployedPolicy(policy).cpu().eval()
    remembers = policy.state_size > 0
    example = torch.zeros(ROWS, policy.obs_dim), *([torch.zeros(ROWS, policy.state_size)] if remembers else [])
    inputs = ["obs", *(["state"] if remembers else [])]
    outputs = ["action", "control", *(["next_state"] if remembers else [])]
    metadata = {**policy.metadata, "inputs": inputs, "outputs": outputs, "state_size": policy.state_size}
    metadata["history"] = policy.history
    metadata["exported_by"] = f"rpo-lightning {__version__}"
    with _quiet(), torch.no_grad():
        write = FORMATS[format](_Traced(network, example, inputs, outputs, metadata))
        write_atomically(Path(path), write)


def _onnx(traced: _Traced) -> Callable[[Path], None]:
    try:
        import onnxscript  # noqa: F401 (torch asks for it)
    except ImportError as error:
        raise ImportError('ONNX is written with onnxscript: pip install "rpo-lightning[export]"') from error
    program: Any = torch.onnx.export(
        traced.network,
        traced.example,
        dynamo=True,
        dynamic_shapes=traced.any_rows,
        input_names=traced.inputs,
        output_names=traced.outputs,
        verbose=False,
    )
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in traced.metadata.items()}
    program.model.metadata_props.update(texts)
    for node in program.model.graph:
        node.metadata_props.clear()  # where on this machine the source lies
    return lambda path: program.save(str(path), external_data=False)


def _torchscript(traced: _Traced) -> Callable[[Path], None]:
    script = torch.jit.trace(traced.network, traced.example, check_trace=False)
    written = io.BytesIO()
    torch.jit.save(script, written, _extra_files={METADATA: json.dumps(traced.metadata)})
    return lambda path: _without_sources(written, path)


def _without_sources(archive: io.BytesIO, path: Path) -> None:
    """Write a TorchScript archive without what its error messages would say of the source: where on this machine it lies.

    torch reads such files as it does its own, and has no public way to write them.
    """
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(name, source.read(name))


def _torch_export(traced: _Traced) -> Callable[[Path], None]:
    program = torch.export.export(traced.network, traced.example, dynamic_shapes=traced.any_rows, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where on this machine the source lies

    def write(path: Path) -> None:
        with path.open("wb") as file:  # given a name, torch wants it to end in .pt2
            torch.export.save(program, file, extra_files={METADATA: json.dumps(traced.metadata)})

    return write


FORMATS: dict[str, Callable[[_Traced], Callable[[Path], None]]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "torch_export": _torch_export,
}
"""Format -> what traces a policy and returns what writes it to a file."""

SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript", "torch_export": ".pt2"}
"""Format -> how its files are called."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporters from telling the user of their own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.__trace")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
