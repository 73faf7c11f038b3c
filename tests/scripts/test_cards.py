"""The cards beside recorded policies are those that the script writes."""

import json
import re
import shutil
from pathlib import Path

import pytest
from cards import ROOT, card
from make_pictures import POLICIES, command, figure

from rpo_lightning.cli import main
from rpo_lightning.pretrained import FILES
from tests.command_line import refused

FOLDERS = sorted(path.parent for path in (ROOT / "results").rglob("policy.pt"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_card_is_up_to_date(folder: Path):
    assert (folder / "README.md").read_text() == card(folder), "run python scripts/cards.py"


def test_a_card_says_what_the_record_does():
    text = card(ROOT / "results/ant/rpo/seed_0")
    for words in ("# rpo on ant, seed 0", "| return, deterministic | 8917.1 ± 19.7 over 128 episodes of 1000 steps |",
                  "| cost | 10 002 432 steps, 73 min on 2 cores AMD EPYC |", 'load_policy("ant")'):  # fmt: skip
        assert words in text
    row = "| return, sampled, with the reference's vectors about the world's origin | 7215.6 ± 1.87e+03 over 128 episodes of 622 steps |"
    assert row in card(ROOT / "results/humanoid/rpo/seed_0")
    assert "(walker.Walker)" in card(ROOT / "results/walker/rpo/seed_0")


def test_the_packages_policies_are_shown_in_small_films():
    shown = {}
    for name, run in FILES.items():
        folder = ROOT / "results" / run
        (path,) = re.findall(rf"!\[{name}\]\((.+)\)", card(folder))
        shown[name] = (folder / path).resolve()
    assert set(shown.values()) == set((ROOT / "docs/figures/policies").iterdir())
    assert max(film.stat().st_size for film in shown.values()) <= 150_000
    assert set(POLICIES.values()) == set(shown)
    for film, name in POLICIES.items():
        assert shown[name] == figure(film)
        assert f"--output={figure(film)}" in command(film)


def test_a_record_whose_options_are_gone_is_checked_away_from_them(folder, capsys):
    record = ROOT / "results/studies/budget_0.11/dmc/cartpole_swingup/reppo-cpu128/seed_0"
    assert "there is no option 'policy_gradient'" in refused(capsys, "validate", f"--ckpt_path={record}/policy.pt")
    lines = card(record).splitlines()
    copy = next(index for index, line in enumerate(lines) if line.startswith(f"cp {record.relative_to(ROOT)}/policy.pt"))
    shutil.copyfile(record / "policy.pt", "alone.pt")
    quick = "--trainer.callbacks+=Evaluation", "--trainer.callbacks.episodes=2", "--data.env.init_args.episode_length=20"
    main([*lines[copy + 1].split()[1:], *quick])
    assert json.loads(capsys.readouterr().out)["sampled"]["episodes"] == 2
