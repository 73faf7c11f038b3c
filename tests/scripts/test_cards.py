"""The cards beside recorded policies are those that the script writes."""

from pathlib import Path

import pytest
from cards import ROOT, card

FOLDERS = sorted(path.parent for path in (ROOT / "results").rglob("policy.pt"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_card_is_up_to_date(folder: Path):
    assert (folder / "README.md").read_text() == card(folder), "run python scripts/cards.py"


def test_a_card_says_what_the_record_does():
    text = card(ROOT / "results/ant/rpo/seed_0")
    for words in ("# rpo on ant, seed 0", "| return, deterministic | 8917.1 ± 19.7 over 128 episodes of 1000 steps |",
                  "| cost | 10 002 432 steps, 73 min on 2 cores AMD EPYC |", 'load_policy("ant")'):  # fmt: skip
        assert words in text
    assert "(walker.Walker)" in card(ROOT / "results/walker/rpo/seed_0")
