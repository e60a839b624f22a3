"""Where a run stands when `trainer.fit` is called: in its folder, or in a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import label_as_recorded
from lightning_al.host.found_checkpoints import found_by_lightning, is_slurms, to_be_found
from lightning_al.host.namespace import pl, rank_zero_info, rank_zero_warn
from lightning_al.host.ranks import from_first_rank, on_each_rank
from lightning_al.rounds.call import Call
from lightning_al.rounds.datamodule import datamodule_of
from lightning_al.rounds.found_run import read_run
from lightning_al.rounds.items import check_labelled
from lightning_al.rounds.run import Run
from lightning_al.run.effort import total_seconds
from lightning_al.run.folder import break_links, check_places, places_of
from lightning_al.run.journal import Journal
from lightning_al.run.records import changes_since
from lightning_al.run.same_run import check_same_run
from lightning_al.run.stopping import StoppedError


def open_folder(run: Run, trainer: pl.Trainer, data: ActiveDataModule, folder: str | os.PathLike[str]) -> None:
    """Open the run's folder on the first rank, and bring history and pool to where it stands on every rank.

    Raises:
        ValueError: If it is the folder of another run, or at another round than this one.
    """
    active, pool = run.active, data.pool

    def read() -> Any:
        check_places(Path(folder), places_of(trainer))
        journal = run.journal = Journal(folder)
        journal.weights_at_hand = run.weights_at_hand
        break_links(Path(folder), places_of(trainer))
        if journal.records.header is not None:
            place = f"The run folder {journal.folder}"
            check_same_run(place, journal.records.header, run.header_of(data), force=active.force)
        return journal.records, folder, journal.run_id or run.checkpoints.run_id, journal.members

    # Each rank may have made up a name of its own, from the time say; the first one's holds the run.
    records, active.folder, run.checkpoints.run_id, members = from_first_rank(trainer, read)
    run.is_resumed = records.header is not None
    run.has_other_classes = run.is_resumed and bool((records.header.get("classes") or {}).get("changed"))
    run.members.take(members, len(records.changes))
    if run.is_resumed:
        run.labelling.query = records.query
    rounds = records.history
    try:
        if run.round == 0:
            seconds = total_seconds(records.initial_efforts.values())
            pool.label_initial({i: a for i, a in records.initial.items() if i not in pool.labels}, seconds=seconds)
        if run.round == 0 and len(rounds) > 0:
            label_as_recorded(pool, records)
            if run.header is None:
                on_each_rank(trainer, lambda: check_labelled(data, records, folder, force=active.force))
            run.history.load_state_dict(rounds.state_dict())
            rank_zero_info(f"Resuming the run in {folder}, which has {len(rounds)} rounds.")
            return
        for change in changes_since(pool.changes, records.changes):
            pool.change(change)
        if run.header is None and run.is_resumed:
            on_each_rank(trainer, lambda: check_labelled(data, records, folder, force=active.force))
        there = len(records.queries) if run.take_back_changed_round(pool) else len(rounds)
        if run.round != there:
            raise ValueError(
                f"`ActiveLearning` has a history of {run.round} rounds, but its folder {folder} holds "
                f"{there}. Resume with a new `ActiveLearning` on this folder, or choose another folder."
            )
    except ValueError:
        run.close_journal()
        raise


def resume_from_found(run: Run, trainer: pl.Trainer, data: ActiveDataModule, state_key: str) -> None:
    """Resume from a checkpoint that Lightning found by itself, where nothing better says where the run stands.

    Args:
        run: The run.
        trainer: The Trainer.
        data: The data.
        state_key: The name by which a checkpoint has the state of the callback.
    """
    path = found_by_lightning(trainer)
    if path is None:
        return
    found, reason = None, "it does not belong to an active learning run"
    if run.active.folder is not None:
        reason = f"the run folder {run.active.folder} says where the run stands"
    elif run.starts.initial is not None:
        reason = "this `ActiveLearning` resumes its own run"
    else:
        found = on_each_rank(trainer, lambda: read_run(path, state_key, type(data).__qualname__))
    if found is None:
        run.once.info("found", f"Lightning found the checkpoint {path} by itself. It is ignored, since {reason}.")
        return
    try:
        found.check(run.header_of(data), force=run.active.force)
    except ValueError as error:
        if not is_slurms(path):
            raise
        rank_zero_warn(f"{error} Until then it is ignored.")
        return
    found.label(data)
    run.history.load_state_dict(found.history.state_dict())
    run.starts.initial, run.is_resumed = found.initial, True
    run.starts.ends.update(found.ends)
    if found.members is not None:
        run.members.load_state_dict(found.members)
    rank_zero_info(
        f"Resuming the run in {path}, a checkpoint that Lightning found by itself: it has {run.round} rounds, "
        f"and round {run.round} begins again."
    )


def load_checkpoint(call: Call, callback: pl.Callback, trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Check a checkpoint that is loaded, and prepare the other callbacks for their states in it.

    A test or a prediction only needs the weights of a round. Its state is removed, since loading it would lose later
    rounds.

    Args:
        call: The call of `trainer.fit`.
        callback: The callback that runs it.
        trainer: The Trainer.
        checkpoint: The checkpoint.

    Raises:
        ValueError: If a fit resumes from the checkpoint of another run, or of none, or the folder is at another round.
    """
    run = call.run
    state = checkpoint.get("callbacks", {}).get(callback.state_key)
    if trainer.state.fn != "fit":
        checkpoint.get("callbacks", {}).pop(callback.state_key, None)
        call.start.remember_callbacks(trainer)
        call.callbacks.remember_new(trainer, but=callback)
    else:
        state = _check_checkpoint(run, state, datamodule_of(trainer))
        call.callbacks.remember(trainer, but=callback)
        if run.active.folder is None:
            run.checkpoints.run_id = state.get("id")
        if state.get("id") is None:
            run.checkpoints.adopt(trainer, len(state["history"]["rounds"]), checkpoint["callbacks"])
    if state is not None:
        member = state.get("member", 0) if run.active.num_fits > 1 else None
        run.checkpoints.expect(trainer, len(state["history"]["rounds"]), state.get("id"), member=member)


def tell_how_to_resume(run: Run, trainer: pl.Trainer, stopped: StoppedError) -> None:
    """Say that a signal stopped the run, and from where it resumes."""
    place = to_be_found(trainer) if run.active.folder is None else run.active.folder
    how = "Without `folder=`, there is nothing to resume from."
    if place is not None:
        how = f"Start it again to resume from {place}."
    rank_zero_info(f"Stopped by {stopped.name} in round {run.round}. {how}")


def _check_checkpoint(run: Run, state: Mapping[str, Any] | None, data: ActiveDataModule) -> Mapping[str, Any]:
    """Return the state of `ActiveLearning` in a checkpoint, or refuse one from which this run cannot resume."""
    if state is None:
        raise ValueError(
            "The checkpoint does not belong to an active learning run: it has no state of `ActiveLearning`. To start "
            "from its weights, load them into the module and leave `ckpt_path` out."
        )
    if state.get("run") is not None:
        check_same_run("The checkpoint", state["run"], run.header_of(data), force=run.active.force)
    if run.active.folder is not None:
        _check_same_rounds(run, state["history"]["rounds"], len(state.get("members", {}).get("done", ())))
    return state


def _check_same_rounds(run: Run, rounds: list[Mapping[str, Any]], member: int) -> None:
    """Refuse a checkpoint that is at another round than the run's folder, which every rank knows by its history."""
    folder = run.active.folder
    if len(rounds) != run.round:
        raise ValueError(
            f"The checkpoint is at round {len(rounds)}, but the run folder {folder} is at round {run.round}. Leave out "
            "`ckpt_path` to resume from the folder, or `folder` to resume from the checkpoint."
        )
    if member != len(run.members.done):
        raise ValueError(
            f"The checkpoint was saved in fit {member} of round {len(rounds)}, but of that round the run folder "
            f"{folder} has {len(run.members.done)} whole fits. Leave out `ckpt_path` to resume from "
            "the folder."
        )
    if [round["indices"] for round in rounds] != [round.indices for round in run.history]:
        raise ValueError(
            f"The checkpoint and the run folder {folder} belong to two runs, which queried different points. "
            "Leave out `ckpt_path` to resume from the folder, or `folder` to resume from the checkpoint."
        )
