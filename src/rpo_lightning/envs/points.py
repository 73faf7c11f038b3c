"""Where points of a robot are and how they move, in torch, with gradients: its feet, say, or what an arm holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rpo_lightning.sim import Joint, Model, quat_rotate

__all__ = ["Points"]


class Points:
    """Points fixed to links of a robot: `points(q, qd) -> (positions, velocities)`, both (N, P, 3) in world axes [m, m/s].

    Links of one depth in the tree are placed together, so that a robot of four equal legs costs no more than one leg.

    Args:
        model: the robot. A free joint can only be the first; ball joints there are none.
        where: for each point the index of its link and its place (3,) in the link's frame [m].
        device: of the tensors.

    Raises:
        ValueError: for a joint of another kind on the way to a point.
    """

    def __init__(self, model: Model, where: Sequence[tuple[int, np.ndarray]], device: torch.device | str = "cpu") -> None:
        self._free = model.links[0].joint is Joint.FREE
        self._levels: list[_Level] = []
        needed = {link for link, _ in where}
        for link in sorted(needed, reverse=True):  # parents come before children
            while link >= 0:
                needed.add(link)
                link = model.links[link].parent
        depth: dict[int, int] = {-1: -1}
        place = {-1: 0}  # of a link among those of its depth
        rows: list[list[int]] = []
        for link in sorted(needed):
            joint = model.links[link].joint
            if joint is Joint.BALL or (joint is Joint.FREE and link > 0):
                raise ValueError(f"no points behind the {joint.name.lower()} joint {model.links[link].name!r}")
            depth[link] = depth[model.links[link].parent] + 1
            if depth[link] == len(rows):
                rows.append([])
            place[link] = len(rows[depth[link]])
            rows[depth[link]].append(link)
        first = 1 if self._free else 0
        for level, links in enumerate(rows):
            if level >= first:
                self._levels.append(_Level(model, links, [place[model.links[k].parent] for k in links], device))
        # points in the order of the depth of their links, and back into the order asked for
        order = sorted(range(len(where)), key=lambda i: (depth[where[i][0]], i))
        self._back = torch.tensor(np.argsort(order), device=device)
        self._at = [
            (
                torch.tensor([place[where[i][0]] for i in order if depth[where[i][0]] == level], device=device),
                torch.tensor(
                    np.array([where[i][1] for i in order if depth[where[i][0]] == level]).reshape(-1, 3),
                    dtype=torch.float32,
                    device=device,
                ),
            )
            for level in range(len(rows))
        ]

    def __call__(self, q: Tensor, qd: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and velocities (N, P, 3) of the points in the states q (N, nq), qd (N, nd)."""
        n = len(q)
        turn = torch.eye(3, device=q.device).expand(n, 1, 3, 3)
        origin, twist = q.new_zeros(n, 1, 3), q.new_zeros(n, 1, 6)
        frames = []
        if self._free:
            turn, origin, twist = _matrix(q[:, 3:7])[:, None], q[:, None, :3], qd[:, None, :6]
            frames.append((turn, origin, twist))
        for level in self._levels:
            turn, origin, twist = level(turn, origin, twist, q, qd)
            frames.append((turn, origin, twist))
        positions, velocities = [], []
        for (turn, origin, twist), (links, offsets) in zip(frames, self._at, strict=True):
            if len(links):
                spot = origin[:, links] + (turn[:, links] @ offsets[..., None]).squeeze(-1)
                w, v = twist[:, links].split(3, dim=-1)  # v of the point that is just passing the world's origin
                positions.append(spot)
                velocities.append(v + torch.linalg.cross(w, spot))
        return torch.cat(positions, 1)[:, self._back], torch.cat(velocities, 1)[:, self._back]


class _Level:
    """The links of one depth, each with a hinge or a slide."""

    def __init__(self, model: Model, links: list[int], parents: list[int], device: torch.device | str) -> None:
        def tensor(values: list) -> Tensor:
            return torch.tensor(np.array(values), dtype=torch.float32, device=device)

        own = [model.links[link] for link in links]
        self.parents = torch.tensor(parents, device=device)
        self.coordinates = torch.tensor([model.q_start[link] for link in links], device=device)
        self.dofs = torch.tensor([model.qd_start[link] for link in links], device=device)
        self.place, self.fixed = tensor([link.pos for link in own]), _matrix(tensor([link.quat for link in own]))
        self.axis, self.start = tensor([link.axis for link in own]), tensor([link.ref for link in own])[:, None]
        self.hinge = tensor([float(link.joint is Joint.REVOLUTE) for link in own])[:, None]
        x, y, z = self.axis.unbind(-1)
        zero = torch.zeros_like(x)
        self.cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
        self.square = self.cross @ self.cross

    def __call__(self, turn: Tensor, origin: Tensor, twist: Tensor, q: Tensor, qd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, rate = q[:, self.coordinates, None] - self.start, qd[:, self.dofs, None]
        turn, origin = turn[:, self.parents], origin[:, self.parents]
        origin = origin + (turn @ self.place[..., None]).squeeze(-1)
        turn = turn @ self.fixed
        axis = (turn @ self.axis[..., None]).squeeze(-1)
        angle = (value * self.hinge)[..., None]
        origin = origin + (1.0 - self.hinge) * value * axis
        turn = turn + turn @ (angle.sin() * self.cross + (1.0 - angle.cos()) * self.square)
        about = torch.cat([self.hinge * axis, self.hinge * torch.linalg.cross(origin, axis) + (1.0 - self.hinge) * axis], -1)
        return turn, origin, twist[:, self.parents] + about * rate


def _matrix(quat: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3) of unit quaternions xyzw (..., 4)."""
    axes = torch.eye(3, device=quat.device, dtype=quat.dtype).expand(*quat.shape[:-1], 3, 3)
    return quat_rotate(quat[..., None, :].expand(*quat.shape[:-1], 3, 4), axes).mT
