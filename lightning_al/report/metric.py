"""What the name of a metric says, where that is safe: its direction, its chance level, and how an axis calls it."""

from __future__ import annotations

import re
from collections.abc import Collection
from math import log
from typing import Literal, get_args

Mode = Literal["min", "max"]
"""As in Lightning's ModelCheckpoint: "min" where less is better, "max" where more is."""

LESS = {
    *("loss", "nll", "ce", "bce", "xent", "crossentropy", "logloss", "hinge", "kl", "kld", "deviance", "regret"),
    *("error", "errors", "err", "mse", "mae", "rmse", "msle", "rmsle", "mape", "smape", "crps"),
    *("ece", "mce", "brier", "perplexity", "ppl", "hamming", "fpr", "fnr", "eer", "cer", "wer"),
}
MORE = {
    *("acc", "accuracy", "auc", "auroc", "auprc", "ap", "map", "f1", "f2", "fbeta", "precision", "recall", "tpr"),
    *("tnr", "sensitivity", "specificity", "iou", "miou", "jaccard", "dice", "kappa", "mcc", "r2", "likelihood"),
}
UNSURE = {
    *("std", "sd", "var", "variance", "gap", "drop", "diff", "difference", "delta", "threshold", "similarity"),
    *("weight", "scale", "ratio", "coef", "coefficient", "factor", "multiplier", "count", "num", "number", "nan"),
    *("change", "changes", "slope", "trend", "growth", "rank", "percentile", "stderr", "sem", "ci", "corr", "curve"),
    *("norm", "grad", "gradient", "time", "seconds", "steps", "patience", "baseline", "target", "goal", "margin"),
    *("correlation", "skill", "headroom", "remaining", "left", "vs", "versus", "above", "below", "lr", "temperature"),
}
"""Words for what is derived from a metric, where neither less nor more has to be better."""

TURNS = {"non", "not", "no", "without", "free", "less", "one", "inv", "anti", "un", "dis"}
"""Words that may reverse the direction of a metric."""

TURNING = (
    *("improv", "reduc", "decreas", "increas", "declin", "gain", "lift", "uplift", "boost", "speedup", "sav", "drop"),
    *("invers", "invert", "recipro", "complement", "oppos", "flip", "revers", "recover", "avoid", "remov", "suppress"),
    *("advantage", "benefit", "prevent", "correct", "detect", "robust", "resist", "toleran", "resilien", "negat"),
)
"""Beginnings of more such words."""

ARITHMETIC = re.compile(
    r"""
      ^\s*[-\u2212\u2013+]                                # -loss
    | [\s()\[\]{},;:=/*+|_]\s*[-\u2212]              # val/-loss, val - loss
    | (?:^|[\s(\[=/_:.])\d+(?:\.\d*)?\s*[-\u2212\u2013]  # 1-acc, 100 - acc; not top-1-acc
    | ^\s*1(?:\.0*)?\s*/                       # 1/loss
    | [*^~!<>=\xac\xd7\xf7]                             # loss**-1
    | [-\u2212]1$                                   # loss-1
    """,
    re.VERBOSE,
)
"""Signs that a name is a formula."""

TURNED = {"neg", "negative", "minus"}
"""Words with which less of a likelihood is better; of any other metric they leave the direction open."""

USUAL = ("test_acc", "posterior_accuracy", "val_acc", "audit_acc")

PLACES = {
    *("train", "training", "val", "valid", "validation", "test", "testing", "posterior", "deterministic", "epoch"),
    *("audit", "step", "mean", "macro", "micro", "balanced", "multiclass", "dataloader", "idx"),
}
"""Words of a metric's name that do not change its chance level: where or how it was measured."""

CROSS_ENTROPIES = {
    *("loss", "nll", "nll loss", "ce", "ce loss", "cross entropy", "cross entropy loss", "crossentropy", "log loss"),
    *("logloss", "xent", "negative log likelihood"),
}


def words(metric: str) -> list[str]:
    """Return the words of a metric's name in lower case, without a stage that a word may begin with.

    >>> words("val/CrossEntropyLoss"), words("testacc"), words("BCEWithLogits_1")
    (['val', 'cross', 'entropy', 'loss'], ['acc'], ['bce', 'with', 'logits'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", metric)
    return [_without_stage(word) for word in re.findall(r"[a-z]+\d*", spaced.lower())]


def guess_mode(metric: str) -> Mode | None:
    """Return whether less or more of a metric is better according to its name, or None if that is not clear.

    >>> guess_mode("test_acc"), guess_mode("posterior_nll"), guess_mode("valLoss"), guess_mode("test_score")
    ('max', 'min', 'min', None)
    >>> guess_mode("negative_log_likelihood"), guess_mode("loss_std"), guess_mode("hamming_score")
    ('min', None, None)
    >>> guess_mode("error_reduction"), guess_mode("1-acc"), guess_mode("inverse_loss")
    (None, None, None)
    """
    if ARITHMETIC.search(metric):
        return None
    # Also without splitting at capitals, which begin no word in "mIoU".
    found = {*words(metric), *map(_without_stage, re.findall(r"[a-z]+\d*", metric.lower()))}
    found |= {word.rstrip("0123456789") for word in found}
    less, more = bool(found & LESS) or {"cross", "entropy"} <= found, bool(found & MORE)
    others = found - TURNED
    if found & (UNSURE | TURNS) or any(word.startswith(TURNING) for word in others):
        return None
    if found & TURNED:
        return "min" if found & MORE == {"likelihood"} and not less else None
    if less == more or (less and "score" in found and "brier" not in found):
        return None
    return "min" if less else "max"


def usual_metric(known: Collection[str]) -> str:
    """Return the metric for the curves of runs that name none; empty if there is none.

    It is a usual one, or else one whose name says whether less or more of it is better: rather one of the test than
    another, and rather one of which more is better.

    >>> usual_metric(["test/loss", "val/f1", "avg_conf", "test/f1"])
    'test/f1'
    """
    usual = next((name for name in USUAL if name in known), None)
    return min(known, key=_rank, default="") if usual is None else usual


def _rank(metric: str) -> tuple[bool, bool, bool, str]:
    mode = guess_mode(metric)
    return mode is None, not metric.lower().startswith("test"), mode == "min", metric


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


def checked_mode(mode: str | None, *, who: str) -> Mode | None:
    """Return a mode, or None, unchanged.

    Raises:
        ValueError: If it is neither "min" nor "max".
    """
    if mode is not None and mode not in get_args(Mode):
        raise ValueError(
            f"{who} expects `mode` to be min (less of the metric is better) or max (more is), but got {mode!r}. Give "
            "one of them, or leave it out if the metric's name is clear."
        )
    return mode  # type: ignore[return-value]


def axis_name(metric: str) -> str:
    """Return the name of a metric as the label of an axis.

    >>> axis_name("test_acc"), axis_name("val_loss")
    ('test accuracy', 'validation loss (nats)')
    """
    written = {"acc": "accuracy", "loss": "loss (nats)", "nll": "negative log-likelihood (nats)", "val": "validation"}
    return " ".join(written.get(word, word) for word in metric.split("_"))


def _without_stage(word: str) -> str:
    found = re.fullmatch("(?:train|valid|val|test)(.+)", word)
    return found[1] if found is not None and found[1] in LESS | MORE else word
