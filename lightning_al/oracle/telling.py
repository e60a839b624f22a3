"""Tell a run the answers to its open query, from any process, while no process runs it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from lightning_al.oracle.answer import NotUsable, name_in
from lightning_al.oracle.answer import opened as within
from lightning_al.oracle.answers import AnswerError, plain_answer
from lightning_al.oracle.asking import Answered, ask, pair_of, together
from lightning_al.oracle.correction import Correction
from lightning_al.oracle.corrections import check_own, opened, rules_of
from lightning_al.oracle.open_query import rest_of
from lightning_al.oracle.query import Query
from lightning_al.oracle.set_aside import Skip
from lightning_al.run.folder import JOURNAL
from lightning_al.run.journal import Journal
from lightning_al.run.journal_command import command
from lightning_al.run.keys_file import load_keys
from lightning_al.run.labels import Change, Label
from lightning_al.run.recorded_labels import places_of, recorded_labels
from lightning_al.run.records import OpenQuery
from lightning_al.task.class_names import Classes
from lightning_al.values.errors import first_few
from lightning_al.values.whole_numbers import plain, shown

By = Literal["index", "key"]


def tell(
    folder: str | os.PathLike[str],
    answers: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
    *,
    by: By = "index",
    who: str | None = None,
) -> dict[int, Label]:
    """Record answers to the open query of a run. They are on disk when this returns.

    Valid answers are recorded even if others are refused. A `Correction` of an earlier answer may be told at any time,
    also where no query is open.

    Args:
        folder: The run's folder.
        answers: Labels, answers that are no label, or corrections, by the index or by the key of their points.
        by: Whether they come by index or by key.
        who: Who gave those that do not say it themselves, as an `Answer` does.

    Returns:
        All answers of the query so far as plain data, by index.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        ValueError: If no query is open, if `who` is no name, or if answers were refused.
    """
    name = _name(who)
    with opened(folder) as journal:
        query, rules = journal.records.query, rules_of(journal.records)
        if query is None or not query.is_of_a_fit or not query.rest:
            answers = list(chain.from_iterable(together(answers)))
            if not answers or not all(_corrects(pair_of(pair)[1]) for pair in answers):
                raise ValueError(
                    f"The run in {folder} awaits no answers. Start it again, and tell what it asks then. Only a "
                    "`Correction` of an earlier answer can be told at any time."
                )
            query = OpenQuery(len(journal.records.rounds), [], [])

        def accept(index: int, answer: Any) -> Label:
            if index in query.rest:
                return plain_answer(answer, rules)
            # The answer that a point has says nothing of what it may be.
            label = None if answer is None else plain_answer(answer, rules_of(journal.records, index))
            check_own(journal.records, index, label)
            return label

        wrong = ask(
            lambda: answers if by == "index" else _by_index(answers, query, folder),
            query,
            name="tell",
            accept=accept,
            record=journal.answer,
            kept=f"in {folder}",
            who=name,
            earlier=Answered(
                has=lambda index: index in places_of(recorded_labels(journal.records)),
                correct=lambda labels: journal.change(*(Change(index, label) for index, label in labels.items())),
            ),
        )
    if wrong is not None:
        raise wrong
    return dict(query.answers)


def skip(folder: str | os.PathLike[str], indices: Sequence[int]) -> list[int]:
    """Leave points out of the open query, all or none, such as those whose items are gone. It costs no label.

    Args:
        folder: The run's folder.
        indices: The points.

    Returns:
        The points that still await an answer.

    Raises:
        FileNotFoundError: If the folder holds no run.
        RuntimeError: If a process runs the run, or the journal is damaged.
        ValueError: If a point awaits no answer.
    """
    with opened(folder) as journal:
        rest = [] if journal.records.query is None else journal.records.query.rest
        others = [index for index in indices if index not in set(rest)]
        if others:
            raise ValueError(
                f"Of the run in {folder}, [{first_few(others)}] is no point that awaits an answer. Name some of the "
                f"{len(rest)} that do, which `{command('show', folder)}` lists."
            )
        journal.answer({index: Skip().to_plain() for index in indices})
        return [index for index in rest if index not in set(indices)]


def _name(given: Any) -> str | None:
    who = name_in(given)
    if isinstance(who, NotUsable):
        raise ValueError(
            f"`tell(who={shown(given)})` is no name of a person. Pass a short text in one line, or leave `who` out."
        )
    return who


def pending_in(folder: str | os.PathLike[str]) -> Query | None:
    """Return the query of a run in a folder that awaits answers, without its items, or None.

    Raises:
        RuntimeError: If a process runs the run, or the journal is damaged.
    """
    if not (Path(folder) / JOURNAL).exists():
        return None
    records = Journal.read(folder)
    query = records.query
    if query is None or not query.is_of_a_fit or not query.rest:
        return None
    return rest_of(query, classes=Classes.from_dict((records.header or {}).get("classes")), folder=folder)


def _corrects(answer: Any) -> bool:
    return isinstance(within(answer)[0], Correction)


@dataclass(frozen=True)
class _Together:
    """Answers by index that came together, read as a mapping is, but an index may come twice."""

    pairs: list[tuple[Any, Any]]

    def keys(self) -> list[Any]:
        return [index for index, _ in self.pairs]

    def items(self) -> list[tuple[Any, Any]]:
        return self.pairs


def _by_index(answers: Any, query: OpenQuery, folder: str | os.PathLike[str]) -> Iterator[_Together]:
    """Yield answers by index instead of by key, in the groups in which they came.

    Raises:
        AnswerError: After all others, if some are no pairs, or if a key is none of the query's. A correction may be for
            any item of the run.
    """
    of_run = {key: index for index, key in enumerate(load_keys(folder))}
    keys = query.points if query.keys is None else query.keys
    places = dict(zip(keys, query.points, strict=True))
    strange: list[Any] = []
    wrong: list[str] = []
    for pairs in together(answers):
        found: list[tuple[Any, Any]] = []
        for pair in pairs:
            try:
                key, answer = pair_of(pair)
            except AnswerError as error:
                wrong.append(str(error))
                continue
            known = plain(key)
            if isinstance(known, str | int) and known in places:
                found.append((places[known], answer))
            elif _corrects(answer) and isinstance(known, str | int) and (known in of_run or not of_run):
                found.append((of_run.get(known, known), answer))  # without keys, an item is known by its index
            else:
                strange.append(key)
        yield _Together(found)
    if strange:
        wrong.append(f"the keys {first_few(list(map(shown, strange)))} were not queried")
    if wrong:
        raise AnswerError("; ".join(dict.fromkeys(wrong)))
