from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from lightning_al.report.comparison import compare
from lightning_al.report.tables import comparison_table, rounds_table
from lightning_al.run.history import History, Round
from tests.report.test_comparison import methods
from tests.support.runs import run


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
