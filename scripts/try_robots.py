"""Try the robots of others: what `new-task` makes of each, compile time, speed; docs/robots.md is made from what is written.

    python scripts/try_robots.py                 # all that can be fetched, into results/benchmarks/robots.json
    python scripts/try_robots.py --robots go1 x2
    python scripts/try_robots.py --page          # the page alone, from the file

Seconds are those of the processor, not of the clock: a busy machine does not matter. Speed is the median over windows of 32
steps of 64 environments on one thread, forward and backward, with random actions, observations and rewards included; compile
time that of the first step and its gradient in a fresh process, with an empty cache.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from rpo_lightning.provenance import code_version, machine
from rpo_lightning.robots.public import ROBOTS

ROOT = Path(__file__).parents[1]
FILE = ROOT / "results" / "benchmarks" / "robots.json"
PAGE = ROOT / "docs" / "robots.md"
KINDS = {"go2": "velocity", "g1": "velocity", "h1": "velocity", "panda": "reach", "ur5e": "reach", "iiwa14": "reach"}
"""What a robot of motors, or an arm, is not given unasked."""

HEAD = """# Robots of others

`rpo-lightning describe public/NAME` and `new-task --robot public/NAME` find these robots. None of them is in this package:
[a table](../src/rpo_lightning/robots/public.py) says where each comes from, at which commit and under which license. What
is not in the cache (`~/.cache/rpo-lightning/robots`) is downloaded by git once, and its MJCF files are checked by SHA-256.

```bash
rpo-lightning list
```

## What becomes of them

Made by `scripts/try_robots.py` with {code}, on {machine}.
Each row is the task that `new-task` writes, unchanged.

* **kind**: walks as commanded (`velocity`), brings its tip to points (`reach`), moves forward or holds its start (`plain`).
* **touching**: points on the ground and pairs of shapes that are simulated. No `self`: links do not touch each other.
* **compile**: seconds of one core until the first gradient, once for each robot. **speed**: steps of one environment in a
  second of one core, forward and backward, 64 environments.
* **stands**: how many of 64 robots are still up after two seconds with actions of zero, where the task can fail.

"""

GO1 = """
## One that was trained: Unitree Go1

Written by `new-task go1_walk --robot public/go1 --kind velocity` and trained by `fit --config go1_walk.yaml`, two
commands of `rpo-lightning`, nothing changed between them.

Seed 0: 1.0 million steps, 8.2 minutes of a core that others used too, commands of up to 1 m/s and 1 rad/s, pushes,
noise, trunk's mass and friction drawn in every episode. 128 episodes of 20 s, deterministic actions: none falls, the
velocity is off by 0.093 m/s and the rate of turning by 0.062 rad/s in the mean, by 0.059 and 0.054 without the second
that follows a new command; soles that touch slide at 0.13 m/s (`results/go1_walk/rpo/seed_0`, without the policy). Its
network, exported and run by [`examples/deploy/quadruped.py`](../examples/deploy/quadruped.py) on the file itself in
plain MuJoCo, without noise and pushes: 0.090 m/s and 0.070 rad/s off with the pyramidal cone, 0.106 and 0.103 with the
elliptic one; of 128 episodes of 20 s with the one, and 16 with the other, none falls. One seed.

`new-task` wrote a command every 5 s before, not 2.5: 0.109 m/s and 0.075 rad/s off, two of 128 fell; in MuJoCo 0.134 and
0.139 m/s off, none and three of 16 fell. And before that 128 robots and one observation: 0.146 m/s and 0.088 rad/s off after
as many steps and 6.2 minutes, one fell; in MuJoCo 0.154 and 0.178 m/s, none fell.
"""


def tried(name: str) -> dict[str, Any]:
    """Return what a robot is as a task, and its times, in a process of its own with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "WARP_CACHE_PATH": cache, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"loads": False, "why": (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
    return {"loads": True, **json.loads(done.stdout.splitlines()[-1])}


def one(name: str) -> dict[str, Any]:
    """Measure in this process."""
    from rpo_lightning.describe import overheard
    from rpo_lightning.new_task.command import written
    from rpo_lightning.new_task.head import class_name
    from rpo_lightning.sim import quiet

    quiet()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, overheard():
        found, _ = written(f"try_{name}", f"public/{name}", Path(folder), KINDS.get(name))
        sys.path.insert(0, folder)
        task = getattr(importlib.import_module(f"try_{name}"), class_name(f"try_{name}"))
        env = task(num_envs=64, threads=1)
    began = time.process_time()
    action = torch.zeros(64, env.action_dim, requires_grad=True)
    (env.step(action).reward + env.step(action).reward).sum().backward()  # the first may show no action yet
    compiled = time.process_time() - began
    speeds = []
    for _ in range(4):
        env.reset()
        actions = (2.0 * torch.rand(32, 64, env.action_dim) - 1.0).requires_grad_()
        began = time.process_time()
        torch.stack([env.step(action).reward.sum() for action in actions.unbind()]).sum().backward()
        speeds.append(32 * 64 / (time.process_time() - began))
    env = task(num_envs=64, threads=1, auto_reset=False)
    fallen = torch.zeros(64, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(100):
            fallen |= env.step(torch.zeros(64, env.action_dim)).terminated | env.invalid
    stands = int((~fallen).sum()) if "early_termination" in env.options and len(env.model.links) > 1 else None
    model, sink = env.model, found.suggestion.sink  # NaN of what has no ground
    return {
        "kind": found.kind, "mass_kg": round(found.mass, 2), "dofs": model.nd, "actuators": len(model.actuators),
        "points": len(model.contacts), "pairs": len(model.pairs), "drop": list(found.drop), "servos_added": found.servos,
        "contact": task.contact, "limit": task.limit, "substeps": task.substeps,
        "sinks_mm": round(1e3 * sink, 2) if sink == sink else None, "compile_s": round(compiled, 1),
        "steps_per_s": round(statistics.median(speeds[1:])), "stands_of_64": stands, "said": len(set(found.said)),
    }  # fmt: skip


def page(content: dict[str, Any]) -> str:
    """Return the page."""
    head = "| robot | kind | joints' rates, actuators | touching | substeps | compile [s] | speed [1/s] | stands |"
    rows = [head, "|" + " --- |" * 8]
    sources = ["| name | robot | where it comes from |", "| --- | --- | --- |"]
    for name, robot in ROBOTS.items():
        sources.append(f"| `public/{name}` | {robot.what} | {robot.origin} |")
        found = content["robots"].get(name)
        if found is None:
            continue
        if not found["loads"]:
            rows.append(f"| `{name}` | does not load: {found['why']} | | | | | | |")
            continue
        touching = f"{found['points']} + {found['pairs']}" + ("; no `self`" if "self" in found["drop"] else "")
        servos = ", made servos" if found["servos_added"] else ""
        stands = "-" if found["stands_of_64"] is None else f"{found['stands_of_64']} of 64"
        cells = [
            f"`{name}`", found["kind"], f"{found['dofs']}, {found['actuators']}{servos}", touching, str(found["substeps"]),
            f"{found['compile_s']:.0f}", f"{found['steps_per_s']:,}", stands,
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    commits: dict[str, list[str]] = {}
    for name, found in content["robots"].items():
        commits.setdefault(found["commit"][:8], []).append(f"`{name}`")
    # the one of most robots needs no list of them
    first, *others = sorted(commits, key=lambda commit: -len(commits[commit]))
    code = first + "".join(f", {', '.join(commits[commit])} with {commit}" for commit in others)
    intro = HEAD.format(code=code, machine=content["machine"])
    return intro + "\n".join(rows) + "\n" + GO1 + "\n## Where they come from\n\n" + "\n".join(sources) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", nargs="+", default=list(ROBOTS), choices=list(ROBOTS))
    parser.add_argument("--page", action="store_true", help="write the page from the file, and measure nothing")
    parser.add_argument("--output", type=Path, default=FILE)
    parser.add_argument("--one", choices=list(ROBOTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one)))
        return
    content = json.loads(args.output.read_text()) if args.output.is_file() else {"robots": {}}
    if not args.page:
        content |= {"machine": machine(torch.device("cpu"))}
        for name in args.robots:
            content["robots"][name] = tried(name) | {"commit": code_version()}
            print(name, content["robots"][name], flush=True)
            args.output.parent.mkdir(parents=True, exist_ok=True)
            args.output.write_text(json.dumps(content, indent=1) + "\n")
    PAGE.write_text(page(content))


if __name__ == "__main__":
    main()
