"""Random robots as MJCF text, with physical inertias, so that MuJoCo simulates them as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rpo_lightning.sim import Joint, Model, load_mjcf

JOINTS = {
    "free": "<freejoint/>",
    "hinge": '<joint type="hinge" axis="{axis}" pos="{pos}" damping="0.3" stiffness="4" springref="0.2" armature="0.02" {limits}/>',
    "slide": '<joint type="slide" axis="{axis}" pos="{pos}" damping="0.5" stiffness="9" springref="-0.1" armature="0.05" {limits}/>',
    "ball": '<joint type="ball" pos="{pos}" damping="0.2" armature="0.03"/>',
    "fixed": "",
    "two hinges": '<joint axis="{axis}" pos="{pos}" damping="0.3"/><joint axis="{pos}" pos="{axis}" damping="0.1"/>',
}


MOVING, GHOST = 'contype="0" conaffinity="1"', 'contype="0" conaffinity="0"'  # only the ground touches


def text(kinds: list[str], seed: int, ground: bool = False, limits: bool = False, gravity: str = "0 -9.81 0") -> str:
    """One body per kind; the first hangs on the world, each other on a random earlier one."""
    rng = np.random.default_rng(seed)

    def numbers(size: int, scale: float = 1.0) -> str:
        return " ".join(f"{x:.5f}" for x in rng.normal(size=size) * scale)

    children: dict[int, list[int]] = {i: [] for i in range(-1, len(kinds))}
    for body in range(len(kinds)):
        children[int(rng.integers(body)) if body else -1].append(body)

    def moves(body: int) -> bool:
        return body > 0 or kinds[0] != "fixed"

    def body_text(body: int) -> str:
        joint = JOINTS[kinds[body]].format(
            axis=numbers(3), pos=numbers(3, 0.1), limits='limited="true" range="-0.2 0.3"' if limits else ""
        )
        inertia = " ".join(f"{x:.5f}" for x in rng.uniform(0.02, 0.035, size=3))
        return f"""<body name="b{body}" pos="{numbers(3, 0.3)}" quat="{numbers(4)}">{joint}
          <inertial pos="{numbers(3, 0.1)}" quat="{numbers(4)}" mass="{rng.uniform(0.5, 2.0):.5f}" diaginertia="{inertia}"/>
          <geom type="capsule" fromto="0 0 0 {numbers(3, 0.2)}" size="0.05" {MOVING if moves(body) else GHOST}/>{"".join(map(body_text, children[body]))}</body>"""

    plane = '<geom type="plane" size="9 9 1" zaxis="0 1 0" conaffinity="0"/>' if ground else ""
    limit = '<numeric name="limit" data="200 2"/>' if limits else ""
    return f"""<mujoco><compiler angle="radian"/><option gravity="{gravity}"/>
      <custom><numeric name="contact" data="3000 500 30 0.7"/>{limit}</custom>
      <worldbody>{plane}{"".join(map(body_text, children[-1]))}</worldbody></mujoco>"""


def load(tmp_path: Path, xml: str) -> Model:
    path = tmp_path / "robot.xml"
    path.write_text(xml)
    return load_mjcf(path)


def state(model: Model, num_envs: int, seed: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random q with unit quaternions, qd and force, in double precision."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size: int) -> torch.Tensor:
        return scale * torch.randn(num_envs, size, generator=generator, dtype=torch.float64)

    q = 0.5 * normal(model.nq)
    for index, link in enumerate(model.links):
        at = model.coordinates(index)
        if link.joint is Joint.FREE:
            at = slice(at.start + 3, at.stop)
        if link.joint in (Joint.FREE, Joint.BALL):
            q[:, at] = torch.nn.functional.normalize(
                torch.randn(num_envs, 4, generator=generator, dtype=torch.float64), dim=1
            )
    return q, normal(model.nd), 3.0 * normal(model.nd)
