"""The command line of check-env."""

from __future__ import annotations

from rpo_lightning.check_env import Report, sections
from rpo_lightning.cli.parser import FriendlyParser

__all__ = ["main"]


def main(arguments: list[str], description: str) -> int:
    """Print what is found, section by section; return the exit status, 1 if anything failed.

    Raises:
        ValueError: for an unknown environment or a bad value. TypeError: for an unknown option of the environment.
        SystemExit: 2 for an unknown option of the command, told in one line.
    """
    parser = FriendlyParser(prog="rpo-lightning check-env", description=description, allow_abbrev=False)
    parser.add_argument("env", type=str, help="A task, or a class path such as my_robot.MyRobot.")
    parser.add_argument("--num_envs", "--num-envs", type=int, default=64, help="Number of environments.")
    parser.add_argument("--horizon", type=int, default=32, help="Longest window that is differentiated.")
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda[:k].")
    parser.add_argument("--seed", type=int, default=0, help="Seed of starts, actions and directions.")
    parser.add_argument("--pairs", action="store_true", help="Name all shapes that touch each other, also if they are many.")
    parser.add_argument("--options", type=dict, default={}, help='Of the environment: {"reward_from": "next"}.')
    given = parser.parse_args(arguments)
    report = Report([])
    checked = given.env, given.num_envs, given.horizon, given.device, given.seed, given.pairs
    for section in sections(*checked, **given.options):
        if not report.sections:
            print(f"{given.env}: {given.num_envs} environments, windows of {given.horizon} steps, {given.device}")
        print(f"\n{section}", flush=True)
        report.sections.append(section)
    return int(report.failed)
