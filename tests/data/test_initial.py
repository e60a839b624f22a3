"""The points to begin with: every way to name them is taken as the same indices, and nothing is rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from lightning_al import ActiveDataModule
from lightning_al.data.initial import initial_indices, read_initial
from lightning_al.host.namespace import pl
from tests.support.tasks import points

INDICES = [7, 0, 3]
FORMS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "keys": lambda indices: dict.fromkeys(indices).keys(),
    "floats": lambda indices: [float(index) for index in indices],
    "NumPy scalars": lambda indices: [np.int32(index) for index in indices],
    "torch scalars": lambda indices: [torch.tensor(index) for index in indices],
    "array": np.array,
    "array of floats": lambda indices: np.array(indices, dtype=np.float32),
    "array of objects": lambda indices: np.array(indices, dtype=object),
    "tensor": torch.tensor,
    "tensor of floats": lambda indices: torch.tensor(indices, dtype=torch.float64),
}
MASKS: dict[str, Callable[[list[bool]], Any]] = {
    "list": list,
    "NumPy scalars": lambda mask: [np.bool_(one) for one in mask],
    "array": np.array,
    "tensor": torch.tensor,
}


def initial_of(given: Any, size: int = 9) -> list[int]:
    data = ActiveDataModule(points(size), initial=given)
    data.setup("fit")
    assert all(type(index) is int for index in data.pool.initial)
    return data.pool.initial


@pytest.mark.parametrize("form", list(FORMS))
def test_indices_of_any_form_keep_their_order(form: str) -> None:
    assert initial_of(FORMS[form](INDICES)) == INDICES


@pytest.mark.parametrize("form", list(MASKS))
def test_a_mask_names_the_points_where_it_is_true(form: str) -> None:
    assert initial_of(MASKS[form]([index in INDICES for index in range(9)])) == sorted(INDICES)


def test_columns_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    for column in (pandas.Index(INDICES), pandas.Series(INDICES), pandas.Series(INDICES, dtype="Int64")):
        assert initial_of(column) == INDICES
    mask = [index in INDICES for index in range(9)]
    assert initial_of(pandas.Series(mask)) == initial_of(pandas.Series(mask, dtype="boolean")) == sorted(INDICES)
    with pytest.raises(TypeError, match=r"a mask with a bool for each point, but got .* at place 1"):
        ActiveDataModule(points(3), initial=pandas.Series([True, None, False], dtype="boolean"))


def test_sets_and_ranges() -> None:
    assert initial_of({7, 0, 3}) == initial_of(frozenset({3, 7, 0})) == [0, 3, 7]
    assert initial_of(range(6, 0, -2)) == [6, 4, 2]


REFUSED: dict[str, tuple[Any, str]] = {
    "fractions": ([1.7, 5.2], r"but got 1.7 at place 0. Pass a flat list of ints"),
    "NaN": ([1.0, float("nan")], "but got nan at place 1"),
    "array of fractions": (np.array([1.0, 2.5]), "but got 2.5 at place 1"),
    "bytes": (b"123", r"but got b'123'. Pass a list"),
    "text": ("random", r"initial='random'\)` selects initial points by their features, of which"),
    "texts": (["1", "2"], "but got '1' at place 0"),
    "nested": ([[1, 2], [3, 4]], r"but got \[1, 2\] at place 0"),
    "two axes": (torch.eye(3).long(), r"but got \[1, 0, 0\] at place 0"),
    "one number": (5, r"but got 5. Pass a list. To draw points, pass `initial_size=`"),
    "one scalar": (torch.tensor(5), r"but got 5. Pass a list. To draw points"),
    "mask and indices": ([True, 2, 3], "but got True at place 0"),
    "None among them": ([1, None], "but got None at place 1"),
    "mapping": ({1: 2}, r"but got \{1: 2\}"),
    "negative": ([0, -1], r"but got -1. Pass indices of 0 or more"),
    "twice": ([3, 5, 3, 3.0], r"got indices \[3\] twice or more. Pass each once"),
    "none": (np.array([], dtype=np.int64), "`initial_size` of at least 1, but got 0 indices in `initial`"),
    "mask of nothing": ([False] * 9, "`initial_size` of at least 1, but got 0 indices in `initial`"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_names_no_points_is_refused_at_construction(case: str) -> None:
    given, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        ActiveDataModule(points(9), initial=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([3, 9], r"got indices \[9\], but the dataset has 9 points. Pass indices of at most 8"),
        ([True] * 8, "got a mask of 8 points, but the dataset has 9. Pass a mask"),
        (np.ones(10, dtype=bool), "got a mask of 10 points, but the dataset has 9"),
    ],
)
def test_what_does_not_fit_the_dataset_is_refused_at_setup(given: Any, message: str) -> None:
    data = ActiveDataModule(points(9), initial=given)
    with pytest.raises(ValueError, match=message):
        data.setup("fit")


def test_a_mask_is_one_of_the_dataset_where_a_sampler_draws_a_part() -> None:
    class Part(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(points(9), 4, sampler=SubsetRandomSampler([2, 4, 6]))

    data = ActiveDataModule(Part(), initial=[index in (4, 6) for index in range(9)])
    data.setup("fit")
    assert data.pool.initial == [4, 6]
    data = ActiveDataModule(Part(), initial=[4, 5])
    with pytest.raises(ValueError, match=r"got indices \[5\], which the sampler of the train loader does not draw"):
        data.setup("fit")


def test_a_mask_keeps_its_length() -> None:
    mask = read_initial(np.array([False, True, False]))
    assert mask == [False, True, False]
    assert initial_indices(mask, 3, range(3)) == [1]
    assert repr(ActiveDataModule(points(3), initial=mask)).endswith("initial_size=1, not set up)")


class Listing(TensorDataset):
    """Points whose labels the dataset lists, as torchvision's do, in any form."""

    def __init__(self, targets: list[Any], **attributes: Any) -> None:
        super().__init__(points(len(targets)).tensors[0])
        self.targets = targets
        vars(self).update(attributes)

    def __getitem__(self, index: int) -> Any:
        return self.tensors[0][index], self.targets[index]


@pytest.mark.parametrize("make", [np.array, torch.tensor, list])
def test_labels_may_be_vectors(make: Callable[[list[int]], Any]) -> None:
    for initial in (None, "max_herding"):
        features = None if initial is None else np.eye(9)
        data = ActiveDataModule(
            Listing([make([index % 2, 1 - index % 2]) for index in range(9)]),
            initial_size=4,
            initial=initial,
            features=features,
        )
        data.setup("fit")
        assert len(data.pool.initial) == 4
        assert not data.is_unlabelled
        assert data.with_own_label(range(9)) == []


@pytest.mark.parametrize("initial", [[0, 1, 2], [0, 1, 3], [0, 3, 4]])
def test_no_label_is_no_class_where_the_classes_are_given(initial: list[int]) -> None:
    labels = [1, -1, 1, 0, -1, 0]
    data = ActiveDataModule(Listing(labels), initial=initial, classes=["neg", "pos"])
    data.setup("fit")
    assert data.without_label() == [index for index in initial if labels[index] == -1]
    signs = ActiveDataModule(Listing([1, -1, 1, -1]), initial=[0, 1])
    signs.setup("fit")
    assert signs.without_label() == []


def test_an_attribute_of_another_meaning_is_not_taken_for_the_items_keys() -> None:
    for keys in (
        ["image", "label"],
        [0.5] * 9,
        [None] * 9,
        [True, False, True] * 3,
        "image",
        {"image": 0},
        3,
        [["a"]] * 9,
    ):
        data = ActiveDataModule(Listing([0, 1, 2] * 3, keys=keys), initial_size=4)
        data.setup("fit")
        assert data.keys is None
    for keys in (str, len, 3):
        with pytest.raises(TypeError, match="expected one key for each item, but got"):
            ActiveDataModule(Listing([0, 1, 2] * 3), initial_size=4, keys=keys).setup("fit")
    data = ActiveDataModule(Listing([0, 1, 2] * 3, keys=np.arange(9) + 7), initial_size=4)
    data.setup("fit")
    assert data.keys == [*range(7, 16)]
