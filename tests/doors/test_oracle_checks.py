"""`check_oracle` passes right oracles, and names the fault of wrong ones."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_al import Answer, Oracle, Query, Revealed
from lightning_al.oracle import FunctionOracle
from lightning_al.testing import check_oracle
from lightning_al.testing.interruptions import ending_of

NAMES = ["ant", "bee", "cow", "dog"]


class Person(Oracle):
    """Waits for each answer, as someone who was asked would have it."""

    def __init__(self) -> None:
        self.typed: dict[int, str] = {}

    def type(self, query: Query) -> None:
        self.typed = {index: NAMES[index % 4] for index in query}

    def label(self, query: Query) -> Iterator[tuple[int, str]]:
        for index in query:
            while index not in self.typed:
                time.sleep(0.01)
            yield index, self.typed.pop(index)


class Letters(Oracle):
    """Writes a file that lists the questions, and reads what is answered by now in another."""

    def __init__(self, folder: Path) -> None:
        self.questions, self.answers = folder / "questions", folder / "answers"

    def label(self, query: Query) -> Mapping[int, int]:
        self.questions.write_text("\n".join(map(str, query)))
        lines = self.answers.read_text().splitlines() if self.answers.exists() else []
        found = dict(tuple(map(int, line.split())) for line in lines)
        return {index: found[index] for index in query if index in found}

    def answer_some(self, query: Query) -> None:
        self.answers.write_text("\n".join(f"{index} {index % 4}" for index in query[::2]))


def test_an_answer_whose_seconds_cannot_be_is_named() -> None:
    with pytest.raises(AssertionError, match="says what cannot be used: the seconds -1"):
        check_oracle(lambda query: {index: Answer(index % 4, seconds=-1) for index in query})


def test_right_oracles_pass(tmp_path: Path) -> None:
    person, letters = Person(), Letters(tmp_path)
    check_oracle(Revealed())
    check_oracle(FunctionOracle(lambda query: {index: index % 4 for index in query}), classes=range(4))
    check_oracle(lambda query: ((index, 2 * index) for index in query))
    check_oracle(lambda query: ((index, Answer(index % 4, seconds=2.5, who="anna")) for index in query))
    check_oracle(lambda query: [(index, [0.5, 0.5]) for index in list(query)[:2]])
    check_oracle(lambda query: {})
    check_oracle(person, classes=NAMES, feed=person.type)
    check_oracle(letters, classes=[0, 1, 2, 3], feed=letters.answer_some)


def test_a_query_of_one_s_own_is_asked() -> None:
    seen: list[Query] = []
    query = Query(0, [5, 9], keys=["a", "b"], items=torch.eye(2))

    def ask(query: Query) -> dict[int, int]:
        seen.append(query)
        return {index: int(item.argmax()) for index, item in zip(query, query.items, strict=True)}

    check_oracle(ask, query=query, classes=[0, 1])
    assert [list(asked) for asked in seen] == [[5, 9]] * 3 + [[5]] + [[5, 9]] + [[9]] * 2
    assert [asked.keys for asked in seen[-2:]] == [["b"]] * 2
    assert [dict(asked.answers) for asked in seen[-2:]] == [{5: 0}] * 2
    assert query.indices == [5, 9]


def zeros(query: Query) -> dict[int, int]:
    return dict.fromkeys(query, 0)


def for_others(query: Query) -> dict[int, int]:
    return zeros(query) | {1234: 0}


def for_recorded(query: Query) -> dict[int, int]:
    return zeros(query) | dict.fromkeys(query.answers, 0)


def for_positions(query: Query) -> dict[int, int]:
    return dict.fromkeys(range(len(query)), 0)


def twice(query: Query) -> list[tuple[int, int]]:
    return [(index, label) for index in query for label in (0, 1)]


def for_ever(query: Query) -> Iterator[tuple[int, int]]:
    while True:
        time.sleep(0.01)
        yield from []


def takes_them_out(query: Query) -> dict[int, int]:
    found = {}
    while query:
        found[query.pop()] = 0
    return found


def sorts_the_scores(query: Query) -> dict[int, int]:
    query.scores.sort()
    return zeros(query)


def sharpens(query: Query) -> dict[int, int]:
    assert query.probs is not None
    for probs in query.probs:
        probs[0] = 1.0
    return zeros(query)


def blanks_the_items(query: Query) -> dict[int, int]:
    for item in query.items:
        item[0].zero_()
    return zeros(query)


def another_class(query: Query) -> dict[int, int]:
    return dict.fromkeys(query, 4)


def no_number(query: Query) -> dict[int, float]:
    return dict.fromkeys(query, float("nan"))


def bare_labels(query: Query) -> list[int]:
    return [0 for _ in query]


def a_text(query: Query) -> str:
    return "0" * len(query)


def cannot_be_closed(query: Query) -> Iterator[tuple[int, int]]:
    for index in query:
        try:
            yield index, 0
        except GeneratorExit:
            yield index, 1


def needs_all(query: Query) -> dict[int, int]:
    if len(query) < 2:
        raise IndexError("there is no second point")
    return zeros(query)


def asks_until_answered(query: Query) -> dict[int, int]:
    while True:
        with suppress(KeyboardInterrupt):
            time.sleep(60)


def catches_all(query: Query) -> dict[int, int]:
    while True:
        with suppress(BaseException):
            time.sleep(0.01)


def asks_again_after_any_error(query: Query) -> dict[int, int]:
    try:
        time.sleep(60)
    except BaseException:
        return asks_again_after_any_error(query)
    return zeros(query)


def ignores_the_signal(query: Query) -> dict[int, int]:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        time.sleep(60)
    finally:
        signal.signal(signal.SIGTERM, before)
    return zeros(query)


def blocks_the_signal(query: Query) -> dict[int, int]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        time.sleep(60)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return zeros(query)


def leaves_a_handler(query: Query) -> dict[int, int]:
    signal.signal(signal.SIGINT, lambda *_: print("please wait"))
    return zeros(query)


def leaves_it_blocked(query: Query) -> dict[int, int]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    return zeros(query)


def waits(query: Query) -> dict[int, int]:
    threading.Event().wait()
    return zeros(query)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (for_others, "answers for others: for 1234, but it was asked for"),
        (for_recorded, "answers for others: for 41, but it was asked for"),
        (for_positions, "answers for others: for 0, but"),
        (twice, "answers twice for 41"),
        (takes_them_out, "changes the query: its indices"),
        (sorts_the_scores, "changes the query: its scores"),
        (sharpens, "changes the query: its probs"),
        (blanks_the_items, "changes the query: its items"),
        (another_class, "gives an answer that is refused: .*4"),
        (no_number, "gives an answer that is refused: .*nan"),
        (bare_labels, "gives an answer that is refused: it came as int and not as a pair"),
        (a_text, "gives an answer that is refused: they came as str"),
        (cannot_be_closed, "cannot be closed: its generator raises RuntimeError"),
        (asks_until_answered, "blocks a signal: .* SIGINT came"),
        (catches_all, "blocks a signal: .* SIGINT came"),
        (asks_again_after_any_error, "blocks a signal: .* SIGINT came"),
        (ignores_the_signal, "blocks a signal: .* SIGTERM came"),
        (blocks_the_signal, "blocks a signal: .* SIGINT came"),
        (leaves_a_handler, "leaves a handler behind: SIGINT is"),
        (leaves_it_blocked, "leaves a handler behind: SIGTERM is"),
        (waits, "does not end: it was asked 0.3 s ago"),
        (for_ever, "does not end: it was asked 0.3 s ago"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # where it breaks a garbage collection off
def test_wrong_oracles_are_named(wrong: Callable[[Query], Any], fault: str) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers], signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(AssertionError, match=rf"^`[\w.]+\.{wrong.__name__}` {fault}"):
        check_oracle(wrong, classes=range(4), seconds=0.3)
    assert ([signal.getsignal(number) for number in numbers], signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before


def test_an_error_of_an_oracle_is_its_own() -> None:
    with pytest.raises(IndexError, match="there is no second point"):
        check_oracle(needs_all)


def test_it_is_called_in_the_main_thread() -> None:
    found: list[BaseException] = []

    def check() -> None:
        try:
            check_oracle(Revealed())
        except RuntimeError as error:
            found.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match=r"`check_oracle` sends signals, which Python handles in its main thread"):
        raise found[0]


def test_a_call_that_is_over_gets_no_signal() -> None:
    for _ in range(200):
        ending = ending_of(lambda: 3, seconds=0.0001, sent=signal.SIGINT)
        assert ending.error is None or ending.is_late
