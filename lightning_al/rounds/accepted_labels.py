"""Which labels fit a dataset and a network: the check of an oracle's answers and of labels recorded before."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import Pool
from lightning_al.data.reading import OF_QUERY, read
from lightning_al.host.loaders import to_device
from lightning_al.host.namespace import pl
from lightning_al.oracle.answers import AnswerError, plain_label
from lightning_al.oracle.asking import Accept
from lightning_al.oracle.label_rules import LabelRules, rules_for
from lightning_al.oracle.query import Truth
from lightning_al.oracle.set_aside import SetAside
from lightning_al.posterior.base import Forward, evaluating
from lightning_al.prediction.dry_pass import unchanged
from lightning_al.prediction.predictions import predicting
from lightning_al.run.journal_command import command
from lightning_al.run.labels import Change, Label, kind_of_aside
from lightning_al.run.seeds import derive, seeded
from lightning_al.task.outputs import find_logits
from lightning_al.values.content_hash import spread

MOST_NAMED = 5
"""How many labels an error names that cannot be trained on."""


def num_outputs(
    trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule, forward: Forward
) -> int | None:
    """Return how many outputs a module has for a point, by two points, or None where it gives no row for each."""
    with suppress(Exception), seeded(derive(data.seed, "outputs")), unchanged(module):
        batch = next(iter(data.pool_dataloader(data.pool.labelled[:2])))
        with predicting(trainer), evaluating(module), torch.no_grad():
            outputs = find_logits(forward(module, to_device(trainer, module, batch)))
        if isinstance(outputs, Tensor) and outputs.ndim in (1, 2) and len(outputs) == len(data.pool.labelled[:2]):
            return 1 if outputs.ndim == 1 else outputs.shape[1]
    return None


def rules_of(data: ActiveDataModule, num_outputs: int | None) -> LabelRules:
    """Return what labels may be, judging by the dataset's own labels of labelled points."""
    pool = data.pool
    there = [index for index in pool.labelled if index not in pool.lacking]
    labelled = [index for index in there if index not in pool.labels] or there
    with seeded(derive(data.seed, "labels")):
        classes = [data.class_of(index) for index in labelled]
        known: list[Any] = [label for label in classes if label is not None]
        others = [index for index, label in zip(labelled, classes, strict=True) if label is None]
        with suppress(Exception):  # of a target that cannot be read, nothing is known
            known += [data.label_of(index) for index in (others[place] for place in spread(len(others)))]
    return rules_for(known, data.training_points.classes, num_outputs)


def truth_of(data: ActiveDataModule, find_rules: Callable[[], LabelRules], seed: int) -> Truth:
    """Return what the dataset itself says of its points.

    Args:
        data: The data.
        find_rules: Returns what labels may be.
        seed: Seed of the run.
    """

    def label_of(index: int) -> Label:
        with seeded(derive(data.seed, "answer", index)):
            return plain_label(data.target.find(data.item_of(index)), find_rules())

    def classes() -> Sequence[int] | None:
        rules = find_rules()
        return None if rules.kind != "class" or rules.allowed is None else sorted(rules.allowed)

    return Truth(label_of, classes, seed)


def accepting(data: ActiveDataModule, num_outputs: int | None, *, reveals: bool, asked: Sequence[int] = ()) -> Accept:
    """Return a function that makes an answer plain, or refuses what can be no label of its point.

    Args:
        data: The data.
        num_outputs: How many outputs the network has for a point, or None where that is unknown.
        reveals: Whether the answers are the dataset's own targets, which are not checked.
        asked: Points that people are about to be asked for. Errors that need no answer are raised here, before.

    Raises:
        ValueError: If the item of such a point has no place for a label.
        Exception: If an item, or the label of a labelled point, cannot be read. It has the type that was raised.
    """
    find_rules = cache(lambda: rules_of(data, num_outputs))
    if asked:
        find_rules()
    for index in asked:
        with seeded(derive(data.seed, "answer", index)):
            data.target.check_place(read(data.training_points.dataset, index, remedy=OF_QUERY))

    def accept(index: int, answer: Any) -> Label:
        if answer is None and reveals:
            return None
        if isinstance(answer, SetAside):
            return answer.to_plain()
        rules = find_rules()
        with seeded(derive(data.seed, "answer", index)):
            if answer is None:
                _check_own(data, index, rules)
                return None
            try:
                item = data.item_of(index)
            except Exception:  # it was read before people were asked, whose answer is not lost by a file server
                return plain_label(answer, rules)
            if isinstance(answer, list | tuple) and len(answer) == 1 and _is_list_of_one(data, item):
                answer = answer[0]
            label = plain_label(answer, rules)
            try:
                relabelled = data.target.replace(item, label)
            except Exception as error:  # what a type raises that cannot hold the label depends on the type
                raise AnswerError(f"the label {label!r} does not fit the item: {error}") from error
            if isinstance(label, list) and rules.kind == "class":
                check_batch(data, relabelled, label)
        return label

    return accept


def check_batch(data: ActiveDataModule, relabelled: Any, label: Label) -> None:
    """Refuse a soft label beside class numbers, where the collate function can make no batch of both."""
    others = [index for index in data.pool.labelled if not isinstance(data.label_of(index), list)]
    try:
        data.training_points.collate([*(data.item_of(index) for index in others[:1]), relabelled])
    except Exception as error:  # whatever a collate function may raise
        raise AnswerError(f"the label {label!r} makes no batch with class numbers: {error}") from error


def _is_list_of_one(data: ActiveDataModule, item: Any) -> bool:
    """Return whether the dataset's own label is an array or list of one entry, as for a single logit."""
    with suppress(Exception):
        own: Any = data.target.find(item)
        return bool(np.shape(own) == (1,))
    return False


def _check_own(data: ActiveDataModule, index: int, rules: LabelRules) -> None:
    """Refuse None, which stands for the dataset's own target, where that can be no label."""
    if rules.kind is None:
        return
    try:
        plain_label(data.target.find(data.item_of(index)), rules)
    except AnswerError as error:
        raise AnswerError(f"None stands for the dataset's own label, but {error}") from error


def check_changes(
    data: ActiveDataModule, told: int, num_outputs: int | None, folder: str | os.PathLike[str] | None
) -> None:
    """Check labels that were corrected in the pool, and make them plain, like the answers of an oracle.

    An invalid label that was corrected again later is dropped.

    Args:
        data: The data.
        told: How many changes were checked before.
        num_outputs: How many outputs the network has for a point, or None where that is unknown.
        folder: The run's folder, if any.

    Raises:
        ValueError: If one is not a valid label.
    """
    accept = accepting(data, num_outputs, reveals=True)
    checked: list[Change] = []
    changes = data.pool.changes[told:]
    for number, change in enumerate(changes):
        if change.given_back or kind_of_aside(change.label) is not None:
            checked.append(change)
            continue
        try:
            checked.append(replace(change, label=accept(change.index, change.label)))
        except AnswerError as error:
            if any(later.index == change.index for later in changes[number + 1 :]):
                continue
            raise ValueError(
                f"The label of index {change.index} was corrected to an invalid one: {error}. Correct it "
                f"again by {_remedy(folder, change.index)}."
            ) from error
    data.pool.settle(told, checked)


def why_of_labels(
    error: BaseException, data: ActiveDataModule, num_outputs: int | None, folder: str | os.PathLike[str] | None
) -> str | None:
    """Say which labels of an oracle may have caused the error of a fit, and how to correct them.

    Args:
        error: What the fit ended with.
        data: The data.
        num_outputs: How many outputs the network has for a point, or None where that is unknown.
        folder: The run's folder, if any.

    Returns:
        What is wrong with them, or None if nothing is.
    """
    pool = data.pool
    accept = accepting(data, num_outputs, reveals=True)
    wrong: dict[int, str] = {}
    for index, label in pool.labels.items():
        try:
            accept(index, label)
        except AnswerError as reason:
            wrong[index] = str(reason)
    # Raised by cross_entropy, which may be the only one to know the number of classes.
    found = re.search(r"Target (-?\d+) is out of bounds", str(error))
    if found is not None and not wrong:
        number = int(found.group(1))
        wrong = {i: f"the label {label} is out of bounds" for i, label in pool.labels.items() if label == number}
    if not wrong:
        return None
    shown = "; ".join(f"{_where(pool, index)}: {wrong[index]}" for index in list(wrong)[:MOST_NAMED])
    first = next(iter(wrong))
    more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    return (
        f"{len(wrong)} of the recorded labels cannot be trained on. {shown}{more}. Correct such a label, or give the "
        f"point back, by {_remedy(folder, first)}, and start again."
    )


def _remedy(folder: str | os.PathLike[str] | None, index: int) -> str:
    """Return how to change a label: in the folder, or in the program if there is none."""
    if folder is None:
        return f"`data.pool.correct({index}, label)` or `data.pool.give_back({index})`"
    return f"`{command('correct', folder, index, 'LABEL')}` or `{command('give-back', folder, index)}`"


def _where(pool: Pool, index: int) -> str:
    number = next(number for number, indices in enumerate(pool.rounds) if index in indices)
    asked = "labelled before the first round" if number == 0 else f"asked in round {number - 1}"
    return f"index {index}, {asked}"
