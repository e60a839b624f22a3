"""Classes that are added, renamed and merged between two starts of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout, Other, Query, Skip
from lightning_al.cli.journal import main as journal_main
from lightning_al.host.namespace import pl
from lightning_al.oracle.class_changes import add_class, merge_classes, rename_class
from lightning_al.oracle.files.label_text import LabelTexts
from lightning_al.oracle.telling import tell
from lightning_al.run.journal import Journal
from lightning_al.run.labels import Change
from lightning_al.run.recorded_labels import recorded_labels
from lightning_al.run.weights import copy_weights, with_more_rows
from lightning_al.run.weights_file import load_weights
from tests.support.tasks import FEATURES, points, trainer

X, Y = points(40).tensors
NAMES = ["ant", "bee", "cat"]
MORE = [*NAMES, "dog"]


class Lit(pl.LightningModule):
    """A classifier with dropout and any number of outputs."""

    def __init__(self, outputs: int, hidden: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


def knows(names: list[str], query: Query) -> dict[int, Any]:
    """Answers by the names that it knows; what else there is, it writes in its own way."""
    found = {index: MORE[int(Y[index])] for index in query}
    return {index: name if name in names else Other(f" {name.capitalize()}") for index, name in found.items()}


def start(
    root: Path, names: list[str], outputs: int | None = None, *, seed: int = 0, calls: int = 1, **arguments: Any
) -> Any:
    """Start a program on the folder `run`, several times, and return what the last one ends with."""
    for _ in range(calls):
        torch.manual_seed(seed)
        data = ActiveDataModule(X, initial_size=8, classes=names, batch_size=8, seed=0)
        options = {"max_rounds": 4, "posterior": MCDropout(2), "oracle": partial(knows, names), **arguments}
        active = ActiveLearning("bald", query_size=6, folder=root / "run", seed=0, **options)
        module = Lit(len(names) if outputs is None else outputs)
        trainer(root, max_epochs=1, callbacks=[active]).fit(module, datamodule=data)
    return active, data, module


def state(active: ActiveLearning, data: ActiveDataModule, module: nn.Module) -> Any:
    rounds = [(r.indices, r.scores, r.labelled, r.corrected, r.unusable) for r in active.history]
    return rounds, data.pool.state_dict(), {name: value.tolist() for name, value in module.state_dict().items()}


@pytest.mark.long
@pytest.mark.parametrize("reset", ["initial", "warm"])
def test_a_class_that_is_added_takes_up_its_answers_and_a_larger_head(tmp_path: Path, reset: Any) -> None:
    first, data, _ = start(tmp_path, NAMES, rounds_per_fit=2, reset=reset)
    dogs = [index for index in data.pool.unusable if Y[index] == 3]
    assert dogs == data.pool.unusable != []
    before = load_weights(tmp_path / "run", "initial")
    assert sorted(add_class(tmp_path / "run", "dog")) == sorted(dogs)
    # Each process draws other weights for its own module, which do not matter.
    for seed in (1, 2):
        active, data, module = start(tmp_path, MORE, seed=seed, rounds_per_fit=1, reset=reset)
    assert active.done
    assert list(active.history)[:2] == list(first.history)
    assert active.history[2].corrected == [change.index for change in Journal.read(tmp_path / "run").changes]
    assert {index: data.pool.labels[index] for index in dogs} == dict.fromkeys(dogs, 3)
    assert data.pool.unusable == []
    assert data.class_counts() == {n: sum(int(Y[i]) == n for i in data.pool.labelled) for n in range(4)}
    grown = load_weights(tmp_path / "run", "initial")
    assert len(grown["head.weight"]) == 4
    assert all(torch.equal(grown[name][: len(value)], value) for name, value in before.items())
    # One process that runs both rounds ends with the same.
    other = tmp_path / "other"
    start(other, NAMES, rounds_per_fit=2, reset=reset)
    add_class(other / "run", "dog")
    assert state(*start(other, MORE, seed=3, reset=reset)) == state(active, data, module)


def test_a_query_that_waits_may_be_answered_by_the_new_class(tmp_path: Path) -> None:
    start(tmp_path, NAMES, oracle="ask")
    query = Journal.read(tmp_path / "run").query
    tell(tmp_path / "run", knows(NAMES, Query(-1, query.indices)))
    start(tmp_path, NAMES, oracle="ask")
    query = Journal.read(tmp_path / "run").query
    a, b, *rest = query.indices
    tell(tmp_path / "run", {a: Other("dog")})
    assert a in add_class(tmp_path / "run", " dog ")
    tell(tmp_path / "run", {b: "dog"})
    assert Journal.read(tmp_path / "run").query.answers == {a: 3, b: 3}
    # The weights of the fit that need not be repeated are those of three outputs.
    active, _, module = start(tmp_path, MORE, oracle="ask")
    fitted = load_weights(tmp_path / "run", "fit-0")
    assert torch.equal(module.head.weight[:3], fitted["head.weight"])
    tell(tmp_path / "run", dict.fromkeys(rest, 3))
    active, data, _ = start(tmp_path, MORE, oracle="ask")
    assert {data.pool.labels[index] for index in query.indices} == {3}
    assert len(active.history) == 1


def test_a_finished_run_is_fitted_again_where_answers_became_labels(tmp_path: Path) -> None:
    start(tmp_path, NAMES, max_rounds=2)
    assert add_class(tmp_path / "run", "dog")
    active, _, _ = start(tmp_path, MORE, max_rounds=2)
    assert active.done
    assert active.history[-1].class_counts[3] > 0
    assert add_class(tmp_path / "run", "fox") == []
    assert len(start(tmp_path, [*MORE, "fox"], max_rounds=3)[0].history) == 3


def test_a_renamed_class_keeps_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path, NAMES, max_rounds=2)
    folder = str(tmp_path / "run")
    assert journal_main(["rename-class", folder, "bee", "Bumble bee"]) == 0
    assert "classes=['ant', 'Bumble bee', 'cat']" in capsys.readouterr().out
    assert journal_main(["rename-class", folder, "Bumble bee", "bumble bee"]) == 0
    assert journal_main(["show", folder]) == 0
    said = capsys.readouterr().out
    assert "(1 bumble bee)" in said
    assert "the classes are now ant, bumble bee, cat" in said
    names = ["ant", "bumble bee", "cat"]
    with pytest.raises(ValueError, match=r"they are ant, bumble bee, cat, but the data have ant, bee, cat\. Pass"):
        start(tmp_path, NAMES, max_rounds=2)
    active, data, _ = start(tmp_path, names, max_rounds=2)
    assert active.done
    assert Journal.read(folder).changes == data.pool.changes == []


def test_merged_classes_change_labels_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = start(tmp_path, NAMES, rounds_per_fit=2)[1].pool
    bees = [index for index in before.labelled if Y[index] == 1]
    assert journal_main(["merge-classes", str(tmp_path / "run"), "bee", "cat"]) == 0
    assert f"{len(bees)} labels of bee became cat. bee stays in the list" in capsys.readouterr().out
    assert Journal.read(tmp_path / "run").changes == [Change(index, 2, after=2) for index in bees]
    active, data, _ = start(tmp_path, NAMES, max_rounds=3)
    assert active.history[-1].corrected == bees
    assert all(data.pool.labels[index] == 2 for index in bees)
    assert {one.given for one in recorded_labels(Journal.read(tmp_path / "run")) if one.index in bees} == {1}
    assert merge_classes(tmp_path / "run", "bee", "ant") == []


class TestRefused:
    """What cannot be done is said in words, before a step is taken."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        start(tmp_path, NAMES, max_rounds=1)
        return tmp_path / "run"

    def test_a_model_with_too_few_outputs(self, folder: Path) -> None:
        add_class(folder, "dog")
        with pytest.raises(ValueError, match=r"4 classes since some were added, but `Lit` has 3 outputs\. Make the mo"):
            start(folder.parent, MORE, outputs=3)
        assert start(folder.parent, MORE, max_rounds=2)[0].done

    def test_a_larger_model_whose_class_nobody_added(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"say first which class is new, by `lightning-al-journal add-class"):
            start(folder.parent, MORE, max_rounds=2)

    def test_a_factory_whose_modules_have_too_few(self, tmp_path: Path) -> None:
        start(tmp_path, NAMES, max_rounds=2, reset=partial(Lit, 3))
        add_class(tmp_path / "run", "dog")
        with pytest.raises(ValueError, match=r"The weights in a module of `reset=` are not those"):
            start(tmp_path, MORE, max_rounds=3, reset=partial(Lit, 3))
        assert start(tmp_path, MORE, max_rounds=3, reset=partial(Lit, 4))[0].done
        with pytest.raises(ValueError, match=r"`reset` is .* there and .*fresh"):
            start(tmp_path, MORE, max_rounds=4, reset="fresh")

    def test_another_list(self, folder: Path) -> None:
        add_class(folder, "dog")
        with pytest.raises(ValueError, match="were changed by `lightning-al-journal`: they are ant, bee, cat, dog"):
            start(folder.parent, [*NAMES, "fox"])

    def test_names(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"has a class 'bee' already\. Choose another name"):
            add_class(folder, " Bee")
        with pytest.raises(ValueError, match="has a class 'cat' already"):
            rename_class(folder, "bee", "cat")
        with pytest.raises(ValueError, match="has no class 'cow'"):
            rename_class(folder, "cow", "dog")
        with pytest.raises(ValueError, match=r"has no class 'cow'\. Name one of: ant, bee, cat"):
            merge_classes(folder, "bee", "cow")
        with pytest.raises(ValueError, match=r"`merge-classes` got 'bee' twice\. Name two classes"):
            merge_classes(folder, "bee", "bee")
        with pytest.raises(ValueError, match="got an empty name for a class"):
            add_class(folder, " ")
        assert not Journal.read(folder).header["classes"].get("changed")

    def test_classes_without_names(self, tmp_path: Path) -> None:
        data = ActiveDataModule(points(40), initial_size=8, batch_size=8)
        active = ActiveLearning("bald", query_size=6, max_rounds=1, folder=tmp_path / "run", posterior=MCDropout(2))
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(Lit(4), datamodule=data)
        with pytest.raises(ValueError, match="have no names"):
            add_class(tmp_path / "run", "dog")

    def test_labels_whose_class_the_journal_does_not_know(self, tmp_path: Path) -> None:
        data = ActiveDataModule(points(40), initial_size=8, classes=MORE, batch_size=8)
        active = ActiveLearning("bald", query_size=6, max_rounds=1, folder=tmp_path / "run", posterior=MCDropout(2))
        trainer(tmp_path, max_epochs=1, callbacks=[active]).fit(Lit(4), datamodule=data)
        with pytest.raises(ValueError, match=r"cannot tell the class of 8 labels in"):
            merge_classes(tmp_path / "run", "ant", "bee")


def test_more_rows_keep_the_others_and_are_drawn_by_the_seed_alone() -> None:
    small, large = Lit(3), Lit(5)
    kept = copy_weights(large)
    first, again = (with_more_rows(copy_weights(small), kept, seed=1, module=module) for module in (large, Lit(5)))
    other = with_more_rows(copy_weights(small), kept, seed=2, module=large)
    assert first is not None
    for name, value in copy_weights(small).items():
        assert torch.equal(first[name][: len(value)], value)
        assert torch.equal(first[name], again[name])
    assert not torch.equal(first["head.weight"][3:], other["head.weight"][3:])
    assert all(torch.equal(value, kept[name]) for name, value in copy_weights(large).items())
    without = with_more_rows(copy_weights(small), kept)
    assert torch.equal(without["head.weight"][3:], kept["head.weight"][3:])
    for same_or_other in (Lit(5), Lit(6), Lit(1), Lit(3, hidden=9)):
        assert with_more_rows(copy_weights(same_or_other), kept) is None


def test_a_skip_is_no_answer_of_a_class(tmp_path: Path) -> None:
    start(tmp_path, NAMES, max_rounds=2, oracle=lambda query: {i: Skip() if Y[i] == 3 else int(Y[i]) for i in query})
    assert add_class(tmp_path / "run", "skip") == []


@pytest.mark.parametrize(
    ("written", "name"),
    [("cafe\u0301", "caf\u00e9"), ("hot  dog", "Hot dog")],
    ids=["accent", "blanks"],
)
def test_names_are_compared_as_answers_are_read(tmp_path: Path, written: str, name: str) -> None:
    start(tmp_path, NAMES, oracle="ask")
    folder = tmp_path / "run"
    first = Journal.read(folder).query.indices[0]
    tell(folder, {first: Other(written)})
    assert add_class(folder, name) == [first]
    for twin in (written, name):
        assert LabelTexts(dict(enumerate([*NAMES, name]))).answer(twin) == len(NAMES)
        with pytest.raises(ValueError, match=r"has a class .* already\. Choose another name"):
            add_class(folder, twin)
        with pytest.raises(ValueError, match=r"has a class .* already\. Choose another name"):
            rename_class(folder, "bee", twin)
    rename_class(folder, name, written)
    assert list(Journal.read(folder).header["classes"]["numbers"]) == [*NAMES, written]
