"""`score_pool`: the scores of a round without one, which leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, MCDropout, score_pool
from lightning_al.acquisition import Entropy, ScoreAcquisition
from lightning_al.host.namespace import pl
from lightning_al.information import entropy, posterior_mean
from lightning_al.points import Candidates
from lightning_al.prediction.unscorable import UnscorableError
from tests.doors.test_several_fits import Ensemble
from tests.support import programs
from tests.support.tasks import CLASSES, LitMLP, LitPoints, points, trainer

INITIAL = list(range(8))


def active_data(n: int = 40, **arguments: Any) -> ActiveDataModule:
    return ActiveDataModule(points(n), initial=INITIAL, **arguments)


def made(seed: int = 0, **arguments: Any) -> LitMLP:
    torch.manual_seed(seed)
    return LitMLP(**arguments)


def run(tmp_path: Path, budget: int, acquisition: str = "bald", **arguments: Any) -> tuple[Any, ...]:
    """Run to a budget, and return what it was run with."""
    active = ActiveLearning(
        acquisition, query_size=4, budget=budget, posterior=MCDropout(num_samples=5), seed=3, **arguments
    )
    fitting, module, data = trainer(tmp_path, callbacks=[active], max_epochs=1), made(), active_data(batch_size=8)
    fitting.fit(module, datamodule=data)
    return active, fitting, module, data


@pytest.mark.parametrize("acquisition", ["bald", "margin"])
def test_scores_are_those_of_the_round_with_the_same_weights(tmp_path: Path, acquisition: str) -> None:
    active, *others = run(tmp_path, 12, acquisition)
    longer, *_ = run(tmp_path, 16, acquisition)
    frame = score_pool(*others).set_index("index")
    number = active.history[-1].number
    asked = longer.history[number]
    assert number == 1
    assert frame.loc[asked.indices, "score"].tolist() == asked.scores
    assert frame["score"].nlargest(4).tolist() == asked.scores


def test_scores_are_those_of_the_query_that_is_pending(tmp_path: Path) -> None:
    active, *others = run(tmp_path, 16, oracle=lambda query: {})
    frame = score_pool(*others).set_index("index")
    assert len(active.pending) == 4
    assert frame.loc[list(active.pending), "score"].tolist() == active.pending.scores
    believed = active.pending.to_frame()
    assert frame.loc[list(active.pending), "predicted"].tolist() == believed["predicted"].tolist()
    assert np.allclose(frame.loc[list(active.pending), "probability"], believed["probability"])


def test_a_row_is_what_the_network_says_of_an_item(tmp_path: Path) -> None:
    module, data = made(), active_data(classes=["ant", "bee", "cow", "doe"])
    frame = score_pool(trainer(tmp_path), module, data, posterior=Deterministic(), probabilities=True)
    inputs = points(40).tensors[0][8:]
    with torch.no_grad():
        log_probs_N_C = module.eval()(inputs).log_softmax(1)
    named = [f"probability_{name}" for name in ("ant", "bee", "cow", "doe")]
    assert list(frame) == ["index", "key", "score", "predicted", "probability", *named]
    assert frame["index"].tolist() == frame["key"].tolist() == data.pool.unlabelled == list(range(8, 40))
    assert np.allclose(frame[named], log_probs_N_C.exp(), atol=1e-6)
    assert np.allclose(frame["score"], entropy(log_probs_N_C), atol=1e-5)
    assert [f"probability_{name}" for name in frame["predicted"]] == frame[named].idxmax(axis=1).tolist()
    assert np.allclose(frame["probability"], frame[named].max(axis=1))


def test_scores_of_dropout_samples_average_over_them(tmp_path: Path) -> None:
    read: list[Tensor] = []

    class Mean(ScoreAcquisition):
        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            read.append(candidates.log_probs_N_K_C)
            return entropy(posterior_mean(read[0]))

    arguments: dict[str, Any] = {"posterior": MCDropout(num_samples=7), "seed": 5}
    frame = score_pool(trainer(tmp_path), made(), active_data(), acquisition=Mean(), **arguments)
    assert read[0].shape == (32, 7, CLASSES)
    assert np.allclose(frame["probability"], posterior_mean(read[0]).exp().amax(1))
    pd.testing.assert_frame_equal(frame, score_pool(trainer(tmp_path), made(), active_data(), **arguments))
    other = score_pool(trainer(tmp_path), made(), active_data(), posterior=MCDropout(num_samples=7), seed=6)
    assert (other["score"] != frame["score"]).all()


def test_a_score_without_predictions_gets_them_in_a_pass_of_its_own(tmp_path: Path) -> None:
    class Far(ScoreAcquisition):
        def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
            return candidates.embeddings_N_D.norm(dim=1)

    module = made()
    frame = score_pool(trainer(tmp_path), module, active_data(), acquisition=Far(), posterior="deterministic")
    plain = score_pool(trainer(tmp_path), module, active_data(), posterior="deterministic")
    assert frame.drop(columns="score").equals(plain.drop(columns="score"))
    with torch.no_grad():
        assert np.allclose(frame["score"], module.net[:2](points(40).tensors[0][8:]).norm(dim=1), atol=1e-4)


def test_scores_do_not_depend_on_batches_and_workers(tmp_path: Path) -> None:
    found = [
        score_pool(trainer(tmp_path), made(), active_data(**loading), acquisition="bald")
        for loading in ({"pool_batch_size": 5}, {"pool_batch_size": 32}, {"batch_size": 7, "num_workers": 2})
    ]
    for other in found[1:]:
        assert np.allclose(other["score"], found[0]["score"], atol=1e-6)
        assert other.drop(columns=["score", "probability"]).equals(found[0].drop(columns=["score", "probability"]))


# Where the data and the run stand.


def test_data_are_set_up_as_for_a_fit(tmp_path: Path) -> None:
    wrapped = LitPoints()
    data = ActiveDataModule(wrapped, initial=INITIAL)
    frame = score_pool(trainer(tmp_path), made(), data)
    assert wrapped.calls == ["prepare_data", "setup fit", "teardown fit"]
    assert frame["index"].tolist() == data.pool.unlabelled
    assert {"setup", "teardown", "predict_dataloader"}.isdisjoint(vars(data))


def test_a_run_goes_on_as_if_nothing_was_scored(tmp_path: Path) -> None:
    weights, histories, states = [], [], []
    for scores in (False, True):
        active = ActiveLearning("bald", query_size=4, budget=12, rounds_per_fit=1, seed=1)
        fitting, module = trainer(tmp_path / str(scores), callbacks=[active], num_sanity_val_steps=2), made()
        data = ActiveDataModule(LitPoints(), initial=INITIAL)
        while not active.done:
            fitting.fit(module, datamodule=data)
            metrics, pool = dict(fitting.callback_metrics), data.pool.state_dict()
            if scores:
                score_pool(fitting, module, data, acquisition="entropy")
                assert fitting.callback_metrics == metrics != {}
                assert str(data.pool.state_dict()) == str(pool)
        histories.append([(round.indices, round.scores, round.metrics) for round in active.history])
        weights.append({name: weight.tolist() for name, weight in module.state_dict().items()})
        states.append(
            (fitting.current_epoch, fitting.global_step, str(vars(fitting.state)), fitting.callbacks == [active])
        )
    assert histories[0] == histories[1]
    assert weights[0] == weights[1]
    assert states[0] == states[1]


class Built(LitMLP):
    """Builds its layers in `setup`, with batch norm and an attribute of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def on_predict_epoch_end(self) -> None:
        raise AssertionError("there are no predictions")

    def configure_callbacks(self) -> list[pl.Callback]:
        return [pl.callbacks.LambdaCallback(on_predict_end=lambda *_: self.on_predict_epoch_end())]

    def setup(self, stage: str) -> None:
        self.calls += 1
        self.net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, CLASSES))


def test_module_trainer_and_generators_are_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = Built()
    module.setup("fit")
    net, before = module.net, {name: value.clone() for name, value in module.state_dict().items()}
    module.net[1].eval()
    told: list[str] = []

    class Telling(pl.Callback):
        def setup(self, *_: Any, **__: Any) -> None:
            told.append("setup")

        def on_predict_start(self, *_: Any) -> None:
            told.append("predict")

    using = trainer(
        tmp_path, callbacks=[Telling()], logger=pl.loggers.CSVLogger(tmp_path / "csv"), limit_predict_batches=0,
        profiler="simple", precision="bf16-true", enable_progress_bar=True,
    )  # fmt: skip
    callbacks, profiler = list(using.callbacks), using.profiler
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    score_pool(using, module, active_data())
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert (module.net, module.calls, module.net[1].training, module.training) == (net, 1, False, True)
    assert {name: (value.dtype, value.tolist()) for name, value in module.state_dict().items()} == {
        name: (value.dtype, value.tolist()) for name, value in before.items()
    }
    assert told == []
    assert (using.callbacks, using.profiler, using.limit_predict_batches) == (callbacks, profiler, 0)
    assert (using.state.fn, using.state.stage, str(using.state.status)) == (None, None, "TrainerStatus.INITIALIZING")
    assert [type(logger).__name__ for logger in using.loggers] == ["CSVLogger"]
    assert not (tmp_path / "csv").exists()
    assert capsys.readouterr().out.strip() == ""


def test_layers_that_setup_builds_are_scored_with_the_trained_weights(tmp_path: Path) -> None:
    active = ActiveLearning("entropy", query_size=4, max_rounds=1, posterior="deterministic")
    fitting, module, data = trainer(tmp_path, callbacks=[active]), Built(), active_data()
    fitting.fit(module, datamodule=data)
    frame = score_pool(fitting, module, data, probabilities=True)
    with torch.no_grad():
        probs_N_C = module.eval()(points(40).tensors[0][8:]).softmax(1)
    assert np.allclose(frame.filter(like="probability_"), probs_N_C, atol=1e-6)


def test_the_callback_of_the_trainer_says_what_is_not_given(tmp_path: Path) -> None:
    active = ActiveLearning("batchbald", query_size=4, posterior=MCDropout(2), unscorable="skip", seed=9)
    frame = score_pool(trainer(tmp_path, callbacks=[active]), made(), active_data(), acquisition="margin")
    assert frame["unscorable"].tolist() == [None] * 32
    alone: dict[str, Any] = {"posterior": MCDropout(2), "seed": 9}
    expected = score_pool(trainer(tmp_path), made(), active_data(), acquisition="margin", **alone)
    assert frame.drop(columns="unscorable").equals(expected)
    frame = score_pool(trainer(tmp_path, callbacks=[active]), made(), active_data(), unscorable="raise")
    assert frame.equals(score_pool(trainer(tmp_path), made(), active_data(), acquisition=Entropy(), **alone))


def test_a_pool_that_is_used_up_gives_a_table_without_rows(tmp_path: Path) -> None:
    data = ActiveDataModule(points(8), initial=INITIAL)
    frame = score_pool(trainer(tmp_path), made(), data)
    assert list(frame) == ["index", "key", "score", "predicted", "probability"]
    assert len(frame) == 0


def test_keys_of_the_data_are_shown(tmp_path: Path) -> None:
    data = active_data(12, keys=[f"{index}.png" for index in range(12)])
    assert score_pool(trainer(tmp_path), made(), data)["key"].tolist() == ["8.png", "9.png", "10.png", "11.png"]


def test_items_have_the_numbers_that_they_have_in_the_folder_of_the_run(tmp_path: Path) -> None:
    def data(order: Sequence[int]) -> ActiveDataModule:
        items = [points(40)[index] for index in order]
        return ActiveDataModule(items, initial_size=8, keys=[f"{index}.png" for index in order])

    def active() -> ActiveLearning:
        return ActiveLearning("entropy", query_size=4, max_rounds=1, folder=tmp_path / "run", posterior="deterministic")

    fitting, module, before = trainer(tmp_path, callbacks=[active()]), made(), data(range(40))
    fitting.fit(module, datamodule=before)
    reversed_ = trainer(tmp_path, callbacks=[active()])
    frame, after = score_pool(fitting, module, before), score_pool(reversed_, module, data(range(39, -1, -1)))
    assert after["key"].tolist() == frame["key"].tolist() == [f"{index}.png" for index in frame["index"]]
    assert np.allclose(after["score"], frame["score"], atol=1e-6)


@pytest.mark.parametrize("labels", [{}, {0: 0}, {0: 0, 1: 1}])
def test_data_without_labels_are_scored_before_anybody_labelled_the_first(tmp_path: Path, labels: Any) -> None:
    data = ActiveDataModule(points(20).tensors[0], initial=[0, 1], classes=["a", "b", "c", "d"])
    data.setup("fit")
    data.pool.label_initial(labels)
    frame = score_pool(trainer(tmp_path), made(), data, posterior="deterministic")
    known = ActiveDataModule(points(20), initial=[0, 1])
    assert frame["score"].equals(score_pool(trainer(tmp_path), made(), known, posterior="deterministic")["score"])
    assert set(frame["predicted"]) <= {"a", "b", "c", "d"}
    assert data.pool.lacking == []


def test_a_new_program_scores_data_without_labels_by_a_model_that_was_trained_elsewhere(tmp_path: Path) -> None:
    data = ActiveDataModule(points(20).tensors[0], initial=[0, 1], classes=["a", "b", "c", "d"])
    frame = score_pool(trainer(tmp_path), made(), data)
    known = ActiveDataModule(points(20), initial=[0, 1])
    assert frame["score"].equals(score_pool(trainer(tmp_path), made(), known)["score"])


# What cannot be scored.


class Faulty(Dataset[Any]):
    """Points of which some cannot be read, and some hold NaN."""

    def __init__(self, broken: Sequence[int] = (), nan: Sequence[int] = ()) -> None:
        self.points, self.broken, self.nan = points(30), broken, nan

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        if index in self.broken:
            raise OSError("cut off")
        x, y = self.points[index]
        return x * (torch.nan if index in self.nan else 1), y


def test_items_that_cannot_be_scored_raise_or_have_empty_cells(tmp_path: Path) -> None:
    faulty = Faulty(broken=[11], nan=[20])
    with pytest.raises(OSError, match="cut off"):
        score_pool(trainer(tmp_path), made(), ActiveDataModule(faulty, initial=INITIAL))
    with pytest.raises(UnscorableError, match=r"gave NaN or Inf for 1 of 22"):
        score_pool(trainer(tmp_path), made(), ActiveDataModule(Faulty(nan=[20]), initial=INITIAL))
    data = ActiveDataModule(faulty, initial=INITIAL)
    frame = score_pool(trainer(tmp_path), made(), data, unscorable="skip", probabilities=True).set_index("index")
    assert len(frame) == 22
    assert not data.skips_unreadable
    assert frame.loc[[11, 20], "unscorable"].tolist() == ["OSError: cut off", "NaN or Inf"]
    empty = frame.loc[[11, 20], ["score", "predicted", "probability", "probability_0"]]
    assert empty.isna().all(axis=None)
    good = score_pool(trainer(tmp_path), made(), ActiveDataModule(Faulty(), initial=INITIAL)).set_index("index")
    assert np.allclose(frame["score"].dropna(), good["score"].drop([11, 20]), atol=1e-6)
    assert frame["predicted"].dropna().tolist() == good["predicted"].drop([11, 20]).tolist()


class OneNumber(LitMLP):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


@dataclass(frozen=True)
class Short(ScoreAcquisition):
    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        return torch.zeros(3)


@pytest.mark.parametrize("acquisition", ["batchbald", "random"])
def test_a_method_that_selects_batches_is_refused(tmp_path: Path, acquisition: str) -> None:
    with pytest.raises(
        ValueError, match=r"gives single items no score, so `score_pool` cannot .* bald, entropy"
    ) as raised:
        score_pool(trainer(tmp_path), made(), active_data(), acquisition=acquisition)
    assert "batchbald" not in str(raised.value).partition("Choose")[2]


def test_what_cannot_be_scored_with_is_refused(tmp_path: Path) -> None:
    using, data = trainer(tmp_path), active_data()
    with pytest.raises(TypeError, match=r"scores the pool of an `ActiveDataModule`, but got `LitPoints`"):
        score_pool(using, made(), LitPoints())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`Ensemble` samples 3 fits, but `score_pool` has the weights of one"):
        score_pool(using, made(), data, posterior=Ensemble(3))
    with pytest.raises(ValueError, match="no acquisition function named 'bold'"):
        score_pool(using, made(), data, acquisition="bold")
    lazy = made()
    lazy.net = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match=r"with 2 parameters that have no shape yet, such as 'net.0.weight'"):
        score_pool(using, lazy, data)
    with pytest.raises(ValueError, match=r"should return scores of shape \[32\]"):
        score_pool(using, made(), data, acquisition=Short())
    with pytest.raises(ValueError, match="two classes or more, but the module gave"):
        score_pool(using, OneNumber(), data, posterior="deterministic")
    assert str(using.state.status) == "TrainerStatus.INITIALIZING"
    assert len(score_pool(using, made(), data)) == 32


def test_a_trainer_that_runs_is_refused(tmp_path: Path) -> None:
    data = active_data()

    class Early(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            score_pool(trainer, pl_module, data)

    with pytest.raises(RuntimeError, match="a Trainer that is running, which cannot predict"):
        trainer(tmp_path, callbacks=[Early()]).fit(made(), datamodule=data)


@pytest.mark.long
def test_two_ranks_get_the_table_of_one(tmp_path: Path) -> None:
    for ranks in (1, 2):
        programs.run("-m", "tests.support.score_on_ranks", tmp_path, ranks, ranks=ranks)
    alone, *both = (pd.read_json(tmp_path / f"{name}.json") for name in ("1-0", "2-0", "2-1"))
    assert both[0].equals(both[1])
    assert len(alone) == 45
    assert both[0].drop(columns=["score", "probability"]).equals(alone.drop(columns=["score", "probability"]))
    assert np.allclose(both[0]["score"], alone["score"], atol=1e-6)
