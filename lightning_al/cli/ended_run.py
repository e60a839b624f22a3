"""What a run leaves and prints once it has ended: its figures, its summary and its table of rounds."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lightning_al.cli.configuration import settings_of
from lightning_al.cli.job import is_cell, new_console
from lightning_al.cli.references import shown
from lightning_al.run.folder import LABELS, MODEL

if TYPE_CHECKING:
    from lightning_al.callback import ActiveLearning
    from lightning_al.data.datamodule import ActiveDataModule
    from lightning_al.run.history import History


def report_run(
    config: DictConfig,
    settings: DictConfig,
    active: ActiveLearning,
    data: ActiveDataModule,
    history: History,
    folder: Path,
    metric: str | None,
) -> None:
    """Draw the figures, and write the summary last: it marks the run as finished.

    Without a metric, there is neither a learning curve nor a summary, which is of the curve.
    """
    from lightning_al.report.comparison import compare
    from lightning_al.report.curve_pictures import curve_picture
    from lightning_al.report.metric import axis_name
    from lightning_al.report.pictures import save_picture
    from lightning_al.report.runs import Run

    _draw_asked(active, data, history, folder, settings.seed)
    if metric is None:
        return
    run = Run.from_history(
        history,
        name=shown(config)["name"],
        acquisition=type(active.acquisition).__name__,
        seed=settings.seed,
        metric=metric,
        initial=data.pool.initial,
        settings=settings_of(config, folder),
        mode=settings.mode,
    )
    title = f"{run.acquisition}, seed {run.seed}"
    curve = curve_picture(compare({run.name: [run]}), run.metric, title=f"{title}: {axis_name(run.metric)} over labels")
    save_picture(curve, folder / "curve.png")
    run.write(folder)


def _draw_asked(active: ActiveLearning, data: ActiveDataModule, history: History, folder: Path, seed: int) -> None:
    """Draw the images that were queried, where the points are images."""
    from lightning_al.report.pictures import asked_picture, save_picture, short
    from lightning_al.task.class_names import shown_class

    asked = [round for round in history if round.indices]
    images = [[data.target.inputs(data.item_of(index)) for index in round.indices] for round in asked]
    if asked and all(_is_image(image) for row in images for image in row):
        names = data.training_points.classes.names
        classes = [[data.class_of(index) for index in round.indices] for round in asked]
        labels = [[None if one is None else short(shown_class(one, names), 10) for one in row] for row in classes]
        headings = [f"after {round.spent} labels" for round in asked]
        title = f"{type(active.acquisition).__name__}, seed {seed}: images queried, in order"
        save_picture(asked_picture(images, labels, headings, title=title), folder / "asked.png")


def area_of_run(folder: Path) -> float:
    """Return the area under the learning curve of a finished run, or NaN where it has no curve."""
    from lightning_al.report.runs import Run

    return Run.read(folder).area if (folder / "summary.json").exists() else float("nan")


def show_run(folder: Path, kept: Mapping[str, Any]) -> float:
    """Print the rounds and files of a finished run, and return the area under its learning curve.

    Args:
        folder: The run's folder.
        kept: Its settings.
    """
    from lightning_al.cli.metric import curve_metric
    from lightning_al.report.console import rounds_table
    from lightning_al.report.runs import Run
    from lightning_al.run.history import said_of_audit
    from lightning_al.run.journal import Journal
    from lightning_al.run.printable import printable

    history = Journal.read_history(folder)
    run = Run.read(folder) if curve_metric(kept["metric"], history) is not None else None
    console = new_console()
    if not is_cell():  # a sweep ends in one table of all its runs
        console.print(rounds_table(history, None if run is None else run.metric))
    if run is None:
        audit = f" {said_of_audit(history[-1].audit).capitalize()}." if history[-1].audit else ""
        labels = f"{history[-1].spent} labels in {len(history)} rounds.{audit}"
        console.print(f"{labels} There is no learning curve, since there are no test data.", soft_wrap=True)
        _print_files(folder)
        return float("nan")
    metric = printable(run.metric)
    if run.has_diverged:
        unfit = [count for count, value in zip(run.labels, run.values, strict=True) if not isfinite(value)]
        rounds = f"{len(unfit)} of {len(run.labels)} rounds, first with {unfit[0]} labels"
        said = f"diverged: {metric} is not a finite number in {rounds}."
    else:
        range_ = f"{run.labels[0]} to {run.labels[-1]} labels"
        said = f"mean {metric} over {range_} is {run.area:.4f}, the last {run.values[-1]:.4f}."
    console.print(f"{printable(run.acquisition)}, seed {run.seed}: {said}", soft_wrap=True)
    _print_files(folder)
    return run.area


def _print_files(folder: Path) -> None:
    names = ("curve.png", "asked.png", "summary.json", LABELS, MODEL)
    files = [name for name in names if (folder / name).exists()]
    listed = f"  ({', '.join(files)})" if files else ""
    new_console().print(f"Run folder: {folder}{listed}", soft_wrap=True)


def _is_image(item: Any) -> bool:
    shape = tuple(getattr(item, "shape", ()))
    return len(shape) == 2 or shape[:-2] in ((1,), (3,))
