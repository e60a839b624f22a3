"""The run in a checkpoint that Lightning found by itself: where it stands, and whether it is the one to resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import label_as_recorded
from lightning_al.rounds.members import read_ends
from lightning_al.run.effort import Effort
from lightning_al.run.folder import end_name
from lightning_al.run.history import History
from lightning_al.run.inert import holds_inert, read_checkpoint
from lightning_al.run.labels import Change, Label
from lightning_al.run.records import Records
from lightning_al.run.same_run import check_same_run


@dataclass(frozen=True)
class FoundRun:
    """What a checkpoint says of the run that wrote it.

    Attributes:
        path: The checkpoint.
        header: What the run is, or None where that was not known yet.
        history: Its rounds.
        labels: The labels by index that differ from the dataset's own, and the answers that are no label.
        changes: What was changed of labels, in order.
        initial: The weights before the first fit, or None where they were not known yet.
        ends: The weights at the end of the last rounds, by their names, for ``reset="warm"``.
        members: The state of the `Members` of the current round, if it has any.
        audited: The audit points with an answer, in the order of the answers.
        seconds: How long the answers took, as `Pool.seconds` has them.
    """

    path: str
    header: Mapping[str, Any] | None
    history: History
    labels: Mapping[int, Label]
    changes: Sequence[Change]
    initial: dict[str, Tensor] | None
    ends: dict[str, dict[str, Tensor]]
    members: Mapping[str, Any] | None = None
    audited: Sequence[int] = ()
    seconds: Sequence[float] = ()

    def check(self, now: Mapping[str, Any], *, force: bool) -> None:
        """Refuse the checkpoint of another run, or one whose round cannot begin again.

        Args:
            now: The header of the run that resumes.
            force: Whether differences that a user may force are accepted.

        Raises:
            ValueError: If it belongs to another run, or if weights are missing. The message gives the remedy.
        """
        place = f"The checkpoint {self.path}, which Lightning found by itself (move it away to begin another run),"
        if self.header is not None:
            check_same_run(place, self.header, now, force=force)
        number = len(self.history)
        if now["reset"] == "warm" and number > 0 and end_name(number - 1, 0) not in self.ends:
            raise ValueError(
                f"{place} lacks the weights that round {number} starts from. Pass it as `ckpt_path=` to resume in the "
                "middle of the fit."
            )

    def label(self, data: ActiveDataModule) -> None:
        """Label the pool as the rounds did. The pool in the checkpoint may be a query ahead of the history."""
        labels = [
            {i: self.labels[i] for i in (*round.indices, *round.audited) if i in self.labels} for round in self.history
        ]
        rounds = [round.to_dict() for round in self.history]
        num_first = int(self.history[0].audit.get("answers", 0)) if len(self.history) else len(self.audited)
        first = {i: self.labels[i] for i in (*data.pool.initial, *self.audited[:num_first]) if i in self.labels}
        of_initial, *of_queries = [{-1: Effort(seconds)} for seconds in self.seconds] or [{}]
        records = Records(None, rounds, labels, list(self.changes), initial=first, initial_efforts=of_initial)
        label_as_recorded(data.pool, replace(records, efforts=of_queries[: len(rounds)]))


def read_run(path: str, callback: str, datamodule: str) -> FoundRun | None:
    """Read where a run stands from a checkpoint, or return None where it is of no active learning run.

    Args:
        path: The checkpoint.
        callback: The key of the state of `ActiveLearning`.
        datamodule: The key of the state of `ActiveDataModule`.

    Raises:
        ValueError: If it cannot be read, because it is damaged, missing, or would need code to run.
    """
    try:
        checkpoint = read_checkpoint(path)
    except Exception as error:  # what loading a damaged file raises depends on where the damage is
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"The checkpoint {path}, which Lightning found by itself, cannot be read ({type(error).__name__}: "
            f"{reason}). Pass another one as `ckpt_path=`, or move this one away to start a new run."
        ) from error
    state, pool = checkpoint.get("callbacks", {}).get(callback), checkpoint.get(datamodule, {}).get("pool")
    if state is None or pool is None:
        return None
    if holds_inert(state) or holds_inert(pool):
        raise ValueError(
            f"The checkpoint {path}, which Lightning found by itself, holds more of the run than tensors and plain "
            "data, so it cannot be read without running code. Pass it as `ckpt_path=` to have Lightning read it."
        )
    history = History()
    history.load_state_dict(state["history"])
    changes = [Change(**change) for change in pool.get("changes", ())]
    ends, members = read_ends(state), state.get("members")
    return FoundRun(
        path,
        state.get("run"),
        history,
        {**pool["labels"], **pool.get("aside", {}), **pool.get("audited", {})},
        changes,
        state["initial"],
        ends,
        members,
        list(pool.get("audited", {})),
        pool.get("seconds", ()),
    )
