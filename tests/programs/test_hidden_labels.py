"""Programs whose collate function, transfer hook or loss needs valid labels: the pool's are hidden by valid ones.

A score cannot see them: it is the same, bit for bit, whatever the labels of the unlabelled points are.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.data.target import Target
from lightning_al.data.views import Hidden
from lightning_al.host.namespace import pl
from tests.support.net import LitNet
from tests.support.samples import predict_pool
from tests.support.tasks import CLASSES, Items, points, trainer

N = 20
NAMES = ["cat", "dog", "owl", "pig"]


class Animal(enum.Enum):
    CAT = "cat"
    DOG = "dog"
    OWL = "owl"
    PIG = "pig"


ANIMALS = list(Animal)


class Named(NamedTuple):
    kind: int
    weight: float


@dataclass(frozen=True)
class Boxes:
    corners: Tensor
    kinds: Tensor


class Kind(NamedTuple):
    """A kind of label: how a class is written, and how a batch of them is read by the user's collate function."""

    label: Callable[[int], Any]
    classes: Callable[[list[Any]], Any]


def numbers(labels: list[Any]) -> Tensor:
    classes = torch.tensor([int(label) for label in labels])
    assert ((classes >= 0) & (classes < CLASSES)).all(), "this collate function takes class numbers only"
    return classes


def one_hot(y: int) -> Tensor:
    return F.one_hot(torch.tensor(y), CLASSES).float()


def boxes_of(y: int) -> dict[str, Any]:
    corners = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(y + 1, 1)
    return {"corners": corners, "kinds": [y] * (y + 1)}


def proper(label: dict[str, Any]) -> int:
    widths = label["corners"][:, 2] - label["corners"][:, 0]
    assert (widths > 0).all()
    assert len(label["kinds"]) == len(widths)
    return int(label["kinds"][0])


def shade(y: int) -> Image.Image:
    return Image.new("L", (3, 2), y)


KINDS: dict[str, Kind] = {
    "int": Kind(lambda y: y, numbers),
    "bool": Kind(lambda y: y % 2 == 0, lambda labels: torch.tensor([{True: 0, False: 1}[label] for label in labels])),
    "float": Kind(lambda y: 0.25 * y, lambda labels: numbers([4 * label for label in labels])),
    "name": Kind(lambda y: NAMES[y], lambda labels: numbers([NAMES.index(label) for label in labels])),
    "enum": Kind(lambda y: ANIMALS[y], lambda labels: numbers([ANIMALS.index(Animal(label)) for label in labels])),
    "numpy int": Kind(np.int64, lambda labels: numbers(np.stack(labels).tolist())),
    "numpy array": Kind(lambda y: np.array([y, y]), lambda labels: numbers(np.stack(labels)[:, 0].tolist())),
    "tensor": Kind(torch.tensor, lambda labels: numbers(torch.stack(labels).tolist())),
    "uint8": Kind(lambda y: torch.tensor(y, dtype=torch.uint8), lambda labels: numbers(torch.stack(labels).tolist())),
    "one-hot": Kind(one_hot, lambda labels: numbers([label.tolist().index(1.0) for label in labels])),
    "named tuple": Kind(lambda y: Named(y, 0.5), lambda labels: numbers([label.kind for label in labels])),
    "dict": Kind(lambda y: {"kind": y, "name": NAMES[y]}, lambda labels: numbers([label["kind"] for label in labels])),
    "object": Kind(lambda y: SimpleNamespace(kind=y), lambda labels: numbers([label.kind for label in labels])),
    "frozen dataclass": Kind(
        lambda y: Boxes(torch.eye(4)[: y + 1], torch.full((y + 1,), y)),
        lambda labels: numbers([label.kinds[0] for label in labels if len(label.corners) == len(label.kinds)]),
    ),
    "boxes": Kind(boxes_of, lambda labels: numbers([proper(label) for label in labels])),
    "tokens": Kind(lambda y: [y] * (2 + y), lambda labels: numbers([label[-1] for label in labels])),
    "mask": Kind(shade, lambda labels: numbers([label.getpixel((0, 0)) for label in labels])),
}


class Labelled(Dataset[Any]):
    """Points with labels of some kind, which may be dealt out anew to all but the first six."""

    def __init__(self, kind: Kind, seed: int | None = None) -> None:
        self.x = points(N).tensors[0]
        self.classes = [index % CLASSES for index in range(N)]
        if seed is not None:
            others = self.classes[6:]
            random.Random(seed).shuffle(others)
            self.classes[6:] = others
        self.kind = kind

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.kind.label(self.classes[index])


class Kept(ActiveLearning):
    """Keep what the pool was predicted to be, and by which labels it was hidden."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.log_probs = torch.cat(list(predict_pool(trainer, pl_module, data, posterior=MCDropout(2), seed=0)))
        self.labels = [batch[1] for batch in data.pool_dataloader()]


def round_of(tmp_path: Path, dataset: Dataset[Any], collate: Any, **arguments: Any) -> Kept:
    torch.manual_seed(0)
    active = Kept("bald", query_size=3, max_rounds=2, posterior=MCDropout(2), **arguments)
    data = ActiveDataModule(dataset, initial=range(6), batch_size=4, collate_fn=collate)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitNet(), datamodule=data)
    return active


# The library passes a label on whole; each kind is read as a class in tests/data/test_target.py.
READ_ALIKE = ("bool", "float", "enum", "numpy int", "numpy array", "tensor", "uint8", "named tuple", "tokens")


@pytest.mark.parametrize(
    "kind", [pytest.param(KINDS[name], id=name, marks=[pytest.mark.slow] * (name in READ_ALIKE)) for name in KINDS]
)
def test_labels_of_the_pool_change_no_score_and_break_no_collate(tmp_path: Path, kind: Kind) -> None:
    def collate(items: list[Any]) -> Any:
        return torch.stack([x for x, _ in items]), kind.classes([label for _, label in items])

    one, other = (round_of(tmp_path, Labelled(kind, seed), collate) for seed in (None, 3))
    assert Labelled(kind).classes != Labelled(kind, 3).classes
    assert one.history[0].indices == other.history[0].indices
    assert one.history[0].scores == other.history[0].scores
    last = one.history[1].labelled
    assert len(one.log_probs) == N - last
    seen = torch.cat(one.labels)
    assert (seen == seen[0]).all(), "each has the first initial point's label"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])  # which collate by the same lines
def test_default_collate_makes_batches_of_one_type(tmp_path: Path, workers: int) -> None:
    for make in (lambda y: y, lambda y: 0.5 * y, torch.tensor, np.int64, one_hot, lambda y: {"a": (y, [0.5 * y])}):
        data = ActiveDataModule(Labelled(Kind(make, numbers)), initial=range(6), num_workers=workers)
        data.setup("fit")
        [train], [pool] = data.train_dataloader(), data.pool_dataloader()
        assert len(pool[0]) == N - 6
        expected = default_collate([make(0)] * (N - 6))
        assert repr(pool[1]) == repr(expected)
        assert type(train[1]) is type(pool[1])


def test_all_rounds_are_the_same_where_an_oracle_gives_the_labels(tmp_path: Path) -> None:
    """The dataset's own labels of the pool are then placeholders, or wrong."""
    truth = Labelled(KINDS["int"]).classes

    def ask(indices: list[int]) -> dict[int, int]:
        return {index: truth[index] for index in indices}

    class Placeholders(Labelled):
        def __getitem__(self, index: int) -> Any:
            x, label = super().__getitem__(index)
            return x, label if index < 6 else 0

    runs = []
    for dataset in (Labelled(KINDS["int"]), Labelled(KINDS["int"], 3), Placeholders(KINDS["int"])):
        torch.manual_seed(0)
        active = ActiveLearning("bald", posterior=MCDropout(3), query_size=3, max_rounds=4, oracle=ask)
        data = ActiveDataModule(dataset, initial=range(6), batch_size=4)
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitNet(), datamodule=data)
        runs.append([(round.indices, round.scores) for round in active.history])
    assert runs[0] == runs[1] == runs[2]


def test_a_model_that_computes_its_loss_in_forward(tmp_path: Path) -> None:
    """As those of transformers do, where the batch holds the labels."""

    class LitTransformer(LitNet):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
            logits = self.net(x)
            loss = F.cross_entropy(logits, labels) if labels is not None else logits.sum()
            assert loss.isfinite()
            return {"loss": loss, "logits": logits}

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(**batch)["loss"]  # type: ignore[no-any-return]

    active = ActiveLearning(
        "bald",
        posterior=MCDropout(3),
        query_size=3,
        max_rounds=2,
        forward=lambda module, batch: module(**batch)["logits"],
    )
    data = ActiveDataModule(Items(N, lambda x, y: {"x": x, "labels": y}), initial_size=6, batch_size=4)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitTransformer(), datamodule=data)
    assert len(active.history) == 2


def test_a_transfer_hook_that_makes_labels_one_hot(tmp_path: Path) -> None:
    class LitData(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(points(N), batch_size=4, shuffle=True)

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            x, y = batch
            return x, F.one_hot(y, CLASSES).float()

    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=3, max_rounds=2)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(
        LitNet(), datamodule=ActiveDataModule(LitData(), initial_size=6)
    )
    assert len(active.history) == 2


def test_token_labels_keep_the_length_of_their_text(tmp_path: Path) -> None:
    def text(x: Tensor, y: int) -> dict[str, Any]:
        length = 2 + y
        return {"x": x, "ids": list(range(length)), "labels": [-100, *range(1, length)]}

    def pad(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        longest = max(len(item["ids"]) for item in items)
        for item in items:
            assert len(item["ids"]) == len(item["labels"])
        labels = [item["labels"] + [-100] * (longest - len(item["labels"])) for item in items]
        return {"x": torch.stack([item["x"] for item in items]), "labels": torch.tensor(labels)}

    data = ActiveDataModule(Items(N, text), initial=[1, 2], batch_size=6, collate_fn=pad)
    data.setup("fit")
    labels = {label for batch in data.pool_dataloader() for label in batch["labels"].flatten().tolist()}
    assert labels == {-100, 1, 2}, "those of the first initial point, whose length is 3"


# Which label it is.


class Augmented(Labelled):
    """Labels that are drawn at random, as by mixing two items, and a count of how often an item is read."""

    reads: list[int]

    def __getitem__(self, index: int) -> Any:
        self.reads.append(index)
        x, _ = super().__getitem__(index)
        return x, torch.rand(CLASSES).softmax(0)


def test_it_is_read_once_and_draws_nothing_from_the_user_s_random_numbers() -> None:
    shown = []
    for before in (1, 2):
        dataset = Augmented(KINDS["int"])
        dataset.reads = []
        data = ActiveDataModule(dataset, initial=[4, 2])
        data.setup("fit")
        torch.manual_seed(before)
        state = torch.get_rng_state()
        data.pool_dataloader()
        assert torch.equal(torch.get_rng_state(), state)
        reads = len(dataset.reads)
        loader = data.pool_dataloader()
        assert len(dataset.reads) == reads
        shown.append(next(iter(loader))[1][0])
    assert torch.equal(shown[0], shown[1])


def test_it_is_the_first_initial_point_s_and_stays_that_after_a_resume(tmp_path: Path) -> None:
    def shown(data: ActiveDataModule) -> list[int]:
        return [label for _, y in data.pool_dataloader() for label in y.tolist()]

    data = ActiveDataModule(points(12), initial=[7, 2])
    data.setup("fit")
    assert set(shown(data)) == {7 % CLASSES}
    data.pool.label([5], {5: 0})
    assert set(shown(data)) == {7 % CLASSES}
    other = ActiveDataModule(points(12), initial=[7, 2])
    other.setup("fit")
    other.load_state_dict(data.state_dict())
    assert shown(other) == shown(data)


# What it costs.


class Counting(TorchDispatchMode):
    """Count the operations on tensors."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("label", [3, 0.5, "cat", torch.tensor(3), np.int64(3), torch.eye(3)[0]], ids=repr)
def test_hiding_an_ordinary_label_takes_no_operation_on_tensors(label: Any) -> None:
    items = [(torch.zeros(2), label) for _ in range(8)]
    stand_in = items[0][1]
    hidden = Hidden(items, range(8), Target(), True, stand_in)  # type: ignore[arg-type]
    with Counting() as counting:
        assert all(hidden[place][1] is stand_in for place in range(8))
    assert counting.count == 0
