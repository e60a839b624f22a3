"""A run of five rounds for the journal's tests: its header, its rounds, and the labels given after each."""

from __future__ import annotations

from pathlib import Path

from lightning_al.run.history import Round
from lightning_al.run.journal import Journal

HEADER = {"seed": 3, "initial": [5, 1]}

ROUNDS = [
    Round(0, 2, [7, 4], [0.5, 0.25], {0: 1, 1: 1}, {"acc": 0.1 + 0.2}, {"fit": 1.5}, 20, 16),
    Round(1, 4, [9], [1e-9], None, {"acc": 0.75}, {"fit": 2.5}, 20, 16, "posterior"),
    Round(2, 5, list(range(20, 150)), [1 / (1 + place) for place in range(130)], {0: 3, 1: 2}),
    Round(3, 135, [8], [0.125], {0: 70, 1: 65}, {"acc": 0.875}, details={"picks": [0.5, 0.25]}),
    Round(4, 136, [], [], {0: 70, 1: 66}),
]
"""The third is longer than a page of the database."""

LABELS = [{7: 1, 4: None}, {9: [0.5, 0.5]}, {index: index % 2 for index in range(20, 150)}, {8: None}, {}]


def write(folder: Path, rounds: int) -> None:
    """Write the header and the first rounds to a folder."""
    journal = Journal(folder)
    journal.begin(HEADER)
    for round, labels in zip(ROUNDS[:rounds], LABELS[:rounds], strict=True):
        journal.append(round, labels)
    journal.close()
