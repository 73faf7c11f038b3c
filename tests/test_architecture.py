"""Imports go one way; the engine and the tasks know nothing of Lightning."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "rpo_lightning"

# room -> rooms and libraries it must not import
FORBIDDEN = {
    "sim": {"lightning", "envs", "rollout", "algorithms", "callbacks", "nn", "cli", "fabric"},
    "envs": {"lightning", "warp", "mujoco_warp", "rollout", "algorithms", "callbacks", "nn", "cli", "fabric"},
    "nn": {"envs", "sim", "rollout", "algorithms", "callbacks", "cli", "fabric"},
    "rollout": {"sim", "algorithms", "callbacks", "cli", "fabric", "warp"},
    "algorithms": {"envs", "sim", "callbacks", "cli", "fabric", "warp"},
    "callbacks": {"sim", "envs", "rollout", "cli", "fabric", "warp"},
    "losses.py": {"envs", "sim", "rollout", "algorithms", "callbacks", "lightning"},
    "returns.py": {"envs", "sim", "rollout", "algorithms", "callbacks", "lightning"},
}
# file -> what it may import nevertheless
ALLOWED = {"envs/dmc/warp_physics.py": {"warp", "mujoco_warp"}}


def imports(path):
    """Names of libraries and of this package's rooms that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "rpo_lightning" else [node.module]
            )
        else:
            continue
        for module in modules:
            parts = module.split(".")
            yield parts[1] if parts[0] == "rpo_lightning" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_go_one_way(room):
    files = [PACKAGE / room] if room.endswith(".py") else sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        name = path.relative_to(PACKAGE).as_posix()
        wrong = FORBIDDEN[room] & set(imports(path)) - ALLOWED.get(name, set())
        assert not wrong, f"{name} must not import {', '.join(sorted(wrong))}"


def test_modules_stay_small():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 500, path


def test_robots_load():
    from rpo_lightning.sim import load_mjcf

    robots = sorted((PACKAGE / "robots").glob("*.xml"))
    assert robots
    for path in robots:
        assert load_mjcf(path).links
