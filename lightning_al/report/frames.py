"""What runs recorded as tidy pandas frames, one row a run and round, and the tables made of that as CSV files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd
from scipy.special import entr

from lightning_al.report.curves import labels_to_reach
from lightning_al.run.files import replacing
from lightning_al.values.spreadsheets import encoding_for, harmless

if TYPE_CHECKING:
    from lightning_al.report.comparison import Method, Pair
    from lightning_al.report.study import Study

RUN = ["task", "method", "seed"]
"""Columns that tell runs apart."""

FIELDS = (
    "labelled",
    "label_seconds",
    "validation_labels",
    "pseudo_labels",
    "indices",
    "scores",
    "class_counts",
    "seconds",
    "peak_bytes",
    "details",
)
"""Fields of a round that have a column."""

PHASES = ("fit", "score", "select", "test", "label")
"""Parts of a round, in their order."""

BATCH = ["information", "standard_error", "log_num_samples", "share_used", "picks_below_noise", "shortfall"]
"""What BatchBALD reports of every batch."""


def rounds(studies: Sequence[Study]) -> pd.DataFrame:
    """Return one row a run and round.

    The columns are ``task``, ``method``, ``seed``, ``state`` and ``folder`` of the run; ``metric`` and ``value`` of the
    task's metric, where ``metric`` is None in a round that did not measure it; ``labels`` paid for, number of points
    ``queried``; and fields of the `Round`. Parts such as ``seconds`` stay dictionaries: with one column for each name,
    a folder full of names would not fit into memory.
    """
    rows: list[dict[str, Any]] = []
    for study in studies:
        for method, runs in study.methods.items():
            for run in runs:
                identity = {"task": study.title, "method": method, "seed": run.seed}
                place = {**identity, "state": run.state, "folder": str(run.folder)}
                for round in run.history:
                    metric = study.metric if study.metric in round.metrics else None
                    value = round.metrics.get(study.metric)
                    counts = {"round": round.number, "labels": round.spent, "queried": len(round.indices)}
                    fields = {name: getattr(round, name) for name in FIELDS}
                    rows.append({**place, "metric": metric, "value": value, **counts, **fields})
    return pd.DataFrame(rows)


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the learning curves: one row a run and round that measured the task's metric."""
    labels = ["labels", "labelled", "label_seconds", "validation_labels"]
    columns = [*RUN, "state", "round", *labels, "metric", "value"]
    paid = {"labels": "labels_paid", "labelled": "labels_trained_on"}
    return frame.loc[frame["metric"].notna(), columns].rename(columns=paid)


def phases(frame: pd.DataFrame) -> pd.DataFrame:
    """Return seconds and peak bytes: one row a run, round and part of the round."""
    parts = pd.concat([_parts(frame, "seconds"), _parts(frame, "peak_bytes")], axis=1).reset_index()
    parts["part"] = pd.Categorical(parts["part"], in_order(set(parts["part"])), ordered=True)
    found = _with_place(frame, parts.sort_values(["row", "part"])).rename(columns={"part": "phase"})
    return found.astype({"phase": object, "peak_bytes": "Int64"})


def in_order(parts: set[str]) -> list[str]:
    """Return parts in the order of a round, and others after them.

    >>> in_order({"test", "fit", "fit_cuda", "other"})
    ['fit', 'fit_cuda', 'test', 'other']
    """
    places = {part: place for place, part in enumerate(PHASES)}
    return sorted(parts, key=lambda part: (places.get(part.removesuffix("_cuda"), len(PHASES)), part))


def classes(frame: pd.DataFrame, names: Mapping[str, Mapping[int, str]] = MappingProxyType({})) -> pd.DataFrame:
    """Return training labels by class: one row a run, round and class, with how many were queried since the start.

    Args:
        frame: The rounds.
        names: The names of classes by their numbers, by the title of the task.
    """
    parts = _parts(frame, "class_counts").reset_index()
    found = _with_place(frame, parts.sort_values(["row", "part"]))
    found = found.rename(columns={"part": "class", "class_counts": "labels"})
    found["asked_for"] = found["labels"].where(found["round"] == 0)
    start = found.groupby([*RUN, "class"])["asked_for"].transform("max").fillna(0)
    found["asked_for"] = found["labels"] - start
    of_task = [names.get(task, {}) for task in found["task"]]
    named = [known.get(label) for known, label in zip(of_task, found["class"], strict=True)]
    found.insert(found.columns.get_loc("class") + 1, "name", named)
    return found.astype({"asked_for": int})


def queried_by_class(frame: pd.DataFrame, classes: Sequence[int], up_to: int) -> pd.DataFrame:
    """Return how many labels of each class a method had queried, mean over its runs.

    Args:
        frame: The rounds of the method's runs. Runs whose labels are not class numbers do not count.
        classes: All classes of the task.
        up_to: Most labels to look at; where all queries lie beyond, as far as all runs go.

    Returns:
        One column a class, and one row for each number of labels that all runs recorded, but for that of the
        start. It is empty if nothing was queried.
    """
    known = frame[frame["class_counts"].map(bool).groupby(frame["seed"]).transform("all")]
    known = known.drop_duplicates(["seed", "labels"], keep="last")  # a query that was skipped as a whole
    counts = _parts(known, "class_counts").unstack("part", fill_value=0).reindex(columns=classes, fill_value=0)
    by_labels = counts.groupby(known["labels"])
    common = by_labels.mean()[by_labels.size() == known["seed"].nunique()]
    queried = (common - common.iloc[:1].sum()).iloc[1:]
    return queried.loc[:up_to] if (queried.index <= up_to).any() else queried


def classes_of(frame: pd.DataFrame) -> list[int]:
    """Return all classes that the rounds have labels of, in order."""
    return sorted({label for counts in frame["class_counts"] for label in counts or {}})


def evenness(counts: pd.DataFrame) -> pd.Series[float]:
    """Return the entropy of the classes' shares in each row, divided by that of even shares.

    >>> evenness(pd.DataFrame([[4, 4, 4], [9, 0, 0]])).round(6).tolist()
    [1.0, 0.0]
    """
    if counts.shape[1] == 1:
        return pd.Series(1.0, index=counts.index)
    shares = counts.div(counts.sum(axis=1), axis=0).clip(lower=0)
    return shares.apply(entr).sum(axis=1) / np.log(counts.shape[1])


def queries(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points queried: one row a point, in the order of choice, with its score."""
    found = frame[[*RUN, "round", "indices", "scores"]].explode(["indices", "scores"]).dropna(subset="indices")
    found.insert(4, "place", found.groupby(level=0).cumcount())
    return found.rename(columns={"indices": "index", "scores": "score"})


def batches(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what BatchBALD reports of its batches: one row a batch; lists are given by their last value, of all picks.

    The Monte Carlo error is that of the joint labels that were drawn, given the posterior samples. The sampling noise
    of having K posterior samples and no others is larger, and in ``overlap_of_half_samples`` alone.
    """
    names = [*BATCH, "overlap_of_half_samples"]
    rows = [[_last(name, details) for name in names] for details in frame["details"]]
    details = pd.DataFrame(rows, index=frame.index, columns=names, dtype=float)
    place = frame[[*RUN, "round"]].assign(labels_paid=frame["labels"], picks=frame["queried"])
    return place.join(details.dropna(subset=BATCH), how="inner").astype({"picks_below_noise": int})


def tables(studies: Sequence[Study], targets: Sequence[float]) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by the names of their CSV files, without those that are empty."""
    frame = rounds(studies)
    found = {
        "curves": curves(frame),
        "comparison": _of_tasks((study, comparison_frame(study.compared)) for study in studies),
        "pairs": _of_tasks((study, pairs_frame(study.pairs)) for study in studies),
        "labels_to_target": _labels_to_target(studies, targets),
        "phases": phases(frame),
        "people": people(studies),
        "classes": classes(frame, {study.title: study.class_names for study in studies}),
        "asked": queries(frame),
        "noise": batches(frame),
    }
    return {name: table for name, table in found.items() if not table.empty}


def people(studies: Sequence[Study]) -> pd.DataFrame:
    """Return who labelled: one row a run and person, with an empty name for answers that name nobody."""
    rows = [
        [study.title, method, run.seed, one.name, one.answers, one.seconds]
        for study in studies
        for method, same in study.methods.items()
        for run in same
        for one in run.people
    ]
    return pd.DataFrame(rows, columns=[*RUN, "person", "answers", "seconds"], dtype=object)


def comparison_frame(methods: Sequence[Method]) -> pd.DataFrame:
    """Return one row a method, as ``comparison.csv`` has them."""
    rows = [
        {
            "method": row.title,
            "runs": len(row.runs),
            "diverged": len(row.diverged),
            "diverged_counted_at": None if row.stand_in is None else row.stand_in.height,
            "area_mean": row.mean_area,
            "area_sd": row.sd_area,
        }
        | _plain(row)
        for row in methods
    ]
    return pd.DataFrame(rows, dtype=object)


def pairs_frame(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return one row a pair of methods, as ``pairs.csv`` has them."""
    return pd.DataFrame([{"method": pair.method, "minus": pair.other} | _plain(pair) for pair in pairs], dtype=object)


def write_table(table: pd.DataFrame, path: Path, *, nan: str = "") -> None:
    """Write a table, whole or not at all.

    Text that a spreadsheet would take for a formula begins with an apostrophe. The encoding is UTF-8, with a mark of it
    where there is other text than ASCII.

    Args:
        table: The table; its index is not written.
        path: Where to write it.
        nan: What stands for None and NaN.
    """
    file = io.StringIO(newline="")
    print_table(table, file, nan=nan)
    text = file.getvalue()
    with replacing(path) as draft:
        draft.write_text(text, encoding=encoding_for(text), newline="")


def print_table(table: pd.DataFrame, file: TextIO, *, nan: str = "") -> None:
    """Write a table as `write_table` does, to a file that is open."""
    # With dtype object, integers stay integers in a column with missing values.
    rows = [[harmless(value) for value in row] for row in table.astype(object).to_numpy()]
    plain = pd.DataFrame(rows, columns=[harmless(name) for name in table], dtype=object)
    plain.to_csv(file, index=False, lineterminator="\r\n", na_rep=nan)


def _of_tasks(found: Iterable[tuple[Study, pd.DataFrame]]) -> pd.DataFrame:
    rows = []
    for study, table in found:
        low, high = study.between
        task = {"task": study.title, "metric": study.metric, "from_labels": low, "to_labels": high}
        rows += [task | row for row in table.to_dict("records")]
    return pd.DataFrame(rows, dtype=object)


def _labels_to_target(studies: Sequence[Study], targets: Sequence[float]) -> pd.DataFrame:
    rows = [
        {
            "task": study.title,
            "method": method,
            "seed": run.seed,
            "metric": study.metric,
            "target": target,
            "labels": labels_to_reach(run.labels, run.values, target, mode=study.mode),
            "recorded_to": run.labels[-1],
            "compared_to": study.between[1],
            "in_quartiles": not study.is_too_short(run),
        }
        for study in studies
        if study.mode is not None
        for target in targets
        for method, same in study.methods.items()
        for run in same
    ]
    return pd.DataFrame(rows, dtype=object)


def _last(name: str, details: dict[str, Any]) -> Any:
    """Return a figure, or the last one of a list with one for each pick; None if it is not there as it should be."""
    found = details.get(name)
    if name in BATCH[:2]:
        return found[-1] if isinstance(found, list) and found else None
    return None if isinstance(found, list) else found


def _parts(frame: pd.DataFrame, field: str) -> pd.Series[Any]:
    """Return what a field has for each part, by the row of the frame and the part's name."""
    found = [(row, part, value) for row, parts in frame[field].items() for part, value in (parts or {}).items()]
    return pd.DataFrame(found, columns=["row", "part", field]).set_index(["row", "part"])[field]


def _with_place(frame: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    place = frame[[*RUN, "round"]].assign(labels_paid=frame["labels"])
    return place.join(parts.set_index("row"), how="right")


def _plain(compared: Method | Pair) -> dict[str, Any]:
    difference = compared.difference
    if difference is None:
        return {}
    return {
        "pairs": difference.n,
        "difference": difference.mean,
        "ci95_low": difference.low,
        "ci95_high": difference.high,
        "p_sign_flip": difference.p_sign_flip,
        "p_sign_flip_holm": compared.p_sign_flip_holm,
        "p_t": difference.p_t,
        "p_t_holm": compared.p_t_holm,
        "n_too_small": compared.n_too_small,
    }
