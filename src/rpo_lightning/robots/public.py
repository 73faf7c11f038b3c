"""Robots of others, by reference: where each model comes from, at which commit, under which license. This package has none.

`fetch("go2")` returns the file, from a cache or downloaded by git once; the robot of a wheel is found where it is installed.
A commit pins every mesh; the MJCF files, which are all that the simulation is made of, are checked by their SHA-256 besides.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rpo_lightning.discovery import nearest

__all__ = ["ROBOTS", "Source", "Wheel", "cache", "fetch"]

_GROUND = "on_ground.xml"
_SCENE = """<mujoco>
  <include file="{file}"/>
  <worldbody>
    <geom name="ground" type="plane" size="0 0 1"/>
  </worldbody>
</mujoco>
"""


class Source(NamedTuple):
    """A folder of a public repository.

    Attributes:
        what: the robot. repository: owner and name on GitHub. commit, folder: where in it. license: of the folder.
        files: the MJCF files by their SHA-256, the one to load first.
        ground: whether it lacks a ground, which a file beside it then adds.
    """

    what: str
    repository: str
    commit: str
    folder: str
    license: str
    files: Mapping[str, str]
    ground: bool = False

    @property
    def origin(self) -> str:
        """Where it comes from, in a line."""
        return f"{self.repository} at {self.commit[:8]}, {self.folder} ({self.license})"


class Wheel(NamedTuple):
    """A file of an installed package; `license`: of the package."""

    what: str
    package: str
    file: str
    license: str

    @property
    def origin(self) -> str:
        """Where it comes from, in a line."""
        return f"pip install {self.package.replace('_', '-')} ({self.license})"


_MINK = ("kevinzakka/mink", "cf1a302ff31b1f620abecdcbdebfd2c42d125a54")
_MJCTRL = ("kevinzakka/mjctrl", "f1c82c257248e2e52b0e6c1beaf23c6a2026e4f2")
_UNITREE = ("unitreerobotics/unitree_mujoco", "c598f103acb87a5fd3de7c9037f4dab6aa7f232b")
_MENAGERIE = "google-deepmind/mujoco_menagerie"
_BSD, _APACHE = "BSD-3-Clause", "Apache-2.0"

ROBOTS: dict[str, Source | Wheel] = {
    "go1": Source(
        "Unitree Go1, a quadruped with servos", *_MINK, "examples/unitree_go1", _BSD,
        {
            "scene.xml": "dc810ff5ce6fd86153ff71fb18819b6bea08d7a7fcbac09e6f14ac6240db6cf7",
            "go1.xml": "6f7bca0628ef97a14bd387f395e6c50e697aa0650670b24dbed748958a1c637e",
        },
    ),
    "go2": Source(
        "Unitree Go2, a quadruped with motors", *_UNITREE, "unitree_robots/go2", _BSD,
        {"go2.xml": "2014a3d76e30f17ab9447d8a67bd015291f74fa4d71ae30d005f1a32bd693d4b"},
        ground=True,  # its own scene has stairs
    ),
    "anymal_c": Source(
        "ANYbotics ANYmal C, a quadruped with servos", _MENAGERIE, "1b428b08bb26ca6024e7b21e8ff21a59f847eb87",
        "anybotics_anymal_c", _BSD,
        {"anymal_c.xml": "5b7c72770d904ea0fa6fc0ca3a40d5d94dee13ecfc889381dfb0d0c5c82832d3"},
        ground=True,
    ),
    "spot": Source(
        "Boston Dynamics Spot, a quadruped with an arm, with servos", *_MINK, "examples/boston_dynamics_spot", _BSD,
        {
            "scene.xml": "f29e33ed6271d507beb0b3fef8437e09a04909ec4c17294900ce80b2643827c7",
            "spot_arm.xml": "fc1db6b8b96db95719e401291d17dee193e566e9022c58ac64908b423cb71ae5",
        },
    ),
    "g1": Source(
        "Unitree G1, a humanoid of 29 motors", *_UNITREE, "unitree_robots/g1", _BSD,
        {"g1_29dof.xml": "423e28bd718b19f7a65cda539b6f794ddbb268b4b9bdbd85f4bd982b30729617"},
        ground=True,
    ),
    "h1": Source(
        "Unitree H1, a humanoid of 19 motors", *_MINK, "examples/unitree_h1", _BSD,
        {
            "scene.xml": "48c11c728f2d644626056f91f611479a9d577b98b0f5aa5079366c1142617781",
            "h1.xml": "ae557724ac888d56aa50d97df549c10c2f424c3cbbacd6800664f81e53840529",
        },
    ),
    "panda": Source(
        "Franka Emika Panda, an arm with servos, without its hand", *_MJCTRL, "franka_emika_panda", _APACHE,
        {
            "scene.xml": "669a13b0dc3e90b86eea37b14cd91f818c619d5a095cb2d80e0222180343b781",
            "panda_nohand.xml": "3cff57f4074c0a808ba33f98e9a9896367d567df9d31e46b5064eb76558d6849",
        },
    ),
    "ur5e": Source(
        "Universal Robots UR5e, an arm with servos", *_MINK, "examples/universal_robots_ur5e", _BSD,
        {
            "scene.xml": "ea3719fdc8696af6878bc7240eb345dd89ec3e2631a70d2dba7d9e45504abd93",
            "ur5e.xml": "b7366d561c45478d7b98efeec8c7d0df42ff9f0780de213e005d20e54cbe8b99",
        },
    ),
    "iiwa14": Source(
        "KUKA LBR iiwa 14, an arm with servos", *_MJCTRL, "kuka_iiwa_14", _BSD,
        {
            "scene.xml": "911fe29147238ced20916cda54f3def23b490e4737d065a4eaf1cf1d3d66d76a",
            "iiwa14.xml": "ae7057aaf1f7a24d8620703ca7d8a0a8b7e340aaa8a05ec92ee7f6436b578fd4",
        },
    ),
    "x2": Source(
        "Skydio X2, a quadrotor", _MENAGERIE, "388eb4f8fb9ea5b38506da806416b5d798dfca4d", "skydio_x2", _APACHE,
        {"x2.xml": "cd0dbe1ebe1560b5b23c123dc8abc1c142cdaff95449f423aa0334c17c477345"},
        ground=True,
    ),
    "gymnasium_ant": Wheel("Ant", "gymnasium", "envs/mujoco/assets/ant.xml", "MIT"),
    "gymnasium_half_cheetah": Wheel("a cheetah in a plane", "gymnasium", "envs/mujoco/assets/half_cheetah.xml", "MIT"),
    "gymnasium_humanoid": Wheel("a humanoid of capsules", "gymnasium", "envs/mujoco/assets/humanoid.xml", "MIT"),
    "dmc_walker": Wheel("a biped in a plane", "dm_control", "suite/walker.xml", _APACHE),
    "dmc_humanoid_cmu": Wheel("a humanoid of 56 motors", "dm_control", "suite/humanoid_CMU.xml", _APACHE),
}  # fmt: skip


def cache() -> Path:
    """Return the folder that downloaded robots are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rpo-lightning" / "robots"


def fetch(name: str) -> Path:
    """Return the file of a public robot; what is not in the cache is downloaded.

    Args:
        name: of `ROBOTS`.

    Raises:
        ValueError: for another name, or files that are not those that were tried.
        ConnectionError: if it cannot be downloaded. FileNotFoundError: if the package that has it is not installed.
    """
    if name not in ROBOTS:
        raise ValueError(f"no public robot is called {name!r}.{nearest(name, ROBOTS)} There are {', '.join(ROBOTS)}")
    robot = ROBOTS[name]
    if isinstance(robot, Wheel):
        return _installed(name, robot)
    home = cache() / f"{name}-{robot.commit[:8]}"
    folder = home / robot.folder
    if not folder.is_dir():
        _download(name, robot, home)
    for file, digest in robot.files.items():
        if hashlib.sha256((folder / file).read_bytes()).hexdigest() != digest:
            raise ValueError(
                f"public/{name}: {folder / file} is not the file that was tried, its SHA-256 differs; remove {home}"
            )
    first = folder / next(iter(robot.files))
    if not robot.ground:
        return first
    scene = folder / _GROUND
    if not scene.is_file():
        scene.write_text(_SCENE.format(file=first.name))
    return scene


def _installed(name: str, robot: Wheel) -> Path:
    found = find_spec(robot.package)
    path = Path(next(iter(found.submodule_search_locations or ()))) / robot.file if found is not None else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"public/{name} is a file of {robot.package}, which is not installed: {robot.origin}")
    return path


def _download(name: str, robot: Source, home: Path) -> None:
    """Check out one folder of one commit, whole or not at all."""
    url = f"https://github.com/{robot.repository}"
    if shutil.which("git") is None:
        raise FileNotFoundError(f"public/{name} is downloaded by git, which is not installed")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as place:
        for words in (
            ("init", "--quiet"),
            ("remote", "add", "origin", url),
            ("sparse-checkout", "set", "--no-cone", f"/{robot.folder}/*"),
            ("fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", robot.commit),
            ("checkout", "--quiet", "FETCH_HEAD"),
        ):
            done = subprocess.run(
                ["git", *words], cwd=place, capture_output=True, text=True, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}
            )
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ConnectionError(
                    f"public/{name} cannot be downloaded from {url}: {said}. On a machine without a network put its folder "
                    f"{robot.folder}, as it is at commit {robot.commit}, under {home}"
                )
        (home / robot.folder).parent.mkdir(parents=True, exist_ok=True)
        try:
            (Path(place) / robot.folder).rename(home / robot.folder)
        except OSError:
            if not (home / robot.folder).is_dir():  # else another process was faster
                raise
