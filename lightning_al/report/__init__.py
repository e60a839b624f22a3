"""Curves, statistics, tables and pictures over finished runs, and a report of them.

Names are imported when first used, so that the report's command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "lightning_al.report.comparison": ["Method", "Pair", "compare", "compare_pairs"],
    "lightning_al.report.curves": ["area_under_curve", "labels_to_reach"],
    "lightning_al.report.divergence": ["chance_level"],
    "lightning_al.report.runs": ["Run", "group_runs", "load_runs"],
    "lightning_al.report.statistics": ["PairedDifference", "holm", "paired_difference", "sign_flip_p"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Method",
    "Pair",
    "PairedDifference",
    "Run",
    "area_under_curve",
    "chance_level",
    "compare",
    "compare_pairs",
    "group_runs",
    "holm",
    "labels_to_reach",
    "load_runs",
    "paired_difference",
    "sign_flip_p",
]

if TYPE_CHECKING:
    from lightning_al.report.comparison import Method, Pair, compare, compare_pairs
    from lightning_al.report.curves import area_under_curve, labels_to_reach
    from lightning_al.report.divergence import chance_level
    from lightning_al.report.runs import Run, group_runs, load_runs
    from lightning_al.report.statistics import PairedDifference, holm, paired_difference, sign_flip_p


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
