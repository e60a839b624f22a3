from __future__ import annotations

import pytest

from lightning_al.report.settings import differing, flat, of_task, tells_apart
from tests.support.runs import config


def settings(**changes):
    return flat(config(**{"name": "bald", "acquisition": "BALD", "seed": 0, **changes}))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3},
        {"name": "other"},
        {"metric": "val_acc"},
        {"threads": 4},
        {"trainer__accelerator": "gpu"},
        {"active__budget": 300},
        {"data__root": "elsewhere"},
        {"trainer__default_root_dir": "${hydra:runtime.cwd}"},
        {"trainer__enable_progress_bar": False},
        {"logger": {"csv": {"name": "csv"}}},
        {"allow": ["package"]},
    ],
)
def test_what_makes_no_other_method(change):
    assert tells_apart(settings(**change)) == tells_apart(settings())


@pytest.mark.parametrize(
    ("change", "makes_another_task"),
    [
        ({"active__query_size": 20}, False),
        ({"posterior": {"num_samples": 50}}, False),
        ({"acquisition": "Entropy"}, False),
        ({"data__noise": 0.1}, True),
        ({"trainer__max_steps": 100}, True),
        ({"active__reset": "warm"}, True),
        ({"callbacks": {"early_stopping": {"patience": 3}}}, True),
    ],
)
def test_what_makes_another_method_or_another_task(change, makes_another_task):
    assert tells_apart(settings(**change)) != tells_apart(settings())
    assert (of_task(settings(**change)) != of_task(settings())) is makes_another_task


def test_what_is_not_set_is_as_if_it_were_not_there():
    assert differing([{"a": None, "b": 1}, {"b": 2}]) == ["b"]


def test_so_many_settings_are_no_configuration():
    with pytest.raises(ValueError, match=r"more than 5000 settings\. Put back its"):
        flat({number: number for number in range(5001)})
