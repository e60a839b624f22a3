"""The points that are labelled before the first round: named by the user, or drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.acquisition import Acquisition, create
from lightning_al.data.class_numbers import lack_some, listed_targets
from lightning_al.data.training_points import TrainingPoints
from lightning_al.run.seeds import generator
from lightning_al.values.errors import first_few
from lightning_al.values.whole_numbers import as_whole, plain, shown

ASKED = "`ActiveDataModule(initial=...)` expects the indices of points, each once, or a mask with a bool for each point"


def read_initial(given: Any) -> list[int] | list[bool]:
    """Return indices, or a mask, as a list of Python's own ints or bools.

    Args:
        given: A list, range or set, or an array of NumPy, torch or pandas. A set is read in ascending order.

    Raises:
        TypeError: If it is not a flat list of numbers or bools.
        ValueError: If an index is not whole, is negative or comes twice, or if there is no point.

    >>> read_initial(np.array([2.0, 0.0])), read_initial((False, True, True))
    ([2, 0], [False, True, True])
    """
    given = plain(given)
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{ASKED}, but got {shown(given)}. Pass a list. To draw points, pass `initial_size=`.")
    values = [plain(value) for value in _listed(given)]
    if values and all(isinstance(value, bool) for value in values):
        mask: list[bool] = values
        _check_indices(_indices(mask))
        return mask
    wrong = [place for place, value in enumerate(values) if as_whole(value) is None]
    if wrong:
        # In a mask with a gap, the gap is the fault and not the bools.
        place = next((place for place in wrong if not isinstance(values[place], bool)), wrong[0])
        kind: type[Exception] = ValueError if isinstance(values[place], float) else TypeError
        raise kind(f"{ASKED}, but got {shown(values[place])} at place {place}. Pass a flat list of ints.")
    indices = [index for index in map(as_whole, values) if index is not None]
    _check_indices(indices)
    return sorted(indices) if isinstance(given, set | frozenset) else indices


def initial_indices(initial: list[int] | list[bool], size: int, members: Sequence[int]) -> list[int]:
    """Return the initial indices, and check that they are points of the training data.

    Args:
        initial: What `read_initial` returned.
        size: Number of points in the dataset.
        members: The points that the train loader draws.

    Raises:
        ValueError: If a mask has another length, or an index is not a member.

    >>> initial_indices([False, True, True], size=3, members=range(3))
    [1, 2]
    """
    if isinstance(initial[0], bool) and len(initial) != size:
        raise ValueError(
            f"`ActiveDataModule(initial=...)` got a mask of {len(initial)} points, but the dataset has {size}. "
            "Pass a mask with a bool for each point, or a list of indices."
        )
    indices = _indices(initial)
    outside = [index for index in indices if index >= size]
    if outside:
        raise ValueError(
            f"`ActiveDataModule(initial=...)` got indices [{first_few(outside)}], but the dataset has {size} points. "
            f"Pass indices of at most {size - 1}."
        )
    drawn = set(members) if len(members) < size else range(size)
    others = [index for index in indices if index not in drawn]
    if others:
        raise ValueError(
            f"`ActiveDataModule(initial=...)` got indices [{first_few(others)}], which the sampler of the train loader "
            f"does not draw: it draws {len(members)} of the {size} points. Pass some of these."
        )
    return indices


def draw_initial(
    points: TrainingPoints, size: int, *, balanced: bool, seed: int, without: Collection[int] = frozenset()
) -> list[int]:
    """Draw the indices to begin with.

    Where the dataset lists `targets` of which some are None, all points that have a label come first, whatever their
    number: nobody needs to be asked for them.

    Args:
        points: The training data.
        size: How many points to draw.
        balanced: Whether to draw as many points of each class as of any other.
        seed: The run's seed.
        without: Points that are not drawn.

    Raises:
        ValueError: If there are fewer points, or if a label is not a class number where the draw is balanced.
    """
    members = points.members
    if without:
        members = [index for index in members if index not in without]
    check_size_of_initial(size, len(members), len(without))
    order = [members[place] for place in torch.randperm(len(members), generator=generator(seed, "initial")).tolist()]
    if balanced:
        return _class_by_class(points, order)[:size]
    listed = listed_targets(points.dataset)
    if lack_some(listed):
        order.sort(key=lambda index: listed[index] is None)
        size = max(size, sum(listed[index] is not None for index in members))
    return order[:size]


def check_size_of_initial(size: int, num_members: int, num_audited: int) -> None:
    """Refuse more initial points than there are.

    Raises:
        ValueError: If there are fewer.
    """
    if size > num_members:
        rest = f" beside the {num_audited} of the audit" if num_audited else ""
        raise ValueError(
            f"`ActiveDataModule(initial_size={size})` is larger than the training data, which have {num_members} "
            f"points{rest}. Lower it, so that there is a pool to choose from."
        )


def _class_by_class(points: TrainingPoints, order: list[int]) -> list[int]:
    """Deal the indices out class by class, in the order in which a class first comes."""
    by_class = defaultdict(list)
    for index in order:
        label = points.class_of(index)
        if label is None and not points.can_read(index):
            continue
        if label is None:
            raise ValueError(
                "`ActiveDataModule(balanced=True)` needs labels that are class numbers, but the label of index "
                f"{index} is not one. Pass `initial=` with the indices to begin with."
            )
        by_class[label].append(index)
    turns = max(map(len, by_class.values()))
    return [members[turn] for turn in range(turns) for members in by_class.values() if turn < len(members)]


def read_cold_start(initial: Any) -> Acquisition | None:
    """Return the acquisition function that selects the initial points, or None where `initial` says which they are.

    Raises:
        ValueError: If there is no acquisition function of that name.
    """
    return create(initial) if isinstance(initial, str | Acquisition) else None


def check_one_is_given(initial_size: int | None, initial: Any, balanced: bool) -> None:
    """Refuse arguments that give both a number of initial points and the points themselves, or neither.

    Raises:
        ValueError: If they do.
    """
    if isinstance(initial, str | Acquisition):
        if initial_size is None or balanced:
            raise ValueError(
                f"`ActiveDataModule(initial={initial!r})` selects initial points by their features, of which "
                f"{'`initial_size` does not say how many' if initial_size is None else '`balanced=True` knows none'}. "
                "Pass `initial_size=`, and leave `balanced` out."
            )
        return
    if (initial_size is None) == (initial is None):
        raise ValueError(
            "`ActiveDataModule` needs either `initial_size`, how many points are labelled before the first round, "
            f"or `initial`, their indices, but got initial_size={initial_size} and initial={initial}. "
            "Pass one of the two."
        )
    if initial is not None and balanced:
        raise ValueError(
            "`ActiveDataModule` got `initial`, the indices to begin with, and also `balanced=True`, which draws "
            "them. Pass `initial_size` in place of `initial`, or leave `balanced` out."
        )


def num_initial(initial: list[int] | list[bool]) -> int:
    """Return the number of initial points."""
    return len(_indices(initial))


def _indices(initial: list[int] | list[bool]) -> list[int]:
    if initial and isinstance(initial[0], bool):
        return [index for index, is_initial in enumerate(initial) if is_initial]
    return list(initial)


def _listed(given: Any) -> list[Any]:
    if hasattr(given, "to_numpy"):
        given = given.to_numpy()
    return list(given.tolist() if isinstance(given, np.ndarray | Tensor) else given)


def _check_indices(indices: list[int]) -> None:
    if not indices:
        raise ValueError(
            "`ActiveDataModule` needs `initial_size` of at least 1, but got 0 indices in `initial`. Pass at least one."
        )
    if min(indices) < 0:
        raise ValueError(f"{ASKED}, but got {min(indices)}. Pass indices of 0 or more; the first point is 0.")
    twice = [index for index, times in Counter(indices).items() if times > 1]
    if twice:
        raise ValueError(
            f"`ActiveDataModule(initial=...)` got indices [{first_few(twice)}] twice or more. Pass each once."
        )
