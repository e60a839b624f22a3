"""A query on the digits by the file of each acquisition function."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_al import available
from lightning_al.report import Run
from tests.cli.test_cli import TINY
from tests.support.commands import run

pytestmark = pytest.mark.usefixtures("as_before")


FEWER = {
    # tests/acquisition/test_bait.py has the matrices of all classes.
    "bait": ["acquisition.num_classes=3"],
    "batch_epig": ["acquisition.num_target_inputs=5", "acquisition.num_configurations=10"],
}
"""What makes a costly method fast."""


LIKE_ANOTHER = {"least_confidence", "margin", "variation_ratio", "power_margin", "softmax_bald", "softrank_bald"}
"""Those that read what `entropy` or `power_bald` reads, by the same lines; tests/cli/test_conf.py makes each."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LIKE_ANOTHER else name
        for name in (*available(), "class_balanced", "subsample")
    ],
)
def test_a_query_on_the_digits(name: str, tmp_path: Path) -> None:
    run(
        tmp_path / "run",
        *TINY,
        f"acquisition={name}",
        *FEWER.get(name, ()),
        "active.budget=15",
        "trainer.max_steps=1",
        "seed=3",
    )
    assert [len(set(indices)) for indices in Run.read(tmp_path / "run").indices] == [5, 0]
