"""Ask an oracle for labels, and record each valid answer before an error about the others is raised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from lightning_al.host.namespace import rank_zero_warn
from lightning_al.oracle.answer import Answer, opened
from lightning_al.oracle.answers import AnswerError, index_of
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.set_aside import Skip
from lightning_al.run.effort import Effort, known_efforts
from lightning_al.run.labels import Label
from lightning_al.run.records import OpenQuery
from lightning_al.values.errors import first_few, said_shortly

Accept = Callable[[int, Any], Label]
"""Returns the answer for an index as plain data, or raises an `AnswerError` if it cannot be a label."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Answered:
    """The points that were answered before a query, whose answers may be corrected.

    Attributes:
        has: Whether a point is one of them.
        correct: Records new labels of theirs, or of the query's points, by index.
    """

    has: Callable[[int], bool]
    correct: Callable[[Mapping[int, Label]], None]


MOST = 5
"""The most reasons that an error lists."""


def ask(
    label: Callable[[], Any],
    query: OpenQuery,
    *,
    name: str,
    accept: Accept,
    record: Callable[[Mapping[int, Label], Mapping[int, Effort]], None],
    kept: str,
    who: str | None = None,
    earlier: Answered | None = None,
) -> ValueError | None:
    """Ask for the labels of a query that are missing.

    Answers that come together, such as in a dict, are recorded together. Those of an iterator or generator are recorded
    one by one. If an answer is refused, the others are still recorded. Points without an answer remain pending.

    Args:
        label: Asks the oracle, and returns its answers.
        query: The query. Accepted answers are added to its `answers`, and what is known of them to its `efforts`.
        name: The name of the oracle in an error.
        accept: Checks an answer.
        record: Writes accepted answers, with what is known of them.
        kept: Where the accepted answers are kept, for the error.
        who: Who gives the answers that do not say it themselves.
        earlier: The points that were answered before, whose answers may be corrected.

    Returns:
        The error to raise if answers were refused.
    """
    asked = query.rest
    if query.points and not asked:
        return None
    refused: dict[str, list[int]] = {}
    answered: dict[int, None] = {}
    still_asked = frozenset(asked)

    def has(index: int) -> bool:
        return earlier is not None and earlier.has(index)

    def correct(index: int, correction: Correction) -> Label:
        if not has(index):
            raise AnswerError("it has no answer that could be corrected")
        if isinstance(correction.label, Skip) and index not in query.answers:
            raise AnswerError("it was answered in an earlier query and cannot be skipped any more, but given back")
        return _checked(accept, index, correction.label)

    try:
        with closing(together(label())) as answers:
            for pairs in answers:
                corrections, others = _parted(pairs)
                good, efforts = _check(others, still_asked, answered, refused, accept, who, has)
                if good:
                    record(good, efforts)
                    query.answers.update(good)
                    query.efforts.update(efforts)
                corrected = _check_corrections(corrections, answered, refused, correct)
                if corrected and earlier is not None:
                    earlier.correct(corrected)
                    query.answers.update({index: corrected[index] for index in corrected if index in query.answers})
                # An endless generator is not read forever.
                if refused and len(query.answers) == len(query.points):
                    break
    except Exception as error:
        if answered and not isinstance(error, AnswerError):
            error.add_note(f"{len(query.answers)} of {len(query.points)} answers are kept {kept}.")
        if not isinstance(error, AnswerError):
            raise
        refused.setdefault(str(error), [])
    if not refused:
        return None
    return _refusal(name, asked, list(answered), refused, query, kept)


def _check(
    pairs: Sequence[Any],
    asked: Collection[int],
    answered: dict[int, None],
    refused: dict[str, list[int]],
    accept: Accept,
    who: str | None,
    has: Callable[[int], bool],
) -> tuple[dict[int, Label], dict[int, Effort]]:
    """Return the valid ones of some answers that came together, with what is known of them.

    Note which came, and why others are refused.
    """
    found: dict[int, list[Any]] = {}
    for pair in pairs:
        try:
            key, answer = pair_of(pair)
            found.setdefault(_checked(index_of, key), []).append(answer)
        except AnswerError as error:
            refused.setdefault(str(error), [])
    good: dict[int, Label] = {}
    efforts: dict[int, Effort] = {}
    for index, answers in found.items():
        was_answered = index in answered
        answered[index] = None
        try:
            if index not in asked:
                raise AnswerError(
                    "it is answered, which only `Correction(label)` changes" if has(index) else "it was not queried"
                )
            if was_answered or len(answers) > 1:
                raise AnswerError("it was answered twice")
            answer, efforts[index], unusable = opened(Answer(answers[0], who=who))
            good[index] = _checked(accept, index, answer)
            if unusable:
                rank_zero_warn(
                    f"The answer for index {index} is kept, but not {' and '.join(unusable)}. Give `seconds` from 0 to "
                    "a year, and `who` as a short text."
                )
        except AnswerError as error:
            refused.setdefault(str(error), []).append(index)
    return good, known_efforts(efforts, good)


def _parted(pairs: Sequence[Any]) -> tuple[list[tuple[Any, Correction]], list[Any]]:
    """Return those of some answers that correct others, and the rest."""
    corrections, others = [], []
    for pair in pairs:
        with suppress(AnswerError):
            key, answer = pair_of(pair)
            answer, _, _ = opened(answer)
            if isinstance(answer, Correction):
                corrections.append((key, answer))
                continue
        others.append(pair)
    return corrections, others


def _check_corrections(
    pairs: Sequence[tuple[Any, Correction]],
    answered: dict[int, None],
    refused: dict[str, list[int]],
    correct: Callable[[int, Correction], Label],
) -> dict[int, Label]:
    """Return the valid ones of some corrections, the last of each point, and note why others are refused."""
    good: dict[int, Label] = {}
    for key, correction in pairs:
        index: int | None = None
        try:
            index = _checked(index_of, key)
            answered[index] = None
            good[index] = correct(index, correction)
        except AnswerError as error:
            refused.setdefault(str(error), []).extend([] if index is None else [index])
    return good


def _checked(check: Callable[..., Found], *arguments: Any) -> Found:
    """Return what a check returns. Any error of a check, such as one of a strange type, refuses only that answer."""
    try:
        return check(*arguments)
    except AnswerError:
        raise
    except Exception as error:
        raise AnswerError(f"it could not be checked ({said_shortly(error)})") from error


def together(answers: Any) -> Generator[list[Any]]:
    """Yield answers as pairs of index and label, in the groups in which they came.

    If reading them fails in the middle, the answers before that are yielded first.
    """
    if _are_by_index(answers):
        yield from _up_to_error(answers.items())
    elif isinstance(answers, list | tuple):
        yield from _up_to_error(answers)
    elif isinstance(answers, Iterable) and not isinstance(answers, str | bytes):
        pairs = iter(answers)
        try:
            for pair in pairs:
                yield list(pair.items()) if _are_by_index(pair) else [pair]
        finally:
            if isinstance(pairs, Generator):
                with suppress(Exception):  # all answers that matter came before
                    pairs.close()
    else:
        raise AnswerError(
            f"they came as {type(answers).__name__} and not as a dict of labels by index, which may be empty"
        )


def _are_by_index(answers: Any) -> bool:
    """Return whether answers are a dict or similar. A pandas Series is not a Mapping."""
    return isinstance(answers, Mapping) or (hasattr(answers, "items") and hasattr(answers, "keys"))


def _up_to_error(pairs: Iterable[Any]) -> Iterator[list[Any]]:
    found: list[Any] = []
    try:
        for pair in pairs:
            found.append(pair)
    except BaseException:
        yield found
        raise
    yield found


def pair_of(pair: Any) -> tuple[Any, Any]:
    """Return the index and the label of an answer.

    Raises:
        AnswerError: If it is not a pair.
    """
    try:
        # "12" is not a pair of 1 and 2, and a set has no order.
        if isinstance(pair, str | bytes | bytearray | memoryview | range | Set | Mapping):
            raise TypeError
        key, answer = pair
    except Exception:  # whatever a type may raise that is not a pair
        raise AnswerError(f"it came as {type(pair).__name__} and not as a pair of index and label") from None
    return key, answer


def _refusal(
    name: str,
    asked: Sequence[int],
    answered: Sequence[int],
    refused: Mapping[str, list[int]],
    query: OpenQuery,
    kept: str,
) -> ValueError:
    reasons = [
        f"{reason}{f' (index {first_few(whose, most=20)})' if whose else ''}" for reason, whose in refused.items()
    ]
    more = f"; and {len(reasons) - MOST} other reasons" if len(reasons) > MOST else ""
    return ValueError(
        f"`{name}` was asked to label the indices [{first_few(asked, most=20)}], but answered for "
        f"[{first_few(sorted(answered), most=20)}]. "
        + (f"Refused: {'; '.join(reasons[:MOST])}{more}. " if refused else "")
        + f"{len(query.answers)} of {len(query.points)} answers are kept {kept}. Let it answer at most once for each "
        "queried index, and for no other, with a label of this dataset (`ActiveDataModule(classes=...)` lists them). "
        "Then call `trainer.fit` again, which only asks for the rest."
    )
