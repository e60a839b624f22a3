"""Nothing that a run's folder says can steer the terminal that it is printed on."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hydra.errors import CompactHydraException, ConfigCompositionException

from lightning_al.cli.one_line_errors import in_one_line
from lightning_al.report.comparison import compare
from lightning_al.report.console import PlainConsole
from lightning_al.report.progress import line_of_round
from lightning_al.report.runs import Run, group_runs
from lightning_al.report.tables import comparison_table, rounds_table
from lightning_al.run.history import History, Round

HOSTILE = ("acc\n\x1b[31m", "\x1b]0;x\x07", "a\rb", "a\u202eb", "\x9b2J", "a\x00", "a\u2028b", "[red]a[/red]")
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def printed(*things: object) -> str:
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, width=200, color_system="standard")
    for thing in things:
        console.print(thing)
    return STYLE.sub("", file.getvalue())


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_printed_can_only_be_read(text: str) -> None:
    history = History([Round(0, 3, [1], [], metrics={text: 0.5}, seconds={"fit": 1.0})])
    runs = [
        Run.from_history(
            history, name=text, acquisition=text, seed=seed, metric=text, initial=[0], settings={}, mode="max"
        )
        for seed in (0, 1)
    ]
    methods = compare(group_runs(runs))
    said = printed(
        f"a line with {text!s} in it",
        rounds_table(history, text),
        comparison_table(methods, text, mode="max"),
        line_of_round(history[0], text),
    )
    assert all(line.isprintable() for line in said.split("\n"))
    assert text not in said or text.isprintable()
    assert len(line_of_round(history[0], text).splitlines()) == 1


def test_colours_stay() -> None:
    file = io.StringIO()
    PlainConsole(file=file, force_terminal=True, color_system="standard").print("[red]größe", style="bold")
    assert file.getvalue() == "\x1b[1m[red]größe\x1b[0m\n"


@pytest.mark.parametrize("kind", [CompactHydraException, ConfigCompositionException, ValueError])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_refusal_can_only_be_read(tmp_path: Path, text: str, kind: type[Exception]) -> None:
    with pytest.raises((CompactHydraException, ValueError)) as found, in_one_line(tmp_path):
        exec(compile("raise kind(text)", "refusal", "exec"), {"__name__": "lightning_al.x", "kind": kind, "text": text})
    assert isinstance(found.value, CompactHydraException)
    assert str(found.value).isprintable()
