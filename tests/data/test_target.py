"""Where the label is: read, hidden, replaced and left out, whatever form an item has."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import InitVar, dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch.utils.data import TensorDataset, default_collate
from torchvision import tv_tensors

from lightning_al import ActiveDataModule
from lightning_al.data.target import KEYS, Target
from lightning_al.values.content_hash import content_hash
from tests.support.named import shown


class Pair(NamedTuple):
    x: torch.Tensor
    y: Any


X = torch.tensor([1.0, 2.0])

ITEMS = {
    "tuple": ((X, 3), None),
    "list": ([X, 3], None),
    "three parts": ((X, X + 1, 3), None),
    "namedtuple": (Pair(X, 3), None),
    "first": ((3, X), 0),
    "second of three": ((X, 3, X + 1), 1),
    "from the end": ((X, 3, X + 1), -2),
    "dict by key": ({"x": X, "klass": 3}, "klass"),
    "key before the usual": ({"x": X, "label": 5, "klass": 3}, "klass"),
    **{f"dict with {key}": ({"x": X, key: 3}, None) for key in KEYS},
}


@pytest.mark.parametrize(("item", "spec"), ITEMS.values(), ids=ITEMS)
def test_the_label_is_read_hidden_and_replaced_in_place(item: Any, spec: Any) -> None:
    target = Target(spec)
    assert target.read(item) == 3
    hidden = target.hide(item, 5)
    replaced = target.replace(item, 7)
    assert target.read(hidden) == 5
    assert target.read(replaced) == 7
    assert target.read(item) == 3, "the item itself must not be changed"
    for other in (hidden, replaced):
        assert type(other) is type(item)
        assert repr(target.replace(other, 3)) == repr(item), "everything but the label stays"


@pytest.mark.parametrize(
    ("batch", "spec", "expected"),
    [
        ((X, X + 5), None, X),
        ([X, X + 5], None, X),
        (Pair(X, X + 5), None, X),
        ((X + 5, X), 0, X),
        ((X, X + 1, X + 5), None, (X, X + 1)),
        ((X, X + 5, X + 1), -2, (X, X + 1)),
        ({"x": X, "y": X + 5}, None, X),
        ({"a": X, "b": X + 1, "klass": X + 5}, "klass", {"a": X, "b": X + 1}),
        ({"a": X, "b": X + 1}, None, {"a": X, "b": X + 1}),
        (X, None, X),
        ((X,), None, X),
    ],
)
def test_inputs_are_the_batch_without_its_label(batch: Any, spec: Any, expected: Any) -> None:
    inputs = Target(spec).inputs(batch)
    assert type(inputs) is type(expected)
    assert repr(inputs) == repr(expected)


def test_a_function_reads_the_label_but_cannot_hide_or_replace_it() -> None:
    target = Target(lambda item: item[0]["deep"])
    item = ({"deep": 3}, X)
    assert target.read(item) == 3
    with pytest.raises(ValueError, match=r"got a function, which can read a label but not hide it.*`pool_dataset=`"):
        target.hide(item, 1)
    with pytest.raises(ValueError, match="cannot put an oracle's label into an item of type tuple"):
        target.replace(item, 1)


@pytest.mark.parametrize(
    ("item", "spec", "message"),
    [
        ({"x": X, "label": 1, "y": 2}, None, "but found both 'label' and 'y'. Say by `target=` which key it is"),
        (
            {"x": X, "klass": 1},
            None,
            r"under one of label, labels, target, targets, y, but found only \['klass', 'x'\]",
        ),
        ({"x": X, "y": 1}, "klass", r"under 'klass', but found only \['x', 'y'\]"),
        ((X, 1), "klass", r"`ActiveDataModule\(target='klass'\)` names a key, but an item is a tuple"),
        ({"x": X, "y": 1}, 1, r"`ActiveDataModule\(target=1\)` names a position, but an item is a dict"),
        ((X, 1), 2, r"`ActiveDataModule\(target=2\)` got items of only 2 parts"),
        ((X, 1), -3, r"`ActiveDataModule\(target=-3\)` got items of only 2 parts"),
        (X, None, "found no label in an item of type Tensor"),
        ((X,), None, "found no label in an item of type tuple"),
        (object(), None, "found no label in an item of type object"),
    ],
)
def test_an_unclear_label_is_refused(item: Any, spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target(spec).read(item)


@pytest.mark.parametrize(
    ("item", "spec"),
    [(X, None), (X.numpy(), None), ((X,), None), ([X], None), ({"x": X}, None), ({"x": X}, "y"), (X, "y"), (X, 1)],
)
def test_an_item_without_a_label_has_nothing_to_hide(item: Any, spec: Any) -> None:
    assert Target(spec).hide(item, 3) is item


def test_find_says_none_only_where_an_item_is_nothing_but_an_input() -> None:
    for item in (X, X.numpy(), (X,), [X]):
        assert Target().find(item) is None
    assert Target().find((X, 3)) == 3
    assert Target(lambda item: item[0]).find(X) == 1.0
    for unclear in ({"x": X}, object()):
        with pytest.raises(ValueError, match="label"):
            Target().find(unclear)


def test_an_item_of_an_unknown_type_is_not_taken_to_hold_no_label() -> None:
    with pytest.raises(ValueError, match="found no label in an item of type object"):
        Target().hide(object(), 3)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Box:
    corners: torch.Tensor
    kind: int


@dataclass
class Derived:
    """A label with a part that follows from another."""

    kind: int
    one_hot: Any = field(init=False)

    def __post_init__(self) -> None:
        self.one_hot = [int(place == self.kind) for place in range(4)]


# A label to hide, and the one that stands in for it.
LABELS: dict[str, tuple[Any, Any]] = {
    "int": (3, 1),
    "bool": (True, False),
    "float": (0.5, 2.0),
    "str": ("cat", "a dog"),
    "bytes": (b"cat", b"a dog"),
    "enum": (Color.RED, Color.BLUE),
    "none": (None, None),
    "int64 tensor": (torch.tensor(3), torch.tensor(1)),
    "uint8 tensor": (torch.tensor(3, dtype=torch.uint8), torch.tensor(1, dtype=torch.uint8)),
    "bool tensor": (torch.tensor(True), torch.tensor(False)),
    "one-hot tensor": (torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])),
    "numpy int": (np.int64(3), np.int64(1)),
    "numpy float": (np.float32(0.5), np.float32(2)),
    "numpy bool": (np.bool_(True), np.bool_(False)),
    "numpy array": (np.array([3, 4]), np.array([1, 2])),
    "tuple": ((3, torch.tensor(4)), (1, torch.tensor(2))),
    "list": ([3, 0.5], [1, 2.0]),
    "namedtuple": (Pair(torch.tensor(3), 4), Pair(torch.tensor(1), 2)),
    "dict": ({"box": torch.ones(4), "kind": 3}, {"box": torch.zeros(4), "kind": 1}),
    "ordered dict": (OrderedDict(kind=3), OrderedDict(kind=1)),
    "dataclass": (Box(torch.ones(4), 3), Box(torch.zeros(4), 1)),
    "dataclass with a derived part": (Derived(3), Derived(1)),
    "image": (Image.new("L", (3, 2), 7), Image.new("L", (3, 2), 9)),
    "sparse": (torch.eye(2).to_sparse(), torch.ones(2, 2).to_sparse()),
}


@pytest.mark.parametrize(("label", "stand_in"), LABELS.values(), ids=LABELS)
def test_a_hidden_label_is_the_one_that_stands_in(label: Any, stand_in: Any) -> None:
    before = content_hash(label), content_hash(stand_in)
    hidden = Target().hide((X, label), stand_in)[1]
    assert type(hidden) is type(stand_in)
    assert content_hash(hidden) == content_hash(stand_in)
    assert (content_hash(label), content_hash(stand_in)) == before, "neither is changed"


def token_labels(make: Any) -> tuple[Any, Any, Any]:
    return make([5, 6, 7, 8, 9]), make([1, 2]), make([1, 2, 1, 2, 1])


# A label of its own length, one of another that stands in, and what is to be seen.
LENGTHS: dict[str, tuple[Any, Any, Any]] = {
    "list of tokens": token_labels(list),
    "tensor of tokens": token_labels(torch.tensor),
    "array of tokens": token_labels(np.array),
    "names of tokens": (["x", "y", "z"], ["a", "b"], ["a", "b", "a"]),
    "fewer": ([5], [1, 2], [1]),
    "none": ([], [1, 2], []),
    "nothing to take from": ([5, 6], [], [0, 0]),
    "no tensor to take from": (torch.tensor([5, 6]), torch.tensor([], dtype=torch.int64), torch.tensor([0, 0])),
    "boxes": (torch.ones(3, 4), torch.arange(8.0).view(2, 4), torch.arange(8.0).view(2, 4)[[0, 1, 0]]),
    "a mask": (torch.ones(2, 3), torch.tensor([[1, 2]]), torch.tensor([[1, 2, 1], [1, 2, 1]])),
    "a dict of boxes": (
        {"boxes": torch.ones(2, 4), "kinds": [3, 4], "image": 7},
        {"boxes": torch.zeros(1, 4), "kinds": [1], "image": 0},
        {"boxes": torch.zeros(2, 4), "kinds": [1, 1], "image": 0},
    ),
    "annotations": ([{"kind": 3}, {"kind": 4, "more": 0.5}], [{"kind": 1}], [{"kind": 1}, {"kind": 1, "more": 0.0}]),
    "dataclass": (Box(torch.ones(2, 4), 3), Box(torch.zeros(1, 4), 1), Box(torch.zeros(2, 4), 1)),
}


@pytest.mark.parametrize(("label", "stand_in", "expected"), LENGTHS.values(), ids=LENGTHS)
def test_a_label_with_a_length_of_its_own_keeps_it(label: Any, stand_in: Any, expected: Any) -> None:
    hidden = Target().hide((X, label), stand_in)[1]
    assert content_hash(hidden) == content_hash(expected)


def test_the_boxes_of_torchvision_keep_the_size_of_their_image() -> None:
    def boxes(n: int, size: tuple[int, int], value: float) -> Any:
        return tv_tensors.BoundingBoxes(torch.full((n, 4), value), format="XYXY", canvas_size=size)

    hidden = Target().hide((X, boxes(3, (7, 9), 5.0)), boxes(1, (4, 4), 1.0))[1]
    assert type(hidden) is tv_tensors.BoundingBoxes
    assert hidden.canvas_size == (7, 9)
    assert torch.equal(hidden.as_subclass(torch.Tensor), torch.ones(3, 4))


def test_a_placeholder_of_another_kind_is_replaced_too() -> None:
    for label, stand_in in [(None, 3), (-1, torch.tensor([0.5, 0.5])), ("", 2), (torch.tensor(-1), torch.ones(3))]:
        assert Target().hide((X, label), stand_in)[1] is stand_in


def test_hidden_labels_are_the_same_for_all_labels() -> None:
    target = Target()
    for one, other in [(1, 2), (0.1, 0.2), ("a", "b"), (torch.tensor(1), torch.tensor(2)), (np.int8(1), np.int8(2))]:
        assert repr(target.hide((X, one), other)) == repr(target.hide((X, other), other))


# Items with named parts.


class Graph:
    """An object with attributes, as of a library of graphs."""

    def __init__(self, x: torch.Tensor, y: Any) -> None:
        self.x = x
        self.y = y


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x: torch.Tensor, y: Any) -> None:
        self.x = x
        self.y = y


@dataclass
class Record:
    x: torch.Tensor
    y: Any


@dataclass(frozen=True)
class Frozen:
    x: torch.Tensor
    y: Any


@dataclass
class Checked:
    x: torch.Tensor
    y: Any
    size: InitVar[int]

    def __post_init__(self, size: int) -> None:
        assert len(self.x) == size


class Batch(UserDict[str, Any]):
    """A mapping with attributes, as tokenizers give."""

    def __getattr__(self, name: str) -> Any:
        return self.data[name] if name != "data" and name in self.data else super().__getattribute__(name)


class Attributes(dict[str, Any]):
    """A dict with attributes."""

    __getattr__ = dict.__getitem__


ROWS = np.array([(1.0, 3)], dtype=[("x", "f4"), ("y", "i8")])

NAMED: dict[str, Any] = {
    "object": Graph(X, 3),
    "slots": Slotted(X, 3),
    "namespace": SimpleNamespace(x=X, y=3),
    "dataclass": Record(X, 3),
    "frozen dataclass": Frozen(X, 3),
    "dataclass with an argument that is no field": Checked(X, 3, 2),
    "user dict": Batch(x=X, y=3),
    "dict with attributes": Attributes(x=X, y=3),
    "row of a structured array": ROWS[0],
    "row of a record array": ROWS.view(np.recarray)[0],
    "namedtuple": Pair(X, 3),
}


@pytest.mark.parametrize("spec", ["y", None])
@pytest.mark.parametrize("item", NAMED.values(), ids=NAMED)
def test_a_label_is_found_by_its_name_and_the_item_is_not_changed(item: Any, spec: Any) -> None:
    target, before = Target(spec), content_hash(item)
    assert target.read(item) == target.find(item) == 3
    hidden, replaced = target.hide(item, 5), target.replace(item, 7)
    assert (target.read(hidden), target.read(replaced), target.read(item)) == (5, 7, 3)
    assert type(hidden) is type(replaced) is type(item)
    assert content_hash(item) == before
    assert content_hash(target.hide(hidden, 3)) == before, "everything but the label stays"


def test_a_named_label_may_have_any_name() -> None:
    item = SimpleNamespace(x=X, klass=3, y=1)
    assert Target("klass").read(item) == 3
    assert vars(Target("klass").hide(item, 5)) == {"x": X, "klass": 5, "y": 1}


@pytest.mark.parametrize(
    ("item", "spec", "message"),
    [
        (Graph(X, 3), "klass", r"the label of a Graph under 'klass', but found only \['x', 'y'\]. Say by `target=`"),
        (SimpleNamespace(x=X), None, r"of a SimpleNamespace under one of label, .*but found only \['x'\]"),
        (SimpleNamespace(label=1, y=1), None, "of a SimpleNamespace under one of .*found both 'label' and 'y'"),
        (Record(X, 3), 1, r"target=1\)` names a position, but an item is a Record: Record\{x: Tensor \[2\] of float32"),
        (
            Pair(X, 3),
            "klass",
            r"target='klass'\)` names a key, but an item is a Pair: \(Tensor \[2\] of float32, int\)",
        ),
        (((X, X), 3), "y", r"names a key, but an item is a tuple: \(\(Tensor .*, Tensor .*\), int\). Pass a position"),
    ],
)
def test_a_name_that_an_item_does_not_have_is_refused(item: Any, spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target(spec).read(item)


@pytest.mark.parametrize(
    "item",
    [Image.new("L", (3, 2)), sparse.csr_matrix(np.eye(2)), sparse.coo_array(np.eye(2)), X.to_sparse(), None, "a text"],
    ids=["image", "scipy matrix", "scipy array", "sparse tensor", "nothing", "text"],
)
def test_one_value_is_an_item_without_a_label(item: Any) -> None:
    for spec in (None, "y", 1):
        assert Target(spec).find(item) is None
        assert Target(spec).hide(item, 3) is item
        assert Target(spec).inputs(item) is item


# What is left for the module.


@pytest.mark.parametrize(
    ("batch", "spec", "expected"),
    [
        (((X, X + 1), X + 5), None, ((X, X + 1),)),
        ([[X, X + 1], X + 5], None, ([X, X + 1],)),
        ((Pair(X, X + 1), X + 5), None, (Pair(X, X + 1),)),
        ((X + 5, {"a": X}), 0, ({"a": X},)),
        ((X, X + 1, X + 5), None, (X, X + 1)),
        ({"x": (X, X), "y": X}, None, {"x": (X, X)}),
        (X, None, (X,)),
    ],
)
def test_an_input_is_one_argument_whatever_it_is(batch: Any, spec: Any, expected: Any) -> None:
    assert repr(Target(spec).arguments(batch)) == repr(expected)


def test_an_object_with_its_label_inside_is_one_input() -> None:
    graph = Graph(X, 3)
    assert Target("y").arguments(graph) == (graph,)
    assert Target("y").labels(graph) == 3


# A collate function may give a batch another form than the items have.


@pytest.mark.parametrize(
    ("batch", "spec", "inputs"),
    [
        ({"pixels": X, "labels": X + 5}, None, X),
        ({"pixels": X, "labels": X + 5}, 1, X),
        ({"pixels": X, "labels": X + 5}, "klass", X),
        ({"pixels": X, "labels": X + 5, "y": X}, "labels", {"pixels": X, "y": X}),
        ((X, X + 5), "klass", X),
        ([X, X + 5], "klass", X),
        (Pair(X, X + 5), "klass", X),
        (SimpleNamespace(x=X, y=X + 5), 1, None),
    ],
)
def test_a_batch_of_another_form_has_its_labels_in_the_usual_place(batch: Any, spec: Any, inputs: Any) -> None:
    target = Target(spec)
    assert torch.equal(target.labels(batch), X + 5)
    assert repr(target.inputs(batch)) == repr(batch if inputs is None else inputs)


@pytest.mark.parametrize(
    ("batch", "spec", "message"),
    [
        ({"pixels": X, "answers": [1]}, 1, r"target=1\)` says where an item has its label, but the collate function "),
        ({"pixels": X, "answers": [1]}, 1, r"of another form: \{pixels: Tensor \[2\] of float32, answers: \[int\]\}"),
        ([X, X, X], "klass", r"target='klass'\)` says where .*: \[Tensor \[2\] .*\]. Pass `forward=`, a function of"),
        ({"label": X, "y": X}, 1, "found both 'label' and 'y'"),
    ],
)
def test_a_batch_whose_labels_are_unclear_is_refused(batch: Any, spec: Any, message: str) -> None:
    for read in (Target(spec).inputs, Target(spec).labels):
        with pytest.raises(ValueError, match=message):
            read(batch)


def test_a_batch_without_labels_is_refused_where_they_are_asked_for() -> None:
    for batch, spec in [({"pixels": X}, "klass"), (X, None), ((X,), None)]:
        assert Target(spec).inputs(batch) is X
        with pytest.raises(ValueError, match=r"found no labels in a batch that the collate function made: .*Let it"):
            Target(spec).labels(batch)


# An oracle's label.


@pytest.mark.parametrize(
    ("old", "label"),
    [
        (3, 7),
        (False, 1),
        (0.5, 1),
        ("cat", "dog"),
        (torch.tensor(3), 7),
        (torch.tensor(3, dtype=torch.uint8), 7),
        (torch.tensor(0.5, dtype=torch.float64), 1),
        (torch.tensor([0.0, 1.0]), [0.25, 0.75]),
        (np.int64(3), 7),
        (np.float32(0.5), 1),
        (np.array([0.0, 1.0], dtype=np.float32), [0.25, 0.75]),
    ],
    ids=shown,
)
def test_a_new_label_has_the_type_of_the_old_one(old: Any, label: Any) -> None:
    new = Target().replace((X, old), label)[1]
    assert type(new) is type(old)
    assert getattr(new, "dtype", None) == getattr(old, "dtype", None)
    assert np.all(np.asarray(new) == np.asarray(label))
    default_collate([(X, old), (X, new)])


@pytest.mark.parametrize("old", [torch.tensor(3), np.int64(3), torch.tensor([0, 1]), 3], ids=shown)
def test_a_new_label_that_the_old_type_cannot_hold_is_refused(old: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot put the label .*0.25.* in the place of"):
        Target().replace((X, old), 0.25 if np.ndim(old) == 0 else [0.25, 0.75])


def test_the_label_of_a_batch_is_read_as_that_of_an_item() -> None:
    for make in (lambda x, y: (x, y), lambda x, y: {"x": x, "y": y}, namedtuple("Item", "x y")):
        batch = default_collate([make(X, 3), make(X, 4)])
        assert Target().read(batch).tolist() == [3, 4]


@pytest.mark.parametrize("spec", [1, 1.0, np.int64(1), np.float32(1), np.array(1), torch.tensor(1), torch.tensor(1.0)])
def test_a_position_of_any_number_type_is_a_plain_one(spec: Any) -> None:
    target = Target(spec)
    assert type(target.spec) is int
    assert target.read((0.5, 3, 4)) == 3


@pytest.mark.parametrize("spec", ["y", np.str_("y"), np.array("y")])
def test_a_key_of_any_text_type_is_one(spec: Any) -> None:
    assert Target(spec).read({"x": 0.5, "y": 3}) == 3


NO_TARGETS = [[1], (1,), {1}, {"y": 1}, True, np.True_, b"y", 1j, np.ma.masked, torch.tensor([1]), np.array([1])]


@pytest.mark.parametrize("spec", [*NO_TARGETS, object()], ids=shown)
def test_what_names_no_place_of_a_label_is_refused_at_construction(spec: Any) -> None:
    with pytest.raises(TypeError, match=r"`ActiveDataModule\(target=...\)` expected a key or a name .*Pass 1, say"):
        ActiveDataModule(TensorDataset(torch.zeros(4, 2), torch.arange(4)), initial_size=2, target=spec)


@pytest.mark.parametrize("spec", [0.5, float("nan"), np.float32(1.5)])
def test_a_position_is_whole(spec: Any) -> None:
    with pytest.raises(ValueError, match=r"`ActiveDataModule` needs `target` to be a whole number, but got"):
        Target(spec)
