"""Programs whose items are no plain pairs: each chooses the points that the same program chooses on plain pairs."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import sparse
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from tests.support.net import LitNet
from tests.support.tasks import CLASSES, FEATURES, trainer

N = 24
generator = torch.Generator().manual_seed(0)
# Whole numbers, which an image can hold too.
X = torch.randint(0, 9, (N, FEATURES), generator=generator).float()
Y = [index % CLASSES for index in range(N)]
ROWS = sparse.csr_matrix(X.numpy())
NAMES = ["cat", "dog", "owl", "pig"]


class Made(Dataset[Any]):
    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


def rounds(
    tmp_path: Path, module: pl.LightningModule, data: Any, **arguments: Any
) -> list[tuple[list[int], list[float]]]:
    """Run a program, and return what it chose by which scores."""
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=2, max_rounds=2)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    active_data = ActiveDataModule(data, initial=range(4), batch_size=4, **arguments)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(module, datamodule=active_data)
    return [(round.indices, round.scores) for round in active.history]


@cache
def plain(tmp_path: Path) -> list[tuple[list[int], list[float]]]:
    return rounds(tmp_path, LitNet(), Made(lambda index: (X[index], Y[index])))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[int], list[float]]]:
    return plain(tmp_path_factory.mktemp("plain"))


# Inputs that only the user's collate function can read.


def dense(batch: list[Tensor]) -> Tensor:
    return torch.stack([x.to_dense().reshape(FEATURES) for x in batch])


def image(index: int) -> Image.Image:
    return Image.fromarray(X[index].numpy().astype(np.uint8)[None])


INPUTS: dict[str, tuple[Callable[[int], Any], Callable[[list[Any]], Tensor]]] = {
    "COO tensors": (lambda index: X[index].to_sparse(), dense),
    "CSR tensors": (lambda index: X[index][None].to_sparse_csr(), dense),
    "CSC tensors": (lambda index: X[index][None].to_sparse_csc(), dense),
    "BSR tensors": (lambda index: X[index][None].to_sparse_bsr((1, 2)), dense),
    "scipy rows": (lambda index: ROWS[index], lambda rows: torch.from_numpy(sparse.vstack(rows).toarray())),
    "scipy arrays": (
        lambda index: sparse.coo_array(X[index][None].numpy()),
        lambda rows: torch.from_numpy(sparse.vstack(rows).toarray()),
    ),
    "images": (image, lambda images: torch.stack([torch.from_numpy(np.array(one)[0]).float() for one in images])),
    "lists": (lambda index: X[index].tolist(), torch.tensor),
    "text": (
        lambda index: " ".join(map(str, X[index].tolist())),
        lambda texts: torch.tensor([[float(word) for word in text.split()] for text in texts]),
    ),
    "objects": (lambda index: SimpleNamespace(x=X[index]), lambda objects: torch.stack([one.x for one in objects])),
}


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state")
@pytest.mark.parametrize(("make", "join"), INPUTS.values(), ids=INPUTS)
def test_inputs_that_the_user_s_collate_function_reads(tmp_path: Path, make: Any, join: Any, expected: Any) -> None:
    def collate(items: list[Any]) -> Any:
        return join([x for x, _ in items]), torch.tensor([y for _, y in items])

    dataset = Made(lambda index: (make(index), Y[index]))
    assert next(iter(DataLoader(dataset, 4, collate_fn=collate)))[0].dtype == torch.float32, "the plain loader works"
    assert rounds(tmp_path, LitNet(), dataset, collate_fn=collate) == expected


# One input that is made of parts, and several inputs.


class Pair(NamedTuple):
    a: Any
    b: Any


class LitOfPair(LitNet):
    """A module whose one input has two parts."""

    def forward(self, pair: Any) -> Tensor:  # type: ignore[override]
        return self.net(pair[0] + pair[1])  # type: ignore[no-any-return]


class LitOfTwo(LitNet):
    """A module with two inputs."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(a + b)  # type: ignore[no-any-return]


class LitOfTwoStarred(LitOfTwo):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, y = batch
        return F.cross_entropy(self(*inputs), y)


class LitOfDict(LitNet):
    def forward(self, parts: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return self.net(parts["a"] + parts["b"])  # type: ignore[no-any-return]


class LitByName(LitOfTwo):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, y = batch
        return F.cross_entropy(self(**inputs), y)


class LitOfThree(LitOfTwo):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        a, b, y = batch
        return F.cross_entropy(self(a, b), y)


def halves(index: int) -> tuple[Tensor, Tensor]:
    return X[index] - 1, torch.ones(FEATURES)


PARTS: dict[str, tuple[type[LitNet], Callable[[int], Any]]] = {
    "a named tuple as one input": (LitOfPair, lambda index: (Pair(*halves(index)), Y[index])),
    "a tuple as one input": (LitOfPair, lambda index: (halves(index), Y[index])),
    "a list as one input": (LitOfPair, lambda index: (list(halves(index)), Y[index])),
    "a tuple for two inputs": (LitOfTwoStarred, lambda index: (halves(index), Y[index])),
    "a named tuple for two inputs": (LitOfTwoStarred, lambda index: (Pair(*halves(index)), Y[index])),
    "a dict as one input": (LitOfDict, lambda index: (dict(zip("ab", halves(index), strict=True)), Y[index])),
    "a dict for two inputs": (LitByName, lambda index: (dict(zip("ab", halves(index), strict=True)), Y[index])),
    "three parts": (LitOfThree, lambda index: (*halves(index), Y[index])),
}


@pytest.mark.parametrize(("module", "item"), PARTS.values(), ids=PARTS)
def test_inputs_of_several_parts(tmp_path: Path, module: type[LitNet], item: Any, expected: Any) -> None:
    assert rounds(tmp_path, module(), Made(item)) == expected


# Items with named parts.


@dataclass
class Record:
    x: Any
    y: Any


@dataclass(frozen=True)
class Frozen:
    x: Any
    y: Any


class Graph:
    """An object with attributes, as a graph of a library for graphs is."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x = x
        self.y = y


class Encoding(UserDict[str, Any]):
    """A mapping with attributes, as a tokenizer's output is."""

    def __getattr__(self, name: str) -> Any:
        if name == "data":
            raise AttributeError(name)
        return self.data[name]


TABLE = np.array([(x, y) for x, y in zip(X.numpy(), Y, strict=True)], dtype=[("x", "f4", FEATURES), ("y", "i8")])


class LitGraphs(LitNet):
    """A module that is called on a whole batch, which is an object too."""

    def forward(self, graph: Any) -> Tensor:  # type: ignore[override]
        return self.net(graph.x)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch), batch.y)


def join_objects(items: list[Any]) -> Graph:
    return Graph(torch.stack([item.x for item in items]), torch.tensor([int(item.y) for item in items]))


def join_rows(rows: list[Any]) -> Graph:
    return Graph(torch.tensor(np.array([row["x"] for row in rows])), torch.tensor([int(row["y"]) for row in rows]))


NAMED: dict[str, tuple[Callable[[int], Any], Any]] = {
    "objects": (lambda index: Graph(X[index], Y[index]), join_objects),
    "objects with tensors": (lambda index: Graph(X[index], torch.tensor([Y[index]])), join_objects),
    "namespaces": (lambda index: SimpleNamespace(x=X[index], y=Y[index]), join_objects),
    "dataclasses": (lambda index: Record(X[index], Y[index]), join_objects),
    "frozen dataclasses": (lambda index: Frozen(X[index], Y[index]), join_objects),
    "mappings with attributes": (lambda index: Encoding(x=X[index], y=Y[index]), join_objects),
    "rows of a structured array": (lambda index: TABLE[index], join_rows),
}


@pytest.mark.parametrize("target", ["y", None])
@pytest.mark.parametrize(("item", "join"), NAMED.values(), ids=NAMED)
def test_items_with_named_parts(tmp_path: Path, item: Any, join: Any, target: Any, expected: Any) -> None:
    chosen = rounds(tmp_path, LitGraphs(), Made(item), collate_fn=join, target=target)
    assert chosen == expected


def test_objects_that_a_dataset_keeps_are_not_changed(tmp_path: Path, expected: Any) -> None:
    kept = [Graph(X[index], Y[index]) for index in range(N)]
    assert rounds(tmp_path, LitGraphs(), kept, collate_fn=join_objects, target="y") == expected
    assert [graph.y for graph in kept] == Y


def test_an_oracle_s_label_is_put_into_an_object(tmp_path: Path) -> None:
    kept = [Frozen(X[index], -1) for index in range(N)]
    data = ActiveDataModule(kept, initial=[0, 1], collate_fn=join_objects, target="y", batch_size=N)
    data.setup("fit")
    data.pool.label([5, 6], {5: 3, 6: 2})
    [batch] = data.train_dataloader()
    assert sorted(batch.y.tolist()) == [-1, -1, 2, 3]
    assert {item.y for item in kept} == {-1}


# A batch of another form than the items.


class LitNamedBatch(LitNet):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch["x"]), batch["labels"])


def test_a_collate_function_that_makes_dicts_of_pairs(tmp_path: Path, expected: Any) -> None:
    def collate(items: list[Any]) -> dict[str, Tensor]:
        x, y = default_collate(items)
        return {"x": x, "labels": y}

    dataset = Made(lambda index: (X[index], Y[index]))
    for target in (None, 1, -1):
        assert rounds(tmp_path, LitNamedBatch(), dataset, collate_fn=collate, target=target) == expected


def test_a_collate_function_that_makes_pairs_of_dicts(tmp_path: Path, expected: Any) -> None:
    def collate(items: list[Any]) -> Any:
        return torch.stack([item["x"] for item in items]), torch.tensor([NAMES.index(item["klass"]) for item in items])

    dataset = Made(lambda index: {"x": X[index], "klass": NAMES[Y[index]], "id": index})
    assert rounds(tmp_path, LitNet(), dataset, collate_fn=collate, target="klass") == expected


def test_a_batch_whose_labels_are_under_another_name_is_refused_with_a_remedy(tmp_path: Path) -> None:
    class LitAnswers(LitNet):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return F.cross_entropy(self(batch["pixels"]), batch["answers"])

    def collate(items: list[Any]) -> dict[str, Tensor]:
        x, y = default_collate(items)
        return {"pixels": x, "answers": y}

    dataset = Made(lambda index: (X[index], Y[index]))
    with pytest.raises(
        ValueError, match=r"target=1\)` says .* \{pixels: Tensor \[\d+, 8\] of float32, answers: .*`forward=`"
    ):
        rounds(tmp_path, LitAnswers(), dataset, collate_fn=collate, target=1)


# Arrays as data.


def test_two_arrays_are_the_dataset_of_their_rows(tmp_path: Path, expected: Any) -> None:
    x, y = X.numpy(), np.array(Y)
    pairs: list[Any] = [
        (x, y),
        [x, y],
        (X, torch.tensor(Y)),
        (x.astype(np.float64), y.astype(np.int32)),
        (x.astype(np.float64), Y),
        (x.tolist(), Y),
        (x[::-1][::-1], y.astype(">i2")),
        (np.array(x, dtype=object), np.array(y, dtype=object)),
    ]
    for pair in pairs:
        assert rounds(tmp_path, LitNet(), pair) == expected


def test_arrays_are_validated_and_tested_on_too(tmp_path: Path) -> None:
    class LitMeasured(LitNet):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.log("val_acc", (self(x).argmax(1) == y).float().mean())

        def test_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            self.log("test_acc", (self(x).argmax(1) == y).float().mean())

    x, y = X.numpy().astype(np.float64), np.array(Y)
    active = ActiveLearning("random", query_size=2, max_rounds=2)
    data = ActiveDataModule((x, y), val=(x[:8], y[:8]), test=[x[8:], Y[8:]], pool_dataset=(x, y), initial_size=4)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMeasured(), datamodule=data)
    assert {"val_acc", "test_acc"} <= active.history[0].metrics.keys()
    assert active.history[0].validation_labels == 8


def test_labels_that_are_fractions_stay_fractions() -> None:
    data = ActiveDataModule((X.numpy().astype(np.uint8), np.linspace(0, 1, N)), initial=[3])
    data.setup("fit")
    [(x, y)] = data.train_dataloader()
    assert (x.dtype, y.dtype) == (torch.uint8, torch.float32)


def test_two_items_are_no_pair_of_arrays() -> None:
    for items in ([(X[0], 0), (X[1], 1)], (Pair(X[0], 0), Pair(X[1], 1)), Pair((X[0], 0), (X[1], 1))):
        data = ActiveDataModule(items, initial=[1])
        data.setup("fit")
        assert data.pool.size == 2
        assert data.class_of(1) == 1


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            (X.numpy(), Y[:-1]),
            r"`ActiveDataModule\(data=...\)` got 24 inputs and 23 labels. Pass one label for each",
        ),
        (
            (X.numpy(), [NAMES[y] for y in Y]),
            r"takes arrays of numbers, but got \[str, .*which holds <U3. Make names numbers",
        ),
        ((np.array([["a"]] * N), Y), r"data=...\)` takes arrays of numbers, but got ndarray \[24, 1\]"),
        ((np.array([None] * N), Y), r"takes arrays of numbers, but got ndarray \[24\] of object, which holds object"),
        (([[1.0], [1.0, 2.0]], [0, 1]), "takes arrays of numbers, but got .*which holds object"),
    ],
)
def test_arrays_that_are_no_data_are_refused(pair: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActiveDataModule(pair, initial_size=2)


def test_arrays_in_another_place_are_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"`ActiveDataModule\(val=...\)` got 24 inputs and 3 labels"):
        ActiveDataModule((X, torch.tensor(Y)), val=(X.numpy(), [0, 1, 2]), initial_size=2)


@pytest.mark.parametrize("thing", [{"train": [1, 2]}, {"x": X, "y": Y}])
def test_a_dict_is_no_dataset(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"a map-style dataset .*but got dict. Pass one of these, or a pair of arrays"):
        ActiveDataModule(thing, initial_size=2)


# pandas, where it is installed.


def test_rows_of_a_table(tmp_path: Path, expected: Any) -> None:
    pandas = pytest.importorskip("pandas")
    columns = [f"f{place}" for place in range(FEATURES)]
    table = pandas.DataFrame(X.numpy(), columns=columns)
    table["label"] = Y

    def join(rows: list[Any]) -> Any:
        x = np.stack([row[columns].to_numpy(dtype=np.float32).reshape(FEATURES) for row in rows])
        return torch.from_numpy(x), torch.tensor([int(np.asarray(row["label"]).item()) for row in rows])

    def join_pairs(items: list[Any]) -> Any:
        return torch.stack([torch.tensor(x.to_numpy()) for x, _ in items]), torch.tensor([int(y) for _, y in items])

    forms: dict[Any, Any] = {
        lambda index: table.iloc[index]: join,
        lambda index: table.iloc[[index]]: join,
        lambda index: (table[columns].iloc[index], table["label"].iloc[index]): join_pairs,
    }
    for item, collate in forms.items():
        assert rounds(tmp_path, LitNet(), Made(item), collate_fn=collate) == expected
    assert table["label"].tolist() == Y
    for pair in ((table[columns], table["label"]), (table[columns].astype(object), table["label"].astype("Int64"))):
        assert rounds(tmp_path, LitNet(), pair) == expected
    with pytest.raises(TypeError, match=r"but got DataFrame. Pass one of these, or a pair of arrays"):
        ActiveDataModule(table, initial_size=2)
