"""What an answer becomes, by what is known of the labels: a plain label, or a refusal with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lightning_al import ActiveDataModule
from lightning_al.data.target import Target
from lightning_al.oracle.answers import AnswerError, index_of, plain_label
from lightning_al.oracle.label_rules import rules_for
from lightning_al.task.class_names import Classes, classes_of, listed_classes
from tests.support.named import shown

ANIMALS = Classes({"cat": 0, "dog": 1, "owl": 2})
RULES = {
    "class numbers of 3 outputs": rules_for([0, 2, 1], Classes(), 3),
    "class numbers alone": rules_for([0, 2, 1], Classes(), None),
    "named classes": rules_for([0, 2, 1], ANIMALS, 3),
    "named classes, outputs unknown": rules_for([0, 2, 1], ANIMALS, None),
    "listed numbers": rules_for([1, 3], Classes(allowed=(1, 2, 3)), 3),
    "one logit": rules_for([0, 1], Classes(), 1),
    "one logit, floats": rules_for([0.0, 1.0], Classes(), 1),
    "two logits": rules_for([0, 1], Classes(), 2),
    "from 1 on": rules_for([1, 3, 2], Classes(), 3),
    "signs": rules_for([-1, 1], Classes(), 2),
    "floats for classes": rules_for([0.0, 2.0], Classes(), 3),
    "regression": rules_for([0.3, -1.5], Classes(), None),
    "counts": rules_for([3, 9], Classes(), 1),
    "texts": rules_for(["cat", "dog"], Classes(), 2),
    "named texts": rules_for(["cat", "dog"], ANIMALS, 2),
    "distributions": rules_for([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], Classes(), 3),
    "several numbers": rules_for([[3, 7], [1, 2]], Classes(), None),
    "nothing known": rules_for([], Classes(), None),
}


class Lying(int):
    """A whole number that says of itself to be another."""

    def __int__(self) -> int:
        return 1

    __index__ = __float__ = __int__  # type: ignore[assignment]


class LyingText(str):
    def __str__(self) -> str:
        return "cat"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("cat")


@Real.register
class Raising:
    """A number of a type of its own, as pandas' NA, of which nothing can be asked."""

    def __float__(self) -> float:
        raise RuntimeError("never")

    __index__ = __int__ = __bool__ = __eq__ = __float__  # type: ignore[assignment]


MASKED = [np.ma.masked, np.ma.array([2], mask=[True]), np.ma.array(2, mask=True), np.ma.array([0, 1, 0], mask=True)]
MASKED += [[np.ma.masked], [0.5, np.ma.masked, 0.5], np.array([np.ma.masked], dtype=object)]

NO_NUMBERS = [np.datetime64("NaT"), np.timedelta64("NaT"), np.timedelta64(2, "ns"), np.timedelta64(2, "D"), None, ...]
NO_NUMBERS += [np.array([2], "m8[ns]"), [np.timedelta64(2, "ns")], np.array(b"2"), np.bytes_(b"2"), bytearray(b"2")]
NO_NUMBERS += [memoryview(b"2"), np.void(b"2"), np.array((2,), dtype=[("a", int)]), torch.tensor(2 + 0j), Decimal(2)]
NO_NUMBERS += [Decimal("NaN"), {2}, range(2, 3), iter([2])]

TAKEN: list[tuple[str, Any, Any]] = [
    *(("class numbers of 3 outputs", one, 2) for one in (2, 2.0, np.int64(2), np.float32(2), torch.tensor(2))),
    *(("class numbers of 3 outputs", one, 2) for one in (torch.tensor([2.0]), np.array([[2]]), "2", Fraction(2))),
    ("class numbers of 3 outputs", IntEnum("Colour", "red green")(2), 2),
    ("class numbers of 3 outputs", IntFlag("Colour", "red green")(2), 2),  # type: ignore[call-overload]
    ("named classes", StrEnum("Animal", "owl").owl, 2),  # type: ignore[attr-defined]
    ("class numbers of 3 outputs", [0.25, 0.5, 0.25], [0.25, 0.5, 0.25]),
    ("class numbers of 3 outputs", torch.tensor([0.0, 1.0, 0.0]), [0.0, 1.0, 0.0]),
    ("class numbers alone", 99, 99),
    ("named classes", "owl", 2),
    ("named classes", np.str_("dog"), 1),
    ("named classes, outputs unknown", "owl", 2),
    ("listed numbers", 3, 3),
    ("one logit", True, 1),
    ("one logit", np.False_, 0),
    ("one logit, floats", 0.25, 0.25),
    ("one logit, floats", True, 1),
    ("two logits", torch.tensor(True), 1),
    ("from 1 on", 3, 3),
    ("from 1 on", 4, 4),
    ("signs", -1, -1),
    ("floats for classes", 1.0, 1),
    ("regression", 7, 7),
    ("regression", np.float64(-0.5), -0.5),
    ("counts", 14, 14),
    ("texts", "owl", "owl"),
    ("named texts", "owl", "owl"),
    ("distributions", (0.0, 0.0, 1.0), [0.0, 0.0, 1.0]),
    ("several numbers", np.array([5, 6]), [5, 6]),
    ("nothing known", {"boxes": np.zeros((1, 2)), "names": ["cat"]}, {"boxes": [[0.0, 0.0]], "names": ["cat"]}),
    ("nothing known", [3], [3]),
    ("nothing known", [[1], [2, 3]], [[1], [2, 3]]),
    ("nothing known", {"labels": torch.tensor([1])}, {"labels": [1]}),
    ("nothing known", np.longdouble(0.5), 0.5),
    ("class numbers alone", torch.tensor(2.0**24 + 1, dtype=torch.float64), 2**24 + 1),
    ("distributions", torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64), [0.1, 0.2, 0.7]),
    ("regression", torch.tensor(0.1, dtype=torch.float64), 0.1),
    ("regression", Lying(2), 2),
    ("class numbers of 3 outputs", Lying(2), 2),
    ("named classes", LyingText("owl"), 2),
    ("class numbers of 3 outputs", np.ma.array([2], mask=[False]), 2),
    ("class numbers of 3 outputs", np.array(2, dtype=object), 2),
    ("nothing known", "cat", "cat"),
]

REFUSED: list[tuple[str, Any, str]] = [
    *(
        ("class numbers of 3 outputs", one, "not one of the class numbers from 0 to 2")
        for one in (99, -1, -100, 3.0, "3")
    ),
    ("class numbers of 3 outputs", 0.5, "not a whole number"),
    ("class numbers of 3 outputs", "cat", "is text, but labels are class numbers, from 0 to 2, whose names are not"),
    ("class numbers of 3 outputs", [1], "is a list"),
    ("class numbers of 3 outputs", [0.5, 0.5], "is several numbers"),
    ("class numbers of 3 outputs", [2, 1, 0], "is several numbers"),
    ("class numbers of 3 outputs", True, "is a truth value"),
    ("class numbers of 3 outputs", np.zeros(0), "is several numbers"),
    ("class numbers of 3 outputs", {"class": 1}, "the label .* came as a dict, but"),
    ("class numbers of 3 outputs", np.datetime64("2020-01-01"), "is of type datetime64"),
    ("class numbers of 3 outputs", Enum("Colour", "red").red, "is of type Colour, which is not plain data"),  # type: ignore[attr-defined]
    ("class numbers of 3 outputs", 1 + 2j, "is of type complex"),
    ("class numbers of 3 outputs", np.complex64(1), "is of type complex64"),
    ("class numbers of 3 outputs", b"2", "is of type bytes"),
    *(("class numbers of 3 outputs", one, "is masked, so it has no value") for one in MASKED),
    *(("class numbers of 3 outputs", one, "is of type .*, which is not plain data") for one in NO_NUMBERS),
    *(
        ("class numbers of 3 outputs", np.array([one], dtype=object), "which is not plain data")
        for one in (None, b"2", 2j)
    ),
    ("class numbers of 3 outputs", Raising(), "label .* could not be read .RuntimeError: never"),
    ("class numbers of 3 outputs", Fraction(2 * 10**30 + 1, 10**30), "is not a number that a float holds"),
    ("class numbers of 3 outputs", 10**400, "larger than any number that a tensor can hold"),
    ("class numbers of 3 outputs", print, "is of type builtin_function_or_method"),
    ("class numbers alone", -1, "is below 0"),
    ("class numbers alone", 2**70, "larger than any number that a tensor can hold"),
    ("named classes", "oowl", "not the name of a class; the closest is 'owl'"),
    ("named classes", "zebra", "not the name of a class; known are cat, dog, owl"),
    ("named classes", "2", "not the name of a class"),
    ("named classes, outputs unknown", 3, "not one of the class numbers from 0 to 2"),
    ("listed numbers", 0, "not one of the class numbers 1, 2, 3"),
    ("one logit", 2, "not one of the class numbers from 0 to 1"),
    ("one logit, floats", 1.5, "is not between 0 and 1"),
    ("from 1 on", -1, "is below 0"),
    ("signs", 0, "not one of the class numbers -1, 1"),
    ("regression", "high", "is text, but labels are numbers"),
    ("regression", [0.5, 0.5], "several numbers, but labels are numbers"),
    ("regression", True, "is a truth value"),
    ("texts", 1, "is one number, but labels are texts"),
    ("named texts", "zebra", "not the name of a class"),
    ("distributions", [0.5, 0.5], r"has the shape \[2\], but labels have \[3\]"),
    ("distributions", [1.0, 1.0, 1.0], "is not a distribution over classes, as labels are"),
    ("distributions", [0.5, float("nan"), 0.5], "holds a number that is not finite"),
    ("distributions", np.ma.array([0.5, 0.5, 0.0], mask=[0, 0, 1]), "is masked"),
    ("distributions", [0.5, np.ma.masked, 0.5], "is masked"),
    ("several numbers", [2**64 - 1, 1], "has a number that no tensor"),
    ("nothing known", {"boxes": [[float("nan")]]}, "has a number that no tensor can hold"),
    ("nothing known", [10**30, 0], "has a number that no tensor"),
    ("distributions", 1, "is one number, but labels are several numbers each"),
]

NOT_FINITE = [float("nan"), float("inf"), np.float32("nan"), torch.tensor(float("-inf"))]


@pytest.mark.parametrize(("kind", "answer", "label"), TAKEN, ids=shown)
def test_an_answer_of_any_type_becomes_a_plain_label(kind: str, answer: Any, label: Any) -> None:
    found = plain_label(answer, RULES[kind])
    assert found == label
    assert type(found) is type(label)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("kind", "answer", "reason"), REFUSED, ids=shown)
def test_what_can_be_no_label_is_refused_with_the_reason(kind: str, answer: Any, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        plain_label(answer, RULES[kind])


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("answer", NOT_FINITE, ids=shown)
def test_what_is_not_finite_is_refused_whatever_is_known(kind: str, answer: Any) -> None:
    with pytest.raises(AnswerError, match="finite"):
        plain_label(answer, RULES[kind])
    with pytest.raises(AnswerError, match=r"not finite|several numbers|a list|shape"):
        plain_label([0.5, answer, 0.5], RULES[kind])


@given(seen=st.lists(st.integers(-3, 8), min_size=1), num_outputs=st.integers(2, 6), answer=st.integers(-5, 12))
def test_a_class_number_is_below_the_outputs_wherever_all_known_ones_are(
    seen: list[int], num_outputs: int, answer: int
) -> None:
    rules = rules_for(seen, Classes(), num_outputs)
    outside = any(not 0 <= number < num_outputs for number in seen)
    try:
        assert plain_label(answer, rules) == answer
    except AnswerError:
        assert outside or not 0 <= answer < num_outputs
    else:
        assert outside or 0 <= answer < num_outputs
        assert answer >= 0 or answer in seen


@given(
    st.sampled_from(list(RULES)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=2), parts, max_size=2),
    ),
)
def test_whatever_is_answered_is_plain_or_refused(kind: str, answer: Any) -> None:
    try:
        label = plain_label(answer, RULES[kind])
    except AnswerError:
        return
    assert json.loads(json.dumps(label)) == label
    assert plain_label(label, RULES[kind]) == label, "a label that was taken is taken again"


INDEX_14 = [14, 14.0, np.int64(14), np.float32(14), np.uint8(14), torch.tensor(14), torch.tensor([14]), "14", "14.0"]
INDEX_14 += [torch.tensor(14, dtype=torch.bfloat16), np.longdouble(14), np.str_("14"), IntEnum("Point", {"p": 14})(14)]
INDEX_14 += [np.ma.array(14, mask=False), torch.tensor(14.0, dtype=torch.float64)]


@pytest.mark.parametrize("key", INDEX_14)
def test_an_index_of_any_type_becomes_a_whole_number(key: Any) -> None:
    assert index_of(key) == 14
    assert type(index_of(key)) is int


NO_INDEX = [True, np.True_, torch.tensor(True), 14.5, float("nan"), None, "", "a", "-1x", (14, 1), [1, 2], b"14"]
NO_INDEX += [*MASKED, *NO_NUMBERS, Raising(), 2j, float("inf"), "9" * 400, torch.tensor(14.5), "1_4", Fraction(29, 2)]
NO_INDEX += [np.longdouble(14) + np.longdouble(1e-18), torch.empty((), device="meta"), np.array("14")]


@pytest.mark.parametrize("key", NO_INDEX, ids=shown)
def test_what_is_no_index_is_refused(key: Any) -> None:
    with pytest.raises(AnswerError, match="which is not an index"):
        index_of(key)


@pytest.mark.parametrize(
    "exact", [2**24 + 1, 2**53 + 1, np.int64(2**53 + 1), f"{2**53 + 1}", torch.tensor(2.0**24 + 1, dtype=torch.float64)]
)
def test_no_index_is_rounded(exact: Any) -> None:
    assert index_of(exact) == int(exact)


@pytest.mark.parametrize(
    "rounded",
    [np.float16(2049), np.float32(2**24 + 1), float(2**53 + 1), torch.tensor(257, dtype=torch.bfloat16)],
    ids=shown,
)
def test_an_index_in_a_type_that_takes_two_for_one_is_refused(rounded: Any) -> None:
    with pytest.raises(AnswerError, match="which is not an index"):
        index_of(rounded)


def test_an_index_is_what_it_is_and_not_what_it_says() -> None:
    assert index_of(Lying(14)) == 14


# The names of classes.


class Named(Dataset[Any]):
    def __init__(self, classes: Any, **attributes: Any) -> None:
        self.classes = classes
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(2), index % 2


class Wrapping(Dataset[Any]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset


NAMES = ["cat", "dog"]
WITH_NAMES: dict[str, Callable[[], Any]] = {
    "a list": lambda: Named(NAMES),
    "a tuple": lambda: Named(tuple(NAMES)),
    "an array": lambda: Named(np.array(NAMES)),
    "a part": lambda: Subset(Named(NAMES), [1, 2]),
    "a part of a part": lambda: Subset(Subset(Named(NAMES), [1, 2]), [0]),
    "joined": lambda: ConcatDataset([Named(NAMES), Subset(Named(NAMES), [1])]),
    "wrapped": lambda: Wrapping(Subset(Named(NAMES), [1])),
}
WITHOUT_NAMES: dict[str, Callable[[], Any]] = {
    "none": lambda: TensorDataset(torch.zeros(2)),
    "numbers": lambda: Named([0, 1]),
    "a number": lambda: Named(2),
    "none of them": lambda: Named([]),
    "changed labels": lambda: Named(NAMES, target_transform=lambda label: 1 - label),
    "a part with changed labels": lambda: Subset(Named(NAMES, target_transform=lambda label: 1 - label), [0]),
    "joined, of two orders": lambda: ConcatDataset([Named(NAMES), Named(NAMES[::-1])]),
    "joined, with one that has none": lambda: ConcatDataset([Named(NAMES), TensorDataset(torch.zeros(2))]),
}


@pytest.mark.parametrize("name", WITH_NAMES)
def test_a_dataset_names_its_classes(name: str) -> None:
    assert classes_of(WITH_NAMES[name]()) == Classes({"cat": 0, "dog": 1})


@pytest.mark.parametrize("name", WITHOUT_NAMES)
def test_names_that_say_nothing_of_labels_are_not_used(name: str) -> None:
    assert classes_of(WITHOUT_NAMES[name]()) == Classes()


def test_a_dataset_that_holds_itself_has_an_end() -> None:
    dataset = Wrapping(None)
    dataset.dataset = dataset
    assert classes_of(dataset) == Classes()


def test_several_names_may_stand_for_a_class_and_a_name_of_two_for_none() -> None:
    assert classes_of(Named([("crane", "bird"), ("crane", "machine")])).numbers == {"bird": 0, "machine": 1}


@pytest.mark.parametrize(
    "given",
    [
        [],
        "cat",
        ["cat", "cat"],
        [1, 1],
        ["cat", 1],
        [True, False],
        [0.5],
        [None],
        3,
        {"cat", "dog"},
        {"dog": 1, "cat": 0},
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="expected the names of the classes or their numbers, each once, but got"):
        ActiveDataModule(Named(NAMES), initial_size=1, classes=given)


def test_classes_survive_the_journal() -> None:
    for classes in (listed_classes(NAMES), listed_classes(np.array([3, 5])), Classes(), Classes({"cat": 0})):
        assert Classes.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes
    assert Classes.from_dict(None) == Classes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (torch.tensor([1.0]), torch.tensor([0.0])),
        (np.array([1.0]), np.array([0.0])),
        ([1], [0]),
        (torch.tensor([[3]]), torch.tensor([[0]])),
    ],
    ids=shown,
)
def test_one_number_takes_the_shape_of_the_label_that_it_replaces(old: Any, new: Any) -> None:
    found = Target().replace((0.5, old), 0)[1]
    assert type(found) is type(new)
    assert np.array_equal(found, new)
    assert np.shape(found) == np.shape(new)
