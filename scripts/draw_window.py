"""The paper's figure 2 from a real window: cached action-gradients, the ratio, and the samples that an epoch keeps.

    python scripts/draw_window.py --iteration 40

RPO trains on cartpole, whose action is one number, with its preset and seed 0 until the iteration that is drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback
from lightning.fabric import Fabric
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from study.figures import BLUE, ORANGE, tidy

from rpo_lightning.algorithms import RPO
from rpo_lightning.cli import RPOCLI
from rpo_lightning.fabric import FabricDriver
from rpo_lightning.losses import importance_ratio, inside_clip, regenerate
from rpo_lightning.rollout import RolloutBatch

ROOT = Path(__file__).resolve().parents[1]


class Epoch(NamedTuple):
    """What an actor epoch makes of one environment's window, (H,) each."""

    sample: torch.Tensor
    ratio: torch.Tensor
    keep: torch.Tensor


class Watch(Callback):
    """Notes the window of one iteration, and what each of its actor epochs makes of it."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        self.batch: RolloutBatch | None = None
        self.epochs: list[Epoch] = []

    def on_rollout_end(self, module: RPO, batch: RolloutBatch) -> None:
        """Note the window, and how its first epoch, with the policy that acted, sees it."""
        if module.iteration == self.iteration:
            self.batch, self.old = batch, module.policy(batch.obs).detach()
            self._note(module, batch)

    def on_actor_epoch_end(self, module: RPO, epoch: int, metrics: dict[str, Any]) -> None:
        """Note how the next epoch sees the window."""
        if module.iteration == self.iteration and epoch + 1 < module.actor_epochs:
            assert self.batch is not None
            self._note(module, self.batch)

    @torch.no_grad()
    def _note(self, module: RPO, batch: RolloutBatch) -> None:
        new = module.policy(batch.obs)
        ratio = importance_ratio(new, self.old, batch.sample)
        keep = inside_clip(ratio, module.clip_low, module.clip_high)
        self.epochs.append(Epoch(regenerate(new, batch.sample, source=new)[..., 0], ratio, keep))


def watched(iteration: int, folder: Path) -> Watch:
    """Train until an iteration, and return what was seen of it."""
    watch = Watch(iteration)
    options = ["--config", "cartpole.yaml", "--seed_everything=0", f"--trainer.default_root_dir={folder}"]
    cli = RPOCLI("validate", [*options, "--trainer.callbacks=NaNGuard", f"--data.iterations_per_epoch={iteration + 1}"])
    fabric = Fabric(accelerator="cpu", devices=1, callbacks=[watch])
    FabricDriver(fabric, cli.model, cli.datamodule, [watch], folder, max_epochs=1, check_val_every_n_epoch=None).fit()
    return watch


def draw(watch: Watch, path: Path) -> None:
    """Draw the environment of which the last epoch leaves out most."""
    batch = watch.batch
    assert batch is not None
    assert batch.action_grad is not None
    env = int((~watch.epochs[-1].keep).sum(0).argmax())
    steps, slope = torch.arange(len(batch.reward)), batch.action_grad[:, env, 0]
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained", sharey=True)
    titles = (
        "(a) one backward pass caches g = dR/du",
        "(b) first epoch: as they are, ratio 1",
        f"(c) epoch {len(watch.epochs)}: regenerated and weighted",
    )
    for ax, title in zip(axes, titles, strict=True):
        tidy(ax)
        ax.set_title(title, fontsize=11)
        ax.set_xlabel("step of the window")
    axes[0].set_ylabel("sample u, before the tanh")
    drawn = watch.epochs[0], watch.epochs[0], watch.epochs[-1]
    for ax, epoch in zip(axes, drawn, strict=True):
        _arrows(ax, steps, epoch, slope, env)
    axes[0].plot(steps, batch.sample[:, env, 0], color="0.6", linewidth=0.8, zorder=1)
    axes[2].plot([], [], "o", color=BLUE, label="size: ratio of new and old density")
    axes[2].plot([], [], "o", color=ORANGE, markerfacecolor="none", label="ratio outside the clip: left out")
    top, low = float(batch.sample[:, env].max()), float(batch.sample[:, env].min())
    axes[2].set_ylim(low - 0.1 * (top - low), top + 0.3 * (top - low))  # room for the legend
    axes[2].legend(frameon=False, fontsize=9, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _arrows(ax: Axes, steps: torch.Tensor, epoch: Epoch, slope: torch.Tensor, env: int) -> None:
    """Draw samples with their cached gradients, as an epoch uses them: size and length by the ratio, hollow if left out."""
    u, ratio, keep = epoch.sample[:, env], epoch.ratio[:, env], epoch.keep[:, env].bool()
    push = slope * ratio * keep
    # of the sign and the order of the gradient: some are a hundred times others
    length = push.sign() * (push.abs() / slope.abs().max()).sqrt() * 0.25 * float(u.max() - u.min())
    for flags, colour, face in ((keep, BLUE, BLUE), (~keep, ORANGE, "none")):
        ax.scatter(steps[flags], u[flags], s=26 * ratio[flags].clamp(0.1, 4.0), edgecolors=colour, facecolors=face, zorder=3)
    ax.quiver(
        steps, u, torch.zeros_like(u), length, color=BLUE, angles="xy", scale_units="xy", scale=1, width=0.004, zorder=2
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iteration", type=int, default=10, help="whose window is drawn (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs/window"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/figures/window.png", help="file to write")
    options = parser.parse_args(arguments)
    watch = watched(options.iteration, options.runs)
    kept = [float(epoch.keep.float().mean()) for epoch in watch.epochs]
    print(f"kept by epoch: {', '.join(f'{share:.1%}' for share in kept)}")
    draw(watch, options.output)
    print(options.output)


if __name__ == "__main__":
    main()
