"""The running normaliser against the statistics of everything it saw."""

import torch

from rpo_lightning.nn import RunningNormalizer


def test_updates_merge_to_the_statistics_of_all_data() -> None:
    generator = torch.Generator().manual_seed(0)
    normalizer = RunningNormalizer(3)
    mean, var, count = torch.zeros(3).double(), torch.ones(3).double(), 1.0
    for _ in range(4):
        data = 5 + 2 * torch.randn(6, 50, 3, generator=generator)
        normalizer.update(data)
        rows = data.flatten(0, 1).double()
        shift, total = rows.mean(0) - mean, count + len(rows)
        var = (var * count + rows.var(0) * len(rows) + shift**2 * count * len(rows) / total) / total
        mean, count = mean + shift * len(rows) / total, total
    torch.testing.assert_close(normalizer.mean, mean)
    torch.testing.assert_close(normalizer.var, var)
    assert float(normalizer.count) == count == 1201


def test_forward_normalises_in_float32_changes_nothing_and_passes_gradient() -> None:
    normalizer = RunningNormalizer(3)
    normalizer.update(2 + 3 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)))
    before = {name: value.clone() for name, value in normalizer.state_dict().items()}
    obs = torch.randn(7, 3, requires_grad=True)
    x = normalizer(obs)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.double(), (obs - normalizer.mean) / (normalizer.var + 1e-5).sqrt(), atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(x.sum(), obs)
    torch.testing.assert_close(gradient[0], (normalizer.var + 1e-5).rsqrt().float())
    assert all(torch.equal(before[name], value) for name, value in normalizer.state_dict().items())


def test_statistics_survive_a_state_dict_in_double() -> None:
    normalizer = RunningNormalizer(2)
    normalizer.update(torch.randn(10, 2))
    other = RunningNormalizer(2)
    other.load_state_dict(normalizer.state_dict())
    assert other.mean.dtype == torch.float64
    assert torch.equal(other.var, normalizer.var)


def test_a_limit_clamps_and_the_inverse_undoes_what_is_within_it() -> None:
    normalizer = RunningNormalizer(3, limit=5.0)
    normalizer.update(2 + 3 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)))
    obs = torch.tensor([[2.0, -1.0, 5.0], [1e3, -1e3, 2.0]])
    x = normalizer(obs)
    assert x[1].tolist() == [5.0, -5.0, x[1, 2]]
    assert float(x[0].abs().max()) < 2.0
    torch.testing.assert_close(normalizer.inverse(x[0]), obs[0])
    edge = normalizer.mean + 5.0 * (normalizer.var + 1e-5).sqrt()
    torch.testing.assert_close(float(normalizer.inverse(x)[1, 0]), float(edge[0]))
