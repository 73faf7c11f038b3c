"""The picture of a window: what it is drawn from is a window and its epochs."""

import draw_window
import torch


def test_the_first_epoch_is_on_policy_and_later_ones_have_moved(tmp_path):
    watch = draw_window.watched(1, tmp_path / "run")
    assert watch.batch.action_grad.abs().max() > 0
    assert len(watch.epochs) == 5
    first, last = watch.epochs[0], watch.epochs[-1]
    assert torch.equal(first.ratio, torch.ones_like(first.ratio))
    assert first.keep.all()
    for epoch in watch.epochs:  # regenerated samples are those of the rollout
        assert torch.allclose(epoch.sample, watch.batch.sample[..., 0], atol=1e-5)
    spreads = [float(epoch.ratio.std()) for epoch in watch.epochs]
    assert 0.0 == spreads[0] < spreads[1] < last.ratio.std()
    draw_window.draw(watch, tmp_path / "window.png")
    assert (tmp_path / "window.png").read_bytes().startswith(b"\x89PNG")
