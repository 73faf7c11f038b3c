"""Check everything that a GPU changes, in at most 25 minutes; goes on after a failure and says what failed.

    python scripts/check_gpu.py
    python scripts/check_gpu.py --only golden,gradients
    python scripts/check_gpu.py --device cpu

`make gpu` is the first. Nothing is installed. The record, results/benchmarks/gpu.json with a page of tables beside it, is
written after every part; parts not named by `--only` stay as an earlier call for the same machine and commit left them. A
part may use what those before it have left. `--device cpu` rehearses everything small, in about a minute, and writes
a record only where `--output` says. Exit code 1: a part has failed; 2: there is nothing to check on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from gpu import agreement, capture, seeds, speed, trainings
from gpu.part import Part, Settings, carry_out
from gpu.record import Record

from rpo_lightning.provenance import code_version, machine

ROOT = Path(__file__).resolve().parents[1]

PARTS = {
    "found": Part(speed.found, 40),
    "compile": Part(speed.compiling, 130),
    "golden": Part(agreement.golden, 30),
    "gradients": Part(agreement.gradients, 30),
    "starts": Part(agreement.starts, 30),
    "figures": Part(agreement.figures, 30),
    "updates": Part(agreement.updates, 90),
    "captured": Part(capture.captured, 60),
    "equal": Part(agreement.equal, 60),
    "resume": Part(agreement.resume, 40),
    "nccl": Part(agreement.processes, 30),
    "seeds": Part(seeds.seeds, 40),
    "dmc": Part(speed.control, 110),
    "simulator": Part(speed.simulator, 100),
    "iterations": Part(speed.iterations, 100),
    "choice": Part(speed.choice, 100),
    "ant": Part(trainings.ant, 220),
    "cheetah": Part(trainings.cheetah, 260),
}
"""All parts in their order, each with its budget [s]: 25 minutes together."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--only", help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="of the record; with cuda results/benchmarks/gpu.json")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(PARTS)
    for name in names:
        if name not in PARTS:
            parser.error(f"--only: there is no part {name}, only {', '.join(PARTS)}")
    if options.device == "cuda":
        options.output = options.output or ROOT / "results/benchmarks/gpu.json"
    with tempfile.TemporaryDirectory() as cache:
        if options.device == "cuda":
            os.environ["WARP_CACHE_PATH"] = cache  # empty, so that compile times mean something; shared by all parts
        sys.exit(check(Settings(options.device), names, options.output))


def check(settings: Settings, names: list[str], output: Path | None) -> int:
    """Carry out the parts named; return the exit code."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device that torch can use; --device cpu rehearses the check.", file=sys.stderr)
        return 2
    device = torch.device(settings.device)
    record = Record({"device": settings.device, "machine": machine(device), "commit": code_version()}, output)
    started, allowed = time.perf_counter(), 0.0
    for name in names:
        part = PARTS[name]
        print(f"{name}: {part.says}", flush=True)
        allowed += part.seconds * settings.choose(1, 4)  # a rehearsal's machine may have other work
        result = carry_out(part, settings, allowed - (time.perf_counter() - started))
        record.add(name, result, PARTS)
        print(f"{name}: {result['status']} in {result['seconds']} s\n{result['error']}", flush=True)
    failed = [name for name in names if name in record.failed]
    print(f"{len(names) - len(failed)} of {len(names)} parts passed{'; not ' + ', '.join(failed) if failed else ''}.")
    if output is not None:
        print(f"See {output} and {output.with_suffix('.md').name} beside it.")
    return int(bool(failed))


if __name__ == "__main__":
    main()
