"""Curves, statistics, tables and pictures over finished runs."""

from lightning_al.report.curves import area_under_curve, labels_to_reach
from lightning_al.report.runs import Run, group_runs, load_runs
from lightning_al.report.statistics import PairedDifference, holm, paired_difference, sign_flip_p

__all__ = [
    "PairedDifference",
    "Run",
    "area_under_curve",
    "group_runs",
    "holm",
    "labels_to_reach",
    "load_runs",
    "paired_difference",
    "sign_flip_p",
]
