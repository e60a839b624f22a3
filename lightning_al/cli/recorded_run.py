"""The run in a folder as it stood when its last fit ended: its labels and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning_al.run.folder import MODEL
from lightning_al.run.run_command import run_command, setting

if TYPE_CHECKING:
    from lightning_al.callback import ActiveLearning
    from lightning_al.data.datamodule import ActiveDataModule
    from lightning_al.host.namespace import pl
    from lightning_al.run.records import Records


def put_labels(
    records: Records, folder: Path, trainer: pl.Trainer, active: ActiveLearning, data: ActiveDataModule
) -> None:
    """Set data up, and give them the labels that a run recorded.

    Raises:
        ValueError: If they are not the data of the run.
    """
    from lightning_al.data.pool import label_as_recorded
    from lightning_al.rounds.header import Header
    from lightning_al.rounds.items import check_labelled, recall_run
    from lightning_al.run.same_run import check_same_run

    data.skips_unreadable = active.skips_unscorable
    recall_run(trainer, data, folder, active.budget)
    data.prepare_data()
    data.setup("fit")
    assert records.header is not None
    check_same_run(f"The run folder {folder}", records.header, Header().of(active, data), force=False)
    label_as_recorded(data.pool, records)
    check_labelled(data, records, folder)
    # Points of an open query that are gone were skipped; they cannot be scored.
    data.pool.leave(sorted(data.gone_items & set(data.pool.unlabelled)))


def put_last_weights(records: Records, folder: Path, active: ActiveLearning, model: pl.LightningModule) -> None:
    """Load the weights of a run's last fit, as far as its folder has them.

    They are those of the fit before an open query, the model of a finished run, or those from which a next round would
    start by ``reset="warm"``.

    Raises:
        ValueError: If there are none, or they are not those of such a module.
    """
    from lightning_al.rounds.best_weights import load_best
    from lightning_al.rounds.labelling import weights_name
    from lightning_al.rounds.starts import loaded
    from lightning_al.run.folder import end_name
    from lightning_al.run.weights import copy_weights, put_weights, with_more_rows
    from lightning_al.run.weights_file import load_weights

    initial = load_weights(folder, "initial")
    if with_more_rows(initial, copy_weights(model)) is not None:
        raise ValueError(
            f"The run in {folder} has a class that was added since its last fit, of which its weights know nothing. "
            f"Resume the run first, by `{run_command(folder)}`."
        )
    history = records.history
    names = [] if records.query is None else [weights_name(records.query.number)]
    if not names and history.done and (folder / MODEL).is_file():
        try:
            load_best(model, str(folder / MODEL))
        except (RuntimeError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{folder / MODEL} has no weights for a `{type(model).__name__}`: {error}. Put back a copy of it from "
                "before."
            ) from error
        return
    if not names and len(history) > 0:
        names = [end_name(history[-1].number, active.num_fits - 1)]
    for name in names:
        if (folder / f"{name}.pt").is_file():
            put_weights(model, loaded(folder, name, model, initial))
            return
    more = [setting("active.budget", history[-1].spent + 1)] if history.done else []
    raise ValueError(
        f"The run in {folder} has no weights of its last fit. Resume it by `{run_command(folder, *more)}`: a run "
        f"that ends writes {MODEL}, and one that waits for labels keeps its weights."
    )
