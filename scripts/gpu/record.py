"""What was found, as JSON and as a page of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpu.part import Part, Row, shown
from rpo_lightning.files import write_json


class Record:
    """The parts carried out on a device, written after each.

    Args:
        head: what is true of all: device, machine, commit.
        path: of the JSON file, with the page beside it; parts of an earlier call for the same head are kept. None: no file.
    """

    def __init__(self, head: dict[str, Any], path: Path | None) -> None:
        self.head, self.path = head, path
        self.parts: dict[str, Row] = {}
        if path is not None and path.exists():
            earlier = json.loads(path.read_text())
            if all(earlier.get(key) == value for key, value in head.items()):
                self.parts = earlier["parts"]

    @property
    def failed(self) -> list[str]:
        """Names of the parts that did not pass."""
        return [name for name, result in self.parts.items() if result["status"] != "passed"]

    def add(self, name: str, result: Row, table: dict[str, Part]) -> None:
        """Keep a part's result and write everything."""
        self.parts[name] = result
        self.parts = {key: self.parts[key] for key in table if key in self.parts}
        if self.path is not None:
            write_json(self.path, {**self.head, "failed": self.failed, "parts": self.parts})
            self.path.with_suffix(".md").write_text(self.page(table))

    def page(self, table: dict[str, Part]) -> str:
        """Return all results in Markdown."""
        lines = ["# On a GPU: `make gpu`", "", *(f"* {key}: {value}" for key, value in self.head.items()), ""]
        overview = [
            {"part": name, "status": result["status"], "seconds": result["seconds"], "what": table[name].says}
            for name, result in self.parts.items()
        ]
        lines += _table(overview)
        for name, result in self.parts.items():
            lines += ["", f"## {name}: {result['status']}", "", table[name].says, "", *_table(result["rows"])]
            if result["error"]:
                lines += ["", "```", result["error"].rstrip(), "```"]
        return "\n".join(lines) + "\n"


def _table(rows: list[Row]) -> list[str]:
    """Return rows of equal keys as a table; other keys begin another."""
    lines: list[str] = []
    keys: list[str] = []
    for row in rows:
        if list(row) != keys:
            keys = list(row)
            lines += ([""] if lines else []) + [f"| {' | '.join(keys)} |", f"|{' --- |' * len(keys)}"]
        lines.append(f"| {' | '.join(shown(value) for value in row.values())} |")
    return lines
