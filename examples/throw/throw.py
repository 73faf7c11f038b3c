"""Trajectory optimisation: an arm learns to throw a ball into baskets, its torques adjusted by the gradient of the miss.

Each copy of the arm has a basket of its own and open-loop actions of its own, all of which begin as the same clumsy swing.
The gradient passes the flight of the ball, its way out of the scoop, and the swing.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rpo_lightning.sim import Simulator, load_mjcf

DT, SUBSTEPS, STEPS = 0.01, 16, 100  # the ball is to be in the basket after one second
TORQUES = torch.tensor([30.0, 15.0])  # of actions of 1 [N m]
EFFORT = 0.01  # weight of the mean squared action beside the squared miss [m^2]
ARM = Path(__file__).parent / "throw.xml"


class Throws(NamedTuple):
    """What was found for N baskets.

    Attributes:
        actions: (STEPS, N, 2). misses: (I, N) after each iteration [m]. motion: (STEPS + 1, N, 4) of arm and ball.
        first: the motion of the swing that all began with. seconds: of CPU.
    """

    actions: Tensor
    misses: Tensor
    motion: Tensor
    first: Tensor
    seconds: float


def baskets(count: int, seed: int = 0) -> Tensor:
    """Return places (N, 2) of baskets, 1.5 to 3.5 m before the arm and 0.5 to 2 m high."""
    draws = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    return torch.tensor([1.5, 0.5]) + torch.tensor([2.0, 1.5]) * draws


def swing(count: int) -> Tensor:
    """Return the actions (STEPS, N, 2) of a swing that throws the ball somewhere."""
    actions = torch.zeros(STEPS, count, 2)
    actions[:30] = torch.tensor([0.5, 0.33])
    actions[30:50] = -0.5
    return actions


def throw(arm: Simulator, actions: Tensor) -> Tensor:
    """Return the motion (STEPS + 1, N, 4): angles of shoulder and elbow [rad], place of the ball [m]."""
    q = torch.tensor(arm.model.start, dtype=torch.float32).repeat(arm.num_envs, 1)
    qd, motion = torch.zeros(arm.num_envs, 4), [q]
    for action in actions:
        force = torch.cat([action * TORQUES, torch.zeros(arm.num_envs, 2)], dim=1)  # nothing pushes the ball
        q, qd = arm.step(q, qd, force)
        motion.append(q)
    return torch.stack(motion)


def optimise(targets: Tensor, iterations: int, rate: float = 0.02) -> Throws:
    """Adjust the actions of an arm for each basket by Adam; `targets` (N, 2) [m]."""
    began = time.process_time()
    arm = Simulator(load_mjcf(ARM), len(targets), DT, SUBSTEPS, 1, threads=1)
    inputs = swing(len(targets)).atanh().requires_grad_()  # through a tanh, so that they stay within [-1, 1]
    adam, misses, first = torch.optim.Adam([inputs], lr=rate), [], torch.zeros(0)
    for iteration in range(iterations + 1):
        actions = inputs.tanh()
        motion = throw(arm, actions)
        missed = (motion[-1, :, 2:] - targets).square().sum(1)
        misses.append(missed.detach().sqrt())
        first = motion.detach() if iteration == 0 else first
        if iteration == iterations:
            break
        (gradient,) = torch.autograd.grad((missed + EFFORT * actions.square().mean((0, 2))).sum(), inputs)
        size = gradient.square().sum((0, 2), keepdim=True).sqrt()
        inputs.grad = gradient / size.clamp(min=1.0)  # a throw that leaves the scoop askew has a steep slope
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * iteration / iterations))
        adam.step()
    return Throws(actions.detach(), torch.stack(misses), motion.detach(), first, time.process_time() - began)


def picture(path: Path, targets: Tensor, found: Throws) -> None:
    """Draw ways of the ball, before and after, with the arm at some moments of one throw; and how the misses fall."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=(3, 2))
    left.plot(*found.first[:, 0, 2:].T, "C3--", label="before")
    for index in range(len(targets)):
        left.plot(*found.motion[:, index, 2:].T, "C0-", linewidth=1, label="after" if index == 0 else None)
    left.plot(*targets.T, "ko", markersize=6, fillstyle="none", label="baskets")
    for q in found.motion[: STEPS // 2 : 8, 0]:
        elbow = torch.stack([-0.4 * q[0].cos(), 1.0 + 0.4 * q[0].sin()])
        hand = elbow + 0.5 * torch.stack([-(q[0] + q[1]).cos(), (q[0] + q[1]).sin()])
        left.plot(*torch.stack([torch.tensor([0.0, 1.0]), elbow, hand]).T, "0.6", linewidth=2)
    left.set(xlabel="[m]", ylabel="[m]", aspect="equal")
    left.legend(loc="lower left")
    right.semilogy(found.misses, "C0", linewidth=0.7, alpha=0.6)
    right.semilogy(found.misses.median(1).values, "k", label="median")
    right.set(xlabel="iteration", ylabel="miss [m]")
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Throw at random baskets, print the misses and draw the throws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baskets", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the baskets")
    parser.add_argument("--picture", type=Path, default=None, help="a file to draw into; needs matplotlib")
    given = parser.parse_args()
    targets = baskets(given.baskets, given.seed)
    found = optimise(targets, given.iterations)
    print("iteration  median miss  largest miss  within 5 cm")
    for iteration in sorted({0, *(given.iterations * i // 8 for i in range(1, 9))}):
        missed = found.misses[iteration]
        within = f"{int((missed < 0.05).sum())} of {len(missed)}"
        print(f"{iteration:9}{missed.median().item():11.3f} m{missed.max().item():12.3f} m{within:>13}")
    print(f"{found.seconds:.1f} s of CPU")
    if given.picture is not None:
        picture(given.picture, targets, found)


if __name__ == "__main__":
    main()
