"""What a dataset is known by: the same for the same data in any process, another for any other data."""

from __future__ import annotations

import dataclasses
import enum
import random
import types
import warnings
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule
from lightning_al.data.fingerprint import fingerprint
from lightning_al.values.content_hash import content_hash
from lightning_al.values.parts import form
from tests.support import programs
from tests.support.tasks import CLASSES, points

Named = namedtuple("Named", "x y")


@dataclasses.dataclass
class Record:
    x: Any
    y: int


def image(shade: int = 3, mode: str = "L") -> Image.Image:
    return Image.new(mode, (4, 2), shade)


class Animal(enum.Enum):
    CAT = 1
    DOG = 2


class Graph:
    """An object that knows its neighbour, as nodes and datasets do."""

    def __init__(self, x: Any, neighbour: Any = None) -> None:
        self.x = x
        self.neighbour = neighbour


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


def ring(x: Any) -> Graph:
    one = Graph(x)
    one.neighbour = Graph(x, one)
    return one


DENSE = torch.tensor([[0.0, 1.0, 2.0, 0.0]])

REPEATED = torch.sparse_coo_tensor(
    torch.tensor([[0, 0, 0], [2, 1, 1]]), torch.tensor([2.0, 0.5, 0.5]), (1, 4), check_invariants=True
)

with warnings.catch_warnings():
    # torch says once a process that these are young.
    warnings.simplefilter("ignore")
    SPARSE_AND_NESTED = [
        DENSE.to_sparse_csr(),
        (2 * DENSE).to_sparse_csr(),
        DENSE.to_sparse_csc(),
        DENSE.to_sparse_bsr((1, 2)),
        DENSE.to_sparse_bsc((1, 2)),
        DENSE.to_sparse_bsc((1, 4)),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(4)]),
    ]

# All of these are different contents.
CONTENTS: list[Any] = [
    0,
    1,
    -1,
    0.0,
    1.0,
    float("inf"),
    float("nan"),
    True,
    False,
    None,
    1j,
    "",
    "0",
    "1",
    "ab",
    b"ab",
    (),
    [],
    {},
    set(),
    (1,),
    [1],
    (1, 2),
    (2, 1),
    ((1,), 2),
    (1, (2,)),
    ("a", "b"),
    ("ab",),
    ("", "ab"),
    {"a": 1},
    {"a": 2},
    {"b": 1},
    {"a": 1, "b": 2},
    {"a": 2, "b": 1},
    {1: "a"},
    {1},
    {1, 2},
    Named(1, 2),
    Record(1, 2),
    Record((1,), 2),
    torch.tensor(1),
    torch.tensor(1.0),
    torch.tensor(1, dtype=torch.int32),
    torch.tensor([1]),
    torch.tensor([1, 2]),
    torch.tensor([[1, 2]]),
    torch.tensor([[1], [2]]),
    torch.tensor([1, 2], dtype=torch.uint8),
    torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    torch.tensor([1.0, 2.0], dtype=torch.float16),
    torch.tensor([1.0, float("nan")]),
    torch.tensor([True, False]),
    torch.tensor([1 + 1j, 2]),
    torch.zeros(0),
    torch.zeros(0, 2),
    torch.tensor([[0.0, 1.0]]).to_sparse(),
    torch.tensor([[0.0, 2.0]]).to_sparse(),
    torch.tensor([[1.0, 0.0]]).to_sparse(),
    DENSE.to_sparse(),
    *SPARSE_AND_NESTED,
    sparse.csr_matrix(DENSE.numpy()),
    sparse.csr_matrix(2 * DENSE.numpy()),
    sparse.csc_matrix(DENSE.numpy()),
    sparse.coo_array(DENSE.numpy()),
    sparse.coo_array(DENSE.numpy().T),
    np.array([(1.0, 2)], dtype=[("x", "f4"), ("y", "i8")])[0],
    np.array([(1.0, 3)], dtype=[("x", "f4"), ("y", "i8")])[0],
    Animal.CAT,
    Animal.DOG,
    Graph(1),
    Graph(2),
    Graph(torch.tensor(1)),
    Graph([torch.tensor(1)]),
    ring(1),
    ring(2),
    Slotted(1),
    Slotted(2),
    types.SimpleNamespace(x=1),
    types.SimpleNamespace(x=1, y=2),
    np.array(1),
    np.array([1, 2]),
    np.array([1, 2], dtype=np.int32),
    np.array([1.0, 2.0]),
    np.array([[1, 2]]),
    np.array(["a", "b"]),
    np.array([1, "b"], dtype=object),
    np.float32(1),
    np.int64(1),
    image(),
    image(4),
    image(mode="RGB"),
]


def test_contents_that_differ_have_different_hashes() -> None:
    assert len({content_hash(content) for content in CONTENTS}) == len(CONTENTS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (torch.arange(6).reshape(2, 3), torch.arange(6).reshape(3, 2).T.contiguous().T.reshape(2, 3)),
        (torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 2.0])),
        (torch.tensor([1 + 1j]).conj(), torch.tensor([1 - 1j])),
        (torch.arange(8)[::2], torch.tensor([0, 2, 4, 6])),
        (np.arange(8)[::2], np.array([0, 2, 4, 6])),
        (image(), image().copy()),
        (object(), object()),
        (ring(1), ring(1)),
        (Graph(torch.ones(2)), Graph(torch.ones(2))),
        (DENSE.to_sparse(), REPEATED),
        (sparse.coo_array(DENSE.numpy()), sparse.coo_array(([2.0, 0.5, 0.5], ([0, 0, 0], [2, 1, 1])), (1, 4), "f4")),
        (sparse.csr_matrix(DENSE.numpy()), sparse.csr_matrix(DENSE.numpy()).copy()),
    ],
)
def test_contents_that_are_the_same_have_one_hash(one: Any, other: Any) -> None:
    assert content_hash(one) == content_hash(other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda parts: st.lists(parts) | st.tuples(parts, parts) | st.dictionaries(st.text() | st.integers(), parts),
    max_leaves=8,
)


@given(plain, plain)
def test_plain_contents_have_one_hash_where_their_repr_is_one(one: Any, other: Any) -> None:
    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {"": sorted(((repr(key), ordered(part)) for key, part in value.items()), key=repr)}
        return type(value)(map(ordered, value)) if isinstance(value, list | tuple) else value

    assert (content_hash(one) == content_hash(other)) == (repr(ordered(one)) == repr(ordered(other)))


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "import torch, numpy; from lightning_al.values.content_hash import content_hash;"
        "print(content_hash({'x': torch.arange(3.), 'y': {'b', 'a'}, 'z': numpy.ones(2)}))"
    )
    here = content_hash({"x": torch.arange(3.0), "y": {"a", "b"}, "z": np.ones(2)})
    assert programs.run("-c", code).stdout.strip() == here


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ((torch.zeros(2), 1), "(Tensor of torch.float32, int)"),
        ({"pixel": np.zeros(2), "label": 1}, "{pixel: ndarray of float64, label: int}"),
        ([image(), None], "[Image, NoneType]"),
        (torch.zeros(3, dtype=torch.uint8), "Tensor of torch.uint8"),
        ((Graph(1), Animal.CAT, sparse.csr_matrix(np.eye(2))), "(Graph, Animal, csr_matrix)"),
    ],
)
def test_the_form_says_of_what_an_item_is_made(item: Any, said: str) -> None:
    assert form(item) == said


# A dataset.


class Augmented(Dataset[Any]):
    """Points with noise from any source of randomness."""

    def __init__(self, noise: Any) -> None:
        self.points = points(20)
        self.noise = noise

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> Any:
        x, y = self.points[index]
        return x + self.noise(), y


SOURCES = {
    "torch": lambda: torch.rand(8),
    "random": random.random,
    "numpy": lambda: float(np.random.rand()),
    "own entropy": lambda: float(np.random.default_rng().random()),
    "a flip": lambda: float(np.random.default_rng().integers(2)),
}


def known_by(data: Any, **arguments: Any) -> dict[str, Any]:
    active = ActiveDataModule(data, initial=[0], **arguments)
    active.setup("fit")
    return active.fingerprint


@pytest.mark.filterwarnings("ignore:.*the pool would be scored under random augmentation")
@pytest.mark.parametrize("source", SOURCES)
def test_random_augmentation_leaves_contents_out(source: str) -> None:
    prints = [known_by(Augmented(SOURCES[source])) for _ in range(5)]
    assert all(one == prints[0] for one in prints)
    assert prints[0]["contents"] is None
    assert prints[0]["labels"] == [index % CLASSES for index in range(20)]


def test_the_points_without_augmentation_are_what_counts() -> None:
    with_pool = known_by(Augmented(SOURCES["own entropy"]), pool_dataset=points(20))
    assert with_pool["contents"] == known_by(points(20))["contents"] is not None
    assert known_by(Augmented(SOURCES["own entropy"]), pool_dataset=points(20, seed=3)) != with_pool


def test_every_item_of_a_small_set_counts_and_a_sample_of_a_large_one() -> None:
    whole = known_by(points(20))
    for index in range(20):
        other = points(20)
        other.tensors[0][index, 0] += 1
        assert known_by(other)["contents"] != whole["contents"]
    asked: list[int] = []
    fingerprint(10_000, lambda index: 0, lambda index: asked.append(index))
    assert sorted(set(asked))[:: len(set(asked)) - 1] == [0, 9_999]
    assert len(set(asked)) == 32
    assert max(np.diff(sorted(set(asked)))) < 400, "spread evenly"


def test_it_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    known_by(points(20))
    assert torch.equal(before, torch.get_rng_state())


def test_an_empty_dataset_has_one_too() -> None:
    assert fingerprint(0, lambda index: 0, lambda index: 0)["length"] == 0
