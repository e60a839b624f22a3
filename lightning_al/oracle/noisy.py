"""The dataset's own labels as people would give them: some wrong, some left out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from lightning_al.oracle.base import Oracle
from lightning_al.oracle.query import Query, Truth
from lightning_al.oracle.registry import register_oracle
from lightning_al.oracle.set_aside import Skip
from lightning_al.run.seeds import derive
from lightning_al.values.whole_numbers import whole_number


@register_oracle("noisy")
@final
@dataclass(frozen=True)
class Noisy(Oracle):
    """Simulate people who err and abstain, by the dataset's own targets.

    What it answers for a point depends on the seed and the point's index alone, so all methods are given the same
    answers, and so is a run that resumes. Initial points keep the labels that the dataset has for them.

    Args:
        label_noise: Probability that a label is wrong. A wrong label is one of the other classes, each with the same
            probability. It needs labels that are class numbers.
        abstention: Probability of `Skip()` in place of a label.
        seed: Seed of both. By default that of the run.

    Raises:
        ValueError: If a probability is not between 0 and 1.

    >>> truth = Truth(label_of=lambda index: 1, classes=lambda: range(3))
    >>> Noisy(label_noise=0.5).label(Query(0, [4, 2, 7, 9], truth=truth))
    {4: 0, 2: 1, 7: 1, 9: 0}
    """

    label_noise: float = 0.1
    abstention: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("label_noise", "abstention"):
            given: Any = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
                raise ValueError(f"`Noisy({name}={given!r})` is no probability. Pass a number from 0 to 1.")
        if self.seed is not None:
            whole_number("Noisy", "seed", self.seed, least=None)

    @property
    def needs(self) -> Literal["labels", "classes"]:
        """What the dataset must have: labels, and class numbers to draw a wrong one from."""
        return "classes" if self.label_noise else "labels"

    def label(self, query: Query) -> Mapping[int, Any]:
        """Return a class number or `Skip()` for each point; without label noise, None for the dataset's own target.

        Raises:
            ValueError: If labels are not class numbers, or the query does not come from a run, so that a wrong label
                cannot be drawn.
        """
        truth = query.truth
        if truth is None:
            raise ValueError(
                "`Noisy` simulates people by the dataset's own labels, which this query does not have. Give it "
                "`Query(truth=...)`, or let `ActiveLearning` ask."
            )
        classes = self._classes(truth) if self.label_noise else ()
        return {index: self._answer(index, truth, classes) for index in query}

    def _classes(self, truth: Truth) -> Sequence[int]:
        classes = truth.classes()
        if classes is None or len(classes) < 2:
            raise ValueError(
                f"`Noisy(label_noise={self.label_noise})` gives another class in place of the right one, but "
                f"{'the class numbers are not known' if classes is None else 'there is one class'}. Pass "
                "`ActiveDataModule(classes=...)`, or leave `label_noise` out."
            )
        return sorted(classes)

    def _answer(self, index: int, truth: Truth, classes: Sequence[int]) -> Any:
        draw = random.Random(derive(truth.seed if self.seed is None else self.seed, "answer of", index))
        abstains, errs = draw.random() < self.abstention, draw.random() < self.label_noise
        if abstains:
            return Skip()
        if not self.label_noise:
            return None
        right = truth.label_of(index)
        return draw.choice([number for number in classes if number != right]) if errs else right
