"""Two rounds on the digits by the file of each acquisition function."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_al import available
from lightning_al.report import Run
from tests.cli.test_cli import TINY
from tests.support.commands import run

pytestmark = pytest.mark.usefixtures("as_before")


FEWER = {
    # Matrices of all 10 classes would take 3 s, and tests/acquisition/test_bait.py has those of small networks.
    "bait": ["acquisition.num_classes=3"],
    "batch_epig": ["acquisition.num_target_inputs=5", "acquisition.num_configurations=10"],
}
"""What makes a costly method fast."""


@pytest.mark.parametrize("name", [*available(), "class_balanced", "subsample"])
def test_two_rounds_on_the_digits(name: str, tmp_path: Path) -> None:
    run(tmp_path / "run", *TINY, f"acquisition={name}", *FEWER.get(name, ()), "seed=3")
    assert [len(set(indices)) for indices in Run.read(tmp_path / "run").indices] == [5, 5, 0]
