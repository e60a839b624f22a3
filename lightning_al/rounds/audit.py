"""The audit of a run: points that were drawn before all else, mixed into the queries, and what they tell."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any

from lightning_al.data.audit import Audit
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.host.namespace import rank_zero_warn
from lightning_al.host.ranks import on_each_rank
from lightning_al.prediction.fitted import Fitted
from lightning_al.rounds.arguments import Arguments
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.predicted import is_sampled, predicted, predicted_if_scorable
from lightning_al.rounds.run import Run
from lightning_al.rounds.true_classes import check_classes, class_among
from lightning_al.run.labels import kind_of_aside
from lightning_al.run.seeds import derive

CONFIDENCE = 0.95

WHY = "`ActiveDataModule(audit=...)` measures how many classes are predicted right. Leave `audit` out"


def check_size(data: ActiveDataModule, budget: int | None) -> None:
    """Refuse data whose audit is a share of a budget that was not known when they were set up.

    Args:
        data: The data, which were set up before a run begins.
        budget: The budget of the run.

    Raises:
        ValueError: If another budget gives another number of points.
    """
    is_share = isinstance(data.audit, float) and data.known_audit is None
    if is_share and data.num_audited(budget) != len(data.pool.audit):
        raise ValueError(
            f"`ActiveDataModule(audit={data.audit})` is a share of the budget, but the data were set up before "
            f"`ActiveLearning` said that it is {budget}. Leave the call of `setup` out, or pass the number of points, "
            f"`audit={data.num_audited(budget)}`."
        )


def to_audit(
    active: Arguments, data: ActiveDataModule, number: int, chosen: int, ahead: Collection[int] = ()
) -> list[int]:
    """Return the audit points that are asked for with a query, so that the last query has the last of them.

    Args:
        active: The arguments of the run.
        data: The data.
        number: Number of the round; -1 for the initial points.
        chosen: How many other points the query has.
        ahead: The audit points that have an answer before they are asked for. All of them are asked for now, unless
            there is nothing else to ask for.
    """
    early = [index for index in data.pool.audit.waiting if index in ahead] if chosen else []
    waiting = [index for index in data.pool.audit.waiting if index not in ahead]
    rest = active.num_left(data.pool) - (chosen if number >= 0 else 0)
    if active.max_rounds is not None and isinstance(data.audit, int):
        rest = min(rest, max(0, active.max_rounds - 2 - number) * active.query_size)
    most = -(-len(waiting) * chosen // max(1, chosen + rest))
    points = data.training_points
    readable: list[int] = []
    for index in waiting:
        if len(readable) == most:
            break
        if points.can_read(index):
            readable.append(index)
    return [*early, *readable]


def mixed(chosen: Sequence[int], audited: Sequence[int], seed: int, number: int) -> list[int]:
    """Return the points of a query and audit points in one order that tells nothing; empty where none is audited.

    The points that were chosen keep their order.

    >>> sorted(mixed([7, 3, 8], [4], seed=0, number=2))
    [3, 4, 7, 8]
    """
    if not audited:
        return []
    size = len(chosen) + len(audited)
    places = set(random.Random(derive(seed, number, "audit")).sample(range(size), len(audited)))
    one, other = iter(audited), iter(chosen)
    return [next(one) if place in places else next(other) for place in range(size)]


def answers_given(data: ActiveDataModule) -> dict[int, Any]:
    """Return the answers for audit points that are known before anybody is asked, by index.

    They come from an earlier run, or from a dataset that lists the labels of some of its points.
    """
    waiting = set(data.pool.audit.waiting)
    given = {index: label for index, label in data.given_labels().items() if index in waiting}
    return {**dict.fromkeys(data.with_own_label(waiting)), **given}


def audit_model(run: Run, fit: CurrentFit) -> None:
    """Note in a fit how good the model is by the audit points that have a label.

    The module alone predicts, or the mean of the posterior samples where that is tested or a round has several fits.
    """
    fitted, active = fit.fitted, run.active
    assert fitted is not None
    if not len(fitted.data.pool.audit):
        return
    sampled = is_sampled(active)
    found = on_each_rank(fitted.trainer, lambda: audited_by(fitted, sampled=sampled, skip=active.skips_unscorable))
    fit.audit = fitted.trainer.strategy.broadcast(found)
    if "acc" in fit.audit:
        fit.metrics["audit_acc"] = fit.audit["acc"]


def audited_by(fitted: Fitted, *, sampled: bool, skip: bool) -> dict[str, float]:
    """Return how good a model is by the audit points that have a label, as `Round.audit` says.

    Args:
        fitted: Predicts batches.
        sampled: Whether the mean of the posterior samples predicts, and not the module alone.
        skip: Whether points that cannot be scored are left out.

    Raises:
        ValueError: If the module's outputs are not classes.
        UnscorableError: If points cannot be scored and may not be left out.
    """
    data, audit = fitted.data, fitted.data.pool.audit
    others = [index for index, answer in audit.answers.items() if _is_of_other_class(answer)]
    points, probs_N_C = predicted_if_scorable(fitted, list(audit.labelled), sampled=sampled, why=WHY, skip=skip)
    if not points:
        return figures(audit, 0, len(others))
    truth = [class_among(data, index, probs_N_C.shape[1]) for index in points]
    labels = len(points) - truth.count(None)
    if labels < len(points):
        rank_zero_warn(
            f"`ActiveDataModule(audit=...)` leaves out {len(points) - labels} of {len(points)} points, since their "
            f"labels are none of the {probs_N_C.shape[1]} classes that are predicted."
        )
    right = sum(found == true for found, true in zip(probs_N_C.argmax(dim=1).tolist(), truth, strict=True))
    return figures(audit, right, labels + len(others))


def figures(audit: Audit, right: int, labels: int) -> dict[str, float]:
    """Return what is recorded of an audit.

    Args:
        audit: The audit.
        right: How many of the points are predicted right.
        labels: How many there are to predict.
    """
    from scipy.stats import binomtest

    found: dict[str, float] = {
        "answers": len(audit.answers),
        "paid": audit.num_spent,
        "labels": labels,
        "right": right,
    }
    if labels:
        interval = binomtest(right, labels).proportion_ci(CONFIDENCE, method="wilson")
        found |= {"acc": right / labels, "low": float(interval.low), "high": float(interval.high)}
    if audit.answers:
        kinds = [kind_of_aside(answer) for answer in audit.answers.values()]
        found["set_aside"] = sum(kind is not None and kind != "other" for kind in kinds) / len(kinds)
    return found


def try_audit(fitted: Fitted) -> None:
    """Predict two points, as after the fit, so that what cannot be audited fails before it.

    Raises:
        ValueError: If the module's outputs are not classes, or labels are none of these.
    """
    data = fitted.data
    if len(data.pool.audit) and data.pool.labelled:
        probs_n_C = predicted(fitted, data.pool.labelled[:2], sampled=False, why=WHY)
        check_classes(data, probs_n_C.shape[1], what="audit")


def _is_of_other_class(answer: Any) -> bool:
    """Return whether an answer names a class that nobody listed, so that no prediction can be right."""
    return kind_of_aside(answer) == "other"
