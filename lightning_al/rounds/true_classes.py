"""The classes that labels stand for, among those that a module predicts."""

from __future__ import annotations

from typing import Any

import torch

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.rounds.labelling import without_drawing
from lightning_al.task.labels import as_array, class_numbers
from lightning_al.values.whole_numbers import shown

FEW = 32
"""How many labelled points are looked at before the first step."""


def class_among(data: ActiveDataModule, index: int, num_classes: int) -> int | None:
    """Return the class of a labelled point, or None where its label is none of the classes that are predicted.

    Class numbers, whole floats, one-hot vectors and listed names stand for classes.

    Args:
        data: The data.
        index: The point.
        num_classes: How many classes C the module predicts, from 0 on.
    """
    return _class_of(_label_of(data, index), data, num_classes)


def check_classes(data: ActiveDataModule, num_classes: int, *, what: str, numbers_only: bool = False) -> None:
    """Refuse labels that are none of the classes that are predicted.

    Args:
        data: The data, some of whose labelled points are looked at.
        num_classes: How many classes C the module predicts.
        what: The argument that needs the classes.
        numbers_only: Whether labels have to be numbers, so that a class number can stand in their place.

    Raises:
        ValueError: If a label is none, such as one that only the training step maps to a class.
    """
    for index in data.pool.labelled[:FEW]:
        label = _label_of(data, index)
        if _class_of(label, data, num_classes) is None or (numbers_only and not _is_number(label)):
            form = "numbers" if numbers_only else "numbers, one-hot vectors or names"
            raise ValueError(
                f"`ActiveDataModule({what}=...)` needs labels that are classes from 0 to {num_classes - 1}, as {form}, "
                f"but the label of point {index} is {shown(label)}. Let the dataset give such labels, in place of the "
                f"training step, or leave `{what}` out."
            )


def _label_of(data: ActiveDataModule, index: int) -> Any:
    """Return a point's label. An item is read only where its class is not known, and what that draws is put back."""
    number = data.class_of(index)
    if number is not None:
        return number
    with without_drawing():
        return data.label_of(index)


def _class_of(label: Any, data: ActiveDataModule, num_classes: int) -> int | None:
    number = data.training_points.classes.numbers.get(str(label)) if isinstance(label, str) else label
    array = as_array(number)
    if array is None:
        return None
    try:
        return int(class_numbers(torch.as_tensor(array)[None], 1, num_classes))
    except ValueError:
        return None


def _is_number(label: Any) -> bool:
    array = as_array(label)
    return array is not None and array.ndim == 0
