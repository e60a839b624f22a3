"""Checks of a journal's rows: each has the right types, and none contradicts the rows before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lightning_al.run.effort import LONGEST_NAME, MOST_SECONDS, Effort
from lightning_al.run.history import Round


def check_round(
    plain: Any,
    number: int,
    labels: Collection[int],
    header: Mapping[str, Any] | None = None,
    asked: tuple[Sequence[int], Sequence[int]] | None = None,
) -> None:
    """Refuse a round that is not the next one, or that has labels of points which it did not query.

    Args:
        plain: The round as plain data.
        number: The number of the next round.
        labels: The points that have a label in its row.
        header: What the run is, if that is known.
        asked: The points of the open query, if any, and the audit points that are asked for beside them.

    Raises:
        ValueError: If the row contradicts those before.
    """
    if plain["number"] != number:
        raise contradiction(f"it is round {plain['number']!r:.80} where round {number} is the next")
    audited = plain.get("audited", [])
    known = audited if header is None else header.get("audit", ())
    if not _all(_is_count)(audited) or not set(audited) <= set(known):
        raise contradiction(f"round {number} has {audited!r:.80} for its audit points")
    if asked is not None:
        chosen, others = asked
        # Points that nobody answered for returned to the pool.
        kept = [index for index in chosen if index in set(plain["indices"])]
        if plain["indices"] != kept or (chosen and not kept) or not set(audited) <= set(others):
            raise contradiction(f"round {number} asked other points than its query")
    _check_points(plain, f"round {number}", set(labels) - set(audited))


def check_query(
    plain: Any, number: int, header: Mapping[str, Any], *, before: Any = None, is_initial_known: bool = False
) -> None:
    """Refuse a query that is not of the next round, or a second one of other points.

    Args:
        plain: The query as plain data.
        number: The number of the next round.
        header: What the run is.
        before: The open query, if any.
        is_initial_known: Whether the initial points were queried already.

    Raises:
        ValueError: If the row contradicts those before.
    """
    given = plain["number"]
    is_initial = given == -1 and number == 0 and not is_initial_known
    points = plain.get("asked") or plain["indices"]
    is_again = before is None or (before.number == given and before.points == points)
    if not (given == number or is_initial) or not _is_number(given) or not is_again:
        raise contradiction(f"it is a query of round {given!r:.80}, where that of round {number} is expected")
    _check_points(plain if not is_initial else {**plain, "scores": [0.0] * len(plain["indices"])}, _said(given), ())
    chosen = set(plain["indices"])
    if is_initial and not chosen <= set(header.get("initial", chosen)):
        raise contradiction("the first query has points that are not initial ones")
    audited = [index for index in points if index not in chosen]
    if not chosen <= set(points) or not set(audited) <= set(header.get("audit", ())):
        raise contradiction(f"{_said(given)} asks for other points than it chose and the run audits")
    for name in ("details", "warning", "unscorable"):
        if name in plain and not _TYPES[name](plain[name]):
            raise contradiction(f"{_said(given)} has {plain[name]!r:.80} for its `{name}`")
    probs = plain.get("probs")
    if probs is not None and (not _all(_all(_is_figure))(probs) or len(probs) != len(plain["indices"])):
        raise contradiction(f"{_said(given)} does not have the probabilities of each of its points")
    keys = plain.get("keys")
    if keys is not None and (not isinstance(keys, list) or len(keys) != len(points)):
        raise contradiction(f"{_said(given)} does not have the key of each of its points")
    if plain.get("round") is not None:
        check_round(plain["round"], given, (), header, asked=(plain["indices"], audited))
        if plain["round"]["indices"] != plain["indices"]:
            raise contradiction(f"{_said(given)} has other points than its round")
        check_types(Round.from_dict(plain["round"]))


def _said(number: int) -> str:
    return f"the query of round {number}"


def check_member(plain: Any, number: int, num_members: int) -> None:
    """Refuse a fit that is neither the next one of the round nor a repeated one.

    Args:
        plain: The fit as plain data.
        number: The number of the next round.
        num_members: How many of its fits are recorded.

    Raises:
        ValueError: If the row contradicts those before.
    """
    if plain["round"] != number or not _is_count(plain["number"]) or plain["number"] > num_members:
        raise contradiction(
            f"it is fit {plain['number']!r:.80} of round {plain['round']!r:.80}, where fit {num_members} of round "
            f"{number} is the next"
        )
    for name in ("metrics", "seconds", "peak_bytes", "steps", "validation_labels"):
        if not _TYPES[name](plain[name]):
            raise contradiction(f"fit {plain['number']} of round {number} has {plain[name]!r:.80} for its `{name}`")
    if not _is_count(plain["seed"]):
        raise contradiction(f"fit {plain['number']} of round {number} has {plain['seed']!r:.80} for its `seed`")


def check_answers(answered: Collection[int], asked: frozenset[int]) -> None:
    """Refuse answers for points that were not queried.

    Raises:
        ValueError: If there are any.
    """
    strange = [index for index in answered if index not in asked]
    if strange:
        raise contradiction(f"it answers for {min(strange)}, which its query did not ask")


def check_efforts(plain: Mapping[int, Any], answered: Collection[int]) -> dict[int, Effort]:
    """Return what a row says of answers besides: how long each took, and who gave it.

    Args:
        plain: What it says, as plain data by index.
        answered: The points that the row answers for.

    Raises:
        ValueError: If it is anything else, or about other points.
    """
    for index, known in plain.items():
        if not isinstance(known, dict) or not all(
            name in _OF_EFFORT and _OF_EFFORT[name](known[name]) for name in known
        ):
            raise contradiction(f"the answer for {index} has {known!r:.80} for its `by`")
        if index not in answered:
            raise contradiction(f"it says who answered for {index}, for which it has no answer")
    return {index: Effort.from_plain(known) for index, known in plain.items()}


def check_items(items: dict[int, Any]) -> dict[int, list[Any]]:
    """Return what a row says of labelled items: the key and the hash of each, and that of its row in an array.

    Raises:
        ValueError: If it is anything else.
    """
    for index, item in items.items():
        is_known = isinstance(item, list) and len(item) in (2, 3) and isinstance(item[0], str | int)
        if not is_known or not all(isinstance(part, str | None) for part in item[1:]):
            raise contradiction(f"item {index} has {item!r:.80} for its key and hash")
    return items


def check_change(
    change: Any, header: Mapping[str, Any], rounds: Collection[dict[str, Any]], answered: Collection[int]
) -> None:
    """Refuse a change of a label that no row has.

    Raises:
        ValueError: If the point has no label.
    """
    index = change["index"]
    known = (
        index in answered
        or any(index in round["indices"] or index in round.get("audited", ()) for round in rounds)
        or index in header.get("initial", [index])
    )
    if not _is_count(index) or not known:
        raise contradiction(f"it changes the label of {index!r:.80}, which has none")


def check_classes(plain: Any, before: Any) -> None:
    """Refuse classes in which a number is missing that the run had before.

    Raises:
        ValueError: If the row contradicts those before.
    """
    numbers, allowed = plain["numbers"], plain["allowed"]
    if not _named(_is_number)(numbers) or not (allowed is None or _all(_is_number)(allowed)):
        raise contradiction(f"the classes are {plain!r:.80}")
    known = before["numbers"] if isinstance(before, Mapping) else {}
    if not set(known.values()) <= set(numbers.values()):
        raise contradiction("the classes have lost a number")


def check_taken_back(number: Any, num_rounds: int) -> None:
    """Refuse to take back a round that is not the last.

    Raises:
        ValueError: If it is not.
    """
    if num_rounds == 0 or number != num_rounds - 1:
        raise contradiction(f"it takes round {number!r:.80} back, of {num_rounds}")


def check_types(round: Round) -> None:
    """Refuse a round with fields of the wrong types.

    Raises:
        ValueError: If there are any; the message names the first.
    """
    for name, is_right in _TYPES.items():
        if not is_right(getattr(round, name)):
            raise ValueError(
                f"`{name}` of round {round.number} is {getattr(round, name)!r:.80}, which no run writes there. Put "
                "back a copy of the journal."
            )


def _check_points(plain: Any, which: str, labels: Collection[int]) -> None:
    indices, scores = plain["indices"], plain["scores"]
    if not _all(_is_count)(indices) or not _all(_is_figure)(scores) or len(scores) != len(indices):
        raise contradiction(f"{which} does not have a score for each of its points")
    if len(set(indices)) < len(indices):
        raise contradiction(f"{which} asked a point twice")
    if not set(labels) <= set(indices):
        raise contradiction(f"{which} has a label of {min(set(labels) - set(indices))}, which it did not ask")


def contradiction(what: str) -> ValueError:
    """Return the error of a row that contradicts those before."""
    return ValueError(f"a row contradicts those before: {what}. Put back a copy of the journal.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def _named(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_right, value.values()))


def _is_audit(value: Any) -> bool:
    """Return whether the value holds the figures of an audit, those of a proportion where there are labels."""
    if not _named(_is_figure)(value):
        return False
    needed = {"labels", "right", "acc", "low", "high"} if value.get("labels") else {"labels", "right"}
    return not value or needed <= set(value)


_OF_EFFORT: dict[str, Callable[[Any], bool]] = {
    "seconds": lambda value: _is_figure(value) and 0 <= value <= MOST_SECONDS,
    "who": lambda value: isinstance(value, str) and len(value) <= LONGEST_NAME,
}

_TYPES: dict[str, Callable[[Any], bool]] = {
    "number": _is_count,
    "labelled": _is_count,
    "label_seconds": lambda value: _is_figure(value) and value >= 0,
    "pseudo_labels": _is_count,
    "class_counts": lambda value: value is None or _named(_is_count)(value),
    "metrics": _named(_is_figure),
    "seconds": _named(_is_figure),
    "peak_bytes": _named(_is_count),
    "steps": _is_count,
    "validation_labels": _is_count,
    "tested_with": lambda value: isinstance(value, str),
    "details": _named(lambda value: _is_figure(value) or _all(_is_figure)(value)),
    "unscorable": _all(_is_count),
    "corrected": _all(_is_count),
    "given_back": _all(_is_count),
    "skipped": _all(_is_count),
    "unusable": _all(_is_count),
    "audited": _all(_is_count),
    "audit": _is_audit,
    "warning": lambda value: value is None or isinstance(value, str),
    "members": _all(_named(_is_figure)),
}
