"""Add, rename and merge the classes of a run, while no process runs it.

Class numbers never move. The run is then started again with the new list of classes, which its folder has from then on.
"""

from __future__ import annotations

import os
from typing import Any

from lightning_al.oracle.corrections import opened
from lightning_al.run.journal import Journal
from lightning_al.run.journal_command import command
from lightning_al.run.labels import Change
from lightning_al.run.recorded_labels import RecordedLabel, recorded_labels
from lightning_al.task.class_names import Classes
from lightning_al.values.errors import first_few
from lightning_al.values.folding import folded
from lightning_al.values.whole_numbers import shown


def add_class(folder: str | os.PathLike[str], name: str) -> list[int]:
    """Add a class to a run, with the next class number.

    Points that were answered by `Other` with this name become points of the class. The network needs one more output
    from then on: the weights of the others are kept, and those of the new one are drawn from the run's seed.

    Args:
        folder: The run's folder.
        name: Name of the class.

    Returns:
        The points that are now of the class.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        ValueError: If there is such a class, or the run's classes have no names.
    """
    with opened(folder) as journal:
        classes = _named_classes(journal)
        name = _new_name(journal, classes, name)
        number = 1 + max(*classes.numbers.values(), *(classes.allowed or ()), 0)
        points = [found.index for found in recorded_labels(journal.records) if _is_other(found, name)]
        allowed = None if classes.allowed is None else (*classes.allowed, number)
        now = Classes({**classes.numbers, name: number}, allowed)
        journal.change_classes(now.to_dict(), *(Change(index, number) for index in points))
    return points


def rename_class(folder: str | os.PathLike[str], old: str, new: str) -> None:
    """Give a class of a run another name. Its number and its labels stay.

    Args:
        folder: The run's folder.
        old: Its name.
        new: The name that it gets.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        ValueError: If there is no class of the old name, or one of the new name.
    """
    with opened(folder) as journal:
        classes = _named_classes(journal)
        _number_of(journal, classes, old)
        new = _new_name(journal, classes, new, but=old)
        numbers = {new if name == old else name: number for name, number in classes.numbers.items()}
        journal.change_classes(Classes(numbers, classes.allowed).to_dict())


def merge_classes(folder: str | os.PathLike[str], source: str, target: str) -> list[int]:
    """Turn all labels of one class into those of another. The first class stays in the list, without labels.

    Args:
        folder: The run's folder.
        source: The class that loses its labels.
        target: The class that gets them.

    Returns:
        The points whose labels changed.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        ValueError: If there are no two such classes, or labels of the run are not class numbers of the journal.
    """
    with opened(folder) as journal:
        classes = _named_classes(journal)
        numbers = [_number_of(journal, classes, name) for name in (source, target)]
        if numbers[0] == numbers[1]:
            raise ValueError(f"`merge-classes` got {shown(source)} twice. Name two classes of {journal.folder}.")
        labelled = [found for found in recorded_labels(journal.records) if found.is_there]
        unknown = [found.index for found in labelled if isinstance(found.label, list | None)]
        if unknown:
            raise ValueError(
                f"`merge-classes` cannot tell the class of {len(unknown)} labels in {journal.folder}, which are the "
                f"dataset's own or soft ones: [{first_few(unknown)}]. Correct them first, or merge the classes in the "
                "data and begin another run."
            )
        points = [found.index for found in labelled if found.label == numbers[0]]
        journal.change(*(Change(index, numbers[1]) for index in points))
    return points


def _named_classes(journal: Journal) -> Classes:
    header: dict[str, Any] = journal.records.header or {}
    classes = Classes.from_dict(header.get("classes"))
    if not classes.numbers:
        raise ValueError(
            f"The classes of the run in {journal.folder} have no names. Pass them to a new run, "
            "`ActiveDataModule(classes=['cat', 'dog'])`, which `labels=` starts from the labels of this one."
        )
    return classes


def _number_of(journal: Journal, classes: Classes, name: str) -> int:
    if name not in classes.numbers:
        raise ValueError(
            f"The run in {journal.folder} has no class {shown(name)}. Name one of: {', '.join(classes.numbers)}."
        )
    return classes.numbers[name]


def _new_name(journal: Journal, classes: Classes, name: str, but: str | None = None) -> str:
    """Return the name of a new class, without surrounding blanks."""
    name = name.strip()
    if not name:
        raise ValueError("`lightning-al-journal` got an empty name for a class. Give one with a letter.")
    like = [known for known in classes.numbers if _is_like(known, name) and known != but]
    if like:
        raise ValueError(
            f"The run in {journal.folder} has a class {shown(like[0])} already. Choose another name, or rename that "
            f"one by `{command('rename-class', journal.folder, like[0], 'NEW')}`."
        )
    return name


def _is_other(found: RecordedLabel, name: str) -> bool:
    text = found.label.get("text", "") if found.state == "other" and isinstance(found.label, dict) else ""
    return _is_like(str(text), name)


def _is_like(one: str, other: str) -> bool:
    """Return whether two names are the same to the people who read and write them."""
    return folded(one).casefold() == folded(other).casefold()
