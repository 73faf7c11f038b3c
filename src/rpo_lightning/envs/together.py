"""One environment whose rows are those of several, each with random numbers of its own.

What S runs of the same task draw (starts, targets, pushes, noise) is drawn by S environments as it always is, with their own
generators; they are never stepped. Their rows lie in one environment that is: the simulator is launched once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rpo_lightning.envs.articulated import ArticulatedEnv
from rpo_lightning.envs.global_generators import kept_generators
from rpo_lightning.envs.legged.noise import Noise
from rpo_lightning.envs.starts import StartBank, Starts

__all__ = ["TogetherEnv", "check_env"]


class TogetherEnv:
    """The rows of S environments of one task in one.

    Attributes: `env`, which steps all S N rows, those of the first environment first.

    Args:
        members: at least two, of the same task, options and number of environments.

    Raises:
        ValueError: if they are not, or where what happens in one row of the task touches others.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        first = members[0]
        for member in members:
            check_env(member)
            member.detach()  # one that has just stepped alone still holds the graph of that
            if (type(member), member.options, member.num_envs) != (type(first), first.options, first.num_envs):
                raise ValueError(f"{member.name}: only environments of the same task, options and number step together.")
        self.members = list(members)
        with kept_generators():
            self.env = type(first)(len(members) * first.num_envs, first.device, 0, **first.options)
        self._drawn_by_nobody = self.env.generator.get_state()
        self._banks: list[_Banks] = []
        for name, store in vars(self.env).items():
            theirs = [vars(member)[name] for member in members]
            if isinstance(store, StartBank) and any(store is bank for bank, _ in self.env._stores().values()):
                draws = [_drawing(member, bank) for member, bank in zip(members, theirs, strict=True)]
                self._banks.append(_Banks(theirs, draws))
                setattr(self.env, name, self._banks[-1])
            elif isinstance(store, Noise):
                setattr(self.env, name, _Noises(theirs, [member.generator for member in members]))
        self._rows = list(self._columns())

    def gather(self) -> None:
        """Take over where the members are.

        Raises:
            ValueError: if they have filled their stores at different steps.
        """
        self.env._steps = self.members[0]._steps
        if any(member._steps != self.env._steps for member in self.members):
            raise ValueError(f"{self.env.name}: environments after different numbers of steps cannot step together.")
        for joint, owners, name, dim in self._rows:
            setattr(joint, name, torch.cat([vars(owner)[name].detach() for owner in owners], dim))
        for bank in self._banks:
            bank.gather()
        self.env.detach()

    def scatter(self) -> None:
        """Let the members be where the rows are.

        Raises:
            ValueError: if the task has drawn random numbers elsewhere than where starts, targets and pushes are drawn.
        """
        if not torch.equal(self.env.generator.get_state(), self._drawn_by_nobody):
            raise ValueError(
                f"{self.env.name} draws random numbers elsewhere than in random_start and random_target, so that seeds that "
                "step together would share them: run them one by one."
            )
        self.env.detach()
        for joint, owners, name, dim in self._rows:
            for owner, rows in zip(owners, vars(joint)[name].chunk(len(owners), dim), strict=True):
                setattr(owner, name, rows)
        for bank in self._banks:
            bank.scatter()
        for member in self.members:
            member._steps = self.env._steps

    def _columns(self) -> Iterator[tuple[Any, list[Any], str, int]]:
        """Yield what holds a row for each environment: of whom, whose of the members, under what name, in which dimension.

        That is every tensor, of the environment or of a part of it, that is longer than those of the members.
        """
        whole: list[tuple[Any, list[Any]]] = [(self.env, list(self.members))]
        seen = set()
        while whole:
            joint, owners = whole.pop()
            if id(joint) in seen:
                continue
            seen.add(id(joint))
            for name, value in vars(joint).items():
                theirs = [vars(owner)[name] for owner in owners]
                if isinstance(value, Tensor):
                    longer = [d for d in range(value.dim()) if value.shape[d] != theirs[0].shape[d]]
                    if longer and not _numbers_rows(value):
                        yield joint, owners, name, longer[0]
                elif _is_part(value):
                    whole.append((value, theirs))
                elif joint is self.env and _shapes_in(value) != _shapes_in(theirs[0]):
                    raise ValueError(
                        f"{self.env.name}: {name} keeps tensors of all environments in a {type(value).__name__}, where "
                        "seeds that step together do not find them: make each an attribute."
                    )


def check_env(env: Any) -> None:
    """Check that environments such as this one can step together.

    Raises:
        ValueError: if they are not of the engine, or what happens in one touches others.
    """
    if not isinstance(env, ArticulatedEnv):
        raise ValueError(f"{env.name}: several runs in one process need a task on this library's own engine.")
    if not env.rows_are_apart:
        raise ValueError(
            f"{env.name}: with these options the end of an episode touches other environments, so that several runs cannot "
            "share a process."
        )


class _Banks(StartBank):
    """Hands to each environment's rows what its own bank has for them, as the bank itself would."""

    def __init__(self, banks: Sequence[StartBank], draws: Sequence[Callable[[], Starts]]) -> None:
        super().__init__()
        self._banks, self._draws_of = list(banks), list(draws)

    def gather(self) -> None:
        """Take over what the banks hold."""
        rows = [bank.rows for bank in self._banks]
        device = rows[0].device
        counts = torch.tensor([len(each) for each in rows])
        self._rows = torch.cat(rows)
        self._parts = self._banks[0]._parts
        self._counts = counts[:, None].to(device)
        self._before = (counts.cumsum(0) - counts)[:, None].to(device)
        self._last = torch.stack([bank._last for bank in self._banks if bank._last is not None])

    def scatter(self) -> None:
        """Let the banks know what was handed out."""
        assert self._last is not None
        for bank, last in zip(self._banks, self._last, strict=True):
            bank._last = last

    def take(self, mask: Tensor) -> Starts:
        """Return the parts of N starts, (N, width) each, see `StartBank.take`."""
        assert self._rows is not None
        assert self._last is not None
        at = mask.view(len(self._banks), -1).cumsum(1) + self._last
        self._last = at[:, -1:]
        return self._named(self._rows.index_select(0, (at % self._counts + self._before).flatten()))

    def fill(self, draw: Callable[[], Starts], now: bool = False) -> None:
        """Let each bank draw what is gone of it."""
        self.scatter()
        for bank, own in zip(self._banks, self._draws_of, strict=True):
            bank.fill(own, now)
        self.gather()


class _Noises(Noise):
    """The noise of each environment, for its rows."""

    def __init__(self, noises: Sequence[Noise], generators: Sequence[torch.Generator]) -> None:
        self._noises, self._generators = list(noises), list(generators)

    @property
    def numbers(self) -> Tensor:  # type: ignore[override]  # there it is an attribute
        """The present ones (S N, width)."""
        return torch.cat([noise.numbers for noise in self._noises])

    def renew(self, generator: torch.Generator) -> None:
        """Take others, each by its environment's generator."""
        for noise, own in zip(self._noises, self._generators, strict=True):
            noise.renew(own)


def _drawing(member: ArticulatedEnv, store: StartBank) -> Callable[[], Starts]:
    return next(draw for bank, draw in member._stores().values() if bank is store)


def _is_part(value: Any) -> bool:
    """Tell whether an attribute of an environment is an object of its own that may hold rows."""
    foreign = type(value).__module__.startswith(("torch", "warp", "numpy", "rpo_lightning.sim"))
    return hasattr(value, "__dict__") and not foreign and not isinstance(value, _Banks | _Noises | StartBank | type)


def _shapes_in(value: Any) -> list[torch.Size]:
    """Return the shapes of the tensors in a list, a tuple or a mapping; none of anything else."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [each.shape for each in values if isinstance(each, Tensor)]


def _numbers_rows(value: Tensor) -> bool:
    """Tell whether a tensor is 0, 1, 2 ..., which is no row's own but the number of each."""
    return value.dim() == 1 and value.dtype == torch.int64 and torch.equal(value.cpu(), torch.arange(len(value)))
