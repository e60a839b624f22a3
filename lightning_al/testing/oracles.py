"""Check an oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from signal import SIGINT, SIGTERM, Signals
from typing import Any, TypeVar, cast

import torch

from lightning_al.oracle import Labels, OracleLike, Query, as_oracle, name_of
from lightning_al.oracle.answer import opened
from lightning_al.oracle.answers import AnswerError, index_of, plain_answer
from lightning_al.oracle.asking import pair_of, together
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.label_rules import LabelRules, rules_for
from lightning_al.oracle.query import LazyItems
from lightning_al.task.class_names import Classes, listed_classes
from lightning_al.testing.interruptions import ending_of
from lightning_al.testing.require import require
from lightning_al.values.content_hash import content_hash

T = TypeVar("T")


def check_oracle(
    oracle: OracleLike,
    *,
    query: Query | None = None,
    classes: Sequence[str] | Sequence[int] | None = None,
    feed: Callable[[Query], object] | None = None,
    seconds: float = 5.0,
) -> None:
    """Check that an oracle keeps the promises of `Oracle.label`, on a query of a few points.

    The oracle is queried about ten times: for all points, for one, for those it left out, and twice with a signal in
    the middle. Call this in the main thread.

    Args:
        oracle: An oracle, an object with a `label` method, or a function of the query.
        query: The query, 2 or more points without answers; by default six points of four classes.
        classes: The names or numbers of the dataset's classes, to check answers against.
        feed: Answers in place of a person. It is called with each query before the oracle is, and may write the file
            that the oracle reads, for example. It is not called before a signal, so that the oracle waits.
        seconds: How long the oracle may take to answer, and to end after a signal.

    Raises:
        AssertionError: If it breaks a promise. The message names the fault: it answers for other points, twice, or with
            something that is no label, changes the query or its items, cannot be closed, does not end, blocks a signal,
            or leaves a signal handler behind.

    >>> from lightning_al import Revealed
    >>> check_oracle(Revealed())
    """
    trial = _Trial(
        as_oracle(oracle),
        _query() if query is None else query,
        rules_for((), Classes() if classes is None else listed_classes(classes), None),
        feed,
        seconds,
    )
    everything = range(len(trial.query))
    for sent in (SIGINT, SIGTERM):
        trial.interrupt(sent)
    found = trial.answers(everything)
    trial.answers([0])
    trial.close_in_the_middle()
    recorded = dict(list(found.items())[:-1])
    rest = [place for place in everything if trial.query[place] not in recorded]
    for _ in range(2):
        trial.answers(rest, recorded)


@dataclass(frozen=True)
class _Trial:
    """Query an oracle, and require that each call ends and leaves the query and the signal handlers unchanged."""

    oracle: Labels
    query: Query
    rules: LabelRules
    feed: Callable[[Query], object] | None
    seconds: float

    @property
    def who(self) -> str:
        return name_of(self.oracle)

    def answers(self, places: Sequence[int], recorded: Mapping[int, Any] | None = None) -> dict[int, Any]:
        """Query some of the points, with the recorded answers of the others, and return the answers."""
        return self._call(self._checked_answers, _part_of(self.query, places, recorded or {}))

    def interrupt(self, sent: Signals) -> None:
        """Query all points without feeding answers, and send a signal."""
        part = _part_of(self.query, range(len(self.query)), {})
        before = _state_of(part)
        ending = ending_of(lambda: self._checked_answers(part), seconds=self.seconds, sent=sent)
        require(
            not ending.is_late,
            f"`{self.who}` blocks a signal: {self.seconds:g} s after {sent.name} came, `label` has not ended. Let "
            "KeyboardInterrupt and SystemExit out of `label`, and leave the handlers of signals alone.",
        )
        self._require_unchanged(part, before, ending.left)

    def close_in_the_middle(self) -> None:
        """Query all points, and leave after the first answer, as a run does that is stopped."""
        self._call(self._close_after_first_answer, _part_of(self.query, range(len(self.query)), {}))

    def _call(self, call: Callable[[Query], T], part: Query) -> T:
        before = _state_of(part)
        if self.feed is not None:
            self.feed(part)
        ending = ending_of(lambda: call(part), seconds=self.seconds)
        require(
            not ending.is_late,
            f"`{self.who}` does not end: it was asked {self.seconds:g} s ago. Return what is answered and leave the "
            "rest out, or pass `feed=` to give it answers, or more `seconds`.",
        )
        self._require_unchanged(part, before, ending.left)
        if ending.error is not None:
            raise ending.error
        return cast(T, ending.value)

    def _require_unchanged(self, part: Query, before: dict[str, Any], left: tuple[str, ...]) -> None:
        after = _state_of(part)
        for name, known in before.items():
            require(
                known is None or known == after[name],
                f"`{self.who}` changes the query: its {name} are not what they were. Work on a copy.",
            )
        require(
            not left,
            f"`{self.who}` leaves a handler behind: {' and '.join(left)} is blocked, or handled in another way than "
            "before. Put back what you change.",
        )

    def _checked_answers(self, part: Query) -> dict[int, Any]:
        try:
            return self._answers(part)
        except AnswerError as error:
            raise AssertionError(
                f"`{self.who}` gives an answer that is refused: {error}. Return a label of the dataset for each index."
            ) from error

    def _answers(self, part: Query) -> dict[int, Any]:
        indices, found = part.indices, dict[int, Any]()
        for pairs in together(self.oracle.label(part)):
            for pair in pairs:
                key, answer = pair_of(pair)
                index = index_of(key)
                if isinstance(answer, Correction):
                    plain_answer(answer.label, self.rules)
                    continue
                require(
                    index in indices,
                    f"`{self.who}` answers for others: for {index}, but it was asked for {indices}. Answer for the "
                    "indices of the query alone; those in its `answers` are recorded.",
                )
                require(
                    index not in found,
                    f"`{self.who}` answers twice for {index}. Answer once for each point of a query.",
                )
                answer, _, unusable = opened(answer)
                require(
                    not unusable,
                    f"`{self.who}` says what cannot be used: {' and '.join(unusable)}. Give `seconds` from 0 to a "
                    "year, and `who` as a short text.",
                )
                found[index] = None if answer is None else plain_answer(answer, self.rules)
        return found

    def _close_after_first_answer(self, part: Query) -> None:
        answers = self.oracle.label(part)
        if isinstance(answers, Generator):
            next(answers, None)
            try:
                answers.close()
            except Exception as error:
                raise AssertionError(
                    f"`{self.who}` cannot be closed: its generator raises {type(error).__name__} when a run stops "
                    "between two answers. Let GeneratorExit out of it."
                ) from error


def _query() -> Query:
    indices = [41, 7, 12, 3, 30, 25]
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(len(indices), 4, generator=generator).softmax(1).tolist()
    items = [(torch.randn(5, generator=generator), 0) for _ in indices]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    return Query(2, indices, scores=scores, probs=probs, items=items)


def _part_of(query: Query, places: Sequence[int], answers: Mapping[int, Any]) -> Query:
    """Return a query for some of the points, with lists of its own."""

    def some(values: Sequence[Any] | None) -> Any:
        return [values[place] for place in places] if values else values

    return Query(
        query.round,
        some(query),
        keys=some(query.keys),
        scores=some(query.scores),
        probs=some(query.probs),
        answers=answers,
        classes=query.classes,
        folder=query.folder,
        truth=query.truth,
        items=LazyItems(query.items.__getitem__, places) if len(query.items) else (),
    )


def _state_of(query: Query) -> dict[str, Any]:
    """Return all that an oracle may read of a query, for comparison; no items if reading one twice gives two things."""
    items = [content_hash(item) for item in query.items]
    return {
        "indices": query.indices,
        "keys": list(query.keys),
        "scores": list(query.scores),
        "probs": copy.deepcopy(query.probs),
        "answers": dict(query.answers),
        "items": items if items == [content_hash(item) for item in query.items] else None,
    }
