"""What the tests of check-env look at, and how they read its reports."""

import torch

from rpo_lightning.check_env.subject import Subject
from tests.toy import PointMass, Step

N = 8
INTERFACE, REWARD, STABILITY, GRADIENTS, GROWTH, SPEED = SECTIONS = (
    "Interface", "Reward", "Stability", "Gradients against finite differences", "Gradient growth", "Speed",
)  # fmt: skip
OF_ROBOTS = ("Contact", "Joints")  # come third, of robots only


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
