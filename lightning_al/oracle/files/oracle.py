"""An oracle that writes its queries into files, and takes up what people write into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from lightning_al.host.namespace import rank_zero_info, rank_zero_warn
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.files.answered import Answered, take_up
from lightning_al.oracle.files.sheets import Sheets
from lightning_al.oracle.query import Query
from lightning_al.oracle.registry import register_oracle

MOST_NAMED = 10
"""The most lines that an error names."""


@register_oracle("files")
@final
@dataclass(frozen=True)
class Files(Oracle):
    """Let people write the labels into a file, and take them up when `trainer.fit` is called again.

    The run's folder gets a folder `queries`. Each query writes two files there: `round-000.csv` has the columns
    `index`, `key`, `label` and `note`, and `round-000.html` shows the items. Those of the initial points are called
    `initial`. People fill in the column `label` with a class, `skip`, `unusable` (the note says why) or `other: TEXT`,
    in any order and over several days. A line without a label is still pending. The page saves such a file too.
    ``correct: dog`` replaces an earlier answer: in its line, also in the file of an earlier query, or in a line that is
    added with the index or the key. It is taken up while a query is open. Any other change in the file of an earlier
    query is named in a warning. `lightning-al-journal correct` corrects the labels of a run that is done.

    The file may be saved by any spreadsheet: with semicolons or tabs, in another encoding, with its columns in another
    order or with more of them. Several people may each save a copy, such as `round-000-anna.csv`. A line that cannot be
    read is named in an error, and all other answers are kept. Columns `who` (who gave an answer) and `seconds` (how
    long it took) are read where a file has them. The page writes both.

    Args:
        accept_partial: How many answers of a query are enough for the next fit, or None for all.
        wait: What `trainer.fit` does while answers are missing: end (`exit`), or read the files again after so many
            seconds.
        suggestions: Whether the files show what the model believes, in columns `predicted` and `probability`. People
            who see that agree with it more often than they would.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     query = Query(0, [7, 3], keys=["a.png", "b.png"], classes={0: "cat", 1: "dog"}, folder=folder)
    ...     before = dict(Files().label(query))
    ...     sheet = Path(folder, "queries", "round-000.csv")
    ...     _ = sheet.write_text(sheet.read_text().replace("b.png,", "b.png,dog"))
    ...     before, dict(Files().label(query))
    ({}, {3: 1})
    """

    leaves_open: ClassVar[bool] = True
    accept_partial: int | None = None
    wait: float | Literal["exit"] = "exit"
    suggestions: bool = False

    def how_to_answer(self, query: Query) -> str:
        """Say which file people fill in."""
        if query.folder is None:
            return super().how_to_answer(query)
        sheets = _sheets_of(query.folder, query.round)
        return f"Write the labels into {sheets.table} ({sheets.page.name} shows the items)"

    def label(self, query: Query) -> Mapping[int, Any] | Iterator[tuple[int, Any]]:
        """Write files for points that have no line in any, and return the answers that they hold.

        Raises:
            ValueError: If the run has no folder, or if lines were refused. The other answers are yielded first. While
                `wait` is a number, refused lines are a warning.
            OSError: If the files cannot be written.
        """
        if query.folder is None:
            raise ValueError(
                "`Files` writes its queries into the run's folder, but this query comes from a run without one. Pass "
                "`ActiveLearning(folder=...)`."
            )
        sheets = _sheets_of(query.folder, query.round)
        is_new = not sheets.table.exists()
        keys = sheets.write(query, suggestions=self.suggestions)
        found = take_up(sheets, query, keys)
        if found.unlisted:
            sheets.write_more(query, found.unlisted, suggestions=self.suggestions)
        if found.ignored:
            rank_zero_warn(
                "Lines in the files of earlier queries were changed after these had ended, which changes no answer: "
                f"{_first(found.ignored)}. Write `correct: LABEL` into such a line to correct it, or put it back."
            )
        if unread := sheets.unread():
            rank_zero_warn(
                f"`Files` reads no answers from {_first(list(map(repr, unread)))} in {sheets.folder}: its tables are "
                f"CSV files whose names begin with `{sheets.table.stem}`. Save a copy under a name such as "
                f"{sheets.table.stem}-anna.csv."
            )
        if is_new:
            rank_zero_info(f"`Files`: {self.how_to_answer(query)}.")
        # Together, they are recorded in one step.
        return self._yielded(found, sheets) if found.refused or found.corrections else found.answers

    def _yielded(self, found: Answered, sheets: Sheets) -> Iterator[tuple[int, Any]]:
        yield from found.answers.items()
        yield from found.corrections.items()
        if not found.refused:
            return
        then = ", save the file and call `trainer.fit` again" if self.wait == "exit" else " and save the file"
        said = (
            f"`Files` could not take up {len(found.refused)} of the answers in {sheets.folder}: "
            f"{_first(found.refused)}. A label is one of {found.expected}. Correct these lines{then}."
        )
        if self.wait != "exit":
            rank_zero_warn(said)  # Python shows the same warning once
        else:
            raise ValueError(said)


def _first(lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    return f"{'; '.join(lines[:MOST_NAMED])}{more}"


def _sheets_of(folder: Path, round: int) -> Sheets:
    return Sheets(folder / "queries", round)
