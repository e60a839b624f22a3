"""A run so far: what is known of it in memory, and written to its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from torch import Tensor, nn

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import Pool
from lightning_al.host.namespace import pl
from lightning_al.host.ranks import on_each_rank, on_first_rank
from lightning_al.host.round_checkpoints import RoundCheckpoints
from lightning_al.rounds.arguments import Arguments
from lightning_al.rounds.header import Header, on_every_rank
from lightning_al.rounds.items import described_items
from lightning_al.rounds.labelling import Labelling, weights_name
from lightning_al.rounds.members import Member, Members, fit_seeds, read_ends
from lightning_al.rounds.once import Once
from lightning_al.rounds.outcome import save_model, write_labels
from lightning_al.rounds.starts import Starts, loaded, loaded_initial
from lightning_al.run.effort import known_efforts, total_seconds
from lightning_al.run.folder import end_name, member_name, pseudo_labels_name
from lightning_al.run.history import History, Round
from lightning_al.run.journal import Journal
from lightning_al.run.keys_file import described_keys
from lightning_al.run.labels import Label, kind_of_aside
from lightning_al.run.same_run import flat
from lightning_al.run.stopping import held_back
from lightning_al.run.weights import copy_weights


class Run:
    """Keep what a run did, in memory and, where it has a folder, in its journal.

    Args:
        active: The arguments of the run.

    Attributes:
        history: The rounds that have ended.
        members: The fits of the round under way that have ended, where a round has several.
        starts: The weights that fits start from.
        labelling: The query whose answers are awaited.
        checkpoints: The checkpoints of the rounds, and the run's id.
        journal: The journal, on the first rank, while `trainer.fit` runs.
        header: What the run is, once its first fit has begun.
        is_resumed: Whether another process began it.
        has_other_classes: Whether its classes were changed since it began.
        once: What is said once a run.
    """

    def __init__(self, active: Arguments) -> None:
        self.active = active
        self.history = History()
        self.members = Members()
        self.starts = Starts()
        self.labelling = Labelling()
        self.checkpoints = RoundCheckpoints(active.keep_checkpoints)
        self.journal: Journal | None = None
        self.header: dict[str, Any] | None = None
        self.is_resumed = False
        self.has_other_classes = False
        self.once = Once()
        self._headers = Header()

    @property
    def round(self) -> int:
        """Number of the round that the next fit is, or the current one."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """Whether the last fit had nothing left to query."""
        return self.history.done

    @property
    def steps(self) -> int:
        """Number of optimiser steps so far."""
        return sum(round.steps for round in self.history) + self.members.steps

    @property
    def num_changes_told(self) -> int:
        """Number of changes of labels that the history tells of."""
        return len(self.history[-1].corrected) + len(self.history[-1].given_back) if self.round > 0 else 0

    @property
    def unscorable(self) -> list[int]:
        """Points that could not be scored after the last fit."""
        return self.history[-1].unscorable if self.round > 0 else []

    def header_of(self, data: ActiveDataModule) -> dict[str, Any]:
        """Return what a run must have in common with this one to be the same."""
        return self._headers.of(self.active, data)

    def on_this_rank(self, data: ActiveDataModule) -> dict[str, Any]:
        """Return what ranks must have in common of a run."""
        return {
            **flat({name: value for name, value in self.header_of(data).items() if name != "text"}),
            **on_every_rank(self.active, data),
            "folder is given": self.active.folder is not None,
            "rounds": self.round,
            "labelled points": data.pool.rounds,
            "fits of the round": len(self.members.done),
        }

    def next_member(self, trainer: pl.Trainer, module: nn.Module, pool: Pool) -> int:
        """Return which fit of the round begins, with those before it at hand."""
        if self.done:
            return self.active.num_fits - 1
        seeds = fit_seeds(self.active.seed, self.round, self.active.num_fits)

        def read(member: Member) -> dict[str, Tensor]:
            return self.load_weights(member.name, module)

        return on_each_rank(trainer, lambda: self.members.begin(self.round, len(pool.changes), seeds, read))

    def take_pseudo_labels(self, trainer: pl.Trainer, data: ActiveDataModule) -> None:
        """Let the fit that begins train on the predictions of the round before, if that was asked for."""
        number = self.round - 1 if self.done else self.round
        data.pseudo_labelled = on_each_rank(trainer, lambda: self.starts.pseudo_labels(self.active, data, number))

    def check_pool(self, pool: Pool) -> None:
        """Refuse a pool that was not labelled by this run.

        Raises:
            ValueError: If it has other labels than the history tells of.
        """
        queried = sum(len(round.indices) for round in self.history)
        if pool.num_labelled + pool.num_given_back + len(pool.aside) != len(pool.initial) + queried:
            raise ValueError(
                f"`ActiveLearning` has a history of {len(self.history)} rounds, but the pool of its "
                "`ActiveDataModule` has other labels. Use a new `ActiveDataModule` with a new `ActiveLearning`, "
                "and keep the two together."
            )
        if pool.num_labelled == 0:
            raise ValueError(
                f"All {len(pool.aside)} points were set aside by their answers, so there is nothing to train on. "
                "Correct one, by `data.pool.correct` or `lightning-al-journal correct`, or begin another run with "
                "a larger `initial_size`."
            )

    def change_journal(self, trainer: pl.Trainer, change: Callable[[Journal], object]) -> None:
        """Change the journal, where there is one, on the first rank."""

        def act() -> None:
            assert self.journal is not None
            change(self.journal)

        if self.active.folder is not None:
            on_first_rank(trainer, act)

    def close_journal(self) -> None:
        """Let go of the folder."""
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def begin(self, trainer: pl.Trainer, module: pl.LightningModule, data: ActiveDataModule) -> None:
        """Take the weights before the first fit, and record what the run is."""
        if self.is_resumed and self.active.folder is not None:
            # A folder of 0.1.0 has no buffers that the `state_dict` leaves out: the module's own are taken.
            folder, seed, may_grow = self.active.folder, self.active.seed, self.has_other_classes
            recorded, is_grown = on_each_rank(trainer, lambda: loaded_initial(folder, module, seed, may_grow=may_grow))
            grown = self.starts.initial = copy_weights(module) | recorded
            if may_grow:
                forward = self.active.forward_on(data)
                on_each_rank(trainer, lambda: self.labelling.check_outputs(trainer, module, data, forward))
            if is_grown:
                self.change_journal(trainer, lambda journal: journal.save_weights("initial", grown))
            return
        initial = self.starts.initial = copy_weights(module)
        header = {**self.header_of(data), "id": self.checkpoints.run_id}
        if data.keys is not None and self.active.folder is not None:
            header |= {"keys": described_keys(data.keys)}

        def record(journal: Journal) -> None:
            journal.save_weights("initial", initial)
            if data.keys is not None:
                journal.save_keys(data.keys)
            journal.begin(header | self._items_of(data, [*data.pool.initial, *data.pool.audit.points]))

        self.change_journal(trainer, record)
        self.take_changes(trainer, data, 0)

    def _items_of(self, data: ActiveDataModule, indices: Sequence[int]) -> dict[str, Any]:
        items = described_items(data, indices)
        return {"items": {str(index): item for index, item in items.items()}} if items else {}

    def keep_new_keys(self, trainer: pl.Trainer, data: ActiveDataModule) -> None:
        """Record the keys of items that joined since the run was started last, before anything of them is."""
        keys, known = data.keys, data.known_items
        if keys is not None and known is not None and self.is_resumed:
            self.change_journal(trainer, lambda journal: journal.save_keys(keys))

    def load_weights(self, name: str, module: nn.Module) -> dict[str, Tensor]:
        """Return weights that the folder has by a name."""
        assert self.active.folder is not None
        return loaded(self.active.folder, name, module, self.starts.initial)

    def weights_at_hand(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights that a run which lost its folder needs in the new one, by name."""
        query, weights = self.labelling.query, self.labelling.weights
        last = {} if query is None or weights is None else {weights_name(query.number): weights}
        members = {name: dict(weights) for name, weights in self.members.at_hand.items()}
        return self.starts.at_hand | last | members

    def take_changes(self, trainer: pl.Trainer, data: ActiveDataModule, told: int) -> None:
        """Check and record the labels that were changed in the pool, except the first `told` changes."""
        folder = self.active.folder
        on_each_rank(trainer, lambda: self.labelling.take_changes(data, self.journal, folder, told))

    def take_back_changed_round(self, pool: Pool) -> bool:
        """Return whether labels were changed since the last fit. If it queried nothing, its round runs again."""
        is_changed = len(pool.changes) > self.num_changes_told
        if is_changed and self.done:
            self.history.take_back()
        return is_changed

    def take_back_last_round(self, trainer: pl.Trainer, pool: Pool) -> None:
        """Run the last round again where it queried nothing, but the budget has grown since."""
        if self.done:
            last = self.history.take_back()
            if self.active.num_to_query(self.round, pool) == 0:
                self.history.append(last)
                return
            self.change_journal(trainer, lambda journal: journal.take_back())

    def add_member(self, trainer: pl.Trainer, member: Member) -> None:
        """Record a fit that is not the last of its round."""

        def record(journal: Journal) -> None:
            journal.save_weights(member.name, self.members.at_hand[member.name])
            journal.append_member(member.to_dict())

        with held_back():
            self.members.done.append(member)
            self.change_journal(trainer, record)

    def add_round(self, trainer: pl.Trainer, round: Round, labels: Mapping[int, Label], data: ActiveDataModule) -> None:
        """Record a round, and move what it queried to the labelled points. The last one leaves the model behind."""

        def record(journal: Journal) -> None:
            if not round.indices:
                self.starts.save_ends(journal, round.number, self.active.num_fits)
                # Before the round is recorded, since a finished run writes no files. It labels nothing.
                save_model(journal, trainer, trainer.lightning_module)
                write_labels(journal, data)
            asked = (*round.indices, *round.audited)
            labelled = [index for index in asked if kind_of_aside(labels.get(index)) is None]
            journal.append(round, labels, described_items(data, labelled), efforts)
            if round.indices:
                write_labels(journal, data)
            _remove_older_weights(journal, round.number, self.active.num_fits)

        query = self.labelling.query
        efforts = {} if query is None else known_efforts(query.efforts, (*round.indices, *round.audited))
        with held_back():
            self.change_journal(trainer, record)
            if round.indices:
                seconds = total_seconds(efforts.values())
                data.pool.take_answers(round.indices, labels, audited=round.audited, seconds=seconds)
            self.history.append(round)
            self.labelling.end()
            self.members = Members()

    def tidy(self, trainer: pl.Trainer) -> History:
        """Return the history of a finished run in its folder, without what a process killed at its end left there."""
        assert self.active.folder is not None
        journal = Journal(self.active.folder)  # which brings the files beside it up to date
        try:
            history = journal.history
            _remove_older_weights(journal, history[-1].number, self.active.num_fits)
            self.checkpoints.run_id = journal.run_id
        finally:
            journal.close()
        self.checkpoints.expect(trainer, history[-1].number)
        self.checkpoints.finish(trainer, history[-1].number)
        return history

    def state_dict(self, member: int) -> dict[str, Any]:
        """Return what it takes, with the pool, to resume in the middle of a fit of the round."""
        has_folder = self.active.folder is not None
        # A run folder has these.
        ends = {"ends": dict(self.starts.ends)} if self.starts.ends and not has_folder else {}
        return {
            "history": self.history.state_dict(),
            "initial": self.starts.initial,
            "run": self.header,
            "id": self.checkpoints.run_id,
            "member": member,
            "members": self.members.state_dict(with_weights=not has_folder),
            **ends,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.history.load_state_dict(state["history"])
        self.starts.initial = state["initial"]
        self.starts.ends.update(read_ends(state))
        if "members" in state and self.active.folder is None:
            self.members.load_state_dict(state["members"])


def _remove_older_weights(journal: Journal, number: int, num_fits: int) -> None:
    """Remove what a recorded round needs no longer. A killed process may have left several.

    That is what each fit ended with of the rounds before the last two, and what all fits but the last of a round ended
    with.
    """
    for older, member in product(range(number + 1), range(num_fits)):
        if older < number - 1:
            journal.remove_weights(end_name(older, member))
        if num_fits > 1:
            journal.remove_weights(member_name(older, member))
    for older in range(number + 1):
        journal.remove_weights(weights_name(older))
        if older < number - 1:
            journal.remove_weights(pseudo_labels_name(older))
