"""Which environments explode, and how far their steps are from halved ones."""

import math

import torch

from rpo_lightning.check_env import Section, check
from rpo_lightning.check_env.contact import check_contact
from rpo_lightning.check_env.stability import check_stability, interval_error, roll_out, step_size_error
from rpo_lightning.envs.ant import Ant
from rpo_lightning.envs.hopper import Hopper
from tests.check_env.subjects import STABILITY, Linear, N, altered, complaints, subject


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


class DampedHopper(Hopper):
    """A damper, taken explicitly, that is far too strong for its foot; contact has nothing to do with it."""

    substeps = 2
    mass_matrix_interval = 2

    @classmethod
    def load_robot(cls):
        model = super().load_robot()
        model.links[-1].damping, model.links[-1].armature, model.contacts = 3000.0, 0.0, []
        return model


def test_an_explosion_is_blamed_on_what_is_too_steep():
    section = Section(STABILITY)
    check_stability(subject(DampedHopper), section)
    assert section.result["random"].exploded > 0
    assert "damping 3010 of joint foot_joint is too steep" in str(section)
    assert "or raise substeps to" in str(section)


def test_a_robot_that_falls_for_ever_is_told_so():
    class Ghost(Ant):
        @classmethod
        def load_robot(cls):
            model = super().load_robot()
            model.contacts = []
            return model

    section = Section("Contact")
    check_contact(subject(Ghost), False, section)
    assert "warning: nothing of the robot can touch anything fixed, so it falls for ever" in str(section)


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


def test_a_kept_mass_matrix_is_measured_against_one_of_each_substep():
    kept, right = interval_error(subject(Ant)), interval_error(subject(Ant, physics="right"))
    assert kept.median() > 5.0 * right.median() > 0.0
    assert not interval_error(subject(StiffHopper)).any()  # which keeps nothing
    section = Section(STABILITY)
    check_stability(subject(Ant), section)
    assert "a mass matrix kept for 16 substeps leads apart from one of each by" in str(section)
