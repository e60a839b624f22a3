"""The report as one self-contained HTML page: no network, no script, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from lightning_al import __version__
from lightning_al.report import frames, tables
from lightning_al.report.curve_pictures import (
    Band,
    batches_picture,
    curves_picture,
    differences_picture,
    evenness_picture,
    labelling_picture,
)
from lightning_al.report.pictures import Picture, classes_picture, data_address, time_picture
from lightning_al.report.ranking import ranked
from lightning_al.report.runs import Run
from lightning_al.report.sentences import caveats, headlines
from lightning_al.report.study import Study
from lightning_al.report.tables import Table
from lightning_al.run.files import read_bytes

MOST_METHODS_DRAWN = 12
MOST_PAIRS = 66
LARGEST_IMAGE = 8 * 2**20


@dataclass(frozen=True)
class Folded:
    """An image, by its URL, or a table that the reader can unfold."""

    summary: str
    image: str | None = None
    table: Table | None = None
    is_open: bool = False


@dataclass(frozen=True)
class Part:
    """A part of a task's section: pictures, tables, small pictures, and what is folded."""

    title: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    small: Sequence[Picture] = ()
    folded: Sequence[Folded] = ()


@dataclass(frozen=True)
class Task:
    """The section of a task: sentences with their evidence, caveats to read before trusting them, and parts."""

    title: str
    headlines: Sequence[tuple[str, str]]
    caveats: Sequence[str]
    parts: Sequence[Part]


def page(tasks: Sequence[Task], *, about: str, left_out: Sequence[str], command: str, made: datetime) -> str:
    """Return the page, which says what it is about, what is left out, and by which command it was made."""
    # Nothing is escaped by hand: Jinja escapes everything but Markup.
    environment = Environment(
        loader=PackageLoader("lightning_al.report", ""), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["data_address"] = data_address
    assert environment.loader is not None
    style, _, _ = environment.loader.get_source(environment, "page.css")
    return environment.get_template("page.html").render(
        tasks=tasks,
        about=about,
        left_out=left_out,
        command=command,
        made=f"{made:%Y-%m-%d %H:%M}",
        title=f"Active learning report: {', '.join(task.title for task in tasks)}",
        version=__version__,
        style=Markup(style),
        style_hash=b64encode(sha256(style.encode()).digest()).decode(),
    )


def section(study: Study, targets: Sequence[float], band: Band, prefix: str = "") -> Task:
    """Return the section of a task; the names of its pictures begin with the prefix."""
    frame = frames.rounds([study])
    parts = [
        _curves(study, band, prefix),
        _of_table("How good the models are by their audit points", tables.audit(study)),
        _of_table("Methods compared in pairs", tables.pairs(study, most=MOST_PAIRS)),
        _of_table("Labels to reach a target", tables.labels_to_targets(study, targets)),
        _queried(study, frame, prefix),
        _labelling(study, prefix),
        _time(frame, prefix),
        _batches(study, frame, prefix),
        _settings(study),
    ]
    num_runs = len(study.runs)
    return Task(
        title=study.title + (f": {num_runs} runs, {len(study.methods)} methods" if num_runs > 1 else ""),
        headlines=headlines(study),
        caveats=caveats(study),
        parts=[part for part in parts if part is not None],
    )


def pictures(task: Task) -> list[Picture]:
    """Return all pictures of a section."""
    return [picture for part in task.parts for picture in (*part.pictures, *part.small)]


def _curves(study: Study, band: Band, prefix: str) -> Part | None:
    if not study.metric:
        return None
    found = [curves_picture(study, band, f"{prefix}curves"), differences_picture(study, f"{prefix}differences")]
    compared = [tables.comparison(study)] if study.compared else []
    return Part("", [picture for picture in found if picture is not None], compared)


def _of_table(title: str, table: Table | None) -> Part | None:
    return None if table is None else Part(title, tables=[table])


def _queried(study: Study, frame: pd.DataFrame, prefix: str) -> Part:
    # Validation labels are not queried.
    up_to = frame["labels"].max() if study.with_validation_labels else study.between[1]
    classes = frames.classes_of(frame)
    too_short = {str(run.folder) for run in study.too_short}
    found: dict[str, pd.DataFrame] = {}
    for method, same in frame.groupby("method", sort=False):
        covering = same[~same["folder"].isin(too_short)]
        counts = frames.queried_by_class(same if covering.empty else covering, classes, up_to)
        if not counts.empty:
            found[str(method)] = counts
    folded = [*_images(study), Folded("The indices asked for, in order", table=tables.indices(study))]
    if not found:
        return Part("What was asked", folded=folded)
    drawn = dict(list(found.items())[:MOST_METHODS_DRAWN])
    small = [
        classes_picture(method, counts, f"{prefix}classes-{place}", names=study.class_names)
        for place, (method, counts) in enumerate(drawn.items())
        if len(counts) > 1
    ]
    evenness = evenness_picture(study, drawn, f"{prefix}evenness")
    return Part("What was asked", [evenness], [tables.classes(found, study.class_names)], small, folded)


def _images(study: Study) -> list[Folded]:
    """Return the images that a run of each method queried, where it kept a picture; that of the best method is open."""
    best = [row.name for row in ranked(study.compared, study.mode)[:1]]
    found = [(method, _image(runs)) for method, runs in study.methods.items()]
    return [
        Folded(f"The images that {method} asked for, seed {image[0]}", image[1], is_open=method in best)
        for method, image in found
        if image is not None
    ]


def _image(runs: Sequence[Run]) -> tuple[int, str] | None:
    for run in runs:
        content = read_png(run.folder / "asked.png")
        if content is not None:
            return run.seed, data_address(content, "image/png")
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


def _labelling(study: Study, prefix: str) -> Part | None:
    people = tables.people(study)
    named = [] if people is None else [people]
    if not study.knows_label_seconds:
        return Part("The people who label", tables=named) if named else None
    drawn = [labelling_picture(study, f"{prefix}labelling")] if study.metric else []
    return Part("Time of the people who label", drawn, [tables.labelling(study), *named])


def _time(frame: pd.DataFrame, prefix: str) -> Part:
    phases = frames.phases(frame)
    num_rounds = frame.groupby("method").size()
    seconds = tables.by_method(phases, "seconds", "sum")
    peak_bytes = tables.by_method(phases, "peak_bytes", "max")
    found = [tables.time(seconds, num_rounds)]
    if not peak_bytes.columns.empty:
        found.append(tables.memory(peak_bytes))
    a_round = seconds.div(num_rounds.reindex(seconds.index), axis=0)[:MOST_METHODS_DRAWN]
    drawn = [time_picture(a_round, f"{prefix}time")] if a_round.to_numpy().any() else []
    return Part("Time and memory", drawn, found)


def _batches(study: Study, frame: pd.DataFrame, prefix: str) -> Part | None:
    found = frames.batches(frame)
    if found.empty:
        return None
    title = "Saturation, Monte Carlo error and sampling noise of the batches"
    return Part(title, [batches_picture(study, found, f"{prefix}noise")], [tables.batches(found)])


def _settings(study: Study) -> Part:
    methods, versions = tables.methods(study), tables.versions(study)
    folded = [
        Folded("The runs", table=tables.runs(study)),
        Folded("Settings that all runs share", table=tables.settings(study)),
        *([] if versions is None else [Folded("Versions", table=versions)]),
    ]
    return Part("Settings", tables=[] if methods is None else [methods], folded=folded)
