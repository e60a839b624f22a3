"""What each round did: which points it asked for, and how well the model did before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, overload


@dataclass(frozen=True)
class Round:
    """The fit or fits of a round, what was measured after them, and what was asked for then.

    Attributes:
        number: Which round it is, from 0.
        labelled: Number of training labels that the fit had.
        indices: Dataset indices asked for after the fit, in the order of choice; empty in the last round.
        scores: The acquisition function's score for each of these indices.
        class_counts: Training labels of each class that the fit had, or None where labels are not class numbers.
        metrics: What the module logged, by name: training and validation at the end of the fit (a metric by which a
            ModelCheckpoint chose the weights, at its best), and test. Of several fits the mean over those that have it.
        seconds: Wall time of each part, of all fits together: fit, score, select, test, label.
        peak_bytes: Most memory that the first process has held by the end of each part, by the part's name, and on its
            GPU by that name with ``_cuda``. It counts from where the process began, so that it never falls.
        steps: Optimiser steps of all fits together.
        validation_labels: Number of validation labels that the fit used, to stop or to choose its weights.
        tested_with: Whether the test metrics are the module's alone, or also those of the posterior mean and of the
            network without sampling.
        details: What the acquisition function reports of the query, by name: figures, or one for each pick. The
            `standard_error` of BatchBALD is its Monte Carlo error; the sampling noise of having K posterior samples is
            in `overlap_of_half_samples` alone, where `BatchBALD(check_samples=True)` measured it.
        warning: What the acquisition function warns of, or None.
        unscorable: Dataset indices of the points that could not be scored, so that the query was selected without them.
        corrected: Dataset indices whose labels had been corrected before the fit, since the run began, in order.
        given_back: Dataset indices that had been given back to the pool before the fit, since the run began, in order.
        members: The metrics of each fit, where the round has several.
    """

    number: int
    labelled: int
    indices: list[int]
    scores: list[float]
    class_counts: dict[int, int] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    validation_labels: int = 0
    tested_with: Literal["module", "posterior"] = "module"
    details: dict[str, float | list[float]] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    unscorable: list[int] = field(default_factory=list)
    corrected: list[int] = field(default_factory=list)
    given_back: list[int] = field(default_factory=list)
    warning: str | None = None
    members: list[dict[str, float]] = field(default_factory=list)

    @property
    def spent(self) -> int:
        """Number of labels paid for by then: those that the fit had, and those given back."""
        return self.labelled + len(self.given_back)

    def to_dict(self) -> dict[str, Any]:
        """Return the round as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Round:
        """Make a round from plain data, where JSON may have turned the class numbers into strings."""
        known = {name.name: plain[name.name] for name in fields(cls) if name.name in plain}
        if known.get("class_counts") is not None:
            known["class_counts"] = {int(label): count for label, count in known["class_counts"].items()}
        return cls(**known)


class History(Sequence[Round]):
    """The rounds of a run in order.

    >>> history = History()
    >>> history.append(Round(0, labelled=20, indices=[7, 3], scores=[0.6, 0.9], metrics={"test_acc": 0.5}))
    >>> [(round.labelled, round.metrics["test_acc"]) for round in history]
    [(20, 0.5)]
    """

    def __init__(self, rounds: Iterable[Round] = ()) -> None:
        self._rounds = list(rounds)

    @overload
    def __getitem__(self, place: int) -> Round: ...
    @overload
    def __getitem__(self, place: slice) -> list[Round]: ...
    def __getitem__(self, place: int | slice) -> Round | list[Round]:
        return self._rounds[place]

    def __len__(self) -> int:
        return len(self._rounds)

    def __iter__(self) -> Iterator[Round]:
        return iter(self._rounds)

    def __repr__(self) -> str:
        lines = [
            f"  round {round.number}: {round.labelled} labels, "
            + "".join(f"{name} {value:.4g}, " for name, value in round.metrics.items())
            + (f"{len(round.corrected)} corrected so far, " if round.corrected else "")
            + (f"{len(round.given_back)} given back so far, " if round.given_back else "")
            + (f"asked {round.indices}" if round.indices else "asked nothing")
            + (f", left out {len(round.unscorable)} that cannot be scored" if round.unscorable else "")
            for round in self
        ]
        return "\n".join([f"History of {len(self)} rounds", *lines])

    @property
    def done(self) -> bool:
        """Whether the run has ended: the last round had nothing left to query."""
        return len(self) > 0 and not self[-1].indices

    def append(self, round: Round) -> None:
        """Add the next round.

        Raises:
            ValueError: If its number is not the next one.
        """
        if round.number != len(self):
            raise ValueError(
                f"`History.append` expected round {len(self)}, but got round {round.number}. Append in order."
            )
        self._rounds.append(round)

    def take_back(self) -> Round:
        """Remove the last round, and return it."""
        return self._rounds.pop()

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """Return the learning curve of a metric: labels paid for, and the metric after the fit with them.

        Raises:
            KeyError: If no round has the metric; the message lists those there are.
        """
        measured = [round for round in self if metric in round.metrics]
        if not measured:
            known = sorted({name for round in self for name in round.metrics})
            raise KeyError(f"No round has the metric {metric!r}. Choose one of: {', '.join(known) or 'none'}.")
        return [round.spent for round in measured], [round.metrics[metric] for round in measured]

    def state_dict(self) -> dict[str, Any]:
        """Return the rounds as plain data."""
        return {"rounds": [round.to_dict() for round in self]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the rounds that `state_dict` returned."""
        self._rounds = [Round.from_dict(plain) for plain in state["rounds"]]
