"""What a comparison says, in a sentence for each method."""

from __future__ import annotations

from lightning_al.report.comparison import Method
from lightning_al.report.pictures import axis_name
from lightning_al.report.statistics import LEAST_SEEDS, LEVEL, PairedDifference
from lightning_al.report.study import Study


def headlines(study: Study) -> list[tuple[str, str]]:
    """Return a sentence for each method compared, with what it rests on; the largest difference first."""
    baseline = study.baseline
    compared = [row for row in study.compared if row.difference is not None]
    if baseline is not None and compared:
        compared.sort(key=lambda row: -abs(row.difference.mean) if row.difference else 0.0)
        return [_against(row, baseline, study) for row in compared]
    rows = sorted(study.compared, key=lambda row: -row.mean_area)
    return [(f"The mean height of {row.name}'s curve is {row.mean_area:.3f}.", _runs(row)) for row in rows]


def caveats(study: Study) -> list[str]:
    """Return what a reader has to know before the sentences are believed."""
    found = []
    low, high = study.between
    pairs = [row.difference.n for row in study.compared if row.difference is not None]
    if not study.compared:
        found.append("No part of the curves is common to the runs, so that nothing is compared.")
    elif study.baseline is None:
        found.append("There is no run of random choice to compare with.")
    elif not pairs:
        found.append("No method has a seed in common with random choice, so that nothing is compared in pairs.")
    if pairs and min(pairs) < LEAST_SEEDS:
        found.append(
            f"Descriptive: {min(pairs)} paired seed{'s' * (min(pairs) != 1)}, where a claim rests on at least "
            f"{LEAST_SEEDS}."
        )
    unfinished = [
        run
        for same in study.recorded.values()
        for run in same
        if run.state != "finished" and run not in study.too_short and study.compared
    ]
    if unfinished:
        found.append(f"Of the runs compared, {len(unfinished)} have not finished; the figures will change.")
    if study.too_short and study.compared:
        named = ", ".join(f"{run.name} seed {run.seed}" for run in study.too_short[:6])
        more = f" and {len(study.too_short) - 6} more" if len(study.too_short) > 6 else ""
        found.append(
            f"Not compared, since they do not cover {low} to {high} labels yet: {named}{more}. They are in the curves "
            "as thin lines."
        )
    longer = max((curve.labels[-1] for same in study.curves.values() for curve in same), default=0)
    if study.compared and longer > high and not study.too_short:
        found.append(f"Compared up to {high} labels; the longest run goes to {longer}.")
    unlike = _unlike_starts(study)
    if unlike:
        found.append(
            f"Round 0 differs between methods with the same seed ({', '.join(map(str, unlike))}), so that these pairs "
            "did not start alike."
        )
    changed = [name for name, versions in study.versions.items() if len(versions) > 1]
    if changed:
        found.append(f"The runs used different versions of {', '.join(changed)}.")
    return found


def p_value(p: float) -> str:
    """Write a probability as papers do.

    >>> p_value(0.0161), p_value(0.0002), p_value(1.0)
    ('= .016', '< .001', '= 1')
    """
    if p < 0.001:
        return "< .001"
    return "= 1" if p >= 0.9995 else f"= {p:.3f}".replace("0.", ".")


def signed(value: float) -> str:
    r"""Write a difference with its sign.

    >>> signed(0.0401), signed(-0.2)
    ('+0.040', '\u22120.200')
    """
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


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
    rests = [f"Mean {axis_name(study.metric)} over {low} to {high} labels"]
    rests += [f"95 % interval {signed(difference.low)} to {signed(difference.high)}"] if difference.n > 1 else []
    rests += [f"{difference.n} paired seeds", _signs(difference)] if difference.n > 1 else ["one seed, so no interval"]
    if row.n_too_small:
        rests.append("n too small for a test")
    else:
        rests.append(f"exact sign-flip p {p_value(row.p_sign_flip_holm)} by Holm")
        if row.p_sign_flip_holm > LEVEL:
            sentence = f"{few}{row.name} is not told apart from {baseline.name}; its curve {lies} {baseline.name}'s."
    return sentence, "; ".join(rests) + "."


def _signs(difference: PairedDifference) -> str:
    if difference.num_above == difference.n:
        return "above on all of them"
    if difference.num_below == difference.n:
        return "below on all of them"
    return f"above on {difference.num_above}, below on {difference.num_below}"


def _runs(row: Method) -> str:
    sd = "" if row.sd_area is None else f", standard deviation {row.sd_area:.3f}"
    return f"{len(row.runs)} seed{'s' * (len(row.runs) != 1)}{sd}."


def _unlike_starts(study: Study) -> list[int]:
    """Return the seeds with which round 0, before anything was asked, did not come out the same for all methods."""
    if "posterior" in study.metric:  # which other samples measure otherwise
        return []
    starts: dict[int, set[tuple[int, float]]] = {}
    for curves in study.curves.values():
        for curve in curves:
            starts.setdefault(curve.seed, set()).add((curve.labels[0], curve.values[0]))
    return sorted(seed for seed, values in starts.items() if len(values) > 1)
