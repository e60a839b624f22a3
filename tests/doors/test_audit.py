"""Points that are set aside to measure by: drawn before all else, mixed into the queries, never trained on."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from lightning_al import (
    ActiveDataModule,
    ActiveLearning,
    Deterministic,
    MCDropout,
    Other,
    Query,
    Skip,
    Unusable,
    score_pool,
)
from lightning_al.cli.journal import main as journal_main
from lightning_al.data.audit import Audit
from lightning_al.host.namespace import pl
from lightning_al.oracle.corrections import correct, give_back
from lightning_al.report.command import main as report_main
from lightning_al.rounds.audit import figures
from lightning_al.run.journal import Journal
from tests.support.tasks import CLASSES, LitMLP, points, trainer

X, Y = points(48).tensors
NAMES = ["ant", "bee", "cat", "dog"]
NUMBER = {tuple(row): index for index, row in enumerate(X.tolist())}


class Recording(LitMLP):
    """Remembers what it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: set[int] = set()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.trained |= {NUMBER[tuple(row)] for row in batch[0].tolist()}
        return super().training_step(batch, batch_idx)


class Person:
    """Answers at most some points of a query, and remembers what it was shown."""

    def __init__(self, most: int | None = None, answers: Mapping[int, Any] | None = None, **options: Any) -> None:
        self.most = most
        self.answers = dict(answers or {})
        self.shown: list[Query] = []
        vars(self).update(options)

    def label(self, query: Query) -> dict[int, Any]:
        self.shown.append(query)
        return {index: self.answers.get(index, NAMES[int(Y[index])]) for index in query[: self.most]}


def run(
    root: Path,
    oracle: Any = None,
    *,
    folder: Path | None = None,
    calls: int = 1,
    data: Any = X,
    pool: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Any:
    """Call `trainer.fit` several times, each as a program of its own where there is a folder."""
    given = {"initial_size": 8, "audit": 0.2, "classes": NAMES, "batch_size": 8, "seed": 0, **(pool or {})}
    options = {"budget": 30, "posterior": MCDropout(2), "seed": 0, **arguments}
    made: Any = None
    for _ in range(calls):
        if made is None or folder is not None:
            torch.manual_seed(0)
            active = ActiveLearning("bald", query_size=6, oracle=oracle, folder=folder, **options)
            made = active, ActiveDataModule(data, **given), Recording(), trainer(root, max_epochs=1, callbacks=[active])
        active, datamodule, module, fitter = made
        fitter.fit(module, datamodule=datamodule)
    return active, datamodule, module


def told(active: ActiveLearning, data: ActiveDataModule, module: LitMLP) -> tuple[Any, ...]:
    rounds = [(r.indices, r.scores, r.labelled, r.audit, r.audited, r.spent) for r in active.history]
    weights = {name: value.tolist() for name, value in module.state_dict().items()}
    return rounds, weights, data.pool.state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root, oracle = tmp_path_factory.mktemp("whole"), Person()
    return *run(root, oracle, folder=root / "run"), oracle, root / "run"


def test_they_are_never_trained_on_nor_in_the_pool(whole: Any) -> None:
    _, data, module, _, _ = whole
    audit = set(data.pool.audit.points)
    assert len(audit) == 6
    assert not audit & {*data.pool.labelled, *data.pool.unlabelled, *module.trained}
    assert module.trained == set(data.pool.labelled)
    assert data.pool.size == len(X) - 6


def test_all_are_answered_and_charged_to_the_budget(whole: Any) -> None:
    active, data, _, _, _ = whole
    assert data.pool.audit.waiting == []
    assert data.pool.num_spent == active.history[-1].spent == 30
    assert data.pool.num_labelled == 30 - 6
    assert data.pool.audit.answers == {index: int(Y[index]) for index in data.pool.audit.answers}


def test_they_are_mixed_into_the_queries_and_nothing_is_suggested(whole: Any) -> None:
    active, data, _, person, _ = whole
    audit = set(data.pool.audit.points)
    asked = [index for query in person.shown for index in query]
    assert sorted(asked) == sorted([*data.pool.labelled, *audit])
    assert [sorted(audit & set(query)) for query in person.shown][1:-1] == [
        sorted(round.audited) for round in active.history[:-2]
    ]
    places = {query.index(index) / (len(query) - 1) for query in person.shown for index in audit & set(query)}
    assert len(places) > 2
    for query in person.shown[1:]:
        assert [index for index in query if index not in audit] == active.history[query.round].indices
        for row in query.to_frame().to_dict("records"):
            assert math.isnan(row["score"]) == (row["index"] in audit)
            assert math.isnan(row["probability"]) == (row["index"] in audit)
            assert (row["predicted"] in NAMES) == (row["index"] not in audit)


def wilson(right: int, of: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval as Wilson (1927) wrote it."""
    p = right / of
    centre, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (centre - half) / (1 + z * z / of), (centre + half) / (1 + z * z / of)


def test_the_figures_are_those_of_the_model_after_each_fit(tmp_path: Path) -> None:
    active, data, module = run(tmp_path, Person(), rounds_per_fit=1)
    fitter = trainer(tmp_path, max_epochs=1, callbacks=[active])
    while True:
        round = active.history[-1]
        known = [index for index in data.pool.audit.answers if index not in round.audited]
        with torch.no_grad():
            right = int((module.eval()(X[known]).argmax(1) == Y[known]).sum())
        found = round.audit
        assert (found["right"], found["labels"], found["paid"]) == (right, len(known), len(known))
        assert (found["low"], found["high"]) == pytest.approx(wilson(right, len(known)))
        assert found["acc"] == round.metrics["audit_acc"] == right / len(known)
        if active.done:
            break
        fitter.fit(module.train(), datamodule=data)
    assert len(active.history) == 4


def test_what_ten_and_a_hundred_labels_tell_is_as_documented() -> None:
    bounds = []
    for right, labels in ((9, 10), (90, 100)):
        audit = Audit(range(labels))
        audit.answer(dict.fromkeys(range(labels), 1))
        found = figures(audit, right, labels)
        assert (found["low"], found["high"]) == pytest.approx(wilson(right, labels))
        bounds += [round(found["low"], 2), round(found["high"], 2)]
    assert bounds == [0.6, 0.98, 0.83, 0.94]


def test_the_oracle_of_the_dataset_gives_the_same_picks(tmp_path: Path, whole: Any) -> None:
    active, data, _ = run(tmp_path, data=TensorDataset(X, Y))
    assert [round.indices for round in active.history] == [round.indices for round in whole[0].history]
    assert data.pool.audit.points == whole[1].pool.audit.points
    assert data.pool.audit.waiting == []
    assert active.history[-1].audit == whole[0].history[-1].audit


@pytest.mark.long
def test_answers_one_by_one_in_other_processes_end_as_all_at_once(tmp_path: Path, whole: Any) -> None:
    person = Person(most=3)
    paused = run(tmp_path, person, folder=tmp_path / "run", calls=13)
    assert told(*paused) == told(*whole[:3])
    assert len({index for query in person.shown for index in query}) == 30


def test_a_run_without_a_folder_pauses_too(tmp_path: Path, whole: Any) -> None:
    assert told(*run(tmp_path, Person(most=5), calls=9)) == told(*whole[:3])


def test_a_checkpoint_has_them(tmp_path: Path, whole: Any) -> None:
    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"round-{active.round}.ckpt")

    def begin() -> Any:
        torch.manual_seed(0)
        active = ActiveLearning("bald", query_size=6, oracle=Person(), budget=30, posterior=MCDropout(2), seed=0)
        data = ActiveDataModule(X, initial_size=8, audit=0.2, classes=NAMES, batch_size=8, seed=0)
        return active, data, Recording()

    active, data, module = begin()
    trainer(tmp_path, max_epochs=1, callbacks=[active, Saves()]).fit(module, datamodule=data)
    assert told(active, data, module) == told(*whole[:3])
    again = begin()
    fitter = trainer(tmp_path, max_epochs=2, callbacks=[again[0]])
    fitter.fit(again[2], datamodule=again[1], ckpt_path=tmp_path / "round-2.ckpt", weights_only=False)
    assert [r.audited for r in again[0].history] == [r.audited for r in active.history]
    assert again[1].pool.audit.answers == data.pool.audit.answers


def test_a_checkpoint_that_lightning_finds_has_them(tmp_path: Path, whole: Any) -> None:
    def fit(most: int) -> Any:
        torch.manual_seed(0)
        options = {"budget": 30, "posterior": MCDropout(2), "seed": 0, "rounds_per_fit": most}
        active = ActiveLearning("bald", query_size=6, oracle=Person(), **options)
        data = ActiveDataModule(X, initial_size=8, audit=0.2, classes=NAMES, batch_size=8, seed=0)
        module, fitter = Recording(), trainer(tmp_path, max_epochs=1, callbacks=[active])
        fitter.fit(module, datamodule=data)
        return active, data, module, fitter

    *_, fitter = fit(2)
    fitter.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    active, data, module, _ = fit(9)
    assert told(active, data, module) == told(*whole[:3])


def test_skipped_ones_are_a_rate_and_a_class_nobody_listed_is_wrong(tmp_path: Path, whole: Any) -> None:
    a, b, c, *others = whole[1].pool.audit.points
    person = Person(answers={a: Skip(), b: Unusable("dark"), c: Other("fox")})
    active, data, module = run(tmp_path, person, folder=tmp_path / "run")
    found = active.history[-1].audit
    with torch.no_grad():
        right = int((module.eval()(X[others]).argmax(1) == Y[others]).sum())
    assert (found["labels"], found["right"], found["answers"], found["paid"]) == (4, right, 6, 5)
    assert found["set_aside"] == pytest.approx(2 / 6)
    assert data.pool.num_spent == 30
    assert data.pool.skipped == data.pool.unusable == []
    states = {int(row["index"]): row["state"] for row in rows(tmp_path / "run") if row["audit"]}
    assert states == {a: "skip", b: "unusable", c: "other", **dict.fromkeys(others, "given")}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_labels_and_the_journal_tell_them_apart(whole: Any, capsys: Any) -> None:
    _, data, _, _, folder = whole
    assert {int(row["index"]) for row in rows(folder) if row["audit"] == "yes"} == set(data.pool.audit.points)
    assert journal_main(["show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert all(f"{index} ({Y[index]} {NAMES[int(Y[index])]}, audit)" in shown for index in data.pool.audit.points)


def test_a_corrected_one_counts_as_corrected(tmp_path: Path, whole: Any) -> None:
    run(tmp_path, Person(), folder=tmp_path / "run")
    index = whole[1].pool.audit.points[0]
    correct(tmp_path / "run", index, NAMES[(int(Y[index]) + 1) % CLASSES])
    active, data, module = run(tmp_path, Person(), folder=tmp_path / "run")
    before = whole[0].history[-1].audit
    with torch.no_grad():
        was_right = bool(module.eval()(X[[index]]).argmax(1) == Y[[index]])
    assert data.pool.audit.answers[index] == (int(Y[index]) + 1) % CLASSES
    assert active.history[-1].audit["right"] == before["right"] - was_right
    with pytest.raises(ValueError, match="never trained on, so there is nothing to give back"):
        give_back(tmp_path / "run", index)


def test_a_larger_budget_asks_for_no_further_ones(tmp_path: Path, whole: Any) -> None:
    run(tmp_path, Person(), folder=tmp_path / "run")
    active, data, _ = run(tmp_path, Person(), folder=tmp_path / "run", budget=40)
    assert data.pool.audit.points == whole[1].pool.audit.points
    assert active.history[-1].spent == 40


def test_a_share_is_of_all_points_where_there_is_no_budget(tmp_path: Path) -> None:
    active, data, _ = run(tmp_path, Person(), budget=None, max_rounds=3)
    assert len(data.pool.audit) == round(0.2 * len(X))
    share = [len(r.audited) / (len(r.audited) + len(r.indices)) for r in active.history if r.indices]
    assert all(0.2 <= part <= 0.35 for part in share)


def test_a_number_of_points_is_asked_for_within_the_rounds_there_are(tmp_path: Path) -> None:
    _, data, _ = run(tmp_path, Person(), budget=None, max_rounds=3, pool={"audit": 9})
    assert len(data.pool.audit) == 9
    assert data.pool.audit.waiting == []


def test_points_without_an_answer_are_asked_for_again_later(tmp_path: Path) -> None:
    class Few(Person):
        def label(self, query: Query) -> dict[int, Any]:
            answers = super().label(query)
            audit = [index for index in query if query.scores and math.isnan(query.scores[query.index(index)])]
            return answers if query.round < 0 else {i: answers[i] for i in query if i not in audit[:1]}

    active, data, _ = run(tmp_path, Few(accept_partial=4), folder=tmp_path / "run", calls=2)
    assert active.done
    first = [index for index in data.pool.audit.points if index not in active.history[0].audited]
    assert len(data.pool.audit.answers) + len(data.pool.audit.waiting) == 6
    assert data.pool.audit.waiting
    assert set(data.pool.audit.waiting) <= set(first)


def test_the_draw_does_not_depend_on_what_is_labelled_or_asked(whole: Any) -> None:
    for arguments in ({"initial_size": 20}, {"initial_size": 20, "balanced": True}, {"initial_size": 2}):
        data = ActiveDataModule(TensorDataset(X, Y), audit=6, seed=0, **arguments)
        data.setup("fit")
        assert data.pool.audit.points == whole[1].pool.audit.points
        assert not set(data.pool.audit.points) & set(data.pool.labelled)


def test_named_initial_points_are_not_drawn() -> None:
    data = ActiveDataModule(TensorDataset(X, Y), audit=40, initial=[3, 5], seed=0)
    data.setup("fit")
    assert data.pool.labelled == [3, 5]
    assert not {3, 5} & set(data.pool.audit.points)
    assert data.pool.num_unlabelled == 48 - 40 - 2


def hard_points(n: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, 2))
    return x, (x[:, 0] + 0.7 * generator.normal(size=n) > 0).astype(int)


def with_one(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.column_stack([x, np.ones(len(x))])


# The slow one is as precise as the README says.
@pytest.mark.parametrize(("first", "pools"), [(0, 100), pytest.param(500, 2000, marks=pytest.mark.slow)])
def test_it_is_unbiased_and_accuracy_on_other_labels_is_not(first: int, pools: int) -> None:
    errors: dict[str, list[float]] = {"audit": [], "chosen": [], "left over": []}
    for seed in range(first, first + pools):
        x, y = hard_points(400, seed)
        data = ActiveDataModule(TensorDataset(torch.tensor(x), torch.tensor(y)), initial_size=20, audit=40, seed=seed)
        data.setup("fit")
        pool = data.pool
        for size in (30, 50, 0):
            weights = np.linalg.lstsq(with_one(x[pool.labelled]), 2 * y[pool.labelled] - 1, rcond=None)[0]
            candidates = pool.unlabelled
            margins = np.abs(with_one(x[candidates]) @ weights)
            pool.label([candidates[place] for place in np.argsort(margins)[:size]])
        right = (with_one(x) @ weights > 0) == y
        # The truth: how good the model is on other points from the same source.
        new_x, new_y = hard_points(4_000, 10_000 + seed)
        truth = float(((with_one(new_x) @ weights > 0) == new_y).mean())
        chosen = [index for indices in pool.rounds[1:] for index in indices]
        for name, which in (("audit", pool.audit.points), ("chosen", chosen), ("left over", pool.unlabelled)):
            errors[name].append(float(right[which].mean()) - truth)
    error = np.std(errors["audit"], ddof=1) / np.sqrt(pools)
    print({name: round(float(np.mean(found)), 4) for name, found in errors.items()}, "standard error", round(error, 4))
    assert error < 0.07 / np.sqrt(pools)
    assert abs(np.mean(errors["audit"])) < 3 * error
    assert np.mean(errors["chosen"]) < -0.1
    assert np.mean(errors["left over"]) > 0.03


@pytest.mark.parametrize(
    ("audit", "error", "said"),
    [
        (0, ValueError, "expected a share between 0 and 1, or a number of points, but got 0"),
        (1.0, ValueError, "but got 1.0"),
        (-0.1, ValueError, "but got -0.1"),
        (math.nan, ValueError, "but got nan"),
        ("0.1", TypeError, "but got '0.1'. Pass a number"),
        (True, TypeError, "but got True"),
        (47, ValueError, "47 of 48 leave none to choose from"),
    ],
)
def test_what_is_no_share_or_number_is_refused(audit: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        ActiveDataModule(X, initial_size=4, classes=NAMES, audit=audit).setup("fit")


def test_a_budget_that_is_too_small_for_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is below the 18 initial and audit labels"):
        run(tmp_path, Person(), budget=17, pool={"audit": 10})


def test_data_that_were_set_up_before_the_budget_was_known_are_refused(tmp_path: Path) -> None:
    data = ActiveDataModule(TensorDataset(X, Y), initial_size=8, audit=0.2)
    data.setup("fit")
    active = ActiveLearning("bald", query_size=6, budget=30, posterior=MCDropout(2))
    with pytest.raises(ValueError, match=r"were set up before .* Leave the call of `setup` out"):
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(LitMLP(), datamodule=data)


def test_outputs_that_are_no_classes_are_refused_before_the_first_step(tmp_path: Path) -> None:
    class Regression(LitMLP):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, :1]

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise AssertionError("a step was taken")

    data = ActiveDataModule(TensorDataset(X, X[:, 0]), initial_size=8, audit=6)
    active = ActiveLearning("random", query_size=6, budget=30, posterior=Deterministic())
    fitter = trainer(tmp_path, max_epochs=1, callbacks=[active], num_sanity_val_steps=2)
    with pytest.raises(ValueError, match="measures how many classes are predicted right"):
        fitter.fit(Regression(), datamodule=data)


def test_labels_of_an_earlier_run_stay_audit_and_new_ones_are_drawn_from_all(tmp_path: Path, whole: Any) -> None:
    _, before, _, _, folder = whole
    for number, source in enumerate((folder, folder / "labels.csv")):
        person = Person()
        given = {"labels": source, "initial_size": 8, "audit": 16, "seed": 3}
        active, data, module = run(tmp_path / str(number), person, pool=given, budget=42)
        audit = data.pool.audit.points
        assert sorted(audit[:6]) == sorted(before.pool.audit.points)
        assert len(audit) == 16
        taken = set(before.pool.labelled) & set(audit)
        assert taken
        assert not set(audit) & module.trained
        assert set(before.pool.labelled) - taken <= module.trained
        asked = {index for query in person.shown for index in query}
        assert not asked & {*before.pool.labelled, *before.pool.audit.points}
        assert active.history[0].spent >= 30
        assert active.history[-1].spent == 42
        alone = run(tmp_path / f"{number}-alone", Person(), pool={"labels": source, "audit": None}, budget=36)
        assert sorted(alone[1].pool.audit.points) == sorted(before.pool.audit.points)
        assert alone[0].history[0].audit["labels"] == 6


def test_what_a_dataset_lists_need_not_be_asked(tmp_path: Path) -> None:
    class Half(TensorDataset):
        def __init__(self) -> None:
            super().__init__(X)
            self.targets = [int(y) if index % 3 == 0 else None for index, y in enumerate(Y.tolist())]

        def __getitem__(self, index: int) -> Any:
            return X[index], -1 if self.targets[index] is None else self.targets[index]

        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self[index] for index in indices]

    person = Person()
    active, data, module = run(tmp_path, person, data=Half(), pool={"audit": 12}, budget=40)
    asked = {index for query in person.shown for index in query}
    own = {index for index in data.pool.audit.points if index % 3 == 0}
    assert own
    assert not own & (asked | module.trained)
    assert active.history[0].audit["labels"] >= len(own)
    assert data.pool.audit.waiting == []


@pytest.mark.filterwarnings("ignore:.*predicts worse")
@pytest.mark.parametrize(("test", "metric"), [("posterior", "posterior_accuracy"), ("module", "test_acc")])
def test_who_predicts_is_who_is_tested(tmp_path: Path, whole: Any, test: Any, metric: str) -> None:
    audit = whole[1].pool.audit.points
    on_audit = TensorDataset(X[audit], Y[audit])
    active, data, _ = run(tmp_path, data=TensorDataset(X, Y), pool={"test": on_audit}, test=test)
    assert data.pool.audit.points == audit
    assert active.history[-1].audit["acc"] == pytest.approx(active.history[-1].metrics[metric])


@pytest.mark.long
def test_the_report_shows_it(tmp_path: Path, whole: Any, capsys: Any) -> None:
    active, _, _, _, folder = whole
    assert report_main([str(folder), "--out", str(tmp_path / "report")]) == 0
    found = active.history[-1].audit
    assert f"{found['right']:.0f} of 6" in capsys.readouterr().out
    page = (tmp_path / "report" / "index.html").read_text()
    assert f"{found['low']:.2f} to {found['high']:.2f}" in page
    assert "How good the models are by their audit points" in page
    assert f"audit {found['right']:.0f} of 6 right" in repr(active.history)
    assert list(active.history.to_frame()["audit.labels"])[-1] == 6


def test_they_are_scored_by_no_program_that_comes_later(tmp_path: Path, whole: Any) -> None:
    active = ActiveLearning("bald", query_size=6, budget=40, oracle=Person(), folder=whole[4], posterior=MCDropout(2))
    data = ActiveDataModule(X, initial_size=8, audit=0.2, classes=NAMES, batch_size=8, seed=0)
    table = score_pool(trainer(tmp_path, callbacks=[active]), LitMLP(), data)
    assert data.pool.audit.points == whole[1].pool.audit.points
    assert not set(table["index"]) & set(data.pool.audit.points)


def test_the_header_has_them(whole: Any) -> None:
    _, data, _, _, folder = whole
    header = Journal.read(folder).header
    assert header is not None
    assert header["audit"] == data.pool.audit.points
