"""Two bodies and the shapes on them, for every pair of kinds that can touch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from rpo_lightning.sim import Geom, Joint, Link, Model, Pair, kinematics, pairs
from rpo_lightning.sim.algebra import rotation
from rpo_lightning.sim.pairs.shapes import Body, Spot
from rpo_lightning.sim.pairs.wrenches import Table, pair_shapes, tables

SIZES = {
    "sphere": (0.15, 0.0, 0.0),
    "capsule": (0.1, 0.25, 0.0),
    "box": (0.2, 0.15, 0.25),
    "cylinder": (0.15, 0.2, 0.0),
    "ellipsoid": (0.1, 0.2, 0.15),
    "plane": (0.0, 0.0, 0.0),
    "hfield": (1.5, 2.0, 0.0),
}
FIXED = ("plane", "hfield")


def scene(first: str, second: str, seed: int, **changes: object) -> Model:
    """A body with the first shape on a chain of a free and a hinged link, and the second shape, free or fixed in the world."""
    rng = np.random.default_rng(seed)

    def quaternion(scale: float = 1.0) -> np.ndarray:
        quat = np.array([0.0, 0.0, 0.0, 1.0]) + scale * rng.normal(size=4)
        return quat / np.linalg.norm(quat)

    def link(name: str, parent: int, joint: Joint) -> Link:
        inertia = np.diag(rng.uniform(0.02, 0.04, size=3))
        axis = rng.normal(size=3)
        return Link(name, parent, joint, axis / np.linalg.norm(axis), 0.1 * rng.normal(size=3), quaternion(), mass=rng.uniform(0.5, 2.0),
                    com=0.05 * rng.normal(size=3), inertia=inertia, armature=0.01)  # fmt: skip

    links = [link("base", -1, Joint.FREE), link("arm", 0, Joint.REVOLUTE)]
    if second not in FIXED:
        links.append(link("other", -1, Joint.FREE))
    heights = 0.1 * rng.normal(size=(7, 9)) if second == "hfield" else np.zeros((0, 0))
    geoms = [
        Geom("one", first, 1, 0.1 * rng.normal(size=3), quaternion(), np.array(SIZES[first])),
        Geom(
            "two",
            second,
            -1 if second in FIXED else 2,
            0.1 * rng.normal(size=3),
            quaternion(0.1 if second in FIXED else 1.0),
            np.array(SIZES[second]),
            heights,
        ),
    ]
    return Model(links, geoms=geoms, pairs=[Pair(0, 1, 3000.0, 500.0, 30.0, 0.7)], **changes)  # type: ignore[arg-type]


def touching(model: Model, num_envs: int, seed: int, depth: float = 0.03) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random states, moved along a random direction until the two shapes are `depth` or less into each other."""
    generator = torch.Generator().manual_seed(seed)
    q, qd = torch.zeros(num_envs, model.nq), 0.5 * torch.randn(num_envs, model.nd, generator=generator)
    heights = next((geom.heights for geom in model.geoms if geom.kind == "hfield"), np.zeros((1, 1)))
    for index, link in enumerate(model.links):
        at = model.coordinates(index)
        if link.joint is Joint.FREE:
            quat = torch.randn(num_envs, 4, generator=generator)
            q[:, at.start + 3 : at.stop] = torch.nn.functional.normalize(quat, dim=1)
        else:
            q[:, at] = torch.randn(num_envs, 1, generator=generator)
    still = Model(
        **{**{k: v for k, v in vars(model).items() if k not in ("q_start", "qd_start")}, "law": "depth", "friction": "bound"}
    )
    found = tables(still)
    direction = torch.nn.functional.normalize(torch.randn(num_envs, 3, generator=generator), dim=1)
    if model.geoms[1].kind in FIXED:
        direction = torch.tensor([[0.0, 0.0, 1.0]]).repeat(num_envs, 1) + 0.2 * direction
    for env in range(num_envs):

        def meets(distance: float, env: int = env) -> bool:
            state = q[env].double().clone()
            state[:3] = distance * direction[env].double()
            bodies = kinematics.bodies(still, state.tolist(), [0.0] * model.nd, np.zeros(3))
            return any(spot.depth > 0.0 and spot.weight > 0.0 for spot in spots(found, bodies, heights))

        low, high = 0.0, 4.0
        for _ in range(20):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if meets(middle) else (low, middle)
        pressed = depth * float(torch.rand(1, generator=generator))
        q[env, :3] = (low - pressed) * direction[env]
    return q, qd, 0.5 * torch.randn(num_envs, model.nd, generator=generator)


def spots(tables: list[Table], bodies: list[Body], heights: np.ndarray) -> Iterator[Spot]:
    """Yield where pairs may touch, one after the other: whoever has seen enough need not pay for the rest."""
    world = kinematics.world(np.zeros(3))
    for table in tables:
        for links, row in zip(table.links, table.rows.tolist(), strict=True):
            first, second = (bodies[link] if link >= 0 else world for link in links)
            shapes = pair_shapes(table, row, first, second, lambda i, j: float(heights[int(i), int(j)]))
            for part in table.kind.parts.tolist():
                yield from table.kind.touch(*shapes, part)


def crowd(detection: str = "exact") -> Model:
    """One robot with pairs of every kind: a sphere, a box, a capsule, a cylinder and an ellipsoid on each of two links, ground and hills."""
    kinds = ("capsule", "sphere", "box", "cylinder", "ellipsoid") if detection == "exact" else ("sphere", "box")
    model = scene(kinds[0], "hfield" if detection == "exact" else "sphere", seed=2, detection=detection)
    shape = model.geoms[0]
    for kind in kinds:
        for link in (0, 1):
            model.geoms.append(dataclasses.replace(shape, kind=kind, link=link, size=np.array(SIZES[kind])))
    model.geoms.append(Geom("floor", "plane", -1, pos=np.array([0.0, 0.0, -0.1])))
    law = dataclasses.astuple(model.pairs[0])[2:]
    for a, first in enumerate(model.geoms):
        for b, second in enumerate(model.geoms):
            if first.link != second.link and (first.kind, second.kind) in pairs.KINDS[detection]:
                model.pairs.append(Pair(a, b, *law))
    kinds_there = {(model.geoms[p.first].kind, model.geoms[p.second].kind) for p in model.pairs}
    assert kinds_there == pairs.KINDS[detection].keys()
    return model


def coincident(model: Model, num_envs: int, seed: int) -> torch.Tensor:
    """States in which the two shapes of a scene have the same centre, and if both can turn, the same axes."""
    q = torch.zeros(num_envs, model.nq)
    q[:, 6::8], q[:, 7] = 1.0, 0.3
    for env in range(num_envs):
        bodies = kinematics.bodies(model, q[env].double().tolist(), [0.0] * model.nd, np.zeros(3))
        one, two = model.geoms
        centre = bodies[one.link].position + bodies[one.link].rotation @ one.pos
        if two.link < 0:
            q[env, :3] += torch.tensor((two.pos - centre).astype(float))
            continue
        turn = bodies[one.link].rotation.astype(float) @ rotation(one.quat.tolist()).astype(float)
        turn = turn @ rotation(two.quat.tolist()).astype(float).T
        q[env, 8:11] = torch.tensor((centre - turn @ two.pos).astype(float))
        q[env, 11:15] = torch.tensor(_quaternion(turn))
    return q


def _quaternion(turn: np.ndarray) -> np.ndarray:
    """The quaternion xyzw of a rotation matrix, as the eigenvector of its quadratic form."""
    trace = np.trace(turn)
    form = np.zeros((4, 4))
    form[:3, :3] = turn + turn.T - trace * np.eye(3)
    form[:3, 3] = form[3, :3] = [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
    form[3, 3] = trace
    return np.linalg.eigh(form)[1][:, -1]
