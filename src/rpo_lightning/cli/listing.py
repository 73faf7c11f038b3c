"""`rpo-lightning list`."""

from __future__ import annotations

from rpo_lightning import discovery, envs, pretrained, robots
from rpo_lightning.robots import public

__all__ = ["listing"]


def listing() -> str:
    """Return tasks, algorithms, callbacks, policies, robots of others and presets, a line each."""
    sections = {
        "Tasks (data.env)": {name: discovery.class_summary(envs.class_path(name)) for name in envs.names()},
        "Algorithms (model)": discovery.algorithms(),
        "Callbacks (trainer.callbacks)": discovery.callbacks(),
        "Policies (--ckpt_path, --init_from, load_policy)": {
            name: f"of results/{pretrained.FILES[name]}" for name in pretrained.names()
        },
        "Robots of others (describe, new-task --robot)": {
            f"{robots.PUBLIC}{name}": f"{robot.what}: {robot.origin}" for name, robot in public.ROBOTS.items()
        },
        "Presets (--config)": dict.fromkeys(discovery.presets(), ""),
        "Changes of a preset (a second --config)": discovery.overlays(),
    }
    lines = []
    for title, entries in sections.items():
        width = max(map(len, entries), default=0)
        lines += [title, *(f"  {name:{width}}  {text}".rstrip() for name, text in sorted(entries.items())), ""]
    return "\n".join(lines).rstrip()
