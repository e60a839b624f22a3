"""Join what an acquisition function selected among several parts of the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_al.acquisition.base import Selection

Part = tuple[Tensor, Selection]
"""The positions ``[n]`` of some candidates among all, and what was selected among them."""


def joined(parts: Sequence[Part]) -> Selection:
    """Return one selection, in the order of the parts, with positions among all candidates.

    A single part keeps its metrics. Those of several would describe batches of which none is the whole one.

    >>> first, second = (Selection(torch.tensor([place]), torch.tensor([1.0])) for place in (1, 0))
    >>> joined([(torch.tensor([4, 7]), first), (torch.tensor([2]), second)]).positions.tolist()
    [7, 2]
    """
    positions = torch.cat([places_n[selection.positions.cpu()] for places_n, selection in parts])
    scores = torch.cat([selection.scores for _, selection in parts])
    warnings = [selection.warning for _, selection in parts if selection.warning is not None]
    metrics = parts[0][1].metrics if len(parts) == 1 else {}
    return Selection(positions, scores, metrics, warnings[0] if warnings else None)


def kept_of(selection: Selection, places: Sequence[int]) -> Selection:
    """Return some of the picks of a selection. Its metrics are kept if all of them are.

    >>> kept_of(Selection(torch.tensor([4, 7]), torch.tensor([2.0, 1.0]), {"total": 3.0}), [1])
    Selection(positions=tensor([7]), scores=tensor([1.]), metrics={}, warning=None)
    """
    if len(places) == len(selection.positions):
        return selection
    return Selection(selection.positions[places], selection.scores[places], warning=selection.warning)
