"""Random streams: one for each use, run and process."""

import torch

from rpo_lightning.rollout import Collector
from rpo_lightning.seeding import normal, permutation, run_seeds
from tests.algorithms.drivers import make_data, make_rpo
from tests.toy import PointMass


def test_no_seed_of_any_run_or_rank_is_another_s() -> None:
    seeds = [seed for run in (0, 1, 1000, 2000, 2001) for rank in range(4) for seed in run_seeds(run, rank)]
    assert len(set(seeds)) == len(seeds) == 40
    assert run_seeds(3, 1) == run_seeds(3, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_starts_and_noise_do_not_share_a_stream() -> None:
    data = make_data(1, seed=5)
    data.attach(make_rpo()).setup("fit")
    starts = torch.Generator().manual_seed(run_seeds(5, 0).env)
    assert torch.equal(
        data.collector.env.generator.get_state(), PointMass(8, seed=run_seeds(5, 0).env).generator.get_state()
    )
    assert not torch.equal(data.collector.generator.get_state(), starts.get_state())


def test_draws_come_from_the_generator_in_the_wanted_dtype() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    first = normal((3, 2), torch.Generator().manual_seed(1), like)
    assert torch.equal(first, torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    order = permutation(50, torch.Generator().manual_seed(2), torch.device("cpu"))
    assert sorted(order.tolist()) == list(range(50)) != order.tolist()


def test_an_environment_that_seeds_the_global_generator_does_not_seed_the_networks() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        data = make_data(1, seed=seed)
        data.env = Reseeding
        module = make_rpo_without_seed()
        data.attach(module).setup("fit")
        before = torch.get_rng_state()
        data.make_env(2, 0)
        assert torch.equal(before, torch.get_rng_state())
        return torch.rand(4)

    assert not torch.equal(weights(1), weights(2))


class Reseeding(PointMass):
    """A point whose constructor seeds torch's global generator."""

    def __init__(self, *args: object, **options: object) -> None:
        torch.manual_seed(0)
        super().__init__(*args, **options)  # type: ignore[arg-type]


def make_rpo_without_seed() -> object:
    """Return a module with whatever the global generator gives."""
    from rpo_lightning.algorithms import RPO

    return RPO(3, 1, 4096, hidden=(4,))


def test_collectors_of_the_same_seed_draw_the_same_noise() -> None:
    module = make_rpo()
    first, second = (Collector(PointMass(4, seed=env), 3, seed=1).generator.get_state() for env in (1, 2))
    assert torch.equal(first, second)
    assert module.state_size == 0
