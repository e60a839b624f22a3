"""The rounds of a run: which points each queried, and how well the model did before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    import pandas as pd

NESTED = ("metrics", "seconds", "peak_bytes", "class_counts", "details", "audit")
"""Fields of a round that have a column for each of their parts in a frame."""


@dataclass(frozen=True)
class Round:
    """A round: its fit or fits, what was measured after them, and the points queried then.

    Attributes:
        number: Number of the round, from 0.
        labelled: Number of training labels of the fit.
        indices: Dataset indices queried after the fit, in the order of choice; empty in the last round.
        scores: The acquisition function's score for each of these indices.
        class_counts: Training labels of the fit by class, or None if labels are not class numbers.
        metrics: Metrics that the module logged, by name: training and validation metrics at the end of the fit, and
            test metrics. A metric by which a ModelCheckpoint chose the weights has its best value. With several fits,
            each metric is the mean over the fits that logged it.
        seconds: Wall time of each part in seconds, summed over fits: fit, score, select, test, label.
        peak_bytes: Peak memory of the first process by the end of each part, by the part's name; that of its GPU by the
            name with ``_cuda``. It counts from the start of the process, so it never falls.
        steps: Optimiser steps, summed over fits.
        validation_labels: Number of validation labels that the fit used to stop or to choose its weights.
        tested_with: Whether the test metrics are those of the module alone, or also those of the posterior mean and of
            the network without sampling.
        details: What the acquisition function reports of the query, by name: a number, or a list with one number a
            pick. BatchBALD's `standard_error` is its Monte Carlo error. The sampling noise of having K posterior
            samples shows only in `overlap_of_half_samples`, which `BatchBALD(check_samples=True)` measures.
        warning: Warning of the acquisition function, or None.
        unscorable: Dataset indices of the points that could not be scored, and were left out of the selection.
        corrected: Dataset indices whose labels were corrected since the run began and before the fit, in order.
        given_back: Dataset indices given back to the pool since the run began and before the fit, in order.
        skipped: Dataset indices that were skipped since the run began and before the fit, in order.
        unusable: Dataset indices whose answer was no label, but cost one, since the run began and before the fit.
        members: The metrics of each fit, if the round has several.
        audit: How good the model is by the audit points that had a label before the fit (see
            `ActiveDataModule(audit=...)`): the number of these `labels`, how many of them it has `right`, its accuracy
            `acc` with the 95 % interval `low` to `high` (Wilson), the number of all `answers`, how many of them were
            `paid`, and the share `set_aside` that gave no label. An answer `Other` is a label that no model has right.
            Empty without audit points. `acc` is among the metrics too, as ``audit_acc``.
        audited: Dataset indices of the audit points that were asked for together with `indices`.
        label_seconds: How long all answers before the fit took, in seconds, as far as the answers say it.
        pseudo_labels: Number of points of the pool that the fit trained on by their predicted class, beside its
            training labels (see `ActiveDataModule(pseudo_labels=...)`).
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
    skipped: list[int] = field(default_factory=list)
    unusable: list[int] = field(default_factory=list)
    warning: str | None = None
    members: list[dict[str, float]] = field(default_factory=list)
    audit: dict[str, float] = field(default_factory=dict)
    audited: list[int] = field(default_factory=list)
    label_seconds: float = 0.0
    pseudo_labels: int = 0

    @property
    def spent(self) -> int:
        """Number of labels paid for by then: those of the fit, those given back, unusable points, and audit points."""
        return self.labelled + len(self.given_back) + len(self.unusable) + int(self.audit.get("paid", 0))

    def to_dict(self) -> dict[str, Any]:
        """Return the round as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Round:
        """Make a round from plain data; class numbers may be strings, as in JSON."""
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
            + "".join(f"{name} {value:.4g}, " for name, value in round.metrics.items() if name != "audit_acc")
            + (f"{said_of_audit(round.audit)}, " if round.audit else "")
            + (f"{round.pseudo_labels} pseudo-labels, " if round.pseudo_labels else "")
            + (f"{len(round.corrected)} corrected so far, " if round.corrected else "")
            + (f"{len(round.given_back)} given back so far, " if round.given_back else "")
            + (f"{len(round.skipped)} skipped so far, " if round.skipped else "")
            + (f"{len(round.unusable)} unusable so far, " if round.unusable else "")
            + (f"asked {round.indices}" if round.indices else "asked nothing")
            + (f", left out {len(round.unscorable)} that cannot be scored" if round.unscorable else "")
            for round in self
        ]
        return "\n".join([f"History of {len(self)} rounds", *lines])

    @property
    def done(self) -> bool:
        """Whether the run has finished: its last round queried nothing."""
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
        """Return the learning curve of a metric: labels paid for by a round, and the metric after its fit.

        Of rounds with as many labels, as after a query of which every point was skipped, the last is on the curve.

        Raises:
            KeyError: If no round has the metric; the message lists the known ones.
        """
        measured = [round for round in self if metric in round.metrics]
        if not measured:
            known = sorted({name for round in self for name in round.metrics})
            raise KeyError(f"No round has the metric {metric!r}. Choose one of: {', '.join(known) or 'none'}.")
        by_labels = {round.spent: round.metrics[metric] for round in measured}
        return list(by_labels), list(by_labels.values())

    def to_frame(self) -> pd.DataFrame:
        """Return the rounds as a pandas DataFrame, one row a round.

        Columns:

        - ``round``: number of the round, from 0.
        - ``labels``: labels paid for by then, `Round.spent`.
        - ``queried``: number of points queried after the fit, 0 in the last round.
        - Every other field of `Round` that is a number, a text or a list, under its own name.
        - ``metrics.NAME``: each metric, in its own unit.
        - ``seconds.PART``: wall time of each part of the round, in seconds.
        - ``peak_bytes.PART``: peak memory by the end of each part, in bytes.
        - ``class_counts.CLASS``: training labels of each class.
        - ``audit.NAME``: how good the model is by the audit points, as `Round.audit` says.
        - ``details.NAME``: what the acquisition function reports of the query; `BatchBALD` reports in nats.

        What a round lacks is NaN.

        >>> history = History([Round(0, 20, [7, 3], [0.6, 0.9], metrics={"acc": 0.5}), Round(1, 22, [], [])])
        >>> history.to_frame()[["round", "labels", "queried", "metrics.acc"]]
           round  labels  queried  metrics.acc
        0      0      20        2          0.5
        1      1      22        0          NaN
        """
        import pandas as pd

        return pd.DataFrame([_row(round) for round in self])

    def state_dict(self) -> dict[str, Any]:
        """Return the rounds as plain data."""
        return {"rounds": [round.to_dict() for round in self]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the rounds by those of a state dict."""
        self._rounds = [Round.from_dict(plain) for plain in state["rounds"]]


def said_of_audit(audit: Mapping[str, float]) -> str:
    """Say how good a model is by its audit points.

    >>> said_of_audit({"labels": 10, "right": 9, "acc": 0.9, "low": 0.596, "high": 0.982})
    'audit 9 of 10 right (0.60 to 0.98)'
    """
    if not audit.get("labels"):
        return "no audit label yet"
    return f"audit {audit['right']:.0f} of {audit['labels']:.0f} right ({audit['low']:.2f} to {audit['high']:.2f})"


def _row(round: Round) -> dict[str, Any]:
    plain = round.to_dict()
    row = {"round": plain.pop("number"), "labels": round.spent, "queried": len(round.indices)}
    for name, value in plain.items():
        if name in NESTED:
            row |= {f"{name}.{key}": part for key, part in (value or {}).items()}
        else:
            row[name] = value
    return row
