"""Bad input to the data, the posteriors and their outputs gets one clear error that names the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, MCDropout
from lightning_al.host.namespace import pl
from lightning_al.task import Multiclass
from lightning_al.task.outputs import find_output
from tests.support.samples import log_probs_of
from tests.support.tasks import Items, LitMLP, LitPoints, points, trainer

# Arguments of ActiveDataModule.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"needs either `initial_size`.* or `initial`, .*but got initial_size=None and initial=None"),
        ({"initial_size": 2, "initial": [1]}, r"but got initial_size=2 and initial=\[1\]"),
        ({"initial": []}, "`ActiveDataModule` needs `initial_size` of at least 1, but got 0"),
        ({"initial": [1], "balanced": True}, r"got `initial`.* and also `balanced=True`"),
    ],
)
@pytest.mark.parametrize("make", [lambda: points(9), lambda: LitPoints(9)], ids=["dataset", "datamodule"])
def test_arguments_that_make_no_sense(make: Callable[[], Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActiveDataModule(make(), **arguments)


@pytest.mark.parametrize("name", ["initial_size", "samples_per_epoch", "pool_batch_size"])
@pytest.mark.parametrize("number", [0, -1])
def test_numbers_below_one(name: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"`ActiveDataModule` needs `{name}` of at least 1, but got {number}. Pass"):
        ActiveDataModule(points(9), **{"initial_size": 2, name: number})


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"val": points(2)}, "`val`"),
        ({"test": points(2)}, "`test`"),
        ({"predict": points(2)}, "`predict`"),
        ({"batch_size": 64}, "`batch_size`"),
        ({"collate_fn": list, "pin_memory": True, "num_workers": 2}, "`collate_fn`, `pin_memory`, `num_workers`"),
    ],
)
def test_what_a_datamodule_has_itself_cannot_be_passed_beside_it(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=f"got a LightningDataModule and also {names}. Leave these to the Lightning"):
        ActiveDataModule(LitPoints(9), initial_size=2, **arguments)


@pytest.mark.parametrize("thing", [None, 3, object(), nn.Linear(1, 1)])
def test_something_that_is_no_data(thing: Any) -> None:
    with pytest.raises(TypeError, match=rf"a LightningDataModule or a map-style dataset .*got {type(thing).__name__}"):
        ActiveDataModule(thing, initial_size=2)


def test_a_module_in_the_place_of_the_data() -> None:
    with pytest.raises(TypeError, match=r"works with `.*LightningDataModule` in this process, but got LitMLP"):
        ActiveDataModule(LitMLP(), initial_size=2)  # type: ignore[arg-type]


# The training data.


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(8), 0


class Wrapping(pl.LightningDataModule):
    """A datamodule with any train loader."""

    def __init__(self, loader: Any) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> Any:
        return self.loader


class Sized(Stream):
    def __len__(self) -> int:
        return 1


def test_a_loader_of_an_iterable_dataset() -> None:
    with pytest.raises(ValueError, match=r"needs a map-style training dataset.* gave the IterableDataset Stream"):
        ActiveDataModule(Wrapping(DataLoader(Stream())), initial_size=2).setup("fit")


NO_DATASETS: dict[str, tuple[Any, str]] = {
    "loader": (DataLoader(points(9)), r"got DataLoader. Pass its dataset, `loader\.dataset`"),
    "class": (Stream, "got the class Stream. Pass an object of it"),
    "mapping": ({0: (torch.zeros(8), 0)}, "got dict. Pass one of these"),
    "iterator": (zip([1], [2], strict=True), "got zip. Pass one of these"),
    "text": ("data.csv", "got str. Pass one of these"),
    "datamodule": (LitPoints(), "got LitPoints. Pass one of these"),
    "table": (pd.DataFrame({"x": [0.5, 1.5], "y": [0, 1]}), "got DataFrame. Pass one of these"),
}
STREAMS: dict[str, tuple[Any, str]] = {
    "iterable": (Stream(), "got the IterableDataset Stream. Pass items that can be read by number"),
    "sized iterable": (Sized(), "got the IterableDataset Sized. Pass items that can be read by number"),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in ("val", "test", "predict", "pool_dataset") for kind in NO_DATASETS),
        *(("target_inputs", kind) for kind in NO_DATASETS if kind != "text"),  # which has an error of its own
        *((name, kind) for name in ("pool_dataset", "target_inputs") for kind in STREAMS),
    ],
)
def test_what_is_no_dataset_is_refused_where_one_is_expected(name: str, kind: str) -> None:
    thing, said = {**NO_DATASETS, **STREAMS}[kind]
    with pytest.raises(TypeError, match=rf"`ActiveDataModule\({name}=...\)` expected a map-style dataset .*{said}"):
        ActiveDataModule(points(9), initial_size=2, **{name: thing})


@pytest.mark.parametrize("classes", [None, ["a", "b"]])
@pytest.mark.parametrize("kind", ["loader", "iterator", "text", *STREAMS])
def test_what_is_no_dataset_is_refused_as_training_data(kind: str, classes: Any) -> None:
    thing, said = {**NO_DATASETS, **STREAMS}[kind]
    with pytest.raises(TypeError, match=rf"expected a LightningDataModule or a map-style dataset .*{said}"):
        ActiveDataModule(thing, initial_size=2, classes=classes)


@pytest.mark.parametrize("made", [DataLoader(points(9)), Stream(), Sized()], ids=["loader", "iterable", "sized"])
def test_a_function_that_returns_no_pool_dataset(made: Any) -> None:
    data = ActiveDataModule(points(9), initial_size=2, pool_dataset=lambda wrapped: made)
    with pytest.raises(TypeError, match=r"`ActiveDataModule\(pool_dataset=...\)` expected a map-style dataset"):
        data.setup("fit")


def test_validation_data_without_numbers_are_no_target_inputs() -> None:
    data = ActiveDataModule(points(9), initial_size=2, val=Sized(), target_inputs="val")
    data.setup("fit")
    with pytest.raises(ValueError, match="found no validation dataset that has items by number"):
        data.target_inputs_dataset()


def test_a_series_is_read_by_place_and_is_no_training_data_without_classes() -> None:
    texts = pd.Series(["a", "b"], index=[1, 0])
    data = ActiveDataModule(points(9), initial_size=2, predict=texts, target_inputs=texts)
    assert list(data.predict_dataloader()) == [["a", "b"]]
    assert data.target_inputs == ["a", "b"]
    with pytest.raises(TypeError, match=r"got Series. Pass one of these"):
        ActiveDataModule(texts, initial_size=1)


@pytest.mark.parametrize("name", ["val", "test", "predict"])
@pytest.mark.parametrize("dataset", [Stream(), [(torch.zeros(8), 0)], Items(1, lambda x, y: (torch.zeros(8), 0))])
def test_what_is_read_in_order_may_also_be_a_stream_or_a_list(name: str, dataset: Any) -> None:
    data = ActiveDataModule(points(9), initial_size=2, **{name: dataset})
    [(inputs, labels)] = getattr(data, f"{name}_dataloader")()
    assert (inputs.tolist(), labels.tolist()) == ([[0.0] * 8], [0])


class Own(BatchSampler):
    """Batches made by the user."""


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([DataLoader(points(4))], r"expected `Wrapping.train_dataloader` to return one DataLoader, but got list"),
        ({"a": DataLoader(points(4))}, r"return one DataLoader, but got dict.*`torch.utils.data.ConcatDataset`"),
        (DataLoader(points(4), batch_size=None), r"has `batch_size=None`, which leaves batches to its"),
        (
            DataLoader(points(4), batch_sampler=Own(SequentialSampler(points(4)), 2, drop_last=False)),
            r"has the batch sampler Own, which makes its own batches of .*Pass `batch_size=`, `drop_last=` and",
        ),
    ],
    ids=["list", "dict", "no batches", "own batches"],
)
def test_a_train_loader_that_cannot_be_taken_apart(loader: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActiveDataModule(Wrapping(loader), initial_size=2).setup("fit")


def test_a_datamodule_without_train_loader(tmp_path: Path) -> None:
    class NoTrain(pl.LightningDataModule):
        def val_dataloader(self) -> DataLoader[Any]:
            return DataLoader(points(4))

    data = ActiveDataModule(NoTrain(), initial_size=2)
    with pytest.raises(ValueError, match=r"wraps `NoTrain`, which has no `train_dataloader`. Define it"):
        trainer(tmp_path, callbacks=[ActiveLearning("bald", query_size=1)]).fit(LitMLP(), datamodule=data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_size": 10}, r"initial_size=10\)` is larger than the training data, which have 9 points"),
        ({"initial": [3, 9]}, r"got indices \[9\], but the dataset has 9 points"),
        ({"initial": [3, 3]}, r"got indices \[3\] twice"),
        ({"initial_size": 2, "pool_dataset": points(8)}, r"has 8 points, but the training data have 9"),
        ({"initial_size": 2, "target": lambda item: item[1]}, r"got a function, .*Pass `pool_dataset=` as well"),
        ({"initial_size": 2, "target": "label"}, r"target='label'\)` names a key, but an item is a tuple"),
        ({"initial_size": 2, "target": 5}, r"target=5\)` got items of only 2 parts"),
    ],
)
def test_arguments_that_do_not_fit_the_data(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActiveDataModule(points(9), **arguments).setup("fit")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda x, y: {"x": x, "klass": y}, r"under one of label, .*but found only \['klass', 'x'\]"),
        (lambda x, y: {"x": x, "label": y, "y": y}, "found both 'label' and 'y'"),
        (lambda x, y: object(), "found no label in an item of type object"),
    ],
)
@pytest.mark.parametrize("with_pool_dataset", [False, True])
def test_items_whose_label_is_unclear(form: Any, message: str, with_pool_dataset: bool) -> None:
    other: Dataset[Any] | None = Items(9, lambda x, y: x) if with_pool_dataset else None
    with pytest.raises(ValueError, match=message):
        ActiveDataModule(Items(9, form), initial_size=2, pool_dataset=other).setup("fit")


@pytest.mark.parametrize("form", [lambda x, y: (x, str(y)), lambda x, y: (x, float(y)), lambda x, y: x])
def test_a_balanced_draw_without_classes(form: Any) -> None:
    with pytest.raises(ValueError, match=r"balanced=True\)` needs labels that are class numbers.*Pass `initial=`"):
        ActiveDataModule(Items(9, form), initial_size=2, balanced=True).setup("fit")


def test_a_label_of_an_oracle_that_the_data_cannot_hold() -> None:
    data = ActiveDataModule(points(9), initial=[0])
    data.setup("fit")
    data.pool.label([4], {4: [0.5, 0.5]})
    with pytest.raises(ValueError, match=r"cannot put the label \[0.5, 0.5\] in the place of tensor\(0\)"):
        list(data.train_dataloader())


# The posteriors.


def predict(posterior: Any, net: nn.Module, batch: Tensor | None = None) -> Tensor:
    batch = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)) if batch is None else batch
    [log_probs] = log_probs_of(posterior, net, [batch], seed=0)
    return log_probs


@pytest.mark.parametrize("number", [0, -3])
def test_fewer_than_one_sample(number: int) -> None:
    with pytest.raises(ValueError, match=f"`MCDropout` needs `num_samples` of at least 1, but got {number}"):
        MCDropout(num_samples=number)


@pytest.mark.parametrize(
    "net",
    [nn.Linear(8, 3), nn.Sequential(nn.Linear(8, 3), nn.Dropout(0.0)), nn.LSTM(8, 3, dropout=0.0)],
    ids=["no dropout", "p = 0", "recurrent"],
)
def test_a_network_without_dropout(net: nn.Module) -> None:
    name = type(net).__name__
    with pytest.raises(ValueError, match=rf"no dropout in `{name}`, so all 5 posterior samples .* Add `nn.Dropout`"):
        [_] = log_probs_of(MCDropout(5), net, [torch.ones(6, 8)], forward=first_output, seed=0)


def first_output(module: nn.Module, x: Tensor) -> Tensor:
    outputs = module(x)
    return outputs[0] if isinstance(outputs, tuple) else outputs


def test_inputs_of_different_sizes() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.AdaptiveAvgPool1d(3))
    batches = [torch.ones(6, 8), torch.ones(6, 9)]
    with pytest.raises(ValueError, match=r"call 0 met features of shape \[1, 8\] in one batch and \[1, 9\] in another"):
        list(log_probs_of(MCDropout(5), net, batches, seed=0))


# What the module gives.


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_probabilities_in_place_of_logits(dtype: torch.dtype, classes: int) -> None:
    logits = 3 * torch.randn(32, classes, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"module gave probabilities.*Return the values before the softmax, or pass"):
        Multiclass().log_probs(logits.softmax(1).to(dtype))
    assert Multiclass().log_probs(logits.to(dtype)).isfinite().all()


@pytest.mark.parametrize("posterior", [Deterministic(), MCDropout(2)])
def test_a_network_that_ends_in_a_softmax(posterior: Any) -> None:
    with pytest.raises(ValueError, match="module gave probabilities"):
        predict(posterior, nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(1)))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(6), r"of shape \[batch, classes\] with two classes or more, but the module gave \[6\]"),
        (torch.zeros(6, 1), r"gave \[6, 1\]. If this is the logit .*`task=\"binary\"`.*For regression, use"),
        (
            torch.zeros(6, 3, 2),
            r"gave \[6, 3, 2\]. A prediction for each pixel .*segmentation.* is not supported",
        ),
        (
            torch.zeros(6, 3, 2, 2),
            r"gave \[6, 3, 2, 2\]. A prediction for each pixel .*`acquisition=\"random\"`",
        ),
        (
            torch.zeros([]),
            r"row of outputs for each point, but the module gave a tensor of shape \[\]. Pass `forward=`",
        ),
        ((torch.zeros(6, 3), None), r"gave tuple of \[6, 3\], NoneType. Pass `forward=`.* module\(batch\[0\]\)\[0\]"),
        ({"scores": torch.zeros(6, 3)}, r"gave dict with scores. Pass `forward=`.* batch that returns them"),
        ({"logits": torch.zeros(6, 3, 2)}, r"gave \[6, 3, 2\]. A prediction for each pixel or token"),
        (torch.zeros(6, 3, dtype=torch.int64), r"scored by floating-point logits, but the module gave torch.int64"),
    ],
)
def test_outputs_of_another_shape_or_type(outputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Multiclass().log_probs(find_output(outputs))
