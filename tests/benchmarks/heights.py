"""How high are the methods' curves at some numbers of labels, on average over seeds? As the tables of docs/pages/found.

Run on demand on a sweep's folder, ``python -m tests.benchmarks.heights sweeps/digits 20 40 60 80 100``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightning_al.report import group_runs, load_runs
from lightning_al.report.comparison import compare


def main() -> None:
    """Print a line for each method: the mean at each number of labels, and the normalised area under the curve."""
    folder, *labels = sys.argv[1:]
    for method in compare(group_runs(load_runs(Path(folder)))):
        counts, means, _ = method.mean_curve()
        at = dict(zip(counts, means, strict=True))
        heights = [f"{at[int(count)]:.3f}" for count in labels]
        print(f"| {method.name}, {len(method.runs)} seeds | {' | '.join(heights)} | {method.mean_area:.3f} |")


if __name__ == "__main__":
    main()
