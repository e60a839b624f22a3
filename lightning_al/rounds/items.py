"""The items of a run that is started again: each keeps its number, and labelled ones are what they were."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.from_files import FromFiles
from lightning_al.data.keys import Known
from lightning_al.host.namespace import pl, rank_zero_info, rank_zero_warn
from lightning_al.host.ranks import from_first_rank
from lightning_al.run.folder import JOURNAL, KEYS
from lightning_al.run.journal import Journal
from lightning_al.run.journal_command import command
from lightning_al.run.keys_file import check_keys, load_keys
from lightning_al.run.recorded_labels import recorded_labels
from lightning_al.run.records import Records
from lightning_al.values.errors import first_few


def recall_run(trainer: pl.Trainer, data: ActiveDataModule, folder: Any, budget: int | None) -> None:
    """Tell the data what a run's folder knows of their items, of their scale and of the audit, before they are set up.

    Args:
        trainer: The Trainer.
        data: The data.
        folder: The folder, or None.
        budget: How many labels a share for the audit is of, where the run has not begun; None for all points.
    """
    if data.is_set_up:
        return
    data.audit_budget = budget
    if folder is None:
        return

    def read() -> tuple[Known | None, list[int] | None, list[int] | None, Any]:
        has_keys = os.path.isfile(folder / KEYS)  # of a name that can be none, too
        is_asked = data.audit is not None or data.earlier_labels is not None or data.cold_start is not None
        if not (has_keys or (is_asked and os.path.isfile(folder / JOURNAL))):
            return None, None, None, None
        records = Journal.read(folder)
        if records.header is None:  # a killed start
            return None, None, None, None
        known = _known(folder, records) if has_keys else None
        scale = records.header.get("datamodule", {}).get("scale")
        return known, list(records.header.get("audit", ())), list(records.header["initial"]), scale

    data.known_items, data.known_audit, data.known_initial, scale = from_first_rank(trainer, read)
    if isinstance(data.wrapped, FromFiles):
        data.wrapped.keep_scale(scale)


def _known(folder: Any, records: Records) -> Known:
    assert records.header is not None
    keys = load_keys(folder)
    if "keys" in records.header:
        check_keys(folder, keys, records.header["keys"])
    labelled = [found.index for found in recorded_labels(records) if found.is_there]
    pending = [] if records.query is None else records.query.rest
    return Known(Path(folder), keys, records.header["initial"], records.answered, labelled, pending)


def described_items(data: ActiveDataModule, indices: Iterable[int]) -> dict[int, list[Any]]:
    """Return what a run records of labelled points by index: the key and the hash, and that of its row in an array.

    Where items have no keys, this is nothing.
    """
    if data.keys is None:
        return {}
    rows = {index: data.row_of(index) for index in indices}
    return {
        index: [data.keys[index], data.content_of(index), *([] if row is None else [row])]
        for index, row in rows.items()
    }


def check_labelled(data: ActiveDataModule, records: Records, folder: Any, *, force: bool = False) -> None:
    """Refuse data in which a labelled item is another one, and let unlabelled items leave that are gone.

    Args:
        data: The data, with the pool as the records say.
        records: What the journal holds.
        folder: The run's folder.
        force: Whether labelled items may have other features than before.

    Raises:
        ValueError: If the content of a labelled item changed, or its row in an array of features.
        RuntimeError: If the numbers of the items are unknown.
    """
    keys, header = data.keys, records.header or {}
    if keys is None:
        return
    if data.known_items is None:
        if "keys" in header:
            check_keys(folder, [], header["keys"])
        return
    # A point of an open query that is gone was skipped. It leaves with the other answers of its query.
    skipped = data.gone_items & (set() if records.query is None else set(records.query.answers))
    changed, moved = [], []
    for index in (*data.pool.labelled, *data.pool.audit.labelled):
        key, before, *rows = records.items.get(index, [keys[index], None])
        if key != keys[index]:
            raise RuntimeError(
                f"{folder / KEYS} says that item {index} is {keys[index]!r}, but the journal says {key!r}. Put back "
                "copies of both from before."
            )
        if before is not None and index not in skipped and data.content_of(index) not in (before, None):
            changed.append(index)
        if rows and index not in skipped and data.row_of(index) not in (*rows, None):
            moved.append(index)
    if changed:
        raise ValueError(
            f"{len(changed)} labelled items of the run in {folder} have other contents than when they were labelled: "
            f"{first_few([repr(keys[index]) for index in changed])}. Put the old contents back, or give the points "
            f"back by `{command('give-back', folder, changed[0])}`, so that they are asked for again."
        )
    if moved:
        _refuse_other_rows([repr(keys[index]) for index in moved], folder, force=force)
    left = sorted(data.gone_items - set(data.pool.aside) - skipped)
    data.pool.leave(left)
    new = len(keys) - len(data.known_items.keys)
    if new or left:
        rank_zero_info(
            f"`ActiveDataModule`: {new} items joined since the run began or last grew; {len(left)} are gone."
        )


def _refuse_other_rows(keys: list[str], folder: Any, *, force: bool) -> None:
    if force:
        rank_zero_warn(
            f"`ActiveLearning(force=True)` resumes a run whose labelled items had other rows in the array of features: "
            f"{first_few(keys)}."
        )
        return
    raise ValueError(
        f"{len(keys)} labelled items of the run in {folder} have other rows in `ActiveDataModule(features=...)` than "
        f"when they were labelled: {first_few(keys)}. Pass the rows of the same encoder in the order of the dataset, "
        "or pass `force=True` to resume with these from here on."
    )
