"""Programs that read and write attributes of their datamodule through the Trainer."""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from tests.support.net import LitNet
from tests.support.tasks import CLASSES, FEATURES, points, trainer


class LitData(pl.LightningDataModule):
    """A datamodule with the attributes that tutorials give it."""

    name = "points"
    dims = (FEATURES,)

    def __init__(self, n: int = 24, batch_size: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size
        self.num_classes = CLASSES
        self.class_weights = torch.ones(CLASSES)
        self._secret = 1

    def setup(self, stage: str) -> None:
        self.data = self.dataset = points(self.hparams["n"])
        self.mean = self.data.tensors[0].mean(0)

    @property
    def num_features(self) -> int:
        return self.data.tensors[0].shape[1]

    @property
    def broken(self) -> int:
        return self.never_set  # type: ignore[attr-defined, no-any-return]

    def denormalise(self, x: Tensor) -> Tensor:
        return x + self.mean

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.data, batch_size=self.batch_size, shuffle=True)


def run(tmp_path: Path, module: pl.LightningModule, data: ActiveDataModule, *callbacks: pl.Callback) -> ActiveLearning:
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=2, max_rounds=2)
    trainer(tmp_path, callbacks=[active, *callbacks], max_epochs=1).fit(module, datamodule=data)
    assert len(active.history) == 2
    return active


def test_a_module_weighs_classes_by_its_datamodule(tmp_path: Path) -> None:
    class LitWeighted(LitNet):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            return F.cross_entropy(self(x), y, weight=self.trainer.datamodule.class_weights)  # type: ignore[attr-defined]

    run(tmp_path, LitWeighted(), ActiveDataModule(LitData(), initial_size=4))


def test_a_module_takes_its_sizes_from_the_datamodule_in_setup(tmp_path: Path) -> None:
    class LitSized(LitNet):
        def setup(self, stage: str) -> None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            assert (data.num_classes, data.num_features, data.dims, data.batch_size) == (
                CLASSES,
                FEATURES,
                (FEATURES,),
                8,
            )
            assert data.name == "points"
            assert data.hparams.n == 24
            assert torch.equal(data.denormalise(torch.zeros(FEATURES)), data.mean)
            # Where a user keeps the data under these names, they are the user's.
            assert data.data is data.dataset is data.wrapped.data

    run(tmp_path, LitSized(), ActiveDataModule(LitData(), initial_size=4))


def test_what_a_callback_writes_reaches_the_user_s_datamodule(tmp_path: Path) -> None:
    class Curriculum(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            data.difficulty = getattr(data, "difficulty", 0) + 1
            data.batch_size = 4
            del data.class_weights

    wrapped = LitData()
    data = ActiveDataModule(wrapped, initial_size=4)
    active = ActiveLearning("random", query_size=2, max_rounds=1)
    trainer(tmp_path, callbacks=[active, Curriculum()], max_epochs=1).fit(LitNet(), datamodule=data)
    assert wrapped.difficulty == 1  # type: ignore[attr-defined]
    assert wrapped.batch_size == 4
    assert not hasattr(wrapped, "class_weights")
    assert "difficulty" not in vars(data)


def test_a_value_of_the_datamodule_can_be_linked_to_the_model_before_any_setup() -> None:
    data = ActiveDataModule(LitData(), initial_size=4)
    assert data.num_classes == CLASSES


def test_a_datamodule_made_from_datasets(tmp_path: Path) -> None:
    data = ActiveDataModule(
        pl.LightningDataModule.from_datasets(points(24), val_dataset=points(8), batch_size=4), initial_size=4
    )
    data.tag = "mine"
    assert data.wrapped.tag == data.tag == "mine"  # type: ignore[attr-defined]


def test_a_name_that_nobody_defines() -> None:
    for wrapped, name in [(LitData(), "LitData"), (points(9), "TensorDataset")]:
        data = ActiveDataModule(wrapped, initial_size=2)
        assert not hasattr(data, "num_labels")
        with pytest.raises(
            AttributeError, match=f"Neither `ActiveDataModule` nor the wrapped `{name}` has .*'num_labels'"
        ):
            data.num_labels  # noqa: B018
        with pytest.raises(AttributeError):
            del data.num_labels
    plain = ActiveDataModule(points(9), initial_size=2, batch_size=4)
    for inner in ("train", "loader", "batch_size"):
        assert not hasattr(plain, inner)


def test_private_names_are_not_read_from_the_wrapped_datamodule() -> None:
    data = ActiveDataModule(LitData(), initial_size=4)
    with pytest.raises(AttributeError, match=r"`ActiveDataModule` does not define '_secret' itself. Use `.wrapped`"):
        data._secret  # noqa: B018
    data._secret = 2
    assert (data._secret, data.wrapped._secret) == (2, 1)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="'__wrapped__'"):
        data.__wrapped__  # noqa: B018


def test_an_error_inside_a_property_names_what_is_really_missing() -> None:
    class LitSub(ActiveDataModule):
        @property
        def own(self) -> Any:
            return self.also_missing

    data = LitSub(LitData(), initial_size=4)
    with pytest.raises(AttributeError, match="'LitData' object has no attribute 'never_set'"):
        data.broken  # noqa: B018
    with pytest.raises(AttributeError, match="'also_missing'"):
        data.own  # noqa: B018
    with pytest.raises(AttributeError, match="'LitData' object has no attribute 'data'"):
        data.num_features  # noqa: B018
    with pytest.raises(AttributeError, match="'anything'"):
        ActiveDataModule.__new__(ActiveDataModule).anything  # noqa: B018
    assert repr(ActiveDataModule.__new__(ActiveDataModule)) == "ActiveDataModule()"


class Answering(LitData):
    """A datamodule that finds attributes in a way of its own."""

    def __getattr__(self, name: str) -> Any:
        if name == "computed":
            return 7
        raise AttributeError(f"no {name} here")


def test_a_datamodule_with_a_lookup_of_its_own() -> None:
    data = ActiveDataModule(Answering(), initial_size=4)
    data.setup("fit")
    assert data.computed == 7
    assert data.num_features == FEATURES
    with pytest.raises(AttributeError, match="the wrapped `Answering` has an attribute 'other'"):
        data.other  # noqa: B018


COPIES: dict[str, Any] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda data: pickle.loads(pickle.dumps(data)),
}


class Prepared(LitData):
    prepared = 0

    def prepare_data(self) -> None:
        self.prepared += 1

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(points(8), batch_size=self.batch_size)


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("is_set_up", [False, True])
def test_a_copy_is_like_the_original(make: Any, is_set_up: bool) -> None:
    data = ActiveDataModule(Prepared(), initial=[3, 1])
    if is_set_up:
        data.setup("fit")
        data.pool.label([5])
    other = make(data)
    other.setup("fit")
    assert repr(other) == repr(data) or not is_set_up
    assert other.num_classes == CLASSES
    assert other.pool.labelled == ([3, 1, 5] if is_set_up else [3, 1])
    if make is not copy.copy:
        other.batch_size = 2
        assert (other.wrapped.batch_size, data.wrapped.batch_size) == (2, 8)  # type: ignore[attr-defined]
        assert other.val_dataloader().batch_size == 2, "hooks are the copy's too"
    with other.held():
        other.prepare_data()
    assert other.wrapped.prepared == 0, "it is the copy that is held"  # type: ignore[attr-defined]
    other.prepare_data()
    assert other.wrapped.prepared == 1  # type: ignore[attr-defined]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "both define" in record.getMessage()]


def test_where_both_define_a_name_ours_is_taken_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class LitPools(LitData):
        def __init__(self) -> None:
            super().__init__()
            self.seed = 7

        def setup(self, stage: str) -> None:
            super().setup(stage)
            self.pool = "a swimming pool"

    with caplog.at_level(logging.INFO):
        data = ActiveDataModule(LitPools(), initial_size=4, seed=3)
        active = run(tmp_path, LitNet(), data)
    assert [(message.split("`, `")[0].split("both define ")[1]) for message in said(caplog)] == [
        "`seed`. On `trainer.datamodule` such a name is that of `ActiveDataModule`; read that of `LitPools` by "
        "`trainer.datamodule.wrapped.seed`.",
        "`pool`. On `trainer.datamodule` such a name is that of `ActiveDataModule`; read that of `LitPools` by "
        "`trainer.datamodule.wrapped.pool`.",
    ]
    assert (data.seed, data.wrapped.seed) == (3, 7)  # type: ignore[attr-defined]
    assert data.pool.num_labelled == 6
    assert data.wrapped.pool == "a swimming pool"  # type: ignore[attr-defined]
    assert active.done


@pytest.mark.parametrize("wrapped", [LitData(), points(9)], ids=["datamodule", "dataset"])
def test_nothing_is_said_where_no_name_is_shared(wrapped: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        data = ActiveDataModule(wrapped, initial_size=4)
        data.setup("fit")
    assert not said(caplog)
    assert {"num_classes", "pool", "wrapped"} <= {*dir(data)} | {"num_classes"}
    assert ("num_classes" in dir(data)) == isinstance(wrapped, LitData)


def test_the_training_data_are_found_by_index_whatever_the_user_calls_dataset() -> None:
    class LitWhole(LitData):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            self.dataset: Dataset[Any] = TensorDataset(torch.zeros(99, 1))

    data = ActiveDataModule(LitWhole(), initial=[5])
    data.setup("fit")
    assert len(data.dataset) == 99
    assert torch.equal(data.item_of(5)[0], points(24)[5][0])
    data.dataset = points(3)
    assert len(data.wrapped.dataset) == 3  # type: ignore[attr-defined]


# What they are, in one line.


def test_each_says_what_it_is(tmp_path: Path) -> None:
    data = ActiveDataModule(LitData(), initial=[3, 1])
    active = ActiveLearning("bald", posterior=MCDropout(3), query_size=2, budget=4)
    assert repr(data) == "ActiveDataModule(LitData, initial_size=2, not set up)"
    assert repr(active).startswith("ActiveLearning(BALD(), query_size=2, budget=4, posterior=MCDropout(")
    assert repr(active).endswith("oracle=Revealed(); 0 rounds done)")
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitNet(), datamodule=data)
    assert repr(data) == "ActiveDataModule(LitData, Pool(4 of 24 points labelled, 20 left))"
    assert repr(data.pool) == "Pool(4 of 24 points labelled, 20 left)"
    assert repr(active).endswith("; 2 rounds done, finished)")
    for thing in (data, data.pool, active):
        assert "\n" not in repr(thing)
        assert " at 0x" not in repr(thing)
    assert repr(ActiveDataModule(points(9), initial_size=2)) == (
        "ActiveDataModule(TensorDataset, initial_size=2, not set up)"
    )


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "no `ActiveLearning` among" in record.getMessage()]


def test_a_fit_without_the_callback_says_that_it_trains_on_few_points(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, max_epochs=1).fit(LitNet(), datamodule=ActiveDataModule(LitData(), initial_size=4))
    assert [hint.split(", since")[0] for hint in hints(caplog)] == [
        "`trainer.fit` trains on the 4 labelled of 24 points and queries no labels"
    ]
    caplog.clear()

    class LitActive(ActiveLearning):
        """A callback of the user's, built upon ours."""

    with caplog.at_level(logging.INFO):
        active = LitActive("random", query_size=2, max_rounds=1)
        data = ActiveDataModule(LitData(), initial_size=4)
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitNet(), datamodule=data)
        data.setup("fit")
    assert not hints(caplog)
