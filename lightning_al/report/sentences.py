"""The results of a comparison in sentences, and the caveats about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from lightning_al.report.comparison import Method
from lightning_al.report.formats import p_value, signed
from lightning_al.report.lead import lead
from lightning_al.report.metric import Mode, axis_name
from lightning_al.report.ranking import common_seeds, paired_methods, ranked
from lightning_al.report.runs import Run
from lightning_al.report.settings import ACCELERATOR
from lightning_al.report.statistics import LEAST_SEEDS, LEVEL, MOST_PAIRS, PairedDifference
from lightning_al.report.study import Study


def headlines(study: Study) -> list[tuple[str, str]]:
    """Return what the report says of a study: sentences, each with its evidence.

    The first is on the best method, if others are compared with random choice; then comes one on each method, the
    largest difference first. Of a run alone, what its audit points tell comes first. Where nothing was measured, there
    is one sentence, on the labels.
    """
    if not study.metric:
        return [_unmeasured(study)]
    audited = _audited(study.runs[0].history[-1].audit) if len(study.runs) == 1 else []
    baseline = study.baseline
    compared = [row for row in study.compared if row.difference is not None]
    if baseline is not None and compared:
        compared.sort(key=lambda row: -abs(row.difference.mean) if row.difference else 0.0)
        said = [_against(row, baseline, study) for row in compared]
    else:
        rows = ranked(study.compared, study.mode or "max")
        said = [(f"The normalised area under {row.name}'s curve is {row.mean_area:.3f}.", _runs(row)) for row in rows]
    shown = {row.name for row in study.compared if row.is_complete}
    left = [row for row in study.compared if row.name not in shown]
    best = lead(study)
    first = [] if best is None else [best]
    return [
        *audited,
        *first,
        *said,
        *((f"{row.name} is incomplete: {row.num_diverged}.", _others(row)) for row in left),
    ]


def caveats(study: Study) -> list[str]:
    """Return the warnings that a reader needs before trusting the sentences."""
    if not study.metric:
        num_going = sum(run.state != "finished" for run in study.runs)
        have = "has" if num_going == 1 else "have"
        unfinished = [f"Of the runs, {num_going} {have} not finished; the figures will change."] if num_going else []
        return [*unfinished, *_differences(study)]
    found = []
    high = study.between[1]
    with_random = [row.difference.n for row in study.compared if row.difference is not None]
    if not study.compared:
        found.append(_without_range(study))
    elif not study.has_random_choice and len(study.runs) > 1:
        found.append("There is no run of random choice to compare with.")
    elif study.has_random_choice and study.baseline is None:
        found.append("Runs of random choice diverged and are not counted, so that nothing is compared with it.")
    elif len({row.name for row in study.compared}) == 1 and len(study.runs) > 1:
        which = "the only method" if len(study.methods) == 1 else "the only method with runs that cover the range"
        found.append(f"Random choice is {which}, so that nothing is compared with it.")
    elif not with_random and len(study.runs) > 1:
        found.append("No method has a seed in common with random choice, so that nothing is compared with it.")
    found += _unlike_seeds(study)
    pairs = [*with_random, *(pair.difference.n for pair in study.pairs)]
    if pairs and min(pairs) < LEAST_SEEDS:
        found.append(
            f"Descriptive: {min(pairs)} paired seed{'s' * (min(pairs) != 1)}, where a claim rests on at least "
            f"{LEAST_SEEDS}."
        )
    if study.too_many_seeds:
        named = ", ".join(study.too_many_seeds)
        found.append(f"Not compared with each other, since they have more than {MOST_PAIRS} seeds: {named}.")
    going = [run for run in study.runs if run.state != "finished" and not study.is_too_short(run)]
    if going and study.compared:
        found.append(f"Of the runs compared, {len(going)} have not finished; the figures will change.")
    found += _too_short(study)
    if study.mode is None:
        found.append(
            f"Whether less or more of {study.metric} is better is not known, since its name does not say it. Give "
            "--mode min or --mode max."
        )
    found += of_diverged(study.compared, study.metric, study.mode)
    found += _gaps(study)
    found += _constant(study)
    longer = max((run.labels[-1] for run in study.runs), default=0)
    if study.compared and longer > high and not study.too_short:
        found.append(f"Compared up to {high} labels; the longest run goes to {longer}.")
    unlike = _unlike_starts(study)
    if unlike:
        found.append(
            f"Round 0 differs between methods with the same seed ({', '.join(map(str, unlike))}), so that these pairs "
            "did not start alike."
        )
    return found + _differences(study)


def of_diverged(rows: Sequence[Method], metric: str, mode: Mode | None) -> list[str]:
    """Return which runs diverged and what they count as; nothing if no run did."""
    incomplete = [row for row in rows if not row.is_complete]
    if not incomplete:
        return []
    named = [
        f"{row.name} seed {run.seed} with {_diverged_at(run)} labels" for row in incomplete for run in row.diverged
    ]
    which = f"Diverged, since {metric} is not a finite number: {_listed(named)}."
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


def _audited(audit: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return what the audit points of the last model tell, if any has a label."""
    if not audit.get("labels"):
        return []
    right, labels = f"{audit['right']:.0f}", f"{audit['labels']:.0f}"
    said = f"The last model is right on {right} of {labels} audit point{'s' * (labels != '1')}"
    rests = "Drawn at random before the run and never trained on; in brackets the 95 % interval of the accuracy."
    return [(f"{said} ({100 * audit['low']:.0f} to {100 * audit['high']:.0f} %).", rests)]


def _unmeasured(study: Study) -> tuple[str, str]:
    """Return how many labels there are, and what would have measured how good the model is."""
    labels = _span([run.history[-1].spent for run in study.runs], "label")
    num_rounds = _span([len(run.history) for run in study.runs], "round")
    others = sorted({name for run in study.runs for name in run.metrics})
    other = f"`--metric` draws the curve of another metric: {_listed(others)}." if others else ""
    if any(run.history[-1].audit for run in study.runs):
        said = "no audit point has a label yet, so that nothing says how good the model is."
    else:
        said = "nothing measured how good the model is: `pool.audit=0.1` would have."
        other = other or "So would test data. In a program it is `ActiveDataModule(audit=0.1)`."
    return f"{labels} in {num_rounds}; {said}", other


def _span(counts: Sequence[int], name: str) -> str:
    low, high = min(counts), max(counts)
    return f"{high} {name}{'s' * (high != 1)}" if low == high else f"{low} to {high} {name}s"


def _differences(study: Study) -> list[str]:
    """Say what the runs do not share: what their seeds drew, packages and accelerators."""
    by_seed = sorted({_argument(name) for name in study.by_seed})
    found = [f"Runs with different seeds also differ in: {', '.join(by_seed)}."] if by_seed else []
    changed = [name for name, versions in study.versions.items() if len(versions) > 1]
    found += [f"The runs used different versions of {', '.join(changed)}."] if changed else []
    accelerators = sorted({str(run.settings.get(ACCELERATOR, "auto")) for run in study.runs})
    if len(accelerators) > 1:
        found.append(f"The runs used different accelerators: {', '.join(accelerators)}.")
    return found


def _argument(name: str) -> str:
    """Return what a setting of a program's run belongs to: the pool, or an argument.

    >>> _argument("data.contents"), _argument("pool.val.contents"), _argument("acquisition.table")
    ('pool', 'val', 'acquisition')
    """
    part, _, rest = name.partition(".")
    return "pool" if part == "data" else rest.split(".")[0] if part in ("pool", "active") else part


def _against(row: Method, baseline: Method, study: Study) -> tuple[str, str]:
    difference = row.difference
    assert difference is not None
    assert row.p_sign_flip_holm is not None
    where = "above" if difference.mean > 0 else "below"
    lies = f"lies {abs(difference.mean):.3f} {where}" if difference.mean else "is level with"
    few = (
        ""
        if difference.n >= LEAST_SEEDS
        else "With one seed, "
        if difference.n == 1
        else f"With {difference.n} seeds, "
    )
    sentence = f"{few}{row.name}'s curve {lies} {baseline.name}'s."
    low, high = study.between
    less = ", of which less is better," if study.mode == "min" else ""
    rests = [f"Mean {axis_name(study.metric)}{less} over {low} to {high} labels"]
    rests += [_counted(one) for one in (row, baseline) if one.stand_in is not None]
    rests += [f"95 % interval {signed(difference.low)} to {signed(difference.high)}"] if difference.n > 1 else []
    rests += [f"{difference.n} paired seeds", _signs(difference)] if difference.n > 1 else ["one seed, so no interval"]
    if row.n_too_small:
        rests.append("n too small for a test")
    else:
        rests.append(f"exact sign-flip p {p_value(row.p_sign_flip_holm)}, Holm-corrected")
        if row.p_sign_flip_holm > LEVEL:
            sentence = f"{few}{row.name} is not told apart from {baseline.name}; its curve {lies} {baseline.name}'s."
    return sentence, "; ".join(rests) + "."


def _signs(difference: PairedDifference) -> str:
    if difference.num_above == difference.n:
        return "above on all of them"
    if difference.num_below == difference.n:
        return "below on all of them"
    return f"above on {difference.num_above}, below on {difference.num_below}"


def _counted(row: Method) -> str:
    assert row.stand_in is not None
    return f"of {row.name}, {row.num_diverged} and count{'s' * (len(row.diverged) == 1)} at {row.stand_in.height:.3f}"


def _runs(row: Method) -> str:
    sd = "" if row.sd_area is None else f", standard deviation {row.sd_area:.3f}"
    counted = "" if row.stand_in is None else f"; {_counted(row)}"
    return f"{len(row.runs)} seed{'s' * (len(row.runs) != 1)}{sd}{counted}."


def _others(row: Method) -> str:
    return f"The normalised area of the others is {row.mean_area:.3f}." if row.runs else ""


def _too_short(study: Study) -> list[str]:
    """Return which runs are not compared, since they do not cover the range."""
    runs = study.too_short if study.compared else []
    if not runs:
        return []
    low, high = study.between
    named = _listed([f"{run.name} seed {run.seed}" for run in runs])
    failed = sum(run.state == "failed" for run in runs)
    better = f" Of them, {failed} failed, without which their methods may look better than they are." if failed else ""
    return [
        f"Not compared, since they do not cover {low} to {high} labels yet: {named}. They are in the curves "
        f"as thin lines.{better}"
    ]


def _without_range(study: Study) -> str:
    """Return why no run covers the range that is to be compared."""
    first, last = study.common_range
    if first > last:
        return "No part of the curves is common to the runs, so that nothing is compared."
    return (
        f"Nothing is compared up to {study.between[1]} labels, as `--up-to` asks: the runs have {first} to {last} "
        "labels in common."
    )


def _unlike_seeds(study: Study) -> list[str]:
    """Return which methods share no seed with random choice, and whether means are of different seeds."""
    complete = [row for row in study.compared if row.is_complete]
    paired = paired_methods(study.compared)
    alone = [row.name for row in complete if paired and not any(row is one for one in paired)]
    found = (
        [f"Not compared with random choice, since they have no seed in common with it: {_listed(alone)}."]
        if alone
        else []
    )
    if any(len(row.runs) > len(common_seeds(complete)) for row in complete):
        found.append(
            "The methods' seeds differ, so that their means are not of the same seeds; differences are paired."
        )
    return found


def _constant(study: Study) -> list[str]:
    """Return the methods for which the seed seems to have no effect."""
    same = [row.title for row in study.compared if row.difference is not None and row.difference.is_constant]
    if not same:
        return []
    return [
        f"The difference to random choice is the same with every seed for {', '.join(same)}, as where the seed does "
        "not reach the runs. Then they are one run, whatever p says."
    ]


def _gaps(study: Study) -> list[str]:
    """Return the runs that lack the metric in a round between others that have it."""
    found = []
    for method, runs in study.methods.items():
        for run in runs:
            has = [study.metric in round.metrics for round in run.history]
            missing = has[has.index(True) : len(has) - has[::-1].index(True)].count(False)
            if missing:
                found.append(f"{method} seed {run.seed} ({missing} round{'s' * (missing != 1)})")
    if not found:
        return []
    return [f"Rounds without {study.metric}, over which the curve is taken as straight: {_listed(found)}."]


def _unlike_starts(study: Study) -> list[int]:
    """Return the seeds for which round 0, before the first query, differs between methods."""
    if "posterior" in study.metric:  # it depends on the samples
        return []
    starts: dict[int, set[tuple[int, str]]] = {}
    for run in study.runs:
        # As text, where NaN equals NaN.
        starts.setdefault(run.seed, set()).add((run.labels[0], repr(run.values[0])))
    return sorted(seed for seed, values in starts.items() if len(values) > 1)


def _listed(named: Sequence[str]) -> str:
    return ", ".join(named[:6]) + (f" and {len(named) - 6} more" if len(named) > 6 else "")


def _diverged_at(run: Run) -> int:
    return next(count for count, value in zip(run.labels, run.values, strict=True) if not isfinite(value))
