"""The README's picture: which runs it draws, and where."""

import draw_learning_curves
import pytest
from matplotlib import pyplot as plt
from study.studies import PAPER

from tests.scripts.report_runs import write_run


def test_it_draws_the_longest_run_first_and_the_papers_level(tmp_path, monkeypatch):
    for task in draw_learning_curves.TASKS:
        write_run(tmp_path, task, "rpo", 0, 5000, steps=1_000_000, total=10_000_000)
        write_run(tmp_path, task, "rpo", 1, 7000, steps=10_000_000)
        write_run(tmp_path, task, "shac", 0, 6000, steps=10_000_000)
    drawn = {}
    monkeypatch.setattr(plt, "close", lambda figure: drawn.update({ax.get_title(): ax for ax in figure.axes}))
    draw_learning_curves.main(["--results", str(tmp_path), "--output", str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert list(drawn) == ["Hand Reorient", "Hopper", "Ant", "Anymal*", "Humanoid*", ""]  # the last holds the legend
    assert [ax.get_xlim() for ax in list(drawn.values())[:5]] == [(0, 4.1), (0, 20), (0, 10), (0, 10), (0, 10)]
    level, long, short = drawn["Ant"].lines
    assert level.get_ydata()[0] == PAPER["table1"]["ant"]["rpo"][0]
    assert [round(line.get_ydata()[-1]) for line in (long, short)] == [7000, 5000]
    assert [line.get_xdata()[-1] for line in (long, short)] == [10.0, 1.0]


def test_a_task_without_a_run_is_named(tmp_path, capsys):
    write_run(tmp_path, "ant", "rpo", 0, 7000)
    with pytest.raises(SystemExit):
        draw_learning_curves.main(["--results", str(tmp_path)])
    assert "no run of RPO on hand_reorient, hopper, anymal, humanoid" in capsys.readouterr().err
