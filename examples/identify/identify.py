"""System identification: masses, damping and friction of a leg from a noisy recording, by gradient and without.

The recording is cut into short windows, all simulated at once, each from the state measured at its beginning. The constants
are sought with which they go where they were measured to go. As that state is measured with noise as well, the gradient can
seek the states too (multiple shooting): 192 unknowns more, which a search without gradients cannot afford.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.sim import Simulator, load_mjcf

TRUTH = {
    "mass:trunk": 3.6, "mass:hip": 0.95, "mass:knee": 0.75, "damping:hip": 0.35, "damping:knee": 0.12,
    "frictionloss:hip": 0.5, "frictionloss:knee": 0.3, "friction:knee": 0.45,
}  # fmt: skip
GUESS = dict(zip(TRUTH, (3.0, 1.2, 0.6, 0.2, 0.2, 0.2, 0.2, 0.7), strict=True))
DT, SUBSTEPS = 0.01, 8
NOISE = torch.tensor([0.0003] * 3 + [0.005] * 3)  # of a measured q [m, rad] and qd [m/s, rad/s], standard deviation
LEG = Path(__file__).parent / "leg.xml"


class Recording(NamedTuple):
    """States (T + 1, 6) as measured, q and qd, and the forces (T, 3) of the steps between them."""

    states: Tensor
    forces: Tensor


class Progress(NamedTuple):
    """Of one method.

    Attributes:
        simulations: of the whole recording, so far. errors: the worst relative error of a constant, likewise.
        values: (8,) in the end. seconds: of CPU.
    """

    simulations: list[int]
    errors: list[float]
    values: Tensor
    seconds: float

    def needed(self, error: float) -> int | None:
        """Return after how many simulations the error is below `error` for good, None if never."""
        above = [index for index, found in enumerate(self.errors) if found >= error]
        after = above[-1] + 1 if above else 0
        return self.simulations[after] if after < len(self.errors) else None


def simulator(num_envs: int) -> Simulator:
    """Return legs whose unknown constants are inputs."""
    return Simulator(load_mjcf(LEG), num_envs, DT, SUBSTEPS, 1, threads=1, parameters=tuple(TRUTH))


@torch.no_grad()
def record(steps: int, seed: int = 0) -> Recording:
    """Let the leg with the true constants follow a motion, and measure it with noise."""
    leg, truth = simulator(1), torch.tensor(list(TRUTH.values()))
    q = qd = torch.zeros(1, 3)
    states, forces = [torch.cat([q, qd], dim=1)], []
    for step in range(steps):
        t = 2.0 * math.pi * DT * step
        hip = 0.25 * math.sin(1.1 * t) + 0.15 * math.sin(2.3 * t)
        knee = 0.35 * math.sin(0.9 * t + 1.0) - 0.2 * math.cos(1.9 * t)
        motors = 80.0 * (torch.tensor([[hip, knee]]) - q[:, 1:]) - 3.0 * qd[:, 1:]
        force = torch.cat([torch.zeros(1, 1), motors.clamp(-40.0, 40.0)], dim=1)
        q, qd = leg.step(q, qd, force, None, truth)
        states.append(torch.cat([q, qd], dim=1))
        forces.append(force)
    exact = torch.cat(states)
    noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed))
    return Recording(exact + NOISE * noise, torch.cat(forces))


class Windows:
    """What a set of constants is worth: how far simulated windows of `length` steps are from the measured ones."""

    def __init__(self, recording: Recording, length: int) -> None:
        count = len(recording.forces) // length
        self.forces = recording.forces[: count * length].reshape(count, length, 3)
        self.starts = recording.states[: count * length : length]
        self.measured = recording.states[1 : count * length + 1].reshape(count, length, 6)
        self.leg, self.simulations = simulator(count), 0

    def misfit(self, values: Tensor, starts: Tensor | None = None) -> Tensor:
        """Return the mean square of what remains, in units of the noise; `values` (8,), `starts` (W, 6)."""
        self.simulations += 1
        starts = self.starts if starts is None else starts
        remains = [starts - self.starts, *(self.motion(values, starts) - self.measured).unbind(1)]
        return (torch.stack(remains) / NOISE).square().mean()

    def motion(self, values: Tensor, starts: Tensor | None = None) -> Tensor:
        """Return the states (W, length, 6) that windows go through; arguments as of `misfit`."""
        q, qd = (part.contiguous() for part in (self.starts if starts is None else starts).split(3, dim=1))
        states = []
        for force in self.forces.unbind(1):
            q, qd = self.leg.step(q, qd, force, None, values)
            states.append(torch.cat([q, qd], dim=1))
        return torch.stack(states, dim=1)


def worst_error(values: Tensor) -> float:
    """Return the largest relative error of a constant."""
    return (values / torch.tensor(list(TRUTH.values())) - 1.0).abs().max().item()


def by_gradient(windows: Windows, iterations: int, rate: float = 0.1, shooting: bool = True) -> Progress:
    """Adam on the logarithms of the constants; with `shooting` on the states that windows begin in as well."""
    began, before = time.process_time(), windows.simulations
    logs = torch.tensor(list(GUESS.values())).log().requires_grad_()
    offsets = torch.zeros_like(windows.starts).requires_grad_()  # in units of the noise
    groups = [{"params": [logs], "lr": rate}, *([{"params": [offsets], "lr": rate}] if shooting else [])]
    adam = torch.optim.Adam(groups, betas=(0.8, 0.95))
    simulations, errors = [], []
    for iteration in range(iterations):
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * iteration / iterations))
        adam.zero_grad()
        windows.misfit(logs.exp(), windows.starts + NOISE * offsets if shooting else None).backward()
        adam.step()
        simulations.append(windows.simulations - before)
        errors.append(worst_error(logs.detach().exp()))
    return Progress(simulations, errors, logs.detach().exp(), time.process_time() - began)


@torch.no_grad()
def without_gradient(windows: Windows, generations: int, seed: int = 0) -> Progress:
    """CMA-ES (Hansen, arXiv 1604.00772) on the logarithms of the constants."""
    began, before = time.process_time(), windows.simulations
    generator = np.random.default_rng(seed)
    mean, sigma, n = np.log(list(GUESS.values())), 0.3, len(GUESS)
    size = 4 + int(3 * math.log(n))
    weights = math.log(size / 2 + 0.5) - np.log(np.arange(1, size // 2 + 1))
    weights /= weights.sum()
    mass = 1.0 / (weights**2).sum()
    c_sigma, c_path = (mass + 2) / (n + mass + 5), (4 + mass / n) / (n + 4 + 2 * mass / n)
    c_one = 2 / ((n + 1.3) ** 2 + mass)
    c_mean = min(1 - c_one, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
    damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (n + 1)) - 1) + c_sigma
    usual = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    covariance, path, path_sigma = np.eye(n), np.zeros(n), np.zeros(n)
    simulations, errors = [], []
    for generation in range(generations):
        scales, axes = np.linalg.eigh(covariance)
        scales = np.sqrt(np.maximum(scales, 1e-20))
        steps = generator.standard_normal((size, n)) * scales @ axes.T
        costs = [windows.misfit(torch.tensor(np.exp(mean + sigma * s)).float()).item() for s in steps]
        best = steps[np.argsort(costs)[: len(weights)]]
        move = weights @ best
        mean = mean + sigma * move
        path_sigma = (1 - c_sigma) * path_sigma + math.sqrt(c_sigma * (2 - c_sigma) * mass) * axes @ (axes.T @ move / scales)
        length = np.linalg.norm(path_sigma) / math.sqrt(1 - (1 - c_sigma) ** (2 * generation + 2))
        growing = length < (1.4 + 2 / (n + 1)) * usual
        path = (1 - c_path) * path + growing * math.sqrt(c_path * (2 - c_path) * mass) * move
        spread = (best.T * weights) @ best
        covariance = (1 - c_one - c_mean) * covariance + c_one * np.outer(path, path) + c_mean * spread
        sigma *= math.exp(c_sigma / damping * (np.linalg.norm(path_sigma) / usual - 1))
        simulations.append(windows.simulations - before)
        errors.append(worst_error(torch.tensor(np.exp(mean)).float()))
    return Progress(simulations, errors, torch.tensor(np.exp(mean)).float(), time.process_time() - began)


def picture(path: Path, windows: Windows, found: dict[str, Progress]) -> None:
    """Draw how the error falls, and a joint as measured and as simulated with the guess and with what was found."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, progress in found.items():
        left.loglog(progress.simulations, progress.errors, label=name)
    left.set(xlabel="simulations of the recording", ylabel="worst relative error of a constant")
    left.legend()
    best = list(found.values())[-1].values
    length, time_step = windows.forces.shape[1], torch.arange(1, windows.forces.shape[1] + 1)
    shown = range(min(6, len(windows.starts)))
    for label, values, style in (("guess", torch.tensor(list(GUESS.values())), "C3--"), ("found", best, "C0-")):
        motion = windows.motion(values)
        for index in shown:
            t = DT * (index * length + time_step)
            right.plot(t, motion[index, :, 2], style, label=label if index == 0 else None)
    for index in shown:
        t = DT * (index * length + time_step)
        right.plot(t, windows.measured[index, :, 2], "k.", markersize=2, label="measured" if index == 0 else None)
    right.set(xlabel="time [s]", ylabel="knee [rad]")
    right.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Identify the leg, print what each method found and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=512, help="length of the recording, 100 a second")
    parser.add_argument("--window", type=int, default=16, help="steps of a window")
    parser.add_argument("--iterations", type=int, default=300, help="of Adam")
    parser.add_argument("--generations", type=int, default=200, help="of CMA-ES, 10 simulations each")
    parser.add_argument("--picture", type=Path, default=None, help="a file to draw into; needs matplotlib")
    given = parser.parse_args()
    windows = Windows(record(given.steps), given.window)
    windows.misfit(torch.tensor(list(GUESS.values())).requires_grad_()).backward()  # compiles
    found = {
        "CMA-ES": without_gradient(windows, given.generations),
        "gradient": by_gradient(windows, given.iterations, shooting=False),
        "gradient, starts too": by_gradient(windows, given.iterations),
    }
    print(f"{'':22}{'to 10 %':>9}{'to 5 %':>9}{'to 2 %':>9}{'in all':>9}{'error':>9}{'CPU s':>8}")
    for name, progress in found.items():
        needed = "".join(f"{progress.needed(error) or '-':>9}" for error in (0.1, 0.05, 0.02))
        print(f"{name:22}{needed}{progress.simulations[-1]:>9}{progress.errors[-1]:>9.1%}{progress.seconds:>8.1f}")
    print()
    print(f"{'':22}{'true':>9}{'guess':>9}" + "".join(f"{name:>22}" for name in found))
    for index, (name, true) in enumerate(TRUTH.items()):
        values = "".join(f"{progress.values[index].item():>22.4f}" for progress in found.values())
        print(f"{name:22}{true:>9.3f}{GUESS[name]:>9.3f}{values}")
    if given.picture is not None:
        picture(given.picture, windows, found)


if __name__ == "__main__":
    main()
