"""Which points of a dataset are labelled, since which round, and with what label.

The module stays whole: each method of `Pool` keeps the same few fields consistent with one another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from lightning_al.data.audit import Audit
from lightning_al.run.effort import total_seconds
from lightning_al.run.labels import UNPAID, Change, Label, kind_of_aside
from lightning_al.run.records import Records
from lightning_al.task.labels import as_array
from lightning_al.values.errors import first_few
from lightning_al.values.whole_numbers import MOST_HELD, whole_number


class Pool:
    """Split the indices of a dataset into labelled and unlabelled ones, and remember the order of labelling.

    Args:
        size: Number of points in the dataset.
        initial: Indices that are labelled before the first round.
        members: The indices that the pool is made of, if not all. No other can be labelled.
        audit: The indices by which the model is judged. They are not in the pool, and are never trained on.

    Attributes:
        size: Number of points in the pool, labelled or not.
        audit: An `Audit`: these points and the answers for them.
        labels: Labels that differ from the dataset's own target, by index.
        aside: Answers that are no label, by index: these points have left the pool, and are not trained on.
        lacking: Initial points that have no label yet, neither in the dataset nor by an oracle.
        changes: The changes of given labels, in order.

    Raises:
        ValueError: If an index is out of range, not a member or comes twice.

    >>> pool = Pool(5, initial=[3])
    >>> pool.label([4, 0])
    >>> pool.labelled, pool.unlabelled
    ([3, 4, 0], [1, 2])
    """

    def __init__(
        self,
        size: int,
        initial: Sequence[int] = (),
        *,
        members: Sequence[int] | None = None,
        audit: Sequence[int] = (),
    ) -> None:
        size = whole_number("Pool", "size", size, least=0, most=MOST_HELD)
        self._is_member = torch.ones(size, dtype=torch.bool)
        if members is not None:
            self._is_member.zero_()[list(members)] = True
        self.audit = Audit(audit)
        self._is_member[self.audit.points] = False
        self.size = int(self._is_member.sum())
        self._rounds: list[list[int]] = []
        self._seconds: list[float] = []
        self._is_labelled = torch.zeros(size, dtype=torch.bool)
        self.labels: dict[int, Label] = {}
        self.aside: dict[int, Label] = {}
        self.lacking: list[int] = []
        self.changes: list[Change] = []
        self.label(initial)
        self._initial = list(self._rounds[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_labelled} of {self.size} points labelled, {self.num_unlabelled} left)"

    @property
    def initial(self) -> list[int]:
        """Indices that were labelled before the first round, including those given back since."""
        return list(self._initial)

    @property
    def rounds(self) -> list[list[int]]:
        """Labelled indices in the order of labelling: first the initial ones, then one list for each query."""
        return [list(indices) for indices in self._rounds]

    @property
    def labelled(self) -> list[int]:
        """All labelled indices in the order they were labelled."""
        return [index for indices in self._rounds for index in indices]

    @property
    def unlabelled(self) -> list[int]:
        """Indices that can be queried, in increasing order: position p of the candidates is ``unlabelled[p]``."""
        is_there = self._is_member & ~self._is_labelled
        is_there[list(self.aside)] = False
        return is_there.nonzero().flatten().tolist()

    @property
    def dataset_size(self) -> int:
        """Number of points in the dataset, in the pool or not."""
        return len(self._is_member)

    @property
    def num_labelled(self) -> int:
        """Number of labelled points."""
        return sum(map(len, self._rounds))

    @property
    def num_given_back(self) -> int:
        """Number of labels that were given back. They were paid for, so a budget counts them."""
        return sum(change.given_back for change in self.changes)

    @property
    def num_unlabelled(self) -> int:
        """Number of points that can still be queried."""
        return self.size - self.num_labelled - len(self.aside)

    @property
    def num_spent(self) -> int:
        """Number of labels paid for: those that are there, those given back, answers that are no label, and audit."""
        paid_aside = len(self.aside) - len(self.skipped)
        return self.num_labelled + self.num_given_back + paid_aside + self.audit.num_spent

    @property
    def label_seconds(self) -> float:
        """How long all answers took so far, in seconds, as far as they say it."""
        return math.fsum(self._seconds)

    @property
    def seconds(self) -> list[float]:
        """How long the answers took, in seconds: first those for the initial points, then those of each query."""
        return list(self._seconds)

    @property
    def skipped(self) -> list[int]:
        """Indices that were skipped, which cost no label, in the order of the answers."""
        return [index for index, answer in self.aside.items() if kind_of_aside(answer) == UNPAID]

    @property
    def unusable(self) -> list[int]:
        """Indices with another answer that is no label, in the order of the answers."""
        return [index for index, answer in self.aside.items() if kind_of_aside(answer) != UNPAID]

    def label(self, indices: Sequence[int], labels: Mapping[int, Label] | None = None, *, seconds: float = 0.0) -> None:
        """Move indices from the unlabelled to the labelled ones, as one round. If an error is raised, none is moved.

        Args:
            indices: Indices in the numbering of the dataset.
            labels: Labels that differ from the dataset's own target, by index. An answer that is no label sets its
                point aside.
            seconds: How long the answers took, as far as they say it.

        Raises:
            TypeError: If an index is not a number.
            ValueError: If an index is not whole, out of range, not in the pool, labelled already, or comes twice.
        """
        indices = [whole_number("Pool", "indices", index, least=None) for index in indices]
        labels = {int(index): label for index, label in (labels or {}).items() if label is not None}
        size = len(self._is_member)
        out_of_range = [index for index in indices if not 0 <= index < size]
        if out_of_range:
            raise ValueError(
                f"`Pool.label` got indices [{first_few(out_of_range)}], but the dataset has {size} points. "
                f"Pass indices between 0 and {size - 1}."
            )
        audited = [index for index in indices if index in self.audit]
        if audited:
            raise ValueError(
                f"`Pool.label` got indices [{first_few(audited)}], by which the model is judged (`audit`), so they are "
                "never trained on. Leave them out."
            )
        others = [index for index in indices if not self._is_member[index]]
        if others:
            raise ValueError(
                f"`Pool.label` got indices [{first_few(others)}], which are not among the {self.size} points that the "
                "sampler of the train loader draws. Pass some of these."
            )
        known = [index for index in indices if self._is_labelled[index] or index in self.aside]
        if known or len(set(indices)) < len(indices):
            repeated = known or sorted({index for index in indices if indices.count(index) > 1})
            raise ValueError(
                f"`Pool.label` got indices [{first_few(repeated)}] twice or after they were labelled. "
                "Pass each unlabelled index once."
            )
        strange = sorted(set(labels) - set(indices))
        if strange:
            raise ValueError(
                f"`Pool.label` got labels for [{first_few(strange)}], which are not among the indices to label. "
                "Leave them out."
            )
        self._rounds.append(indices)
        self._seconds.append(seconds)
        self._is_labelled[indices] = True
        self._take(labels)

    def take_answers(
        self,
        indices: Sequence[int],
        answers: Mapping[int, Label],
        *,
        audited: Sequence[int] = (),
        seconds: float = 0.0,
    ) -> None:
        """Take the answers of a round over: move its points to the labelled ones, and note those of audit points.

        Args:
            indices: The points that were chosen.
            answers: The answers by index; a point without one has the dataset's own target.
            audited: The audit points that were asked for beside them.
            seconds: How long all these answers took, as far as they say it.

        Raises:
            ValueError: As `label` does.
        """
        self.label(indices, {index: answers[index] for index in indices if index in answers}, seconds=seconds)
        self.audit.answer({index: answers.get(index) for index in audited})

    def _take(self, answers: Mapping[int, Label]) -> None:
        """Take over labels of labelled points, and set those aside whose answer is no label."""
        for index, answer in answers.items():
            if kind_of_aside(answer) is None:
                self.labels[index] = answer
                continue
            self.aside[index] = answer
            self._is_labelled[index] = False
            for indices in self._rounds:
                if index in indices:
                    indices.remove(index)

    def label_initial(self, labels: Mapping[int, Label], *, seconds: float = 0.0) -> None:
        """Give labels to initial points, for which the dataset has none, and to audit points that were asked with them.

        Args:
            labels: Labels by index.
            seconds: How long all answers for initial points took, as far as they say it.

        Raises:
            ValueError: If a point is neither.

        >>> pool = Pool(5, initial=[3])
        >>> pool.label_initial({3: 1})
        >>> pool.labelled, pool.labels
        ([3], {3: 1})
        """
        others = sorted(set(labels) - set(self._initial) - set(self.audit.points))
        if others:
            raise ValueError(
                f"`Pool.label_initial` got labels for [{first_few(others)}], which are not initial points. Pass labels "
                "of `initial` alone."
            )
        self.audit.answer(labels)
        self._take({i: label for i, label in labels.items() if label is not None and i not in self.audit})
        self.lacking = [index for index in self.lacking if index not in labels]
        self._seconds[0] = seconds

    def correct(self, index: int, label: Label) -> None:
        """Replace the label of a labelled point. The next fit uses the new one.

        Args:
            index: The point.
            label: Its label: a class number, a number, a text or a list, of Python, NumPy or torch. None stands for the
                dataset's own target.

        Raises:
            ValueError: If the point is not labelled.

        >>> pool = Pool(5, initial=[3])
        >>> pool.correct(3, 1)
        >>> pool.labels
        {3: 1}
        """
        array = as_array(label)
        plain = label if array is None else array.tolist()
        self.change(
            Change(whole_number("Pool.correct", "index", index, least=None), plain, after=len(self._rounds) - 1)
        )

    def give_back(self, *indices: int) -> None:
        """Take the labels of points away, so that the points can be queried again. A budget still counts the labels.

        Args:
            indices: The points. If one cannot be given back, none is.

        Raises:
            ValueError: If a point is not labelled or comes twice, or if no labelled one would be left.

        >>> pool = Pool(5, initial=[3, 4])
        >>> pool.give_back(3)
        >>> pool.labelled, pool.unlabelled, pool.num_given_back
        ([4], [0, 1, 2, 3], 1)
        """
        points = [whole_number("Pool.give_back", "index", index, least=None) for index in indices]
        labelled = set(self.labelled)
        wrong = [index for number, index in enumerate(points) if index not in labelled or index in points[:number]]
        if len(points) > 1 and (wrong or labelled == set(points)):
            raise ValueError(
                f"`Pool.give_back` changed nothing: of [{first_few(points)}], [{first_few(wrong or points)}] cannot be "
                "given back. Name labelled points alone, each once, and leave one labelled."
            )
        for index in points:
            self.change(Change(index, given_back=True, after=len(self._rounds) - 1))

    def settle(self, told: int, changes: Sequence[Change]) -> None:
        """Replace the latest changes by checked ones.

        Args:
            told: How many changes before them are kept.
            changes: The checked ones, in order.
        """
        self.changes[told:] = changes
        for change in changes:
            if change.index in self.audit.answers:
                self.audit.answers[change.index] = change.label
            elif self._is_labelled[change.index] and change.label is None:
                self.labels.pop(change.index, None)
            elif self._is_labelled[change.index]:
                self.labels[change.index] = change.label

    def change(self, change: Change) -> None:
        """Change a label, and remember the change.

        A point that was set aside is labelled from then on. An answer that is no label sets a labelled point aside.

        >>> pool = Pool(5, initial=[3, 4])
        >>> pool.change(Change(3, {"set aside": "unusable", "reason": "blurred"}))
        >>> pool.labelled, pool.unusable, pool.num_spent
        ([4], [3], 2)

        Raises:
            ValueError: If the point is not labelled, or is given back though it is the last one or an audit point.
        """
        index = change.index
        if index in self.audit.answers and not change.given_back:
            self.audit.answers[index] = change.label
            self.changes.append(change)
            return
        if kind_of_aside(change.label) is not None and (index in self.aside or index in self.labelled):
            self.labels.pop(index, None)
            self._take({index: change.label})
            self.changes.append(change)
            return
        if index in self.aside and not change.given_back:
            del self.aside[index]
            self._rounds[-1].append(index)
            self._is_labelled[index] = True
        if not (0 <= index < len(self._is_labelled) and self._is_labelled[index]):
            raise ValueError(
                f"`Pool` can only change the labels of labelled points, but got index {index}. Pass one of `labelled`."
            )
        if change.given_back and self.num_labelled == 1:
            raise ValueError(
                f"`Pool.give_back` got index {index}, the only labelled point, so there would be nothing to train on. "
                "Label another one first, or pass the right label to `correct`."
            )
        self.labels.pop(index, None)
        if change.given_back:
            self._is_labelled[index] = False
            for indices in self._rounds:
                if index in indices:
                    indices.remove(index)
        elif change.label is not None:
            self.labels[index] = change.label
        self.changes.append(change)

    def leave(self, indices: Sequence[int]) -> None:
        """Remove unlabelled points whose items are gone.

        Raises:
            ValueError: If one is labelled.
        """
        labelled = [index for index in indices if self._is_labelled[index]]
        if labelled:
            raise ValueError(f"`Pool.leave` got indices [{first_few(labelled)}], which are labelled. Name others.")
        self.audit.leave(indices)
        self._is_member[list(indices)] = False
        self.size = int(self._is_member.sum()) + len([index for index in self.aside if not self._is_member[index]])

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain ints, lists and dicts."""
        state = {"size": self.size, "rounds": self.rounds, "labels": dict(self.labels)}
        if any(self._seconds):
            state["seconds"] = self.seconds
        if self.aside:
            state["aside"] = dict(self.aside)
        if self.audit.drawn:
            state |= {"audit": list(self.audit.drawn), "audited": dict(self.audit.answers)}
        if self.changes or self.aside:
            state |= {"initial": self.initial, "changes": [asdict(change) for change in self.changes]}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned.

        Raises:
            ValueError: If the state belongs to a pool of another size or of other points, or if labels were changed
                here since it was saved.
        """
        if state["size"] != self.size or state.get("audit", []) != list(self.audit.drawn):
            raise ValueError(
                f"The saved pool has {state['size']} points, but the dataset has {self.size}. "
                "Resume with the dataset that the run began with."
            )
        changes = [Change(**change) for change in state.get("changes", ())]
        if self.changes and changes != self.changes:
            raise ValueError(
                f"The saved pool has other labels than this one, {len(self.changes)} of which were corrected or given "
                "back since. Leave out `ckpt_path`, so that the next fit uses the present labels."
            )
        members = self._is_member.nonzero().flatten().tolist()
        fresh = Pool(len(self._is_member), members=members, audit=self.audit.points)
        fresh.audit.answer(state.get("audited", {}))
        fresh._rounds, fresh._seconds = [], []
        for number, indices in enumerate(state["rounds"]):
            fresh.label(indices, seconds=state["seconds"][number] if "seconds" in state else 0.0)
        fresh.labels = dict(state["labels"])
        fresh.aside = dict(state.get("aside", {}))
        fresh.changes = changes
        fresh._initial = list(state.get("initial", state["rounds"][0] if state["rounds"] else ()))
        self.__dict__.update(fresh.__dict__)


def label_as_recorded(pool: Pool, records: Records) -> None:
    """Bring a pool that has only its initial labels to the state of a run.

    Raises:
        ValueError: If labels were changed in the pool before.

    >>> pool = Pool(4, initial=[0])
    >>> rounds = [{"indices": [2]}]
    >>> label_as_recorded(pool, Records({}, rounds, [{2: 1}], [Change(2, label=0, after=1)]))
    >>> pool.labelled, pool.labels
    ([0, 2], {2: 0})
    """
    if pool.changes:
        raise ValueError(
            "Labels were changed in `ActiveDataModule.pool` before the run in the folder was resumed. Resume it with a "
            "new `ActiveDataModule`, or change them there by the command `lightning-al-journal`."
        )
    pool.label_initial(records.initial, seconds=total_seconds(records.initial_efforts.values()))
    rounds = [round for round in records.rounds if round["indices"]]
    for number in range(len(rounds) + 1):
        for change in records.changes:
            if change.after == number:
                pool.change(change)
        if number < len(rounds):
            round, answers = rounds[number], records.labels[number]
            seconds = total_seconds(records.efforts[number].values()) if records.efforts else 0.0
            pool.take_answers(round["indices"], answers, audited=round.get("audited", ()), seconds=seconds)
