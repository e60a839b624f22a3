"""What share of the images asked for are copies of images that were asked for, or labelled, before?

Run on demand on a sweep over the repeated digits, ``python -m tests.benchmarks.copies sweeps/digits_repeated``. It
reads the summaries of its finished runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

from lightning_al.demos import Digits
from lightning_al.report import Run, group_runs, load_runs


def share_of_copies(run: Run, images: int) -> float:
    """Return the share of a run's picks that show an image which has a label.

    Args:
        run: The run.
        images: How many different images there are; a dataset of copies holds all of them, then all of them again.
    """
    labelled = {index % images for index in run.initial}
    picks = [index for indices in run.indices for index in indices]
    copies = 0
    for index in picks:
        copies += index % images in labelled
        labelled.add(index % images)
    return copies / len(picks)


def main() -> None:
    """Print the share for each method, over its seeds."""
    digits = Digits()
    digits.setup("fit")
    images = len(digits.train)
    for method, runs in group_runs(load_runs(Path(sys.argv[1]))).items():
        shares = [share_of_copies(run, images) for run in runs]
        print(f"{method}: {mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%} over {len(shares)} seeds)")


if __name__ == "__main__":
    main()
