"""Make a release, or try to: build it, check it, install it in an empty environment, use it there; tag it when asked to.

    python scripts/release.py              # everything but the tag
    python scripts/release.py --tag        # and the tag, which nothing pushes

The version is that of src/rpo_lightning/__init__.py. What was built stays in dist/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("--model.init_args.total_env_steps=512", "--data.num_envs=16", "--data.horizon=16", "--data.iterations_per_epoch=2")
USES = (("--help",), ("list",), ("fit", "--config", "cartpole.yaml", *SHORT))
"""What is tried with the installed console script, besides its version."""


def find_version(root: Path) -> str:
    """Return the version that the source states.

    Raises:
        ValueError: if it states none.
    """
    found = re.search(r'^__version__ = "(.+)"$', (root / "src/rpo_lightning/__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError("src/rpo_lightning/__init__.py states no __version__.")
    return found[1]


def obstacles(root: Path, version: str) -> list[str]:
    """Return what must be done before this version can be tagged, a sentence each."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    found = []
    if git("status", "--porcelain"):
        found.append("There are changes that are not committed.")
    if git("tag", "--list", f"v{version}"):
        found.append(f"The tag v{version} exists: raise __version__ in src/rpo_lightning/__init__.py.")
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE):
        found.append(f"CHANGELOG.md needs a heading with the day, ## {version} (YYYY-MM-DD).")
    return found


def build(root: Path, dist: Path) -> Path:
    """Build the source distribution and from it the wheel, and check both; return the wheel."""
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(dist), str(root)], check=True)
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(dist.iterdir()))], check=True)
    (wheel,) = dist.glob("*.whl")
    return wheel


def use(wheel: Path, version: str, folder: Path, python: str) -> None:
    """Install a wheel in an empty environment, and use its console script in an empty folder.

    Raises:
        ValueError: if the script says another version. subprocess.CalledProcessError: if something fails.
    """
    subprocess.run([python, "-m", "venv", str(folder / "environment")], check=True)
    inside = folder / "environment/bin"
    subprocess.run([str(inside / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    work = folder / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def call(*arguments: str) -> str:
        command = [str(inside / "rpo-lightning"), *arguments]
        print("+", *command[1:], flush=True)
        return subprocess.run(command, cwd=work, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    said = call("--version").split()[-1]
    if said != version:
        raise ValueError(f"The installed command says it is {said}, not {version}.")
    for arguments in USES:
        call(*arguments)
    if not list(work.glob("runs/*/*/*/policy.pt")):
        raise ValueError("The installed command trained, but wrote no policy.pt.")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", action="store_true", help="tag the commit when all has worked")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the empty environment")
    options = parser.parse_args(arguments)
    try:
        version = find_version(ROOT)
        left = obstacles(ROOT, version)
        if options.tag and left:
            raise ValueError(" ".join(left))
        wheel = build(ROOT, ROOT / "dist")
        with tempfile.TemporaryDirectory() as folder:
            use(wheel, version, Path(folder), options.python)
        if options.tag:
            tag = ["git", "-C", str(ROOT), "tag", "--annotate", f"v{version}", "--message", f"rpo-lightning {version}"]
            subprocess.run(tag, check=True)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"release.py: error: {error}", file=sys.stderr)
        sys.exit(1)
    if options.tag:
        print(f"{version} is tagged. What is left: git push origin v{version}; twine upload dist/*")
    else:
        print(f"{version} works, and is not tagged: --tag does it." + "".join(f"\nBefore that: {each}" for each in left))


if __name__ == "__main__":
    main()
