"""What do the committed curves of a study say? Areas, and a family of comparisons chosen before the study ran.

Run on demand on a table of examples/results with a row for each run and number of labels (method, seed, labels, value):

    python -m tests.benchmarks.family examples/results/digits_features.csv uherding:random margin:random

Each pair is compared by the normalised area under its curves, paired by seed: exact sign-flip tests, Holm-corrected for
the pairs that are given. With ``--up-to`` and ``--seeds``, only so many labels and the first seeds count.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

import pandas as pd

from lightning_al.report import area_under_curve
from lightning_al.report.statistics import holm, paired_difference
from tests.benchmarks.printing import Report


def main() -> None:
    """Print a row for each method, and one for each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("pairs", nargs="*", metavar="METHOD:OTHER")
    parser.add_argument("--up-to", type=int, default=10**9)
    parser.add_argument("--seeds", type=int, default=10**9)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    table = pd.read_csv(args.table)
    table = table[(table.labels <= args.up_to) & (table.seed < args.seeds)]
    metric = str(table.columns[-1])
    runs = {key: run.sort_values("labels") for key, run in table.groupby(["method", "seed"])}
    areas = {key: area_under_curve(run.labels.tolist(), run[metric].tolist()) for key, run in runs.items()}
    report = Report(None, args.markdown)
    at = table.groupby(["method", "labels"])[metric].mean().unstack()
    counts = [count for count in at.columns if at[count].notna().all()]
    rows = [
        [name, *(f"{at[count][name]:.3f}" for count in counts), f"{mean(area):.3f}", str(len(area))]
        for name in at.index
        for area in [[area for (method, _), area in areas.items() if method == name]]
    ]
    report.table(metric, ["method", *map(str, counts), "area", "seeds"], sorted(rows, key=lambda row: row[-2])[::-1])
    if not args.pairs:
        return
    compared = []
    for pair in args.pairs:
        method, other = pair.split(":")
        seeds = [seed for name, seed in areas if name == method and (other, seed) in areas]
        found = paired_difference([areas[method, seed] for seed in seeds], [areas[other, seed] for seed in seeds])
        compared.append((pair, found))
    corrected = holm([found.p_sign_flip for _, found in compared])
    rows = [
        [pair, f"{found.mean:+.3f}", f"{found.low:+.3f} to {found.high:+.3f}", f"{found.p_sign_flip:.4f}", f"{p:.3f}"]
        for (pair, found), p in zip(compared, corrected, strict=True)
    ]
    report.table("area, paired by seed", ["pair", "difference", "95 % interval", "sign-flip p", "corrected p"], rows)


if __name__ == "__main__":
    main()
