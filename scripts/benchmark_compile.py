"""CPU seconds and memory that the first step and gradient of a robot cost, with Warp's cache empty.

    python scripts/benchmark_compile.py --robots ant chain_40 --output results/benchmarks/compile.json

One process a robot: it traces and compiles `step` and `step_adjoint`; some seconds of that are Warp's own headers. `chain_N`
is a free box with N hinged links one after the other. Robots of dm_control come from its wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import torch

import rpo_lightning
from rpo_lightning.provenance import code_version, machine
from rpo_lightning.sim import Model, codegen, kernels, load_mjcf, quiet
from rpo_lightning.sim.pieces import is_cut

KERNELS = ("step", "step_adjoint")
CONTACT, LIMIT = (2e4, 2e3, 1e3, 0.8), (100.0, 1.0)
DM_CONTROL = {"dm_control_humanoid": ("humanoid", ()), "cmu_humanoid": ("humanoid_CMU", ("self", "geom"))}
ROBOTS = ("hopper", "ant", "hand_reorient", "chain_20", "chain_40", "chain_60", *DM_CONTROL)


def chain(hinges: int) -> Model:
    """Return a free box with that many hinged capsules, one on the other."""
    axes, bodies = ("1 0.1 0", "0 1 0.2", "0.1 0 1"), ""
    for k in range(hinges):
        bodies = f"""<body pos="0.02 0.01 0.15" euler="3 {2 * k} 5">
            <joint axis="{axes[k % 3]}" damping="0.3" armature="0.01" range="-60 60"/>
            <geom type="capsule" fromto="0 0 0 0.02 0.01 0.12" size="0.03"/>{bodies}</body>"""
    text = f"""<mujoco><default><geom contype="0" conaffinity="1"/></default><worldbody>
        <geom type="plane" size="9 9 1" contype="1" conaffinity="0"/>
        <body pos="0 0 3"><freejoint/><geom type="box" size="0.1 0.1 0.1"/>{bodies}</body></worldbody></mujoco>"""
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        file.write(text)
        file.flush()
        return load_mjcf(file.name, CONTACT, LIMIT)


def load(name: str) -> Model:
    """Return a robot of `ROBOTS`.

    Raises:
        ValueError: for another name, or a robot of dm_control where that is not installed.
    """
    if name.startswith("chain_"):
        return chain(int(name.removeprefix("chain_")))
    if name in DM_CONTROL:
        package, (robot, drop) = find_spec("dm_control"), DM_CONTROL[name]
        if package is None or not package.submodule_search_locations:
            raise ValueError(f"{name} needs dm_control: pip install rpo-lightning[dmc]")
        return load_mjcf(Path(package.submodule_search_locations[0]) / "suite" / f"{robot}.xml", CONTACT, LIMIT, drop)
    if name not in ROBOTS:
        raise ValueError(f"robot {name!r} is none of {', '.join(ROBOTS)}")
    if name == "hand_reorient":
        return rpo_lightning.make(name, num_envs=1, threads=1).model
    return load_mjcf(Path(str(files("rpo_lightning"))) / "robots" / f"{name}.xml")


def measure(name: str) -> dict[str, float | str]:
    """Compile one robot in this process; statements, CPU seconds and the most memory this process ever had [MB]."""
    torch.set_num_threads(1)
    quiet()
    model = load(name)
    row: dict[str, float | str] = {"robot": name, "dofs": model.nd, "links": len(model.links), "pairs": len(model.pairs)}
    for kernel in KERNELS:
        start = time.process_time()
        source = codegen.source(kernel, model)
        traced = time.process_time()
        kernels.load(kernels.build(kernel, source), torch.device("cpu"), cut=is_cut(source))
        row |= {f"{kernel}_statements": source.count("const lane t"), f"{kernel}_trace_s": traced - start}
        row[f"{kernel}_compile_s"] = time.process_time() - traced
    row["cpu_s"] = sum(float(row[f"{kernel}_{part}_s"]) for kernel in KERNELS for part in ("trace", "compile"))
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def cold(name: str) -> dict[str, float | str]:
    """Return what `measure` says in a fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "WARP_CACHE_PATH": cache}
        done = subprocess.run(
            [sys.executable, __file__, "--here", name], env=environment, stdout=subprocess.PIPE, check=True
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", nargs="+", default=ROBOTS, help=f"of {', '.join(ROBOTS)}, or chain_N")
    parser.add_argument("--output", type=Path, help="write the table as JSON")
    parser.add_argument("--here", metavar="ROBOT", help="measure one robot in this process and with the cache as it is")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.here)))
        return
    head = {"machine": machine(torch.device("cpu")), "commit": code_version(), "unit": "CPU s, MB"}
    print(f"{'robot':<22}{'dofs':>6}{'pairs':>7}{'statements':>12}{'trace s':>9}{'compile s':>11}{'CPU s':>8}{'MB':>7}")
    rows = []
    for name in args.robots:
        row = cold(name)
        rows.append(row)
        statements, trace, compiling = (
            sum(float(row[f"{kernel}_{what}"]) for kernel in KERNELS) for what in ("statements", "trace_s", "compile_s")
        )
        figures = f"{statements:>12.0f}{trace:>9.1f}{compiling:>11.1f}{row['cpu_s']:>8.1f}{row['peak_mb']:>7.0f}"
        print(f"{name:<22}{row['dofs']:>6}{row['pairs']:>7}{figures}", flush=True)
        if args.output:  # after each, so that an interruption loses nothing
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
