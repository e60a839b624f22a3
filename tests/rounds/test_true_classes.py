"""What an audit and self-training compare with predictions: labels of any form that stands for a class, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning
from lightning_al.host.namespace import pl
from tests.support.tasks import CLASSES, Items, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat", "dog"]

FORMS: dict[str, Callable[[int], Any]] = {
    "numbers": int,
    "floats": float,
    "float tensors": lambda y: torch.tensor(float(y)),
    "one-hot": lambda y: F.one_hot(torch.tensor(y), CLASSES).float(),
    "names": NAMES.__getitem__,
    "NumPy names": np.array(NAMES).__getitem__,
}


def labelled(form: Callable[[int], Any]) -> Items:
    return Items(40, lambda x, y: (x, form(y)))


class AnyLabels(pl.LightningModule):
    """Trains on labels of any form, which it maps to class numbers."""

    def __init__(self, read: Callable[[Any], Tensor] | None = None) -> None:
        super().__init__()
        self.net, self.read = nn.Linear(X.shape[1], CLASSES), read
        self.seen: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        self.seen += list(y)
        if self.read is not None:
            numbers = self.read(y)
        elif isinstance(y, Tensor):
            numbers = y.argmax(1) if y.ndim > 1 else y.long()
        else:
            numbers = torch.tensor([NAMES.index(str(one)) for one in y])
        return F.cross_entropy(self(x), numbers)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def run(root: Path, data: Any, module: AnyLabels | None = None, acquisition: str = "margin", **pool: Any) -> Any:
    torch.manual_seed(0)
    module = AnyLabels() if module is None else module
    given = ActiveDataModule(data, initial_size=8, batch_size=8, seed=0, samples_per_epoch=64, **pool)
    active = ActiveLearning(acquisition, query_size=4, budget=20, posterior="deterministic", seed=0)
    trainer(root, max_epochs=3, num_sanity_val_steps=2, callbacks=[active]).fit(module, datamodule=given)
    return active, given, module


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    active, _, _ = run(tmp_path_factory.mktemp("numbers"), labelled(int), audit=4, classes=NAMES)
    return [round.audit for round in active.history]


@pytest.mark.parametrize("form", FORMS)
def test_an_audit_reads_every_form_of_a_class(tmp_path: Path, expected: list[Any], form: str) -> None:
    active, data, module = run(tmp_path, labelled(FORMS[form]), audit=4, classes=NAMES)
    assert [round.audit for round in active.history] == expected
    last = active.history[-1].audit
    with torch.no_grad():
        found = module(X[data.pool.audit.points]).argmax(1)
    assert (last["labels"], last["set_aside"]) == (4, 0.0)
    assert last["right"] == int((found == Y[data.pool.audit.points]).sum())


MAPPED: dict[str, tuple[Callable[[int], Any], Callable[[Any], Tensor]]] = {
    "from 1 on": (lambda y: y + 1, lambda y: y - 1),
    "grouped": (lambda y: 10 * y, lambda y: y // 10),
    "several at once": (lambda y: torch.tensor([1.0, 1.0, 0.0, float(y > 1)]), lambda y: y[:, 3].long()),
}


@pytest.mark.parametrize("option", ["audit", "pseudo_labels"])
@pytest.mark.parametrize("mapped", MAPPED)
def test_labels_that_only_the_training_step_maps_to_classes_are_refused(
    tmp_path: Path, mapped: str, option: str
) -> None:
    form, read = MAPPED[mapped]
    needs = rf"`ActiveDataModule\({option}=...\)` needs labels that are classes from 0 to 3.*leave `{option}` out"
    with pytest.raises(ValueError, match=needs):
        run(tmp_path, labelled(form), AnyLabels(read), "random", **{option: 4 if option == "audit" else 0.9})


@pytest.mark.parametrize("form", ["one-hot", "names", "NumPy names"])
def test_no_class_number_is_put_in_the_place_of_another_form(tmp_path: Path, form: str) -> None:
    with pytest.raises(ValueError, match=r"pseudo_labels.* needs labels that are classes from 0 to 3, as numbers, but"):
        run(tmp_path, labelled(FORMS[form]), classes=NAMES, pseudo_labels=0.5)


@pytest.mark.parametrize("form", ["floats", "float tensors"])
def test_self_training_puts_classes_in_the_place_of_floats(tmp_path: Path, form: str) -> None:
    whole, _, _ = run(tmp_path / "whole", labelled(int), pseudo_labels=0.5)
    active, _, module = run(tmp_path, labelled(FORMS[form]), pseudo_labels=0.5)
    assert [round.pseudo_labels for round in active.history] == [round.pseudo_labels for round in whole.history]
    assert active.history[-1].pseudo_labels > 0
    assert {float(label) for label in module.seen} == {0.0, 1.0, 2.0, 3.0}


def test_signs_that_the_training_step_maps_are_refused(tmp_path: Path) -> None:
    module = AnyLabels(lambda y: (y > 0).long())
    with pytest.raises(ValueError, match=r"`ActiveDataModule\(audit=...\)` needs labels .* of point \d+ is -1"):
        run(tmp_path, labelled(lambda y: 2 * (y > 1) - 1), module, audit=4)


def test_an_answer_that_is_longer_than_all_names_before_is_whole(tmp_path: Path) -> None:
    short = np.array(["a", "b", "c", "d"])
    names = ["a", "b", "c", "elephant"]
    module = AnyLabels(lambda y: torch.tensor([names.index(str(one)) for one in y]))
    active = ActiveLearning(
        "random",
        query_size=6,
        budget=20,
        posterior="deterministic",
        oracle=lambda query: {index: names[int(Y[index])] for index in query},
    )
    initial = [index for index in range(40) if Y[index] != 3][:8]
    data = ActiveDataModule(labelled(lambda y: short[y]), initial=initial, batch_size=8, seed=0)
    trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(module, datamodule=data)
    assert "elephant" in {str(one) for one in module.seen}
    assert {str(one) for one in module.seen} <= set(names)


def test_groups_may_be_a_tensor() -> None:
    groups = torch.arange(40) // 10
    found = []
    for given in (groups, groups.tolist(), groups.numpy()):
        data = ActiveDataModule(labelled(int), initial_size=4, groups=given)
        data.setup("fit")
        found.append(data.group_numbers(range(40)).tolist())
    assert found == [groups.tolist()] * 3
