"""The first points to label, selected by their features before there is a model.

Axes: N points, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor

from lightning_al.acquisition import Acquisition, available, create
from lightning_al.acquisition.base import check_selection
from lightning_al.host.namespace import rank_zero_warn
from lightning_al.points import Candidates, Points


class ColdStartError(ValueError):
    """An acquisition function reads what is not known before the first fit."""


def select_first(
    acquisition: Acquisition,
    size: int,
    points: Sequence[int],
    *,
    labelled: Sequence[int] = (),
    features_at: Callable[[Sequence[int]], Tensor] | None,
    groups_at: Callable[[Sequence[int]], Tensor] | None = None,
    generator: torch.Generator,
) -> list[int]:
    """Return the first points to label, in the order of choice.

    Args:
        acquisition: The acquisition function.
        size: How many points to select.
        points: Indices of the points to choose from.
        labelled: Indices of points that have a label already.
        features_at: Returns the features ``[n, D]`` of some points, or None where there are none.
        groups_at: Returns the numbers ``[n]`` of their groups.
        generator: The CPU generator that the selection draws from.

    Raises:
        ColdStartError: If there are no features, or the function reads something else.
        ValueError: If it selects other than that many different points.

    The first three points lie close together, and cover each other best from the middle. The last is far away.

    >>> features_N_D = torch.nn.functional.normalize(torch.tensor([[9.0, 1.0], [9.0, 0.0], [9.0, -1.0], [-9.0, 0.0]]))
    >>> draws = torch.Generator().manual_seed(0)
    >>> select_first(create("max_herding"), 2, range(4), features_at=lambda i: features_N_D[list(i)], generator=draws)
    [1, 3]
    """
    tables = _Tables(features_at, groups_at)
    candidates = Candidates(
        len(points),
        _refuse,
        _refuse,
        labelled=Points(len(labelled), _refuse, _refuse, **tables.of(labelled)),
        **tables.of(points),
    )
    try:
        selection = acquisition.select(candidates, size, generator)
    except ColdStartError:
        raise _needs_more(acquisition, has_features=features_at is not None) from None
    positions = selection.positions.tolist()
    check_selection(acquisition, positions, selection.scores.tolist(), size, len(points))
    if selection.warning is not None:
        rank_zero_warn(f"`ActiveDataModule(initial=...)`: {selection.warning}")
    return [points[position] for position in positions]


@dataclass(frozen=True)
class _Tables:
    """What is known of points before there is a model."""

    features_at: Callable[[Sequence[int]], Tensor] | None
    groups_at: Callable[[Sequence[int]], Tensor] | None

    def of(self, indices: Sequence[int]) -> dict[str, Any]:
        features = _refuse if self.features_at is None else partial(self.features_at, indices)
        return {"features": features, "groups": None if self.groups_at is None else partial(self.groups_at, indices)}


def _refuse() -> NoReturn:
    raise ColdStartError


def _needs_more(acquisition: Acquisition, *, has_features: bool) -> ColdStartError:
    beginning = f"`ActiveDataModule(initial=...)` lets `{type(acquisition).__name__}` select before there is a model"
    if not has_features:
        return ColdStartError(
            f"{beginning}, by features of the points, but `features` is None. Pass `features=`, or leave `initial` out "
            "to draw at random."
        )
    return ColdStartError(
        f"{beginning}, but it reads the outputs of one. Choose one that reads features alone: "
        f"{', '.join(filter(_fits, available()))}."
    )


def _fits(name: str) -> bool:
    """Return whether an acquisition function can select by features alone."""
    tables, draws = _Tables(lambda indices: torch.eye(4)[list(indices)], None), torch.Generator().manual_seed(0)
    labelled = Points(0, _refuse, _refuse, **tables.of([]))
    try:
        create(name).select(Candidates(4, _refuse, _refuse, labelled=labelled, **tables.of(range(4))), 2, draws)
    except Exception:  # whatever a function of another package may raise that reads something else
        return False
    return True
