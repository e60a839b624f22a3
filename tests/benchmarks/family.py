"""What do the committed curves of a study say? Areas, and a family of comparisons chosen before the study ran.

Run on demand on a table of examples/results with a row for each run and number of labels (method, seed, labels, value):

    python -m tests.benchmarks.family examples/results/digits_features.csv uherding:random margin:random

With ``--runs``, the table is first written anew from the finished runs below these folders. With ``--by``, settings
that differ between them become part of the method's name (``batchbald oracle.label_noise=0.1``).

Each pair is compared by the normalised area under its curves, paired by seed: exact sign-flip tests, Holm-corrected for
the pairs that are given. With ``--up-to`` and ``--seeds``, only so many labels and the first seeds count.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pandas as pd

from lightning_al.report import Run, area_under_curve
from lightning_al.report.runs import read_all
from lightning_al.report.statistics import holm, paired_difference
from tests.benchmarks.printing import Report


def main() -> None:
    """Print a row for each method, and one for each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("pairs", nargs="*", metavar="METHOD:OTHER")
    parser.add_argument("--up-to", type=int, default=10**9)
    parser.add_argument("--seeds", type=int, default=10**9)
    parser.add_argument("--runs", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--metric", help="with --runs: which metric, if not that of the curves")
    parser.add_argument("--by", nargs="+", default=(), metavar="SETTING")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_intermixed_args()
    if args.runs:
        write_table(args.table, read_all(args.runs)[0], args.metric, args.by)
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


def write_table(path: Path, runs: Sequence[Run], metric: str | None, by: Sequence[str]) -> None:
    """Write a row for each round of the finished runs; a method has one run a seed."""
    finished = [run.on(metric or run.metric) for run in runs if run.state == "finished"]
    names = {run.metric for run in finished}
    if len(names) != 1:
        raise SystemExit(f"The finished runs have curves of {sorted(names)}; choose one by --metric.")
    rows = [
        (" ".join([run.name, *(f"{name}={run.settings[name]}" for name in by)]), run.seed, labels, f"{value:.4f}")
        for run in finished
        for labels, value in zip(run.labels, run.values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["method", "seed", "labels", names.pop()])
    twice = table[table.duplicated(["method", "seed", "labels"])]
    if len(twice):
        name, seed = twice.iloc[0, :2]
        raise SystemExit(f"Several runs of {name} have seed {seed}; tell them apart by --by.")
    table.sort_values(["method", "seed", "labels"]).to_csv(path, index=False)


if __name__ == "__main__":
    main()
