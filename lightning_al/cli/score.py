"""The command line that scores the pool of a run. Only the standard library is imported at the top, so help is fast."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_al import __version__
from lightning_al.report.one_line_parser import OneLineParser

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from lightning_al.run.records import Records

NAME = "lightning-al-score"

OUT = "predictions.csv"
"""The table that the command writes into a run's folder."""

MOST_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the pool of a run, and return the exit code: 2 if the arguments or the folder are invalid."""
    asked = _parser().parse_args(arguments)
    from hydra.errors import HydraException

    from lightning_al.cli.one_line_errors import in_one_line

    asked.folder = asked.folder.absolute()
    try:
        with in_one_line(asked.folder):
            _score(asked)
    except (HydraException, OSError) as error:
        print(f"{NAME}: {_in_a_line(error, asked.folder)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        NAME,
        description="Score every unlabelled item of a run of lightning-al with the weights of its last fit, and write "
        f"index, key, score, predicted class and its probability as CSV. By default into the run's folder, as {OUT}.",
        epilog="example: lightning-al-score outputs/mine --acquisition margin --out margins.csv",
    )
    parser.add_argument("--version", action="version", version=f"lightning-al {__version__}")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a run's folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="SETTING", help="settings that the folder may not set by itself, as for "
        "lightning-al, such as '++data.root=/photos'",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--acquisition", metavar="NAME", help="what scores; by default the run's own, or entropy where "
        "that selects whole batches",
    )  # fmt: skip
    parser.add_argument("--posterior", metavar="NAME", help="how weights are sampled; by default as in the run")
    parser.add_argument(
        "--unscorable", choices=["raise", "skip"], help="what to do with items that cannot be read or scored; by "
        "default as the run does",
    )  # fmt: skip
    parser.add_argument("--probabilities", action="store_true", help="add a column for each class")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="a package, class or function of your own that "
        "the settings may name; may be given several times",
    )  # fmt: skip
    return parser


def _score(asked: argparse.Namespace) -> None:
    from omegaconf import OmegaConf

    from lightning_al.cli.one_line_errors import of_settings
    from lightning_al.cli.opened_run import composed_for, settings_of
    from lightning_al.cli.out_file import check_out
    from lightning_al.cli.run import silence, threads
    from lightning_al.cli.stored import with_how_to_fetch
    from lightning_al.run.journal import Journal
    from lightning_al.run.run_command import run_command

    if asked.out is not None:
        check_out(asked.out)
    records = Journal.read(asked.folder)
    if records.header is None:
        raise ValueError(f"The run in {asked.folder} has not begun. Run `{run_command(asked.folder)}` first.")
    with composed_for(asked.folder, asked.overrides) as composed:
        stored, settings = settings_of(asked.folder, asked.overrides, asked.allow, composed)
        silence()
        plain = OmegaConf.to_container(settings)
        # For the user's own classes, a traceback shows where they fail.
        with threads(settings.threads), nullcontext() if asked.allow else of_settings(plain, asked.folder):
            try:
                table, is_first = _table(asked, settings, records)
            except FileNotFoundError as missing:
                raise FileNotFoundError(with_how_to_fetch(str(missing), stored, settings)) from missing
    if is_first:
        _write_and_show(table, asked.folder / OUT if asked.out is None else asked.out)


def _table(asked: argparse.Namespace, settings: DictConfig, records: Records) -> tuple[pd.DataFrame, bool]:
    """Return the table, and whether this process is the first rank."""
    from lightning_al.cli.recorded_run import put_labels, put_last_weights
    from lightning_al.cli.run import make_objects
    from lightning_al.pool_scores import score_pool

    objects = make_objects(settings, asked.folder, force=False)
    trainer, active, data = objects.trainer, objects.active, objects.data
    put_labels(records, asked.folder, trainer, active, data)
    put_last_weights(records, asked.folder, active, objects.model)
    table = score_pool(
        trainer,
        objects.model,
        data,
        acquisition=asked.acquisition,
        posterior=asked.posterior,
        unscorable=asked.unscorable,
        probabilities=asked.probabilities,
    )
    return table, trainer.is_global_zero


def _write_and_show(table: pd.DataFrame, out: Path) -> None:
    from rich.table import Table

    from lightning_al.cli.job import new_console
    from lightning_al.report.frames import write_table
    from lightning_al.run.printable import printable

    write_table(table, out)
    console = new_console()
    shown = Table(header_style="bold")
    columns = ["index", "key", "score", "predicted", "probability"]
    for name in columns:
        shown.add_column(name, justify="left" if name in ("key", "predicted") else "right")
    for row in table.nlargest(MOST_SHOWN, "score")[columns].itertuples(index=False):
        shown.add_row(*map(_cell, row))
    if len(table) > 0:
        console.print(shown)
    items = "1 unlabelled item" if len(table) == 1 else f"{len(table)} unlabelled items"
    console.print(f"{printable(out, most=2_000)}: {items}, scored by {table.attrs['acquisition']}", soft_wrap=True)


def _cell(value: Any) -> str:
    from lightning_al.run.printable import printable

    return f"{value:.4f}" if isinstance(value, float) else str(printable(value))


def _in_a_line(error: Exception, folder: Path) -> str:
    """Return an error as this command says it: what `lightning-al` would be told, this command is told."""
    from lightning_al.run.printable import printable
    from lightning_al.run.run_command import run_command

    said = " ".join(str(error).split()).removeprefix("lightning-al: ")
    said = re.sub(r"'allow=\[([^\]]*)\]'", r"--allow \1", said)
    theirs, ours = run_command(folder), shlex.join([NAME, str(folder)])
    said = re.sub(rf"{re.escape(theirs)}(?= '?\+\+)", lambda _: ours, said)
    return str(printable(said, most=5_000))


if __name__ == "__main__":
    sys.exit(main())
