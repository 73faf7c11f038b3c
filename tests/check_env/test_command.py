"""The command `rpo-lightning check-env`."""

import sys

import pytest

from rpo_lightning.cli import main
from tests.check_env.subjects import SECTIONS
from tests.command_line import refused


def test_the_command_prints_every_section(folder, capsys):
    main(["check-env", "tests.toy.PointMass", "--num-envs", "4", "--horizon=2", "--pairs", "--options", '{"limit": 3.0}'])
    out, err = capsys.readouterr()
    assert out.startswith("tests.toy.PointMass: 4 environments, windows of 2 steps, cpu\n")
    for title in SECTIONS:
        assert f"\n{title}\n" in out
    assert "failed" not in out + err


def test_the_command_checks_a_class_of_the_users_folder_and_fails_with_1(folder, capsys, monkeypatch):
    (folder / "my_robot.py").write_text("from tests.check_env.test_gradients import DetachedReward as MyRobot\n")
    monkeypatch.delitem(sys.modules, "my_robot", raising=False)
    with pytest.raises(SystemExit) as stop:
        main(["check-env", "my_robot.MyRobot", "--num_envs", "4", "--horizon", "2"])
    out, err = capsys.readouterr()
    assert stop.value.code == 1
    assert err == ""
    assert "\n  failed: the reward: no gradient by the actions, which do change it" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["antt"], "no task is called 'antt'; did you mean 'ant'"),
        (["nowhere.MyRobot"], "task 'nowhere.MyRobot' cannot be imported: No module named 'nowhere'"),
        (["tests.toy.PointMas"], "tests.toy.PointMas"),
        ([], "env"),
        (["cartpole", "--num-env", "4"], "there is no option --num-env. Did you mean '--num-envs'?"),
        (["cartpole", "--num-envs", "1"], "num_envs must be at least 2, got 1"),
        (["cartpole", "--horizon", "1"], "horizon must be at least 2, got 1"),
        (["cartpole", "--options", '{"reward_form": "next"}'], "unknown option 'reward_form', did you mean 'reward_from'"),
        (["cartpole", "--options", "{bad"], "options"),
        (["cartpole", "--device", "cuda:63"], "device 'cuda:63'"),
    ],
)
def test_mistakes_on_the_command_line(arguments, named, folder, capsys):
    assert named in refused(capsys, "check-env", *arguments)


def test_debug_shows_the_traceback(folder, monkeypatch):
    monkeypatch.setenv("RPO_LIGHTNING_DEBUG", "1")
    with pytest.raises(AttributeError, match="missing"):
        main(["check-env", "tests.check_env.test_interface.Crashing"])
