"""Labels and outputs of another task are refused before the first step; what can be classes is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, default_collate

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Oracle
from lightning_al.acquisition import Acquisition, Selection
from lightning_al.host.namespace import pl
from tests.support.combinations import one_in
from tests.support.tasks import CLASSES, FEATURES, Items, LitMLP, points, trainer

METHODS = ["entropy", "bald", "batchbald"]


class Counted(pl.Callback):
    """Counts steps."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.steps += 1


def fit(
    tmp_path: Path,
    module: pl.LightningModule,
    dataset: Any,
    acquisition: Any = "bald",
    *,
    dry: bool = True,
    steps: Counted | None = None,
    data: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> ActiveLearning:
    kwargs.setdefault("posterior", MCDropout(3))
    active = ActiveLearning(acquisition, query_size=4, max_rounds=2, seed=1, **kwargs)
    pool = ActiveDataModule(dataset, **{"initial_size": 12, "batch_size": 8, "seed": 2, **(data or {})})
    callbacks = [active, steps or Counted()]
    settings: Any = {"max_epochs": 1, "num_sanity_val_steps": 2 if dry else 0}
    trainer(tmp_path, callbacks=callbacks, **settings).fit(module, datamodule=pool)
    return active


def refused(tmp_path: Path, message: str, module: Callable[[], pl.LightningModule], *args: Any, **kwargs: Any) -> None:
    """Expect an error before the first step; without the dry pass, before the first query."""
    steps = Counted()
    with pytest.raises(ValueError, match=f"(?s){message}.*before round 0"):
        fit(tmp_path, module(), *args, steps=steps, **kwargs)
    assert steps.steps == 0
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fit(tmp_path, module(), *args, dry=False, **kwargs)


class LitMultiLabel(LitMLP):
    """Several classes at once, one logit for each."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.binary_cross_entropy_with_logits(self(x), y.float())


class LitRegression(LitMLP):
    """As many numbers as it has outputs."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.mse_loss(self(x), y.reshape(len(x), -1).float().mean(1, keepdim=True).expand_as(self(x)))


class Lit(LitMLP):
    """Learns classes, of whatever form the labels are."""

    def __init__(self, outputs: int = CLASSES) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs))
        self.outputs = outputs

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch[:2] if isinstance(batch, list | tuple) else (batch["x"], batch["label"])
        if isinstance(y, list | tuple):
            return self(x).square().mean()
        if y.dim() > 1 and y.shape[1] == self.outputs:
            return F.cross_entropy(self(x), y.float())
        return F.cross_entropy(self(x), y.reshape(len(x), -1)[:, 0].long() % self.outputs)


def several(y: int) -> list[float]:
    return [1.0, *[float(place <= y) for place in range(1, CLASSES)]]


MULTI_LABELS: dict[str, Callable[[Tensor, int], Any]] = {
    "floats": lambda x, y: (x, torch.tensor(several(y))),
    "whole numbers": lambda x, y: (x, torch.tensor(several(y)).long()),
    "booleans": lambda x, y: (x, torch.tensor(several(y)).bool()),
    "arrays": lambda x, y: (x, np.array(several(y), dtype=np.float32)),
    "none at all": lambda x, y: (x, torch.zeros(CLASSES)),
    "two each": lambda x, y: (x, torch.tensor([1.0, 1.0, 0.0, 0.0]).roll(y)),
}


@pytest.mark.parametrize(("name", "acquisition"), one_in(2, MULTI_LABELS, ["entropy", "bald"]))
def test_labels_of_several_classes_at_once(tmp_path: Path, name: str, acquisition: str) -> None:
    message = (
        r"`LitMultiLabel` gives 4 logits.*the label of point \d+ has the shape \[4\].*labels of several classes at "
        r"once.*Pass `target=`.*`acquisition=\"random\"`"
    )
    refused(tmp_path, message, LitMultiLabel, Items(60, MULTI_LABELS[name]), acquisition)


def test_a_few_labels_that_happen_to_have_one_class_each(tmp_path: Path) -> None:
    """Others of the dataset, which will be revealed, have more."""

    def form(x: Tensor, y: int) -> Any:
        return x, F.one_hot(torch.tensor(y), CLASSES).float() if float(x[7]) < 0 else torch.ones(CLASSES)

    dataset = Items(60, form)
    single = [index for index in range(60) if float(dataset.points[index][0][7]) < 0]
    refused(
        tmp_path,
        r"labels of several classes",
        LitMultiLabel,
        dataset,
        data={"initial": single[:8], "initial_size": None},
    )


REGRESSIONS: dict[str, tuple[int, Callable[[Tensor, int], Any], str]] = {
    "two numbers": (2, lambda x, y: (x, x[:2]), r"label of point \d+ has the shape \[2\].*or of a regression"),
    "two numbers, four outputs": (4, lambda x, y: (x, x[:2]), r"has the shape \[2\].*a regression of several numbers"),
    "mean and variance": (2, lambda x, y: (x, x[0]), r"the label of point \d+ is the number .*as in a regression"),
    "plain floats": (2, lambda x, y: (x, float(x[0])), r"the label of point \d+ is the number .*as in a regression"),
    "doubles of NumPy": (3, lambda x, y: (x, np.float64(x[0])), r"is the number .*as in a regression"),
    "whole numbers too large": (2, lambda x, y: (x, 10.0 * y + 10), r"is the number \d+, as in a regression"),
    "one output": (
        1,
        lambda x, y: (x, float(x[0])),
        r"gives no logits of two.*this is a regression",
    ),
    "one output, [1]": (
        1,
        lambda x, y: (x, x[:1]),
        r"gives no logits of two.*this is a regression",
    ),
}


def slow_if(is_slow: bool, name: str) -> Any:
    return pytest.param(name, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize(
    # Plain floats and one output show the same of the label.
    "name",
    [slow_if(name in ("doubles of NumPy", "one output, [1]"), name) for name in REGRESSIONS],
)
def test_labels_of_a_regression(tmp_path: Path, name: str) -> None:
    outputs, form, message = REGRESSIONS[name]
    refused(tmp_path, message, lambda: LitRegression(outputs), Items(60, form))


class Own(Acquisition):
    """Needs nothing but a generator."""

    def select(self, candidates: Any, b: int, generator: torch.Generator) -> Selection:
        return Selection(torch.randperm(len(candidates), generator=generator)[:b], torch.zeros(b))


@pytest.mark.parametrize("acquisition", ["random", "core_set", Own()])
@pytest.mark.parametrize("form", [MULTI_LABELS["floats"], lambda x, y: (x, x[:4]), lambda x, y: (x, float(x[0]))])
def test_a_method_that_reads_no_class_probabilities_works_on_anything(
    tmp_path: Path, acquisition: Any, form: Callable[[Tensor, int], Any]
) -> None:
    assert len(fit(tmp_path, LitRegression(4), Items(60, form), acquisition).history) == 2


@pytest.mark.parametrize("acquisition", ["random", "core_set"])
def test_they_work_on_one_class_and_on_outputs_of_any_form(tmp_path: Path, acquisition: str) -> None:
    class Segments(LitMLP):
        def forward(self, x: Tensor) -> Any:
            return (self.net(x)[..., None, None],)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(batch[0])[0].square().mean()

    assert len(fit(tmp_path, Segments(), Items(60, lambda x, y: (x, 0)), acquisition).history) == 2


class Animal(Enum):
    CAT = "cat"
    DOG = "dog"


def names_of(batch: Sequence[Any]) -> Any:
    return torch.stack([x for x, _ in batch]), [y for _, y in batch]


CLASSES_OF_ALL_FORMS: dict[str, tuple[int, Callable[[Tensor, int], Any], Any]] = {
    "whole numbers": (4, lambda x, y: (x, y), None),
    "tensors": (4, lambda x, y: (x, torch.tensor(y)), None),
    "tensors of one number": (4, lambda x, y: (x, torch.tensor([y])), None),
    "NumPy": (4, lambda x, y: (x, np.int64(y)), None),
    "whole floats": (4, lambda x, y: (x, float(y)), None),
    "0 and 1 as floats": (2, lambda x, y: (x, float(y % 2)), None),
    "0 and 1 as floats of shape [1]": (2, lambda x, y: (x, torch.tensor([float(y % 2)])), None),
    "booleans": (2, lambda x, y: (x, y > 1), None),
    "one-hot": (4, lambda x, y: (x, F.one_hot(torch.tensor(y), 4)), None),
    "one-hot floats": (4, lambda x, y: (x, F.one_hot(torch.tensor(y), 4).float()), None),
    "soft": (4, lambda x, y: (x, torch.full((4,), 0.1).index_fill_(0, torch.tensor(y), 0.7)), None),
    "soft doubles": (3, lambda x, y: (x, np.array([1 / 3, 1 / 3, 1 / 3])), None),
    "names": (4, lambda x, y: (x, ["cat", "dog", "fox", "owl"][y]), None),
    "enums": (2, lambda x, y: (x, list(Animal)[y % 2]), names_of),
    "a part of what there is": (7, lambda x, y: (x, y), None),
    # The training step makes classes of these.
    "from 1": (4, lambda x, y: (x, y + 1), None),
    "-1 and 1": (2, lambda x, y: (x, 2 * (y % 2) - 1), None),
    "odd or even": (2, lambda x, y: (x, y), None),
    "attributes": (2, lambda x, y: (x, torch.tensor([y % 2, 1, 0, 1, 1])), None),
    # Sequences that some other network tags, and `forward=` sums up; some are as long as there are classes.
    "one for each token": (4, lambda x, y: (x, torch.arange(2 + y) % 4), names_of),
}


LIKE_OTHERS = ("tensors", "one-hot", "soft", "odd or even")
"""Forms that are read as tensors of one number, one-hot floats, soft doubles and whole numbers are."""


@pytest.mark.parametrize("name", [slow_if(name in LIKE_OTHERS, name) for name in CLASSES_OF_ALL_FORMS])
def test_what_can_be_classes_is_left_alone(tmp_path: Path, name: str) -> None:
    outputs, form, collate = CLASSES_OF_ALL_FORMS[name]
    data = {"collate_fn": collate or default_collate}
    active = fit(tmp_path, Lit(outputs), Items(60, form), "entropy", posterior="deterministic", data=data)
    assert len(active.history) == 2


class WithId(Dataset[Any]):
    """Items of three parts, of which the last is a number of the item's own."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        x, y = points(60)[index]
        return x, int(y), index


class LitWithId(Lit):
    def forward(self, x: Tensor, *others: Any) -> Tensor:
        return self.net(x)


def test_a_number_of_the_item_behind_its_label(tmp_path: Path) -> None:
    message = (
        r"`LitWithId` gives 4 logits.*labels of training points go up to \d+. Items have 3 parts.*the last one was "
        r"taken for the label. Pass `target=1`"
    )
    refused(tmp_path, message, LitWithId, WithId())
    first_part_only = lambda module, batch: module(batch[0])  # noqa: E731
    active = fit(tmp_path, LitWithId(), WithId(), data={"target": 1}, forward=first_part_only)
    assert active.history[0].class_counts is not None
    assert set(active.history[0].class_counts) <= set(range(4))
    assert len(fit(tmp_path, LitWithId(), WithId(), "random").history) == 2


def test_a_label_with_a_wrong_place_that_was_named_is_the_user_s_to_say(tmp_path: Path) -> None:
    active = fit(tmp_path, LitWithId(), WithId(), data={"target": 2})
    assert [len(round.indices) > 0 for round in active.history] == [True, False]


def test_a_placeholder_for_no_label_is_not_trained_on(tmp_path: Path) -> None:
    """Beside an oracle of one's own, unlabelled points may have any."""

    class Clerk(Oracle):
        def label(self, indices: Sequence[int]) -> Mapping[int, Any]:
            return {index: index % CLASSES for index in indices}

    for placeholder in (-1, -100):
        dataset = [(x, int(y) if index < 12 else placeholder) for index, (x, y) in enumerate(points(60))]
        known, unknown = list(range(12)), list(range(8, 20))
        active = fit(tmp_path, Lit(), dataset, oracle=Clerk(), data={"initial": known, "initial_size": None})
        assert len(active.history) == 2
        message = rf"label of the training point \d+ is {placeholder}, which is not a class.*Pass `initial=`"
        refused(tmp_path, message, Lit, dataset, data={"initial": unknown, "initial_size": None})
        asked = fit(tmp_path, Lit(), dataset, oracle=Clerk(), data={"initial": unknown, "initial_size": None})
        assert len(asked.history) == 2


class Folder(Dataset[Any]):
    """Lists its targets, as torchvision's ImageFolder does; of one folder unless told otherwise."""

    def __init__(self, size: int = 60, others: Sequence[int] = ()) -> None:
        self.targets = [int(index in others) for index in range(size)]
        self.reads = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return torch.randn(FEATURES, generator=torch.Generator().manual_seed(index)), self.targets[index]


def unlisted(dataset: Folder) -> Dataset[Any]:
    dataset.labels_of_items, dataset.targets = dataset.targets, [None] * len(dataset)  # type: ignore[attr-defined]

    class Unlisted(Dataset[Any]):
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, index: int) -> Any:
            dataset.reads += 1
            x = torch.randn(FEATURES, generator=torch.Generator().manual_seed(index))
            return x, dataset.labels_of_items[index]  # type: ignore[attr-defined]

    return Unlisted()


ONE_CLASS: dict[str, Callable[[], Any]] = {
    "listed": Folder,
    "listed, of a part": lambda: Subset(Folder(80, others=[79]), range(60)),
    "unlisted": lambda: unlisted(Folder()),
    "listed and large": lambda: Folder(5000),
    "names": lambda: Items(60, lambda x, y: (x, "cat")),
    "one-hot": lambda: Items(60, lambda x, y: (x, torch.tensor([1.0, 0.0]))),
}


@pytest.mark.parametrize("name", ONE_CLASS)
def test_labels_of_one_class_alone(tmp_path: Path, name: str) -> None:
    message = r"All \d+ labels of `\w+` are of one class.*more labels teach nothing.*ImageFolder"
    refused(tmp_path, message, lambda: Lit(2), ONE_CLASS[name](), "entropy", posterior="deterministic")


SEVERAL_CLASSES: dict[str, Callable[[], Any]] = {
    "listed": lambda: Folder(others=[41]),
    "listed and large": lambda: Folder(5000, others=[4321]),
    "unlisted": lambda: unlisted(Folder(others=[41])),
    "too many to read": lambda: unlisted(Folder(2500)),
    "names": lambda: Items(60, lambda x, y: (x, "cat" if y else "dog")),
}


# A large list is read above.
@pytest.mark.parametrize("name", [slow_if(name == "listed and large", name) for name in SEVERAL_CLASSES])
def test_a_rare_class_is_a_class(tmp_path: Path, name: str) -> None:
    """Where not all labels are known, nothing is said."""
    assert len(fit(tmp_path, Lit(2), SEVERAL_CLASSES[name](), "entropy", posterior="deterministic").history) == 2


def test_an_oracle_of_one_s_own_may_know_other_classes(tmp_path: Path) -> None:
    class Clerk(Oracle):
        def label(self, indices: Sequence[int]) -> Mapping[int, Any]:
            return dict.fromkeys(indices, 1)

    assert len(fit(tmp_path, Lit(2), Folder(), oracle=Clerk()).history) == 2


class Crops(LitMLP):
    """Five rows of logits for each point, as of test-time crops."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.repeat_interleave(5, 0))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1].repeat_interleave(5))


class Pairs(LitMLP):
    """One row of logits for two points."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[: len(x) // 2] + x[len(x) // 2 : 2 * (len(x) // 2)])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1][: len(batch[1]) // 2])


class Averaged(LitMLP):
    """One row of logits for a whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean(0, keepdim=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1][:1])


@pytest.mark.parametrize("acquisition", METHODS)
@pytest.mark.parametrize(("make", "rows"), [(Crops, 20), (Pairs, 2), (Averaged, 1)])
def test_more_or_fewer_rows_than_points(tmp_path: Path, make: Any, rows: int, acquisition: str) -> None:
    steps = Counted()
    with pytest.raises(
        ValueError, match=rf"`{make.__name__}` gave {rows} rows for a batch of 4 points. Pass `forward="
    ):
        fit(tmp_path, make(), points(60), acquisition, steps=steps)
    assert steps.steps == 0


def test_the_remedy_for_several_views_of_a_point(tmp_path: Path) -> None:
    def views(module: nn.Module, batch: Any) -> Tensor:
        return module(batch[0]).unflatten(0, (len(batch[0]), -1)).mean(1)

    def once(module: Any, batch: Any) -> Tensor:
        return module.net(batch[0])

    ours, expected = (
        fit(tmp_path, seeded_crops(), points(60), "margin", posterior="deterministic", forward=logits)
        for logits in (views, once)
    )
    assert ours.history[0].indices == expected.history[0].indices


def seeded_crops() -> Crops:
    torch.manual_seed(0)
    return Crops()


def test_a_collate_function_that_drops_points(tmp_path: Path) -> None:
    def collate(batch: list[Any]) -> Any:
        return default_collate([(x, y) for x, y in batch if float(x[0]) < 2] or batch[:1])

    message = r"gave \d+ rows for a batch of \d+ points.*let the collate function keep all points"
    refused(tmp_path, message.replace("4 points", r"\d+ points"), LitMLP, points(60), data={"collate_fn": collate})
