"""The names and numbers of a dataset's classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset


@dataclass(frozen=True)
class Classes:
    """The classes that a label may name.

    Attributes:
        numbers: The class number of each name; several names may have the same number.
        allowed: All class numbers, if the user listed the classes; None if a dataset did, which need not list all.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    allowed: tuple[int, ...] | None = None

    def name_of(self, number: Any) -> str | None:
        """Return the first name of a class number, or None if it has none."""
        return next((name for name, known in self.numbers.items() if known == number), None)

    @property
    def names(self) -> dict[int, str]:
        """The first name of each class number, in the order of the numbers."""
        return {number: str(self.name_of(number)) for number in sorted(set(self.numbers.values()))}

    def to_dict(self) -> dict[str, Any]:
        """Return the classes as plain data."""
        return {"numbers": dict(self.numbers), "allowed": None if self.allowed is None else list(self.allowed)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> Classes:
        """Make classes from plain data; None stands for unknown classes."""
        if plain is None:
            return cls()
        allowed = plain["allowed"]
        return cls(dict(plain["numbers"]), None if allowed is None else tuple(allowed))


def shown_class(number: Any, names: Mapping[int, str], *, before: str = "") -> str:
    """Return what people read of a class: its name, or where it has none, its number.

    Args:
        number: The class number.
        names: The names that are known, by number.
        before: What stands before a number, since a number alone may be anything.

    >>> shown_class(1, {1: "dog"}), shown_class(2, {1: "dog"}, before="class ")
    ('dog', 'class 2')
    """
    return names.get(number, f"{before}{number}")


def listed_classes(given: Sequence[str] | Sequence[int]) -> Classes:
    """Return the classes that a user lists: names in the order of their numbers, or the allowed numbers.

    Raises:
        ValueError: If they are neither, or if one comes twice.

    >>> listed_classes(["cat", "dog"]).numbers, listed_classes([1, 2, 3]).allowed
    ({'cat': 0, 'dog': 1}, (1, 2, 3))
    """
    # A set has another order in each process, and a dict may have other numbers as values.
    has_order = isinstance(given, Iterable) and not isinstance(given, str | Set | Mapping)
    plain: list[Any] = [one.item() if isinstance(one, np.generic) else one for one in (given if has_order else ())]
    are_names = all(isinstance(one, str) for one in plain)
    are_numbers = all(isinstance(one, int) and not isinstance(one, bool) for one in plain)
    if not plain or not (are_names or are_numbers) or len(set(plain)) < len(plain):
        raise ValueError(
            f"`ActiveDataModule(classes=...)` expected the names of the classes or their numbers, each once, but got "
            f"{given!r}. Pass names in the order of their class numbers, such as `classes=['cat', 'dog']`, or the "
            "numbers that labels may be."
        )
    if are_names:
        return Classes({name: number for number, name in enumerate(plain)}, tuple(range(len(plain))))
    return Classes(allowed=tuple(plain))


def classes_of(dataset: Any) -> Classes:
    """Return the classes in a dataset's `classes` attribute, as in torchvision, or none.

    A `Subset`, or another dataset that wraps one as `dataset`, has the classes of the wrapped one. A `ConcatDataset`
    has the classes that all its parts share. A dataset with a `target_transform`, which may change labels, has none.

    >>> from torch.utils.data import TensorDataset
    >>> digits = TensorDataset()
    >>> digits.classes = ["zero", "one"]
    >>> classes_of(Subset(digits, [0])).numbers
    {'zero': 0, 'one': 1}
    """
    for _ in range(8):  # nested datasets; one may contain itself
        if getattr(dataset, "target_transform", None) is not None:
            return Classes()
        names = None if isinstance(dataset, Subset | ConcatDataset) else _names(getattr(dataset, "classes", None))
        if names is not None:
            return Classes(names)
        if isinstance(dataset, ConcatDataset):
            found = [classes_of(part) for part in dataset.datasets]
            return found[0] if found and all(one == found[0] for one in found) else Classes()
        dataset = getattr(dataset, "dataset", None)
    return Classes()


def _names(listed: Any) -> dict[str, int] | None:
    """Return the number of each name in a list, in which a class may have a tuple of names, as in ImageNet."""
    if not isinstance(listed, list | tuple | np.ndarray):
        return None
    numbers: dict[str, int] = {}
    for number, names in enumerate(listed.tolist() if isinstance(listed, np.ndarray) else listed):
        for name in names if isinstance(names, tuple | list) else (names,):
            if not isinstance(name, str):
                return None
            # ImageNet has two classes with the same name, which then stands for neither.
            numbers[name] = number if name not in numbers else -1
    return {name: number for name, number in numbers.items() if number >= 0} or None
