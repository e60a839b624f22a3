"""A person who labels a few points at a time, and a dataset without labels, for the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from lightning_al import Answer, Oracle, Query
from lightning_al.demos.digits import Digits


class Unlabelled(Digits):
    """The digits, whose labels a person knows."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        images, labels = self.train.tensors
        self.train = TensorDataset(images, torch.full_like(labels, -1))


class Diary(Oracle):
    """A person who answers three questions at a time, and writes down what was asked, answered and acknowledged."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        truth = Digits(test_size=1500)
        truth.setup()
        self.labels = truth.train.tensors[1].tolist()

    def label(self, query: Query) -> Iterator[tuple[int, Answer]]:
        for index in query:
            self.note("asked", index)
        for index in query.indices[:3]:
            self.note("answered", index)
            yield index, Answer(self.labels[index], seconds=1.5 + index % 7, who=f"person {index % 2}")
            self.note("acknowledged", index)

    def note(self, what: str, index: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{what} {index}\n")
