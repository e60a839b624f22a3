"""The sentence that a report begins with: the best method, and the labels that it saves against random choice."""

from __future__ import annotations

from math import isfinite

from lightning_al.report.comparison import Method, with_differences
from lightning_al.report.formats import count, p_value, signed
from lightning_al.report.metric import Mode, axis_name
from lightning_al.report.ranking import common_seeds, paired_methods, ranked
from lightning_al.report.saving import Saving, labels_saved
from lightning_al.report.statistics import LEAST_SEEDS, LEVEL
from lightning_al.report.study import Study


def lead(study: Study) -> tuple[str, str] | None:
    """Return the best method's sentence and its evidence, or None where nothing is compared with random choice.

    Where the methods have different seeds, they are compared over those that all of them have.
    """
    mode, whole, seeds = study.mode, study.baseline, common_seeds(paired_methods(study.compared))
    compared = [row for row in paired_methods(study.compared) if row is not whole]
    if whole is None or mode is None or not compared:
        return None
    if not seeds:
        return (
            "No method is called best, since no seed is common to the compared methods.",
            f"Each is compared with {whole.name} over the seeds that both have.",
        )
    baseline, over = whole, ""
    if any(len(row.runs) > len(seeds) for row in (whole, *compared)):
        baseline = whole.over(seeds)
        compared = with_differences([row.over(seeds) for row in compared], baseline)
        over = f"Over the {_seeds(len(seeds))} common to the compared methods, "
    first, *others = ranked([baseline, *compared], mode)
    if first is baseline:
        said, rests = _none_is_better(others[0], baseline, study)
        return f"{over}{said[0].lower()}{said[1:]}" if over else said, rests
    return _best(first, baseline, study, mode, over)


def _best(best: Method, baseline: Method, study: Study, mode: Mode, over: str) -> tuple[str, str]:
    saving = labels_saved(best, baseline, mode, up_to=study.between[1])
    assert best.difference is not None
    assert study.baseline is not None
    few = f"With {_seeds(best.difference.n)}, " if best.difference.n < LEAST_SEEDS else ""
    first = f"{over or few}{best.name} is best"
    if not best.n_too_small and not _is_significant(best):
        first += f", but not significantly better than {baseline.name}"
    said = "." if saving is None else f": {_reaches(saving, baseline, study)}"
    return f"{first}{said}", f"{_evidence(saving, len(study.baseline.runs))}{_test(best, baseline)}"


def _none_is_better(second: Method, baseline: Method, study: Study) -> tuple[str, str]:
    difference = second.difference
    assert difference is not None
    interval = f" (95 % interval {signed(difference.low)} to {signed(difference.high)})" if difference.n > 1 else ""
    of = f"mean {axis_name(study.metric)} differs by {signed(difference.mean)}{interval}, {_paired(difference.n)}"
    return (
        f"No method is better than {baseline.name}.",
        f"{second.name} is closest: its {of}. {_test(second, baseline)}",
    )


def _reaches(saving: Saving, baseline: Method, study: Study) -> str:
    level = f"{axis_name(study.metric)} {saving.level:.3f}"
    if saving.labels is None:
        return f"it reaches {level} with {saving.num_reached} of {saving.num_seeds} seeds."
    mean = saving.labels.mean
    if mean == 0:
        return f"it reaches {level} with as many labels as {baseline.name}."
    return f"it reaches {level} with {count(abs(mean))} labels {'fewer' if mean > 0 else 'more'} than {baseline.name}."


def _evidence(saving: Saving | None, num_at_random: int) -> str:
    """Return what the labels saved rest on, where random choice has so many runs."""
    if saving is None:
        return ""
    which = "every seed" if saving.num_seeds == num_at_random else "every paired seed"
    level = f"{saving.level:.3f} is the best level that random choice reaches with {which}. "
    if saving.labels is None:
        return level
    labels = saving.labels
    interval = (
        f"95 % interval of the labels saved {count(labels.low)} to {count(labels.high)} (paired t)"
        if isfinite(labels.low)
        else "no interval"
    )
    return f"{interval}, {_paired(labels.n)}, counted in steps of {saving.step}. {level}"


def _test(row: Method, baseline: Method) -> str:
    """Return whether the difference in area under the curve is significant."""
    difference = row.difference
    assert difference is not None
    assert row.p_sign_flip_holm is not None
    if row.n_too_small:
        return f"Not tested: {_seeds(difference.n)} cannot show a significant difference."
    said = "is" if _is_significant(row) else "is not"
    return (
        f"The difference in normalised area to {baseline.name}'s {said} significant after Holm correction: exact "
        f"sign-flip p {p_value(difference.p_sign_flip)}, corrected p {p_value(row.p_sign_flip_holm)}."
    )


def _is_significant(row: Method) -> bool:
    return row.p_sign_flip_holm is not None and not row.n_too_small and row.p_sign_flip_holm <= LEVEL


def _seeds(number: int) -> str:
    return f"{number} seeds" if number != 1 else "one seed"


def _paired(number: int) -> str:
    return f"{number} paired seeds" if number != 1 else "one seed"
