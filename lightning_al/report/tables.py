"""The tables of a report, for the page and the terminal: its figures as text.

The module stays whole: it is a list of short functions, one a table, which share the last few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
import pandas as pd

from lightning_al.report.comparison import Method, Pair
from lightning_al.report.curves import labels_to_target, quartile
from lightning_al.report.formats import p_value, signed
from lightning_al.report.frames import evenness, in_order
from lightning_al.report.metric import Mode
from lightning_al.report.study import Study
from lightning_al.task.class_names import shown_class

MOST_CLASSES = 20
MOST_INDICES = 40
MOST_RUNS = 50

TESTS = [
    "95 % interval",
    "pairs",
    "sign-flip p",
    "corrected sign-flip p",
    "t test p",
    "corrected t test p",
]

STATES = {"finished": "finished", "going": "still going", "failed": "failed", "stopped": "stopped before its end"}


@dataclass(frozen=True)
class Table:
    """A table of the page or the terminal; `text` has the positions of columns that hold text, besides the first."""

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    text: Sequence[int] = ()


def comparison(study: Study) -> Table:
    """Return the methods' areas under the curve and their differences to random choice."""
    low, high = study.between
    notes = [
        f"Normalised area under the {study.metric} curve: its area by trapezoids divided by its range, {low} to {high} "
        "labels."
    ]
    headings = ["method", "seeds", "area ± sd"]
    baseline = study.baseline
    if baseline is not None and any(row.difference for row in study.compared):
        headings += [f"minus {baseline.title}", *TESTS]
        notes.append(
            "Differences are paired by seed. Intervals are Student's t and not corrected for several methods. p values "
            "are two-sided; corrected ones are Holm-corrected for the number of methods compared with random choice. "
            "“n too small”: with so few pairs no outcome could reach .05."
        )
    rows = []
    for row in study.compared:
        seeds = str(len(row.runs)) if row.is_complete else row.num_diverged
        cells = [row.title, seeds, row.height, *_difference(row)]
        rows.append(cells + [""] * (len(headings) - len(cells)))
    return Table("comparison", headings, rows, notes)


def pairs(study: Study, *, most: int) -> Table | None:
    """Return the largest differences between every two methods but random choice, or None where there are none."""
    found = study.pairs
    if not found:
        return None
    shown = sorted(found, key=lambda pair: -abs(pair.difference.mean))[:most]
    notes = [
        "Difference of the normalised area under the curve, paired by seed; the largest first. Intervals are Student's "
        f"t and not corrected; p values are two-sided, and corrected ones Holm-corrected for the {len(found)} pairs."
    ]
    if len(found) > len(shown):
        notes.append(f"The {len(shown)} largest; pairs.csv has all.")
    rows = [[pair.method, pair.other, *_difference(pair)] for pair in shown]
    return Table("pairs", ["method", "minus", "difference", *TESTS], rows, notes, text=[1])


def labels_to_targets(study: Study, values: Sequence[float]) -> Table | None:
    """Return the labels with which methods reach values of the metric, or None where there are none."""
    # The second row of a method is of the same runs.
    rows = [row for row in study.compared if row.stand_in is None]
    mode = study.mode
    if not values or not rows or mode is None:
        return None
    beyond = "at or below" if mode == "min" else "at or above"
    counted = "labels, those of validation too," if study.with_validation_labels else "labels"
    return Table(
        "labels to target",
        ["method", "target", "q25", "median", "q75", "reached by", "step"],
        [
            [row.name, f"{value:g}", *cells_of_target(row, value, mode, up_to=study.between[1])]
            for value in values
            for row in rows
        ],
        [
            f"Number of {counted} at the first recorded round {beyond} the target, unsmoothed, so exact to the "
            "step: most labels between two rounds. “over N”: the quartile falls among runs that did not reach it "
            "within N labels; a round in which a run diverged reaches nothing. Each seed is in labels_to_target.csv."
        ],
    )


def cells_of_target(row: Method, value: float, mode: Mode, *, up_to: int) -> list[str]:
    """Return quartiles of the labels with which a method reaches a value, by how many of its runs, and the step."""
    curves = [(run.labels, run.values) for run in row.all_runs]
    reached = labels_to_target(curves, value, mode=mode, up_to=up_to)
    over = f"over {up_to}"
    quartiles = [quartile(reached, share) for share in (0.25, 0.5, 0.75)]
    step = max((after - before for labels, _ in curves for before, after in pairwise(labels)), default=0)
    return [
        *(over if number is None else f"{number:g}" for number in quartiles),
        f"{len(reached) - reached.count(None)} of {len(reached)}",
        str(step),
    ]


def audit(study: Study) -> Table | None:
    """Return how good the last model of each run is by its audit points, or None where no run has any."""
    last = [(method, run, run.history[-1].audit) for method, runs in study.methods.items() for run in runs]
    found = [(method, run, audit) for method, run, audit in last if audit]
    if not found:
        return None
    rows = [
        [
            method,
            str(run.seed),
            f"{audit['right']:.0f} of {audit['labels']:.0f}",
            *(
                [f"{audit['acc']:.3f}", f"{audit['low']:.2f} to {audit['high']:.2f}"]
                if audit.get("labels")
                else ["", ""]
            ),
            f"{audit['set_aside']:.0%}" if "set_aside" in audit else "",
        ]
        for method, run, audit in found[:MOST_RUNS]
    ]
    notes = [
        "The last model of each run, judged by points that were drawn at random before the run and never trained on. "
        "Intervals are Wilson's, 95 %. Set aside: the share of these points that were skipped or unusable."
    ]
    if len(found) > len(rows):
        notes.append(f"The first {len(rows)} of {len(found)} runs.")
    return Table("audit", ["method", "seed", "right", "accuracy", "95 % interval", "set aside"], rows, notes)


def classes(queried: Mapping[str, pd.DataFrame], names_of: Mapping[int, str]) -> Table:
    """Return how many labels of each class each method queried; classes are shown by their names, if known."""
    names = next(iter(queried.values())).columns
    shown = names[:MOST_CLASSES]
    notes = [
        "Mean number of labels asked for of each class over the seeds, without those of the start. Evenness is the "
        "entropy of the classes' shares by that of even shares: 1 is as many of each class."
    ]
    if len(names) > len(shown):
        notes.append(f"The first {len(shown)} of {len(names)} classes; classes.csv has all.")
    headings = ["method", "at labels", *(shown_class(label, names_of, before="class ") for label in shown), "evenness"]
    rows = []
    for method, counts in queried.items():
        last = counts.iloc[-1]
        even = evenness(counts).iloc[-1]
        rows.append([method, str(counts.index[-1]), *(f"{last[label]:.1f}" for label in shown), f"{even:.3f}"])
    return Table("classes asked for", headings, rows, notes)


def indices(study: Study) -> Table:
    """Return the indices that the first seed of each method queried, in order."""
    rows = []
    for method, [run, *_] in study.methods.items():
        for round in run.history:
            if round.indices:
                more = " …" if len(round.indices) > MOST_INDICES else ""
                shown = " ".join(map(str, round.indices[:MOST_INDICES])) + more
                rows.append([method, str(run.seed), str(round.spent), shown])
    notes = [
        "The first seed of each method, in the wrapped dataset's numbering; asked.csv has all seeds, with the scores."
    ]
    return Table("asked", ["method", "seed", "after labels", "indices"], rows, notes, text=[3])


def labelling(study: Study) -> Table:
    """Return labels and the time that they took, one row a run."""
    rows = [
        [method, str(run.seed), str(run.history[-1].spent), duration(run.label_seconds) if run.label_seconds else ""]
        for method, same in study.methods.items()
        for run in same
    ]
    notes = ["Labels before the last fit, and how long these answers took, as far as they say it."]
    return Table("labelling", ["method", "seed", "labels", "time"], rows, notes)


def people(study: Study) -> Table | None:
    """Return who labelled, one row a run and person, or None where nobody is named."""
    found = [(method, run, one) for method, same in study.methods.items() for run in same for one in run.people]
    if not found:
        return None
    rows = [
        [
            method,
            str(run.seed),
            one.name or "not named",
            str(one.answers),
            "" if one.seconds is None else duration(one.seconds),
        ]
        for method, run, one in found[:MOST_RUNS]
    ]
    notes = ["Answers by whom they name, those that are no label too, and how long they took, as far as they say it."]
    if len(found) > len(rows):
        notes.append(f"The first {len(rows)} of {len(found)} rows; people.csv has all.")
    return Table("people", ["method", "seed", "person", "answers", "time"], rows, notes, text=[2])


def time(seconds: pd.DataFrame, num_rounds: pd.Series[int]) -> Table:
    """Return the wall time of each part of a round, one row a method, over all rounds."""
    total = seconds.sum(axis=1)
    shares = seconds.div(total.replace(0, 1), axis=0)
    rows = [
        [
            method,
            str(num_rounds[method]),
            duration(total[method]),
            *(
                "" if np.isnan(spent) else f"{duration(spent)} ({share:.0%})"
                for spent, share in zip(seconds.loc[method], shares.loc[method], strict=True)
            ),
            duration(total[method] / num_rounds[method]),
        ]
        for method in seconds.index
    ]
    notes = ["Wall time over all recorded rounds of all seeds, with each part's share."]
    return Table("time", ["method", "rounds", "total", *seconds.columns, "a round"], rows, notes)


def memory(peak_bytes: pd.DataFrame) -> Table:
    """Return the peak memory by the end of each part of a round, one row a method."""
    headings = ["method", *(f"by the end of {part}".replace("_cuda", " on the GPU") for part in peak_bytes)]
    rows = [
        [method, *("" if np.isnan(peak) else f"{peak / 2**20:,.0f} MiB" for peak in peaks)]
        for method, peaks in zip(peak_bytes.index, peak_bytes.to_numpy(), strict=True)
    ]
    notes = [
        "Most memory that the first process had held by then since it began, greatest over rounds and "
        "seeds. It never falls: a part that takes less than one before it shows the peak of "
        "that one, and several runs in one process show the peak of all before."
    ]
    return Table("memory", headings, rows, notes)


def batches(found: pd.DataFrame) -> Table:
    """Return what BatchBALD reports of its batches, one row a method."""
    headings = [
        *("method", "K", "log K", "share used, mean", "largest", "picks below Monte Carlo error"),
        *("largest Monte Carlo error", "largest shortfall", "halves agree"),
    ]
    rows = []
    for method, same in found.groupby("method", sort=False):
        log_K = np.sort(same["log_num_samples"].unique())
        overlap = same["overlap_of_half_samples"].mean()
        rows.append(
            [
                str(method),
                ", ".join(str(count) for count in np.unique(np.exp(log_K).round().astype(int))),
                ", ".join(f"{value:.2f}" for value in log_K),
                f"{same['share_used'].mean():.0%}",
                f"{same['share_used'].max():.0%}",
                f"{same['picks_below_noise'].sum()} of {same['picks'].sum()}",
                f"{same['standard_error'].max():.4f}",
                f"{same['shortfall'].max():.4f}",
                "not measured" if np.isnan(overlap) else f"{overlap:.0%}",
            ]
        )
    notes = [
        "In nats. K posterior samples can tell at most log K nats apart: a batch close to that leaves little "
        "by which its last picks could differ. The Monte Carlo error is that of the joint labels that were drawn; "
        "a pick below it adds no more than this error. The shortfall is how much better at most a batch from all "
        "points could have been, where memory was limited.",
        "None of these figures holds the sampling noise, which is larger: K other posterior samples would have "
        "chosen other points. “Halves agree” is the share of the picks that two halves of the samples have in "
        "common, where `BatchBALD(check_samples=True)` measured it; two draws of all K agree better than that.",
    ]
    return Table("noise", headings, rows, notes)


def runs(study: Study) -> Table:
    """Return the state of each run, and where it lies."""
    # Labels that were paid for: also for audit points, for what is unusable, and for what was given back.
    differ = any(run.history[-1].spent != run.history[-1].labelled for run in study.runs)
    rows = [
        [
            method,
            str(run.seed),
            STATES[run.state],
            str(len(run.history)),
            f"{run.history[0].spent} to {run.history[-1].spent}",
            *([str(run.history[-1].labelled)] if differ else []),
            "no" if study.is_too_short(run) or not study.compared else "yes",
            str(run.folder),
        ]
        for method, same in study.methods.items()
        for run in same
    ]
    headings = [
        "method",
        "seed",
        "state",
        "rounds",
        "labels",
        *(["trained on"] if differ else []),
        "compared",
        "folder",
    ]
    notes = [
        "Labels are those paid for: also for audit points, for what is unusable, and for what was given back. The last "
        "fit trained on fewer."
    ] if differ else []  # fmt: skip
    return Table("runs", headings, rows, notes, text=[2, len(headings) - 1])


def methods(study: Study) -> Table | None:
    """Return the settings in which the methods differ, or None where there are none."""
    if not study.differing:
        return None
    rows = [
        [method, *(str(same[0].settings.get(key, "")) for key in study.differing)]
        for method, same in study.methods.items()
    ]
    notes = ["The settings in which the methods differ."]
    text = range(1, 1 + len(study.differing))
    return Table("methods", ["method", *study.differing], rows, notes, text)


def settings(study: Study) -> Table:
    """Return the settings that all runs share."""
    rows = [[key, str(value)] for key, value in sorted(study.settings.items())]
    return Table("settings", ["setting", "value"], rows, text=[1])


def versions(study: Study) -> Table | None:
    """Return the versions of packages that finished runs used, or None where no run has finished."""
    rows = [[name, ", ".join(found)] for name, found in study.versions.items()]
    return Table("versions", ["package", "version"], rows, text=[1]) if rows else None


def by_method(phases: pd.DataFrame, field: str, how: str) -> pd.DataFrame:
    """Return a frame of the parts of a round with one row a method, and one column for each part that has the field."""
    found = phases.dropna(subset=field).pivot_table(index="method", columns="phase", values=field, aggfunc=how)
    in_sequence = found.reindex(index=phases["method"].unique(), columns=in_order(set(found.columns)))
    return in_sequence.astype(float)


def duration(seconds: float) -> str:
    """Write a time span as people read it.

    >>> duration(0.0123), duration(4.26), duration(250), duration(8000)
    ('0.01 s', '4.3 s', '4 min 10 s', '2 h 13 min')
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _difference(compared: Method | Pair) -> list[str]:
    difference = compared.difference
    if difference is None:
        return []
    assert compared.p_sign_flip_holm is not None
    assert compared.p_t_holm is not None
    interval = f"{signed(difference.low)} to {signed(difference.high)}" if isfinite(difference.low) else "one pair only"
    exact = (difference.p_sign_flip, compared.p_sign_flip_holm) if not compared.n_too_small else None
    t = (difference.p_t, compared.p_t_holm) if difference.n > 1 else None
    return [signed(difference.mean), interval, str(difference.n), *_p_values(exact), *_p_values(t)]


def _p_values(tested: tuple[float, float] | None) -> list[str]:
    return ["n too small"] * 2 if tested is None else [p_value(p).removeprefix("= ") for p in tested]
