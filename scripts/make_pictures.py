"""Film the policies of results/: docs/figures/*.gif for README and docs, and small ones for the cards of the package's
policies, docs/figures/policies/*.gif; a command line each.

python scripts/make_pictures.py [ant ... policies/ant ...]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from rpo_lightning.pretrained import FILES

ROOT = Path(__file__).resolve().parents[1]
FILMS = {
    "ant": "--seconds 4 --azimuth 120",
    "anymal": "--seconds 4 --azimuth 120 --distance 2.4",
    "humanoid": "--seconds 4 --azimuth 130 --distance 2.5",
    "hand_reorient": "--seconds 4 --azimuth 115 --elevation -28 --distance 2.8",
    "quadruped_rough": "--seconds 2.6 --num_envs 4 --distance 3 --elevation -24 --data.env.init_args.difficulty 0.7 "
    "--data.env.init_args.terrain [rough,slopes,stairs,blocks] --data.env.init_args.commands [[0.6,1],[0,0],[-0.3,0.3]]",
    "walker": "--seconds 4 --azimuth 105",
}
"""Task -> options of its film."""
SMALL = "--size=[176,132] --fps=10 --azimuth 120 --distance 2.4"
SECONDS = {"quadrotor": 2.0, "quadruped_rough": 1.6, "dmc/pendulum_swingup": 10.0, "dmc/acrobot_swingup": 10.0}
"""How long a small film is, if not 2.5 s: none has more than 150 kB."""
OPTIONS = {
    "quadruped_rough": "--data.env.init_args.difficulty 0.7 --data.env.init_args.terrain stairs "
    "--data.env.init_args.commands [[0.6,1],[0,0],[-0.3,0.3]]",
    "dmc/pendulum_swingup": "--distance 5.5 --fps=8",
    "dmc/acrobot_swingup": "--distance 6 --fps=8",
    **{f"dmc/cartpole_{kind}": "--distance 4" for kind in ("balance", "balance_sparse", "swingup", "swingup_sparse")},
}
"""Of small films."""
POLICIES = {f"policies/{task.replace('/', '_')}": task for task in FILES}
"""Film of a card -> task of the package's policy."""


def command(task: str) -> list[str]:
    """Return the command that makes a film."""
    if task in POLICIES:
        return [
            "record",
            f"--ckpt_path={POLICIES[task]}",
            f"--output={figure(task)}",
            *shlex.split(SMALL),
            f"--seconds={SECONDS.get(POLICIES[task], 2.5)}",
            *shlex.split(OPTIONS.get(POLICIES[task], "")),
        ]
    policy = ROOT / "results" / task / "rpo" / "seed_0" / "policy.pt"
    options = shlex.split(FILMS[task])
    return ["record", f"--ckpt_path={policy}", f"--output={figure(task)}", "--size=[360,270]", "--fps=20", *options]


def figure(task: str) -> Path:
    """Return the file of a film."""
    return ROOT / "docs" / "figures" / f"{task}.gif"


def main(tasks: list[str]) -> None:
    for task in tasks or [*FILMS, *POLICIES]:
        print(shlex.join(["rpo-lightning", *command(task)]).replace(f"{ROOT}/", ""), flush=True)
        # the walker's task lies in a folder of its own, where it is found
        folder = ROOT / "examples" / task if (ROOT / "examples" / task).is_dir() else ROOT
        subprocess.run([sys.executable, "-m", "rpo_lightning.cli", *command(task)], cwd=folder, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
