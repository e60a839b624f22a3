"""Nothing that a run's folder says can steer the terminal that it is printed on; and the tables there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hydra.errors import CompactHydraException, ConfigCompositionException
from rich.console import Console
from rich.table import Table

from lightning_al.cli.one_line_errors import in_one_line
from lightning_al.report.comparison import compare
from lightning_al.report.console import PlainConsole, comparison_table, rounds_table
from lightning_al.report.progress import line_of_round
from lightning_al.report.runs import Run
from lightning_al.report.study import group_runs
from lightning_al.run.history import History, Round
from tests.report.test_comparison import methods
from tests.support.runs import run

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


def shown(table: Table) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_rounds_have_labels_metric_seconds_and_all_that_was_asked():
    history = History([
        Round(0, 10, [41, 7], [1, 1], metrics={"test_acc": 0.51239}, seconds={"fit": 1.25, "score": 0.3}),
        Round(1, 12, [], [], metrics={}),
    ])  # fmt: skip
    text = shown(rounds_table(history, "test_acc"))
    assert "0.5124" in text
    assert "1.6" in text or "1.5" in text
    assert "41 7" in text


def test_a_long_query_is_cut():
    text = shown(rounds_table(History([Round(0, 10, list(range(50)), [0.0] * 50)]), "test_acc", most=3))
    assert "0 1 2 ... 50 in all" in text


def test_a_comparison_fits_a_terminal_of_80_columns():
    text = shown(comparison_table(compare(methods()), "test_acc"))
    assert "…" not in text
    assert "minus random" in text
    assert "n too small" in text  # six pairs for two methods
    assert "+0.125" in text


def test_long_names_are_whole_on_a_terminal_of_80_columns():
    baseline = "random query_size=5 posterior=MCDropout(num_samples=8, autocast=False)"
    others = [f"stochastic acquisition=Stochastic(acquisition={name}(), beta=1.0)" for name in ("Margin", "Entropy")]
    rows = compare(
        {
            name: [
                run(name, "Random" if name == baseline else "B", seed=seed, height=0.5 + 0.1 * seed) for seed in (0, 1)
            ]
            for name in (baseline, *others)
        }
    )
    lines = shown(comparison_table(rows, "test_acc")).splitlines()
    column = "".join(line.split("│")[1] for line in lines if line.startswith("│")).replace(" ", "")
    assert all(name.replace(" ", "") in column for name in (baseline, *others))
    assert max(map(len, lines)) == 80
    header = "".join(line.split("┃")[3] for line in lines if line.startswith("┃")).replace(" ", "")
    assert header.startswith(f"minus{baseline}".replace(" ", ""))


def test_one_method_alone_has_no_differences():
    text = shown(comparison_table(compare({"bald": methods()["bald"]}), "test_acc"))
    assert "minus" not in text


def test_no_p_is_shown_as_zero():
    pairs = [(0.5 + 0.001 * seed, 0.9 + 0.0011 * seed) for seed in range(16)]
    rows = compare(
        {
            "random": [run("random", "Random", seed=seed, height=low) for seed, (low, _) in enumerate(pairs)],
            "bald": [run("bald", seed=seed, height=high) for seed, (_, high) in enumerate(pairs)],
        }
    )
    text = shown(comparison_table(rows, "test_acc"))
    assert "<.0001" in text
    assert "0.0000" not in text


def test_the_rounds_say_how_many_audit_points_the_model_has_right() -> None:
    audit = {"labels": 10, "right": 9, "acc": 0.9, "low": 0.596, "high": 0.982}
    history = History([Round(0, 10, [4], [1.0], audit={"labels": 0, "right": 0}), Round(1, 11, [], [], audit=audit)])
    assert "9 of 10 (0.60 to 0.98)" in shown(rounds_table(history, None))
    assert "audit" not in shown(rounds_table(History([Round(0, 10, [4], [1.0])]), None))
