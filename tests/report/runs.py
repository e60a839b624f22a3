"""Runs that no one ran, for the tests of what is made of them."""

from __future__ import annotations

from typing import Any

from lightning_al.report import Run, area_under_curve


def run(name: str = "bald", acquisition: str = "BALD", *, seed: int = 0, height: float = 0.5, **changes: Any) -> Run:
    """Make a run with a straight curve from `height` to `height` + 0.2 over 10 to 30 labels."""
    labels = changes.pop("labels", [10, 20, 30])
    values = changes.pop("values", [height + 0.2 * place / (len(labels) - 1) for place in range(len(labels))])
    plain: dict[str, Any] = {
        "metric": "test_acc",
        "initial": [0],
        "indices": [[1, 2], [3], []],
        "validation_labels": 0,
        "seconds": 1.5,
        "settings": {"active.query_size": 10},
        "versions": {"torch": "2"},
        **changes,
    }
    return Run(
        name=name,
        acquisition=acquisition,
        seed=seed,
        labels=labels,
        values=values,
        area=area_under_curve(labels, values),
        **plain,
    )
