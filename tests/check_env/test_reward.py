"""What check-env shows of the reward."""

import torch

from rpo_lightning.check_env import Section
from rpo_lightning.check_env.reward import check_reward
from tests.check_env.subjects import subject
from tests.toy import PointMass


class Paid(PointMass):
    """Is paid 2 a step, and 4 in the first environment, of which half for nothing."""

    def step(self, action):
        step = super().step(action)
        half = torch.ones(self.num_envs)
        half[0] = 2.0
        return step._replace(reward=2 * half, reward_terms={"wage": half.clone(), "gift": half})


def test_the_mean_of_every_term_is_shown():
    section = Section("Reward")
    check_reward(subject(Paid), section)
    assert section.result == {"reward": 2.25, "wage": 1.125, "gift": 1.125}
    assert section.table == [
        ("", "mean of a step", "smallest", "largest"),
        ("reward", "2.25", "2", "4"),
        ("wage", "1.12", "1", "2"),
        ("gift", "1.12", "1", "2"),
    ]
    assert section.verdicts == []


def test_a_reward_without_names_is_shown_as_a_whole():
    section = Section("Reward")
    check_reward(subject(PointMass), section)
    assert list(section.result) == ["reward"]
