"""Constants of a walking robot that are drawn: each moves it, critics see them, actors do not."""

import re
from pathlib import Path

import pytest
import torch
import yaml

import rpo_lightning
from rpo_lightning.envs.ant import Ant
from rpo_lightning.envs.legged.quadruped import Quadruped

RANGES = {
    "mass:base": {"scale": [0.7, 1.5]},
    "friction": [0.4, 1.2],
    "kp": [0.6, 1.4],
    "kv": [0.5, 2.0],
    "com:base": {"add": [[-0.05, -0.02, -0.02], [0.05, 0.02, 0.02]]},
    "gravity": {"add": [-0.5, 0.5]},
}
WIDTH = 1 + 1 + 1 + 1 + 3 + 3


def make(num_envs, **options):
    return Quadruped(num_envs, threads=1, noise=0.0, push=0.0, randomize=RANGES, observe_parameters=True, **options)


def test_each_constant_changes_the_motion():
    env = make(WIDTH + 1, stochastic_init=False)
    own = env._own
    changed = own.repeat(WIDTH + 1, 1)
    steps = {"mass:base": 3.0, "friction": -0.7, "kp": 0.3, "kv": 0.5, "com:base": 0.03, "gravity": 0.5}
    for name, columns in env.simulator.parameters.columns.items():
        for column in range(columns.start, columns.stop):
            changed[1 + column, column] += steps[name]
    env.parameters = changed
    qd = env.qd.clone()
    qd[:, 3:5] = 0.7  # feet that slide feel their friction
    env.set_state(env.q, qd)
    with torch.no_grad():
        for _ in range(10):
            env.step(torch.full((WIDTH + 1, 12), 0.2))
    assert not env.invalid.any()
    moved = (env.q[1:] - env.q[0]).abs().amax(1)
    assert (moved > 1e-4).all(), moved


def test_episodes_draw_them_and_the_critic_alone_sees_them():
    env = make(64)
    assert (env.obs_dim, env.privileged_dim) == (45, 69 + WIDTH)
    shown, columns = env.privileged[:, 69:], env.simulator.parameters.columns
    torch.testing.assert_close(shown, (env.parameters - env._own) / env.parameter_units)
    mass = env.parameters[:, columns["mass:base"]] / env._own[columns["mass:base"]]
    assert 0.7 <= mass.min() < 0.8
    assert 1.4 < mass.max() <= 1.5
    before = env.parameters.clone()
    env.reset(torch.arange(64) < 32)
    assert (env.parameters[:32] != before[:32]).any(1).all()
    assert torch.equal(env.parameters[32:], before[32:])
    names = [row.name for row in env.privileged_table()][69:]
    assert [names[0], names[3], names[4], names[-1]] == [
        "mass:base deviation", "kv deviation", "com:base x deviation", "gravity z deviation",
    ]  # fmt: skip


def test_starts_pushes_and_noise_differ_between_robots_and_can_be_switched_off():
    options = {"stochastic_init": False, "noise": 0.0, "push": 0.0, "standing": 0.0, "commands": ((0.5, 0.5),) * 3}
    same = Quadruped(8, threads=1, **options)
    for _ in range(3):
        step = same.step(torch.zeros(8, 12))
    assert torch.equal(step.obs, step.obs[:1].expand(8, -1))
    for change, seen in (
        ({"stochastic_init": True}, slice(9, 21)),
        ({"noise": 1.0}, slice(0, 6)),
        ({"push": 0.5, "push_seconds": 0.02}, slice(0, 6)),
        ({"commands": ((-1.0, 1.0),) * 3}, slice(6, 9)),
        ({"action_delay": [0, 2]}, slice(21, 33)),
    ):
        env = Quadruped(8, threads=1, **{**options, **change})
        for action in (0.5, 0.2, 0.0):
            step = env.step(torch.full((8, 12), action))
        assert (step.obs[:, seen].std(0) > 1e-4).all(), change


@pytest.mark.parametrize("name", ["mass:nothing", "kp:FL_elbow"])
def test_a_constant_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=name):
        Quadruped(1, threads=1, randomize={name: [0.9, 1.1]})


def test_the_page_shows_a_configuration_that_is_accepted():
    page = (Path(__file__).parents[3] / "docs/legged.md").read_text()
    (text,) = re.findall(r"```yaml\n(data:.*?)```", page, re.DOTALL)
    task = yaml.safe_load(text)["data"]["env"]
    assert task["init_args"]["randomize"] == RANGES
    env = rpo_lightning.make(task["name"], 2, threads=1, **task["init_args"])
    assert (env.obs_dim, env.privileged_dim) == (135, 69 + WIDTH)
    for name in env.weights:
        assert f"`{name}`" in page
    for name in (
        "phases",
        "stride",
        "duty",
        "swing",
        "noise_widths",
        *type(env).option_defaults().keys() - Ant.option_defaults().keys(),
    ):
        assert f"`{name}`" in page, name
