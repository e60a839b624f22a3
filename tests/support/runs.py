"""Runs that no one ran, for the tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import yaml

from lightning_al.report import Run
from lightning_al.report.curves import area_or_nan
from lightning_al.run.history import Round
from lightning_al.run.journal import Journal
from lightning_al.task.class_names import Classes


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
        area=area_or_nan(labels, values),
        **plain,
    )


def rounds(
    heights: Sequence[float], *, metric: str = "test_acc", first: int = 10, step: int = 10, finished: bool = True
) -> list[Round]:
    """Make rounds whose metric takes these heights; those of class 1 are asked for twice as often as of class 0."""
    made = []
    for number, height in enumerate(heights):
        labelled = first + step * number
        is_last = finished and number == len(heights) - 1
        indices = [] if is_last else list(range(labelled, labelled + step))
        made.append(
            Round(
                number=number,
                labelled=labelled,
                indices=indices,
                scores=[0.5] * len(indices),
                class_counts={0: 5 + number * step // 3, 1: labelled - 5 - number * step // 3},
                metrics={metric: height, "test_loss": 1 - height},
                seconds={"fit": 2.0, "score": 1.0, "select": 0.5} if indices else {"fit": 2.0},
                validation_labels=7,
                peak_bytes={"fit": 2**30, "score": 2**31},
                details={
                    "information": [1.0, 2.0],
                    "standard_error": [0.0, 0.25],
                    "log_num_samples": log(20),
                    "share_used": 2.0 / log(20),
                    "picks_below_noise": 1.0,
                    "shortfall": 0.0,
                }
                if indices
                else {},
            )
        )
    return made


def config(name: str, acquisition: str, seed: int, **changes: Any) -> dict[str, Any]:
    """What a run of the command line keeps of its settings, as far as the report reads them."""
    plain: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "metric": "test_acc",
        "threads": 1,
        "active": {"query_size": 10, "budget": 30, "seed": "${seed}", "acquisition": "${acquisition}"},
        "acquisition": {"_target_": f"lightning_al.acquisition.{acquisition}"},
        "data": {"_target_": "lightning_al.demos.Digits", "noise": 0.0, "seed": "${seed}", "root": None},
        "trainer": {"max_steps": 500, "default_root_dir": "${hydra:runtime.output_dir}"},
    }
    for key, value in changes.items():
        part, _, rest = key.partition("__")
        if rest:
            plain[part][rest] = value
        else:
            plain[part] = value
    return plain


def record(
    folder: Path,
    heights: Sequence[float] = (0.5, 0.6, 0.7),
    *,
    name: str = "bald",
    acquisition: str = "BALD",
    seed: int = 0,
    metric: str = "test_acc",
    finished: bool = True,
    keep_open: bool = False,
    classes: Sequence[str] = (),
    label_seconds: float = 0.0,
    audit: dict[str, float] | None = None,
    is_measured: bool = True,
    **changes: Any,
) -> Journal:
    """Keep a run in a folder as the command line does, and return its journal.

    Its classes have names if they are given, and before each fit people have labelled for so many seconds more. Each
    model is judged by these audit points. A run that measured nothing names no metric and has no summary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = config(name, acquisition, seed, metric=metric if is_measured else None, **changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    journal = Journal(folder)
    names = {"classes": Classes({name: number for number, name in enumerate(classes)}).to_dict()} if classes else {}
    journal.begin({"seed": seed, **names})
    for round in rounds(heights, metric=metric, finished=finished):
        round = replace(round, label_seconds=label_seconds * (round.number + 1), audit=audit or {})
        journal.append(round if is_measured else replace(round, metrics={}), labels={})
    if finished and is_measured:
        summary = Run.from_history(
            journal.history, name=name, acquisition=acquisition, seed=seed, metric=metric, initial=[0], settings={}
        )
        summary.write(folder)
    if not keep_open:
        journal.close()
    return journal


def record_study(folder: Path, seeds: int = 8) -> None:
    """Keep a study of random choice and BALD, whose curve lies 0.1 and a little more with each seed above."""
    for seed in range(seeds):
        low = [0.5 + 0.01 * seed, 0.6, 0.7]
        record(folder / f"random-{seed}", low, name="random", acquisition="Random", seed=seed)
        record(folder / f"bald-{seed}", [low[0], 0.7 + 0.01 * seed, 0.9], seed=seed)
