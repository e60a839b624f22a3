"""The report's figures as rows for files, one line for each thing that was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightning_al.report.comparison import comparison_row
from lightning_al.report.direction import needed_mode
from lightning_al.report.monte_carlo_error import noise_of
from lightning_al.report.phases import in_order
from lightning_al.report.recorded import RecordedRun
from lightning_al.report.study import Study
from lightning_al.report.targets import first_at

Row = dict[str, object]


def tables(studies: Sequence[Study], targets: Sequence[float]) -> dict[str, list[Row]]:
    """Return the rows of each file by its name; files without rows are left out."""
    found = {
        "curves": [row for study in studies for row in _curves(study)],
        "comparison": [
            {
                "task": study.title,
                "metric": study.metric,
                "from_labels": study.between[0],
                "to_labels": study.between[1],
            }
            | comparison_row(method)
            for study in studies
            for method in study.compared
        ],
        "labels_to_target": [row for study in studies for target in targets for row in _targets(study, target)],
        "phases": [row for study in studies for row in _phases(study)],
        "classes": [row for study in studies for row in _classes(study)],
        "asked": [row for study in studies for row in _asked(study)],
        "noise": [row for study in studies for row in _noise(study)],
    }
    return {name: rows for name, rows in found.items() if rows}


def _runs(study: Study) -> Iterator[tuple[Row, RecordedRun]]:
    for method, runs in study.recorded.items():
        for run in runs:
            yield {"task": study.title, "method": method, "seed": run.seed}, run


def _curves(study: Study) -> Iterator[Row]:
    for place, run in _runs(study):
        for round in run.history:
            if study.metric in round.metrics:
                yield {
                    **place,
                    "state": run.state,
                    "round": round.number,
                    "training_labels": round.spent,
                    "validation_labels": round.validation_labels,
                    "metric": study.metric,
                    "value": round.metrics[study.metric],
                }


def _targets(study: Study, target: float) -> Iterator[Row]:
    too_short = study.too_short
    mode = needed_mode(study.metric, study.mode, who="`labels_to_target.csv`")
    for method, curves in study.curves.items():
        for run, curve in zip(study.recorded[method], curves, strict=True):
            yield {
                "task": study.title,
                "method": method,
                "seed": curve.seed,
                "metric": study.metric,
                "target": target,
                "labels": first_at(curve, target, mode),
                "recorded_to": curve.labels[-1],
                "in_quartiles": run not in too_short,
            }


def _phases(study: Study) -> Iterator[Row]:
    for place, run in _runs(study):
        for round in run.history:
            for part in in_order({*round.seconds, *round.peak_bytes}):
                yield {
                    **place,
                    "round": round.number,
                    "training_labels": round.spent,
                    "phase": part,
                    "seconds": round.seconds.get(part),
                    "peak_bytes": round.peak_bytes.get(part),
                }


def _classes(study: Study) -> Iterator[Row]:
    for place, run in _runs(study):
        start = run.history[0].class_counts or {}
        for round in run.history:
            for label, count in sorted((round.class_counts or {}).items()):
                yield {
                    **place,
                    "round": round.number,
                    "training_labels": round.spent,
                    "class": label,
                    "labels": count,
                    "asked_for": count - start.get(label, 0),
                }


def _asked(study: Study) -> Iterator[Row]:
    for place, run in _runs(study):
        for round in run.history:
            for number, (index, score) in enumerate(zip(round.indices, round.scores, strict=True)):
                yield {**place, "round": round.number, "place": number, "index": index, "score": score}


def _noise(study: Study) -> Iterator[Row]:
    for place, run in _runs(study):
        for batch in noise_of([run]):
            yield {
                **place,
                "round": batch.round,
                "training_labels": batch.labels,
                "picks": batch.num_picks,
                "information": batch.information,
                "standard_error": batch.standard_error,
                "log_num_samples": batch.log_num_samples,
                "share_used": batch.share_used,
                "picks_below_noise": batch.picks_below_noise,
                "shortfall": batch.shortfall,
                "overlap_of_half_samples": batch.overlap,
            }
