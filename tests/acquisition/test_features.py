"""The features that acquisition functions read."""

from __future__ import annotations

import pytest
import torch

from lightning_al import Points
from lightning_al.acquisition.features import features_of


def points_with(features: torch.Tensor | None, embeddings: torch.Tensor | None = None) -> Points:
    size = len(features if features is not None else embeddings)  # type: ignore[arg-type]
    last_layer = None if embeddings is None else lambda: [(embeddings, torch.zeros(size, 2))]
    return Points(size, torch.zeros(size, 1, 2), last_layer, features=features)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_have_length_1(dtype: torch.dtype) -> None:
    given = torch.randn(20, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    features = features_of(points_with(given))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(20, dtype=features.dtype))
    torch.testing.assert_close((features * given).sum(1), given.to(features.dtype).norm(dim=1))


def test_features_come_before_embeddings() -> None:
    given, embeddings = torch.eye(3), torch.eye(3).flip(0)
    assert torch.equal(features_of(points_with(given, embeddings)), given)
    assert torch.equal(features_of(points_with(None, embeddings)), embeddings)


def test_a_row_of_zeros_stays() -> None:
    assert torch.equal(features_of(points_with(torch.zeros(2, 3))), torch.zeros(2, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    features = torch.ones(4, 3)
    features[2, 1] = bad
    with pytest.raises(ValueError, match="got NaN or Inf in the features at position 2"):
        features_of(points_with(features))


def test_points_without_either_are_refused() -> None:
    with pytest.raises(ValueError, match="these points have none"):
        features_of(Points(1, torch.zeros(1, 1, 2)))
