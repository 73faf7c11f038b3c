"""Numbers on the pages are those of the files of results/."""

import re

import pytest

from tests.measured_claims import CLAIMS
from tests.recorded import ROOT
from tests.unclaimed_tables import UNCLAIMED


def flat(text):
    """Without line breaks, of which prose has some."""
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.parametrize("claims", CLAIMS, ids=lambda claims: claims.__name__)
def test_what_was_measured_stands_on_the_page(claims):
    missing = [f"{page}: {text}" for page, text in claims() if flat(text) not in flat((ROOT / page).read_text())]
    assert not missing, "\n".join(missing)


def tables(text):
    """Every table of a page, as its rows; blocks of code have none."""
    shown = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [table.strip().splitlines() for table in re.findall(r"(?:^\|.*\n)+", shown, re.MULTILINE)]


def unclaimed(row, pieces):
    """The cells of a row but its first, without what is claimed."""
    text = flat(row)
    for piece in pieces:
        text = text.replace(piece, "|" * piece.count("|"))
    return text.split("|")[2:]


def test_every_table_with_numbers_is_claimed_or_said_to_be_none_of_ours():
    pieces = {}
    for claims in CLAIMS:
        for page, text in claims():
            pieces.setdefault(page, []).extend(filter(None, map(flat, text.splitlines())))
    open_tables = set()
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        page = path.relative_to(ROOT).as_posix()
        own = sorted(pieces.get(page, []), key=len, reverse=True)
        for head, _, *rows in tables(path.read_text()):
            if any(re.search(r"\d", cell) for row in rows for cell in unclaimed(row, own)):
                open_tables.add((page, flat(head)))
    known = {(page, head) for reasons in UNCLAIMED.values() for page, heads in reasons.items() for head in heads}
    assert open_tables == known
