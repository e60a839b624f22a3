"""What an oracle answers, made plain and checked before it is written anywhere.

Everything here asks whether an answer can be a label of this dataset, for this network. What can be no label is refused
with the reason; what comes in another type than it is written in is taken.
"""

from __future__ import annotations

import json
import math
import numbers
import operator
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_al.run.labels import Label
from lightning_al.task.class_names import Classes
from lightning_al.task.labels import ERROR_OF_SUM, as_array
from lightning_al.values.whole_numbers import LARGEST

Kind = Literal["class", "number", "text", "vector"]


class AnswerError(ValueError):
    """An answer that is no label, or for no point that was queried; the message is the reason, part of a sentence."""


@dataclass(frozen=True)
class LabelRules:
    """What a label of a dataset may be.

    Attributes:
        kind: What labels are: class numbers, other numbers, texts, or several numbers; None where that is unknown.
        classes: The classes that have names, or that the user listed.
        allowed: The class numbers that there may be, or None where any is possible.
        shape: Shape of the labels that are several numbers, where all have the same.
        num_classes: Number of entries of a soft label, where that is known.
        bounds: Least and greatest number, where labels are numbers.
        sum_to_one: Whether labels of several numbers are distributions.
        takes_truth: Whether True and False may stand for the classes 1 and 0.
    """

    kind: Kind | None = None
    classes: Classes = field(default_factory=Classes)
    allowed: Collection[int] | None = None
    shape: tuple[int, ...] | None = None
    num_classes: int | None = None
    bounds: tuple[float, float] | None = None
    sum_to_one: bool = False
    takes_truth: bool = True

    @property
    def may_be_class(self) -> bool:
        """Whether a label may be a class number."""
        return self.kind in ("class", None) or self.bounds is not None


def rules_for(known: Collection[Any], classes: Classes, num_outputs: int | None) -> LabelRules:
    """Return what labels may be, by labels that are known, the classes' names, and the number of outputs.

    A training step may change class numbers, those from 1 to C for example. So a number is held against the number of
    outputs only where all known ones are below it; a list of classes that the user gave decides in any case.

    Args:
        known: Labels that are trained on.
        classes: The classes that have names.
        num_outputs: How many outputs the network has for a point, or None where that is unknown.

    >>> rules_for([0, 2, 1], Classes(), 3).allowed
    range(0, 3)
    >>> rules_for([1, 3], Classes(), 3).allowed is None
    True
    """
    if known and all(isinstance(label, str) for label in known):
        return LabelRules("text", classes)
    arrays = [as_array(label) for label in known]
    several = [array for array in arrays if array is not None and array.ndim > 0]
    if known and len(several) == len(arrays):
        shapes = {array.shape for array in several}
        sums = all(_is_distribution(array) for array in several) and len(shapes) == 1
        return LabelRules("vector", classes, shape=shapes.pop() if len(shapes) == 1 else None, sum_to_one=sums)
    seen = [array.item() for array in arrays if array is not None and array.ndim == 0]
    if len(seen) < len(known):
        return LabelRules(classes=classes)
    if not seen:
        return LabelRules(None, classes, _allowed(set(), classes, num_outputs))
    whole = {int(number) for number in seen if float(number).is_integer()}
    are_floats = any(isinstance(number, float) for number in seen)
    num_classes = 2 if num_outputs == 1 else num_outputs
    if are_floats:
        is_binary = num_outputs == 1 and all(0 <= number <= 1 for number in seen)
        fits = num_classes is not None and num_outputs != 1 and whole <= set(range(num_classes))
        if not fits or len(whole) < len(set(seen)):
            return LabelRules("number", classes, bounds=(0.0, 1.0) if is_binary else None)
    if num_outputs == 1 and not whole <= {0, 1}:
        num_classes = None  # counts, say, which a regression predicts
    return LabelRules(
        "class",
        classes,
        _allowed(whole, classes, num_classes),
        num_classes=num_classes or len(set(classes.numbers.values())) or None,
        takes_truth=whole <= {0, 1} and num_classes in (None, 2),
    )


def _allowed(seen: set[int], classes: Classes, num_classes: int | None) -> Collection[int] | None:
    if classes.allowed is not None:
        return classes.allowed
    if num_classes is not None and seen <= set(range(num_classes)):
        return range(num_classes)
    named = set(classes.numbers.values())
    if named and seen <= named:
        return range(max(named) + 1)
    return (-1, 1) if num_classes is not None and seen and seen <= {-1, 1} else None


def index_of(key: Any) -> int:
    """Return an index that an answer is for as a plain whole number.

    Raises:
        AnswerError: If it is none.

    >>> index_of(np.int64(14)), index_of(14.0), index_of("14")
    (14, 14, 14)
    """
    with suppress(Exception):  # whatever a type may raise that is no number
        array = as_array(key)
        if array is not None and array.ndim == 0:
            number = array.item()
            if isinstance(number, float) and number.is_integer() and abs(number) < _first_inexact(key):
                return int(number)
            if isinstance(number, int) and not isinstance(number, bool):
                return number
        # Objects in JSON have their keys as text.
        elif isinstance(key, str) and (found := re.fullmatch(r"\s*(\d{1,19})(\.0*)?\s*", str.__str__(key), re.ASCII)):
            return int(found[1])
        elif not isinstance(key, np.ndarray | np.generic | Tensor):  # one that is masked, a time span
            return operator.index(key)
    raise AnswerError(f"it is for {_shown(key)}, which is no index")


def _first_inexact(number: Any) -> float:
    """Return the least whole number that a floating-point type does not tell from the next one."""
    if isinstance(number, Tensor):
        return 2 / torch.finfo(number.dtype).eps
    return 2 / float(np.finfo(np.asarray(number).dtype).eps)


def plain_label(label: Any, rules: LabelRules) -> Label:
    """Return a label as plain data.

    Scalars, and arrays of one entry, of NumPy and torch, become numbers; whole floats and names of classes become class
    numbers.

    Args:
        label: What the oracle answered for a point.
        rules: What labels of the dataset may be.

    Raises:
        AnswerError: If it can be no label.

    >>> rules = rules_for([0, 1], Classes({"cat": 0, "dog": 1}), 2)
    >>> plain_label(np.float32(1.0), rules), plain_label("cat", rules), plain_label([0.25, 0.75], rules)
    (1, 0, [0.25, 0.75])
    """
    plain = _read(label)
    if isinstance(label, list | tuple) and rules.kind is not None and _is_one(plain):
        raise AnswerError(f"the label {_shown(label)} is a list, but {_expected(rules)}")
    if isinstance(plain, str):
        return _of_text(plain, rules)
    if isinstance(plain, bool):
        return _of_truth(plain, rules)
    if isinstance(plain, int | float):
        return _of_number(plain, rules)
    if isinstance(plain, list) and _are_numbers(plain):
        return _of_several(plain, rules)
    if rules.kind is not None:
        raise AnswerError(f"the label {_shown(label)} came as {_kind(plain)}, but {_expected(rules)}")
    if not _is_finite(plain):
        raise _too_large(label)
    return plain  # type: ignore[no-any-return]


def _read(label: Any) -> Any:
    """Return a label as JSON has it; an array of one entry as that entry, but a list as a list."""
    try:
        plain = _plain(label)
    except AnswerError:
        raise
    except Exception as error:  # whatever a type may raise that is no plain data
        raise AnswerError(f"the label {_shown(label)} could not be read ({shortly(error)})") from error
    while not isinstance(label, list | tuple) and isinstance(plain, list) and _is_one(plain):
        plain = plain[0]
    return plain


def _is_one(plain: Any) -> bool:
    """Return whether a label is one number or text alone, in a list or in lists."""
    if isinstance(plain, list):
        return len(plain) == 1 and _is_one(plain[0])
    return isinstance(plain, str | bool | int | float)


def _plain(label: Any) -> Any:
    """Return a label as JSON has it: what it is, whatever a class of its own says of itself."""
    if isinstance(label, np.ma.MaskedArray) and np.ma.getmaskarray(label).any():
        raise AnswerError(f"the label {_shown(label)} is masked, so that it is none")
    if isinstance(label, bool):
        return label
    if isinstance(label, str):
        return str.__str__(label)
    if isinstance(label, int):
        return int.__int__(label)
    if isinstance(label, float):
        return float.__float__(label)
    if isinstance(label, np.ndarray | np.generic | Tensor):
        array = as_array(label)
        if array is not None:
            return array.reshape(tuple(label.shape)).tolist()
        if isinstance(label, np.ndarray) and label.dtype.kind in "OU":
            return _plain(label.tolist())
    elif isinstance(label, numbers.Integral):
        return operator.index(label)
    elif isinstance(label, numbers.Real):
        number = float(label)
        if number.is_integer() and number != label:
            raise AnswerError(f"the label {_shown(label)} is no number that a float holds")
        return number
    elif isinstance(label, list | tuple):
        parts = [_plain(part) for part in label]
        if any(isinstance(part, int) and abs(part) > LARGEST for part in parts):  # which NumPy may round
            raise _too_large(label)
        array = as_array(parts)
        return parts if array is None else array.reshape(np.shape(parts)).tolist()
    elif isinstance(label, Mapping) and all(isinstance(key, str) for key in label):
        return {str.__str__(key): _plain(part) for key, part in label.items()}
    raise AnswerError(f"the label {_shown(label)} is of type {type(label).__name__}, and no plain data")


def _too_large(label: Any) -> AnswerError:
    return AnswerError(f"the label {_shown(label)} has a number inside that no tensor holds")


def _is_finite(plain: Any) -> bool:
    """Return whether a tensor could hold each number of a label."""
    if isinstance(plain, list | dict):
        return all(map(_is_finite, plain.values() if isinstance(plain, dict) else plain))
    return (
        not isinstance(plain, int | float) or abs(plain) <= LARGEST or (type(plain) is float and math.isfinite(plain))
    )


def shortly(error: Exception, most: int = 200) -> str:
    """Return the type of an error and what it says, in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def _of_text(text: str, rules: LabelRules) -> Label:
    known = rules.classes.numbers
    if rules.kind == "text" and (not known or text in known):
        return text
    if text in known and rules.may_be_class:
        return _of_number(known[text], rules)
    if rules.kind == "class" and not known and re.fullmatch(r"\s*-?\d+\s*", text, re.ASCII):
        return _of_number(int(text), rules)
    if rules.kind is None and not known:
        return text
    if known and (rules.may_be_class or rules.kind == "text"):
        close = get_close_matches(text, known, n=1, cutoff=0.5)
        hint = f"the closest is {close[0]!r}" if close else f"known are {_some(list(known))}"
        raise AnswerError(f"the label {_shown(text)} is the name of no class; {hint}")
    named = ", whose names are not known" if rules.kind == "class" else ""
    raise AnswerError(f"the label {_shown(text)} is text, but {_expected(rules)}{named}")


def _of_truth(truth: bool, rules: LabelRules) -> Label:
    if rules.may_be_class and rules.takes_truth:
        return _of_number(int(truth), rules)
    raise AnswerError(f"the label {truth} is a truth value, but {_expected(rules)}")


def _of_number(number: int | float, rules: LabelRules) -> Label:
    shown = f"the label {number:.6g}" if isinstance(number, float) else f"the label {_shown(number)}"
    if isinstance(number, float) and not math.isfinite(number):
        raise AnswerError(f"{shown} is no finite number")
    if rules.kind in ("text", "vector"):
        raise AnswerError(f"{shown} is one number, but {_expected(rules)}")
    if abs(number) > LARGEST:
        raise AnswerError(f"{shown} is larger than any number that a tensor holds")
    if rules.kind == "number":
        if rules.bounds is not None and not rules.bounds[0] <= number <= rules.bounds[1]:
            raise AnswerError(f"{shown} is not between {rules.bounds[0]:g} and {rules.bounds[1]:g}")
        return number
    if rules.kind == "class" and not float(number).is_integer():
        raise AnswerError(f"{shown} is no whole number, but {_expected(rules)}")
    if rules.kind is None and not float(number).is_integer():
        return number
    if rules.allowed is not None and number not in rules.allowed:
        raise AnswerError(f"{shown} is none of the class numbers {_numbers(rules.allowed)}")
    if rules.kind == "class" and rules.allowed is None and number < 0:
        raise AnswerError(f"{shown} is below 0, but {_expected(rules)}")
    return int(number)


def _of_several(label: list[Any], rules: LabelRules) -> Label:
    array = np.asarray(label)
    shown = f"the label {_shown(label)}"
    if not _is_finite(label):
        raise AnswerError(f"{shown} holds a number that is not finite")
    if rules.kind == "vector":
        if rules.shape is not None and array.shape != rules.shape:
            raise AnswerError(f"{shown} has the shape {list(array.shape)}, but labels have {list(rules.shape)}")
        if rules.sum_to_one and not _is_distribution(array):
            raise AnswerError(f"{shown} is no distribution over classes, which labels are")
    elif rules.kind is not None:
        is_soft = rules.kind == "class" and _is_distribution(array)
        if not is_soft or (rules.num_classes is not None and len(array) != rules.num_classes):
            raise AnswerError(f"{shown} is several numbers, but {_expected(rules)}")
    return label


def _are_numbers(label: list[Any]) -> bool:
    return as_array(label) is not None


def _is_distribution(array: np.ndarray[Any, Any]) -> bool:
    return array.ndim == 1 and bool((array >= 0).all()) and abs(float(array.sum()) - 1) <= ERROR_OF_SUM


def _expected(rules: LabelRules) -> str:
    if rules.kind == "class":
        return "labels are class numbers" + (f", {_numbers(rules.allowed)}" if rules.allowed is not None else "")
    said = {"number": "labels are numbers", "text": "labels are texts", "vector": "labels are several numbers each"}
    return said.get(str(rules.kind), "labels are class numbers")


def _kind(plain: Any) -> str:
    return {"dict": "a dict", "list": "a list"}.get(type(plain).__name__, type(plain).__name__)


def _numbers(allowed: Collection[int]) -> str:
    if isinstance(allowed, range):
        return f"from {allowed.start} to {allowed.stop - 1}"
    return _some(list(allowed))


def _some(things: list[Any], most: int = 8) -> str:
    shown = ", ".join(map(str, things[:most]))
    return f"{shown}, ... ({len(things)} in all)" if len(things) > most else shown


def _shown(thing: Any, most: int = 60) -> str:
    try:
        shown = " ".join((json.dumps(thing) if isinstance(thing, str) else repr(thing)).split())
    except Exception:  # whatever a `__repr__` of somebody else's may raise
        shown = type(thing).__name__
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
