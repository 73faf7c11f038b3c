"""A page of headings, paragraphs, tables and figures, as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; }
body { max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2.2em 0 0.5em; }
h1 { margin-top: 0; }
h2 { border-top: 1px solid #ddd; padding-top: 1em; }
img { max-width: 100%; height: auto; }
figure { margin: 1.2em 0; }
figcaption, .note, details { font-size: 0.9em; }
figcaption { color: #555; max-width: 60rem; }
.note { border-left: 4px solid #e69f00; background: #fff8e8; margin: 1em 0; padding: 0.4em 0.9em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9em; font-variant-numeric: tabular-nums; margin: 0.8em 0; }
th, td { text-align: left; vertical-align: top; padding: 0.25em 1.1em 0.25em 0; border-bottom: 1px solid #e5e5e5; }
th { border-bottom-color: #888; }
td { white-space: nowrap; }
td:last-child { white-space: normal; min-width: 8rem; }
code { font-size: 0.88em; }
summary { cursor: pointer; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` between back quotes, nothing else is markup."""

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph that a reader must not miss."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells, folded away behind `summary` if there is one."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    summary: str | None = None


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the page."""

    file: str
    caption: str


Block = Heading | Text | Note | Table | Picture


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [[cell.replace("|", r"\|") for cell in row] for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_markdown(blocks: Sequence[Block]) -> str:
    """Return the page as Markdown; pictures are links to the files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def to_html(blocks: Sequence[Block], folder: Path) -> str:
    """Return the page as one HTML file; pictures are read from `folder` and become part of it."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    body = "\n".join(_html(block, folder) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Note):
        return f"> {block.text}"
    if isinstance(block, Picture):
        return f"![{block.caption.split('.')[0]}]({block.file})\n\n{block.caption}"
    table = markdown_table(block.header, block.rows)
    return table if block.summary is None else f"<details>\n<summary>{block.summary}</summary>\n\n{table}\n\n</details>"


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Note):
        return f'<p class="note">{_inline(block.text)}</p>'
    if isinstance(block, Picture):
        data = base64.b64encode((folder / block.file).read_bytes()).decode()
        caption = html.escape(block.caption)
        return f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    rows = [_row("th", block.header), *(_row("td", row) for row in block.rows)]
    table = f'<div class="scroll"><table>\n{"".join(rows)}</table></div>'
    return table if block.summary is None else f"<details><summary>{html.escape(block.summary)}</summary>{table}</details>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_inline(cell)}</{tag}>' for cell in cells)}</tr>\n"


def _inline(text: str) -> str:
    """Escape text, and set what stands between back quotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
