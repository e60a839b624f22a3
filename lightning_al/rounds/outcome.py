"""What a run leaves in its folder for others: the trained model and all labels."""

from __future__ import annotations

import csv
import io
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.label_table import COLUMNS, label_rows
from lightning_al.host.namespace import pl, rank_zero_warn
from lightning_al.run.files import replacing
from lightning_al.run.folder import LABELS, MODEL
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Label
from lightning_al.values.errors import said_shortly
from lightning_al.values.spreadsheets import encoding_for, harmless


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
    `note`, `audit` (`yes` for audit points, which are never trained on), and as far as the answer says it, `who` gave
    it and how many `seconds` it took.

    Args:
        journal: The journal of the run's folder.
        data: The data, whose own labels are written where an oracle only revealed them.
    """

    def own(index: int) -> Label:
        with suppress(Exception):  # an item that cannot be read now was read when it mattered
            return data.class_of(index)
        return None

    file = io.StringIO(newline="")
    table = csv.writer(file, lineterminator="\r\n")
    table.writerow(COLUMNS)
    rows = label_rows(journal.records, key_of=data.key_of, classes=data.training_points.classes, own=own)
    table.writerows([harmless(row[name]) for name in COLUMNS] for row in rows)
    text = file.getvalue()
    with replacing(journal.folder / LABELS) as path:
        path.write_text(text, encoding=encoding_for(text), newline="")
