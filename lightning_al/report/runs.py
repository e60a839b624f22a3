"""Finished runs, as the summaries in their folders."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lightning_al.report.curves import area_or_nan
from lightning_al.report.direction import Mode
from lightning_al.report.settings import differing, tells_apart
from lightning_al.run.files import is_absurd, read_json, replacing
from lightning_al.run.folder import SUMMARY
from lightning_al.run.history import History, Round

PACKAGES = ("lightning_al", "pytorch-lightning", "torch", "torchmetrics", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Run:
    """A finished run: its method, its learning curve, and what it queried.

    Attributes:
        name: Name of its method.
        acquisition: Class of the acquisition function.
        seed: Seed of the run; runs with the same seed are compared as a pair.
        metric: Name of the metric on the curve.
        labels: Training labels at each recorded round.
        values: The metric after the fit with so many labels.
        area: Normalised area under the curve, the endpoint; NaN if the run diverged.
        initial: Dataset indices labelled at the start.
        indices: Dataset indices queried after each round, in the order of choice.
        validation_labels: Number of validation labels that the run used as well.
        seconds: Wall time over all rounds.
        settings: All settings of the run, flat, by their dotted name.
        versions: Version of each package that the result depends on.
        mode: Whether less or more of the metric is better ("min" or "max"), if that was given.
        num_classes: Least number of classes that its training labels imply, or None if they are not class numbers.
    """

    name: str
    acquisition: str
    seed: int
    metric: str
    labels: list[int]
    values: list[float]
    area: float
    initial: list[int]
    indices: list[list[int]]
    validation_labels: int
    seconds: float
    settings: dict[str, Any]
    versions: dict[str, str]
    mode: Mode | None = None
    num_classes: int | None = None

    @property
    def has_diverged(self) -> bool:
        """Whether the metric is NaN or infinite in some round."""
        return not all(map(isfinite, self.values))

    @classmethod
    def from_history(
        cls,
        history: History,
        *,
        name: str,
        acquisition: str,
        seed: int,
        metric: str,
        initial: Sequence[int],
        settings: Mapping[str, Any],
        mode: Mode | None = None,
        versions: Mapping[str, str] | None = None,
        with_validation_labels: bool = False,
    ) -> Run:
        """Make the summary of a history.

        Args:
            history: The rounds of the run.
            name: Name of its method.
            acquisition: Class of the acquisition function.
            seed: Seed of the run.
            metric: Name of the metric on the curve.
            initial: Dataset indices labelled at the start.
            settings: All settings of the run, flat, by their dotted name.
            mode: Whether less or more of the metric is better.
            versions: Version of each package; by default those installed.
            with_validation_labels: Whether the curve counts validation labels as well.

        Raises:
            KeyError: If no round has the metric; the message lists those there are.
        """
        labels, values = history.curve(metric)
        if with_validation_labels:
            labels = [round.spent + round.validation_labels for round in history if metric in round.metrics]
        return cls(
            name=name,
            acquisition=acquisition,
            seed=seed,
            metric=metric,
            labels=labels,
            values=values,
            area=area_or_nan(labels, values),
            initial=list(initial),
            indices=[list(round.indices) for round in history],
            validation_labels=0 if with_validation_labels else max(round.validation_labels for round in history),
            seconds=sum(sum(round.seconds.values()) for round in history),
            settings=dict(settings),
            versions={package: version(package) for package in PACKAGES} if versions is None else dict(versions),
            mode=mode,
            num_classes=num_classes(history),
        )

    def write(self, folder: Path) -> None:
        """Write the run into its folder as ``summary.json``, with null for NaN and infinity, which JSON lacks."""
        plain = asdict(self)
        plain["values"] = [value if isfinite(value) else None for value in self.values]
        plain["area"] = self.area if isfinite(self.area) else None
        with replacing(folder / SUMMARY) as path:
            path.write_text(json.dumps(plain, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read the run of a folder.

        Raises:
            FileNotFoundError: If no run has finished there.
            ValueError: If the file is not a whole summary.
        """
        path = folder / SUMMARY
        try:
            plain = read_json(path)
            # An earlier version wrote only the fields without a default.
            known = {field.name: plain.get(field.name, field.default) for field in fields(cls)}
            missing = [name for name, value in known.items() if value is MISSING]
            if missing:
                raise KeyError(missing[0])
            for name in ("name", "metric"):  # an earlier version wrote names that look like numbers as numbers
                known[name] = str(known[name]) if type(known[name]) in (int, float) else known[name]
            known["values"] = [nan if value is None else value for value in known["values"]]
            known["area"] = nan if known["area"] is None else known["area"]
            run = cls(**known)
            _check(run)
            return run
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # not JSON, or not text
            reason = str(error).rstrip(".")
            raise ValueError(
                f"{path} is not the summary of a run: {type(error).__name__}: {reason}. Remove it and run again with "
                f"folder={folder} to have it written anew."
            ) from error


def num_classes(history: Iterable[Round]) -> int | None:
    """Return the least number of classes that the labels of some rounds imply, or None if they are not class numbers.

    >>> num_classes([Round(0, 3, [], [], class_counts={0: 1, 4: 2})])
    5
    """
    return max((label + 1 for round in history for label in round.class_counts or {}), default=None)


def _check(run: Run) -> None:
    """Refuse values that no run writes.

    Raises:
        TypeError, ValueError: If the run holds one.
    """
    counts: list[Any] = [run.seed, run.validation_labels, *run.labels, *run.initial]
    counts += [index for query in run.indices for index in query]
    figures: list[Any] = [run.area, run.seconds, *run.values]
    texts: list[Any] = [run.name, run.acquisition, run.metric, *dict(run.settings)]
    texts += [text for pair in run.versions.items() for text in pair]
    for kind, found in ((int, counts), (int | float, figures), (str, texts)):
        wrong = [value for value in found if not isinstance(value, kind) or is_absurd(value)]
        if wrong:
            raise ValueError(f"it holds {wrong[0]!r:.80}. Put back a copy of the folder from before.")
    if len(run.labels) != len(run.values) or not run.labels:
        raise ValueError(f"it has {len(run.labels)} labels and {len(run.values)} values. Put back a copy from before.")


def load_runs(folder: Path) -> list[Run]:
    """Read all finished runs in a folder and the folders below."""
    return [Run.read(path.parent) for path in sorted(folder.rglob(SUMMARY))]


class Named(Protocol):
    """What runs are grouped by."""

    @property
    def name(self) -> str:
        """Name of its method."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings by dotted name."""


Member = TypeVar("Member", bound=Named)


def group_runs(runs: Iterable[Member]) -> dict[str, list[Member]]:
    """Group runs by method, in the order of their seeds.

    If runs of one name have different settings, these complete the name. Settings that make no other method do not
    count: seeds, budgets, paths and what is only shown. A setting is named by the last part of its dotted name where
    that is unique.

    Raises:
        ValueError: If two runs of a method have the same seed.
    """
    by_name: dict[str, list[Member]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    methods: dict[str, list[Member]] = {}
    for name, namesakes in by_name.items():
        keys = differing([tells_apart(run.settings) for run in namesakes])
        short = _short(keys)
        for run in sorted(namesakes, key=lambda run: run.seed):
            method = " ".join([name, *(f"{short[key]}={run.settings.get(key)}" for key in keys)])
            methods.setdefault(method, []).append(run)
    for method, same in methods.items():
        seeds = [run.seed for run in same]
        if len(set(seeds)) < len(seeds):
            raise ValueError(
                f"Two runs of {method} have the same seed and settings; their seeds are {seeds}. Remove all but one of "
                "a seed."
            )
    return methods


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each dotted name, or all of it where the last part is ambiguous."""
    last = {key: key.split(".")[-1] for key in keys}
    alike = Counter(last.values())
    return {key: last[key] if alike[last[key]] == 1 and last[key] != "_target_" else key for key in keys}
