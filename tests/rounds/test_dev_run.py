"""`Trainer(fast_dev_run=...)` tries a run out: it leaves its folder and people alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.run.journal import Journal
from tests.support.tasks import LitMLP, points, trainer
from tests.test_callback import plain

pytestmark = pytest.mark.filterwarnings("ignore:You are running in")


def data(**arguments: Any) -> ActiveDataModule:
    return ActiveDataModule(points(20), test=points(8), initial_size=4, seed=0, **arguments)


def active(folder: Path | None, **arguments: Any) -> ActiveLearning:
    given = {"query_size": 2, "budget": 8, "posterior": "deterministic", "seed": 0, "folder": folder, **arguments}
    return ActiveLearning("entropy", **given)


def fit(callback: ActiveLearning, datamodule: ActiveDataModule | None = None, **of_trainer: Any) -> list[Any]:
    """Fit a new module, and return the history."""
    torch.manual_seed(0)
    path = Path("unused")  # the Trainers here write nothing
    trainer(path, **{"max_epochs": 2, **of_trainer, "callbacks": [callback]}).fit(
        LitMLP(), datamodule=data() if datamodule is None else datamodule
    )
    return plain(callback.history)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def double(inputs: Tensor) -> Tensor:
    return 2 * inputs


@pytest.mark.parametrize("fast_dev_run", [True, 2])
def test_a_new_folder_is_not_made_and_the_real_run_is_as_if_nothing_was_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fast_dev_run: bool | int
) -> None:
    caplog.set_level("INFO")
    tried = active(tmp_path / "run", test="posterior")
    fit(tried, data(features=double), fast_dev_run=fast_dev_run)
    assert tried.done
    assert [round.steps for round in tried.history] == [1, 1, 1]
    assert not (tmp_path / "run").exists()
    assert caplog.text.count("neither read nor written") == 1
    assert fit(active(tmp_path / "run")) == fit(active(None))
    assert caplog.text.count("neither read nor written") == 1


@pytest.mark.parametrize("rounds", [1, None])
def test_a_folder_with_rounds_stays_as_it_is(tmp_path: Path, rounds: int | None) -> None:
    folder = tmp_path / "run"
    begun = fit(active(folder, rounds_per_fit=rounds))
    before = content(folder)
    tried = active(folder)
    fit(tried, fast_dev_run=True)
    assert [round.labelled for round in tried.history] == [4, 6, 8]
    assert content(folder) == before
    assert plain(Journal.read_history(folder)) == begun
    assert fit(active(folder)) == fit(active(None))


def test_a_damaged_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_text("no database")
    fit(active(tmp_path), fast_dev_run=True)
    assert content(tmp_path) == {"journal.sqlite": b"no database"}


@pytest.mark.parametrize("oracle", ["ask", "files", "page", "label_studio"])
def test_people_are_not_asked(tmp_path: Path, oracle: str) -> None:
    callback, datamodule = active(tmp_path / "run", oracle=oracle), data(classes=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="only tries a run out"):
        fit(callback, datamodule, fast_dev_run=True)
    assert not (tmp_path / "run").exists()
    assert callback.pending is None


def test_the_oracle_that_the_error_names_answers_where_nobody_knows_labels() -> None:
    unlabelled = ActiveDataModule(list(points(20).tensors[0]), initial_size=4, classes=["a", "b", "c", "d"])
    callback = active(None, oracle=lambda query: dict.fromkeys(query, 0))
    fit(callback, unlabelled, fast_dev_run=True)
    assert set(unlabelled.pool.labels.values()) == {0}
    assert callback.done


@pytest.mark.parametrize("first", [True, False])
def test_a_try_out_and_a_real_run_have_an_object_each(tmp_path: Path, first: bool) -> None:
    callback, datamodule = active(tmp_path / "run", rounds_per_fit=1), data()
    fit(callback, datamodule, fast_dev_run=first)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="cannot continue a try-out as a real run"):
        fit(callback, datamodule, fast_dev_run=not first)
    assert content(tmp_path) == before
    assert len(callback.history) == 1
    fit(callback, datamodule, fast_dev_run=first)
    assert len(callback.history) == 2
