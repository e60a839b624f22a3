"""What can be a dataset: items that are read by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_al.values.parts import is_pandas


def is_map_style(data: Any) -> bool:
    """Return whether data are items that are read by number: a map-style dataset, a list or an array.

    A mapping and a table are read by keys, a text is no data, and an IterableDataset inherits a `__getitem__` that
    does not work.

    >>> is_map_style([(0.5, 1)]), is_map_style({0: (0.5, 1)}), is_map_style("data.csv")
    (True, False, False)
    """
    if isinstance(data, type | str | bytes | Mapping | IterableDataset) or is_pandas(data):
        return False
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def check_map_style(data: Any, name: str, *, or_stream: bool = False) -> None:
    """Refuse what is no map-style dataset in an argument of `ActiveDataModule`.

    Args:
        data: What was passed, arrays as a dataset.
        name: The name of the argument.
        or_stream: Whether an IterableDataset will do too, since the items are read once, in order.

    Raises:
        TypeError: If it is something else.
    """
    if is_map_style(data) or (or_stream and isinstance(data, IterableDataset)):
        return
    got, remedy = _described(data)
    if name == "data":
        raise TypeError(
            "`ActiveDataModule` expected a LightningDataModule or a map-style dataset (with `__getitem__` and "
            f"`__len__`), but got {got}. Pass {remedy}, or inputs alone with `classes=`."
        )
    raise TypeError(
        f"`ActiveDataModule({name}=...)` expected a map-style dataset (with `__getitem__` and `__len__`), but got "
        f"{got}. Pass {remedy}."
    )


def _described(data: Any) -> tuple[str, str]:
    """Return what data are, and what to pass in their place."""
    name = type(data).__name__
    if isinstance(data, DataLoader):
        return name, "its dataset, `loader.dataset`, or a pair of arrays, (inputs, labels)"
    if isinstance(data, IterableDataset):
        return f"the IterableDataset {name}", "items that can be read by number, such as a list of them"
    if isinstance(data, type):
        return f"the class {data.__name__}", f"an object of it, `{data.__name__}()`"
    return name, "one of these, or a pair of arrays, (inputs, labels)"
