"""Arrays and tables as datasets of their rows: inputs and labels, or inputs alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_al.values.parts import described, is_pandas


def as_dataset(data: Any, name: str = "data") -> Any:
    """Return a pair of arrays as the TensorDataset of their rows, and anything else unchanged.

    Tensors are not converted. In arrays, pandas tables and lists, floats get torch's default type. Whole numbers and
    booleans among the labels become int64, the type that losses take. A Series of inputs alone, which are no training
    data, becomes a list.

    Args:
        data: A tuple or list of two: inputs and labels, of the same length.
        name: The name of the argument, for errors.

    Raises:
        ValueError: If their lengths differ, or if one holds something that is not a number.

    >>> inputs, label = as_dataset((np.ones((4, 2)), np.array([0, 1, 1, 0])))[1]
    >>> inputs.dtype, label
    (torch.float32, tensor(1))
    """
    if is_pandas(data) and data.ndim == 1 and name != "data":
        # A Series is read by its index, not by places. As training data it lacks labels: see `as_inputs`.
        return data.to_list()
    if not _is_pair(data):
        return data
    inputs, labels = (_as_tensor(column, name) for column in data)
    if not isinstance(data[1], Tensor) and not labels.is_floating_point() and not labels.is_complex():
        labels = labels.long()
    if len(inputs) != len(labels):
        raise ValueError(
            f"`ActiveDataModule({name}=...)` got {len(inputs)} inputs and {len(labels)} labels. Pass one "
            "label for each input."
        )
    return TensorDataset(inputs, labels)


def as_inputs(data: Any, name: str = "data") -> Any:
    """Return the rows of an array or a table of inputs, which have no labels; anything else unchanged.

    The rows of a table that holds more than numbers are dicts.

    >>> as_inputs(np.ones((2, 3)))[1].dtype
    torch.float32
    """
    if _is_pair(data):
        return data
    if is_pandas(data) and data.ndim == 2 and not all(kind.kind in "biuf" for kind in data.dtypes):
        return data.to_dict("records")
    if is_pandas(data) and data.ndim == 1 and data.dtype.kind not in "biuf":
        return data.to_list()
    return _as_tensor(data, name) if is_pandas(data) or (isinstance(data, np.ndarray) and data.ndim > 1) else data


def _is_pair(data: Any) -> bool:
    """Return whether data are two arrays, and not two items."""
    if not isinstance(data, tuple | list) or len(data) != 2 or hasattr(data, "_fields"):
        return False
    inputs, labels = data
    if isinstance(inputs, list):
        # A list of two lists may also be two items of a dataset.
        return isinstance(data, tuple) and isinstance(labels, list)
    return _is_array(inputs) and (isinstance(labels, list) or _is_array(labels))


def _is_array(column: Any) -> bool:
    return (isinstance(column, Tensor | np.ndarray) and column.ndim > 0) or is_pandas(column)


def _as_tensor(column: Any, name: str) -> Tensor:
    if isinstance(column, Tensor):
        return column
    values = column.to_numpy() if is_pandas(column) else column
    if not isinstance(values, np.ndarray) or values.dtype.kind == "O":
        # Columns of several types come as objects, numbers among them.
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        try:
            values = np.asarray(listed)
        except ValueError:
            values = np.empty(len(listed), dtype=object)
    if values.dtype.kind not in "biufc":
        raise ValueError(
            f"`ActiveDataModule({name}=...)` takes arrays of numbers, but got {described(column)}, which holds "
            f"{values.dtype}. Make names numbers, as `numpy.unique(names, return_inverse=True)` does, or pass a "
            "Dataset."
        )
    # A copy, because arrays may be read-only, have negative strides, or another machine's byte order.
    tensor = torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
