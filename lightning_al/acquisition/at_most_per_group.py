"""AtMostPerGroup: select few points of each group, such as the frames of a video or the scans of a patient.

Axes: N candidates, b batch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import final

import torch

from lightning_al.acquisition.base import ScoreAcquisition, Selection, at_most
from lightning_al.acquisition.parts import Part, joined, kept_of
from lightning_al.acquisition.wrapper import Wrapper
from lightning_al.points import Candidates
from lightning_al.values.whole_numbers import whole_number


@final
@dataclass(frozen=True)
class AtMostPerGroup(Wrapper):
    """Select by another acquisition function, but at most n candidates of a group in one batch.

    Groups are those of ``ActiveDataModule(groups=...)``: points that are alike, such as the frames of a video, the
    scans of a patient, or the sentences of a document. The limit is for one batch: points of the group that are
    labelled already do not count. Within `ClassBalanced`, which selects class by class, it is a limit for each class;
    outside of it, for the whole batch.

    The candidates are taken in the order in which the other acquisition function selects them, except those of a group
    that is full. A method of whole batches then selects again among the groups that are not full, without knowing what
    was taken. This takes at most one selection for each pick, and far fewer as a rule.

    Args:
        acquisition: The other acquisition function: a name or an object.
        n: The most candidates of one group in a batch. If groups run out, the limit rises by as many, with a warning.

    Raises:
        TypeError: If `acquisition` is not an acquisition function, or `n` is not a number.
        ValueError: If `n` is below 1.

    >>> p = torch.tensor([[[0.5, 0.5]], [[0.6, 0.4]], [[0.9, 0.1]]])
    >>> candidates = Candidates(3, p.log(), groups=torch.tensor([0, 0, 1]))
    >>> AtMostPerGroup("entropy", n=1).select(candidates, 2, torch.Generator()).positions.tolist()
    [0, 2]
    """

    n: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "n", whole_number("AtMostPerGroup", "n", self.n))

    def select(self, candidates: Candidates, b: int, generator: torch.Generator) -> Selection:
        """Select b candidates; the scores are the other one's.

        Raises:
            ValueError: If b is below 1, or the candidates have no groups.
        """
        b = at_most(b, len(candidates))
        if b == 0:
            return self.inner.select(candidates, 1, generator)
        groups = candidates.groups_N.tolist()
        taken: dict[int, None] = {}
        counts: Counter[int] = Counter()
        limit = self.n
        parts: list[Part] = []
        while len(taken) < b:
            places = [place for place, group in enumerate(groups) if place not in taken and counts[group] < limit]
            if not places:
                limit += self.n
                continue
            # One ranking of all is enough where each candidate is scored by itself.
            number = len(places) if isinstance(self.inner, ScoreAcquisition) else b - len(taken)
            selection = self.inner.select(candidates.at(places), number, generator)
            kept = []
            for rank, position in enumerate(selection.positions.tolist()):
                place = places[position]
                if len(taken) < b and counts[groups[place]] < limit:
                    counts[groups[place]] += 1
                    taken[place] = None
                    kept.append(rank)
            parts.append((torch.tensor(places), kept_of(selection, kept)))
        selection = joined(parts)
        return selection if limit == self.n else replace(selection, warning=self._warning(b, len(counts), limit))

    def _warning(self, b: int, num_groups: int, limit: int) -> str:
        return (
            f"`AtMostPerGroup(n={self.n})` found no {b} candidates in {num_groups} groups, so it selected up to "
            f"{limit} of a group. Lower `query_size` or `initial_size`, or raise `n`."
        )
