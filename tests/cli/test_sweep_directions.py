"""Sweeps whose runs diverge, and sweeps and sweepers that are told whether less or more of a metric is better."""

from __future__ import annotations

import csv
import json
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from lightning_al.cli.configuration import agree, as_stored
from lightning_al.cli.direction import check_sweeper
from lightning_al.report import Run
from lightning_al.run.folder import ERROR
from tests.conftest import Command
from tests.support.commands import refusal, run
from tests.support.stored import composed
from tests.support.sweeps import TINY, Searching

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> str:
    """What chooses a sweeper that has a direction, though Hydra takes none from outside of `hydra_plugins`."""
    known = Plugins.instance().class_name_to_class
    monkeypatch.setitem(known, "hydra_plugins.searching.Searching", Searching)
    return "hydra.sweeper._target_=hydra_plugins.searching.Searching"


DIVERGING = [*TINY, "acquisition=random", "metric=test_loss", "model.lr=0.001,1e30"]


@pytest.mark.long
def test_a_sweep_in_which_runs_diverge_ends_with_its_table(
    command: Command, refused: Command, searching: str, tmp_path: Path
) -> None:
    said = command("-m", *DIVERGING, f"folder={tmp_path}")
    assert "Random, seed 0: diverged: test_loss is not a finite number in 2 of 2 rounds, first with 10 labels" in said
    assert "less is better" in said
    assert "1 of 1" in said
    assert "chance level of 10 classes" in said
    assert "Compared 2 runs" in said
    assert "Traceback" not in said
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"].partition(" at ")[0] for row in rows] == [
        *("random lr=0.001", "random lr=1e+30", "random lr=1e+30, diverged")
    ]
    assert float(rows[2]["area_mean"]) >= 2.302
    summaries = [json.loads(path.read_text()) for path in tmp_path.rglob("summary.json")]
    assert sorted(str(summary["area"]) for summary in summaries)[-1] == "None"
    [cell] = [path.parent for path in tmp_path.rglob("summary.json") if isnan(Run.read(path.parent).area)]
    # It is no trial that a sweeper can rank, when it is shown again either.
    sweeper = [searching, "+hydra.sweeper.direction=minimize"]
    said = refused("-m", *DIVERGING[:-1], "model.lr=1e30", *sweeper, f"folder={tmp_path}")
    assert "has no area under its curve, since it diverged or was stopped before its budget. Let" in said
    assert "hydra.sweeper.max_failure_rate=1" in said
    assert list(tmp_path.rglob(ERROR)) == []
    assert isnan(Run.read(cell).area)


@pytest.mark.parametrize(
    ("direction", "metric", "mode", "said"),
    [
        ("minimize", "test_acc", None, "minimize test_acc, of which more is better. Give hydra.sweeper.direct"),
        ("maximize", "val_loss", None, "of which less is better. Give hydra.sweeper.direc"),
        ("maximize", "quality", "min", "of which less is better"),
    ],
)
def test_a_sweeper_that_looks_for_the_worst_is_refused(
    capsys: pytest.CaptureFixture[str], direction: str, metric: str, mode: str | None, said: str
) -> None:
    with pytest.raises(SystemExit):
        check_sweeper(
            OmegaConf.create({"metric": metric, "mode": mode, "hydra": {"sweeper": {"direction": direction}}})
        )
    assert said in capsys.readouterr().err


def test_a_sweeper_that_looks_for_the_worst_is_refused_before_it_begins(
    refused: Command, searching: str, tmp_path: Path
) -> None:
    settings = ["+hydra.sweeper.direction=maximize", "metric=quality", "mode=min"]
    assert "of which less is better" in refused("-m", *TINY, "seed=0,1", searching, *settings, f"folder={tmp_path}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("direction", "metric", "mode"),
    [
        ("maximize", "test_acc", None),
        ("Direction.maximize", "test_acc", None),
        ("minimize", "test_acc", "min"),
        ("minimize", "quality", None),
        (["maximize", "minimize"], "test_loss", None),
        (None, "test_loss", None),
    ],
)
def test_a_sweeper_that_may_look_for_the_best_is_let_be(direction: Any, metric: str, mode: str | None) -> None:
    sweeper = {} if direction is None else {"direction": direction}
    check_sweeper(OmegaConf.create({"metric": metric, "mode": mode, "hydra": {"sweeper": sweeper}}))


@pytest.mark.long
def test_a_mode_is_kept_shown_and_that_of_its_metric(tmp_path: Path) -> None:
    said = refusal(tmp_path, *TINY, "mode=minimize")
    assert "lightning-al expects `mode` to be min (less of the metric is better) or max" in said
    run(tmp_path, *TINY, "acquisition=random", "active.max_rounds=1", "metric=test_loss", "mode=max")
    run(tmp_path, "active.max_rounds=2")
    assert Run.read(tmp_path).mode == "max"
    run(tmp_path, "mode=min")
    assert (Run.read(tmp_path).mode, Run.read(tmp_path).metric) == ("min", "test_loss")
    # Less of another metric need not be better.
    run(tmp_path, "metric=test_acc")
    assert (Run.read(tmp_path).mode, Run.read(tmp_path).metric) == (None, "test_acc")
    # Earlier versions stored none.
    config = tmp_path / "config.yaml"
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("mode:")))
    before = (tmp_path / "summary.json").stat().st_mtime_ns
    run(tmp_path)
    assert (tmp_path / "summary.json").stat().st_mtime_ns == before


def test_the_mode_is_stored_anew_in_a_cell(tmp_path: Path) -> None:
    stored = as_stored(composed(tmp_path))
    now = composed(tmp_path, "mode=min")
    assert agree(stored, now, ["mode=min"], tmp_path, force=False, is_cell=True).mode == "min"
