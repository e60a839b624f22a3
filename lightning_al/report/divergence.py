"""Runs that diverged: what they count as beside those that did not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log, nan
from typing import TYPE_CHECKING

from lightning_al.report.direction import Mode, guess_mode, words

if TYPE_CHECKING:
    from lightning_al.report.comparison import Method
    from lightning_al.report.runs import Run

PLACES = {
    *("train", "training", "val", "valid", "validation", "test", "testing", "posterior", "deterministic", "epoch"),
    *("step", "mean", "macro", "micro", "balanced", "multiclass", "dataloader", "idx"),
}
"""Words in a metric's name that say where or how it was taken, and do not change its chance level."""

CROSS_ENTROPIES = {
    *("loss", "nll", "nll loss", "ce", "ce loss", "cross entropy", "cross entropy loss", "crossentropy", "log loss"),
    *("logloss", "xent", "negative log likelihood"),
}


@dataclass(frozen=True)
class StandIn:
    """What a diverged run counts as.

    Attributes:
        height: The mean height of its curve that is counted: chance level, or that of the worst run that did not
            diverge where chance level would be better than that.
        chance: Chance level.
        num_classes: The number of classes that chance level follows from, or None where it was given.
    """

    height: float
    chance: float
    num_classes: int | None

    @property
    def said(self) -> str:
        """Where the height comes from."""
        of_classes = "" if self.num_classes is None else f" of {self.num_classes} classes"
        if self.height == self.chance:
            return f"chance level{of_classes}"
        return f"the worst of the other runs, since chance level{of_classes}, {self.chance:.3f}, would be better"


def is_finite(values: Iterable[float]) -> bool:
    """Return whether all values are finite numbers."""
    return all(map(isfinite, values))


def or_nan(values: Sequence[float]) -> list[float]:
    """Return the values with NaN for what is infinite, which a picture leaves out.

    >>> or_nan([0.5, float("inf")])
    [0.5, nan]
    """
    return [value if isfinite(value) else nan for value in values]


def chance_level(metric: str, num_classes: int | None) -> float | None:
    """Return what a prediction that knows nothing gets: the same probability for each of C classes.

    That is 1/C for an accuracy, 1 - 1/C for an error rate, log C for a cross-entropy in nats (a metric that is called
    no more than "loss" is taken for one), log 2 for a binary one, C for a perplexity and 1/2 for the area under the
    ROC curve.

    Args:
        metric: Name of the metric; the stage and the kind of mean in it count for nothing.
        num_classes: The number of classes C, if it is known.

    Returns:
        The level, or None where name or number of classes do not tell it.

    >>> chance_level("test_acc", 10), round(chance_level("val_loss", 10), 4), chance_level("test_f1", 10)
    (0.1, 2.3026, None)
    """
    core = " ".join(word for word in words(metric) if word not in PLACES)
    if core in ("auroc", "auc"):
        return 0.5
    if core in ("bce", "bce loss"):
        return log(2)
    if num_classes is None or num_classes < 2:
        return None
    if core in ("acc", "accuracy"):
        return 1 / num_classes
    if core in ("error", "err", "error rate"):
        return 1 - 1 / num_classes
    if core == "perplexity":
        return float(num_classes)
    return log(num_classes) if core in CROSS_ENTROPIES else None


def stand_in(
    metric: str,
    heights: Iterable[float],
    *,
    mode: Mode | None = None,
    chance: float | None = None,
    num_classes: int | None = None,
) -> StandIn | None:
    """Return what a diverged run counts as, or None where chance level or the metric's direction are not known.

    A run that diverged is never better than one that did not: a network that is sure of wrong answers has a loss above
    chance level.

    Args:
        metric: Name of the metric.
        heights: The mean heights of the runs that did not diverge.
        mode: Whether less or more of the metric is better; by default what its name says.
        chance: Chance level; by default what `chance_level` returns.
        num_classes: The number of classes, if it is known.

    >>> stand_in("test_acc", [0.8, 0.9], num_classes=10).height
    0.1
    >>> stand_in("test_loss", [1.2, 3.5], num_classes=10).height
    3.5
    """
    given, mode = chance is not None, mode or guess_mode(metric)
    chance = chance_level(metric, num_classes) if chance is None else chance
    if chance is None or mode is None:
        return None
    known = [chance, *heights]
    height = max(known) if mode == "min" else min(known)
    return StandIn(height, chance, None if given else num_classes)


def of_diverged(rows: Sequence[Method], metric: str, mode: Mode | None) -> list[str]:
    """Return which runs diverged and what they count as; nothing where none did.

    Args:
        rows: The methods, as `compare` returns them.
        metric: Name of the metric.
        mode: Whether less or more of it is better, or None where that is not known.
    """
    incomplete = [row for row in rows if not row.is_complete]
    if not incomplete:
        return []
    named = [
        f"{row.name} seed {run.seed} with {_diverged_at(run)} labels" for row in incomplete for run in row.diverged
    ]
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    which = f"Diverged, since {metric} is not a finite number: {', '.join(named[:6])}{more}."
    counted_as = next((row.stand_in for row in rows if row.stand_in is not None), None)
    if counted_as is not None:
        return [
            f"{which} In the rows that say so, they count at {counted_as.height:.3f}, {counted_as.said}: to leave "
            "them out would favour methods that diverge. The rows without them, in brackets, are not tested."
        ]
    unknown, remedy = (
        (f"whether less or more of {metric} is better", "Give it as `mode`, min or max (`lightning-al-report --mode`)")
        if mode is None
        else (f"what {metric} is at chance level", "Give it to `lightning-al-report` by --chance")
    )
    return [f"{which} Their methods are incomplete and not tested, since it is not known {unknown}. {remedy}."]


def _diverged_at(run: Run) -> int:
    return next(count for count, value in zip(run.labels, run.values, strict=True) if not isfinite(value))
