"""Programs that answer by a plain function, or by an object that has nothing but the method."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Oracle
from lightning_al.oracle import FunctionOracle, Revealed, as_oracle
from tests.support.tasks import CLASSES, LitMLP, points, trainer

asked: list[list[int]] = []


def ask(indices: list[int]) -> dict[int, int]:
    asked.append(indices)
    return {index: index % CLASSES for index in indices}


def ask_table(table: Mapping[int, int], indices: Sequence[int]) -> dict[int, int]:
    return {index: table[index] for index in indices}


class People:
    """An object with the method, which inherits nothing."""

    def label(self, indices: Sequence[int]) -> dict[int, int]:
        return ask(list(indices))

    def ask(self, indices: list[int]) -> dict[int, int]:
        return ask(indices)


class Calling:
    def __call__(self, indices: list[int]) -> dict[int, int]:
        return ask(indices)


class LitOracle(Oracle):
    def label(self, indices: Sequence[int]) -> Mapping[int, Any]:
        return ask(list(indices))


TABLE = {index: index % CLASSES for index in range(24)}

# What may answer, and by what name it is known.
ORACLES: dict[str, tuple[Any, str]] = {
    "function": (ask, "tests.programs.test_oracle_functions.ask"),
    "lambda": (lambda indices: ask(indices), "tests.programs.test_oracle_functions.<lambda>"),
    "partial": (
        functools.partial(ask_table, TABLE),
        "functools.partial(tests.programs.test_oracle_functions.ask_table)",
    ),
    "method": (People().ask, "tests.programs.test_oracle_functions.People.ask"),
    "callable object": (Calling(), "tests.programs.test_oracle_functions.Calling"),
    "object with the method": (People(), "tests.programs.test_oracle_functions.People"),
    "oracle": (LitOracle(), "tests.programs.test_oracle_functions.LitOracle"),
    "name": ("revealed", "Revealed()"),
    "default": (None, "Revealed()"),
}


def run(tmp_path: Path, oracle: Any) -> ActiveLearning:
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=2, max_rounds=3, oracle=oracle)
    data = ActiveDataModule(points(24), initial_size=4, batch_size=4)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
    return active


@pytest.mark.parametrize(("oracle", "name"), ORACLES.values(), ids=ORACLES)
def test_whatever_answers_is_asked_for_each_query(tmp_path: Path, oracle: Any, name: str) -> None:
    asked.clear()
    active = run(tmp_path, oracle)
    queries = [round.indices for round in active.history if round.indices]
    assert len(queries) == 2
    assert asked in (queries, [])
    assert f"oracle={name};" in repr(active)


def test_an_object_stays_what_the_user_passed() -> None:
    people = People()
    assert ActiveLearning("bald", query_size=1, oracle=people).oracle is people
    assert as_oracle(Revealed()) == Revealed()
    assert isinstance(as_oracle(ask), FunctionOracle)


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        (
            TABLE,
            r"expected a registered name, an object with a method `label`, or a function .* but got dict. Pass `lam",
        ),
        (3, "a function of the query, but got int"),
        (People, r"expected an object that labels, but got the class People. Pass an object of it, `People\(...\)`"),
        (LitOracle, "got the class LitOracle"),
    ],
)
def test_what_can_answer_nothing_is_refused(oracle: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ActiveLearning("bald", query_size=1, oracle=oracle)


def test_an_unknown_name_is_answered_by_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no oracle named 'people'. Choose one of: .*revealed"):
        ActiveLearning("bald", query_size=1, oracle="people")


def test_an_answer_for_other_points_names_the_function(tmp_path: Path) -> None:
    def for_others(indices: list[int]) -> dict[int, int]:
        return dict.fromkeys([*indices[1:], 999], 0)

    with pytest.raises(ValueError, match=r"for_others` was asked to label the indices .*, but answered for"):
        run(tmp_path, for_others)
