"""Datasets that were read from files as a LightningDataModule that knows their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from lightning_al.data.dataset import AnyDataset
from lightning_al.data.from_datasets import FromDatasets
from lightning_al.data.scale import Scale
from lightning_al.values.whole_numbers import MOST_WORKERS, whole_number


class FromFiles(FromDatasets):
    """Serve datasets of files, and say how large a network for them is.

    Args:
        who: The function that read the files, for errors.
        train: The points to choose from, with an attribute `classes`.
        val: Validation data, if there are any.
        test: Test data, if there are any.
        batch_size: Batch size.
        num_workers: Number of worker processes.

    Attributes:
        classes: Names of the classes in the order of their numbers.
        num_classes: How many there are.
        num_inputs: Length of an input vector, or None if inputs are not vectors.

    Raises:
        ValueError: If a number is not whole or too small.
    """

    def __init__(
        self,
        who: str,
        train: Any,
        *,
        val: AnyDataset | None,
        test: AnyDataset | None,
        batch_size: int,
        num_workers: int,
    ) -> None:
        options = {
            "batch_size": whole_number(who, "batch_size", batch_size),
            "num_workers": whole_number(who, "num_workers", num_workers, least=0, most=MOST_WORKERS),
            "collate_fn": None,
            "pin_memory": False,
        }
        self._parts: list[Any] = [part for part in (train, val, test) if part is not None]
        super().__init__(train, {"val": val, "test": test, "predict": None}, options)
        self.classes: list[str] = train.classes
        self.num_classes = len(self.classes)
        self.num_inputs: int | None = getattr(train, "num_inputs", None)

    @property
    def scale(self) -> Scale | None:
        """By what inputs are standardised, or None where they are not."""
        return getattr(self.train_data, "scale", None)

    @property
    @override
    def given(self) -> dict[str, Any]:
        """The arguments that change the fitted weights, and the scale of the inputs if they have one."""
        return super().given | ({} if self.scale is None else {"scale": self.scale})

    def keep_scale(self, recorded: Any) -> None:
        """Standardise all inputs by the scale of a run, so that they are what they were when it began.

        Args:
            recorded: The scale as plain data. One that does not fit the inputs changes nothing.
        """
        scale = None if self.scale is None or self.num_inputs is None else Scale.from_plain(recorded, self.num_inputs)
        if scale is not None:
            for part in self._parts:
                part.standardise_by(scale)


def class_names(who: str, given: Sequence[str]) -> list[str]:
    """Return the names of classes as a list.

    Raises:
        ValueError: If they are not two or more names, each once.

    >>> class_names("table", ("cat", "dog"))
    ['cat', 'dog']
    """
    names = [] if isinstance(given, str | bytes) else list(given)
    wrong = not all(isinstance(name, str) and name.strip() == name != "" for name in names)
    if len(names) < 2 or wrong or len(set(names)) < len(names):
        raise ValueError(
            f"`{who}(classes=...)` expected the names of two or more classes, each once, but got {given!r}. Pass texts "
            "in the order of their class numbers, such as `classes=['cat', 'dog']`, with quotes around numbers."
        )
    return names
