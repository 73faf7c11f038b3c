"""The page of tables is that of the code."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_is_not_stale():
    pytest.importorskip("dm_control")
    made = runpy.run_path(str(ROOT / "scripts" / "task_tables.py"))["page"]()
    assert (ROOT / "docs" / "task_tables.md").read_text() == made, "run python scripts/task_tables.py"
