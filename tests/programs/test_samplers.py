"""Programs that choose their training points by a sampler, or load them in a way of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.host.namespace import pl
from lightning_al.run.seeds import generator
from tests.support.combinations import one_in
from tests.support.numbered import LitData, LitNumbers, epochs_of, flat, labelled_in, numbered, run
from tests.support.tasks import trainer

DS = numbered()
TRAIN, VAL = list(range(5, 45)), [*range(5), *range(45, 60)]


class EveryThird(Sampler[int]):
    """A user's sampler of a part of the points, in a new order each epoch."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return len(range(0, self.size, 3))

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.permutation(np.arange(0, self.size, 3)))


# Index subsets: how the sampler is made, which points it draws, whether it shuffles.
SUBSETS: dict[str, tuple[Callable[[], Any], list[int], bool]] = {
    "SubsetRandomSampler": (lambda: SubsetRandomSampler(TRAIN), TRAIN, True),
    "of an array": (lambda: SubsetRandomSampler(np.array(TRAIN)), TRAIN, True),
    "of a tensor": (lambda: SubsetRandomSampler(torch.tensor(TRAIN)), TRAIN, True),
    "list": (lambda: TRAIN[::-1], TRAIN, False),
    "array": (lambda: np.array(TRAIN), TRAIN, False),
    "range": (lambda: range(10, 40), list(range(10, 40)), False),
    "negative": (lambda: list(range(-20, 0)), list(range(40, 60)), False),
    "SequentialSampler": (lambda: SequentialSampler(range(30)), list(range(30)), False),
    "RandomSampler": (lambda: RandomSampler(range(30)), list(range(30)), True),
    "own": (lambda: EveryThird(60), list(range(0, 60, 3)), True),
}


# A batch sampler is asked for its sampler, and then takes the way of the others.
@pytest.mark.parametrize(("name", "batched"), one_in(2, SUBSETS, [False, True]))
def test_a_sampler_of_some_points_makes_the_pool_of_these(tmp_path: Path, name: str, batched: bool) -> None:
    make, members, shuffles = SUBSETS[name]

    def train() -> DataLoader[Any]:
        if batched:
            return DataLoader(DS, batch_sampler=BatchSampler(make(), 4, drop_last=False))
        return DataLoader(DS, 4, sampler=make())

    module, data, _ = run(tmp_path, train, query_size=5, rounds=2)
    assert data.pool.size == len(members)
    assert sorted(data.pool.labelled + data.pool.unlabelled) == members
    assert module.scored <= set(members)
    ordered = []
    for number, epoch in epochs_of(module):
        labelled = labelled_in(data, number)
        assert sorted(flat(epoch)) == sorted(labelled)
        assert [len(batch) for batch in epoch[:-1]] == [4] * (len(epoch) - 1)
        ordered.append(flat(epoch) == labelled)
    assert any(ordered) != shuffles
    assert all(ordered) != shuffles


def test_the_classic_split_never_trains_on_validation_points(tmp_path: Path) -> None:
    module, data, active = run(
        tmp_path,
        lambda: DataLoader(DS, 8, sampler=SubsetRandomSampler(TRAIN)),
        val=lambda: DataLoader(DS, 8, sampler=SubsetRandomSampler(VAL)),
        query_size=20,
        rounds=10,
    )
    assert not data.pool.unlabelled
    assert sorted(data.pool.labelled) == TRAIN
    assert sorted(flat(module.validated)) == VAL
    assert not {index for _, epoch in epochs_of(module) for index in flat(epoch)} & set(VAL)
    assert [round.validation_labels for round in active.history] == [20] * len(active.history)


def test_a_run_on_a_part_of_the_points_resumes_from_its_folder_and_refuses_another_part(tmp_path: Path) -> None:
    def train(indices: list[int] = TRAIN) -> DataLoader[Any]:
        return DataLoader(DS, 8, sampler=SubsetRandomSampler(indices))

    _, whole, _ = run(tmp_path, train, rounds=3)
    run(tmp_path, train, rounds=2, run_folder=tmp_path / "run")
    _, resumed, _ = run(tmp_path, train, rounds=3, run_folder=tmp_path / "run")
    assert resumed.pool.state_dict() == whole.pool.state_dict()
    with pytest.raises(ValueError, match=r"holds another run: its .*data\.members"):
        run(tmp_path, lambda: train([*TRAIN[1:], 59]), rounds=3, run_folder=tmp_path / "run")


@pytest.mark.parametrize(("shuffle", "drop_last"), one_in(2, [False, True], [False, True]))
def test_a_batch_sampler_trains_the_batches_of_a_loader_with_the_same_settings(
    tmp_path: Path, shuffle: bool, drop_last: bool
) -> None:
    sampler = RandomSampler(DS) if shuffle else SequentialSampler(DS)
    by_hand, *_ = run(tmp_path, lambda: DataLoader(DS, batch_sampler=BatchSampler(sampler, 5, drop_last)))
    usual, *_ = run(tmp_path, lambda: DataLoader(DS, 5, shuffle=shuffle, drop_last=drop_last))
    assert by_hand.trained == usual.trained
    assert [len(batch) for batch in by_hand.trained[1][0]] == [5, 5]


@pytest.mark.parametrize(
    ("sampler", "length"),
    [
        (lambda: RandomSampler(DS, num_samples=100), 100),
        (lambda: RandomSampler(DS, num_samples=3), 3),
        (lambda: RandomSampler(DS, replacement=True, num_samples=100), 100),
        (lambda: RandomSampler(range(30), num_samples=60), 60),
        (lambda: WeightedRandomSampler([1.0] * 60, 100), 100),
        # As many as it draws from is one epoch.
        (lambda: RandomSampler(DS, num_samples=60), None),
        pytest.param(lambda: RandomSampler(DS, replacement=True), None, marks=pytest.mark.slow),
        (lambda: WeightedRandomSampler([1.0] * 60, 60), None),
        pytest.param(lambda: WeightedRandomSampler([1.0] * 60, 60, replacement=False), None, marks=pytest.mark.slow),
        pytest.param(lambda: WeightedRandomSampler([1.0] * 40, 40), None, marks=pytest.mark.slow),
        (lambda: WeightedRandomSampler([0.0, 1.0] * 30, 30), None),
    ],
)
def test_the_length_of_an_epoch_is_kept(tmp_path: Path, sampler: Callable[[], Any], length: int | None) -> None:
    module, data, _ = run(tmp_path, lambda: DataLoader(DS, 8, sampler=sampler()), rounds=2)
    for number, epoch in epochs_of(module):
        labelled = labelled_in(data, number)
        assert len(flat(epoch)) == (length or len(labelled))
        assert set(flat(epoch)) <= set(labelled)
    epochs = [flat(epoch) for epoch in module.trained[1]]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("replacement", [False, True])
def test_repeats_come_evenly_without_replacement_alone(tmp_path: Path, replacement: bool) -> None:
    sampler = RandomSampler(DS, replacement=replacement, num_samples=100)
    module, _, _ = run(tmp_path, lambda: DataLoader(DS, 8, sampler=sampler), rounds=1)
    counts = Counter(flat(module.trained[0][0])).values()
    assert (max(counts) - min(counts) <= 1) != replacement


@pytest.mark.parametrize("sampler", [RandomSampler(DS, num_samples=400), WeightedRandomSampler([1.0] * 60, 400)])
def test_an_explicit_number_of_samples_wins(tmp_path: Path, sampler: Any) -> None:
    module, _, _ = run(tmp_path, lambda: DataLoader(DS, 8, sampler=sampler), samples_per_epoch=20)
    assert {len(flat(epoch)) for _, epoch in epochs_of(module)} == {20}


def test_weights_balance_the_classes_of_the_labelled_points(tmp_path: Path) -> None:
    """The usual recipe: one over the number of points of the class."""
    labels = torch.tensor([0] * 50 + [1] * 10)
    ds = torch.utils.data.TensorDataset(DS.tensors[0], labels)
    weights = 1.0 / labels.bincount()[labels]
    initial = [*range(18), 50, 51]
    sampler = WeightedRandomSampler(weights, 600)
    module, _, _ = run(tmp_path, lambda: DataLoader(ds, 30, sampler=sampler), initial=initial, rounds=1, epochs=1)
    drawn = Counter(flat(module.trained[0][0]))
    rare = sum(drawn[index] for index in (50, 51))
    # 2 weights of 1/10 beside 18 of 1/50: 0.357 of 600 draws, with a standard deviation of 12.
    assert 214 - 48 < rare < 214 + 48


@pytest.mark.parametrize("replacement", [False, True])
def test_points_without_weight_are_not_in_the_pool(tmp_path: Path, replacement: bool) -> None:
    weights = [float(index % 2) for index in range(50)]
    module, data, _ = run(
        tmp_path, lambda: DataLoader(DS, 4, sampler=WeightedRandomSampler(weights, 25, replacement)), initial_size=2
    )
    assert sorted(data.pool.labelled + data.pool.unlabelled) == list(range(1, 50, 2))
    if not replacement:
        for number, epoch in epochs_of(module):
            assert sorted(flat(epoch)) == sorted(labelled_in(data, number))


def test_weights_without_replacement_work_for_fewer_labels_than_draws(tmp_path: Path) -> None:
    sampler = WeightedRandomSampler(torch.rand(60) + 0.1, 12, replacement=False)
    module, _, _ = run(tmp_path, lambda: DataLoader(DS, 4, sampler=sampler), query_size=5, rounds=3)
    assert [len(flat(epochs[0])) for epochs in module.trained.values()] == [6, 11, 12]


class EndsItsEpochs(LitNumbers):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 else None


@pytest.mark.parametrize(
    ("make", "norm", "limits"),
    [
        (LitNumbers, False, {"limit_train_batches": 2}),
        (LitNumbers, False, {"limit_train_batches": 0.5}),
        (LitNumbers, True, {"limit_train_batches": 2}),
        (LitNumbers, False, {"limit_train_batches": 100}),
        (EndsItsEpochs, False, {}),
    ],
)
def test_an_epoch_that_ends_early_is_that_of_the_plain_program(
    tmp_path: Path, make: type[LitNumbers], norm: bool, limits: dict[str, Any]
) -> None:
    module, data, _ = run(
        tmp_path, lambda: DataLoader(DS, 4, shuffle=True), module=make(norm), initial_size=18, trainer_arguments=limits
    )
    for number, epochs in module.trained.items():
        order = generator(data.seed, number, "batches")
        labelled: Any = LitData(
            partial(DataLoader, Subset(DS, labelled_in(data, number)), 4, shuffle=True, generator=order)
        )
        labelled.pool = data.pool
        plain = make(norm)
        trainer(tmp_path / "plain", max_epochs=2, **limits).fit(plain, datamodule=labelled)
        assert [epochs] == list(plain.trained.values())


def test_an_order_of_the_user_s_is_kept(tmp_path: Path) -> None:
    """A curriculum: from the easiest to the hardest point."""
    hardness = DS.tensors[0][:, 1]

    class EasyFirst(Sampler[int]):
        def __len__(self) -> int:
            return len(hardness)

        def __iter__(self) -> Iterator[int]:
            yield from hardness.argsort().tolist()

    module, data, _ = run(tmp_path, lambda: DataLoader(DS, 4, sampler=EasyFirst()))
    for number, epoch in epochs_of(module):
        assert flat(epoch) == sorted(labelled_in(data, number), key=lambda index: float(hardness[index]))


class ByLength(Sampler[int]):
    """Texts of like length together, in a new order each epoch, as transformers' `LengthGroupedSampler`."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def permutation(self) -> Any:
        return torch.randperm(len(self)).tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self.permutation(), key=lambda index: -self.lengths[index]))


class ByLengthOfItsOwn(ByLength):
    """The same, with a generator of its own."""

    def __init__(self, lengths: list[int]) -> None:
        super().__init__(lengths)
        self.rng = np.random.default_rng(0)

    def permutation(self) -> Any:
        return self.rng.permutation(len(self))


class ByLengthByEpoch(ByLength):
    """The same, by the epoch that Lightning says."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def permutation(self) -> Any:
        return np.random.default_rng(self.epoch).permutation(len(self))


class ByLengthCounting(ByLengthByEpoch):
    """The same, by epochs that it counts itself."""

    set_epoch: Any = None

    def permutation(self) -> Any:
        self.epoch += 1
        return super().permutation()


@pytest.mark.parametrize("cls", [ByLength, ByLengthOfItsOwn, ByLengthByEpoch, ByLengthCounting])
def test_an_order_of_the_user_s_that_differs_by_epoch_is_kept(tmp_path: Path, cls: type[ByLength]) -> None:
    lengths = [index % 4 for index in range(60)]

    def train() -> DataLoader[Any]:
        return DataLoader(DS, 4, sampler=cls(lengths))

    module, data, _ = run(tmp_path, train, initial_size=20)
    for number, epoch in epochs_of(module):
        assert sorted(flat(epoch)) == sorted(labelled_in(data, number))
        assert [lengths[index] for index in flat(epoch)] == sorted((lengths[i] for i in flat(epoch)), reverse=True)
    assert flat(module.trained[0][0]) != flat(module.trained[0][1])
    run(tmp_path, train, initial_size=20, rounds=1, run_folder=tmp_path / "run")
    resumed, _, _ = run(tmp_path, train, initial_size=20, run_folder=tmp_path / "run")
    assert resumed.trained[1] == module.trained[1]
    if cls is not ByLength and cls is not ByLengthOfItsOwn:
        expected = [np.random.default_rng(epoch).permutation(60).tolist() for epoch in range(2)]
        for epoch, order in enumerate(expected):
            in_order = sorted(order, key=lambda index: -lengths[index])
            labelled = labelled_in(data, 1)
            assert flat(module.trained[1][epoch]) == [index for index in in_order if index in labelled]


@pytest.mark.parametrize("shuffle", [False, True])
def test_indices_that_come_twice_are_trained_on_twice(tmp_path: Path, shuffle: bool) -> None:
    indices = [*range(40), *range(10), *range(5)]
    sampler = SubsetRandomSampler(indices) if shuffle else indices
    module, data, _ = run(tmp_path, lambda: DataLoader(DS, 4, sampler=sampler), initial=[0, 7, 20], query_size=6)
    assert data.pool.size == 40
    for number, epoch in epochs_of(module):
        labelled = labelled_in(data, number)
        times = {index: 1 + (index < 10) + (index < 5) for index in labelled}
        assert Counter(flat(epoch)) == times
        in_order = [index for index in labelled for _ in range(times[index])]
        assert shuffle or flat(epoch) == in_order


class RandomSubset(Sampler[int]):
    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(60)[:10].tolist()


class Endless(Sampler[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


class Pairs(Sampler[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield (0, 32)


class Unsized(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return DS[index]


class Bucketed(BatchSampler):
    def __iter__(self) -> Iterator[list[int]]:
        yield [0, 1]


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda: DataLoader(DS, sampler=RandomSubset()), "but RandomSubset drew other points in one epoch than in the"),
        (
            lambda: DataLoader(DS, sampler=Endless()),
            "but Endless drew more than 700 indices in one",
        ),
        (lambda: DataLoader(DS, sampler=Pairs()), r"but Pairs drew \(0, 32\), which is not the index of a point"),
        (lambda: DataLoader(DS, sampler=[1, 70]), "but list draws index 70 of a dataset of 60 points"),
        (lambda: DataLoader(DS, sampler=["a"]), "but list drew 'a', which is not the index of a point"),
        (lambda: DataLoader(DS, sampler=[]), "but list draws no point. Give it the indices of the points to train on"),
        (lambda: DataLoader(DS, sampler=WeightedRandomSampler([-1.0, 1.0], 2)), "has weights that are negative, NaN"),
        (lambda: DataLoader(DS, sampler=RandomSampler(range(61))), r"draws index \d+ of a dataset of 60"),
        (
            lambda: DataLoader(Unsized(), sampler=range(60)),
            "a training dataset with a length, but Unsized of `LitData` has no `__len__`",
        ),
        (
            lambda: DataLoader(DS, batch_sampler=Bucketed(SequentialSampler(DS), 2, False)),
            "has the batch sampler Bucketed, which makes its own batches of all points. Pass `batch_size=`",
        ),
        (
            lambda: DataLoader(DS, batch_sampler=[[0, 1], [2, 3]]),
            "has the batch sampler list, which makes its own batches",
        ),
        (
            lambda: DataLoader(DS, sampler=BatchSampler(SequentialSampler(DS), 4, False), batch_size=None),
            r"has `batch_size=None`, which leaves batches to its dataset or its sampler\. Let the dataset give single",
        ),
    ],
)
def test_a_sampler_that_cannot_be_kept_is_refused_before_the_first_step(
    tmp_path: Path, loader: Callable[[], Any], message: str
) -> None:
    module = LitNumbers()
    with pytest.raises(ValueError, match=message):
        run(tmp_path, loader, module=module)
    assert not module.trained


def test_the_remedy_for_a_sampler_works(tmp_path: Path) -> None:
    """An own sampler of weights is refused, and what the error names does the same."""

    class Imbalanced(Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            yield from torch.multinomial(torch.ones(60), 60, replacement=True).tolist()

    with pytest.raises(ValueError, match="a `WeightedRandomSampler` for weights"):
        run(tmp_path, lambda: DataLoader(DS, 8, sampler=Imbalanced()))
    run(tmp_path, lambda: DataLoader(DS, 8, sampler=WeightedRandomSampler(torch.ones(60), 60)), rounds=1)


@pytest.mark.parametrize(
    "draws", [{"shuffle": True}, {"sampler": WeightedRandomSampler([1.0, 2.0] * 30, 20)}, {"sampler": EveryThird(60)}]
)
def test_workers_that_are_kept_change_no_batch(draws: dict[str, Any]) -> None:
    def three_epochs(**workers: Any) -> list[list[Any]]:
        data = ActiveDataModule(LitData(lambda: DataLoader(DS, 4, **draws, **workers)), initial_size=10)
        data.setup("fit")
        loader = data.train_dataloader()
        return [[x[:, 0].tolist() for x, _ in loader] for _ in range(3)]

    epochs = three_epochs()
    assert epochs[0] != epochs[1]
    assert three_epochs(num_workers=1, persistent_workers=True) == epochs


# Loaders that are made anew for each epoch.


class LitReloaded(pl.LightningDataModule):
    """A datamodule whose loader depends on the epoch."""

    def __init__(self, loader: Callable[[int], Any]) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> Any:
        return self.loader(self.trainer.current_epoch)  # type: ignore[union-attr]


def run_reloaded(folder: Path, loader: Callable[[int], Any]) -> tuple[LitNumbers, ActiveDataModule]:
    module = LitNumbers()
    data = ActiveDataModule(LitReloaded(loader), initial_size=9)
    active = ActiveLearning("random", query_size=4, max_rounds=2)
    fitting = trainer(folder, callbacks=[active], max_epochs=3, reload_dataloaders_every_n_epochs=1)
    fitting.fit(module, datamodule=data)
    return module, data


def test_a_batch_size_that_grows_with_the_epochs_is_kept(tmp_path: Path) -> None:
    module, data = run_reloaded(tmp_path, lambda epoch: DataLoader(DS, 2 * (epoch + 1), shuffle=True))
    for number, epochs in module.trained.items():
        labelled = labelled_in(data, number)
        assert [len(epoch[0]) for epoch in epochs] == [2, 4, 6]
        assert all(sorted(flat(epoch)) == sorted(labelled) for epoch in epochs)
        assert flat(epochs[0]) != flat(epochs[1])


def test_images_may_grow_with_the_epochs(tmp_path: Path) -> None:
    """As fast.ai's progressive resizing: another dataset of the same points."""

    class Scaled(Dataset[Any]):
        def __init__(self, by: float) -> None:
            self.by = by

        def __len__(self) -> int:
            return len(DS)

        def __getitem__(self, index: int) -> Any:
            x, y = DS[index]
            return torch.cat([x[:1], x[1:] * self.by]), y

    class Norms(LitNumbers):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            places = batch[0][:, 0].long()
            found.append(float((batch[0][:, 1:] / DS.tensors[0][places, 1:]).mean()))
            return super().training_step(batch, batch_idx)

    found: list[float] = []
    data = ActiveDataModule(LitReloaded(lambda epoch: DataLoader(Scaled(1.0 + epoch), 16)), initial_size=9)
    active = ActiveLearning("random", query_size=4, max_rounds=2)
    fitting = trainer(tmp_path, callbacks=[active], max_epochs=3, reload_dataloaders_every_n_epochs=1)
    fitting.fit(Norms(), datamodule=data)
    assert found == pytest.approx([1, 2, 3, 1, 2, 3])


@pytest.mark.parametrize(
    "loader",
    [
        lambda epoch: DataLoader(torch.utils.data.Subset(DS, torch.randperm(60)[:30].tolist()), 4),
        lambda epoch: DataLoader(DS, 4, sampler=SubsetRandomSampler(range(20 + 10 * epoch))),
    ],
)
def test_other_points_in_a_later_epoch_are_refused(tmp_path: Path, loader: Callable[[int], Any]) -> None:
    with pytest.raises(ValueError, match=r"gave other training points in epoch 1 than before the fit"):
        run_reloaded(tmp_path, loader)


# Classes of loaders.


class Scaled(DataLoader[Any]):
    """A loader with an argument that is no attribute, and with batches of its own making."""

    def __init__(self, dataset: Dataset[Any], percent: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset, *args, **kwargs)
        self.factor = percent / 100
        self.note = ["kept"]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for x, y in super().__iter__():
            yield torch.cat([x[:, :1], x[:, 1:] * self.factor], dim=1), y


@pytest.mark.parametrize(("shuffle", "workers"), one_in(2, [False, True], [2, 0]))
def test_a_class_of_loader_is_kept_in_training_and_scoring(tmp_path: Path, shuffle: bool, workers: int) -> None:
    class LitScaled(LitNumbers):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found.append(bool((x[:, 1:] == 100 * DS.tensors[0][x[:, 0].long(), 1:]).all()))
            return super().forward(x)

    class LitPlain(LitNumbers):
        def on_train_start(self) -> None:
            assert type(self.trainer.train_dataloader) is DataLoader

    found: list[bool] = []
    more: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    loaders = []

    class Kept(LitScaled):
        def on_train_start(self) -> None:
            loaders.append(self.trainer.train_dataloader)

    own, data, _ = run(
        tmp_path, lambda: Scaled(DS, 10_000, 4, shuffle=shuffle, **more), module=Kept(), rounds=2, epochs=2
    )
    plain, *_ = run(tmp_path, lambda: DataLoader(DS, 4, shuffle=shuffle, **more), module=LitPlain(), rounds=1)
    assert all(found)
    assert {type(loader) for loader in loaders} == {Scaled}
    assert (loaders[0].factor, loaders[0].note, loaders[0].batch_size) == (100, ["kept"], 4)
    assert own.trained[0] == plain.trained[0], "the order is that of a plain loader"
    assert own.scored >= set(range(60)) - set(data.pool.labelled)
    assert len(loaders[-1]) == 3


class OverTensors(DataLoader[Any]):
    """A loader that reads its tensors, past dataset and sampler."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield self.dataset_of_mine.tensors

    @property
    def dataset_of_mine(self) -> Any:
        return DS


class OverAttributes(DataLoader[Any]):
    """A fast loader for tensors, which cuts them itself."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        x, y = self.dataset.tensors  # type: ignore[attr-defined]
        order = torch.randperm(len(x))
        for places in order.split(4):
            yield x[places], y[places]


class OverIndices(DataLoader[Any]):
    """A loader that keeps the indices of its dataset."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.indices = np.arange(len(self.dataset))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for places in np.array_split(np.random.permutation(self.indices), 15):
            yield self.collate_fn([self.dataset[int(place)] for place in places])


class OfOneLength(DataLoader[Any]):
    """A loader that keeps its length, by which Lightning knows when to validate."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.length = super().__len__()

    def __len__(self) -> int:
        return self.length


class Kept(DataLoader[Any]):
    """The loader that keeps its workers by an iterator that is made once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iterator = super().__iter__()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for _ in range(len(self)):
            yield next(self.iterator)


class UnderAnotherName(DataLoader[Any]):
    """A loader that reads its dataset under a name of its own."""

    def __init__(self, dataset: Dataset[Any], batch_size: int) -> None:
        super().__init__(dataset, batch_size, shuffle=True)
        self.mine = dataset

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for places in self.batch_sampler:
            yield self.collate_fn([self.mine[place] for place in places])


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda: OverTensors(DS, 4), "the OverTensors of `LitData.train_dataloader` gave a batch without reading its"),
        (
            lambda: OverAttributes(DS, 4),
            r"the OverAttributes of .* reads `tensors` of its dataset, which some .*"
            r"Let its `__iter__` read single points",
        ),
        (lambda: OverIndices(DS, 4), r"the OverIndices of .* reads places beyond the length of its dataset\. Let its"),
        (lambda: OfOneLength(DS, 4), r"the OfOneLength of .* gave 1 of the 15 batches that its `__len__` says"),
        (lambda: zip(*DS.tensors, strict=True), r"return one DataLoader, but got zip. Return a `torch.utils"),
        (lambda: [DataLoader(DS), DataLoader(DS)], r"one DataLoader, but got list. Return.*Join several datasets"),
        (lambda: Kept(DS, 4), "the Kept of `LitData.train_dataloader` keeps an iterator over all points as `iterator`"),
    ],
)
def test_a_class_of_loader_that_holds_on_to_all_points_is_refused(
    tmp_path: Path, loader: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, loader)


class InEpochs(DataLoader[Any]):
    """A loader whose epoch has a length of its own, as those that repeat a small dataset."""

    def __len__(self) -> int:
        return 7

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        left = len(self)
        while left:
            for batch in islice(super().__iter__(), left):
                yield batch
                left -= 1


def test_a_class_of_loader_may_have_epochs_of_its_own_length(tmp_path: Path) -> None:
    module = LitNumbers()
    data = ActiveDataModule(LitData(lambda: InEpochs(DS, 4, shuffle=True), lambda: DataLoader(DS, 8)), initial_size=6)
    active = ActiveLearning("random", query_size=4, max_rounds=2)
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    for number, epoch in epochs_of(module):
        assert len(epoch) == 7
        assert set(flat(epoch)) == set(labelled_in(data, number))
    assert module.validated


def test_a_class_of_loader_may_hold_its_dataset_twice(tmp_path: Path) -> None:
    module, data, _ = run(tmp_path, lambda: UnderAnotherName(DS, 4))
    for number, epoch in epochs_of(module):
        assert sorted(flat(epoch)) == sorted(labelled_in(data, number))


def test_a_class_of_loader_may_be_overfitted(tmp_path: Path) -> None:
    module, data, _ = run(
        tmp_path, lambda: Scaled(DS, 100, 4, shuffle=True), trainer_arguments={"overfit_batches": 1}, rounds=1
    )
    assert [flat(epoch) for epoch in module.trained[0]] == [data.pool.labelled[:4]] * 2


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_of_torchdata_stays_one_and_keeps_its_place(tmp_path: Path, shuffle: bool, workers: int) -> None:
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    class LitStateful(LitNumbers):
        def on_train_start(self) -> None:
            assert type(self.trainer.train_dataloader) is torchdata.StatefulDataLoader

    module, data, _ = run(
        tmp_path,
        lambda: torchdata.StatefulDataLoader(DS, 4, shuffle=shuffle, num_workers=workers),
        module=LitStateful(),
        rounds=2,
        query_size=8,
    )
    for number, epoch in epochs_of(module):
        assert sorted(flat(epoch)) == sorted(labelled_in(data, number))
        assert shuffle or flat(epoch) == labelled_in(data, number)
    # Its own promise: a loader goes on where a state was taken.
    loader = data.train_dataloader()
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = [x[:, 0].tolist() for x, _ in batches]
    other = data.train_dataloader()
    other.load_state_dict(state)
    assert [x[:, 0].tolist() for x, _ in other] == rest
    assert len(rest) == 3


# Datasets that read a batch at once.


class Table(Dataset[Any]):
    """A dataset that reads many rows at once, as Hugging Face's do."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(DS)

    def __getitem__(self, index: int) -> Any:
        return {"x": DS.tensors[0][index], "y": DS.tensors[1][index]}

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.reads.append(len(indices))
        return [self[index] for index in indices]


class LitTable(LitNumbers):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step((batch["x"], batch["y"]), batch_idx)


@pytest.mark.parametrize("relabelled", [False, True])
def test_a_dataset_that_reads_a_batch_at_once_does_so_in_training_and_scoring(tmp_path: Path, relabelled: bool) -> None:
    table = Table()
    _, data, _ = run(tmp_path, lambda: DataLoader(table, 4, shuffle=True), module=LitTable(), rounds=2)
    if relabelled:
        data.pool.label([data.pool.unlabelled[0]], {data.pool.unlabelled[0]: 1})
    table.reads.clear()
    trained = [batch["y"].tolist() for batch in data.train_dataloader()]
    size = data.pool.num_labelled
    assert table.reads == [4] * (size // 4) + [size % 4] * (size % 4 > 0)
    expected = [data.pool.labels.get(index, int(DS.tensors[1][index])) for index in data.pool.labelled]
    assert sorted(flat(trained)) == sorted(expected)
    table.reads.clear()
    scored = [batch["x"][:, 0].long().tolist() for batch in data.pool_dataloader()]
    assert flat(scored) == data.pool.unlabelled
    assert max(table.reads) == 16
    assert len(table.reads) == len(scored)


def test_a_dataset_whose_batches_hide_their_items_is_refused(tmp_path: Path) -> None:
    class Whole(Table):
        def __getitems__(self, indices: list[int]) -> Any:
            return DS.tensors[0][indices], DS.tensors[1][indices]

    with pytest.raises(ValueError, match=r"`Whole.__getitems__` returned tuple for 3 indices. Let it return a list"):
        run(tmp_path, lambda: DataLoader(Whole(), 4, shuffle=True, collate_fn=lambda batch: batch), module=LitTable())


# Collate functions.


def mixup(items: list[Any]) -> Any:
    """Mix each point with another, as timm and torchvision's `MixUp` do."""
    x, y = torch.utils.data.default_collate(items)
    share, others = float(np.random.beta(1.0, 1.0)), torch.randperm(len(x))
    return share * x + (1 - share) * x[others], y


def sometimes_mixup(items: list[Any]) -> Any:
    return mixup(items) if np.random.rand() < 0.5 else torch.utils.data.default_collate(items)


@pytest.mark.parametrize("collate", [mixup, sometimes_mixup])
def test_a_collate_function_that_draws_at_random_brings_a_warning(collate: Callable[..., Any]) -> None:
    data = ActiveDataModule(LitData(lambda: DataLoader(DS, 8, collate_fn=collate)), initial_size=8)
    with pytest.warns(UserWarning, match=r"made a batch of the same 4 points twice.* Do this in `training_step`, or"):
        data.setup("fit")


def test_its_remedy_leaves_the_pool_unmixed(tmp_path: Path) -> None:
    """Mixing in the transfer hook of the datamodule, in training alone."""

    class Mixing(LitData):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            training = self.trainer is not None and self.trainer.training
            return mixup([tuple(item) for item in zip(*batch, strict=True)]) if training else batch

    class LitMixed(LitNumbers):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.mixed = bool((batch[0][:, 0] % 1 > 0).any())
            return super().training_step(batch, batch_idx)

    module = LitMixed()
    data = ActiveDataModule(Mixing(lambda: DataLoader(DS, 8)), initial_size=8)
    active = ActiveLearning("entropy", posterior=MCDropout(3), query_size=4, max_rounds=2)
    trainer(tmp_path, callbacks=[active]).fit(module, datamodule=data)
    assert module.mixed
    assert module.scored == set(range(60)) - set(data.pool.initial)
