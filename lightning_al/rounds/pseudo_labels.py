"""Self-training: points of the pool on which the next round trains as if the model's prediction were their label.

Dong-Hyun Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", ICML
2013 Workshop on Challenges in Representation Learning.
"""

from __future__ import annotations

from lightning_al.host.ranks import on_each_rank
from lightning_al.prediction.fitted import Fitted
from lightning_al.rounds.fit import CurrentFit
from lightning_al.rounds.predicted import is_sampled, predicted, predicted_if_scorable
from lightning_al.rounds.run import Run
from lightning_al.rounds.true_classes import check_classes

WHY = "`ActiveDataModule(pseudo_labels=...)` trains on the classes that the model predicts. Leave `pseudo_labels` out"


def pseudo_label(run: Run, fit: CurrentFit) -> None:
    """Note in a fit the points of the pool that the next round trains on by their predicted class.

    They are those whose likeliest class has at least the probability `ActiveDataModule.pseudo_labels`, without the
    points of the query, and without those that cannot be scored.
    """
    fitted = fit.fitted
    assert fitted is not None
    threshold = fitted.data.pseudo_labels
    if threshold is None or not fit.indices:
        return
    left_out = {*fit.indices, *fit.unscorable}
    points = [index for index in fitted.data.pool.unlabelled if index not in left_out]
    sampled, skip = is_sampled(run.active), run.active.skips_unscorable
    found = on_each_rank(fitted.trainer, lambda: confident(fitted, points, threshold, sampled=sampled, skip=skip))
    fit.pseudo_labels = fitted.trainer.strategy.broadcast(found)


def confident(fitted: Fitted, points: list[int], threshold: float, *, sampled: bool, skip: bool) -> dict[int, int]:
    """Return the predicted classes of the points whose likeliest class has at least a probability, by index.

    Args:
        fitted: Predicts batches.
        points: Indices of the points.
        threshold: The probability.
        sampled: Whether the mean of the posterior samples predicts, and not the module alone.
        skip: Whether points that cannot be scored are left out. The query need not have looked at all of them.

    Raises:
        ValueError: If labels of the data are no numbers of these classes.
        UnscorableError: If points cannot be scored and may not be left out.
    """
    points, probs_N_C = predicted_if_scorable(fitted, points, sampled=sampled, why=WHY, skip=skip)
    if not points:
        return {}
    check_classes(fitted.data, probs_N_C.shape[1], what="pseudo_labels", numbers_only=True)
    highest_N, classes_N = probs_N_C.max(dim=1)
    is_confident = (highest_N >= threshold).tolist()
    pairs = zip(points, classes_N.tolist(), is_confident, strict=True)
    return {index: label for index, label, is_sure in pairs if is_sure}


def try_pseudo_labels(fitted: Fitted) -> None:
    """Predict two points, as after the fit, so that what cannot be trained on fails before it.

    Raises:
        ValueError: If the module's outputs are not classes, labels are no numbers of these, or an item has no place for
            a label.
    """
    data = fitted.data
    if data.pseudo_labels is not None and data.pool.labelled:
        first = data.pool.labelled[:2]
        data.target.check_place(data.item_of(first[0]))
        probs_n_C = predicted(fitted, first, sampled=False, why=WHY)
        check_classes(data, probs_n_C.shape[1], what="pseudo_labels", numbers_only=True)
