"""Write a card beside every recorded policy, `results/**/README.md`, from its summary.json and policy.pt."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from rpo_lightning.pretrained import FILES

ROOT = Path(__file__).resolve().parents[1]


def card(folder: Path) -> str:
    """Return the card of the run recorded in `folder`."""
    summary = json.loads((folder / "summary.json").read_text())
    policy = torch.load(folder / "policy.pt", weights_only=True)
    where, evaluations = folder.relative_to(ROOT).as_posix(), summary["eval"]
    task, env = summary["task"], policy["env"]
    options = yaml.safe_load((folder / "config.yaml").read_text())["model"]["init_args"]
    gone = sorted(options.keys() - policy["model"]["init_args"].keys())
    validate = "rpo-lightning validate --ckpt_path {}/policy.pt"
    if gone:
        # away from its config.yaml the file speaks for itself
        stale = f"  # its config.yaml names what is no longer an option: {', '.join(gone)}"
        validate = f"cp {{}}/policy.pt alone.pt{stale}\nrpo-lightning validate --ckpt_path alone.pt"
    name = next((name for name, run in FILES.items() if where == f"results/{run}"), None)
    own = f", a class of its own ({env['name']}) in `examples/{task}`" if env["name"] != task else ""
    here = f"../../{where}" if own else where
    film = ROOT / "docs" / "figures" / "policies" / f"{(name or '').replace('/', '_')}.gif"
    shown = [f"![{name}]({_up(folder)}{film.relative_to(ROOT).as_posix()})", ""] if film.is_file() else []
    minutes, milliseconds = summary["wall_clock_s"] / 60.0, 1000.0 * policy["dt"]
    rows = [
        *(f"| return, {kind} | {_return(found)} |" for kind, found in evaluations.items()),
        *_validated(folder),
        *_physics(folder),
        *_walking(folder),
        *_tracking(folder),
        f"| cost | {_spaced(summary['env_steps'])} steps, {minutes:.0f} min{_processors(summary)} on {summary['machine']} |",
        f"| commit | `{summary['commit']}` |",
        f"| trained by | `{summary['command']}` |",
        f"| observations, actions | {policy['obs_dim']}, {policy['action_dim']}; one action every {milliseconds:.4g} ms |",
        *([f'| in Python | `rpo_lightning.load_policy("{name}")` |'] if name else []),
    ]
    return "\n".join(
        [
            f"# {summary['algorithm']} on {task}, seed {summary['seed']}",
            "",
            f"Of the task `{task}`{own}. [To the robot]({_up(folder)}docs/deploy.md) says what `policy.pt` holds and",
            "how it is used; `python scripts/cards.py` writes this card. Figures are those of the commit below: the engine",
            "has changed since, and may give others, unless a row says what a later one gives.",
            "",
            *shown,
            "| | |",
            "| --- | --- |",
            *rows,
            "",
            "```text",
            *([f"cd examples/{task}"] if own else []),
            validate.format(here),
            f"rpo-lightning play --ckpt_path {here}/policy.pt",
            f"rpo-lightning export --ckpt_path {here}/policy.pt --output policy.onnx",
            f"rpo-lightning fit --config ... --init_from {here}/policy.pt",
            "```",
            "",
        ]
    )


def _validated(folder: Path) -> list[str]:
    """Return rows of what `scripts/validate_policies.py` has found later, if it has."""
    if not (file := folder / "validated.json").exists():
        return []
    later = json.loads(file.read_text())
    code = later["commit"][:7]
    return [f"| return, {kind}, with the code of `{code}` | {_return(found)} |" for kind, found in later["eval"].items()]


def _physics(folder: Path) -> list[str]:
    """Return rows of what `scripts/validate_physics.py` has found under other physics than the training's, if it has."""
    if not (file := folder / "physics.json").exists():
        return []
    names = {"world": "with the reference's vectors about the world's origin", "exact": "under exact physics"}
    found = json.loads(file.read_text())["eval"]
    return [
        f"| return, {kind}, {text} | {_return(evaluation)} |"
        for name, text in names.items()
        for kind, evaluation in found[name].items()
    ]


def _walking(folder: Path) -> list[str]:
    """Return rows of what `scripts/evaluate_velocity.py` has measured, if it has."""
    if not (file := folder / "walking.json").exists():
        return []
    found = json.loads(file.read_text())
    off = "{:.2f} m/s and {:.2f} rad/s".format(found["velocity_error"], found["turning_error"])
    settled = "{:.2f} and {:.2f}".format(found["velocity_error_settled"], found["turning_error_settled"])
    return [
        f"| off from the command by | {off}; {settled} without the first second of each |",
        f"| falls | {found['falls']} of {found['episodes']} episodes |",
        f"| feet slide, actions change | at {found['sliding']:.2f} m/s, by {found['action_change']:.2f} rad a step |",
    ]


def _tracking(folder: Path) -> list[str]:
    """Return a row of what `scripts/evaluate_tracking.py` has measured, if it has."""
    if not (file := folder / "tracking.json").exists():
        return []
    found = json.loads(file.read_text())
    kept = found["episodes"] - found["failed"]
    return [f"| from its target | {1e3 * found['distance']:.0f} mm, the mean over {kept} of {found['episodes']} episodes |"]


def _return(found: dict[str, Any]) -> str:
    return f"{found['mean']:.5g} ± {found['std']:.3g} over {found['episodes']} episodes of {found['length']:.0f} steps"


def _processors(summary: dict[str, Any]) -> str:
    """Return the processors' time of a run that counted it."""
    seconds = summary.get("cpu_s")
    return "" if seconds is None else f", {seconds / 60.0:.1f} of a processor's,"


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _up(folder: Path) -> str:
    return "../" * len(folder.relative_to(ROOT).parts)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for policy in sorted((ROOT / "results").rglob("policy.pt")):
        (policy.parent / "README.md").write_text(card(policy.parent))
        print(policy.parent.relative_to(ROOT) / "README.md")


if __name__ == "__main__":
    main()
