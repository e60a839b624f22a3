"""Check that labels can be the classes of a network's logits.

A training step may transform labels in any way. So the checks refuse only labels that cannot be classes, and values
that are likely taken for the label by mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

ERROR_OF_SUM = 1e-3
"""How far from 1 the entries of a soft label may sum."""

CLASS_ELSEWHERE = (
    "Pass `target=` to `ActiveDataModule` if the class label is elsewhere in an item. Otherwise use "
    '`acquisition="random"`, or an `Acquisition` of your own that does not read class probabilities.'
)

TEST_LABELS = "Use class numbers as test labels, or pass `test='module'`."


def as_array(label: Any) -> np.ndarray[Any, Any] | None:
    """Return a numeric label as an array, a single number with no axes; None for other labels and masked arrays.

    Numbers are not rounded, except those with more digits than a float64 has.

    >>> as_array(torch.tensor([3])), as_array([0.0, 1.0]), as_array("cat")
    (array(3), array([0., 1.]), None)
    """
    if isinstance(label, Tensor):
        label = (label.to_dense() if label.layout is not torch.strided else label).detach().cpu()
        label = (label.dequantize() if label.is_quantized else label).resolve_conj().resolve_neg()
        # NumPy has no bfloat16.
        label = (label.float() if label.is_floating_point() and label.itemsize < 4 else label).numpy()
    elif isinstance(label, Enum) or not isinstance(label, bool | int | float | list | np.ndarray | np.generic):
        return None
    if isinstance(label, np.ma.MaskedArray) and np.ma.getmaskarray(label).any():
        return None
    if isinstance(label, int | float) and not isinstance(label, bool):
        # A subclass could tell NumPy anything.
        label = float.__float__(label) if isinstance(label, float) else int.__int__(label)
    try:
        array = np.asarray(label)
    except ValueError:  # a list of lists of several lengths
        return None
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        wide, array = array, array.astype(np.float64)
        if bool(((array != wide) & (array == np.floor(array))).any()):
            return None  # a fraction that a float64 rounds to a whole number
    if array.dtype.kind not in "biuf":
        return None
    return array.reshape(()) if array.size == 1 else array


def is_lacking(label: Any, beside: Iterable[Any] = (), *, classes: Collection[int] | None = None) -> bool:
    """Return whether a label means "no label": None, NaN, -1 as in scikit-learn, or -100 as in torch.

    Args:
        label: The label.
        beside: Labels of several points. If the only other label is 1, -1 is a class; if there are other negative
            numbers, -1 is a number.
        classes: The class numbers, if they are known. Then -1 is a class if it is one of them.

    >>> is_lacking(None), is_lacking(-1), is_lacking(0), is_lacking(-1, beside=[1, -1]), is_lacking(-1.0)
    (True, True, False, False, False)
    >>> is_lacking(-1, beside=[2, 1, -1]), is_lacking(-1, beside=[2, -3]), is_lacking(-1, beside=[1], classes=[0, 1])
    (True, False, True)
    """
    if label is None:
        return True
    array = as_array(label)
    if array is None or array.ndim > 0:
        return False
    if array.dtype.kind == "f":
        return bool(np.isnan(array))
    if array.dtype.kind != "i" or int(array) not in (-1, -100):
        return False
    if classes is not None:
        return int(array) not in classes
    others = {float(other) for other in map(as_array, beside) if other is not None and other.ndim == 0}
    others.discard(float(array))
    return others != {1.0} and not any(other < 0 for other in others)


def check_class_labels(
    labels: Mapping[int, Any], num_classes: int, module: str, candidates: Sequence[int] = (), parts: int = 0
) -> str | None:
    """Check that labels of training points can be classes.

    Args:
        labels: Labels by the index of their points.
        num_classes: The number of logits C that the module gives.
        module: Name of the module's class.
        candidates: Other positions in an item that hold class numbers below C.
        parts: The number of parts of an item, if the last was taken for the label by default; 0 if the user named it.

    Returns:
        A note on class numbers that the training step has to change, or None.

    Raises:
        ValueError: If a label is a vector that is not a distribution over the classes, a number that is not a class,
            or likely not the label.

    >>> check_class_labels({0: 2, 7: [0.0, 0.5, 0.5], 8: "cat"}, 3, "LitNet")
    """
    seen = f"`{module}` gives {num_classes} logits, which are scored as those of {num_classes} classes, but"
    numbers: dict[int, int] = {}
    arrays = {index: array for index, label in labels.items() if (array := as_array(label)) is not None}
    # Token labels, a few of which may have as many tokens as there are classes.
    differ_in_length = len({len(array) for array in arrays.values() if array.ndim == 1}) > 1
    for index, array in arrays.items():
        if array.ndim == 1 and differ_in_length and array.dtype.kind in "biu":
            continue
        if array.ndim > 0:
            _check_vector(array, index, num_classes, seen)
        elif float(array).is_integer() and (array.dtype.kind != "f" or 0 <= array < num_classes):
            numbers[index] = int(array)
        else:
            raise ValueError(
                f"{seen} the label of point {index} is the number {array.item():.6g}, as in a regression. "
                f"{CLASS_ELSEWHERE}"
            )
    lowest, highest = min(numbers.values(), default=0), max(numbers.values(), default=0)
    if highest >= num_classes and parts > 2:
        places = f"`target={candidates[0]}`" if candidates else "`target=`, the position of the class label,"
        raise ValueError(
            f"{seen} the labels of training points go up to {highest}. Items have {parts} parts, and the last one was "
            f"taken for the label. Pass {places} to `ActiveDataModule`. If the last one is the label, and the training "
            f"step changes it, pass `target={parts - 1}`."
        )
    if lowest < 0 and not set(numbers.values()) <= {-1, 1}:
        index = min(numbers, key=lambda index: numbers[index])
        raise ValueError(
            f"{seen} the label of the training point {index} is {lowest}, which is not a class and may mean that the "
            "point has no label. Pass `initial=` to `ActiveDataModule`, the indices of points that have one, or let "
            "the oracle answer with class numbers from 0."
        )
    if lowest < 0 or highest >= num_classes:
        return (
            f"{seen} labels are class numbers from {lowest} to {highest}. If the training step maps them to numbers "
            f"from 0 to {num_classes - 1}, nothing needs to be done."
        )
    return None


def _check_vector(array: np.ndarray[Any, Any], index: int, num_classes: int, seen: str) -> None:
    whole = bool((array == np.floor(array)).all()) if array.dtype.kind == "f" else True
    if array.shape == (num_classes,):
        if bool((array >= 0).all()) and abs(float(array.sum()) - 1) <= ERROR_OF_SUM:
            return
        kind = "labels of several classes at once, or of a regression"
    elif whole and array.ndim == 1:
        return  # attributes, of which the training step chooses one
    else:
        kind = "a regression of several numbers" if array.ndim == 1 else "a label for each pixel or token of a point"
    shown = np.array2string(array.flatten()[:4], precision=3, separator=", ").rstrip("]")
    raise ValueError(
        f"{seen} the label of point {index} has the shape {list(array.shape)}, of {array.dtype}: "
        f"{shown}{', ...' if array.size > 4 else ''}]. That is not a distribution over classes, but {kind}. "
        f"{CLASS_ELSEWHERE}"
    )


def check_no_regression(labels: Mapping[int, Any]) -> None:
    """Refuse labels of a regression, if the module gives no logits.

    Raises:
        ValueError: If labels are floating-point numbers that are not whole.
    """
    for index, label in labels.items():
        array = as_array(label)
        if array is not None and array.dtype.kind == "f" and bool((array != np.floor(array)).any()):
            what = f"the number {array.item():.6g}" if array.ndim == 0 else f"of the shape {list(array.shape)}"
            raise ValueError(
                f"The module gives no logits of two classes or more, and the label of point {index} is {what}: this is "
                f"a regression. {CLASS_ELSEWHERE}"
            )


def check_several_classes(labels: Iterable[Any], where: str) -> None:
    """Check that the labels that can be revealed are not all the same.

    Args:
        labels: All labels of the dataset; only as many as needed are read.
        where: What the dataset is, for the error message.

    Raises:
        ValueError: If there are two or more labels, and all are of one class.

    >>> check_several_classes([1, 1, 0], "Images")
    """
    first, count = None, 0
    for label in labels:
        key = _class_of(label)
        first = key if count == 0 else first
        if key is None or key != first:
            return
        count += 1
    if count > 1:
        raise ValueError(
            f"All {count} labels of {where} are of one class, {first!r}, so more labels teach "
            "nothing. Check the dataset (for an ImageFolder, that each class has a folder of its own), or pass "
            '`acquisition="random"` or an `oracle=` that knows other labels.'
        )


def _class_of(label: Any) -> Any:
    """Return a value that identifies the class of a label, or None if it is unknown."""
    array = as_array(label)
    if array is None:
        return label if isinstance(label, str | Enum) else None
    if array.ndim == 0:
        return array.item()
    is_one_hot = bool(((array == 0) | (array == 1)).all()) and array.sum() == 1
    return int(array.argmax()) if is_one_hot else None


def class_numbers(labels: Any, num_points: int, num_classes: int) -> Tensor:
    """Return the labels of a batch as class numbers ``[n]``.

    Args:
        labels: Class numbers ``[n]`` or ``[n, 1]``, whole numbers in floating point, or one-hot vectors ``[n, C]``.
        num_points: Number of points n that were predicted.
        num_classes: Number of classes C that were predicted.

    Raises:
        ValueError: If they are not class numbers.

    >>> class_numbers(torch.tensor([[0.0], [2.0]]), 2, 3), class_numbers(torch.eye(2), 2, 2)
    (tensor([0, 2]), tensor([0, 1]))
    """
    asked = "`test='posterior'` compares predictions with class numbers"
    try:
        found = labels if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))
    except (TypeError, ValueError, RuntimeError):  # such as names
        raise ValueError(f"{asked}, but the labels of a batch are {type(labels).__name__}. {TEST_LABELS}") from None
    if found.shape == (num_points, num_classes) and num_classes > 1 and _is_one_hot(found):
        return found.argmax(1)
    if found.dim() > 1 and found.numel() == num_points:
        found = found.reshape(num_points)
    if found.shape != (num_points,):
        raise ValueError(
            f"{asked}, one for each of the {num_points} points predicted, but the labels have the shape "
            f"{list(found.shape)}. {TEST_LABELS}"
        )
    if found.is_floating_point() and bool((found != found.floor()).any()):
        raise ValueError(
            f"{asked}, but the labels are numbers such as {float(found[found != found.floor()][0]):.6g}, "
            f"as in a regression. {TEST_LABELS}"
        )
    if num_points and not (int(found.min()) >= 0 and int(found.max()) < num_classes):
        raise ValueError(
            f"{asked} from 0 to {num_classes - 1}, but the labels go from {int(found.min())} to {int(found.max())}. "
            f"{TEST_LABELS}"
        )
    return found.long()


def _is_one_hot(labels_n_C: Tensor) -> bool:
    return bool(((labels_n_C == 0) | (labels_n_C == 1)).all()) and bool((labels_n_C.sum(1) == 1).all())
