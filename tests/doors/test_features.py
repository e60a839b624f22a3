"""Runs with features: what methods read, that an encoder runs once a run, and that a head is fitted on them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, default_collate

from lightning_al import ActiveDataModule, ActiveLearning, Candidates, Deterministic, Query, ScoreAcquisition
from lightning_al.data.features.points import features_at, target_features_at
from lightning_al.host.namespace import pl
from lightning_al.run.seeds import seeded
from tests.support import programs
from tests.support.tasks import CLASSES, LitMLP, points, trainer

N = 70
POOL, VAL, TEST = points(N), points(9, seed=1), points(24, seed=2)
X = POOL.tensors[0]


class Counted:
    """An encoder of another kind than the network, which counts the items that it encodes."""

    def __init__(self) -> None:
        self.items = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        self.items += len(inputs)
        return 3 * inputs[:, :5]

    def config(self) -> dict[str, Any]:
        return {}


class Reading(ScoreAcquisition):
    """Keeps what it read, and scores by it."""

    def __init__(self) -> None:
        self.read: list[dict[str, Tensor]] = []

    def config(self) -> dict[str, Any]:
        return {}

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        some = candidates.at([1, 0])
        self.read.append(
            {
                "pool": candidates.features_N_D,
                "some": some.features_N_D,
                "labelled": candidates.labelled.features_N_D,
                "targets": candidates.target_inputs.features_N_D,
            }
        )
        return candidates.features_N_D.sum(1)


def run(root: Path, encoder: Any, acquisition: Any = "max_herding", **arguments: Any) -> tuple[Any, Any]:
    """A run of three rounds; arguments of the datamodule are those that `ActiveLearning` does not have."""
    of_run = {
        name: arguments.pop(name) for name in ("folder", "oracle", "unscorable", "posterior") if name in arguments
    }
    active = ActiveLearning(acquisition, query_size=4, max_rounds=3, seed=1, **{"posterior": Deterministic(), **of_run})
    given = {"initial_size": 6, "seed": 2, "batch_size": 8, "val": VAL, "test": TEST, **arguments}
    data = ActiveDataModule(POOL, features=encoder, **given)
    torch.manual_seed(7)
    size = 5 if given.get("inputs") else 8
    module = LitMLP()
    module.net[0] = nn.Linear(size, 16)
    trainer(root, callbacks=[active], max_epochs=3, num_sanity_val_steps=2).fit(module, datamodule=data)
    return active, data


@pytest.mark.parametrize("inputs", [None, "features"])
def test_methods_read_the_features_of_pool_labelled_points_and_target_inputs(tmp_path: Path, inputs: Any) -> None:
    reading = Reading()
    active, data = run(tmp_path, Counted(), reading, inputs=inputs, target_inputs="val")
    features, labelled = 3 * X[:, :5], data.pool.rounds[0]
    assert len(reading.read) == 2  # the dry pass reads by a copy, and the last round asks nothing
    for round, read in zip(active.history, reading.read, strict=False):
        unlabelled = [index for index in range(N) if index not in labelled]
        assert torch.equal(read["pool"], features[unlabelled])
        assert torch.equal(read["some"], features[[unlabelled[1], unlabelled[0]]])
        assert torch.equal(read["labelled"], features[labelled])
        assert torch.equal(read["targets"], 3 * VAL.tensors[0][:, :5])
        best = features[unlabelled].sum(1).topk(4).indices.tolist()
        assert round.indices == [unlabelled[place] for place in best]
        labelled = [*labelled, *round.indices]


def queried(active: ActiveLearning) -> list[list[int]]:
    return [round.indices for round in active.history]


@pytest.mark.parametrize("inputs", [None, "features"])
def test_an_encoder_runs_once_a_run_and_not_again_in_the_next_program(tmp_path: Path, inputs: Any) -> None:
    first, again = Counted(), Counted()
    whole, _ = run(tmp_path, first, inputs=inputs, folder=tmp_path / "run")
    heldout = len(VAL) + len(TEST) if inputs else 0
    assert first.items == N + heldout
    assert len(list((tmp_path / "run").glob("features-*.npy"))) == (3 if inputs else 1)
    active = ActiveLearning(
        "max_herding", query_size=4, max_rounds=4, seed=1, posterior=Deterministic(), folder=tmp_path / "run"
    )
    data = ActiveDataModule(
        POOL, initial_size=6, seed=2, batch_size=8, val=VAL, test=TEST, features=again, inputs=inputs
    )
    module = LitMLP()
    module.net[0] = nn.Linear(5 if inputs else 8, 16)
    trainer(tmp_path, callbacks=[active], max_epochs=3).fit(module, datamodule=data)
    assert again.items == 0
    assert queried(active)[:2] == queried(whole)[:2]
    assert len(active.history) == 4


@pytest.mark.long
def test_a_run_is_the_same_in_memory_in_its_folder_and_by_a_cache(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, Counted(), inputs="features", **places)[0]
        for places in ({}, {"folder": tmp_path / "run"}, {"cache": tmp_path / "cache"}, {"pool_batch_size": 3})
    ]
    assert all(queried(active) == queried(runs[0]) for active in runs)
    metrics = [[round.metrics for round in active.history] for active in runs]
    assert metrics == [metrics[0]] * 4


def test_features_of_other_weights_are_computed_again_in_a_runs_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    one, other = nn.Linear(8, 5), nn.Linear(8, 5)
    run(tmp_path, one, folder=tmp_path / "run")
    [before] = (tmp_path / "run").glob("features-*.npy")
    active = ActiveLearning(
        "max_herding",
        query_size=4,
        max_rounds=4,
        seed=1,
        posterior=Deterministic(),
        folder=tmp_path / "run",
        force=True,
    )
    data = ActiveDataModule(POOL, initial_size=6, seed=2, batch_size=8, val=VAL, test=TEST, features=other)
    with (
        caplog.at_level("INFO"),
        pytest.warns(UserWarning, match="resumes a run that began with other arguments"),
    ):
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
    [after] = (tmp_path / "run").glob("features-*.npy")
    assert after != before
    assert "are of other data or of another encoder" in caplog.text


def test_people_are_asked_about_the_items_and_not_about_features(tmp_path: Path) -> None:
    def oracle(query: Query) -> dict[int, int]:
        assert all(torch.equal(item[0], X[index]) for index, item in zip(query.indices, query.items, strict=True))
        return {index: index % CLASSES for index in query.indices}

    active, _ = run(tmp_path, Counted(), inputs="features", oracle=oracle)
    assert len(active.history) == 3


def test_a_point_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    class Torn(type(POOL)):  # type: ignore[misc]
        def __getitem__(self, index: int) -> Any:
            if index == 33:
                raise OSError("torn")
            return super().__getitem__(index)

    active = ActiveLearning(
        "max_herding", query_size=4, max_rounds=2, seed=1, posterior=Deterministic(), unscorable="skip"
    )
    data = ActiveDataModule(Torn(*POOL.tensors), initial=[0, 1, 2, 3], features=Counted(), batch_size=8)
    with pytest.warns(UserWarning, match="cannot be scored and were left out"):
        trainer(tmp_path, callbacks=[active], max_epochs=1).fit(LitMLP(), datamodule=data)
    assert active.history[0].unscorable == [33]
    assert len(active.history[0].indices) == 4


@pytest.mark.parametrize("inputs", [None, "features"])
def test_points_without_features_are_left_out(tmp_path: Path, inputs: Any) -> None:
    rows, lacking = 3 * X[:, :5], list(range(0, N, 2))
    rows[lacking] = torch.nan
    arrays = {"train": rows, "val": VAL.tensors[0][:, :5], "test": TEST.tensors[0][:, :5]}
    with pytest.warns(UserWarning, match="cannot be scored and were left out"):
        active, _ = run(tmp_path, arrays, inputs=inputs, unscorable="skip", initial=[1, 3], initial_size=None)
    assert active.history[0].unscorable == lacking
    assert len(active.history[0].indices) == 4


def test_a_head_is_scored_outside_a_run(tmp_path: Path) -> None:
    from lightning_al import score_pool

    data = ActiveDataModule(POOL, initial_size=6, features=Counted(), inputs="features")
    module = LitMLP()
    module.net[0] = nn.Linear(5, 16)
    table = score_pool(trainer(tmp_path), module, data, posterior=Deterministic())
    assert len(table) == N - 6


def first_rows(number: int) -> dict[str, Any]:
    return {"features": {"train": X, "val": VAL.tensors[0], "test": TEST.tensors[0][:number].clone()}}


def with_nan() -> dict[str, Any]:
    arrays = first_rows(24)
    arrays["features"]["test"][3] = torch.nan
    return arrays


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(*TEST.tensors, strict=True)


class OwnTest(pl.LightningDataModule):
    """Test data that are not there before the set-up for the test."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(POOL, batch_size=8)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(VAL, batch_size=8)

    def setup(self, stage: str) -> None:
        if stage == "test":
            self.test = TEST

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: first_rows(5), "has 5 rows for the test data, which have 24 items"),
        (with_nan, r"NaN or Inf in the rows \[3\] for the test items"),
        (lambda: {"features": {"train": X, "val": VAL.tensors[0]}}, "but the features of the test data are read too"),
        (
            lambda: {"features": X, "val": None, "test": Stream()},
            "for the test data, but got .* IterableDataset Stream",
        ),
        (
            lambda: {"features": nn.Flatten(), "test": TensorDataset(torch.ones(9, 5), torch.ones(9))},
            "5 .* for the test",
        ),
        (lambda: {"features": lambda x: (x + 100).log(), "test": TensorDataset(-999 + X, POOL.tensors[1])}, "gave NaN"),
        (lambda: {"data": OwnTest(), **with_nan()}, r"NaN or Inf in the rows \[3\] for the test items"),
        (lambda: {"data": OwnTest(), **first_rows(24)}, None),
    ],
    ids=["length", "NaN", "none", "stream", "width of an encoder", "NaN of an encoder", "own NaN", "own"],
)
def test_features_of_the_test_data_are_checked_before_the_first_step(tmp_path: Path, given: Any, said: Any) -> None:
    class Steps(pl.Callback):
        steps = 0

        def on_train_batch_end(self, *_: Any) -> None:
            self.steps += 1

    steps, arguments = Steps(), given()
    own = arguments.pop("data", None)
    others = {} if own else {"val": VAL, "test": TEST, "batch_size": 8}
    data = ActiveDataModule(own or POOL, **{"initial_size": 4, "inputs": "features", **others, **arguments})
    active = ActiveLearning("random", query_size=4, max_rounds=1, posterior=Deterministic())
    with pytest.raises((ValueError, TypeError), match=said) if said else nullcontext():
        trainer(tmp_path, callbacks=[active, steps], max_epochs=1).fit(LitMLP(), datamodule=data)
    assert bool(steps.steps) == (said is None)


@pytest.mark.parametrize("split", ["train", "val", "target_inputs", "test"])
def test_arrays_that_are_corrected_are_those_of_the_run(tmp_path: Path, split: str) -> None:
    arrays = {"train": X, "val": VAL.tensors[0], "test": TEST.tensors[0], "target_inputs": VAL.tensors[0]}
    arrays = {name: table[:, :5].clone() for name, table in arrays.items()}
    others = {"inputs": "features", "folder": tmp_path / "run", "target_inputs": VAL}
    arrays[split][3] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or Inf in the rows \[3\]"):
        run(tmp_path, arrays, **others)
    arrays[split][3] = 0
    active, _ = run(tmp_path, arrays, **others)
    assert len(active.history) == 3


def test_test_data_and_their_array_may_change(tmp_path: Path) -> None:
    others = {"inputs": "features", "folder": tmp_path / "run", "acquisition": "random"}
    for test in (TEST, points(9, seed=4)):
        arrays = {"train": X[:, :5], "val": VAL.tensors[0][:, :5], "test": test.tensors[0][:, :5]}
        active, _ = run(tmp_path, arrays, test=test, **others)
        assert len(active.history) == 3


@pytest.mark.slow  # two processes that each import everything; what ranks do to scores is tested by default
def test_the_first_of_two_ranks_encodes_and_both_have_the_same(tmp_path: Path) -> None:
    for ranks in (1, 2):
        programs.run("-m", "tests.support.features_on_ranks", tmp_path, ranks, ranks=ranks)
    alone, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert (alone.pop("encoded"), first.pop("encoded"), second.pop("encoded")) == (N, N, 0)
    assert alone == first == second


@pytest.mark.parametrize("split", ["train", "target_inputs"])
def test_rows_of_an_array_that_are_no_numbers_are_named_before_the_first_step(split: str) -> None:
    arrays = {"train": X.clone(), "target_inputs": VAL.tensors[0].clone()}
    arrays[split][7, 1] = torch.nan
    data = ActiveDataModule(POOL, initial_size=4, features=arrays, target_inputs=VAL)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"NaN or Inf in the rows \[7\] for the"):
        features_at(data, [0]) if split == "train" else target_features_at(data, [0])


def test_arrays_of_target_inputs_are_given_by_their_name() -> None:
    arrays = {"train": X.numpy(), "target_inputs": VAL.tensors[0].numpy()}
    data = ActiveDataModule(POOL, initial_size=4, features=arrays, target_inputs=VAL)
    data.setup("fit")
    torch.testing.assert_close(target_features_at(data, [2, 0]), VAL.tensors[0][[2, 0]])


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_collate_function_that_makes_other_labels_is_refused(split: str) -> None:
    def collate(items: list[Any]) -> Any:
        inputs, labels = default_collate(items)
        return inputs, labels - 1

    data = ActiveDataModule(
        POOL, test=TEST, initial_size=4, features=nn.Flatten(), inputs="features", collate_fn=collate
    )
    data.setup("fit")
    with pytest.raises(ValueError, match="batches the labels of items as they are"):
        getattr(data, f"{split}_dataloader")()


def test_a_collate_function_that_keeps_labels_is_fine() -> None:
    def collate(items: list[Any]) -> Any:
        inputs, labels = default_collate(items)
        return {"x": inputs, "labels": labels.float()}

    data = ActiveDataModule(POOL, initial_size=4, features={"train": X}, inputs="features", collate_fn=collate)
    data.setup("fit")
    assert len(next(iter(data.train_dataloader()))) == 2


class Swapped(pl.LightningDataModule):
    """A datamodule whose test data the user exchanges."""

    def __init__(self) -> None:
        super().__init__()
        self.test = TEST

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(POOL, batch_size=8)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=5)


@pytest.mark.parametrize("is_kept", [False, True])
def test_other_test_data_have_their_own_features(tmp_path: Path, is_kept: bool) -> None:
    own = Swapped()
    cache = tmp_path / "cache" if is_kept else None
    data = ActiveDataModule(own, initial_size=4, features=nn.Flatten(), inputs="features", cache=cache)
    data.setup("test")
    for test in (TEST, Subset(TEST, list(reversed(range(24)))), points(30, seed=3), TEST):
        own.test = test
        features, labels = (torch.cat(column) for column in zip(*data.test_dataloader(), strict=True))
        assert torch.equal(features, torch.stack([test[place][0] for place in range(len(test))]))
        assert labels.tolist() == [int(test[place][1]) for place in range(len(test))]


def test_datasets_with_the_same_items_are_encoded_once(tmp_path: Path) -> None:
    own, encoder = Swapped(), Counted()
    data = ActiveDataModule(own, initial_size=4, features=encoder, inputs="features")
    data.setup("test")
    for _ in range(3):
        own.test = points(24, seed=2)
        assert len(list(data.test_dataloader())) == 5
    assert encoder.items == 24


NET: nn.Module = nn.Linear(1, 1)


class Tower(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def encode_image(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)


def helped(inputs: Tensor) -> Tensor:
    return torch.stack([NET(one) for one in inputs])


FUNCTIONS: dict[str, Callable[[nn.Module], Any]] = {
    "a closure": lambda net: lambda inputs: net(inputs),
    "a module of the file": lambda net: lambda inputs: NET(inputs),
    "a helper of the file": lambda net: lambda inputs: helped(inputs),
    "a default": lambda net: lambda inputs, net=net: net(inputs),
    "a method of a module": lambda net: Tower(net).encode_image,
    "a partial of a method": lambda net: functools.partial(Tower(net).encode_image),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_known_by_the_weights_that_it_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with seeded(0):
        networks = [nn.Sequential(nn.Dropout(0.5), nn.Linear(X.shape[1], 3)) for _ in range(2)]
    for net in (*networks, networks[0]):
        monkeypatch.setitem(globals(), "NET", net)
        data = ActiveDataModule(POOL, initial_size=4, features=FUNCTIONS[name](net), cache=tmp_path)
        data.setup("fit")
        # In evaluation mode, whatever mode the network is in.
        torch.testing.assert_close(features_at(data, range(N)), net[1](X).detach())
        assert net.training
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_features_are_computed_anew_if_a_modules_code_was_edited(tmp_path: Path) -> None:
    def encoder(forward: str) -> nn.Module:
        known: dict[str, Any] = {"nn": nn, "__name__": "edited"}
        exec(f"class Edited(nn.Module):\n    def forward(self, inputs):\n        return {forward}", known)
        module: nn.Module = known["Edited"]()
        return module

    for forward, expected in (("2 * inputs", 2 * X), ("-inputs", -X), ("2 * inputs", 2 * X)):
        data = ActiveDataModule(POOL, initial_size=4, features=encoder(forward), cache=tmp_path)
        data.setup("fit")
        torch.testing.assert_close(features_at(data, range(N)), expected)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
