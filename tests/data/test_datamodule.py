"""ActiveDataModule: train on the labelled, score the rest, and leave everything else to the wrapped datamodule."""

from __future__ import annotations

import ast
import inspect
import random
import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import sparse
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, default_collate, random_split

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.data.initial import draw_initial
from lightning_al.host.namespace import is_overridden, pl
from tests.support.tasks import CLASSES, Items, LitMLP, LitPoints, points, trainer

STAGE_LOADERS = ("val_dataloader", "test_dataloader", "predict_dataloader")
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Item(NamedTuple):
    x: Tensor
    y: int


def stack_pairs(items: list[Any]) -> Any:
    """Collate pairs by hand."""
    return {"inputs": torch.stack([x for x, _ in items]), "answers": [int(y) for _, y in items]}


def set_up(data: Any, **arguments: Any) -> ActiveDataModule:
    """Wrap data without an augmentation or shuffling in the way, and set it up."""
    if "initial" not in arguments:
        arguments.setdefault("initial_size", 6)
    active = ActiveDataModule(data, **arguments)
    active.setup("fit")
    return active


def inputs_of(loader: DataLoader[Any]) -> Tensor:
    return torch.cat([batch[0] for batch in loader])


# Items of any form.

FORMS: dict[str, tuple[Any, Any]] = {
    "tuple": (lambda x, y: (x, y), lambda batch: (batch[0], batch[1])),
    "list": (lambda x, y: [x, y], lambda batch: (batch[0], batch[1])),
    "namedtuple": (Item, lambda batch: (batch.x, batch.y)),
    "dict": (lambda x, y: {"image": x, "label": y}, lambda batch: (batch["image"], batch["label"])),
    "tensor label": (lambda x, y: (x, torch.tensor(y)), lambda batch: (batch[0], batch[1])),
    "numpy": (lambda x, y: (x.numpy(), np.int64(y)), lambda batch: (batch[0], batch[1])),
}


@pytest.mark.parametrize(("form", "parts"), FORMS.values(), ids=FORMS)
def test_any_item_trains_with_its_label_and_is_scored_without(form: Any, parts: Any) -> None:
    dataset = Items(20, form)
    data = set_up(dataset, batch_size=8)
    x_of = dataset.points.tensors[0]
    labelled, unlabelled = data.pool.labelled, data.pool.unlabelled
    assert len(labelled) == 6
    assert sorted(labelled + unlabelled) == list(range(20))

    trained = [parts(batch) for batch in data.train_dataloader()]
    x, y = (torch.cat(some) for some in zip(*trained, strict=True))
    drawn = [int((x_of == one).all(1).nonzero()) for one in x]
    assert sorted(drawn) == sorted(labelled)
    assert y.tolist() == [index % CLASSES for index in drawn]

    scored = [parts(batch) for batch in data.pool_dataloader()]
    x, y = (torch.cat(some) for some in zip(*scored, strict=True))
    assert torch.equal(x, x_of[unlabelled]), "the pool comes in index order"
    assert y.tolist() == [labelled[0] % CLASSES] * len(unlabelled), "the label of the first initial point"
    assert y.dtype == torch.int64


def test_tensor_items_have_no_label() -> None:
    whole = torch.arange(10.0).unsqueeze(1)

    class Tensors(Dataset[Any]):
        def __len__(self) -> int:
            return len(whole)

        def __getitem__(self, index: int) -> Tensor:
            return whole[index]

    data = set_up(Tensors(), initial=[3, 1], batch_size=4)
    assert sorted(torch.cat(list(data.train_dataloader())).flatten().tolist()) == [1, 3]
    assert torch.cat(list(data.pool_dataloader())).flatten().tolist() == [0, 2, 4, 5, 6, 7, 8, 9]
    assert data.class_counts() is None


def test_a_collate_function_is_kept_for_both_loaders() -> None:
    data = set_up(points(12), collate_fn=stack_pairs, batch_size=4)
    [first, *_] = data.train_dataloader()
    assert set(first["answers"]) <= set(range(CLASSES))
    answers = [answer for batch in data.pool_dataloader() for answer in batch["answers"]]
    assert answers == [data.pool.initial[0] % CLASSES] * 6


@pytest.mark.parametrize("form", ["dict", "tuple"])
def test_a_pool_dataset_is_scored_in_place_of_the_training_data(form: str) -> None:
    train = Items(10, FORMS[form][0], seed=0)
    plain = Items(10, FORMS[form][0], seed=1)
    data = set_up(train, initial=[2], pool_dataset=plain)
    [batch] = data.pool_dataloader()
    x, y = FORMS[form][1](batch)
    assert torch.equal(x, plain.points.tensors[0][data.pool.unlabelled])
    assert set(y.tolist()) == {2}
    [batch] = data.train_dataloader()
    assert torch.equal(FORMS[form][1](batch)[0], train.points.tensors[0][[2]])


@pytest.mark.parametrize("form", [lambda x, y: x, lambda x, y: (x,), lambda x, y: {"image": x}])
def test_a_pool_dataset_may_hold_no_labels(form: Any) -> None:
    train = Items(10, FORMS["dict"][0])
    data = set_up(train, initial=[2], pool_dataset=Items(10, form))
    [batch] = data.pool_dataloader()
    x = data.target.inputs(batch)
    assert torch.equal(x, train.points.tensors[0][data.pool.unlabelled])


def test_a_pool_dataset_may_be_a_function_of_the_wrapped_datamodule() -> None:
    wrapped = LitPoints(10)
    data = set_up(wrapped, initial=[2], pool_dataset=lambda module: points(module.n, seed=9), pool_batch_size=4)
    assert torch.equal(inputs_of(data.pool_dataloader()), points(10, seed=9).tensors[0][data.pool.unlabelled])


def test_a_function_target_works_beside_a_pool_dataset_without_labels() -> None:
    train = Items(12, lambda x, y: (x, {"deep": y}))
    data = set_up(
        train,
        initial_size=CLASSES,
        balanced=True,
        target=lambda item: item[1]["deep"],
        pool_dataset=Items(12, lambda x, y: x),
    )
    assert data.class_counts() == dict.fromkeys(range(CLASSES), 1)
    [batch] = data.pool_dataloader()
    assert isinstance(batch, Tensor)


# The wrapped datamodule.


def test_settings_of_the_wrapped_loader_are_kept() -> None:
    def nothing(worker: int) -> None:
        """Start a worker."""

    settings: dict[str, Any] = {
        "num_workers": 1,
        "collate_fn": stack_pairs,
        "pin_memory": True,
        "timeout": 30.0,
        "worker_init_fn": nothing,
        "multiprocessing_context": "fork",
        "prefetch_factor": 3,
        "persistent_workers": True,
    }
    data = set_up(LitPoints(40, batch_size=5, **settings), initial_size=12)
    train, pool = data.train_dataloader(), data.pool_dataloader()
    wrapped = data.wrapped.train_dataloader()
    for loader in (train, pool):
        assert loader.batch_size == (5 if loader is train else 20)
        for name in set(settings) - {"persistent_workers"}:
            assert getattr(loader, name) == getattr(wrapped, name), name
    assert train.persistent_workers
    assert not pool.persistent_workers, "the pool is passed once, so its workers must not stay"


@pytest.mark.parametrize(("labelled", "batches"), [(4, [4]), (8, [8]), (20, [8, 8])])
def test_drop_last_is_kept_unless_nothing_would_be_left(labelled: int, batches: list[int]) -> None:
    data = set_up(LitPoints(40, batch_size=8, drop_last=True), initial_size=labelled)
    assert [len(y) for _, y in data.train_dataloader()] == batches
    assert sum(len(y) for _, y in data.pool_dataloader()) == 40 - labelled


def test_an_order_without_shuffling_is_kept() -> None:
    class InOrder(LitPoints):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.train, batch_size=4)

    data = set_up(InOrder(), initial=[7, 3, 9, 1, 5])
    assert torch.equal(inputs_of(data.train_dataloader()), points(40).tensors[0][[7, 3, 9, 1, 5]])


def test_a_weighted_sampler_keeps_its_weights_over_the_labelled_points() -> None:
    class Weighted(LitPoints):
        def train_dataloader(self) -> DataLoader[Any]:
            sampler = torch.utils.data.WeightedRandomSampler([1.0 + 2.0 * (index == 9) for index in range(self.n)], 400)
            return DataLoader(self.train, sampler=sampler, batch_size=4)

    data = set_up(Weighted(), initial=[7, 3, 9, 1, 5])
    x_of = points(40).tensors[0]
    drawn = Counter(int((x_of == one).all(1).nonzero()) for one in inputs_of(data.train_dataloader()))
    assert sum(drawn.values()) == 400
    # 3 of 7 draws, with a standard deviation of 10.
    assert 171 - 40 < drawn[9] < 171 + 40
    assert min(drawn[index] for index in (7, 3, 1, 5)) > 57 - 30


def test_loaders_of_other_stages_are_those_of_the_wrapped_datamodule() -> None:
    wrapped = LitPoints()
    data = set_up(wrapped)
    assert torch.equal(inputs_of(data.val_dataloader()), wrapped.val.tensors[0])  # type: ignore[attr-defined]
    assert torch.equal(inputs_of(data.test_dataloader()), wrapped.test.tensors[0])  # type: ignore[attr-defined]


class TrainOnly(pl.LightningDataModule):
    """A datamodule that has nothing but training data."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(points(16), batch_size=4, shuffle=True)


@pytest.mark.parametrize("hook", [*STAGE_LOADERS, *TRANSFER_HOOKS, "prepare_data"])
def test_a_hook_exists_only_where_the_wrapped_datamodule_has_it(hook: str) -> None:
    calls = []

    def answer(self: Any, *arguments: Any) -> str:
        calls.append(arguments)
        return "answer"

    having = type("Having", (TrainOnly,), {hook: answer})()
    for wrapped, expected in ((TrainOnly(), False), (having, True)):
        data = ActiveDataModule(wrapped, initial_size=2)
        assert is_overridden(hook, data) == expected
    arguments = {
        "on_before_batch_transfer": (1, 0),
        "transfer_batch_to_device": (1, "cpu", 0),
        "on_after_batch_transfer": (1, 0),
    }.get(hook, ())
    answered = getattr(data, hook)(*arguments)
    assert calls == [arguments]
    assert answered == (None if hook == "prepare_data" else "answer")


@pytest.mark.parametrize("stage", ["val", "test", "predict"])
def test_a_plain_dataset_gives_a_stage_its_loader_only_where_it_was_passed(stage: str) -> None:
    other = points(5, seed=3)
    assert not is_overridden(f"{stage}_dataloader", ActiveDataModule(points(9), initial_size=2))
    data = ActiveDataModule(points(9), initial_size=2, batch_size=2, **{stage: other})
    assert is_overridden(f"{stage}_dataloader", data)
    assert torch.equal(inputs_of(getattr(data, f"{stage}_dataloader")()), other.tensors[0])


def test_transfer_hooks_act_in_training_and_scoring(tmp_path: Path) -> None:
    class Doubling(LitPoints):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            assert self.trainer is not None
            seen.append((self.trainer.training, len(batch[1]), batch[1].tolist()))
            return [2 * batch[0], batch[1]]

    seen: list[Any] = []
    wrapped = Doubling(12, batch_size=4)
    active = ActiveLearning("random", query_size=2, max_rounds=1, test=None)
    run = trainer(tmp_path, callbacks=[active], max_epochs=1, limit_val_batches=0)
    run.fit(LitMLP(), datamodule=ActiveDataModule(wrapped, initial_size=4))
    [(training, count, labels)] = seen
    assert (training, count) == (True, 4)
    assert len(set(labels)) > 1, "these are the labelled points' own"


class WholeModule(LitMLP):
    """A module with a transfer hook of its own, which a datamodule without one must not shadow."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.transferred = True
        return batch


@pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer` in `LightningModule`")
def test_hooks_of_the_module_are_not_shadowed(tmp_path: Path) -> None:
    module = WholeModule()
    active = ActiveLearning("random", query_size=2, max_rounds=1)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(module, ActiveDataModule(LitPoints(12), initial_size=4))
    assert module.transferred


def test_hyperparameters_and_trainer_are_the_wrapped_datamodule_s(tmp_path: Path) -> None:
    wrapped = LitPoints(12, batch_size=4)
    data = ActiveDataModule(wrapped, initial_size=4)
    assert dict(data.hparams) == {"n": 12, "batch_size": 4}
    assert data.hparams_initial == wrapped.hparams_initial
    logger = pl.loggers.CSVLogger(tmp_path)
    active = ActiveLearning("random", query_size=2, max_rounds=1)
    run = trainer(tmp_path, callbacks=[active], max_epochs=1, logger=logger, log_every_n_steps=1)
    run.fit(LitMLP(), datamodule=data)
    assert data.trainer is wrapped.trainer is run
    assert {"n": 12, "batch_size": 4}.items() <= logger.experiment.hparams.items()


class Stateful(LitPoints):
    """A datamodule with state of its own."""

    number = 0

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.number = state_dict["number"]


def test_state_holds_the_pool_and_the_wrapped_datamodule_s(tmp_path: Path) -> None:
    wrapped = Stateful(12)
    wrapped.number = 7
    data = set_up(wrapped, initial=[4, 2])
    data.pool.label([9, 1], {9: 3})
    torch.save(data.state_dict(), tmp_path / "state.pt")
    other = set_up(Stateful(12), initial_size=2)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.pool.rounds == [[4, 2], [9, 1]]
    assert other.pool.labels == {9: 3}
    assert other.wrapped.number == 7  # type: ignore[attr-defined]
    assert [y.tolist() for _, y in other.train_dataloader()] == [y.tolist() for _, y in data.train_dataloader()]


@pytest.mark.parametrize("test", ["module", None])
def test_a_whole_run_prepares_sets_up_and_tears_down_once(tmp_path: Path, test: Any) -> None:
    wrapped = LitPoints(24)
    active = ActiveLearning("random", query_size=2, max_rounds=4, test=test)
    trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), ActiveDataModule(wrapped, initial_size=4))
    assert len(active.history) == 4
    tested = ["setup test"] if test else []
    assert wrapped.calls[: 2 + len(tested)] == ["prepare_data", "setup fit", *tested]
    assert sorted(wrapped.calls[2 + len(tested) :]) == ["teardown fit"] + ["teardown test"] * bool(test)


def test_each_fit_of_an_own_loop_sets_up_and_tears_down(tmp_path: Path) -> None:
    wrapped = LitPoints(24)
    data = ActiveDataModule(wrapped, initial_size=4)
    active = ActiveLearning("random", query_size=2, max_rounds=3, rounds_per_fit=1, test=None)
    while not active.done:
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), data)
    assert wrapped.calls == ["prepare_data", "setup fit", "teardown fit"] * 3


def test_held_may_be_entered_inside_itself() -> None:
    wrapped = LitPoints(24)
    data = ActiveDataModule(wrapped, initial_size=4)
    data.setup("fit")
    with data.held():
        with data.held():
            data.setup("fit")
        data.setup("fit")
        data.teardown("fit")
    assert wrapped.calls == ["setup fit"]
    data.teardown("fit")
    data.setup("fit")
    assert wrapped.calls == ["setup fit", "teardown fit", "setup fit"]


class RandomSplit(pl.LightningDataModule):
    """A datamodule that splits at random, with no seed, where `where` says."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def split(self) -> None:
        self.train, self.val = random_split(points(40), [30, 10])

    def setup(self, stage: str) -> None:
        if self.where == "setup":
            self.split()

    def train_dataloader(self) -> DataLoader[Any]:
        if self.where == "train_dataloader":
            self.split()
        return DataLoader(self.train, batch_size=4, shuffle=True)


@pytest.mark.parametrize("where", ["setup", "train_dataloader"])
def test_a_random_split_is_the_same_every_time(where: str) -> None:
    data = set_up(RandomSplit(where))
    first = list(data.dataset.indices)  # type: ignore[attr-defined]
    torch.rand(3)
    data.setup("fit")
    assert list(data.dataset.indices) == first  # type: ignore[attr-defined]
    torch.rand(3)
    assert list(set_up(RandomSplit(where)).dataset.indices) == first  # type: ignore[attr-defined]
    assert list(set_up(RandomSplit(where), seed=1).dataset.indices) != first  # type: ignore[attr-defined]


def test_setup_leaves_the_global_generators_alone() -> None:
    class Noisy(Items):
        def __getitem__(self, index: int) -> Any:
            x, y = super().__getitem__(index)
            return x + torch.rand(()) * 0 + random.random() * 0 + np.random.rand() * 0, y

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    set_up(Noisy(20, FORMS["tuple"][0]), balanced=True)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(after[0], before[0])
    assert after[1:] == before[1:]


@pytest.mark.parametrize("change", ["length", "order"])
def test_training_data_that_changed_are_refused(change: str) -> None:
    wrapped = LitPoints(24)
    data = set_up(wrapped)
    wrapped.setup = lambda stage: setattr(  # type: ignore[method-assign]
        wrapped, "train", points(23) if change == "length" else Subset(points(24), list(range(24))[::-1])
    )
    with pytest.raises(ValueError, match="training data of `LitPoints` changed between two calls of its `setup`"):
        data.setup("fit")


def test_it_reads_no_name_of_its_own_from_the_wrapped_datamodule() -> None:
    """Since unknown names are the wrapped datamodule's, a name misspelt here would be read from there."""
    [body] = [
        node
        for node in ast.parse(Path(inspect.getfile(ActiveDataModule)).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "ActiveDataModule"
    ]
    read = {
        node.attr
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    own = {
        *vars(ActiveDataModule(points(9), initial_size=2)),
        *object.__dir__(ActiveDataModule(points(9), initial=[0])),
    }
    assert len(read) > 20
    assert not read - own


# The initial set.


def test_the_initial_set_is_a_draw_by_seed() -> None:
    draws = [set_up(points(50), initial_size=10, seed=seed).pool.initial for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert all(len(set(draw)) == 10 for draw in draws)


def test_the_initial_set_does_not_depend_on_global_seeds_or_settings() -> None:
    torch.manual_seed(1)
    one = set_up(points(50), initial_size=10, num_workers=0).pool.initial
    torch.manual_seed(2)
    assert set_up(LitPoints(50, batch_size=3), initial_size=10).pool.initial == one


def test_every_point_is_drawn_with_the_same_chance() -> None:
    data = set_up(points(12), initial_size=3, seed=7)
    draws = [draw_initial(data.training_points, 3, balanced=False, seed=seed) for seed in range(300)]
    assert draws[7] == data.pool.initial
    drawn = Counter(index for draw in draws for index in draw)
    # 300 draws of 3 of 12: 75 times each on average, with a standard deviation of 7.5.
    assert min(drawn[index] for index in range(12)) > 75 - 4 * 7.5
    assert max(drawn.values()) < 75 + 4 * 7.5


@given(size=st.integers(1, 30), seed=st.integers(0, 5))
def test_a_balanced_initial_set_has_classes_of_equal_size_up_to_one(size: int, seed: int) -> None:
    data = set_up(points(40), initial_size=size, balanced=True, seed=seed)
    counts = data.class_counts()
    assert counts is not None
    assert sum(counts.values()) == size == len(set(data.pool.initial))
    every_class = [counts.get(label, 0) for label in range(CLASSES)]
    assert max(every_class) - min(every_class) <= 1


def test_a_balanced_initial_set_takes_all_of_a_class_that_is_too_small() -> None:
    labels = torch.tensor([0] * 20 + [1] * 2 + [2] * 20)
    data = set_up(TensorDataset(torch.rand(42, 2), labels), initial_size=12, balanced=True)
    assert data.class_counts() == {0: 5, 1: 2, 2: 5}


def test_given_initial_indices_are_kept_in_order() -> None:
    assert set_up(points(9), initial=[7, 0, 3]).pool.initial == [7, 0, 3]
    assert set_up(points(9), initial=torch.tensor([7, 0, 3])).pool.initial == [7, 0, 3]


def test_a_second_setup_keeps_the_pool() -> None:
    data = set_up(points(20))
    data.pool.label([data.pool.unlabelled[0]])
    before = data.pool.state_dict()
    data.setup("fit")
    assert data.pool.state_dict() == before


# Batches.


@pytest.mark.parametrize("samples", [1, 5, 7, 23, 70])
@pytest.mark.parametrize("labelled", [1, 7])
def test_samples_per_epoch_repeat_the_points_evenly(samples: int, labelled: int) -> None:
    data = set_up(LitPoints(20, batch_size=4), initial_size=labelled, samples_per_epoch=samples)
    loader = data.train_dataloader()
    for _ in range(2):
        drawn = Counter(map(tuple, inputs_of(loader).tolist()))
        assert sum(drawn.values()) == samples
        assert len(drawn) == min(labelled, samples)
        assert max(drawn.values()) - min(drawn.values()) <= (1 if samples >= labelled else 0)
    assert len(loader) == -(-samples // 4)


def order(data: ActiveDataModule) -> list[list[int]]:
    return [batch.tolist() for x, _ in data.train_dataloader() for batch in [x[:, 0]]]


def test_batches_come_in_an_order_of_their_seed_and_round_and_not_of_the_global_seed() -> None:
    torch.manual_seed(1)
    one = set_up(points(20), initial_size=10)
    torch.manual_seed(2)
    same, other = set_up(points(20), initial_size=10), set_up(points(20), initial=one.pool.initial, seed=1)
    assert order(one) == order(same) == order(one)
    assert order(one) != order(other)


def test_each_epoch_has_its_own_order() -> None:
    for samples in (None, 20):
        loader = set_up(points(20), initial_size=10, samples_per_epoch=samples).train_dataloader()
        assert not torch.equal(inputs_of(loader), inputs_of(loader))


@pytest.mark.parametrize(
    ("samples", "batch_size"),
    # An epoch that ends in a smaller batch, and epochs that do not.
    [(None, 6), *(pytest.param(samples, 5, marks=pytest.mark.slow) for samples in (None, 30)), (30, 6)],
)
def test_workers_do_not_change_the_batches(samples: int | None, batch_size: int) -> None:
    loaded = []
    for workers in (0, 2):
        data = set_up(
            points(40), initial_size=20, batch_size=batch_size, num_workers=workers, samples_per_epoch=samples
        )
        loader = data.train_dataloader()
        # As Lightning does, which reads no further than the last batch.
        epochs = [[(x.tolist(), y.tolist()) for x, y in islice(loader, len(loader))] for _ in range(2)]
        loaded.append((epochs, [(x.tolist(), y.tolist()) for x, y in data.pool_dataloader()]))
    # repr, since the hidden labels could be NaN
    assert repr(loaded[0]) == repr(loaded[1])


def test_a_pool_loader_of_chosen_indices_keeps_their_order() -> None:
    data = set_up(points(20), initial=[0], batch_size=3)
    assert torch.equal(inputs_of(data.pool_dataloader([9, 2, 5, 4])), points(20).tensors[0][[9, 2, 5, 4]])


# Labels of an oracle.


@pytest.mark.parametrize("form", FORMS)
def test_labels_of_an_oracle_replace_the_targets(form: str) -> None:
    make, parts = FORMS[form]
    data = set_up(Items(20, make), initial=[0, 1, 2, 3], batch_size=32)
    data.pool.label([8, 9, 10], {8: 3, 9: 2, 10: None})
    [batch] = data.train_dataloader()
    x, y = parts(batch)
    assert y.dtype == torch.int64
    found = {int((points(20).tensors[0] == one).all(1).nonzero()): int(label) for one, label in zip(x, y, strict=True)}
    assert found == {0: 0, 1: 1, 2: 2, 3: 3, 8: 3, 9: 2, 10: 10 % CLASSES}
    assert data.class_counts() == {0: 1, 1: 1, 2: 3, 3: 2}
    assert Items(20, make)[8] is not None


def test_labels_of_an_oracle_may_replace_targets_of_another_type() -> None:
    soft = TensorDataset(torch.rand(6, 2), torch.zeros(6, 2))
    data = set_up(soft, initial=[0])
    data.pool.label([4], {4: [0.25, 0.75]})
    [(_, y)] = data.train_dataloader()
    assert y.dtype == torch.float32
    assert sorted(y.tolist()) == [[0.0, 0.0], [0.25, 0.75]]
    assert data.class_counts() is None


# Class counts and target lists.


class Listed(Items):
    """A dataset with torchvision's list of targets, which counts how often an item is loaded."""

    loads = 0

    def __init__(self, n: int, listed: Any, target_transform: Any = None) -> None:
        super().__init__(n, lambda x, y: (x, y))
        self.targets = listed
        self.target_transform = target_transform

    def __getitem__(self, index: int) -> Any:
        self.loads += 1
        x, y = super().__getitem__(index)
        return x, self.target_transform(y) if self.target_transform else y


@pytest.mark.parametrize("kind", [list, torch.tensor, np.array])
def test_a_target_list_is_used_where_it_agrees_with_the_items(kind: Any) -> None:
    dataset = Listed(400, kind([index % CLASSES for index in range(400)]))
    data = set_up(dataset, initial_size=200, balanced=True)
    assert data.class_counts() == dict.fromkeys(range(CLASSES), 50)
    assert dataset.loads < 150, "items must not be loaded to read targets that are listed"


def test_a_target_list_is_followed_through_subsets() -> None:
    dataset = Listed(400, [index % CLASSES for index in range(400)])
    subset = Subset(Subset(dataset, range(0, 400, 2)), range(100))
    data = set_up(subset, initial_size=20)
    assert data.class_counts() == dict(sorted(Counter(subset[index][1] for index in data.pool.initial).items()))


class Shifted(Subset[Any]):
    """A subset with labels of its own."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x, 10 + y

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


@pytest.mark.parametrize(
    "dataset",
    [
        Listed(40, [index % CLASSES for index in range(40)], lambda y: 10 + y),
        Listed(40, [index % CLASSES for index in range(40)], lambda y: 13 if y == 3 else y),
        # All but classes 1 and 2 agree, so that the first and the last item do too.
        Listed(40, [3 - index % CLASSES if index % CLASSES in (1, 2) else index % CLASSES for index in range(40)]),
        Listed(40, [0] * 39),
        Listed(40, ["a"] * 40),
        Shifted(Listed(40, [index % CLASSES for index in range(40)]), range(40)),
    ],
    ids=["transform", "transform of one class", "two classes swapped", "too short", "no numbers", "subset"],
)
def test_a_target_list_that_disagrees_with_the_items_is_not_used(dataset: Dataset[Any]) -> None:
    data = set_up(dataset, initial_size=20)
    assert data.class_counts() == dict(sorted(Counter(dataset[index][1] for index in data.pool.initial).items()))


def test_labels_that_are_no_class_numbers_are_not_counted() -> None:
    assert set_up(Items(8, lambda x, y: (x, float(y)))).class_counts() is None
    assert set_up(Items(8, lambda x, y: (x, str(y)))).class_counts() is None


def test_the_pool_exists_only_once_the_data_are_set_up() -> None:
    data = ActiveDataModule(points(8), initial_size=2)
    with pytest.raises(RuntimeError, match=r'does not exist before the data are set up. Call .*`data.setup\("fit"\)`'):
        data.pool  # noqa: B018
    with pytest.raises(RuntimeError, match="is not set up"):
        data.dataset  # noqa: B018


# Random augmentation.

AUGMENTED: dict[str, Any] = {
    "noise": lambda x, y: (x + 0.1 * torch.rand(8), y),
    "flip": lambda x, y: (x.flip(0) if random.random() < 0.5 else x, y),
    "numpy noise": lambda x, y: (x.numpy() + np.random.rand(8), y),
    "random crop": lambda x, y: (x[: random.randint(2, 8)], y),
    "list of random length": lambda x, y: (x.tolist()[: random.randint(2, 8)], y),
    "random keys": lambda x, y: {"x": x, "y": y, **({"z": x} if random.random() < 0.5 else {})},
    "dict": lambda x, y: {"x": {"deep": x + torch.rand(8)}, "y": y},
    "dataclass": lambda x, y: (Sample(x + torch.rand(8)), y),
    "sparse noise": lambda x, y: ((x + torch.rand(8)).to_sparse(), y),
    "CSR noise": lambda x, y: ((x + torch.rand(8))[None].to_sparse_csr(), y),
    "scipy noise": lambda x, y: (sparse.csr_matrix((x + torch.rand(8))[None].numpy()), y),
    "noise in an object": lambda x, y: (Opaque(x + torch.rand(8)), y),
    "sometimes a tensor": lambda x, y: (x if random.random() < 0.5 else 0.0, y),
}
PLAIN: dict[str, Any] = {
    **{name: form for name, (form, _) in FORMS.items()},
    "NaN": lambda x, y: (x * float("nan"), y),
    "text": lambda x, y: {"text": str(x), "none": None, "nan": float("nan"), "y": y},
    "numpy text": lambda x, y: (np.array(["a", str(y)]), np.str_("b"), y),
    "dataclass": lambda x, y: (Sample(x), y),
    "object": lambda x, y: (Opaque(x), y),
    "random label": lambda x, y: (x, random.random()),
    "sparse": lambda x, y: (x.to_sparse(), y),
    "scipy": lambda x, y: (sparse.csr_matrix(x[None].numpy()), y),
    "image": lambda x, y: (Image.fromarray(x[None].numpy().astype(np.uint8)), y),
    "strange equality": lambda x, y: (Strange(), y),
}


@dataclass
class Sample:
    """Something whose own equality fails on tensors."""

    x: Tensor


class Strange:
    """Something that cannot be compared."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("no")


class Opaque:
    """Something that has no equality of its own."""

    def __init__(self, x: Tensor) -> None:
        self.x = x


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta state")
@pytest.mark.parametrize("form", AUGMENTED.values(), ids=AUGMENTED)
def test_an_item_that_differs_when_drawn_twice_brings_a_warning(form: Any) -> None:
    with pytest.warns(UserWarning, match="read item . of the pool .* different ones.*Pass `pool_dataset=`"):
        set_up(Items(12, form), initial=[11])


@pytest.mark.parametrize("form", PLAIN.values(), ids=PLAIN)
def test_an_item_that_is_the_same_each_time_brings_none(form: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_up(Items(12, form), initial=[11])


def test_a_pool_dataset_without_augmentation_brings_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_up(Items(12, AUGMENTED["noise"]), initial=[11], pool_dataset=points(12))


def test_default_collate_works_on_hidden_items() -> None:
    for form in (AUGMENTED["dict"], lambda x, y: (x, {"boxes": torch.ones(2), "names": [str(y)]})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = set_up(Items(8, form), initial=[0], collate_fn=default_collate)
        assert len(list(data.pool_dataloader())) == 1
