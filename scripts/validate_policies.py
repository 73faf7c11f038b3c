"""Evaluate recorded policies with the present code, 128 episodes each, and write what comes out beside them: validated.json.

    python scripts/validate_policies.py [ant ...]

By default all that come with the package. `scripts/cards.py` shows the figures beside those of the runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rpo_lightning.files import write_json
from rpo_lightning.pretrained import FILES
from rpo_lightning.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]


def evaluation(policy: Path) -> dict[str, Any]:
    """Return what `validate` prints of a policy, of which nothing but its file is known.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(policy, Path(folder) / "policy.pt")  # a config.yaml beside it may be of an older version
        command = [sys.executable, "-m", "rpo_lightning.cli", "validate", "--ckpt_path=policy.pt"]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(FILES), help="tasks whose policies come with the package")
    for task in parser.parse_args(arguments).tasks:
        folder = ROOT / "results" / FILES[task]
        found = evaluation(folder / "policy.pt")
        write_json(folder / "validated.json", {"commit": code_version(), "eval": found})
        print(f"{task}: {found['sampled']['mean']:.5g} sampled", flush=True)


if __name__ == "__main__":
    main()
