"""The rows of a table as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.scale import Scale


class TableRows(Dataset[Any]):
    """Give the rows of a table as inputs, with the labels that are known.

    An item is ``(input, label)``: a text or a vector ``[num_inputs]`` of floats, and the class number, or None if there
    is no label.

    Args:
        inputs: The texts, or the numbers ``[n, num_inputs]``.
        targets: The class number of each row, or None.
        classes: Names of the classes.
        keys: What each row is known by, if the table says it.
        scale: By what numbers are standardised; None leaves them as they are.

    Attributes:
        inputs: The texts, or the vectors ``[n, num_inputs]``, standardised.
        scale: By what they are standardised, or None.
        keys: What each row is known by, or None: numbers of rows change when rows are added.
        targets: The class number of each row, or None.
        classes: Names of the classes in the order of their numbers.
        num_inputs: Length of an input vector; None for texts.

    >>> rows = TableRows(["good", "bad"], [None, 1], ["pos", "neg"])
    >>> rows[1]
    ('bad', 1)
    """

    def __init__(
        self,
        inputs: Sequence[str] | Tensor,
        targets: Sequence[int | None],
        classes: Sequence[str],
        keys: Sequence[str] | None = None,
        scale: Scale | None = None,
    ) -> None:
        self._given = inputs
        self.inputs = inputs
        self.scale: Scale | None = None
        if scale is not None:
            self.standardise_by(scale)
        self.targets = list(targets)
        self.classes = list(classes)
        self.keys = None if keys is None else list(keys)
        self.num_inputs = inputs.shape[1] if isinstance(inputs, Tensor) else None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[str | Tensor, int | None]:
        return self.inputs[index], self.targets[index]

    def standardise_by(self, scale: Scale) -> None:
        """Standardise the numbers by a scale, in place of the present one."""
        assert isinstance(self._given, Tensor)
        self.scale, self.inputs = scale, scale.standardised(self._given)
