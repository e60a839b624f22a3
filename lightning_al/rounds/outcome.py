"""What a run leaves in its folder for others: the trained model and all labels."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import pl, rank_zero_warn
from lightning_al.run.files import replacing
from lightning_al.run.folder import LABELS, MODEL
from lightning_al.run.journal import Journal
from lightning_al.run.labels import note_of
from lightning_al.run.recorded_labels import RecordedLabel, recorded_labels
from lightning_al.values.errors import said_shortly
from lightning_al.values.spreadsheets import harmless

COLUMNS = ("key", "index", "label", "class", "state", "round", "note", "audit")
"""The columns of the table of labels."""


def save_model(journal: Journal, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Save a module as ``model.ckpt``, from which its class makes it by `load_from_checkpoint`.

    Args:
        journal: The journal of the run's folder.
        trainer: The Trainer, whose plugin writes checkpoints.
        module: The module, with the weights that the last fit is judged by.
    """
    checkpoint: dict[str, Any] = {
        "epoch": module.current_epoch,
        "global_step": module.global_step,
        "pytorch-lightning_version": vars(pl)["__version__"],
        "state_dict": module.state_dict(),
    }
    if module.hparams:
        checkpoint[module.CHECKPOINT_HYPER_PARAMS_KEY] = dict(module.hparams)
    module.on_save_checkpoint(checkpoint)
    try:
        with TemporaryDirectory() as draft:
            trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, Path(draft, MODEL))
            with replacing(journal.folder / MODEL) as path:
                shutil.copyfile(Path(draft, MODEL), path)
    except OSError:
        raise
    except Exception as error:  # whatever pickling may raise of what a module adds
        rank_zero_warn(f"`ActiveLearning` wrote no {MODEL}, since it cannot be pickled: {said_shortly(error)}.")


def write_labels(journal: Journal, data: ActiveDataModule) -> None:
    """Write all answers of a run as ``labels.csv``, in the order in which they came.

    Its columns are `key`, `index`, `label` (the class number, or the label as it is), `class` (the name), `state`
    (`given`, `corrected`, `given back`, `skip`, `unusable` or `other`), `round` (empty for the initial points),
    `note`, and `audit` (`yes` for audit points, which are never trained on).

    Args:
        journal: The journal of the run's folder.
        data: The data, whose own labels are written where an oracle only revealed them.
    """
    with replacing(journal.folder / LABELS) as path, path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(_rows(journal, data))


def _rows(journal: Journal, data: ActiveDataModule) -> Iterator[list[Any]]:
    classes = data.training_points.classes
    for found in recorded_labels(journal.records):
        label = _label(found, data)
        row = [
            data.key_of(found.index),
            found.index,
            label,
            classes.name_of(label),
            found.state,
            found.round,
            note_of(found.label),
            "yes" if found.is_audit else None,
        ]
        yield ["" if cell is None else harmless(cell) for cell in row]


def _label(found: RecordedLabel, data: ActiveDataModule) -> Any:
    if not found.is_there:
        return None
    if found.label is None:
        with suppress(Exception):  # an item that cannot be read now was read when it mattered
            return data.class_of(found.index)
    return found.label
