"""Points of the pool that cannot be scored: which they are, why, and how to select without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl
from lightning_al.host.ranks import from_all_ranks
from lightning_al.posterior.batches import num_points
from lightning_al.run.seeds import GlobalStates
from lightning_al.values.errors import first_few

Selected = TypeVar("Selected")

NAN = "NaN or Inf"

OF_POOL = "unlabelled points"
"""What points of the pool are called."""


class UnscorableError(ValueError):
    """Some points cannot be scored: points of the pool, labelled points, or target inputs.

    Attributes:
        reasons: Why, by the index of the point, in the order of the indices.
        is_of_pool: Whether they are points of the pool, which may be left out.
    """

    def __init__(self, message: str, reasons: Mapping[int, str], is_of_pool: bool = True) -> None:
        super().__init__(message)
        self.reasons = dict(sorted(reasons.items()))
        self.is_of_pool = is_of_pool

    def __reduce__(self) -> tuple[type[UnscorableError], tuple[str, dict[int, str], bool]]:
        return type(self), (str(self), self.reasons, self.is_of_pool)


def unscorable_error(
    module: nn.Module,
    reasons: Mapping[int, str],
    size: int,
    what: str = OF_POOL,
    remark: Callable[[], str] = lambda: "",
) -> UnscorableError:
    """Say which points cannot be scored, and what the cause may be."""
    is_of_pool = what == OF_POOL
    if any(reason != NAN for reason in reasons.values()):
        return UnscorableError(
            f"`ActiveLearning` cannot score {len(reasons)} of {size} {what}: {listed(reasons)}. "
            'Leave them out of the dataset, or pass `unscorable="skip"`, which needs some that can be scored.',
            reasons,
            is_of_pool,
        )
    seen = (
        f"`{type(module).__name__}` gave NaN or Inf for {len(reasons)} of {size} {what}, whose dataset "
        f"indices begin with {sorted(reasons)[:5]}"
    )
    if all(bool(weight.isfinite().all()) for weight in module.parameters()):
        return UnscorableError(
            f"{seen}. Its weights are finite. Check these inputs, the learning rate, and what the module divides by.",
            reasons,
            is_of_pool,
        )
    return UnscorableError(
        f"{seen}. Its weights are NaN or Inf as well, so the training diverged. Lower the learning rate, or clip "
        f"gradients by `Trainer(gradient_clip_val=1.0)`.{remark()}",
        reasons,
        is_of_pool,
    )


def said_of_labelled(data: ActiveDataModule) -> str:
    """Say which labelled points hold NaN or Inf, which training passes on to the weights."""
    found = []
    for index in data.pool.labelled:
        with suppress(Exception):  # of one that cannot be read, nothing is known
            if not _is_finite(data.item_of(index)):
                found.append(index)
    return f" The labelled points [{first_few(found)}] hold NaN or Inf. Correct or give back these." if found else ""


def _is_finite(item: Any) -> bool:
    """Return whether each number in an item is finite."""
    if isinstance(item, Mapping):
        return all(map(_is_finite, item.values()))
    if isinstance(item, tuple | list):
        return all(map(_is_finite, item))
    if isinstance(item, np.ndarray | np.generic | float):
        item = torch.as_tensor(np.asarray(item)) if np.asarray(item).dtype.kind in "fc" else 0
    return not isinstance(item, Tensor) or bool(item.isfinite().all())


def listed(reasons: Mapping[int, str], most: int = 5) -> str:
    """Write out the first few points, each with its reason.

    >>> listed({7: "NaN or Inf", 3: "OSError: cut off"})
    'index 3 (OSError: cut off), index 7 (NaN or Inf)'
    """
    shown = [f"index {index} ({reason})" for index, reason in sorted(reasons.items())[:most]]
    return ", ".join([*shown, "..."] if len(reasons) > most else shown)


def said_of_left_out(reasons: Mapping[int, str], num_scored: int) -> str:
    """Say which points were left out of the selection."""
    return (
        f"{len(reasons)} of {num_scored + len(reasons)} unlabelled points cannot be scored and were left out: "
        f"{listed(reasons)}. `Round.unscorable` lists all of them."
    )


def find_unreadable(data: ActiveDataModule, indices: Sequence[int]) -> dict[int, Exception]:
    """Return which points cannot be read, or make no batch with the first labelled point, and what was raised.

    Each point is collated with the same labelled point, so that the result does not depend on batches.
    """
    loader = data.pool_dataloader([data.pool.initial[0], *indices])
    items: Any = loader.dataset
    collate: Any = loader.collate_fn
    beside, rows = [], None
    with suppress(Exception):  # then the collate function makes no batch of two
        rows = num_points(collate([items[0], items[0]]))
        beside = [items[0]]
    found = {}
    for place, index in enumerate(indices, start=1):
        try:
            batch = collate([*beside, items[place]])
            if rows == 2 and num_points(batch) != rows:
                raise ValueError("`collate_fn` left the point out of a batch of two. Let it keep all points.")
        except Exception as error:  # whatever a dataset or a collate function may raise
            # Its traceback and what it came after would keep this loader, and a failed one's workers, alive.
            error.__traceback__ = error.__context__ = None
            found[index] = error
    return found


def all_reasons(trainer: pl.Trainer, reasons: Mapping[int, str]) -> dict[int, str]:
    """Join what all ranks found."""
    return {index: reason for found in from_all_ranks(trainer, dict(reasons)) for index, reason in found.items()}


def leave_out(
    unlabelled: Sequence[int],
    suspects: Sequence[int],
    select: Callable[[list[int]], Selected],
    look_at: Callable[[list[int]], Mapping[int, str]],
) -> tuple[Selected, dict[int, str]]:
    """Select among the points that can be scored, as if there were no others.

    Every selection begins from the same states of the global generators.

    Args:
        unlabelled: All points.
        suspects: Those that could not be scored before. They are looked at once more, after the others.
        select: Selects among points, or raises an `UnscorableError`.
        look_at: Returns which of some points cannot be scored, by the same passes as the last selection.

    Returns:
        What was selected, and the points that were left out.

    Raises:
        UnscorableError: If no point can be scored, or if others than those of the pool cannot.
    """
    states = GlobalStates()
    known = set(unlabelled)
    left_out = {index: "" for index in suspects if index in known}
    if len(left_out) == len(known):
        left_out = {}
    unsure = sorted(left_out)
    while True:
        points = [index for index in unlabelled if index not in left_out]
        try:
            selected = select(points)
        except UnscorableError as error:
            if not error.is_of_pool:
                raise
            if len(error.reasons) < len(points):
                left_out.update(error.reasons)
            elif unsure:
                # Those left out unseen may be the only ones that can be scored.
                left_out, unsure = {}, []
            else:
                raise
            states.put_back()
            continue
        if not unsure:
            return selected, dict(sorted(left_out.items()))
        after = GlobalStates()
        still = look_at(unsure)
        recovered = [index for index in unsure if index not in still]
        left_out = {index: reason for index, reason in {**left_out, **still}.items() if index not in recovered}
        unsure = []
        if not recovered:
            after.put_back()
            return selected, dict(sorted(left_out.items()))
        states.put_back()
