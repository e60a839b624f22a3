"""The answers of an oracle: converted to plain data, and checked before they are recorded.

An answer that cannot be a label of this dataset, for this network, is refused with the reason. One of another type than
the dataset's labels is converted.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.oracle.label_rules import LabelRules, is_distribution, numbers_of
from lightning_al.oracle.set_aside import SetAside
from lightning_al.run.labels import SET_ASIDE, Label
from lightning_al.task.labels import as_array
from lightning_al.values.encodable import encodable
from lightning_al.values.errors import first_few, said_shortly
from lightning_al.values.whole_numbers import LARGEST, shown


class AnswerError(ValueError):
    """An answer that cannot be a label, or is for a point that was not queried. The message is part of a sentence."""


def index_of(key: Any) -> int:
    """Return the index that an answer is for as a Python int.

    Raises:
        AnswerError: If it is not an index.

    >>> index_of(np.int64(14)), index_of(14.0), index_of("14")
    (14, 14, 14)
    """
    with suppress(Exception):  # whatever a type may raise that is not a number
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
        elif not isinstance(key, np.ndarray | np.generic | Tensor):  # such as a masked array or a time span
            return operator.index(key)
    raise AnswerError(f"it is for {shown(key)}, which is not an index")


def plain_answer(answer: Any, rules: LabelRules) -> Label:
    """Return a label, or an answer that is no label, as plain data.

    Raises:
        AnswerError: If it cannot be a label.
    """
    return answer.to_plain() if isinstance(answer, SetAside) else plain_label(answer, rules)


def _first_inexact(number: Any) -> float:
    """Return the least whole number that a floating-point type cannot tell from the next one."""
    if isinstance(number, Tensor):
        return 2 / torch.finfo(number.dtype).eps
    return 2 / float(np.finfo(np.asarray(number).dtype).eps)


def plain_label(label: Any, rules: LabelRules) -> Label:
    """Return a label as plain data.

    NumPy's and torch's scalars, and arrays of one entry, become numbers. Whole floats and names of classes become class
    numbers.

    Args:
        label: What the oracle answered for a point.
        rules: What labels of the dataset may be.

    Raises:
        AnswerError: If it cannot be a label.

    >>> from lightning_al.oracle.label_rules import rules_for
    >>> from lightning_al.task.class_names import Classes
    >>> rules = rules_for([0, 1], Classes({"cat": 0, "dog": 1}), 2)
    >>> plain_label(np.float32(1.0), rules), plain_label("cat", rules), plain_label([0.25, 0.75], rules)
    (1, 0, [0.25, 0.75])
    """
    plain = _read(label)
    if isinstance(label, list | tuple) and rules.kind is not None and _is_one(plain):
        raise AnswerError(f"the label {shown(label)} is a list, but {rules.expected}")
    if isinstance(plain, str):
        return _of_text(plain, rules)
    if isinstance(plain, bool):
        return _of_truth(plain, rules)
    if isinstance(plain, int | float):
        return _of_number(plain, rules)
    if isinstance(plain, list) and as_array(plain) is not None:
        return _of_several(plain, rules)
    if rules.kind is not None:
        raise AnswerError(f"the label {shown(label)} came as {_kind(plain)}, but {rules.expected}")
    if not _is_finite(plain):
        raise _too_large(label)
    return plain  # type: ignore[no-any-return]


def _read(label: Any) -> Any:
    """Return a label as JSON has it. An array of one entry becomes that entry; a list remains a list."""
    try:
        plain = _plain(label)
    except AnswerError:
        raise
    except Exception as error:  # whatever a type may raise that is not plain data
        raise AnswerError(f"the label {shown(label)} could not be read ({said_shortly(error)})") from error
    while not isinstance(label, list | tuple) and isinstance(plain, list) and _is_one(plain):
        plain = plain[0]
    return plain


def _is_one(plain: Any) -> bool:
    """Return whether a label is a single number or text, perhaps in nested lists."""
    if isinstance(plain, list):
        return len(plain) == 1 and _is_one(plain[0])
    return isinstance(plain, str | bool | int | float)


def _plain(label: Any) -> Any:
    """Return a label as JSON has it. Methods that a subclass overrides are not called."""
    if isinstance(label, np.ma.MaskedArray) and np.ma.getmaskarray(label).any():
        raise AnswerError(f"the label {shown(label)} is masked, so it has no value")
    if isinstance(label, bool):
        return label
    if isinstance(label, str):
        return encodable(str.__str__(label))
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
            raise AnswerError(f"the label {shown(label)} is not a number that a float holds")
        return number
    elif isinstance(label, list | tuple):
        parts = [_plain(part) for part in label]
        if any(isinstance(part, int) and abs(part) > LARGEST for part in parts):  # which NumPy may round
            raise _too_large(label)
        array = as_array(parts)
        return parts if array is None else array.reshape(np.shape(parts)).tolist()
    elif isinstance(label, Mapping) and all(isinstance(key, str) for key in label) and SET_ASIDE not in label:
        return {str.__str__(key): _plain(part) for key, part in label.items()}
    raise AnswerError(f"the label {shown(label)} is of type {type(label).__name__}, which is not plain data")


def _too_large(label: Any) -> AnswerError:
    return AnswerError(f"the label {shown(label)} has a number that no tensor can hold")


def _is_finite(plain: Any) -> bool:
    """Return whether a tensor could hold each number of a label."""
    if isinstance(plain, list | dict):
        return all(map(_is_finite, plain.values() if isinstance(plain, dict) else plain))
    return (
        not isinstance(plain, int | float) or abs(plain) <= LARGEST or (type(plain) is float and math.isfinite(plain))
    )


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
        hint = f"the closest is {close[0]!r}" if close else f"known are {first_few(list(known), most=8)}"
        raise AnswerError(f"the label {shown(text)} is not the name of a class; {hint}")
    named = ", whose names are not known" if rules.kind == "class" else ""
    raise AnswerError(f"the label {shown(text)} is text, but {rules.expected}{named}")


def _of_truth(truth: bool, rules: LabelRules) -> Label:
    if rules.may_be_class and rules.takes_truth:
        return _of_number(int(truth), rules)
    raise AnswerError(f"the label {truth} is a truth value, but {rules.expected}")


def _of_number(number: int | float, rules: LabelRules) -> Label:
    said = f"the label {number:.6g}" if isinstance(number, float) else f"the label {shown(number)}"
    if isinstance(number, float) and not math.isfinite(number):
        raise AnswerError(f"{said} is not a finite number")
    if rules.kind in ("text", "vector"):
        raise AnswerError(f"{said} is one number, but {rules.expected}")
    if abs(number) > LARGEST:
        raise AnswerError(f"{said} is larger than any number that a tensor can hold")
    if rules.kind == "number":
        if rules.bounds is not None and not rules.bounds[0] <= number <= rules.bounds[1]:
            raise AnswerError(f"{said} is not between {rules.bounds[0]:g} and {rules.bounds[1]:g}")
        return number
    if rules.kind == "class" and not float(number).is_integer():
        raise AnswerError(f"{said} is not a whole number, but {rules.expected}")
    if rules.kind is None and not float(number).is_integer():
        return number
    if rules.allowed is not None and number not in rules.allowed:
        raise AnswerError(f"{said} is not one of the class numbers {numbers_of(rules.allowed)}")
    if rules.kind == "class" and rules.allowed is None and number < 0:
        raise AnswerError(f"{said} is below 0, but {rules.expected}")
    return int(number)


def _of_several(label: list[Any], rules: LabelRules) -> Label:
    array = np.asarray(label)
    said = f"the label {shown(label)}"
    if not _is_finite(label):
        raise AnswerError(f"{said} holds a number that is not finite")
    if rules.kind == "vector":
        if rules.shape is not None and array.shape != rules.shape:
            raise AnswerError(f"{said} has the shape {list(array.shape)}, but labels have {list(rules.shape)}")
        if rules.sum_to_one and not is_distribution(array):
            raise AnswerError(f"{said} is not a distribution over classes, as labels are")
    elif rules.kind is not None:
        is_soft = rules.kind == "class" and is_distribution(array)
        if not is_soft or (rules.num_classes is not None and len(array) != rules.num_classes):
            raise AnswerError(f"{said} is several numbers, but {rules.expected}")
    return label


def _kind(plain: Any) -> str:
    return {"dict": "a dict", "list": "a list"}.get(type(plain).__name__, type(plain).__name__)
