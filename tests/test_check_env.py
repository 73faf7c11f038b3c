"""What `rpo-lightning check-env` finds, and that it finds nothing where nothing is wrong."""

import math
import sys

import pytest
import torch

from rpo_lightning.check_env import Section, check
from rpo_lightning.check_env.gradients import Comparison, compare
from rpo_lightning.check_env.growth import gradient_norms, growth_factor
from rpo_lightning.check_env.speed import first_use, measure
from rpo_lightning.check_env.stability import check_stability, roll_out, step_size_error
from rpo_lightning.check_env.subject import Subject, random_actions
from rpo_lightning.cli import main
from rpo_lightning.envs.hopper import Hopper
from tests.command_line import refused
from tests.toy import PointMass, Step

N = 8
INTERFACE, STABILITY, GRADIENTS, GROWTH, SPEED = SECTIONS = (
    "Interface", "Stability", "Gradients against finite differences", "Gradient growth", "Speed",
)  # fmt: skip
CONTACT = "Contact"  # comes second, of robots only


def complaints(report, title):
    """What is not ok in a section, as one text."""
    return "\n".join(str(verdict) for verdict in report[title].verdicts if verdict.level != "ok")


def subject(cls, **options):
    return Subject(cls, N, "cpu", 0, options)


def altered(name, **fields):
    """A point mass whose step returns something else in some fields."""

    def step(self, action):
        found = PointMass.step(self, action)
        return found._replace(**{field: change(self, found) for field, change in fields.items()})

    return type(name, (PointMass,), {"step": step})


class Linear(PointMass):
    """x' = growth * x + action, observed and rewarded; never ends."""

    obs_dim = 1
    growth = 1.2

    def _observe(self):
        return self.q

    def step(self, action):
        self.q = self.growth * self.q + action
        self.progress = self.progress + 1
        never = torch.zeros_like(self.invalid)
        return Step(self.q, self.q[:, 0], never, never, self.q)


class StiffHopper(Hopper):
    """Far too few substeps for its contact."""

    substeps = 1
    mass_matrix_interval = 1
    stiffer = 4

    @classmethod
    def load_robot(cls):
        model = super().load_robot()
        for contact in model.contacts:
            contact.ke *= cls.stiffer
        return model


class StiffestHopper(StiffHopper):
    """Throws itself into the sky."""

    stiffer = 64


@pytest.mark.parametrize("env", [PointMass, "tests.toy.PointMass", "hopper", "cartpole"])
def test_healthy_environments_pass(env):
    report = check(env, num_envs=16, horizon=8)
    assert not report.failed, str(report)
    robot = env in ("hopper", "cartpole")
    titles = tuple(section.title for section in report.sections)
    assert titles == (SECTIONS[:1] + (CONTACT,) * robot + SECTIONS[1:])
    assert not any(complaints(report, title) for title in titles)
    for steps, found in report[GRADIENTS].result.items():
        assert len(found.exact) == 16, steps
        assert found.error().median() < 1e-3


ColumnReward = altered("ColumnReward", reward=lambda env, step: step.reward[:, None])
FloatFlags = altered("FloatFlags", terminated=lambda env, step: step.terminated.float())
NotFinite = altered("NotFinite", reward=lambda env, step: step.reward / (torch.arange(env.num_envs) != 3))
Crashing = altered("Crashing", reward=lambda env, step: env.missing)


class NarrowObservation(PointMass):
    obs_dim = 4


class NumpyObservation(PointMass):
    def reset(self, mask=None):
        return super().reset(mask).numpy()


class NoDetach(PointMass):
    detach = property()


@pytest.mark.parametrize(
    ("cls", "options", "named"),
    [
        (ColumnReward, {}, "step().reward must be torch.float32 of shape (8,) on cpu, but is torch.float32 (8, 1) on cpu"),
        (FloatFlags, {}, "step().terminated must be torch.bool"),
        (NarrowObservation, {}, "of shape (8, 4) on cpu, but is torch.float32 (8, 3)"),
        (NumpyObservation, {"auto_reset": False}, "reset() must be a torch tensor, but is ndarray"),
        (NotFinite, {}, "step().reward is not finite in 1 of 8 environments"),
        (NoDetach, {}, "the environment lacks detach"),
        (Crashing, {}, "AttributeError: 'Crashing' object has no attribute 'missing'"),
        (PointMass, {"dtype": torch.float64}, "but is torch.float64"),
    ],
)
def test_wrong_shapes_end_the_check(cls, options, named):
    report = check(cls, N, 4, **options)
    assert report.failed
    assert named in complaints(report, INTERFACE)
    assert len(report.sections) == 1


class GlobalNoise(PointMass):
    def step(self, action):
        return super().step(action + 0.01 * torch.randn_like(action))


class Forgetful(PointMass):
    def state_dict(self):
        return super().state_dict() | {"generator": torch.Generator().get_state()}


class ResetsAll(PointMass):
    def reset(self, mask=None):
        return super().reset() if mask is None or mask.any() else super().reset(mask)


class KeepsGraph(PointMass):
    def detach(self):
        return self._observe()


@pytest.mark.parametrize(
    ("cls", "promise"),
    [
        (GlobalNoise, "the same seed gives the same bits"),
        (Forgetful, "load_state_dict continues to the bit"),
        (ResetsAll, "reset(mask) leaves the other environments alone"),
        (KeepsGraph, "detach cuts the graph"),
    ],
)
def test_a_broken_promise_is_named(cls, promise):
    found = complaints(check(cls, N, 2), INTERFACE)
    assert f"failed: not so: {promise}" in found
    if cls is not GlobalNoise:
        assert found.count("failed") == 1


def test_an_explosion_fails_and_names_a_joint():
    section = Section(STABILITY)
    check_stability(subject(StiffestHopper), section)
    text = "\n".join(map(str, section.verdicts))
    found = section.result["random"]
    assert found.exploded > 0
    assert 1 <= found.first <= found.steps == 300
    assert found.where in ("rootx", "rootz", "rooty", "thigh_joint", "leg_joint", "foot_joint")
    assert f"failed: {found.exploded} of 8 environments explode with random actions, the first at step {found.first}" in text
    assert f"{found.where} is fastest" in text


def test_too_few_substeps_are_a_warning():
    section = Section(STABILITY)
    check_stability(subject(StiffHopper), section)
    assert "warning: 16 steps with 1 and with 2 substeps lead apart" in str(section)
    assert "raise substeps" in str(section)


def test_explosions_are_counted_per_environment_and_the_first_is_named():
    class Fuse(Linear):
        """Environments 2 and 5 burn at steps 3 and 4, after going twice as fast as the others."""

        def __init__(self, num_envs):
            super().__init__(num_envs)
            self.qd = torch.ones(num_envs, 2)

        def step(self, action):
            step = super().step(action)
            speed = torch.ones(self.num_envs, 2)
            speed[[2, 5], 1] = 2.0
            burnt = torch.arange(self.num_envs) == {3: 2, 4: 5}.get(int(self.progress[0]), -1)
            self.qd = speed.masked_fill(burnt[:, None], torch.nan)
            return step._replace(terminated=(torch.arange(self.num_envs) < 6) & (self.progress == 5))

    env = Fuse(N)
    found = roll_out(env, torch.zeros(6, N, 1))
    assert (found.steps, found.exploded, found.first, found.where) == (6, 2, 3, "qd[1]")
    assert (found.terminated, found.after) == (0.75, 5)
    assert found.speed == "2 (qd[1])"


def test_a_robot_that_is_thrown_away_has_exploded():
    class Launched(Hopper):
        def random_start(self):
            q, qd = super().random_start()
            return q, qd.index_fill(1, torch.tensor([0]), 2e4)

    env = Launched(N)
    found = roll_out(env, torch.zeros(1, N, 3))
    assert not env.invalid.any()
    assert (found.exploded, found.first, found.where) == (N, 1, "rootx")


def test_the_step_size_error_is_that_of_halving_the_step():
    """A free fall of T steps of h by semi-implicit Euler ends h g T h / 2 too low: the error is known."""

    made = set()

    class Falling(Hopper):
        substeps = 1
        mass_matrix_interval = 1

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.add((self.substeps, self.mass_matrix_interval))

        def random_start(self):
            q, qd = super().random_start()
            return q * 0.0 + self.start_q.index_add(1, torch.tensor([1]), torch.full((self.num_envs, 1), 100.0)), qd * 0.0

        @classmethod
        def load_robot(cls):
            model = super().load_robot()
            for link in model.links:
                link.armature = link.damping = link.limit_kd = 0.0
            return model

        def step(self, action):
            return super().step(torch.zeros_like(action))

    error = step_size_error(subject(Falling))
    h, steps, before = 1 / 60, 16, 16
    time = steps * h
    fall = 9.81 * (before * h * time + 0.5 * time * (time + h / 2))
    expected = 9.81 * time * h / 4 / math.hypot(fall, 9.81 * time)
    torch.testing.assert_close(error, torch.full((N,), expected), rtol=2e-2, atol=0)
    assert made == {(1, 1), (2, 2)}


def test_episodes_that_end_at_once_are_a_warning():
    report = check(altered("Impatient", terminated=lambda env, step: torch.ones_like(env.invalid)), N, 4)
    assert "warning: with random actions most episodes end within 2 steps" in complaints(report, STABILITY)


class DetachedTerm(PointMass):
    """A twentieth of the reward's gradient is missing."""

    def step(self, action):
        before = self.q
        step = super().step(action)
        return step._replace(
            reward=step.reward + 0.05 * (before - before.detach()).square().sum(1) + 0.05 * before.detach()[:, 0]
        )


DetachedReward = altered("DetachedReward", reward=lambda env, step: step.reward.detach())
SparseReward = altered("SparseReward", reward=lambda env, step: (env.q.abs() < 0.5).float()[:, 0])


class DetachedObservation(PointMass):
    def _observe(self):
        return torch.cat([self.q, self.qd.detach(), self.q.sin()], -1)


class WrongBackward(PointMass):
    """The gradient of one observation is twice what it should be."""

    def _observe(self):
        return torch.cat([self.q, 2 * self.qd - self.qd.detach(), self.q.sin()], -1)


@pytest.mark.parametrize(
    ("cls", "named"),
    [
        (DetachedTerm, "failed: the reward: a wrong gradient"),
        (DetachedReward, "failed: the reward: no gradient by the actions, which do change it"),
        (SparseReward, "failed: the reward has no gradient"),
        (DetachedObservation, "failed: observation 1: no gradient by the actions, which do change it"),
        (WrongBackward, "failed: observation 1: a wrong gradient"),
    ],
)
def test_a_wrong_gradient_is_named(cls, named):
    report = check(cls, 32, 4)
    assert named in complaints(report, GRADIENTS), str(report)
    assert not complaints(report, INTERFACE) + complaints(report, STABILITY)


def test_a_flag_among_the_observations_is_no_mistake():
    class Flagged(PointMass):
        def _observe(self):
            return torch.cat([self.q, self.qd, (self.q > 0.0).to(self.q)], -1)

    assert not check(Flagged, 32, 4).failed


def test_derivatives_of_a_linear_environment_are_exact():
    env = Linear(N, auto_reset=False)
    actions, weights = random_actions(env, 5, 1), torch.ones(1, N, 2)
    found = compare(env, env.state_dict(), actions, weights, seed=2)
    direction = torch.randn(actions.shape, generator=torch.Generator().manual_seed(2))
    direction /= direction.norm(dim=0)
    # action t moves x_s, s > t, by growth^(s - t - 1); the return counts x_s with 0.99^(s - 1), the end x_5 once more
    slopes = [sum(0.99**s * 1.2 ** (s - t) for s in range(t, 5)) + 1.2 ** (4 - t) for t in range(5)]
    expected = (torch.tensor(slopes)[:, None] * direction[:, :, 0]).sum(0)
    torch.testing.assert_close(found.exact[:, 0].float(), expected)
    torch.testing.assert_close(found.measured[0, :, 0].float(), expected, rtol=1e-3, atol=1e-4)
    assert found.error().max() < 1e-3


def test_what_counts_as_an_error():
    exact, measured, scale = torch.zeros(3, 20, 4).double()
    # 0 right in one of two step sizes, 1 flips in one environment, 2 changes in a quarter of them, 3 is hidden by rounding
    exact[:, 0], scale[:, 0], measured[:, 0] = 1.0, 1.0, 1.01
    measured[3, 1] = 5.0
    measured[:5, 2] = 5.0
    measured[:, 3] = 1e-6
    worse = measured.clone()
    worse[:, 0] = 2.0
    found = Comparison(exact, torch.stack([worse, measured]), scale, torch.full_like(exact, 1e-5), nonfinite=0)
    error = found.error()
    torch.testing.assert_close(error[:, 0], torch.full((20,), 0.01 / 1.01).double())
    assert error[3, 1] == 1.0
    assert error[:, 3].max() <= 1e-3
    assert found.unconnected().tolist() == [False, True, True, True]
    assert found.visible().tolist() == [True, False, True, False]


def test_an_environment_that_works_in_place_does_not_change_the_start():
    class InPlace(Linear):
        def step(self, action):
            self.progress += 1
            return super().step(action)

    env = InPlace(N)
    start = env.state_dict()
    compare(env, start, random_actions(env, 2, 0), torch.ones(1, N, 2), 1)
    assert not start["progress"].any()


class SelfResetting(PointMass):
    """Has no option auto_reset; episodes of 10 steps, so that 4 are left after the first 16."""

    def __init__(self, num_envs, device="cpu", seed=0):
        super().__init__(num_envs, device, seed, episode_length=10, limit=100.0)


def test_environments_that_reset_themselves_are_compared_as_far_as_they_get():
    report = check(SelfResetting, 64, 8)
    found = report[GRADIENTS].result
    assert len(found[1].exact) == 64
    assert len(found[4].exact) == 64
    assert len(found[8].exact) == 0
    assert found[4].error().max() < 1e-2
    assert not report.failed
    assert "warning: no environment can be compared over 8 steps" in complaints(report, GRADIENTS)


def test_environments_without_gradients_are_not_asked_for_any():
    class Plain(DetachedReward):
        differentiable = False

    report = check(Plain, N, 4)
    assert not report.failed
    assert report[SPEED].result["timings"][0].backward is None


@pytest.mark.parametrize("growth", [0.9, 1.0, 1.2])
def test_growth_of_a_linear_environment_is_its_factor(growth):
    cls = type("Mine", (Linear,), {"growth": growth})
    report = check(cls, N, 12)
    found = report[GROWTH].result
    assert [horizon for horizon, _ in found] == [1, 2, 4, 8, 12]
    for horizon, norms in found:
        torch.testing.assert_close(norms, torch.full((N,), growth ** (horizon - 1)))
    text = f"per step the median changes by a factor of {growth:.3f}, the 90th percentile by {growth:.3f}"
    assert text in str(report[GROWTH])
    assert ("warning" in str(report[GROWTH])) == (growth == 1.2)
    assert not report.failed


def test_fitted_factor():
    assert growth_factor([1, 2, 4, 32], [3 * 1.1**h for h in (1, 2, 4, 32)]) == pytest.approx(1.1)
    assert growth_factor([1, 2, 4], [1.0, 4.0, math.inf]) == pytest.approx(4.0)
    assert math.isnan(growth_factor([1, 2], [0.0, 0.0]))


class InfiniteGradient(Linear):
    """From step 4 on, the root of what is zero is added to some: its gradient is infinite."""

    def step(self, action):
        step = super().step(action)
        zero = (self.q - self.q.detach()) * (torch.arange(self.num_envs) % 2)[:, None]
        return step if self.progress[0] % 16 < 4 else step._replace(final_obs=self.q + zero.abs().sqrt())


class RootOfZero(PointMass):
    """The classic: the derivative of a root at 0, here in half of the environments."""

    def step(self, action):
        found = super().step(action)
        half = torch.arange(self.num_envs) % 2
        return found._replace(reward=found.reward + (half * (action[:, 0] - action[:, 0].detach())).clamp(min=0).sqrt())


def test_a_reward_with_gradients_that_are_not_finite_fails():
    report = check(RootOfZero, num_envs=N, horizon=4)
    assert "failed: the gradient over 4 steps is not finite in 8 of 8" in complaints(report, GRADIENTS)
    assert not any(verdict.level == "ok" for verdict in report[GRADIENTS].verdicts)
    assert "explode" not in complaints(report, GRADIENTS)


class NoVelocity(PointMass):
    """A system without velocities."""

    def get_state(self):
        q, _, progress = super().get_state()
        return q, q[:, :0], progress


def test_an_environment_may_have_no_velocities():
    section = Section("Stability")
    check_stability(subject(NoVelocity), section)
    assert section.table[1][-1] == "-"


def test_gradients_that_are_not_finite_are_counted():
    env = InfiniteGradient(N)
    found = gradient_norms(env, env.state_dict(), random_actions(env, 8, 0), 1)
    assert [int((~norms.isfinite()).sum()) for _, norms in found] == [0, 0, N, N]
    report = check(InfiniteGradient, N, 8)
    assert "failed: 100% of the gradients are not finite" in complaints(report, GROWTH)
    assert "failed: the gradient over 4 steps is not finite in 8 of 8" in complaints(report, GRADIENTS)
    assert len(report[GRADIENTS].result[4].exact) == 0


def test_an_exploded_environment_is_left_out_of_the_gradients():
    env = Linear(N)
    env.invalid = torch.arange(N) == 2
    actions = random_actions(env, 2, 0)
    assert [len(norms) for _, norms in gradient_norms(env, env.state_dict(), actions, 1)] == [N - 1, N - 1]
    assert len(compare(env, env.state_dict(), actions, torch.ones(1, N, 2), 1).exact) == N - 1


def test_timing_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    timing = measure(subject(PointMass), 4, threads=before + 1)
    assert torch.get_num_threads() == before
    assert timing.forward > 0
    assert timing.backward > 0


@pytest.mark.parametrize("files", [{"a"}, {"a", "b"}])
def test_first_use_tells_whether_machine_code_is_new(files, monkeypatch):
    found = iter([{"a"}, files])
    monkeypatch.setattr("rpo_lightning.check_env.speed._machine_code", lambda: next(found))
    first = first_use(subject(PointMass))
    assert first.compiled == (files == {"a", "b"})
    assert first.seconds > 0


def test_the_command_prints_every_section(folder, capsys):
    main(["check-env", "tests.toy.PointMass", "--num-envs", "4", "--horizon=2", "--pairs", "--options", '{"limit": 3.0}'])
    out, err = capsys.readouterr()
    assert out.startswith("tests.toy.PointMass: 4 environments, windows of 2 steps, cpu\n")
    for title in SECTIONS:
        assert f"\n{title}\n" in out
    assert "failed" not in out + err


def test_the_command_checks_a_class_of_the_users_folder_and_fails_with_1(folder, capsys, monkeypatch):
    (folder / "my_robot.py").write_text("from tests.test_check_env import DetachedReward as MyRobot\n")
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
        main(["check-env", "tests.test_check_env.Crashing"])
