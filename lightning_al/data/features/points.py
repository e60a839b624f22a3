"""The features of a datamodule's points, by their indices."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Subset

from lightning_al.data.features.arrays import Arrays
from lightning_al.data.features.encoding import Source
from lightning_al.data.features.frozen import CHECKED_ROWS, FrozenFeatures
from lightning_al.data.features.items import FeatureItems, rows_of
from lightning_al.data.from_datasets import FromDatasets
from lightning_al.data.target_inputs import TargetInputs
from lightning_al.host.namespace import is_overridden, rank_zero_warn
from lightning_al.values.errors import first_few

if TYPE_CHECKING:
    from lightning_al.data.datamodule import ActiveDataModule


def features_at(data: ActiveDataModule, indices: Sequence[int]) -> Tensor:
    """Return the features ``[n, D]`` of some points, float32; NaN for points that cannot be read.

    Raises:
        ValueError: If no features were given, or they cannot be computed.
    """
    return rows_of(_training_table(data), indices)


def lacking_features(data: ActiveDataModule, indices: Sequence[int]) -> list[int]:
    """Return those of some points that have no features: they are NaN or Inf, or the items cannot be read.

    Raises:
        ValueError: If no features were given, or they cannot be computed.
    """
    found: list[int] = []
    for start in range(0, len(indices), CHECKED_ROWS):
        some = indices[start : start + CHECKED_ROWS]
        is_finite_n = features_at(data, some).isfinite().all(1).tolist()
        found += [index for index, is_finite in zip(some, is_finite_n, strict=True) if not is_finite]
    return found


def labelled_features_at(data: ActiveDataModule, indices: Sequence[int]) -> Tensor:
    """Return the features ``[n, D]`` of some labelled points, float32.

    Raises:
        ValueError: If some have none, no features were given, or they cannot be computed.
    """
    bad = lacking_features(data, indices)
    if bad:
        raise ValueError(
            f"`ActiveDataModule(features=...)`: the labelled points [{first_few(bad)}] have no features. They are NaN "
            "or Inf, or their items cannot be read. Correct these, or give the points back by "
            "`lightning-al-journal give-back`. Give other indices as `initial` if the run has not begun."
        )
    return features_at(data, indices)


def with_features(data: ActiveDataModule, indices: Sequence[int]) -> list[int]:
    """Return those of some points that have features, and warn of the others.

    Raises:
        ValueError: If features cannot be computed.
    """
    bad = set(lacking_features(data, indices))
    if bad:
        rank_zero_warn(
            f"`ActiveDataModule(initial=...)` does not select {len(bad)} of {len(indices)} points, which have no "
            f"features: [{first_few(sorted(bad))}]. They are NaN or Inf, or the items cannot be read."
        )
    return [index for index in indices if index not in bad]


def has_target_features(data: ActiveDataModule) -> bool:
    """Return whether the target inputs have features."""
    if data.features is None or data.target_inputs is None:
        return False
    return not isinstance(data.features, Arrays) or _target_split(data) in data.features.tables


def target_features_at(data: ActiveDataModule, places: Sequence[int]) -> Tensor:
    """Return the features ``[n, D]`` of some target inputs, float32.

    Raises:
        ValueError: If no features were given, or they cannot be computed.
    """
    return rows_of(_of(data).table(_target_split(data), _target_source(data)), places)


def compute_features(data: ActiveDataModule) -> None:
    """Compute the features of the points, or find those that are kept, before a fit needs them.

    Raises:
        ValueError: If they cannot be computed, or if a fit would train on a labelled point that has none.
    """
    if data.features is not None:
        _training_table(data)
    if data.inputs is not None and data.is_set_up:
        gone = data.gone_items
        labelled_features_at(data, [index for index in data.pool.labelled if index not in gone])


def check_arrays(data: ActiveDataModule, *, has_test: bool) -> None:
    """Check arrays of features before anything of them is recorded, as far as their data are known by then.

    Args:
        data: The data.
        has_test: Whether a test reads the test data.

    Raises:
        ValueError: If rows are missing, or hold NaN or Inf.
        TypeError: If data have no items by their numbers.
    """
    if not isinstance(data.features, Arrays):
        return
    compute_features(data)
    if has_target_features(data):
        target_features_at(data, [])
    if data.inputs is not None and "val" in data.features.tables:
        _check_held_out(data, "val")
    if has_test:
        check_test_features(data)


def check_test_features(data: ActiveDataModule) -> None:
    """Compute or check the features of the test data before a fit, if a test after it reads them.

    Raises:
        ValueError: If they cannot be computed, or do not fit.
        TypeError: If the test data have no items by their numbers.
    """
    if data.inputs is not None:
        _check_held_out(data, "test")


def _check_held_out(data: ActiveDataModule, split: str) -> None:
    """Read the features of data beside the training data.

    The data of a LightningDataModule may not be there before its set-up for a test. Then an array is checked as far as
    it can be without them.
    """
    if isinstance(data.wrapped, FromDatasets) and is_overridden(f"{split}_dataloader", data.wrapped):
        getattr(data, f"{split}_dataloader")().dataset.table()
    else:
        _of(data).check_array(split)


def training_items(data: ActiveDataModule) -> FeatureItems:
    """Return the training data with features in place of their inputs, and with the dataset's own labels."""
    points = data.training_points
    like = data.item_of(points.reference(data.pool))
    return _of(data).items("train", points.dataset, like, lambda: _training_table(data), points.collate)


def pool_items(data: ActiveDataModule, indices: Sequence[int]) -> Dataset[Any]:
    """Return some points with features in place of their inputs, and one label in place of their own."""
    items, stand_in = training_items(data), data.training_points.stand_in(data.pool)
    items.labels = lambda indices: [stand_in] * len(indices)
    return Subset(items, list(indices))


def target_items(data: ActiveDataModule) -> TargetInputs:
    """Return the target inputs with features in place of their inputs, and one label in place of their own."""
    points, frozen, split = data.training_points, _of(data), _target_split(data)
    like = training_items(data)[points.reference(data.pool)]
    source = _target_source(data)
    items = frozen.items(split, source.dataset, source.dataset[0], lambda: frozen.table(split, source))
    stand_in = points.stand_in(data.pool)
    items.labels = lambda indices: [stand_in] * len(indices)
    return TargetInputs(items, like, data.target, stand_in)


def _of(data: ActiveDataModule) -> FrozenFeatures:
    if data.frozen is None:
        raise ValueError("`ActiveDataModule` was given no `features`. Pass an encoder, an array or a function.")
    return data.frozen


def _training_table(data: ActiveDataModule) -> np.ndarray:
    points = data.training_points
    gone = data.gone_items
    members: Collection[int] = points.members
    source = Source(
        points.scored,
        members if isinstance(members, range) and not gone else {index for index in members if index not in gone},
        data.target,
        points.collate,
        points.loader.settings["num_workers"],
        data.wrapped,
        "training data",
        data.skips_unreadable,
    )
    return _of(data).table("train", source, path_of=data.path_of, places=data.places)


def _target_split(data: ActiveDataModule) -> str:
    return "val" if data.target_inputs == "val" else "target_inputs"


def _target_source(data: ActiveDataModule) -> Source:
    points, dataset = data.training_points, data.original_target_inputs()
    workers = points.loader.settings["num_workers"]
    what = "target inputs"
    return Source(dataset, range(len(dataset)), data.target, points.collate, workers, data.wrapped, what)
