"""Numbers that users pass: whatever says a whole number is one, and anything else is refused where it is passed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import ActiveDataModule, ActiveLearning, BatchBALD, MCDropout, batchbald
from lightning_al.acquisition.base import at_most
from lightning_al.data.pool import Pool
from lightning_al.run.journal import Journal
from lightning_al.values.whole_numbers import MOST_HELD, MOST_SAMPLES, MOST_WORKERS, as_whole, whole_number
from tests.support.tasks import LitMLP, points, trainer


class Lying(int):
    """A whole number that says of itself to be another."""

    def __int__(self) -> int:
        return 3

    __index__ = __float__ = __trunc__ = __int__  # type: ignore[assignment]


TAKEN: list[Callable[[int], Any]] = [
    int,
    float,
    np.int8,
    np.int64,
    np.uint16,
    np.float32,
    np.float64,
    np.array,
    torch.tensor,
    lambda number: torch.tensor(float(number)),
    lambda number: torch.tensor(number, dtype=torch.uint8),
    Fraction,
    lambda number: np.ma.array(number, mask=False),
    lambda number: np.array(number, dtype=object),
    np.longdouble,
    Lying,
]
REFUSED = [True, False, np.True_, torch.tensor(True), 4.5, np.float32(4.5), torch.tensor(4.5), "4", b"4", [4]]
REFUSED += [np.ma.masked, np.ma.array(4, mask=True), np.timedelta64(4, "ns"), np.timedelta64(4, "D"), "٤"]
REFUSED += [np.datetime64("NaT"), np.array(None, dtype=object), torch.empty((), device="meta"), np.array("4")]
REFUSED += [Fraction(4 * 10**30 + 1, 10**30), np.longdouble(4) + np.longdouble(1e-18), np.void(b"4"), -float("inf")]
REFUSED += [(4,), torch.tensor([4]), np.array([4]), float("nan"), float("inf"), 4j, Decimal(4), {4}, object(), len]

LOG_PROBS = torch.full((3, 2, 2), 0.5).log()

ARGUMENTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "query_size": (lambda n: ActiveLearning("bald", query_size=n), lambda made: made.query_size),
    "budget": (lambda n: ActiveLearning("bald", query_size=1, budget=n), lambda made: made.budget),
    "max_rounds": (lambda n: ActiveLearning("bald", query_size=1, max_rounds=n), lambda made: made.max_rounds),
    "rounds_per_fit": (
        lambda n: ActiveLearning("bald", query_size=1, rounds_per_fit=n),
        lambda made: made.rounds_per_fit,
    ),
    "seed": (lambda n: ActiveLearning("bald", query_size=1, seed=n), lambda made: made.seed),
    "initial_size": (lambda n: ActiveDataModule(points(9), initial_size=n), lambda made: made.initial_size),
    "seed of the data": (lambda n: ActiveDataModule(points(9), initial_size=2, seed=n), lambda made: made.seed),
    "samples_per_epoch": (
        lambda n: ActiveDataModule(points(9), initial_size=2, samples_per_epoch=n),
        lambda made: made.samples_per_epoch,
    ),
    "pool_batch_size": (
        lambda n: ActiveDataModule(points(9), initial_size=2, pool_batch_size=n),
        lambda made: made.pool_batch_size,
    ),
    "batch_size": (
        lambda n: ActiveDataModule(points(9), initial_size=2, batch_size=n),
        lambda made: made.wrapped.train_dataloader().batch_size,
    ),
    "num_workers": (
        lambda n: ActiveDataModule(points(9), initial_size=2, num_workers=n),
        lambda made: made.wrapped.train_dataloader().num_workers,
    ),
    "num_samples": (MCDropout, lambda made: made.num_samples),
    "num_configurations": (BatchBALD, lambda made: made.num_configurations),
    "b": (lambda n: at_most(n, 100), lambda made: made),
    "indices": (lambda n: Pool(9, [n]), lambda made: made.initial[0]),
    "size": (Pool, lambda made: made.size),
    "num_configurations of the function": (lambda n: batchbald(LOG_PROBS, 1, num_configurations=n), lambda made: 2),
}


@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_every_form_of_a_whole_number_is_taken_as_the_plain_one(name: str) -> None:
    make, read = ARGUMENTS[name]
    for form in TAKEN:
        found = read(make(form(2)))
        assert found == 2
        assert type(found) is int, form


@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_what_is_no_whole_number_is_refused_at_construction(name: str) -> None:
    make, _ = ARGUMENTS[name]
    for value in REFUSED:
        with pytest.raises((TypeError, ValueError), match=r"a whole number.*, but got .* Pass (`b` as )?an int"):
            make(value)


TOO_LARGE = [2**63, 10**30, 1e30, np.float64(1e300), torch.tensor(1e30), Fraction(10**400), 10**5000]
HAVE_A_LIMIT = [name for name in ARGUMENTS if not name.startswith("seed") and name not in ("b", "indices")]


@pytest.mark.parametrize("name", HAVE_A_LIMIT)
@pytest.mark.parametrize("value", TOO_LARGE, ids=lambda value: type(value).__name__)
def test_what_no_list_could_hold_is_refused_at_construction(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"takes `{name.split()[0]}` up to [0-9,]+, but got .*Pass a smaller one"):
        ARGUMENTS[name][0](value)


@pytest.mark.parametrize("name", ["query_size", "budget", "max_rounds", "rounds_per_fit", "batch_size", "initial_size"])
def test_the_largest_number_of_python_stands_for_all(name: str) -> None:
    make, read = ARGUMENTS[name]
    assert read(make(sys.maxsize)) == sys.maxsize


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("name", "most"), [("num_samples", MOST_SAMPLES), ("num_workers", MOST_WORKERS), ("samples_per_epoch", MOST_HELD)]
)
def test_what_is_held_at_once_has_a_lower_limit(name: str, most: int) -> None:
    assert ARGUMENTS[name][1](ARGUMENTS[name][0](most)) == most
    with pytest.raises(ValueError, match=rf"takes `{name}` up to {most:,}, but got {most + 1}"):
        ARGUMENTS[name][0](most + 1)


def test_a_number_of_workers_is_no_share() -> None:
    with pytest.raises(ValueError, match=r"`num_workers` to be a whole number, but got 0.5. It counts processes and"):
        ARGUMENTS["num_workers"][0](0.5)


@pytest.mark.parametrize("name", ["batch_size", "num_configurations"])
def test_numbers_below_one(name: str) -> None:
    with pytest.raises(ValueError, match=rf"needs `{name}` of at least 1, but got -2\."):
        ARGUMENTS[name][0](-2)


def test_a_budget_is_no_share_of_the_points() -> None:
    with pytest.raises(ValueError, match=r"`budget` to be a whole number, but got 0.1. It counts points and is not a"):
        ActiveLearning("bald", query_size=1, budget=0.1)  # type: ignore[arg-type]


@given(st.floats() | st.integers() | st.booleans() | st.text(max_size=3))
def test_a_number_is_whole_where_python_says_so(value: Any) -> None:
    is_whole = type(value) is int or (type(value) is float and value.is_integer())
    assert as_whole(value) == (int(value) if is_whole else None)
    if is_whole:
        assert whole_number("X", "y", value, least=None) == value


@pytest.mark.parametrize("seed", [0, -3, 2**63 - 1, 2**64 + 5])
def test_any_whole_seed_is_one(seed: int) -> None:
    data = ActiveDataModule(points(40), initial_size=8, seed=seed)
    data.setup("fit")
    assert len(data.pool.initial) == 8
    assert ActiveLearning("bald", query_size=1, seed=seed).seed == seed


def test_min_gain_and_max_memory_may_be_scalars_of_numpy() -> None:
    made = BatchBALD(min_gain=np.float64(0.25), max_memory=np.int64(10**6))  # type: ignore[arg-type]
    assert repr(made) == repr(BatchBALD(min_gain=0.25, max_memory=10**6))
    with pytest.raises(ValueError, match="expected `min_gain` of at least 0 nats or 'noise', but got True"):
        BatchBALD(min_gain=True)


def test_a_run_in_a_folder_is_the_same_whatever_form_its_numbers_have(tmp_path: Path) -> None:
    def run(folder: Path, number: Callable[[int], Any]) -> ActiveLearning:
        torch.manual_seed(0)
        data = ActiveDataModule(points(40), initial_size=number(8), seed=number(2), batch_size=number(8))
        active = ActiveLearning(
            "bald",
            query_size=number(4),
            budget=number(16),
            posterior=MCDropout(number(5)),
            seed=number(3),
            folder=folder,
        )
        trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
        return active

    plain, other = run(tmp_path / "plain", int), run(tmp_path / "other", np.int64)
    assert [round.indices for round in plain.history] == [round.indices for round in other.history]
    journals = [Journal(tmp_path / name) for name in ("plain", "other")]
    headers = [{**(journal.header or {}), "id": "of the run"} for journal in journals]
    assert headers[0] == headers[1]
    for journal in journals:
        journal.close()
    # The run goes on in either form.
    again = run(tmp_path / "other", lambda number: torch.tensor(float(number)))
    assert [round.indices for round in again.history] == [round.indices for round in plain.history]


def test_numbers_that_are_assigned_later_are_read_at_setup(tmp_path: Path) -> None:
    data = ActiveDataModule(points(40), initial_size=8)
    active = ActiveLearning("bald", query_size=4, budget=12)
    active.query_size, active.budget = np.int64(2), 10.0  # type: ignore[assignment]
    trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
    assert (type(active.query_size), active.budget, data.pool.num_labelled) == (int, 10, 10)
    active.budget = 12.5  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"needs `budget` to be a whole number, but got 12\.5"):
        trainer(tmp_path, callbacks=[active]).fit(LitMLP(), datamodule=data)
