"""Constants of a robot as tensors: drawn when an episode begins, kept by checkpoints, seen by critics, with gradients."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import rpo_lightning
from rpo_lightning.check_env.subject import load
from rpo_lightning.envs.cartpole import Cartpole
from rpo_lightning.envs.randomization import Randomization
from rpo_lightning.rollout import RolloutDataModule
from rpo_lightning.sim import Actuator, Contact, Joint, Link, Model, Parameters
from rpo_lightning.sim.parameters import KINDS
from tests.envs.legged.test_terrain import scene

N = 6
POLE, CART, GRAVITY = "mass:cart_to_pole", "damping:slider_to_cart", "gravity"
DRAWN = {POLE: [1.0, 4.0], CART: {"distribution": "log_uniform", "value": [0.1, 10.0]}, GRAVITY: {"scale": [0.9, 1.1]}}


def make(cls=Cartpole, num_envs=N, seed=1, **options):
    return rpo_lightning.make(cls, num_envs=num_envs, seed=seed, **{"threads": 1, "episode_length": 6, **options})


def actions(count, seed=0):
    return torch.rand(count, N, 1, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Named(Cartpole):
    """A cartpole whose constants are named, and as the file has them."""

    parameter_names = (POLE, CART, GRAVITY)


def test_each_episode_draws_its_own_and_keeps_it():
    env = make(randomize=DRAWN)
    assert env.simulator.parameters.names == (POLE, CART, GRAVITY)
    first = env.parameters.clone()
    assert len(first[:, 0].unique()) == N
    assert ((first[:, 0] >= 1.0) & (first[:, 0] < 4.0)).all()
    for action in actions(5):
        env.step(action)
        assert torch.equal(env.parameters, first)
    env.step(actions(1)[0])  # the time limit
    assert (env.parameters[:, :2] != first[:, :2]).all()
    second = env.parameters.clone()
    env.reset(torch.tensor([True, False, False, False, False, True]))
    assert (env.parameters != second)[:, 0].tolist() == [True, False, False, False, False, True]


def test_drawn_constants_move_the_robot():
    env, plain = make(randomize=DRAWN), make()
    for each in (env, plain):
        each.set_state(torch.zeros(N, 2), torch.zeros(N, 2))
    push = torch.full((N, 1), 0.1)
    env.step(push)
    plain.step(push)
    assert (env.qd[:, 0] != plain.qd[:, 0]).all()
    assert torch.equal(env.qd[:, 0].argsort(descending=True)[-1:], env.parameters[:, 0].argsort()[-1:])  # the heaviest


def test_without_it_nothing_changes():
    named, plain = make(Named), make()
    assert torch.equal(named.q, plain.q)  # naming draws nothing
    assert torch.equal(named.parameters, named.simulator.default_parameters().expand(N, -1))
    assert plain.parameters.shape == (N, 0)
    one, other = named.step(actions(1)[0]), plain.step(actions(1)[0])
    torch.testing.assert_close(one.obs, other.obs, rtol=1e-5, atol=1e-5)


def test_draws_are_of_the_seed():
    one, same, other = (make(randomize=DRAWN, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.parameters, same.parameters)
    assert not torch.equal(one.parameters, other.parameters)
    other.reset(torch.arange(N) == 0)  # so that some drawn with its own seed are left
    other.reseed(3)
    other.reset()
    assert torch.equal(one.parameters, other.parameters)


def test_a_resumed_environment_draws_the_same():
    env, resumed = (make(randomize=DRAWN, observe_parameters=True, seed=seed) for seed in (1, 2))
    env.progress = torch.arange(N)  # so that some draws are left in store
    for action in actions(4):
        env.step(action)
    resumed.load_state_dict(env.state_dict())
    for action in actions(15, seed=1):
        one, two = env.step(action), resumed.step(action)
        for name in ("obs", "reward", "privileged", "final_privileged"):
            assert torch.equal(getattr(one, name), getattr(two, name)), name
        assert torch.equal(env.parameters, resumed.parameters)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "cartpole: the state lacks starts.quantiles, starts.values"),
        ({"randomize": {POLE: [1.0, 4.0]}}, r"cartpole: parameters must have shape \(6, 5\), got \(6, 1\)"),
    ],
)
def test_a_state_of_other_parameters_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(randomize=DRAWN).load_state_dict(make(**options).state_dict())


def test_another_range_counts_from_the_next_episode_on_after_a_resume():
    env, wider = make(randomize=DRAWN), make(randomize={**DRAWN, POLE: [11.0, 14.0]})
    env.reset(torch.arange(N) == 0)
    left, kept = env._bank["quantiles"], env.parameters.clone()
    wider.load_state_dict(env.state_dict())
    assert torch.equal(wider.parameters, kept)
    wider.reset(torch.arange(N) < 2)
    torch.testing.assert_close(wider.parameters[:2, 0], 11.0 + 3.0 * left[:2, 0])
    assert torch.equal(wider.parameters[2:], kept[2:])


def test_they_can_be_set_and_gradients_reach_them():
    env = make(Named, auto_reset=False)
    start, given = env.state_dict(), actions(4)
    values = env.parameters * torch.linspace(0.8, 1.2, N)[:, None] + torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])

    def total(values):
        load(env, start)
        env.parameters = values
        env.detach()  # which leaves inputs alone
        return sum(env.step(action).obs[:, 4] for action in given)

    leaf = values.clone().requires_grad_()
    (grad,) = torch.autograd.grad(total(leaf).sum(), leaf)
    for column in (0, 1, 3):
        change = torch.zeros(5)
        change[column] = 0.03
        with torch.no_grad():
            slope = (total(values + change) - total(values - change)) / 0.06
        torch.testing.assert_close(grad[:, column], slope, rtol=2e-2, atol=2e-4)


def test_a_reset_keeps_what_is_set_and_not_drawn():
    class Half(Cartpole):
        parameter_names = (GRAVITY, CART, POLE)

    env = make(Half, randomize={POLE: DRAWN[POLE]})
    given = env.parameters.clone()
    given[:, 1], given[:, 4] = -1.62, 99.0
    env.parameters = given
    q, qd, _ = env.get_state()
    env.set_state(q, qd)
    assert torch.equal(env.parameters, given)
    env.reset(torch.arange(N) < 2)
    assert (env.parameters[:, 1] == -1.62).all()
    assert (env.parameters[:, 4] == 99.0).tolist() == [False] * 2 + [True] * 4
    with pytest.raises(ValueError, match=r"cartpole: parameters must be a float32 tensor of shape \(6, 5\)"):
        env.parameters = given[:, :2]


class Blind(Named):
    """The critic alone sees rates; the reward counts from the end of what can be seen."""

    obs_dim, privileged_dim = 3, 2

    def observe(self, q, qd, action):
        return super().observe(q, qd, action)[:, :3]

    def observe_privileged(self, q, qd, action):
        return qd

    def reward(self, obs, action):
        return -obs[:, -2].square()


def test_the_critic_sees_them_beside_what_the_task_shows_it():
    hidden, shown = make(Blind), make(Blind, observe_parameters=True)
    assert (hidden.privileged_dim, shown.privileged_dim) == (2, 7)
    values = shown.parameters.clone()
    values[:, 0] *= torch.linspace(0.5, 1.5, N)
    values[:, 1], values[:, 3] = 3.0, 0.0
    for env in (hidden, shown):
        env.parameters = values
    own = [shown.parameter_units[0], 1.0, 9.81, 9.81, 9.81]
    torch.testing.assert_close(shown.parameter_units, torch.tensor(own))
    expected = torch.zeros(N, 5)
    expected[:, 0], expected[:, 1], expected[:, 3] = torch.linspace(-0.5, 0.5, N), 3.0, 1.0
    torch.testing.assert_close(shown.privileged[:, 2:], expected - torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0]))
    one, other = hidden.step(actions(1)[0]), shown.step(actions(1)[0])
    assert torch.equal(one.reward, other.reward)
    assert torch.equal(one.final_privileged, other.final_privileged[:, :2])
    torch.testing.assert_close(other.final_privileged[:, 2:], expected)


def test_the_width_of_critics_is_known_before_anything_is_built():
    def width(**options):
        return RolloutDataModule({"name": "cartpole", "init_args": options}).privileged_dim

    assert width() == width(randomize=DRAWN) == width(observe_parameters=True) == 0
    assert width(randomize=DRAWN, observe_parameters=True) == 5
    assert RolloutDataModule(Blind).privileged_dim == 2


def robot():
    """A sphere on a slide with a servo."""
    slide = Link(
        name="slide",
        parent=-1,
        joint=Joint.PRISMATIC,
        axis=np.array([1.0, 0.0, 0.0]),
        mass=2.0,
        inertia=np.eye(3),
        damping=4.0,
    )
    servo = Actuator("servo", [(0, 1.0)], gain=10.0, bias=(0.0, -10.0, -1.0))
    contact = Contact(0, np.zeros(3), 0.1, 100.0, 10.0, 1.0, 0.5)
    return Model([slide], [contact], np.array([0.0, 0.0, -9.81]), np.array([0.0, 0.0, 1.0]), 0.0, [servo])


@pytest.mark.parametrize(
    ("name", "given", "quantiles"),
    [
        ("mass:slide", [1.0, 3.0], [1.0, 2.0, 3.0]),
        ("mass:slide", {"scale": [0.5, 1.5]}, [1.0, 2.0, 3.0]),
        ("mass:slide", {"add": [-1.0, 2.0]}, [1.0, 2.5, 4.0]),
        ("mass", [0.5, 1.5], [0.5, 1.0, 1.5]),
        ("ke:slide", {"distribution": "log_uniform", "value": [10, 1000]}, [10.0, 100.0, 1000.0]),
        ("ke:slide", {"distribution": "log_uniform", "scale": [0.1, 10]}, [10.0, 100.0, 1000.0]),
        ("damping:slide", {"distribution": "normal", "value": [5.0, 1.0]}, [2.0, 5.0, 8.0]),
        ("damping:slide", {"distribution": "normal", "scale": [1.0, 0.1]}, [2.8, 4.0, 5.2]),
        ("gain:servo", {"add": [-20.0, 0.0]}, [-10.0, 0.0, 10.0]),
    ],
)
def test_distributions_by_their_quantiles(name, given, quantiles):
    drawn = Randomization("task", {name: given}, Parameters(robot(), [name]))
    values = drawn.values(torch.tensor([[0.0], [0.5], [1.0]]))
    torch.testing.assert_close(values[:, 0], torch.tensor(quantiles), rtol=1e-5, atol=1e-5)


def test_a_normal_distribution_has_its_moments():
    drawn = Randomization("task", {"mass": {"distribution": "normal", "value": [2.0, 0.25]}}, Parameters(robot(), ["mass"]))
    values = drawn.values((torch.arange(100_000)[:, None] + 0.5) / 100_000)
    assert values.mean().item() == pytest.approx(2.0, abs=1e-3)
    assert values.std().item() == pytest.approx(0.25, rel=0.02)  # the ends are cut


def test_three_entries_have_one_range_or_one_each():
    names = ["gravity", "com:slide"]
    given = {"com:slide": {"add": [-0.1, 0.3]}, "gravity": [[0, 0, -10], [0, 0.5, -9]]}
    drawn = Randomization("task", given, Parameters(robot(), names))
    assert drawn.columns.tolist() == [3, 4, 5, 0, 1, 2]
    torch.testing.assert_close(drawn.values(torch.full((1, 6), 0.5)), torch.tensor([[0.1, 0.1, 0.1, 0.0, 0.25, -9.5]]))


@pytest.mark.parametrize(
    ("randomize", "message"),
    [
        ({"mass:pol": [1, 2]}, "parameters: 'mass:pol': no link 'pol' has any; choose from slider_to_cart, cart_to_pole"),
        ({"weight": [1, 2]}, "parameters: there is no kind 'weight'"),
        ([1, 2], r"cartpole: randomize must map names of parameters to \[low, high\], got \[1, 2\]"),
        ({"mass": [1.2, 0.8]}, "cartpole: randomize: mass: low 1.2 is above high 0.8"),
        ({"mass": 1.2}, "cartpole: randomize: mass: expected two numbers, got 1.2"),
        ({"mass": [1, 2, 3]}, r"cartpole: randomize: mass: expected two numbers, got \[1, 2, 3\]"),
        ({"mass": [1, "much"]}, "cartpole: randomize: mass: expected two numbers, got"),
        ({"mass": [1, math.inf]}, "cartpole: randomize: mass: the numbers must be finite"),
        ({"gravity": [[0, 0], [1, 1]]}, "cartpole: randomize: gravity: expected two numbers or two lists of three"),
        ({"mass": {"distribution": "gauss", "value": [1, 2]}}, "there is no distribution 'gauss', did you mean"),
        ({"mass": {"range": [1, 2]}}, r"give one of value, scale, add beside the distribution, got \['range'\]"),
        ({"mass": {"value": [1, 2], "add": [1, 2]}}, "give one of value, scale, add"),
        ({"mass": {"distribution": "log_uniform", "value": [0, 2]}}, "a log_uniform distribution begins above 0, not at 0"),
        ({"mass": {"distribution": "normal", "value": [1, -2]}}, "a standard deviation is not negative, got -2"),
        ({"mass": {"distribution": "normal", "value": [1, 0.5]}}, "mass must be above 0, but -0.5 can be drawn"),
        ({CART: [-1, 1]}, "damping must be 0 or more, but -1 can be drawn"),
        ({CART: {"scale": [1, 2]}}, "the robot's own is 0, which no scale changes; give a value"),
    ],
)
def test_wrong_distributions_are_one_line_at_construction(randomize, message):
    with pytest.raises(ValueError, match=message) as raised:
        make(randomize=randomize)
    assert "\n" not in str(raised.value)


def test_motors_whose_gain_is_a_parameter_push_as_before_and_have_gradients():
    class Geared(Cartpole):
        parameter_names = ("gain",)

    env, plain = make(Geared), make()
    assert (env.simulator.controls, plain.simulator.controls) == (1, 0)
    given = actions(2)
    for action in given:
        one, other = env.step(action), plain.step(action)
        torch.testing.assert_close(one.obs, other.obs, rtol=1e-5, atol=1e-5)
    still = torch.zeros(N, 2)
    for each in (env, plain):
        each.set_state(still, still)
    env.parameters = torch.linspace(0.5, 2.0, N)[:, None].requires_grad_()
    push = torch.full((N, 1), 0.001)
    speed = env.step(push).obs[:, 1]
    plain.step(push)
    torch.testing.assert_close(speed, torch.linspace(0.5, 2.0, N) * plain.qd[:, 0], rtol=1e-3, atol=1e-6)
    (grad,) = torch.autograd.grad(speed.sum(), env.parameters)
    torch.testing.assert_close(grad[:, 0], plain.qd[:, 0], rtol=1e-2, atol=1e-6)


def test_the_page_shows_a_configuration_that_is_accepted():
    page = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text()
    (block,) = re.findall(r"```text\n(data:\n.*?)```", page, re.DOTALL)
    shown = yaml.safe_load(block)["data"]["env"]
    env = rpo_lightning.make(shown["name"], num_envs=2, **shown["init_args"])
    names = ("mass", "mass:ankle_1", "friction", "com:root", "gain")
    assert env.simulator.parameters.names == names
    assert env.privileged.shape == (2, 7)
    assert all(f"`{kind}`" in page for kind in KINDS)


def test_height_fields_are_drawn_evenly():
    def drawn(given, draws):
        return Randomization("task", {"terrain": given}, Parameters(scene(), ["terrain"])).values(draws)[:, 0]

    draws = torch.linspace(0.0, 1.0, 1101, dtype=torch.float64)[:-1, None]
    assert drawn([2, 12], draws).unique(return_counts=True)[1].tolist() == [100] * 11
    assert drawn([2, 12], draws)[[0, -1]].tolist() == [2.0, 12.0]
    assert drawn([3, 3], draws).unique().tolist() == [3.0]
    for given in ([0, 2.5], {"distribution": "normal", "value": [3, 1]}, {"distribution": "log_uniform", "value": [1, 3]}):
        with pytest.raises(ValueError, match="two whole numbers"):
            drawn(given, draws)
