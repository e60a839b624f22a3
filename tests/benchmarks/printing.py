"""How the benchmarks print what they find."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Report:
    """Print text and tables as they come, for people or in Markdown, and write the same to a file."""

    def __init__(self, out: Path | None, markdown: bool) -> None:
        self.consoles = [Console(width=None if sys.stdout.isatty() else 160)]
        if out is not None:
            self.consoles.append(Console(file=out.open("w"), width=160))
        self.markdown = markdown

    def text(self, line: str = "") -> None:
        for console in self.consoles:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            console.file.flush()

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.text(f"\n{title}")
        if self.markdown:
            lines = [columns, ["---"] * len(columns), *rows]
            self.text("\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
            return
        table = Table()
        for column in columns:
            is_name = column == columns[0]
            table.add_column(column, justify="left" if is_name else "right", no_wrap=is_name)
        for row in rows:
            table.add_row(*map(escape, row))
        for console in self.consoles:
            console.print(table)
            console.file.flush()
