"""A person who labels a few points at a time, and datasets without labels, for the command line."""

from __future__ import annotations

import csv
import itertools
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from lightning_al import Answer, Oracle, Query
from lightning_al.demos.digits import Digits
from lightning_al.oracle import telling

STARTS = itertools.count()


class Unlabelled(Digits):
    """The digits, whose labels a person knows."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        images, labels = self.train.tensors
        self.train = TensorDataset(images, torch.full_like(labels, -1))


def new_order(diary: Path, size: int) -> list[int]:
    """Return an order of items: their own before anybody was asked, and then another at each start."""
    order = list(range(size))
    if diary.exists():
        random.Random(f"{os.getpid()} {next(STARTS)}").shuffle(order)
    return order


class Keyed(TensorDataset):
    """The digits with keys, in another order at each start once somebody was asked, as `new_order` says."""

    def __init__(self, diary: str, batch_size: int, test_size: int, repeats: int, noise: float, seed: int) -> None:
        data = Unlabelled(test_size=test_size)
        data.setup()
        order = new_order(Path(diary), len(data.train))
        super().__init__(*(values[order] for values in data.train.tensors))
        self.keys = [f"{number:03}.png" for number in order]


def tested() -> TensorDataset:
    """Return the digits that are left for a test."""
    data = Digits(test_size=1500)
    data.setup()
    return data.test


def number_of(key: Any) -> int:
    """Return the number of an item before any new order."""
    return int(str(key).removesuffix(".png"))


class Diary(Oracle):
    """A person who answers three questions at a time, and writes down what was asked, answered and acknowledged.

    Args:
        path: Where to write it down.
        who: A name, which the answers say then, with how long they took.
        labels: The label of each point, by default those of the digits.
    """

    def __init__(self, path: str, who: str | None = None, labels: Sequence[int] | None = None) -> None:
        self.path = Path(path)
        self.who = who
        self.labels = labels
        if labels is None:
            truth = Digits(test_size=1500)
            truth.setup()
            self.labels = truth.train.tensors[1].tolist()

    def label(self, query: Query) -> Iterator[tuple[int, Any]]:
        for index in query:
            self.note("asked", index)
        for index, key in zip(query.indices[:3], query.keys, strict=False):
            self.note("answered", index)
            yield index, self.answer(key)
            self.note("acknowledged", index)

    def answer(self, key: Any) -> Any:
        number = number_of(key)
        label = self.labels[number]
        return label if self.who is None else Answer(label, seconds=number % 7 + 0.5, who=self.who)

    def tell(self, folder: Path) -> None:
        """Tell a run in a folder all answers that it awaits, by key, two at a time."""
        query = telling.pending_in(folder)
        if query is None:
            return
        for index in query:
            self.note("asked", index)
        for start in range(0, len(query), 2):
            points, keys = query[start : start + 2], query.keys[start : start + 2]
            telling.tell(folder, {key: self.answer(key) for key in keys}, by="key")
            for index in points:
                self.note("acknowledged", index)

    def fill_in(self, folder: Path, names: Sequence[str]) -> None:
        """Fill in three lines of each table in a folder, and save it."""
        for path in sorted(folder.glob("queries/[!.]*.csv")):
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            empty = [row for row in rows if not row["label"]]
            for row in empty:
                self.note("asked", int(row["index"]))
            for row in empty[:3]:
                row["label"] = names[self.labels[number_of(row["key"])]]
            saved = path.with_name(".saved")
            with saved.open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0].keys())
                table.writeheader()
                table.writerows(rows)
            os.replace(saved, path)
            for row in empty[:3]:
                self.note("acknowledged", int(row["index"]))

    def note(self, what: str, index: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{what} {index}\n")
