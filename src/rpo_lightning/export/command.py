"""The command line of export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rpo_lightning.cli.parser import FriendlyParser
from rpo_lightning.export.formats import SUFFIXES, export
from rpo_lightning.trained_policy import Policy, load_policy

__all__ = ["main"]


def main(arguments: list[str], description: str) -> str:
    """Write the file; return what is in it, in words.

    Raises:
        ValueError: for a policy that is not there or cannot be built, or a name that the format does not allow.
        ImportError: if what writes the format is not installed. SystemExit: 2 for an option that does not exist.
    """
    parser = FriendlyParser(prog="rpo-lightning export", description=description, allow_abbrev=False)
    parser.add_argument(
        "--ckpt_path", type=str, required=True, help="A policy.pt, a checkpoint, or a task with a pretrained policy."
    )
    parser.add_argument("--format", type=Literal[tuple(SUFFIXES)], default="onnx", help="What to write.")  # type: ignore[valid-type]
    parser.add_argument("--output", type=str | None, default=None, help="File to write; by default policy.onnx or so.")
    given = parser.parse_args(arguments)
    policy = load_policy(given.ckpt_path)
    path = Path(given.output or f"policy{SUFFIXES[given.format]}")
    export(policy, path, given.format)
    return summary(policy, path)


def summary(policy: Policy, path: Path) -> str:
    """Return what a file takes and gives, and how often."""
    told, memory = policy.metadata, f", state (N, {policy.state_size})" if policy.state_size else ""
    after = f", next_state (N, {policy.state_size})" if policy.state_size else ""
    past = f": the last {policy.history} observations, the newest first" if policy.history > 1 else ""
    units = "in the actuators' units" if told["control"] else "the same, for the task has not told its actuators' units"
    rate = f", every {1000.0 * told['dt']:.4g} ms" if told["dt"] else ""
    return (
        f"{path}: {told['algorithm']} on {told['task']} after {told['env_steps']} steps\n"
        f"takes obs (N, {policy.obs_dim}){memory}{past}\n"
        f"gives action (N, {policy.action_dim}) in [-1, 1], control (N, {policy.action_dim}) {units}{after}{rate}"
    )
