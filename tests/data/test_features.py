"""Features of a datamodule: what gives them, how often an encoder runs, where they are kept, how they are served."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from lightning_al import ActiveDataModule, image_folder
from lightning_al import table as from_table
from lightning_al.data.features.points import features_at, target_features_at
from lightning_al.host.namespace import pl
from tests.support.tasks import Items, LitPoints, points, trainer

N = 70  # more than a batch of the encoder
X, Y = points(N).tensors


class Counted:
    """Twice the inputs, and how many items were encoded."""

    def __init__(self) -> None:
        self.items = 0

    def __call__(self, inputs: Tensor) -> Tensor:
        self.items += len(inputs)
        return 2 * inputs

    def config(self) -> dict[str, Any]:
        return {}


class Pair(NamedTuple):
    x: Tensor
    y: int


def double(inputs: Tensor) -> Tensor:
    return 2 * inputs


def set_up(data: Any = None, **arguments: Any) -> ActiveDataModule:
    made = ActiveDataModule(TensorDataset(X, Y) if data is None else data, **{"initial_size": 6, **arguments})
    made.setup("fit")
    return made


def table(data: ActiveDataModule) -> Tensor:
    return features_at(data, range(len(data.training_points)))


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What gives features.


@pytest.mark.parametrize("name", ["module", "function", "array", "tensor", "file", "dict"])
def test_features_are_those_of_each_point(tmp_path: Path, name: str) -> None:
    linear = nn.Linear(8, 8, bias=False)
    linear.weight.data = 2 * torch.eye(8)
    np.save(tmp_path / "x.npy", (2 * X).numpy())
    given = {
        "module": nn.Sequential(linear, nn.Dropout(0.5)),
        "function": double,
        "array": (2 * X).double().numpy(),
        "tensor": 2 * X,
        "file": tmp_path / "x.npy",
        "dict": {"train": str(tmp_path / "x.npy")},
    }[name]
    data = set_up(features=given)
    found = table(data)
    assert found.dtype == torch.float32
    assert torch.equal(found, 2 * X)
    assert torch.equal(features_at(data, [3, 1]), 2 * X[[3, 1]])


def test_a_module_is_left_in_its_mode_and_takes_several_inputs_by_name() -> None:
    class Sum(nn.Module):
        def forward(self, b: Tensor, a: Tensor) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            return (a - b).unsqueeze(1)

    items = [{"a": torch.tensor(float(i)), "b": torch.tensor(1.0), "y": i % 2} for i in range(9)]
    module = Sum()
    assert table(set_up(items, features=module)).flatten().tolist() == [i - 1.0 for i in range(9)]
    assert module.training


def test_further_axes_are_flattened_and_one_number_a_point_is_a_row() -> None:
    assert table(set_up(features=lambda x: x.view(-1, 2, 2, 2))).shape == (N, 8)
    assert table(set_up(features=lambda x: x[:, 0].numpy())).shape == (N, 1)


def test_features_come_by_the_transfer_hooks_and_the_collate_function() -> None:
    class Scaled(LitPoints):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return 10 * batch["x"], batch["y"]

    def collate(items: Any) -> Any:
        return {"x": torch.stack([x for x, _ in items]), "y": torch.stack([y for _, y in items])}

    data = set_up(Scaled(N, collate_fn=collate), features=double)
    assert torch.equal(table(data), 20 * X)


def test_points_are_read_without_augmentation_and_random_draws_change_nothing() -> None:
    class Noisy(Dataset[Any]):
        def __len__(self) -> int:
            return N

        def __getitem__(self, index: int) -> Any:
            return X[index] + torch.rand(8), Y[index]

    with pytest.warns(UserWarning, match="random augmentation"):
        data = set_up(Noisy(), features=double)
    state = torch.get_rng_state()
    first = table(data)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.warns(UserWarning, match="random augmentation"):
        assert torch.equal(table(set_up(Noisy(), features=double)), first)
    assert torch.equal(table(set_up(Noisy(), pool_dataset=TensorDataset(X, Y), features=double)), 2 * X)


def test_points_without_a_label_have_features() -> None:
    data = set_up(X.numpy(), classes=["cat", "dog"], features=double)
    assert torch.equal(table(data), 2 * X)


def test_features_follow_the_keys_of_items(tmp_path: Path) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for given in (double, (2 * X[order]).numpy()):
        data = ActiveDataModule(TensorDataset(X[order], Y[order]), initial_size=6, keys=order.tolist(), features=given)
        data.setup("fit")
        assert data.keys is not None
        assert torch.equal(table(data), 2 * X[[int(key) for key in data.keys]])


def test_target_inputs_have_features() -> None:
    other = points(9, seed=5)
    arrays = {"train": X, "val": np.ones((9, 8))}
    assert torch.equal(
        target_features_at(set_up(features=double, target_inputs=other), [2, 0]), 2 * other.tensors[0][[2, 0]]
    )
    assert torch.equal(
        target_features_at(set_up(features=double, target_inputs="val", val=other), [1]), 2 * other.tensors[0][[1]]
    )
    assert target_features_at(set_up(features=arrays, target_inputs="val", val=other), [0]).tolist() == [[1.0] * 8]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("resnet18", ValueError, r"names no encoder. Pass 'timm:NAME'"),
        ("hub:resnet18", ValueError, "names no encoder"),
        ("no.npy", FileNotFoundError, r"`ActiveDataModule\(features=...\)` found no file no.npy. Check the path"),
        (7, TypeError, "got 7, which is no encoder. Pass a module"),
        (nn.Flatten, TypeError, "which is no encoder"),
        ({"val": np.ones((2, 2))}, ValueError, r"got arrays for val. Give those of the training data under 'train'"),
        ({"train": np.ones((2, 2)), "tset": 1}, ValueError, "Give those of the training data under"),
        ({"train": [1, 2]}, TypeError, "expected an array of features for the train data, but got list"),
        (np.ones(3), ValueError, r"expected numbers \[N, D\] for the train data, but got ndarray \[3\]"),
        (np.array([["a"]]), ValueError, r"expected numbers \[N, D\]"),
        (np.ones((N, 0)), ValueError, r"for the train data, but got ndarray \[70, 0\] of float64"),
        (X.to_sparse(), TypeError, "got a tensor that is sparse for the train data. Pass a dense tensor of numbers"),
        (torch.nested.nested_tensor(list(X), layout=torch.jagged), TypeError, "got a tensor that is nested for the"),
        (torch.empty(N, 2, device="meta"), TypeError, "got a tensor that has no data for the train data"),
        (pd.DataFrame(X.numpy()), TypeError, r"got DataFrame \[70, 8\], which is no encoder. Pass .* an array"),
        (X.to(torch.complex64), ValueError, r"expected numbers \[N, D\] .* got ndarray \[70, 8\] of complex64"),
        (
            np.ma.masked_invalid(np.array([[1.0], [np.nan]])),
            ValueError,
            r"expected numbers \[N, D\] for the train data, but got MaskedArray \[2, 1\] of float64",
        ),
        (
            {"train": X, "val": X[:9, :3]},
            ValueError,
            r"features of one length, but got 8 numbers a row for the train data and 3 for the val data. Pass arrays",
        ),
    ],
)
def test_what_gives_no_features_is_refused(given: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        ActiveDataModule(TensorDataset(X, Y), initial_size=6, features=given)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("nothing"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps(X.numpy())),
        lambda path: np.savez(path.with_suffix(""), x=X.numpy()) or os.rename(path.with_suffix(".npz"), path),
        lambda path: np.save(path, np.array([[None]])),
        lambda path: os.truncate(path, path.stat().st_size - 9) if np.save(path, X.numpy()) is None else None,
    ],
    ids=["text", "empty", "pickle", "zip", "objects", "torn"],
)
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"cannot read .*x.npy as an array: .* Write it by `numpy.save`"):
        ActiveDataModule(TensorDataset(X, Y), initial_size=6, features=tmp_path / "x.npy")


def test_an_archive_of_arrays_is_told_apart_from_other_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X.numpy())
    with pytest.raises(ValueError, match="it is an archive of arrays by their names"):
        ActiveDataModule(TensorDataset(X, Y), initial_size=6, features=tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["requires grad", "bfloat16", "whole numbers", "bools", "conjugate"])
def test_tensors_and_arrays_of_other_numbers_are_read(kind: str) -> None:
    given = {
        "requires grad": X.clone().requires_grad_(),
        "bfloat16": X.bfloat16(),
        "whole numbers": X.round().long(),
        "bools": (X > 0).numpy(),
        "conjugate": torch.complex(X, X).conj().imag,
    }[kind]
    found = table(set_up(features=given))
    assert torch.equal(found, torch.as_tensor(given).detach().float().resolve_neg())


def test_numbers_too_large_for_float32_are_named() -> None:
    with pytest.raises(ValueError, match=r"has NaN or Inf in the rows \[3\] for the training data"):
        table(set_up(features=np.where(np.arange(N)[:, None] == 3, 1e200, X.double().numpy())))


def test_a_cache_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cache, said in (
        (tmp_path / "file", r"`cache` '.*file' cannot be a folder of features: .*file is no folder. Choose another"),
        (tmp_path / "file" / "below", "`cache` .* cannot be a folder of features"),
        ("", "`cache` is the empty name. Pass the name of a folder, or leave `cache` out"),
        (7, "`cache` is the name of a folder, but got 7"),
    ):
        with pytest.raises(ValueError, match=said):
            ActiveDataModule(TensorDataset(X, Y), initial_size=6, features=double, cache=cache)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (np.ones((3, 2)), ValueError, f"has 3 rows for the train data, which have {N} items. Pass a table"),
        (
            lambda x: {"states": x},
            TypeError,
            r"should return features \[n, D\] for a batch, but got .* Return a tensor",
        ),
        (lambda x: x[:-1], ValueError, r"gave features of shape \[63, 8\] for a batch of 64 training data"),
        (lambda x: x[:, : 4 + len(x) % 2 + len(x) // 64], ValueError, r"but expected \[6, 5\]. Let it return one row"),
        (lambda x: x.to(torch.complex64), TypeError, r"for a batch, but got Tensor \[64, 8\] of complex64"),
        (lambda x: x.to_sparse(), TypeError, r"for a batch, but got Tensor \[64, 8\] of float32 that is sparse"),
        (lambda x: np.array([[None]] * len(x)), TypeError, r"for a batch, but got ndarray \[64, 1\] of object"),
        (lambda x: x[:, :0], ValueError, r"gave features of shape \[64, 0\] .* expected \[64, D\]. Let it return"),
        (
            lambda x: x / 0,
            ValueError,
            r"gave NaN or Inf for the training data \[0, 1, 2, 3, 4, .* in all\]. Check these",
        ),
    ],
)
def test_features_that_do_not_fit_are_refused(given: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        table(set_up(features=given))


NET = nn.Linear(8, 2).double()


@pytest.mark.parametrize(
    ("encoder", "inputs", "said"),
    [
        (nn.Linear(8, 2).double(), X, r"`Linear` has weights of float64, but got inputs Tensor \[64, 8\] of float32: "),
        (nn.Linear(8, 2).half(), X, r"`Linear` has weights of float16, but got inputs .* of float32: .* Pass a module"),
        (nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 2, 3)), X.byte(), "weights of float32, .* of uint8: "),
        (lambda x: NET(x), X, "has weights of float64, but got inputs .* of float32: .* in the type of the other"),
    ],
    ids=["float64", "half", "whole numbers", "function"],
)
def test_weights_and_inputs_of_other_types_are_named(encoder: Any, inputs: Tensor, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        table(set_up(TensorDataset(inputs, Y), features=encoder))


ELSEWHERE = nn.Linear(8, 2, device="meta")


def test_a_function_whose_network_is_elsewhere_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"has weights on meta, but got inputs on cpu: .* Pass the module itself, which"
    ):
        table(set_up(features=lambda x: ELSEWHERE(x)))


def test_another_error_of_an_encoder_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied") as raised:
        table(set_up(features=lambda x: NET(x[:, :7].double())))
    assert raised.value.__notes__[0].endswith("<lambda>` for inputs Tensor [64, 8] of float32.")
    with pytest.raises(IndexError, match="index out of range"):
        table(set_up(TensorDataset(torch.arange(N), Y), features=nn.Embedding(7, 2)))


def test_without_features_there_are_none_to_read() -> None:
    with pytest.raises(ValueError, match=r"`ActiveDataModule` was given no `features`. Pass an encoder"):
        table(set_up())


def test_an_item_that_cannot_be_read_is_named_or_has_no_features() -> None:
    class Torn(Items):
        def __getitem__(self, index: int) -> Any:
            if index in (6, 66):
                raise OSError("torn")
            return super().__getitem__(index)

    items = Torn(N, lambda x, y: (x, y))
    data = ActiveDataModule(items, initial=[0, 1], features=double)
    data.setup("fit")
    with pytest.raises(OSError, match=r"Item 6 of the training data cannot be read: .*torn"):
        table(data)
    data = ActiveDataModule(items, initial=[0, 1], features=double)
    data.skips_unreadable = True
    data.setup("fit")
    assert table(data).isnan().any(1).nonzero().flatten().tolist() == [6, 66]
    nothing = ActiveDataModule(items, initial=[0, 1], features=double, val=_Unreadable(), target_inputs="val")
    nothing.setup("fit")
    with pytest.raises(ValueError, match=r"could read none of the 0 target inputs. Check the dataset"):
        target_features_at(nothing, [])


class _Unreadable(Dataset[Any]):
    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any:
        raise IndexError(index)


# Where features are kept.


def test_a_cache_that_cannot_be_made_is_named_before_anything_is_encoded() -> None:
    encoder = Counted()
    with pytest.raises(ValueError, match=r"`cache` '/proc/none' cannot be .*: it cannot be made"):
        table(set_up(features=encoder, cache="/proc/none"))
    assert encoder.items == 0


def test_an_encoder_runs_once_for_all_who_share_a_cache(tmp_path: Path) -> None:
    encoder = Counted()
    first = table(set_up(features=encoder, cache=tmp_path))
    assert encoder.items == N
    assert len(kept(tmp_path)) == 1
    again = set_up(features=encoder, cache=tmp_path, seed=5, batch_size=7, pool_batch_size=3)
    assert torch.equal(table(again), first)
    assert encoder.items == N
    copied = pickle.loads(pickle.dumps(again))
    assert torch.equal(table(copied), first)
    assert encoder.items == N


def weighted(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(8, 2)


def factor(number: float) -> Any:
    return lambda inputs: number * inputs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (weighted(0), weighted(1)),
        (factor(1.0), factor(2.0)),
        (nn.ReLU(), nn.Tanh()),
        (double, factor(2.0)),
    ],
    ids=["weights", "what a function holds", "classes", "functions"],
)
def test_another_encoder_is_another_table(tmp_path: Path, one: Any, other: Any) -> None:
    found = [table(set_up(features=encoder, cache=tmp_path)) for encoder in (one, other)]
    assert len(kept(tmp_path)) == 2
    torch.testing.assert_close(found[1], other(X).detach())


def test_other_items_are_another_table(tmp_path: Path) -> None:
    changed = X.clone()
    changed[1, 0] += 1  # beside the few items by which data are recognised
    for inputs in (X, changed, X[:60]):
        found = table(set_up(TensorDataset(inputs, Y[: len(inputs)]), features=double, cache=tmp_path))
        assert torch.equal(found, 2 * inputs)
    assert len(kept(tmp_path)) == 3


class Held(Dataset[Any]):
    """Items that are made of what an attribute holds; it counts how often one is read."""

    def __init__(self, held: Any, read: Callable[[Any, int], Any]) -> None:
        self._texts = held
        self.labels = [0] * len(held)
        self.read = read
        self.reads = 0
        self.whole = self  # as a child knows its parent

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.reads += 1
        return self.read(self._texts, index), self.labels[index]


class Wrapped(Dataset[Any]):
    def __init__(self, base: Dataset[Any]) -> None:
        self.base = base

    def __len__(self) -> int:
        return len(self.base)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.base[index]


def a_table(texts: list[str], folder: Path) -> Any:
    rows = [f"{number},{text}" for number, text in enumerate(texts)]
    (folder / "texts.csv").write_text("\n".join(["number,text", *rows]))
    return from_table(folder / "texts.csv", text="text", key="number", classes=["a", "b"])


def held(texts: list[str], _: Path | None = None) -> Held:
    return Held(texts, lambda texts, index: texts[index])


OF_TEXTS: dict[str, Callable[[list[str], Path], Any]] = {
    "texts": lambda texts, _: list(texts),
    "pairs": lambda texts, _: [(text, 0) for text in texts],
    "table with keys": a_table,
    "an attribute": held,
    "a data frame": lambda texts, _: Held(pd.DataFrame({"text": texts}), lambda frame, at: frame["text"].iloc[at]),
    "wrapped": lambda texts, _: Wrapped(held(texts)),
    "part of a list": lambda texts, _: Subset(["", *((text, 0) for text in texts)], range(1, len(texts) + 1)),
    "joined": lambda texts, _: ConcatDataset([held(texts[:50]), held(texts[50:])]),
}


class Lengths:
    """The length of each text, and how many were encoded."""

    def __init__(self) -> None:
        self.items = 0

    def __call__(self, texts: list[str]) -> Tensor:
        self.items += len(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    def config(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("name", OF_TEXTS)
def test_each_item_in_memory_is_compared(tmp_path: Path, name: str) -> None:
    texts, encoder = ["x" * (1 + number % 7) for number in range(100)], Lengths()

    def found() -> list[float]:
        dataset = OF_TEXTS[name](texts, tmp_path)
        data = set_up(dataset, initial=[0, 1], initial_size=None, classes=["a", "b"], features=encoder, cache=cache)
        return table(data).flatten().tolist()

    cache = tmp_path / "cache"
    for _ in range(2):
        assert found() == [len(text) for text in texts]
    assert encoder.items == 100
    for place in (5, 7, 8):  # beside the few items by which data are recognised
        texts[place] = "y" * 50
        assert found() == [len(text) for text in texts]
    assert encoder.items == 400


def test_a_table_is_found_again_without_reading_all_items_and_under_other_labels(tmp_path: Path) -> None:
    encoder = Lengths()
    for number in range(2):
        dataset = held([str(number) for number in range(1000)])
        dataset.labels[7] = number
        data = set_up(dataset, classes=["a", "b"], features=encoder, cache=tmp_path)
        before = dataset.reads
        table(data)
    assert encoder.items == 1000
    assert dataset.reads - before < 100


def test_an_array_that_is_mapped_from_a_file_is_known_by_the_file(tmp_path: Path) -> None:
    for shift in (0.0, 0.0, 1.0):
        np.save(tmp_path / "x.npy", X.numpy() + np.float32(shift))
        os.utime(tmp_path / "x.npy", ns=(1, 1 + int(shift)))
        rows = Held(np.load(tmp_path / "x.npy", mmap_mode="r"), lambda rows, at: rows[at].copy())
        found = table(set_up(rows, classes=["a", "b"], features=double, cache=tmp_path / "cache"))
        assert torch.equal(found, 2 * (X + shift))
    assert len(kept(tmp_path / "cache")) == 2


def test_a_photo_that_was_changed_is_encoded_again(tmp_path: Path) -> None:
    photos, cache, shade = tmp_path / "photos", tmp_path / "cache", 100
    photos.mkdir()
    for number in range(40):
        Image.new("RGB", (4, 4), (number, number, number)).save(photos / f"{number:02}.png")

    def mean(images: Tensor) -> Tensor:
        return images.mean((1, 2, 3)).unsqueeze(1)

    def found() -> Tensor:
        folder = image_folder(photos, classes=["a", "b"], image_size=4)
        data = ActiveDataModule(folder, initial_size=2, classes=["a", "b"], features=mean, cache=cache)
        data.setup("fit")
        return table(data)

    assert torch.allclose(255 * found().flatten(), torch.arange(40.0), atol=1e-3)
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(photos / "01.png")
    os.utime(photos / "01.png", ns=(1, 1))
    assert float(255 * found()[1]) == pytest.approx(shade)
    assert len(kept(cache)) == 2


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"torn"), lambda path: os.truncate(path, 500)])
def test_a_damaged_table_is_computed_again(
    tmp_path: Path, damage: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Counted()
    first = table(set_up(features=encoder, cache=tmp_path)).clone()
    [name] = kept(tmp_path)
    damage(tmp_path / name)
    assert torch.equal(table(set_up(features=encoder, cache=tmp_path)), first)
    assert encoder.items == 2 * N
    assert kept(tmp_path) == [name]


def test_an_encoder_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fails(inputs: Tensor) -> Tensor:
        if len(inputs) < 64:
            raise RuntimeError("boom")
        return inputs

    with pytest.raises(RuntimeError, match="boom"):
        table(set_up(features=fails, cache=tmp_path))
    assert kept(tmp_path) == []


def test_what_cannot_be_recognised_is_kept_in_memory(tmp_path: Path) -> None:
    class Connected:
        def __init__(self) -> None:
            self.lock = __import__("threading").Lock()

        def __call__(self, inputs: Tensor) -> Tensor:
            return 2 * inputs

    data = set_up(features=Connected(), cache=tmp_path)
    assert torch.equal(table(data), 2 * X)
    assert kept(tmp_path) == []


# Features as inputs.

FORMS: dict[str, Any] = {
    "tuple": (lambda x, y: (x, y), None, lambda f, y: (f, y)),
    "label first": (lambda x, y: (y, x), 0, lambda f, y: (y, f)),
    "named tuple": (Pair, None, lambda f, y: (f, y)),
    "a field": (Pair, "y", lambda f, y: {"features": f, "y": y}),
    "dict": (lambda x, y: {"image": x, "label": y}, None, lambda f, y: {"features": f, "label": y}),
    "three parts": (lambda x, y: (x, "meta", y), None, lambda f, y: (f, y)),
}


@pytest.mark.parametrize("name", FORMS)
def test_batches_have_the_features_and_the_labels(tmp_path: Path, name: str) -> None:
    form, target, expected = FORMS[name]
    dataset, val = Items(N, form), Items(9, form, seed=1)
    arrays = {"train": X[:, :3] + 1, "val": torch.arange(27.0).view(9, 3)}
    data = set_up(
        dataset,
        val=val,
        features=arrays,
        inputs="features",
        target=target,
        batch_size=N,
        initial=range(5),
        initial_size=None,
    )
    data.trainer = trainer(tmp_path)

    def compare(batch: Any, features: Tensor, labels: Tensor) -> None:
        wanted = expected(features, labels)
        assert type(batch) in (type(wanted), list)
        found, there = (one.values() if isinstance(one, dict) else one for one in (batch, wanted))
        assert all(torch.equal(one, other) for one, other in zip(found, there, strict=True))
        assert not isinstance(batch, dict) or list(batch) == list(wanted)

    [labelled] = data.labelled_dataloader()
    compare(labelled, X[:5, :3] + 1, Y[:5])
    [pool] = data.pool_dataloader([8, 7])
    compare(pool, X[[8, 7], :3] + 1, torch.tensor([0, 0]))  # the label of the first initial point
    [validated] = data.val_dataloader()
    compare(validated, arrays["val"], points(9, seed=1).tensors[1])
    [trained] = data.train_dataloader()
    assert len(trained) == 2


def test_an_oracles_label_is_trained_on_and_people_see_the_item() -> None:
    data = set_up(
        X.numpy(), classes=["cat", "dog"], features=double, inputs="features", initial=[4, 2], initial_size=None
    )
    data.pool.label_initial({4: 1, 2: 0})
    data.pool.label([7], {7: 1})
    [(features, labels)] = data.labelled_dataloader()
    assert torch.equal(features, 2 * X[[4, 2, 7]])
    assert labels.tolist() == [1, 0, 1]
    assert torch.equal(data.pool_item(7)[0], X[7])
    assert torch.equal(data.item_of(7)[0], X[7])


def test_hooks_and_collate_functions_are_for_the_items_themselves(tmp_path: Path) -> None:
    class Texts(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            items: Any = [("x" * n, n % 2) for n in range(12)]
            return DataLoader(
                items, batch_size=4, collate_fn=lambda items: ([x for x, _ in items], [y for _, y in items])
            )

        def predict_dataloader(self) -> list[DataLoader[Any]]:
            items: Any = ["xy", "z"]
            return [DataLoader(items, batch_size=2)]

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            assert isinstance(batch[0][0] if isinstance(batch, tuple) else batch[0], str)
            return batch

    def lengths(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(text))] for text in texts])

    data = ActiveDataModule(Texts(), initial=[2, 5], features=lengths, inputs="features")
    data.setup("fit")
    [(features, labels)] = data.labelled_dataloader()
    assert (features.flatten().tolist(), labels.tolist()) == ([2, 5], [0, 1])
    [[predicted]] = data.predict_dataloader()
    assert predicted.flatten().tolist() == [2.0, 1.0]
    assert "on_before_batch_transfer" not in vars(data)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"inputs": "pixels", "features": double}, r"inputs='pixels'\)` is not known. Pass 'features'"),
        ({"inputs": "features"}, r"trains on features, but `features` is None. Pass an encoder"),
    ],
)
def test_inputs_that_are_not_there_are_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ActiveDataModule(TensorDataset(X, Y), initial_size=6, **arguments)


@pytest.mark.parametrize("target", [2, lambda item: item[1]])
def test_a_label_that_would_be_elsewhere_is_refused(target: Any) -> None:
    items = Items(N, (lambda x, y: (x, 0, y)) if target == 2 else (lambda x, y: (x, y)))
    given = {"pool_dataset": Items(N, lambda x, y: (x,))} if callable(target) else {}
    data = set_up(items, features=X, inputs="features", target=target, **given)
    with pytest.raises(ValueError, match=r"makes items \(features, label\), but `target` is .* Pass `target=-1`"):
        data.train_dataloader()


def test_arrays_belong_to_one_loader_each() -> None:
    class Two(LitPoints):
        def val_dataloader(self) -> Any:
            return [DataLoader(self.val), DataLoader(self.val)]

    first, _ = set_up(Two(N), features={"train": X, "val": X}, inputs="features").val_dataloader()
    with pytest.raises(ValueError, match=r"belong to one loader each, but the val 0 data are one of several. Join"):
        next(iter(first))


def test_an_encoder_gives_rows_of_one_length_for_all_data() -> None:
    data = set_up(features=nn.Flatten(), inputs="features", val=TensorDataset(X[:9, :3], Y[:9]))
    table(data)
    with pytest.raises(
        ValueError, match=r"gave 3 numbers a row for the val items, but 8 for the training data. Let it"
    ):
        next(iter(data.val_dataloader()))


def test_arrays_are_needed_for_all_that_is_read() -> None:
    data = set_up(features=X, inputs="features", val=points(9))
    loader = data.val_dataloader()
    with pytest.raises(ValueError, match="got arrays for train, but the features of the val data are read too"):
        next(iter(loader))


class Stream(IterableDataset[Any]):
    """Items in a row, which it can count."""

    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y, strict=True)

    def __len__(self) -> int:
        return N


@pytest.mark.parametrize(
    ("loader", "got"),
    [
        (lambda: DataLoader(TensorDataset(X, Y), batch_size=None), "a DataLoader with `batch_size=None`. Pass"),
        (lambda: DataLoader(Stream(), batch_size=4), "a DataLoader over the IterableDataset Stream. Pass"),
        (lambda: iter([]), "list_iterator. Pass"),
    ],
)
def test_a_loader_without_items_is_refused(loader: Callable[[], Any], got: str) -> None:
    class Streamed(LitPoints):
        def val_dataloader(self) -> Any:
            return loader()

    data = set_up(Streamed(N), features=double, inputs="features")
    with pytest.raises(TypeError, match=f"needs items by their numbers for the val data, but got {got}"):
        data.val_dataloader()


@pytest.mark.parametrize("split", ["val", "test", "predict"])
def test_a_stream_has_no_features(split: str) -> None:
    given: Any = {split: Stream()}
    with pytest.raises(TypeError, match=f"for the {split} data, but got .* the IterableDataset Stream. Pass"):
        getattr(set_up(features=double, inputs="features", **given), f"{split}_dataloader")()
    assert torch.equal(table(set_up(features=double, **given)), 2 * X)
