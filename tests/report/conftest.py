"""Reports that several tests look at, each made once."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from lightning_al.report.command import main
from tests.support.runs import record, record_study

HOSTILE = [
    "<script>document.title='ran'</script>",
    "</style><img src=x onerror=document.title='ran'>",
    "\"'><svg onload=alert(1)>{{ 7 * 7 }}{% raw %}",
    r"$\frac{1$ and $x^2$",
    "_hidden",
    "日本語 größe \x1b[31m\u202e\ud800",
    "=HYPERLINK(1)",
    "x" * 5_000,
]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of eight seeds in `sweep`, and the report on them in `report`."""
    folder = tmp_path_factory.mktemp("study")
    record_study(folder / "sweep")
    assert main([str(folder / "sweep"), "--out", str(folder / "report"), "--target", "0.7", "--target", "0.95"]) == 0
    return folder


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on runs whose names, settings and folders would like to be more than text."""
    folder = tmp_path_factory.mktemp("hostile")
    record_study(folder / "runs", seeds=1)
    for place, name in enumerate(HOSTILE):
        record(
            folder / "runs" / f"<img src=x onerror=alert(1)>{place}",
            name=name,
            **{"acquisition__<b>": name, "posterior": {"<i>": name}},
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([str(folder / "runs"), "--out", str(folder / "report"), "--target", "0.7"]) == 0
    return folder / "report"
