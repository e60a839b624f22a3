"""The training data without augmentation, by which the points of the pool are scored."""

from __future__ import annotations

from typing import Any

from lightning_al.data.arrays import as_dataset
from lightning_al.data.map_style import check_map_style


def read_pool_dataset(given: Any) -> Any:
    """Return a dataset, a function that returns one, or None, from what a user passes as `pool_dataset`.

    Raises:
        TypeError: If it is something else.
    """
    if given is None or _is_function(given):
        return given
    dataset = as_dataset(given, "pool_dataset")
    check_map_style(dataset, "pool_dataset")
    return dataset


def pool_dataset_of(given: Any, wrapped: Any) -> Any:
    """Return the dataset that `read_pool_dataset` returned, or that its function returns of the wrapped datamodule.

    Raises:
        TypeError: If the function returns no dataset.
    """
    if not _is_function(given):
        return given
    dataset = given(wrapped)
    check_map_style(dataset, "pool_dataset")
    return dataset


def _is_function(given: Any) -> bool:
    """Return whether something is called for a dataset: a dataset may be callable too, and so is its class."""
    return callable(given) and not isinstance(given, type) and not hasattr(given, "__getitem__")
