"""What networks return and are called with: logits by name, dicts chosen from by name, remedies that work."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import default_collate

from lightning_al import ActiveDataModule, ActiveLearning, LastLayer, MCDropout
from lightning_al.acquisition import Acquisition, Selection
from lightning_al.host.namespace import pl
from lightning_al.values.parts import described
from tests.support.tasks import CLASSES, FEATURES, Items, points, trainer

Picks = tuple[list[int], list[float]]


class LitMLP(pl.LightningModule):
    """A small classifier with dropout, from the same weights each time."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES))

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def picks(
    tmp_path: Path, module: pl.LightningModule, dataset: Any = None, acquisition: Any = "bald", **kwargs: Any
) -> Any:
    """Fit two rounds from the same weights, and return what was asked for and by which scores."""
    own = {name: kwargs.pop(name) for name in ("target", "collate_fn", "test", "val") if name in kwargs}
    data = ActiveDataModule(dataset or points(60), initial_size=12, batch_size=8, seed=2, **own)
    kwargs.setdefault("posterior", MCDropout(4))
    active = ActiveLearning(acquisition, query_size=4, max_rounds=2, seed=1, **kwargs)
    trainer(tmp_path, callbacks=[active], max_epochs=1, num_sanity_val_steps=2).fit(module, datamodule=data)
    return active.history[0].indices, active.history[0].scores


class Output(dict):  # type: ignore[type-arg]
    """An output with keys that are attributes too, as transformers' `ModelOutput`."""

    __getattr__ = dict.__getitem__


@dataclass
class Prediction:
    logits: Tensor
    hidden: Any = None


class Named(NamedTuple):
    loss: Any
    logits: Tensor


class Lit(LitMLP):
    """Wraps its logits as told."""

    def __init__(self, wrap: Callable[[Tensor], Any] = lambda logits: logits) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.net(x))


WRAPPED: dict[str, Callable[[Tensor], Any]] = {
    "output of transformers": lambda logits: Output(loss=None, logits=logits, hidden_states=(logits,)),
    "dict": lambda logits: {"logits": logits},
    "UserDict": lambda logits: UserDict(logits=logits, other=1),
    "dataclass": Prediction,
    "named tuple": lambda logits: Named(None, logits),
}


class ByNorm(Acquisition):
    def select(self, candidates: Any, b: int, generator: torch.Generator) -> Selection:
        scores, positions = (candidates.embeddings_N_D.norm(dim=1) + candidates.residuals_N_C[:, 0]).topk(b)
        return Selection(positions, scores)


@pytest.fixture(scope="module")
def plain_picks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is picked by the logits alone."""
    return picks(tmp_path_factory.mktemp("plain"), Lit())


@pytest.fixture(scope="module")
def plain_picks_by_norm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return picks(tmp_path_factory.mktemp("plain"), Lit(), None, ByNorm())


@pytest.mark.parametrize("name", WRAPPED)
def test_logits_are_read_by_name(tmp_path: Path, plain_picks: Any, name: str) -> None:
    assert picks(tmp_path, Lit(WRAPPED[name])) == plain_picks


@pytest.mark.parametrize("name", WRAPPED)
def test_logits_are_read_by_name_where_embeddings_are(tmp_path: Path, plain_picks_by_norm: Any, name: str) -> None:
    assert picks(tmp_path, Lit(WRAPPED[name]), None, ByNorm()) == plain_picks_by_norm


def test_logits_are_read_by_name_from_a_function_of_the_user_s_own(tmp_path: Path, plain_picks: Any) -> None:
    own = picks(tmp_path, Lit(WRAPPED["dict"]), forward=lambda module, batch: module(batch[0]))
    assert own == plain_picks


def test_a_tuple_is_refused_and_the_hint_works(tmp_path: Path) -> None:
    pair = Lit(lambda logits: (logits, logits.exp()))
    with pytest.raises(ValueError, match=r"gave tuple of \[\d, 4\], \[\d, 4\].*`forward=lambda module, batch: .*`"):
        picks(tmp_path, pair)
    first = picks(tmp_path, Lit(pair.wrap), forward=lambda module, batch: module(batch[0])[0])
    assert first == picks(tmp_path, Lit())


@pytest.mark.parametrize("wrap", [lambda logits: {"scores": logits}, lambda logits: Output(last_hidden_state=logits)])
def test_an_output_without_logits_is_refused_by_its_names(tmp_path: Path, wrap: Any) -> None:
    with pytest.raises(ValueError, match=r"gave (dict with scores|Output with last_hidden_state). Pass `forward"):
        picks(tmp_path, Lit(wrap))


class Segments(LitMLP):
    """A class for each place of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Dropout2d(0.3), nn.Conv2d(1, CLASSES, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])


def test_segmentation_is_said_not_to_be_supported_and_random_works(tmp_path: Path) -> None:
    images = Items(60, lambda x, y: (x.view(1, 2, 4), torch.full((2, 4), y)))
    with pytest.raises(ValueError, match=r"gave \[\d, 4, 2, 4\]. A prediction for each pixel or token.*segmentation"):
        picks(tmp_path, Segments(), images)
    assert len(picks(tmp_path, Segments(), images, "random")[0]) == 4


# What a module is called with.


class ByName(Lit):
    """Takes some of what a dict holds."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.net(x if mask is None else x * mask)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch["x"], batch.get("mask")), batch["label"])


class AnyName(ByName):
    def forward(self, **inputs: Tensor) -> Tensor:
        return self.net(inputs["x"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(**batch), batch["label"])


class WholeDict(ByName):
    def forward(self, batch: Any) -> Tensor:
        return self.net(batch["x"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch), batch["label"])


DICTS: dict[str, Callable[[Tensor, int], Any]] = {
    "as many as it takes": lambda x, y: {"x": x, "label": y},
    "a number": lambda x, y: {"idx": y, "x": x, "label": y},
    "a number and a name": lambda x, y: {"x": x, "label": y, "id": y, "path": "a.png"},
    "an optional input": lambda x, y: {"x": x, "mask": torch.ones(FEATURES), "label": y, "id": y},
}


def mappings() -> Iterator[Any]:
    for kind, make, name in product([dict, UserDict], [ByName, AnyName, WholeDict], DICTS):
        if make is WholeDict and name == "as many as it takes":
            continue  # one input is passed as it is
        repeats = kind is UserDict and name != "a number and a name"  # what is done with a dict of these names
        yield pytest.param(kind, make, name, marks=[pytest.mark.slow] if repeats else [])


@pytest.mark.parametrize(("kind", "make", "name"), list(mappings()))
def test_inputs_of_a_dict_are_chosen_by_name(tmp_path: Path, plain_picks: Any, kind: Any, make: Any, name: str) -> None:
    def collate(items: list[Any]) -> Any:
        return kind(default_collate(items))

    assert picks(tmp_path, make(), Items(60, DICTS[name]), collate_fn=collate) == plain_picks


class WithId(Lit):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])


class Nested(Lit):
    """Two inputs in a pair of their own, with a default for the second."""

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return self.net(x * scale)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (x, _), y = batch
        return F.cross_entropy(self(x), y)


class WithoutForward(pl.LightningModule):
    """Calls its network in the training step, and has no forward."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.model = LitMLP().net

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.model(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class WrongShape(Lit):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x if self.training else x[:, :3])


class Reads(Lit):
    def forward(self, x: Any) -> Tensor:
        return self.net(x if isinstance(x, Tensor) else x["pixels"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch["image"]), batch["label"])


CALLS: dict[str, tuple[Callable[[], Any], Any, dict[str, Any], type[Exception], str, Any]] = {
    "an id beside the label": (
        WithId,
        Items(60, lambda x, y: (x, y, y)),
        {"target": 1},
        TypeError,
        r"`WithId` failed when it was called on the inputs of a batch, which are \(Tensor \[4, 8\] of float32, Tensor "
        r"\[4\] of int64\): TypeError: .*takes 2 positional arguments but 3",
        lambda module, batch: module(batch[0]),
    ),
    "nested inputs": (
        Nested,
        Items(60, lambda x, y: ((x, x), y)),
        {},
        TypeError,
        r"which are \[Tensor \[4, 8\] of float32, Tensor \[4, 8\] of float32\]: TypeError"
        r".*lambda module, batch: module\(\*b",
        lambda module, batch: module(batch[0][0]),
    ),
    "no forward": (
        WithoutForward,
        None,
        {},
        NotImplementedError,
        r"`WithoutForward` has no `forward`.*Define it, or .*`forward=lambda module, .*: module.model\(batch\[0\]\)`",
        lambda module, batch: module.model(batch[0]),
    ),
    "shapes that do not fit": (
        WrongShape,
        None,
        {},
        RuntimeError,
        r"`WrongShape` failed .* which are Tensor \[\d, 8\] of float32: RuntimeError: mat1 and mat2",
        lambda module, batch: module.net(batch[0]),
    ),
    "a dict that is read": (
        Reads,
        Items(60, lambda x, y: {"image": x, "id": y, "label": y}),
        {},
        ValueError,
        r"which are \{image: Tensor \[4, 8\] of float32, id: Tensor \[4\] of int64\}: KeyError: 'pixels'"
        r".*batch\['image'\]",
        lambda module, batch: module(batch["image"]),
    ),
    "a function of the user's own": (
        Lit,
        None,
        {"forward": lambda module, batch: module(batch["x"])},
        TypeError,
        r"The function given as `forward=` failed on a batch \[Tensor \[4, 8\] of float32, Tensor \[4\] of int64\]: ",
        lambda module, batch: module(batch[0]),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_says_what_was_passed_and_the_remedy_works(tmp_path: Path, name: str) -> None:
    make, dataset, settings, kind, message, remedy = CALLS[name]
    with pytest.raises(kind, match=f"(?s){message}.*before round 0") as caught:
        picks(tmp_path, make(), dataset, posterior="deterministic", acquisition="entropy", **settings)
    assert caught.value.__cause__ is not None
    settings = {**settings, "forward": remedy}
    assert len(picks(tmp_path, make(), dataset, "entropy", posterior="deterministic", **settings)[0]) == 4


def test_running_out_of_memory_stays_what_it_is(tmp_path: Path) -> None:
    class Large(Lit):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory") as caught:
        picks(tmp_path, Large())
    assert str(caught.value) == "CUDA out of memory. Tried to allocate 20.00 GiB"


def test_layers_of_a_wrapped_output_have_embeddings(tmp_path: Path) -> None:
    own = picks(tmp_path, Lit(WRAPPED["dict"]), None, ByNorm(), last_layer=LastLayer(layer="net.3"))
    assert own == picks(tmp_path, Lit(), None, ByNorm())


def test_a_batch_is_described_with_shapes() -> None:
    batch = UserDict(x=torch.zeros(2, 3, dtype=torch.float16), more=([1, "a"], None), many=list(range(20)))
    shown = described(batch)
    assert shown.startswith("UserDict{x: Tensor [2, 3] of float16, more: ([int, str], NoneType), many: [int, ")
    assert shown.endswith("int, ...]}")


# NaN.


class Diverging(Lit):
    """Learns at a rate that ends in NaN."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * float("nan")


class NanForSomeSamples(Lit):
    """Has no number where dropout leaves all of a few units alone, as in some samples."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.drop(torch.ones_like(x[:, :4])).sum(1, keepdim=True)
        return self.net(x) / (kept < 7).float()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])


@pytest.mark.parametrize("posterior", ["mc_dropout", "deterministic"])
def test_a_fit_that_diverged_is_said_to_have(tmp_path: Path, posterior: str) -> None:
    message = r"`Diverging` gave NaN or Inf for 48 of 48 unlabelled points.*training diverged. Lower the learning rate"
    with pytest.raises(ValueError, match=message):
        picks(tmp_path, Diverging(), None, "entropy", posterior=posterior)


def test_nan_in_some_samples_alone_is_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`NanForSomeSamples` gave NaN or Inf for 6 of 6 .*Its weights are finite"):
        picks(tmp_path, NanForSomeSamples(), posterior=MCDropout(20))
