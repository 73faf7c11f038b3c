"""The constants of contact: whose count, the file's, a geom's own or those of an explicit pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpo_lightning.sim.mjcf.refusals import Refusals, owned
from rpo_lightning.sim.mjcf.touching import Touching

__all__ = ["CONTACT", "Laws", "constants"]

CONTACT = ("ke", "kd", "kf", "mu")
_OF_PAIR = "contact "


def constants(
    values: Sequence[float] | np.ndarray, where: str, fields: Sequence[str], optional: str = ""
) -> tuple[float, ...]:
    """Return the constants of a law as floats; `optional`, the last, is 0 if it is not there.

    Raises:
        ValueError: for another count than that of `fields`, a stiffness that is not positive or anything negative.
    """
    numbers = tuple(map(float, values))
    if optional and _valid(numbers, [*fields, optional]):
        return numbers
    if not _valid(numbers, fields):
        count = f"{len(fields)} numbers ({' '.join(fields)})" + (f" or one more ({optional})" if optional else "")
        raise ValueError(
            f"{where} needs {count}, {fields[0]} > 0 and the others >= 0; "
            f"got {' '.join(f'{x:g}' for x in numbers) or 'none'}"
        )
    return (*numbers, 0.0) if optional else numbers


def _valid(numbers: Sequence[float] | np.ndarray, fields: Sequence[str]) -> bool:
    return len(numbers) == len(fields) and numbers[0] > 0.0 and all(0.0 <= x < np.inf for x in numbers)


class Laws:
    """The constants (ke, kd, kf, mu) of two geoms that touch.

    Args:
        spec, mj: the file as parsed and as compiled.
        numerics: its numeric elements by name; "contact NAME" is of the explicit pair NAME.
        usual: constants of geoms that have none of their own.
        refuse: what to do with user attributes that are none.

    Raises:
        ValueError: for constants of a pair that is not there, or that make no sense.
    """

    def __init__(
        self, spec: Any, mj: Any, numerics: Mapping[str, np.ndarray], usual: tuple[float, ...] | None, refuse: Refusals
    ) -> None:
        self._users = (
            {}
            if "user" in refuse.drop
            else {
                geom.id: tuple(map(float, geom.userdata))
                for geom in spec.geoms
                if len(geom.userdata) != 1  # other people's
            }
        )
        self._usual, self._refuse, self._mj = usual, refuse, mj
        names = [mj.pair(i).name for i in range(mj.npair)]
        self._pairs: dict[int, tuple[float, ...]] = {}
        for name, data in numerics.items():
            if name.startswith(_OF_PAIR):
                where = f"{refuse.path}: <numeric name={name!r}>"
                if name[len(_OF_PAIR) :] not in names:
                    raise ValueError(f"{where}: there is no <pair> of that name; pairs: {', '.join(names) or 'none'}")
                self._pairs[names.index(name[len(_OF_PAIR) :])] = constants(data, where, CONTACT)

    def check(self, geoms: Sequence[int]) -> None:
        """Refuse user attributes of these geoms that are no constants, and forget them."""
        wrong = [g for g in geoms if self._users.get(g) and not _valid(self._users[g], CONTACT)]
        self._refuse("user", [owned(self._mj, "geom", g) for g in wrong])
        for geom in wrong:
            del self._users[geom]

    def of(self, two: Touching, what: str) -> tuple[float, ...]:
        """Return the constants of a pair: its own, or the mean of those that its geoms have of their own, or the usual.

        Without any they are refused; `what` says who touches whom.
        """
        if two.pair in self._pairs:
            return self._pairs[two.pair]
        own = [user for geom in two[:2] if (user := self._users.get(geom))]
        if own:
            return tuple(np.mean(own, axis=0).tolist())
        if self._usual is None:
            self._refuse.need("contact", what)
            return 0.0, 0.0, 0.0, 0.0
        return self._usual
