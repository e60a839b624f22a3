"""What a label of a dataset may be, inferred from its labels, its classes and the network's outputs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lightning_al.task.class_names import Classes
from lightning_al.task.labels import ERROR_OF_SUM, as_array
from lightning_al.values.errors import first_few

Kind = Literal["class", "number", "text", "vector"]


@dataclass(frozen=True)
class LabelRules:
    """What a label of a dataset may be.

    Attributes:
        kind: What labels are: class numbers, other numbers, texts, or several numbers; None if that is unknown.
        classes: The classes that have names, or that the user listed.
        allowed: The allowed class numbers, or None if any is possible.
        shape: Shape of labels of several numbers, if all have the same.
        num_classes: Number of entries of a soft label, if that is known.
        bounds: Least and greatest number, if labels are numbers.
        sum_to_one: Whether labels of several numbers are distributions.
        takes_truth: Whether True and False may stand for the classes 1 and 0.

    >>> LabelRules("class", allowed=range(3)).expected
    'labels are class numbers, from 0 to 2'
    """

    kind: Kind | None = None
    classes: Classes = field(default_factory=Classes)
    allowed: Collection[int] | None = None
    shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    bounds: tuple[float, float] | None = None
    sum_to_one: bool = False
    takes_truth: bool = True

    @property
    def may_be_class(self) -> bool:
        """Whether a label may be a class number."""
        return self.kind in ("class", None) or self.bounds is not None

    @property
    def expected(self) -> str:
        """What labels are, as an error says it."""
        if self.kind == "class":
            return "labels are class numbers" + (f", {numbers_of(self.allowed)}" if self.allowed is not None else "")
        said = {"number": "labels are numbers", "text": "labels are texts", "vector": "labels are several numbers each"}
        return said.get(str(self.kind), "labels are class numbers")


def rules_for(known: Collection[Any], classes: Classes, num_outputs: int | None) -> LabelRules:
    """Return what labels may be, from known labels, the classes' names, and the number of outputs.

    A training step may change class numbers, such as those from 1 to C. So class numbers have to be below the number of
    outputs only if all known ones are. If the user listed the classes, the list decides.

    Args:
        known: Labels that are trained on.
        classes: The classes that have names.
        num_outputs: How many outputs the network has for a point, or None if that is unknown.

    >>> rules_for([0, 2, 1], Classes(), 3).allowed
    range(0, 3)
    >>> rules_for([1, 3], Classes(), 3).allowed is None
    True
    """
    if known and all(isinstance(label, str) for label in known):
        return LabelRules("text", classes)
    arrays = [as_array(label) for label in known]
    several = [array for array in arrays if array is not None and array.ndim > 0]
    if known and len(several) == len(arrays):
        shapes = {array.shape for array in several}
        sums = all(is_distribution(array) for array in several) and len(shapes) == 1
        return LabelRules("vector", classes, shape=shapes.pop() if len(shapes) == 1 else None, sum_to_one=sums)
    seen = [array.item() for array in arrays if array is not None and array.ndim == 0]
    if len(seen) < len(known):
        return LabelRules(classes=classes)
    if not seen:
        return LabelRules(None, classes, _allowed(set(), classes, num_outputs))
    whole = {int(number) for number in seen if float(number).is_integer()}
    are_floats = any(isinstance(number, float) for number in seen)
    num_classes = 2 if num_outputs == 1 else num_outputs
    if are_floats:
        is_binary = num_outputs == 1 and all(0 <= number <= 1 for number in seen)
        fits = num_classes is not None and num_outputs != 1 and whole <= set(range(num_classes))
        if not fits or len(whole) < len(set(seen)):
            return LabelRules("number", classes, bounds=(0.0, 1.0) if is_binary else None)
    if num_outputs == 1 and not whole <= {0, 1}:
        num_classes = None  # such as counts, which a regression predicts
    return LabelRules(
        "class",
        classes,
        _allowed(whole, classes, num_classes),
        num_classes=num_classes or len(set(classes.numbers.values())) or None,
        takes_truth=whole <= {0, 1} and num_classes in (None, 2),
    )


def _allowed(seen: set[int], classes: Classes, num_classes: int | None) -> Collection[int] | None:
    if classes.allowed is not None:
        return classes.allowed
    if num_classes is not None and seen <= set(range(num_classes)):
        return range(num_classes)
    named = set(classes.numbers.values())
    if named and seen <= named:
        return range(max(named) + 1)
    return (-1, 1) if num_classes is not None and seen and seen <= {-1, 1} else None


def is_distribution(array: np.ndarray[Any, Any]) -> bool:
    """Return whether an array is a probability distribution over classes."""
    return array.ndim == 1 and bool((array >= 0).all()) and abs(float(array.sum()) - 1) <= ERROR_OF_SUM


def numbers_of(allowed: Collection[int]) -> str:
    """Return class numbers as an error lists them."""
    if isinstance(allowed, range):
        return f"from {allowed.start} to {allowed.stop - 1}"
    return first_few(list(allowed), most=8)
