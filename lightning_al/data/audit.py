"""Points by which a model is judged where there is no test set: labelled in a run's course, never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lightning_al.run.labels import UNPAID, Label, kind_of_aside
from lightning_al.run.seeds import generator
from lightning_al.values.whole_numbers import plain, shown


class Audit:
    """The audit points of a pool, and the answers for them.

    Args:
        points: The points, in the order in which they were drawn.

    Attributes:
        points: The points.
        drawn: The points, with those that have left since because their items are gone.
        answers: The answers so far, by index, in the order in which they came. None stands for the dataset's own
            target.

    >>> audit = Audit([7, 3, 5])
    >>> audit.answer({7: 1, 3: {"set aside": "skip"}})
    >>> audit.waiting, audit.labelled, audit.num_spent
    ([5], [7], 1)
    """

    def __init__(self, points: Sequence[int] = ()) -> None:
        self.points = list(points)
        self.answers: dict[int, Label] = {}
        self.drawn = tuple(points)
        self._known = frozenset(points)

    def __contains__(self, index: object) -> bool:
        return index in self._known

    def __len__(self) -> int:
        return len(self.points)

    @property
    def waiting(self) -> list[int]:
        """The points without an answer, in the order in which they are asked for."""
        return [index for index in self.points if index not in self.answers]

    @property
    def labelled(self) -> list[int]:
        """The points with a label, in the order of the answers."""
        return [index for index, answer in self.answers.items() if kind_of_aside(answer) is None]

    @property
    def num_spent(self) -> int:
        """Number of answers that were paid for."""
        return sum(kind_of_aside(answer) != UNPAID for answer in self.answers.values())

    def answer(self, answers: Mapping[int, Label]) -> None:
        """Take answers over, without those for points that are not audited."""
        self.answers |= {index: answer for index, answer in answers.items() if index in self}

    def leave(self, indices: Sequence[int]) -> None:
        """Forget points whose items are gone."""
        self._known -= set(indices)
        self.points = [index for index in self.points if index in self]


def read_audit(given: Any) -> int | float | None:
    """Return a share of the labels, between 0 and 1, or a number of points.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is neither.

    >>> read_audit(0.1), read_audit(50), read_audit(None)
    (0.1, 50, None)
    """
    number = plain(given)
    if number is None:
        return None
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or (isinstance(number, float) and not 0 < number < 1) or number <= 0:
        kind: type[Exception] = ValueError if is_number else TypeError
        raise kind(
            f"`ActiveDataModule(audit=...)` expected a share between 0 and 1, or a number of points, but got "
            f"{shown(given)}. Pass a number such as 0.1 or 50."
        )
    return number  # type: ignore[no-any-return]


def num_audited(audit: float | None, total: int) -> int:
    """Return how many points are audited.

    Args:
        audit: A share, a number of points, or None for none.
        total: The labels, or else the items, that a share is of.

    >>> num_audited(0.1, 250), num_audited(0.1, 2), num_audited(50, 250), num_audited(None, 250)
    (25, 1, 50, 0)
    """
    if audit is None:
        return 0
    return audit if isinstance(audit, int) else max(1, round(audit * total))


def draw_audit(
    members: Sequence[int], number: int, *, seed: int, first: Sequence[int] = (), named: Sequence[int] = ()
) -> list[int]:
    """Draw points from the front of one random order of all.

    Args:
        members: All points.
        number: How many to draw.
        seed: The run's seed.
        first: Points that an earlier run drew so, which are kept.
        named: Points that the user named to begin with, which are left out.

    Raises:
        ValueError: If too few points would be left to choose from.
    """
    left_out = {*first, *named}
    most = len(members) - len(named)
    if most - 2 < number:
        raise ValueError(
            f"`ActiveDataModule(audit=...)` sets points aside to measure accuracy by, but {number} of {most} leave "
            "none to choose from. Lower it, or give more points."
        )
    order = [members[place] for place in torch.randperm(len(members), generator=generator(seed, "audit")).tolist()]
    drawn = [*first, *(index for index in order if index not in left_out)]
    return drawn[: max(number, len(first))]
