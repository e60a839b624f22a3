"""Where the label is: read, hidden, replaced and left out, whatever form an item has."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from lightning_al.target import KEYS, Target


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
    hidden = target.hide(item)
    replaced = target.replace(item, 7)
    assert target.read(hidden) == -1
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
        target.hide(item)
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
    assert Target(spec).hide(item) is item


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
        Target().hide(object())


LABELS = {
    "int": 3,
    "bool": True,
    "float": 0.5,
    "str": "cat",
    "int64 tensor": torch.tensor(3),
    "uint8 tensor": torch.tensor(3, dtype=torch.uint8),
    "bool tensor": torch.tensor(True),
    "float tensor": torch.tensor([0.25, 0.75]),
    "numpy int": np.int64(3),
    "numpy float": np.float32(0.5),
    "numpy bool": np.bool_(True),
    "numpy array": np.array([3, 4]),
    "tuple": (3, torch.tensor(4)),
    "list": [3, 0.5],
    "dict": {"boxes": torch.ones(2, 4), "classes": [3, 4]},
    "namedtuple": Pair(torch.tensor(3), 4),
}


def leaves(label: Any) -> list[Any]:
    if isinstance(label, dict | tuple | list):
        parts = label.values() if isinstance(label, dict) else label
        return [leaf for part in parts for leaf in leaves(part)]
    return [label]


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_a_hidden_label_says_nothing_and_collates_as_before(label: Any) -> None:
    hidden = Target().hide((X, label))[1]
    assert type(hidden) is type(label)
    for leaf, hidden_leaf in zip(leaves(label), leaves(hidden), strict=True):
        assert type(hidden_leaf) is type(leaf)
        assert not np.any(np.asarray(hidden_leaf) == np.asarray(leaf))
    before, after = (leaves(default_collate([(X, some), (X, some)])[1]) for some in (label, hidden))
    assert [getattr(leaf, "dtype", None) for leaf in after] == [getattr(leaf, "dtype", None) for leaf in before]


def test_hidden_labels_are_the_same_for_all_labels() -> None:
    target = Target()
    for one, other in [(1, 2), (0.1, 0.2), ("a", "b"), (torch.tensor(1), torch.tensor(2)), (np.int8(1), np.int8(2))]:
        assert repr(target.hide((X, one))) == repr(target.hide((X, other)))


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
    ids=repr,
)
def test_a_new_label_has_the_type_of_the_old_one(old: Any, label: Any) -> None:
    new = Target().replace((X, old), label)[1]
    assert type(new) is type(old)
    assert getattr(new, "dtype", None) == getattr(old, "dtype", None)
    assert np.all(np.asarray(new) == np.asarray(label))
    default_collate([(X, old), (X, new)])


@pytest.mark.parametrize("old", [torch.tensor(3), np.int64(3), torch.tensor([0, 1]), 3], ids=repr)
def test_a_new_label_that_the_old_type_cannot_hold_is_refused(old: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot put the label .*0.25.* in the place of"):
        Target().replace((X, old), 0.25 if np.ndim(old) == 0 else [0.25, 0.75])


def test_the_label_of_a_batch_is_read_as_that_of_an_item() -> None:
    for make in (lambda x, y: (x, y), lambda x, y: {"x": x, "y": y}, namedtuple("Item", "x y")):
        batch = default_collate([make(X, 3), make(X, 4)])
        assert Target().read(batch).tolist() == [3, 4]
