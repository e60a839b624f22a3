"""The report's command line. Only the standard library is imported at the top, so that help answers at once."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_al import __version__
from lightning_al.report.one_line_parser import OneLineParser

if TYPE_CHECKING:
    from lightning_al.report.page import Task
    from lightning_al.report.study import Study

NAME = "lightning-al-report"

MOST_PAIRS = 10
"""How many pairs of methods the terminal shows."""


class ReportError(Exception):
    """A report cannot be made; the message is for the user of the command line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a report of some runs, and return the exit code: 2 if the arguments or the runs are not usable."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(given)
    try:
        _report(asked, shlex.join([NAME, *given]))
    except ReportError as error:
        from lightning_al.run.printable import printable

        print(f"{NAME}: {printable(error, most=10_000)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        NAME,
        description="Make a report of active learning runs: learning curves, paired differences to random choice, "
        "labels to reach a target, queried points, time, memory and batches, as one page, pictures and CSV files.",
        epilog="example: lightning-al-report multirun/2026-01-31/12-00-00 --target 0.9 --out report",
    )
    parser.add_argument("--version", action="version", version=f"lightning-al {__version__}")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a run's folder or a sweep's, searched below"
    )
    parser.add_argument("--out", type=Path, default=Path("report"), help="where to write the report (%(default)s)")
    parser.add_argument("--metric", help="metric of the curves; by default that of the runs")
    parser.add_argument(
        "--target",
        nargs="+",
        action="extend",
        type=_number,
        default=[],
        metavar="VALUE",
        help="values of the metric to reach",
    )
    parser.add_argument(
        "--mode", choices=["min", "max"], help="whether less or more of the metric is better; by default as the runs "
        "say, or else as the metric's name says where it is clear",
    )  # fmt: skip
    parser.add_argument(
        "--chance", type=_number, metavar="VALUE", help="height at which a diverged run counts; by default chance "
        "level, where the metric's name and the number of classes tell it",
    )  # fmt: skip
    parser.add_argument("--with-validation-labels", action="store_true", help="count validation labels as well")
    parser.add_argument(
        "--up-to", type=int, metavar="LABELS", help="compare the curves up to this number of labels; by default up "
        "to the end of the shortest finished run",
    )  # fmt: skip
    parser.add_argument(
        "--band", choices=["sd", "interval"], default="interval",
        help="what the bands show: the 95 %% interval of the mean over seeds, or one standard deviation (%(default)s)",
    )  # fmt: skip
    return parser


def _number(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise argparse.ArgumentTypeError(f"a value is a finite number, but got {text}. Give one such as 0.9.")
    return value


def _report(asked: argparse.Namespace, command: str) -> None:
    from lightning_al.report.page import section
    from lightning_al.report.runs import read_all
    from lightning_al.report.study import make_studies
    from lightning_al.run.printable import printable

    _check_out(asked.out)
    try:
        runs, left_out = read_all(asked.folders)
        studies, without = make_studies(
            runs,
            metric=None if asked.metric is None else printable(asked.metric),
            with_validation_labels=asked.with_validation_labels,
            up_to=asked.up_to,
            mode=asked.mode,
            chance=asked.chance,
        ) if runs else ([], [])  # fmt: skip
    except ValueError as error:
        raise ReportError(str(error)) from error
    missing = [f"{printable(one.folder)}: {one.reason}" for one in [*left_out, *without]]
    for line in missing:
        print(f"{NAME}: left out {line}", file=sys.stderr)
    if not studies:
        named = ", ".join(printable(folder) for folder in asked.folders)
        if missing:
            raise ReportError(
                f"No run to report on in {named}: all that were found are left out, for the reasons above. Correct "
                "these, or name other folders."
            )
        raise ReportError(
            f"No run to report on in {named}. Name the folder of a run or a sweep: one that has a journal.sqlite, or "
            "such folders below it."
        )
    measured = [study for study in studies if study.metric]
    if asked.target and not measured:
        raise ReportError("`--target`: no run measured how good its model is. Leave --target out.")
    unclear = [study.metric for study in measured if study.mode is None]
    if asked.target and unclear:
        raise ReportError(
            f"--target: whether less or more of {unclear[0]} is better is not known, since its name does not say it. "
            "Give --mode min or --mode max."
        )
    prefixes = ["" if len(studies) == 1 else f"task-{place + 1}-" for place in range(len(studies))]
    tasks = [section(study, asked.target, asked.band, prefix) for study, prefix in zip(studies, prefixes, strict=True)]
    try:
        _write(asked.out, studies, tasks, asked.target, missing, printable(command, most=2_000))
    except OSError as error:
        raise ReportError(f"The report could not be written to {asked.out}: {error}. Choose another --out.") from error
    _show(studies, asked.target, asked.out)


def _check_out(out: Path) -> None:
    from lightning_al.report.runs import is_run_folder

    absolute = out.absolute()
    inside = next((folder for folder in (absolute, *absolute.parents) if is_run_folder(folder)), None)
    if inside is not None:
        raise ReportError(f"The report would be written into the run folder {inside}. Choose another --out.")
    if absolute.exists() and not absolute.is_dir():
        raise ReportError(f"--out {out} is a file. Name a folder.")


def _write(
    out: Path,
    studies: Sequence[Study],
    tasks: Sequence[Task],
    targets: Sequence[float],
    missing: list[str],
    command: str,
) -> None:
    from lightning_al.report.frames import tables, write_table
    from lightning_al.report.page import page, pictures
    from lightning_al.run.files import replacing

    runs = [run for study in studies for run in study.runs]
    seeds = len({run.seed for run in runs})
    going = sum(run.state != "finished" for run in runs)
    about = f"{len(runs)} run{'s' * (len(runs) != 1)} with {seeds} seed{'s' * (seeds != 1)}"
    about += f", {going} not finished" if going else ""
    text = page(tasks, about=about, left_out=missing, command=command, made=datetime.now())
    for name, table in tables(studies, targets).items():
        # A value of a curve that is NaN was measured, where other tables have nothing.
        write_table(table, out / f"{name}.csv", nan="nan" if name == "curves" else "")
    for picture in (picture for task in tasks for picture in pictures(task)):
        for suffix, content in (("png", picture.png), ("svg", picture.day), ("dark.svg", picture.night)):
            with replacing(out / f"{picture.name}.{suffix}") as draft:
                draft.write_bytes(content)
    with replacing(out / "index.html") as draft:
        draft.write_text(text, encoding="utf-8")


def _show(studies: Sequence[Study], targets: Sequence[float], out: Path) -> None:
    from lightning_al.report.console import PlainConsole, comparison_table, plain_table
    from lightning_al.report.sentences import caveats, headlines
    from lightning_al.report.tables import audit, labels_to_targets, pairs

    console = PlainConsole()
    for study in studies:
        if len(studies) > 1:
            console.print(study.title, soft_wrap=True)
        if study.compared:
            console.print(comparison_table(study.compared, study.metric, mode=study.mode))
        for table in (audit(study), pairs(study, most=MOST_PAIRS), labels_to_targets(study, targets)):
            if table is not None:
                console.print(plain_table(table))
        if len(study.pairs) > MOST_PAIRS:
            console.print(f"The {MOST_PAIRS} largest differences of {len(study.pairs)} pairs; pairs.csv has all.")
        for sentence, rests in headlines(study):
            console.print(sentence, rests, soft_wrap=True)
        for caveat in caveats(study):
            console.print(caveat, soft_wrap=True)
    console.print(f"Report: {out / 'index.html'}, with CSV files and pictures beside it.", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
