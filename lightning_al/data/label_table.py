"""The table of a run's labels: its columns, and what each says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lightning_al.data.keys import Key
from lightning_al.run.labels import Label, kind_of_aside, note_of
from lightning_al.run.recorded_labels import RecordedLabel, recorded_labels
from lightning_al.run.records import Records
from lightning_al.task.class_names import Classes

COLUMNS = ("key", "index", "label", "class", "state", "round", "note", "audit", "who", "seconds")
"""The columns of ``labels.csv``."""

FURTHER = ("score", "first_label")
"""The columns that `lightning-al-journal export` has beside these."""


def label_rows(
    records: Records,
    *,
    key_of: Callable[[int], Key],
    classes: Classes,
    own: Callable[[int], Label] = lambda index: None,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each answer of a run, in the order in which they came. What is not known is None.

    Args:
        records: What the journal holds.
        key_of: Returns the key of an index.
        classes: The classes that labels name.
        own: Returns the dataset's own label of an index, where the answer was that.

    >>> rounds = [{"number": 0, "indices": [7], "scores": [0.5]}]
    >>> [row] = label_rows(Records({}, rounds, [{7: 1}]), key_of=str, classes=Classes({"cat": 1}))
    >>> row["key"], row["label"], row["class"], row["state"], row["round"]
    ('7', 1, 'cat', 'given', 0)
    """
    for found in recorded_labels(records):
        label = _label(found, own)
        yield {
            "key": key_of(found.index),
            "index": found.index,
            "label": _cell(label),
            "class": classes.name_of(label) if found.is_there else None,
            "state": found.state,
            "round": found.round,
            "note": note_of(found.label),
            "audit": "yes" if found.is_audit else None,
            "who": found.effort.who,
            "seconds": found.effort.seconds,
            "score": found.score,
            "first_label": _cell(found.given) if kind_of_aside(found.given) is None else None,
        }


def _label(found: RecordedLabel, own: Callable[[int], Label]) -> Label:
    if not found.is_there:
        return None
    return own(found.index) if found.label is None else found.label


def _cell(label: Label) -> Any:
    return label if label is None or isinstance(label, int | float | str) else json.dumps(label)
