"""Commands whose run awaits answers: they end with an exit code of their own, and the same command resumes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_digits

from lightning_al import ActiveLearning
from lightning_al.cli.waiting import WAITING
from lightning_al.demos.digits import Digits
from lightning_al.oracle.label_studio.client import TOKEN
from lightning_al.run.journal import Journal
from tests.support.commands import run
from tests.support.page import person

TINY = [
    "data.test_size=1697",  # a pool of 100, and the first batch of the test
    "+trainer.limit_test_batches=1",
    "trainer.max_steps=2",
    "pool.samples_per_epoch=32",
    "active.query_size=4",
    "active.budget=14",
    "posterior=deterministic",
    "acquisition=entropy",
    "callbacks=none",
    "trainer.enable_progress_bar=false",
    "logger=none",
]

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.mark.long
def test_the_same_command_goes_on_once_the_answers_are_told(
    command: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        command(*TINY, "oracle=ask", f"folder={folder}")
    assert ended.value.code == WAITING == 75
    said = capfd.readouterr().out
    [line] = [line for line in said.splitlines() if line.startswith("Waiting for")]
    how = r"Tell them by `ActiveLearning\(\.\.\.\)\.tell`, then run: "
    assert re.fullmatch(rf"Waiting for 4 answers for round 0\. {how}lightning-al folder=.*run", line)
    active = ActiveLearning("entropy", query_size=4, oracle="ask", folder=folder, posterior="deterministic")
    query = active.pending
    assert query is not None
    active.tell(dict.fromkeys(query, 3))
    run(folder)
    assert "mean test_acc" in capfd.readouterr().out
    assert Journal.read(folder).labels[0] == dict.fromkeys(query.indices, 3)


@pytest.mark.parametrize("oracle", ["ask", pytest.param("files", marks=pytest.mark.slow)])  # by the same line
def test_a_sweep_is_refused_before_its_first_cell(refused: Any, tmp_path: Path, oracle: str) -> None:
    said = refused("-m", *TINY, f"oracle={oracle}", "seed=0,1", f"folder={tmp_path / 'sweep'}")
    assert f"`oracle={oracle}` is answered between two commands, so it cannot answer the cells of a sweep" in said
    assert not list((tmp_path / "sweep").glob("*/journal.sqlite"))


@pytest.mark.long
def test_files_say_which_one_to_fill_in(refused: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        run(folder, *TINY, "oracle=files")
    assert ended.value.code == WAITING
    table = folder / "queries" / "round-000.csv"
    assert (
        f"Write the labels into {table} (round-000.html shows the items), then run: lightning-al"
        in capfd.readouterr().out
    )
    labels = load_digits().target
    header, *lines = table.read_text().splitlines()
    columns = header.split(",")
    filled = [line.split(",") for line in lines]
    filled[0][columns.index("label")] = "eleven"
    table.write_text("\n".join([header, *(",".join(row) for row in filled)]))
    [line] = refused(f"folder={folder}").splitlines()
    assert line.startswith("lightning-al: `Files` was asked to label the indices")
    assert line.endswith("Then run the command again, which only asks for the rest.")
    for row in filled:
        row[columns.index("label")] = str(labels[0])
    table.write_text("\n".join([header, *(",".join(row) for row in filled)]))
    run(folder)
    assert "mean test_acc" in capfd.readouterr().out


def test_people_who_err_are_simulated(tmp_path: Path) -> None:
    run(tmp_path / "run", *TINY, "oracle=noisy", "oracle.label_noise=1")
    [labels] = [labels for labels in Journal.read(tmp_path / "run").labels if labels]
    digits = Digits(test_size=1697)
    digits.setup()
    truth = digits.train.tensors[1]
    assert len(labels) == 4
    assert all(label != truth[index] for index, label in labels.items())


@pytest.mark.long
def test_a_page_is_served_and_the_command_ends_while_it_waits(
    command: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    names = ",".join(f"digit-{digit}" for digit in range(10))
    page = ["oracle=page", "oracle.wait=exit", "oracle.open_browser=false", f"pool.classes=[{names}]"]
    with person(folder), pytest.raises(SystemExit) as ended:
        command(*TINY, *page, f"folder={folder}")
    assert ended.value.code == WAITING
    address, said = r"http://127\.0\.0\.1:\d+/\?token=\S+", "".join(capfd.readouterr())
    assert re.search(rf"Waiting for 4 answers for round 0\. Open {address}, then run: ", said)
    assert len(re.findall(rf"^`Page`: label at {address}$", said, re.MULTILINE)) == 1  # before it waits


def test_a_server_for_labels_needs_a_token(refused: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    said = refused(*TINY, "oracle=label_studio", f"folder={tmp_path / 'run'}")
    assert said.startswith(f"lightning-al: `LabelStudio` found no token. Set the environment variable {TOKEN}")
    assert len(said.splitlines()) == 1
