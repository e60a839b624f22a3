"""The features by which acquisition functions tell how far points are from each other.

Axes: N points, n of them labelled, D feature dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_al.points import Candidates, Points


def features_of(points: Points) -> Tensor:
    """Return the features of points, each row scaled to length 1.

    These are the points' own features where they have some, and otherwise the network's embeddings. A row of zeros
    stays as it is. Half precision becomes float32.

    Returns:
        Features ``[N, D]``, float32 or float64, without gradients.

    Raises:
        ValueError: If there are neither features nor embeddings, or if a feature is NaN or infinite.

    >>> given = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    >>> features_of(Points(2, torch.empty(2, 1, 2), features=given))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    features_N_D = (points.features_N_D if points.has_features else points.embeddings_N_D).detach()
    is_wide = features_N_D.dtype in (torch.float32, torch.float64)
    features_N_D = features_N_D if is_wide else features_N_D.float()
    # A sum is finite only if all of its terms are, so no table of booleans is needed to find out.
    lengths_N: Tensor = torch.linalg.vector_norm(features_N_D, dim=1)
    if not bool(lengths_N.isfinite().all()):
        first = int((~lengths_N.isfinite()).nonzero()[0])
        raise ValueError(
            "Acquisition functions that read features expect finite numbers, but got NaN or Inf in the features at "
            f"position {first}. Check the encoder's outputs, or the network's, there."
        )
    smallest = torch.finfo(features_N_D.dtype).tiny
    return features_N_D / lengths_N.clamp_min(smallest).unsqueeze(1)


def labelled_features_of(candidates: Candidates) -> Tensor | None:
    """Return the features ``[n, D]`` of the labelled points as `features_of` does, or None if nothing is labelled.

    >>> labelled = Points(1, torch.empty(1, 1, 2), features=torch.tensor([[3.0, 4.0]]))
    >>> labelled_features_of(Candidates(2, torch.empty(2, 1, 2), labelled=labelled))
    tensor([[0.6000, 0.8000]])
    """
    return features_of(candidates.labelled) if len(candidates.labelled) else None
