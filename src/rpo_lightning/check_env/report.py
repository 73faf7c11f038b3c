"""What a check found, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["Report", "Section", "Verdict"]


class Verdict(NamedTuple):
    """One thing found; `text` says what and, where something is wrong, what to do."""

    level: Literal["ok", "warning", "failed"]
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.text}"


@dataclass
class Section:
    """What one check found: rows of a table (the first is its head), verdicts, and the numbers behind them."""

    title: str
    table: list[tuple[str, ...]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    result: Any = None

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.table, strict=True)]
        rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in self.table]
        lines = [self.title, *(row.rstrip() for row in rows), *map(str, self.verdicts)]
        return "\n  ".join(lines)


@dataclass
class Report:
    """All sections of one environment."""

    sections: list[Section]

    @property
    def failed(self) -> bool:
        """Whether any verdict is a failure; warnings are none."""
        return any(verdict.level == "failed" for section in self.sections for verdict in section.verdicts)

    def __getitem__(self, title: str) -> Section:
        """Return the section of that title."""
        return next(section for section in self.sections if section.title == title)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.sections))
