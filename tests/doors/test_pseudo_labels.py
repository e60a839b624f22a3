"""Self-training: rounds that train also on what the round before is sure of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic
from lightning_al.host.namespace import pl
from lightning_al.run.journal import Journal
from tests.support.tasks import LitMLP, points, trainer

X, Y = points(60).tensors
NUMBER = {tuple(row): index for index, row in enumerate(X.tolist())}
SIZE = 8


class Recording(LitMLP):
    """Remembers, fit by fit, which labels it was trained on, and what it believed of every point at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[dict[int, int]] = []
        self.believed: list[Tensor] = []

    def on_train_start(self) -> None:
        self.trained.append({})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.trained[-1] |= {NUMBER[tuple(x)]: int(y) for x, y in zip(batch[0].tolist(), batch[1], strict=True)}
        return super().training_step(batch, batch_idx)

    def on_train_end(self) -> None:
        self.eval()
        with torch.no_grad():
            self.believed.append(self(X).double().softmax(-1))


def run(
    root: Path,
    threshold: float | None = 0.5,
    *,
    data: Any = None,
    module: Any = None,
    pool: Mapping[str, Any] | None = None,
    calls: int = 1,
    epochs: int = 12,
    **arguments: Any,
) -> tuple[Any, ActiveDataModule, ActiveLearning]:
    """Call `trainer.fit` as a program of its own for each call."""
    options = {"query_size": 5, "budget": SIZE + 15, "posterior": Deterministic(), "seed": 0, **arguments}
    for _ in range(calls):
        given: dict[str, Any] = {"initial_size": SIZE, "batch_size": 8, "seed": 0, **(pool or {})}
        active_data = ActiveDataModule(TensorDataset(X, Y) if data is None else data, pseudo_labels=threshold, **given)
        active = ActiveLearning("margin", **options)
        torch.manual_seed(0)
        module = Recording() if module is None or calls > 1 else module
        trainer(root, callbacks=[active], max_epochs=epochs).fit(module, datamodule=active_data)
    return module, active_data, active


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run in one call, which several tests read."""
    return run(tmp_path_factory.mktemp("at once"))


def test_a_round_trains_on_what_the_round_before_is_sure_of(at_once: Any) -> None:
    module, data, active = at_once
    assert [round.labelled for round in active.history] == [8, 13, 18, 23]
    labelled = set(data.pool.initial)
    for number, (trained, round) in enumerate(zip(module.trained, active.history, strict=True)):
        expected = {index: int(Y[index]) for index in labelled}
        if number > 0:
            highest, classes = module.believed[number - 1].max(dim=1)
            sure = [index for index in range(60) if highest[index] >= 0.5 and index not in labelled]
            expected |= {index: int(classes[index]) for index in sure}
            assert sure
        assert trained == expected
        assert round.pseudo_labels == len(expected) - round.labelled
        assert sum(round.class_counts.values()) == round.labelled
        labelled |= set(round.indices)
    assert data.pool.num_spent == 23
    assert active.history.to_frame()["pseudo_labels"].tolist() == [round.pseudo_labels for round in active.history]


def test_a_wrong_prediction_is_trained_on_in_place_of_the_dataset_s_own_label(tmp_path: Path) -> None:
    module, _, _ = run(tmp_path, 0.3, budget=SIZE + 5)
    wrong = [
        index
        for trained, believed in zip(module.trained[1:], module.believed, strict=False)
        for index, label in trained.items()
        if label != int(Y[index]) and label == int(believed[index].argmax())
    ]
    assert wrong


def test_without_a_sure_prediction_the_run_is_the_plain_one(tmp_path: Path) -> None:
    _, _, plain = run(tmp_path, None, epochs=2)
    _, _, sure = run(tmp_path, 1.0, epochs=2)
    for one, other in zip(plain.history, sure.history, strict=True):
        assert (one.indices, one.scores, one.metrics) == (other.indices, other.scores, other.metrics)
        assert other.pseudo_labels == 0


@pytest.mark.long
@pytest.mark.parametrize("reset", ["warm", pytest.param("initial", marks=pytest.mark.slow)])
def test_a_run_in_several_programs_equals_one(tmp_path: Path, reset: str) -> None:
    whole, _, at_once = run(tmp_path, reset=reset, epochs=8)
    parts, _, resumed = run(tmp_path, reset=reset, epochs=8, folder=tmp_path / "run", calls=4, rounds_per_fit=1)
    assert [round.indices for round in at_once.history] == [round.indices for round in resumed.history]
    assert [round.pseudo_labels for round in at_once.history] == [round.pseudo_labels for round in resumed.history]
    assert parts.trained[-1] == whole.trained[-1]
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))
    recorded = Journal.read(tmp_path / "run").history
    assert [round.pseudo_labels for round in recorded] == [round.pseudo_labels for round in at_once.history]
    kept = sorted(path.name for path in (tmp_path / "run").glob("pseudo-labels-*.pt"))
    assert kept == ["pseudo-labels-2.pt"]


@pytest.mark.long
def test_a_query_answered_in_a_later_program_keeps_them(tmp_path: Path, at_once: Any) -> None:
    class Later:
        """Answers in every second program."""

        asked = 0

        def label(self, query: Any) -> dict[int, int]:
            Later.asked += 1
            return {} if Later.asked % 2 else {index: int(Y[index]) for index in query}

    whole, _, in_one_call = at_once
    parts, _, paused = run(tmp_path, folder=tmp_path / "run", calls=4, oracle=Later())
    assert paused.done
    assert [round.indices for round in in_one_call.history] == [round.indices for round in paused.history]
    assert parts.trained[-1] == whole.trained[-1]


def test_labels_of_an_oracle_come_before_predictions(tmp_path: Path) -> None:
    names = ["ant", "bee", "cat", "dog"]
    module, data, active = run(
        tmp_path,
        data=X,
        budget=SIZE + 5,
        pool={"classes": names},
        oracle=lambda query: {index: names[int(Y[index])] for index in query},
    )
    assert active.history[-1].pseudo_labels > 0
    last = module.trained[-1]
    assert {index: last[index] for index in data.pool.labelled} == {i: int(Y[i]) for i in data.pool.labelled}


def test_a_scheduler_counts_the_steps_of_the_points_that_are_trained_on(tmp_path: Path) -> None:
    estimated: list[int] = []

    class OneCycle(Recording):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            estimated.append(int(self.trainer.estimated_stepping_batches))
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=estimated[-1])
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    _, _, active = run(tmp_path, 0.3, module=OneCycle(), budget=SIZE + 5)
    assert estimated == [round.steps for round in active.history]
    assert all(round.pseudo_labels for round in active.history[1:])


@pytest.mark.long
def test_they_do_not_depend_on_the_batch_size(tmp_path: Path, at_once: Any) -> None:
    _, _, one = at_once
    _, _, other = run(tmp_path, 0.5, pool={"pool_batch_size": 3})
    assert [round.pseudo_labels for round in one.history] == [round.pseudo_labels for round in other.history]


def test_force_lets_a_run_begin_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(tmp_path, None, folder=folder, rounds_per_fit=1)
    with pytest.raises(ValueError, match=r"`datamodule.pseudo_labels` is None there and 0.5 here"):
        run(tmp_path, 0.5, folder=folder)
    with pytest.warns(UserWarning, match=r"pseudo_labels"):
        _, _, active = run(tmp_path, 0.5, folder=folder, force=True)
    assert [round.pseudo_labels > 0 for round in active.history] == [False, False, True, True]


def test_outputs_that_are_no_classes_are_refused_before_the_first_step(tmp_path: Path) -> None:
    class Regression(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(X.shape[1], 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            raise AssertionError("It took a step.")

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    data = ActiveDataModule(TensorDataset(X, X[:, 0]), initial_size=8, pseudo_labels=0.9, batch_size=8)
    active = ActiveLearning("random", query_size=5, budget=20, posterior=Deterministic(), test=None)
    with pytest.raises(ValueError, match=r"are not classes, but `ActiveDataModule\(pseudo_labels=...\)` trains on"):
        trainer(tmp_path, callbacks=[active], num_sanity_val_steps=2).fit(Regression(), datamodule=data)


@pytest.mark.parametrize("wrong", [0, -0.5, 1.01, float("nan"), True, "0.9"])
def test_a_threshold_is_a_probability(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="expected the least probability of a prediction to train on"):
        ActiveDataModule(TensorDataset(X, Y), initial_size=8, pseudo_labels=wrong)


def test_numpy_numbers_are_thresholds() -> None:
    assert ActiveDataModule(TensorDataset(X, Y), initial_size=8, pseudo_labels=np.float32(0.5)).pseudo_labels == 0.5
