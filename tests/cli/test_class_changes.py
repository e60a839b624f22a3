"""Classes that are added and renamed on the command line, between two starts of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from lightning_al import Oracle, Other, Query
from lightning_al.cli.journal import main as journal_main
from lightning_al.cli.score import main as score_main
from lightning_al.run.journal import Journal
from tests.cli.test_own_data import SETTINGS
from tests.support.commands import refusal
from tests.support.commands import run as begin

ME = f"{__name__}.FindsBigOnes"
OWN = [one for one in SETTINGS if not one.startswith(("oracle", "allow"))] + [f"oracle._target_={ME}"]

pytestmark = pytest.mark.usefixtures("as_before")


class FindsBigOnes(Oracle):
    """Answers whether a digit is even or odd, but that it is big, which no class is, from six on."""

    def label(self, query: Query) -> Mapping[int, Any]:
        digits = load_digits().target
        return {index: Other("big") if digits[index] > 5 else int(digits[index]) % 2 for index in query}


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    header = [f"p{place}" for place in range(20, 28)]
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *load_digits().data[:40, 20:28].tolist()])
    return [*OWN, "data=table", f"data.path={path}", f"data.columns=[{','.join(header)}]", f"folder={tmp_path / 'run'}"]


# The same run again, but for one setting.
OF_GIVEN_SIZE = pytest.param(["model.num_classes=2"], id="a number", marks=pytest.mark.slow)


@pytest.mark.long
@pytest.mark.parametrize("size", [pytest.param([], id="null"), OF_GIVEN_SIZE])
def test_the_same_folder_goes_on_with_more_classes(
    command: Any, settings: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], size: list[str]
) -> None:
    run, allow = tmp_path / "run", f"allow=[{ME}]"
    begin(run, *settings, *size, allow)
    before = Journal.read(run)
    big = [index for labels in before.labels for index, label in labels.items() if isinstance(label, dict)]
    assert big
    assert journal_main(["add-class", str(run), "big"]) == 0
    assert "answers 'other: big' became labels" in capfd.readouterr().out
    assert score_main([str(run), "--allow", ME]) == 2
    assert "has a class that was added since its last fit" in capfd.readouterr().err
    # What is known of the old classes is no longer right, for the settings as for the journal.
    assert "(stored ['even', 'odd', 'big'], asked ['even', 'odd'])" in refusal(run, *settings, *size, allow)
    begin(run, allow)
    after = Journal.read_history(run)
    assert list(after)[: len(before.rounds) - 1] == list(before.history)[:-1]
    assert after[-1].class_counts[2] >= len(big)
    weights = torch.load(run / "model.ckpt", weights_only=True)["state_dict"]
    assert len(weights[max(name for name in weights if name.endswith("weight"))]) == 3
    again = [one for one in settings if not one.startswith("data.classes")]
    command(*again, *(["model.num_classes=3"] if size else []), "data.classes=[even,odd,big]", allow)
    assert score_main([str(run), "--allow", ME, "--probabilities"]) == 0
    assert "big" in (run / "predictions.csv").read_text().splitlines()[0]


@pytest.mark.slow
def test_a_renamed_class_has_its_new_name_in_all_files(command: Any, settings: list[str], tmp_path: Path) -> None:
    run, allow = tmp_path / "run", f"allow=[{ME}]"
    command(*settings, allow, "active.max_rounds=2")
    assert journal_main(["rename-class", str(run), "odd", "uneven"]) == 0
    command(f"folder={run}", "active.max_rounds=3", allow)
    assert ",uneven," in (run / "labels.csv").read_text()
    assert ",odd," not in (run / "labels.csv").read_text()
