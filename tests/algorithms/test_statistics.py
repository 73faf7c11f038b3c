from types import SimpleNamespace

import torch
import torch.distributed as dist

from rpo_lightning.algorithms.statistics import EndedEpisodes, RecentEpisodes
from tests.algorithms.processes import run_ranks

NAN = float("nan")
# rank -> the returns and lengths of two windows of two steps and three environments
RETURNS = {
    0: [[[1.0, NAN, NAN], [NAN, 2.0, NAN]], [[NAN] * 3] * 2],
    1: [[[NAN] * 3] * 2, [[10.0, 20.0, NAN], [30.0, NAN, NAN]]],
}


def sums(rank):
    metric = EndedEpisodes()
    for window in RETURNS[rank]:
        returns = torch.tensor(window)
        metric.update(returns, 2 * returns)
    return metric.compute().tolist()


def sums_of_both():
    dist.init_process_group("gloo")
    return sums(dist.get_rank())


def test_only_ended_episodes_count():
    assert sums(0) == [3.0, 6.0, 2.0]
    assert sums(1) == [60.0, 120.0, 3.0]


def test_an_episode_of_unknown_return_counts_nowhere():
    metric = EndedEpisodes()
    metric.update(torch.tensor([[3.0, torch.nan, torch.nan]]), torch.tensor([[20.0, 20.0, torch.nan]]))
    assert metric.compute().tolist() == [3.0, 20.0, 1.0]


def window(returns, **terms):
    returns = torch.tensor([returns])
    return SimpleNamespace(
        reward=returns, episode_return=returns, episode_length=torch.where(returns.isnan(), NAN, 5.0),
        episode_terms={name: torch.tensor([values]) for name, values in terms.items()},
    )  # fmt: skip


def metrics(recent, batch):
    return recent.metrics(recent.sums(batch).tolist())


def test_terms_are_means_over_the_episodes_that_returns_are_means_of():
    recent = RecentEpisodes()
    assert metrics(recent, window([NAN, NAN], speed=[NAN, NAN])) == {}
    metrics(recent, window([3.0, NAN], speed=[2.0, NAN]))
    again = RecentEpisodes()
    again.load_state_dict(recent.state_dict())
    expected = {"train/return": 5.0, "train/episode_length": 5.0, "reward/speed": 3.0}
    for each in (recent, again):
        assert metrics(each, window([7.0, NAN], speed=[4.0, NAN])) == expected
    # a task that is paid for something else begins anew
    assert metrics(again, window([1.0, NAN], height=[0.5, NAN]))["reward/height"] == 0.5
    many = window([1.0] * 100, speed=[0.25] * 100)
    assert [metrics(recent, many)["reward/speed"] for _ in range(2)][-1] == 0.25  # the first windows are forgotten


def test_both_ranks_see_the_episodes_of_both():
    assert run_ranks(sums_of_both) == [[63.0, 126.0, 5.0]] * 2
