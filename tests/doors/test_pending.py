"""The query as a record, as a third party uses it: an oracle that leaves answers out, and comes back later."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Posterior, PosteriorSamples, Query
from tests.support.combinations import one_in
from tests.support.tasks import CLASSES, LitMLP, points, trainer


class Truth(Dataset[Any]):
    """Points whose labels somebody knows, but not the dataset."""

    def __init__(self, n: int = 60, seed: int = 0, known: bool = False, lacking: Any = -1) -> None:
        self.items = points(n, seed)
        self.known = known
        self.lacking = lacking

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        x, y = self.items[index]
        return x, (int(y) if self.known else self.lacking)

    def answer(self, query: Query) -> dict[int, int]:
        return {index: int(self.items[index][1]) for index in query.indices}


def run(
    root: Path,
    oracle: Any,
    dataset: Dataset[Any],
    folder: Path | None = None,
    calls: int = 1,
    **arguments: Any,
) -> tuple[ActiveLearning, ActiveDataModule, LitMLP, Any]:
    """Call `trainer.fit` several times, as one program, or with a folder as one program a call."""
    made: Any = None
    for _ in range(calls):
        if made is None or folder is not None:
            torch.manual_seed(7)
            data = ActiveDataModule(dataset, val=points(20, 1), test=points(20, 2), initial_size=8, batch_size=8)
            active = ActiveLearning(
                "bald",
                query_size=4,
                **{"max_rounds": 3, "posterior": MCDropout(4), **arguments},
                oracle=oracle,
                folder=folder,
            )
            made = active, data, LitMLP(), trainer(root, callbacks=[active], max_epochs=1)
        active, data, module, fitter = made
        fitter.fit(module, datamodule=data)
    return made


def told(active: ActiveLearning, module: LitMLP) -> tuple[Any, ...]:
    """Return all that two runs are to have in common, bit for bit."""
    rounds = [(r.indices, r.scores, r.metrics, r.labelled, r.class_counts, r.details) for r in active.history]
    return rounds, {name: value.tolist() for name, value in module.state_dict().items()}


class Slow:
    """Answers a few points a day."""

    def __init__(self, truth: Truth, a_day: int) -> None:
        self.truth = truth
        self.a_day = a_day
        self.asked: list[Query] = []

    def label(self, query: Query) -> dict[int, int]:
        self.asked.append(query)
        return dict(itertools.islice(self.truth.answer(query).items(), self.a_day))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """A run whose every question is answered at once."""
    return answered_at_once(tmp_path_factory.mktemp("whole"))


def answered_at_once(root: Path, **arguments: Any) -> tuple[Any, ...]:
    truth = Truth()
    active, _, module, _ = run(root, truth.answer, truth, **arguments)
    assert [len(round.indices) for round in active.history] == [4, 4, 0]
    return told(active, module)


# A crash between the answers tries a folder with `reset="initial"`; that the module's state is kept counts most there
# where the next round begins from it.
@pytest.mark.parametrize(
    ("with_folder", "reset"),
    [
        *((False, "initial"), (True, "warm")),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in ((True, "initial"), (False, "warm"))),
        *(pytest.param(with_folder, "fresh", marks=pytest.mark.slow) for with_folder in (False, True)),
    ],
)
def test_a_pause_changes_nothing(tmp_path: Path, whole: Any, with_folder: bool, reset: Any) -> None:
    truth = Truth()
    expected = whole if reset == "initial" else answered_at_once(tmp_path / "a", reset=reset)
    oracle = Slow(truth, 3)
    folder = tmp_path / "run" if with_folder else None
    # 8 initial points need three days, each query two more.
    paused, _, ended, _ = run(tmp_path / "b", oracle, truth, folder, calls=5, reset=reset)
    assert paused.done
    assert paused.pending is None
    assert told(paused, ended) == expected
    assert [len(query) for query in oracle.asked] == [8, 5, 2, 4, 1, 4, 1]


def test_the_labels_of_the_dataset_are_used_as_they_are(tmp_path: Path, whole: Any) -> None:
    known = Truth(known=True)
    asked: list[int] = []

    def oracle(query: Query) -> dict[int, int]:
        asked.append(query.round)
        return known.answer(query)

    active, _, module, _ = run(tmp_path, oracle, known)
    assert asked == [0, 1]
    assert told(active, module) == whole


@pytest.mark.parametrize(
    "lacking",
    # -100 is one number for all, as -1 is.
    [None, float("nan"), -1, pytest.param(-100, marks=pytest.mark.slow)],
)
def test_initial_points_without_a_label_are_asked_for_first(tmp_path: Path, lacking: Any, whole: Any) -> None:
    truth = Truth(lacking=lacking)
    oracle = Slow(truth, 100)
    active, data, module, _ = run(tmp_path, oracle, truth)
    assert [query.round for query in oracle.asked] == [-1, 0, 1]
    assert oracle.asked[0].indices == data.pool.initial
    assert told(active, module) == whole


def test_a_query_tells_what_it_asks(tmp_path: Path) -> None:
    truth = Truth()
    oracle = Slow(truth, 3)
    active, *_ = run(tmp_path, oracle, truth, calls=3)
    pending = active.pending
    assert pending is not None
    assert pending.round == 0
    assert len(pending) == len(pending.indices) == len(pending.scores) == len(pending.keys) == 1
    asked = oracle.asked[-1]
    assert dict(pending.answers) == {index: int(truth.items[index][1]) for index in asked.indices[:3]}
    assert pending.indices == asked.indices[3:]
    assert torch.equal(pending.items[0][0], truth.items[pending.indices[0]][0])
    assert pending.probs is not None
    assert [len(row) for row in pending.probs] == [CLASSES]
    assert sum(pending.probs[0]) == pytest.approx(1)
    assert "0 rounds done, 1 of 4 labels pending" in repr(active)


def test_what_is_pending_is_said_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = Truth()
    with caplog.at_level("INFO"):
        active, *_ = run(tmp_path, lambda query: {}, truth)
    said = [record.getMessage() for record in caplog.records if "pending" in record.getMessage()]
    assert len(said) == 1
    assert "8 of 8 labels of the initial points are pending" in said[0]
    assert not active.done
    assert len(active.history) == 0


@pytest.mark.parametrize(("with_folder", "weights"), one_in(2, [False, True], ["last", "best"]))
def test_between_two_calls_the_module_is_that_of_the_last_fit(tmp_path: Path, with_folder: bool, weights: Any) -> None:
    truth = Truth()
    whole, _, last, _ = run(tmp_path / "a", truth.answer, truth, max_rounds=1, weights=weights)
    folder = tmp_path / "run" if with_folder else None

    def initial_alone(query: Query) -> dict[int, int]:
        return truth.answer(query) if query.round < 0 else {}

    for calls in (1, 2):
        active, data, module, fitter = run(
            tmp_path / "b", initial_alone, truth, folder, calls, max_rounds=2, weights=weights
        )
        assert active.pending is not None
        assert told(active, module)[1] == told(whole, last)[1]
        (metrics,) = fitter.test(module, datamodule=data, verbose=False)
        assert metrics["test_acc"] == whole.history[0].metrics["test_acc"]
        assert len(fitter.predict(module, DataLoader(truth.items.tensors[0], batch_size=60))[0]) == 60


def test_a_paused_call_leaves_the_best_checkpoint_as_it_was(tmp_path: Path) -> None:
    truth = Truth(known=True)
    best = ModelCheckpoint(tmp_path / "kept", monitor="val_loss")
    data = ActiveDataModule(truth, val=points(20, 1), test=points(20, 2), initial_size=8, batch_size=8)
    active = ActiveLearning("random", query_size=4, max_rounds=2, oracle=lambda query: {})
    fitter, module = trainer(tmp_path, callbacks=[active, best], enable_checkpointing=True), LitMLP()
    found = []
    for _ in range(3):
        fitter.fit(module, datamodule=data)
        (metrics,) = fitter.test(datamodule=data, ckpt_path="best", verbose=False)
        found.append((best.best_model_path, best.best_model_score, metrics))
    assert Path(found[0][0]).is_file()
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("labels", "asked"), [([-1, 1], False), ([-3, -1, 0], False), ([-1, 0, 1, 2], True)])
def test_numbers_that_may_be_labels_are_not_asked_for(tmp_path: Path, labels: list[int], asked: bool) -> None:
    dataset = points(40)
    dataset.tensors[1].copy_(torch.tensor(labels).repeat(40)[:40])
    data = ActiveDataModule(dataset, initial=range(8), batch_size=8)
    rounds: list[int] = []

    def oracle(query: Query) -> dict[int, int]:
        rounds.append(query.round)
        return {}

    class Squares(LitMLP):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return (self(batch[0])[:, 0] - batch[1].float()).square().mean()

    active = ActiveLearning("random", query_size=4, max_rounds=2, oracle=oracle)
    trainer(tmp_path, callbacks=[active]).fit(Squares(), datamodule=data)
    assert rounds == ([-1] if asked else [0])


def test_a_paused_call_trains_nothing(tmp_path: Path) -> None:
    truth = Truth()
    steps: list[int] = []

    class Counting(LitMLP):
        def training_step(self, *arguments: Any) -> Any:
            steps.append(0)
            return super().training_step(*arguments)

    data = ActiveDataModule(truth, initial_size=8, batch_size=8)
    answers = iter([8, 0, 0, 4, 4])
    oracle = lambda query: dict(itertools.islice(truth.answer(query).items(), next(answers)))  # noqa: E731
    active = ActiveLearning("random", query_size=4, max_rounds=3, oracle=oracle)
    fitter, module = trainer(tmp_path, callbacks=[active]), Counting()
    counts = []
    for _ in range(3):
        fitter.fit(module, datamodule=data)
        counts.append(len(steps))
    assert counts[0] == counts[1] < counts[2]
    assert active.done


def test_answers_of_a_generator_outlive_a_crash_between_them(tmp_path: Path, whole: Any) -> None:
    truth = Truth()
    asked: list[list[int]] = []

    def one_by_one(query: Query) -> Iterator[tuple[int, int]]:
        asked.append(list(query))
        for place, (index, label) in enumerate(truth.answer(query).items()):
            if place == 2:
                raise ConnectionError("the annotator's laptop slept")
            yield index, label

    # 8 initial points and two queries of 4, of which two are answered each time.
    for crash in [True, True, True, True, True, False]:
        if crash:
            with pytest.raises(ConnectionError) as failed:
                run(tmp_path, one_by_one, truth, tmp_path / "run")
            assert "answers are kept in" in failed.value.__notes__[0]
        else:
            active, _, module, _ = run(tmp_path, one_by_one, truth, tmp_path / "run")
    assert told(active, module) == whole
    given = [index for indices in asked for index in indices[:2]]
    assert len(given) == len(set(given))
    assert [len(indices) for indices in asked] == [8, 6, 4, 2, 4, 2, 4, 2]


class Mean(Posterior):
    """The last layers of three fits."""

    num_samples = 3
    num_fits = 3

    def draw(self, fits: Any, module: Any, labelled: Any, *, forward: Any, seed: int) -> PosteriorSamples:
        return Each([fit.weights for fit in fits], module, forward)


class Each(PosteriorSamples):
    num_samples = 3

    def __init__(self, weights: list[Any], module: Any, forward: Any) -> None:
        self.weights, self.module, self.forward = weights, module, forward

    def outputs(self, batch: Any) -> Iterator[Tensor]:
        for weights in self.weights:
            yield torch.func.functional_call(self.module, weights, (batch[0],))


# Each of several fits begins from that of the round before, which is more to keep than what all rounds begin from.
@pytest.mark.long
@pytest.mark.parametrize("reset", ["warm", pytest.param("initial", marks=pytest.mark.slow)])
def test_a_pause_after_several_fits_changes_nothing(tmp_path: Path, reset: Any) -> None:
    truth = Truth()
    active, _, module, _ = run(tmp_path / "a", truth.answer, truth, reset=reset, posterior=Mean())
    oracle = Slow(truth, 3)
    paused, _, ended, _ = run(tmp_path / "b", oracle, truth, tmp_path / "run", 5, reset=reset, posterior=Mean())
    assert [len(round.members) for round in paused.history] == [3, 3, 3]
    assert told(paused, ended) == told(active, module)
    assert [len(query) for query in oracle.asked] == [8, 5, 2, 4, 1, 4, 1]


def test_a_network_that_asks_for_the_steps_gets_those_of_the_labels_that_came(tmp_path: Path) -> None:
    truth = Truth()
    estimated: list[int] = []

    class OneCycle(LitMLP):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            estimated.append(int(self.trainer.estimated_stepping_batches))
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=estimated[-1])
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def fit(oracle: Callable[[Query], Any], calls: int) -> list[Any]:
        torch.manual_seed(7)
        data = ActiveDataModule(truth, initial_size=8, batch_size=4)
        active = ActiveLearning("random", query_size=4, max_rounds=3, oracle=oracle)
        fitter, module = trainer(tmp_path, callbacks=[active]), OneCycle()
        for _ in range(calls):
            fitter.fit(module, datamodule=data)
        assert active.done
        return [(round.indices, round.steps) for round in active.history]

    assert fit(Slow(truth, 3).label, 5) == fit(truth.answer, 1)
