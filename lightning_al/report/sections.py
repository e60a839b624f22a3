"""What the page says of a task: its figures in words, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path

from PIL import Image

from lightning_al.report.classes import Asked, asked_by_class, classes_of
from lightning_al.report.comparison import Method
from lightning_al.report.direction import needed_mode
from lightning_al.report.drawing import Picture, data_address
from lightning_al.report.monte_carlo_error import MethodNoise, noise_of
from lightning_al.report.page import Folded, Part, Table, Task
from lightning_al.report.page_pictures import (
    Band,
    classes_picture,
    curves_picture,
    differences_picture,
    evenness_picture,
    noise_picture,
    time_picture,
)
from lightning_al.report.phases import in_order, phases
from lightning_al.report.recorded import RecordedRun
from lightning_al.report.sentences import caveats, headlines, p_value, signed
from lightning_al.report.study import Study
from lightning_al.report.targets import labels_to_target
from lightning_al.run.files import read_bytes

MOST_CLASSES = 20
MOST_METHODS_DRAWN = 12
LARGEST_IMAGE = 8 * 2**20


@dataclass(frozen=True)
class Wanted:
    """What a report was asked for besides the curves: the targets to reach, and what the bands show."""

    targets: Sequence[float]
    band: Band


def section(study: Study, wanted: Wanted, prefix: str = "") -> Task:
    """Return what the page says of a task; the names of its pictures begin with the prefix."""
    parts = [
        _curves(study, wanted, prefix),
        _targets(study, wanted),
        _asked(study, prefix),
        _time(study, prefix),
        _noise(study, prefix),
        _settings(study),
    ]
    return Task(
        title=f"{study.title}: {study.num_runs} runs, {len(study.recorded)} methods"
        if study.num_runs > 1
        else study.title,
        headlines=headlines(study),
        caveats=caveats(study),
        parts=[part for part in parts if part is not None],
    )


def pictures(task: Task) -> list[Picture]:
    """Return all pictures of a section."""
    return [picture for part in task.parts for picture in (*part.pictures, *part.small)]


def comparison(study: Study) -> Table:
    """Return the table of the methods' mean heights and their differences to random choice."""
    low, high = study.between
    notes = [
        f"Mean height of the {study.metric} curve, its area by trapezoids divided by its range, {low} to {high} labels."
    ]
    headings = ["method", "seeds", "mean height ± sd"]
    baseline = study.baseline
    if baseline is not None and any(row.difference for row in study.compared):
        headings += [
            f"minus {baseline.title}",
            "95 % interval",
            "pairs",
            "p sign-flip",
            "by Holm",
            "p paired t",
            "by Holm",
        ]
        notes.append(
            "Differences are paired by seed; intervals are Student's t and not corrected for several methods, p values "
            "are two-sided and by Holm corrected for them. “n too small”: with so few pairs no outcome could reach .05."
        )
    return Table("comparison", headings, [_comparison_row(row, len(headings)) for row in study.compared], notes)


def targets(study: Study, wanted: Wanted) -> Table | None:
    """Return the table of labels to reach the targets, or None where there are none."""
    # The second row of a method is of the same runs.
    rows = [row for row in study.compared if row.stand_in is None]
    if not wanted.targets or not rows:
        return None
    mode = needed_mode(study.metric, study.mode, who="A table of labels to a target")
    found = [labels_to_target(row, target, mode=mode) for target in wanted.targets for row in rows]
    beyond = "at or below" if mode == "min" else "at or above"
    counted = "training and validation labels" if study.with_validation_labels else "training labels"
    return Table(
        "labels to target",
        ["method", "target", "q25", "median", "q75", "reached by", "step"],
        [
            [
                reached.method,
                f"{reached.target:g}",
                *reached.shown,
                f"{reached.num_reached} of {len(reached.labels)}",
                str(reached.resolution),
            ]
            for reached in found
        ],
        [
            f"Number of {counted} at the first recorded round {beyond} the target, unsmoothed, so exact to the "
            "step: most labels between two rounds. “over N”: the quartile falls among runs that did not reach it "
            "within N labels; a round in which a run diverged reaches nothing. Each seed is in labels_to_target.csv."
        ],
    )


def _comparison_row(row: Method, columns: int) -> list[str]:
    seeds = str(len(row.runs)) if row.is_complete else row.num_diverged
    cells = [row.title, seeds, row.height]
    against = row.difference
    if against is not None:
        interval = f"{signed(against.low)} to {signed(against.high)}" if isfinite(against.low) else "one pair only"
        small = "n too small"
        assert row.p_sign_flip_holm is not None
        assert row.p_t_holm is not None
        exact = [small, small] if row.n_too_small else [_p(against.p_sign_flip), _p(row.p_sign_flip_holm)]
        t = [_p(against.p_t), _p(row.p_t_holm)] if against.n > 1 else [small, small]
        cells += [signed(against.mean), interval, str(against.n), *exact, *t]
    return cells + [""] * (columns - len(cells))


def _p(p: float) -> str:
    return p_value(p).removeprefix("= ")


def _curves(study: Study, wanted: Wanted, prefix: str) -> Part:
    pictures = [curves_picture(study, wanted.band, f"{prefix}curves")]
    differences = differences_picture(study, f"{prefix}differences")
    if differences is not None:
        pictures.append(differences)
    return Part("", pictures, [comparison(study)] if study.compared else [])


def _targets(study: Study, wanted: Wanted) -> Part | None:
    table = targets(study, wanted)
    return None if table is None else Part("Labels to reach a target", tables=[table])


def _asked(study: Study, prefix: str) -> Part:
    classes = classes_of([run for same in study.recorded.values() for run in same])
    # Validation labels are no part of what was asked for.
    most = max(run.history[-1].spent for same in study.recorded.values() for run in same)
    up_to = most if study.with_validation_labels else study.between[1]
    found: dict[str, Asked] = {}
    for method, runs in study.recorded.items():
        covering = [run for run in runs if run not in study.too_short] or runs
        asked = asked_by_class(covering, classes, up_to)
        if asked is not None:
            found[method] = asked
    ranked = sorted((row for row in study.compared if row.is_complete), key=lambda row: row.mean_area)
    best = None if study.mode is None or not ranked else ranked[0 if study.mode == "min" else -1].name
    images = [
        shown
        for method, runs in study.recorded.items()
        if (shown := _images(method, runs, is_open=method == best)) is not None
    ]
    folded = [*images, Folded("The indices asked for, in order", table=_indices(study))]
    if not found:
        return Part("What was asked", folded=folded)
    drawn = dict(list(found.items())[:MOST_METHODS_DRAWN])
    small = [
        classes_picture(method, asked, f"{prefix}classes-{place}")
        for place, (method, asked) in enumerate(drawn.items())
        if len(asked.labels) > 1
    ]
    return Part(
        "What was asked",
        [evenness_picture(study, drawn, f"{prefix}evenness")],
        [_classes_table(found, classes)],
        small,
        folded,
    )


def _classes_table(found: Mapping[str, Asked], classes: Sequence[int]) -> Table:
    shown = classes[:MOST_CLASSES]
    notes = [
        "Mean number of labels asked for of each class over the seeds, without those of the start. Evenness is the "
        "entropy of the classes' shares by that of even shares: 1 is as many of each class."
    ]
    if len(classes) > len(shown):
        notes.append(f"The first {len(shown)} of {len(classes)} classes; classes.csv has all.")
    return Table(
        "classes asked for",
        ["method", "at labels", *(f"class {label}" for label in shown), "evenness"],
        [
            [
                method,
                str(asked.labels[-1]),
                *(f"{asked.counts[-1][label]:.1f}" for label in shown),
                f"{asked.evenness[-1]:.3f}",
            ]
            for method, asked in found.items()
        ],
        notes,
    )


def _images(method: str, runs: Sequence[RecordedRun], *, is_open: bool) -> Folded | None:
    for run in runs:
        picture = read_png(run.folder / "asked.png")
        if picture is not None:
            return Folded(
                f"The images that {method} asked for, seed {run.seed}",
                data_address(picture, "image/png"),
                is_open=is_open,
            )
    return None


def read_png(path: Path) -> bytes | None:
    """Read a file that is a whole PNG image of a size that a page can hold, or return None."""
    try:
        content = read_bytes(path, LARGEST_IMAGE)
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return content


def _indices(study: Study) -> Table:
    rows = []
    for method, runs in study.recorded.items():
        for run in runs[:1]:
            for round in run.history:
                if round.indices:
                    shown = " ".join(map(str, round.indices[:40])) + (" …" if len(round.indices) > 40 else "")
                    rows.append([method, str(run.seed), str(round.spent), shown])
    notes = [
        "The first seed of each method, in the wrapped dataset's numbering; asked.csv has all seeds, with the scores."
    ]
    return Table("asked", ["method", "seed", "after labels", "indices"], rows, notes, text=[3])


def _time(study: Study, prefix: str) -> Part:
    found = [phases(method, runs) for method, runs in study.recorded.items()]
    parts = in_order({part for one in found for part in one.seconds})
    time = Table(
        "time",
        ["method", "rounds", "total", *parts, "a round"],
        [
            [
                one.method,
                str(one.num_rounds),
                duration(one.total),
                *(
                    f"{duration(one.seconds[part])} ({one.share(part):.0%})" if part in one.seconds else ""
                    for part in parts
                ),
                duration(one.total / one.num_rounds),
            ]
            for one in found
        ],
        ["Wall time over all recorded rounds of all seeds, with each part's share."],
    )
    tables = [time]
    peaks = in_order({part for one in found for part in one.peak_bytes})
    if peaks:
        tables.append(
            Table(
                "memory",
                ["method", *(f"by the end of {part}".replace("_cuda", " on the GPU") for part in peaks)],
                [
                    [
                        one.method,
                        *(
                            f"{one.peak_bytes[part] / 2**20:,.0f} MiB" if part in one.peak_bytes else ""
                            for part in peaks
                        ),
                    ]
                    for one in found
                ],
                [
                    "Most memory that the first process had held by then since it began, greatest over rounds and "
                    "seeds. It never falls: a part that takes less than one before it shows the peak of "
                    "that one, and several runs in one process show the peak of all before."
                ],
            )
        )
    drawn = found[:MOST_METHODS_DRAWN]
    return Part(
        "Time and memory",
        [time_picture(study, drawn, f"{prefix}time")] if any(one.total for one in drawn) else [],
        tables,
    )


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
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _noise(study: Study, prefix: str) -> Part | None:
    found = [MethodNoise(method, batches) for method, runs in study.recorded.items() if (batches := noise_of(runs))]
    if not found:
        return None
    table = Table(
        "noise",
        [
            "method",
            "K",
            "log K",
            "share used, mean",
            "largest",
            "picks below Monte Carlo error",
            "largest Monte Carlo error",
            "largest shortfall",
            "halves agree",
        ],
        [
            [
                noise.method,
                noise.num_samples,
                ", ".join(f"{value:.2f}" for value in sorted({batch.log_num_samples for batch in noise.batches})),
                f"{noise.mean_share:.0%}",
                f"{noise.largest_share:.0%}",
                f"{noise.picks_below_noise} of {noise.num_picks}",
                f"{noise.largest_error:.4f}",
                f"{noise.largest_shortfall:.4f}",
                "not measured" if noise.mean_overlap is None else f"{noise.mean_overlap:.0%}",
            ]
            for noise in found
        ],
        [
            "In nats. K posterior samples can tell at most log K nats apart: a batch close to that leaves little "
            "by which its last picks could differ. The Monte Carlo error is that of the joint labels that were drawn; "
            "a pick below it adds no more than this error. The shortfall is how much better at most a batch from all "
            "points could have been, where memory was limited.",
            "None of these figures holds the sampling noise, which is larger: K other posterior samples would have "
            "chosen other points. “Halves agree” is the share of the picks that two halves of the samples have in "
            "common, where `BatchBALD(check_samples=True)` measured it; two draws of all K agree better than that.",
        ],
    )
    return Part(
        "Saturation, Monte Carlo error and sampling noise of the batches",
        [noise_picture(study, found, f"{prefix}noise")],
        [table],
    )


def _settings(study: Study) -> Part:
    runs = [(method, run) for method, same in study.recorded.items() for run in same]
    too_short = study.too_short
    listed = Table(
        "runs",
        ["method", "seed", "state", "rounds", "labels", "compared", "folder"],
        [
            [
                method,
                str(run.seed),
                {
                    "finished": "finished",
                    "going": "still going",
                    "failed": "failed",
                    "stopped": "stopped before its end",
                }[run.state],
                str(len(run.history)),
                f"{run.history[0].spent} to {run.history[-1].spent}",
                "no" if run in too_short or not study.compared else "yes",
                str(run.folder),
            ]
            for method, run in runs
        ],
        text=[2, 6],
    )
    methods = [
        [method, *(str(same[0].settings.get(key, "")) for key in study.differing)]
        for method, same in study.recorded.items()
    ]
    folded = [
        Folded("The runs", table=listed),
        Folded(
            "Settings that all runs share",
            table=Table("settings", ["setting", "value"], _sorted(study.settings), text=[1]),
        ),
    ]
    if study.versions:
        rows = [[name, ", ".join(versions)] for name, versions in study.versions.items()]
        folded.append(Folded("Versions", table=Table("versions", ["package", "version"], rows, text=[1])))
    tables = []
    if study.differing:
        tables.append(
            Table(
                "methods",
                ["method", *study.differing],
                methods,
                ["The settings in which the methods differ."],
                text=range(1, 1 + len(study.differing)),
            )
        )
    return Part("Settings", tables=tables, folded=folded)


def _sorted(settings: Mapping[str, object]) -> list[list[str]]:
    return [[key, str(value)] for key, value in sorted(settings.items())]
