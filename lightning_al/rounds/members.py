"""The fits of a round that has several: what each ended with, which one is next, and their common record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from lightning_al.posterior import Fit, Posterior
from lightning_al.run.folder import end_name, member_name
from lightning_al.run.history import Round
from lightning_al.run.seeds import derive
from lightning_al.run.weights import copy_weights, not_reset

Read = Callable[["Member"], Mapping[str, Tensor]]
"""Reads the weights of a fit that another process did."""


@dataclass(frozen=True)
class Member:
    """One fit of a round that is not recorded yet.

    Attributes:
        round: Number of the round.
        number: Which of its fits it is, from 0.
        seed: The seed that it ran with.
        metrics: What the module logged, as in `Round`.
        seconds: Wall time of each part.
        peak_bytes: Most memory held by the end of each part.
        steps: Optimiser steps.
        validation_labels: Number of validation labels that it used.
        weights: What it ended with, or None where that lies in the folder.
    """

    round: int
    number: int
    seed: int
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    validation_labels: int = 0
    weights: Mapping[str, Tensor] | None = None

    @property
    def name(self) -> str:
        """Under what name its weights are saved."""
        return member_name(self.round, self.number)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, without its weights."""
        plain = asdict(replace(self, weights=None))
        del plain["weights"]
        return plain


class Members:
    """Keep what the fits of a round ended with until the round is recorded, and say which fit is next.

    Attributes:
        done: The fits of the round that have ended, in order, all but its last one, which ends the round.
        changes: How many changes of labels they knew of.
    """

    def __init__(self) -> None:
        self.done: list[Member] = []
        self.changes = 0

    @property
    def fits(self) -> list[Fit]:
        """What they ended with."""
        return [Fit(member.weights, member.seed) for member in self.done if member.weights is not None]

    @property
    def steps(self) -> int:
        """Number of their optimiser steps."""
        return sum(member.steps for member in self.done)

    @property
    def at_hand(self) -> dict[str, Mapping[str, Tensor]]:
        """Their weights by the names under which they are saved."""
        return {member.name: member.weights for member in self.done if member.weights is not None}

    def take(self, rows: Sequence[Mapping[str, Any]], changes: int) -> None:
        """Take over the fits that a journal has, whose weights `begin` reads where they are not known yet.

        Args:
            rows: The fits as plain data.
            changes: How many changes of labels they knew of.
        """
        self.changes = changes
        if list(rows) != [member.to_dict() for member in self.done]:
            self.done = [Member(**row) for row in rows]

    def begin(self, number: int, changes: int, seeds: Sequence[int], read: Read) -> int:
        """Return which fit of a round is next, and forget those that this run would do in another way.

        Args:
            number: Number of the round.
            changes: How many labels were changed so far: a fit that knew of others is done again.
            seeds: The seeds of all fits of the round.
            read: Reads weights that are not at hand.
        """
        before = self.done if changes == self.changes else []
        self.done, self.changes = [], changes
        for member, seed in zip(before, seeds[:-1], strict=False):
            if (member.round, member.seed) != (number, seed):
                break
            weights = read(member) if member.weights is None else member.weights
            self.done.append(replace(member, weights=weights))
        return len(self.done)

    def together(self, last: Round) -> Round:
        """Return the record of a round with all of its fits, given that of its last fit."""
        if not self.done:
            return last
        fits: list[Member | Round] = [*self.done, last]
        return replace(
            last,
            metrics=mean_metrics([fit.metrics for fit in fits]),
            members=[dict(fit.metrics) for fit in fits],
            seconds=_by_name([fit.seconds for fit in fits], math.fsum),
            peak_bytes=_by_name([fit.peak_bytes for fit in fits], max),
            steps=sum(fit.steps for fit in fits),
            validation_labels=max(fit.validation_labels for fit in fits),
        )

    def state_dict(self, *, with_weights: bool) -> dict[str, Any]:
        """Return the fits as plain data, with their weights if nothing else keeps them."""
        weights = [member.weights if with_weights else None for member in self.done]
        done = [{**member.to_dict(), "weights": kept} for member, kept in zip(self.done, weights, strict=True)]
        return {"done": done, "changes": self.changes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.done = [Member(**plain) for plain in state["done"]]
        self.changes = state["changes"]


def check_can_be_drawn(posterior: Posterior, module: nn.Module) -> None:
    """Refuse a module whose weights cannot be drawn again, so that all fits of a round would start from the same.

    Raises:
        ValueError: If a part of it cannot draw new weights. The message names it.
    """
    missing = not_reset(module)
    if missing:
        raise ValueError(
            f"`{type(posterior).__name__}` takes {posterior.num_fits} fits a round, each from newly drawn weights, but "
            f"{missing[0]!r} of `{type(module).__name__}` cannot draw new weights, since its part has no "
            "`reset_parameters()`. Pass a function that makes a module as `reset=`."
        )


class Fits(Sequence[Fit]):
    """The fits that a posterior is given: some that ended before, then those whose weights the module has now.

    Args:
        before: The fits that ended before.
        module: The module, whose weights are copied when they are read.
        seeds: The seeds of the others.
    """

    def __init__(self, before: Sequence[Fit], module: nn.Module, seeds: Sequence[int]) -> None:
        self._before = before
        self._module = module
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self._before) + len(self._seeds)

    def __getitem__(self, place: Any) -> Any:
        found = range(len(self))[place]
        return self._fit(found) if isinstance(found, int) else [self._fit(one) for one in found]

    def _fit(self, place: int) -> Fit:
        if place < len(self._before):
            return self._before[place]
        return Fit(self._weights, self._seeds[place - len(self._before)])

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        return copy_weights(self._module)


def fit_seeds(seed: int, number: int, num_fits: int) -> list[int]:
    """Return the seeds of the fits of a round; the first is that of a round with one fit.

    >>> fit_seeds(0, 3, 2) == [derive(0, 3, "fit"), derive(0, 3, "fit", 1)]
    True
    """
    return [derive(seed, number, *purpose_of("fit", member)) for member in range(num_fits)]


def purpose_of(purpose: str, member: int) -> tuple[str | int, ...]:
    """Return the purpose that the seed of a fit is derived from. The first fit has that of a round with one fit.

    >>> purpose_of("test", 0), purpose_of("test", 2)
    (('test',), ('test', 2))
    """
    return (purpose,) if member == 0 else (purpose, member)


def read_ends(state: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Return the weights at the end of rounds by their names, where a checkpoint of 0.1.0 has the round's number."""
    ends: Mapping[int | str, dict[str, Tensor]] = state.get("ends", {})
    return {end_name(name, 0) if isinstance(name, int) else name: end for name, end in ends.items()}


def mean_metrics(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the fits that have it.

    >>> mean_metrics([{"loss": 1.0}, {"loss": 3.0, "acc": 0.5}])
    {'loss': 2.0, 'acc': 0.5}
    """
    return _by_name(metrics, lambda values: math.fsum(values) / len(values))


def _by_name(tables: Sequence[Mapping[str, Any]], combine: Callable[[list[Any]], Any]) -> dict[str, Any]:
    names: Iterable[str] = dict.fromkeys(name for table in tables for name in table)
    return {name: combine([table[name] for table in tables if name in table]) for name in names}
