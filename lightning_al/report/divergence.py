"""What diverged runs count as in a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

from lightning_al.report.direction import Mode, guess_mode, words

PLACES = {
    *("train", "training", "val", "valid", "validation", "test", "testing", "posterior", "deterministic", "epoch"),
    *("step", "mean", "macro", "micro", "balanced", "multiclass", "dataloader", "idx"),
}
"""Words of a metric's name that do not change its chance level: where or how it was measured."""

CROSS_ENTROPIES = {
    *("loss", "nll", "nll loss", "ce", "ce loss", "cross entropy", "cross entropy loss", "crossentropy", "log loss"),
    *("logloss", "xent", "negative log likelihood"),
}


@dataclass(frozen=True)
class StandIn:
    """What a diverged run counts as.

    Attributes:
        height: The area that is counted for it: chance level, or the area of the worst other run if that is worse.
        chance: Chance level.
        num_classes: The number of classes that chance level follows from, or None if chance level was given.
    """

    height: float
    chance: float
    num_classes: int | None

    @property
    def said(self) -> str:
        """Where the height comes from, in words."""
        of_classes = "" if self.num_classes is None else f" of {self.num_classes} classes"
        if self.height == self.chance:
            return f"chance level{of_classes}"
        return f"the worst of the other runs, since chance level{of_classes}, {self.chance:.3f}, would be better"


def chance_level(metric: str, num_classes: int | None) -> float | None:
    """Return the value of a metric for a prediction that gives each of C classes the same probability.

    It is 1/C for an accuracy, 1 - 1/C for an error rate, log C for a cross-entropy in nats, log 2 for a binary
    cross-entropy, C for a perplexity and 1/2 for the area under the ROC curve. A metric called just "loss" is taken for
    a cross-entropy.

    Args:
        metric: Name of the metric. Its stage and kind of mean are ignored.
        num_classes: The number of classes C, if it is known.

    Returns:
        The level, or None if it does not follow from the name and the number of classes.

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
    """Return what a diverged run counts as, or None if chance level or the metric's direction is not known.

    A diverged run never counts as better than another run: a network that is sure of wrong answers has a loss above
    chance level.

    Args:
        metric: Name of the metric.
        heights: The areas under the curves of the other runs.
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
