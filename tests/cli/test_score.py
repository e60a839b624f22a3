"""`lightning-al-score`: the table of a run's pool, from its folder alone."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lightning_al import ActiveDataModule, ActiveLearning, load_model
from lightning_al.cli.recorded_run import put_last_weights
from lightning_al.cli.score import main
from lightning_al.demos.digits import Digits
from lightning_al.run.journal import Journal
from lightning_al.run.weights_file import load_weights
from tests.cli.test_cli import TINY
from tests.support.commands import run as begin
from tests.support.tasks import LitMLP, points, trainer

pytestmark = pytest.mark.usefixtures("as_before")

KEPT: dict[str, Path] = {}

NUM_POINTS = 100
"""Points of the digits that are not for the test."""


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that keeps the weights of its last fit."""
    if "run" not in KEPT:
        folder = tmp_path_factory.mktemp("kept") / "run"
        begin(folder, *TINY, "active.budget=15", "active.reset=warm", "acquisition=bald")
        KEPT["run"] = folder
    shutil.copytree(KEPT["run"], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs the command, checks its exit code and returns what it said."""

    def said(*arguments: Any, code: int = 0) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        found = capfd.readouterr()
        assert "Traceback" not in found.err
        return found.err if code else found.out

    return said


def change(folder: Path, name: str, value: Any) -> None:
    """Change a setting in the configuration of a run."""
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    *owners, last = name.split(".")
    part = stored
    for owner in owners:
        part = part[owner]
    part[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))


@pytest.mark.long
def test_the_table_has_the_scores_of_the_query_that_would_come_next(run: Path, said: Any) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    out = said(run)
    written = run / "predictions.csv"
    assert f"{written}: 85 unlabelled items, scored by BALD" in out
    table = pd.read_csv(written)
    assert list(table) == ["index", "key", "score", "predicted", "probability"]
    assert table["index"].is_monotonic_increasing
    history = Journal.read_history(run)
    asked = [index for round in history for index in round.indices]
    assert len(table) + 10 + len(asked) == NUM_POINTS
    assert not set(asked) & set(table["index"])
    top = table.nlargest(10, "score")
    for index, score in zip(top["index"], top["score"], strict=True):
        assert f"{index}" in out
        assert f"{score:.4f}" in out
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name in before} == before
    begin(run, "active.budget=20")
    query = Journal.read_history(run)[1]
    assert query.indices == table.nlargest(5, "score")["index"].tolist()
    assert np.allclose(query.scores, table.nlargest(5, "score")["score"], rtol=0, atol=1e-12)


@pytest.mark.long
def test_a_finished_run_is_scored_with_its_model(run: Path, said: Any, tmp_path: Path) -> None:
    said(run)
    torch.save({"state_dict": load_weights(run, "warm-1")}, run / "model.ckpt")
    (run / "warm-1.pt").unlink()
    options = ["--acquisition", "entropy", "--posterior", "deterministic", "--probabilities", "--unscorable", "skip"]
    out = said(run, "--out", tmp_path / "elsewhere.csv", *options)
    assert f"{tmp_path / 'elsewhere.csv'}: 85 unlabelled items, scored by Entropy" in out
    first, table = pd.read_csv(run / "predictions.csv"), pd.read_csv(tmp_path / "elsewhere.csv")
    assert list(table.columns[5:]) == [*(f"probability_{number}" for number in range(10)), "unscorable"]
    assert table["unscorable"].isna().all()
    assert table["index"].equals(first["index"])
    probs_N_C = table.filter(like="probability_").to_numpy()
    assert np.allclose(table["score"], -(probs_N_C * np.log(probs_N_C)).sum(1), atol=1e-5)
    said(run)
    assert pd.read_csv(run / "predictions.csv").equals(first)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, run / "model.ckpt")
    assert "model.ckpt has no weights for a `Classifier`: Error(s) in loading" in said(run, code=2)


@pytest.mark.long
def test_a_run_without_weights_says_how_to_get_them(run: Path, said: Any) -> None:
    for weights in ("warm-1.pt", "model.ckpt"):
        (run / weights).unlink()
    told = said(run, code=2)
    assert told.startswith(f"lightning-al-score: The run in {run} has no weights of its last fit. Resume it by ")
    assert f"`lightning-al folder={run} active.budget=16`" in told
    assert told.count("\n") == 1


@pytest.mark.long
def test_what_a_folder_may_not_say_is_said_to_this_command(run: Path, said: Any, tmp_path: Path) -> None:
    change(run, "trainer.default_root_dir", str(tmp_path / "elsewhere"))
    told = said(run, code=2)
    again = f"++trainer.default_root_dir={tmp_path / 'elsewhere'}"
    assert f"Give them again, or give other values: lightning-al-score {run} {again}" in told
    assert "scored by BALD" in said(run, again)
    named = run.rename(tmp_path / "größe, it's")
    change(named, "trainer.default_root_dir", str(tmp_path / "else where"))
    command = shlex.split(said(named, code=2).partition("or give other values: ")[2])
    assert command[:2] == ["lightning-al-score", str(named)]
    assert "scored by BALD" in said(*command[1:])
    named.rename(run)
    change(run, "trainer.default_root_dir", str(tmp_path / "elsewhere"))
    change(run, "model._target_", "tests.cli.test_score.change")
    told = said(run, again, code=2)
    assert "`tests` is not on the list, and was not imported" in told
    assert "allow it on the command line: --allow tests.cli.test_score.change." in told
    assert "cannot resume" not in told


REFUSED = {
    "a folder of nothing": (["{run}/no"], "There is no run in {run}/no"),
    "a method for batches": (["{run}", "--acquisition", "batchbald"], "gives single items no score"),
    "an unknown method": (["{run}", "--acquisition", "bold"], "There is no acquisition function named 'bold'"),
    "another setting": (["{run}", "model.lr=3"], "was started with other settings: model.lr (stored 0.001, asked 3)"),
    "no setting": (["{run}", "nope=3"], "Could not override 'nope'"),
    "a file of the run": (["{run}", "--out", "{run}/journal.sqlite"], "has the name of a file that a run keeps"),
    "a folder for a file": (["{run}", "--out", "{run}"], "--out {run} is a folder. Name a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_said_in_a_line(run: Path, said: Any, case: str) -> None:
    arguments, expected = REFUSED[case]
    told = said(*(argument.format(run=run) for argument in arguments), code=2)
    assert told.startswith("lightning-al-score: ")
    assert told.count("\n") == 1
    assert expected.format(run=run) in told


def test_a_run_of_a_program_is_left_to_the_program(run: Path, said: Any) -> None:
    (run / "config.yaml").unlink()
    assert "has no config.yaml, so its run is not of the command line. Call `lightning_al.score_pool`" in said(
        run, code=2
    )


def test_labels_of_the_folder_are_those_of_its_data(run: Path, said: Any) -> None:
    change(run, "pool.seed", 5)
    assert f"The run folder {run}" in said(run, code=2)


def test_a_run_that_has_not_begun_is_refused(said: Any, tmp_path: Path) -> None:
    Journal(tmp_path / "run").close()  # as a process leaves it that is killed at once
    assert f"The run in {tmp_path / 'run'} has not begun. Run `lightning-al folder=" in said(tmp_path / "run", code=2)


def test_a_run_that_waits_for_labels_has_the_weights_of_its_last_fit(tmp_path: Path) -> None:
    active = ActiveLearning("entropy", query_size=4, folder=tmp_path / "run", oracle=lambda query: {})
    module, data = LitMLP(), ActiveDataModule(points(40), initial=list(range(8)))
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    assert len(active.pending) == 4
    again = LitMLP()
    put_last_weights(Journal.read(tmp_path / "run"), tmp_path / "run", active, again)
    assert all(map(torch.equal, again.parameters(), module.parameters()))


@pytest.mark.long
def test_the_pool_of_a_run_with_a_share_for_its_audit(said: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(folder, *TINY, "active.budget=15", "pool.audit=0.2", "acquisition=bald")
    records = Journal.read(folder)
    audit = set(records.header["audit"])
    said(folder)
    scored = set(pd.read_csv(folder / "predictions.csv")["index"])
    assert len(audit) == 3
    assert len(scored) == NUM_POINTS - 15
    assert not scored & audit


@pytest.mark.long
def test_a_program_gets_the_model_of_a_finished_run(run: Path, said: Callable[..., str]) -> None:
    said(run, "--posterior", "deterministic", "--acquisition", "entropy")
    table = pd.read_csv(run / "predictions.csv")
    model, classes = load_model(run)
    assert not model.training
    trained = torch.load(run / "model.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    digits = Digits()
    digits.setup()
    with torch.no_grad():
        logits = model(digits.train.tensors[0][table["index"].tolist()])
    named = [classes[number] if classes else number for number in logits.argmax(1).tolist()]
    assert list(table["predicted"].astype(str)) == list(map(str, named))


def test_a_program_loads_its_own_model_by_itself(tmp_path: Path) -> None:
    data = ActiveDataModule(points(20), initial_size=4, seed=0)
    active = ActiveLearning("random", query_size=2, max_rounds=1, posterior="deterministic", folder=tmp_path / "run")
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)
    with pytest.raises(ValueError, match=r"load its model.ckpt there by `load_from_checkpoint`"):
        load_model(tmp_path / "run")
