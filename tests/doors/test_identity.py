"""A run started again with anything else that changes picks or weights is refused, and what differs is named."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_al import (
    ActiveDataModule,
    ActiveLearning,
    BatchBALD,
    Candidates,
    LastLayer,
    MCDropout,
    Posterior,
    ScoreAcquisition,
)
from tests.support import programs
from tests.support.tasks import LitMLP, points, trainer

N = 20


class Tilted(ScoreAcquisition):
    """A plain class, as people write them, which counts what it did."""

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.calls = 0

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        self.calls += 1
        return self.beta * candidates.log_probs_N_K_C[:, 0, 0]


class Connected(Tilted):
    """Holds what can say nothing of itself."""

    def __init__(self, beta: float, connection: Any) -> None:
        super().__init__(beta)
        self.connection = connection

    def __deepcopy__(self, memo: Any) -> Connected:
        return self


class ToldConnected(Connected):
    def config(self) -> dict[str, Any]:
        return {"beta": self.beta}


@dataclass(frozen=True)
class Mixed(ScoreAcquisition):
    """Another method inside."""

    base: ScoreAcquisition
    weight: float = 0.5

    def score(self, candidates: Candidates, generator: torch.Generator) -> Tensor:
        return self.weight * self.base.score(candidates, generator)


class Shaken(Posterior):
    """A posterior of a plain class."""

    num_samples = 3

    def __init__(self, scale: float) -> None:
        self._inner = MCDropout(3)
        self._scale = scale

    def draw(self, *arguments: Any, **named: Any) -> Any:
        return self._inner.draw(*arguments, **named)


def collate(items: Any) -> Any:
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def collate_too(items: Any) -> Any:
    return collate(items)


def label(item: Any) -> Any:
    return item[1]


def same_label(item: Any) -> Any:
    return item[-1]


def plus(module: Any, batch: Any) -> Any:
    return module(batch[0])


def minus(module: Any, batch: Any) -> Any:
    return -module(batch[0])


def same_features(inputs: Tensor) -> Tensor:
    return inputs


def other_features(inputs: Tensor) -> Tensor:
    return -inputs


def times(factor: float) -> Callable[..., Any]:
    return lambda module, batch: factor * module(batch[0])


def fresh(hidden: int = 16) -> LitMLP:
    torch.manual_seed(hidden)
    return LitMLP(hidden=16)


def run(folder: Path | None, home: Path, *, data: dict[str, Any] | None = None, **arguments: Any) -> ActiveLearning:
    given = {"initial": range(8), "batch_size": 8, "val": points(8, seed=1), **(data or {})}
    active = ActiveLearning(
        arguments.pop("acquisition", "entropy"),
        **{"query_size": 4, "max_rounds": 1, "posterior": MCDropout(3), "folder": folder, "seed": 1, **arguments},
    )
    torch.manual_seed(7)
    module = LitMLP()
    datamodule = ActiveDataModule(points(N), **given)
    trainer(home, callbacks=[active], max_epochs=1).fit(module, datamodule=datamodule)
    return active


def of_data(**arguments: Any) -> dict[str, Any]:
    return {"data": arguments}


# What the run was begun with, what it would resume with, and what the error says.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "pseudo_labels": (
        of_data(pseudo_labels=0.9),
        of_data(pseudo_labels=0.8),
        r"`datamodule.pseudo_labels` is 0.9 there and 0.8 here",
    ),
    "another method": (
        {"acquisition": "entropy"},
        {"acquisition": "margin"},
        r"`acquisition` is 'Entropy\(\)' there and 'Margin\(\)' here",
    ),
    "an option of a method": (
        {"acquisition": BatchBALD(num_configurations=1_000)},
        {"acquisition": BatchBALD()},
        r"`acquisition.num_configurations` is 1000 there and 10000 here",
    ),
    "a plain class's beta": (
        {"acquisition": Tilted(1.0)},
        {"acquisition": Tilted(-1.0)},
        r"`acquisition.beta` is 1.0 there and -1.0 here",
    ),
    "a method inside another": (
        {"acquisition": Mixed(Tilted(1.0))},
        {"acquisition": Mixed(Tilted(-1.0))},
        r"`acquisition.base.beta` is 1.0 there and -1.0 here",
    ),
    "another method inside": (
        {"acquisition": Mixed(Tilted(1.0))},
        {"acquisition": Mixed(Mixed(Tilted(1.0)))},
        r"`acquisition.base` is tests.doors.test_identity.Tilted there and tests.doors.test_identity.Mixed here",
    ),
    "a plain posterior's private option": (
        {"posterior": Shaken(0.5)},
        {"posterior": Shaken(1.0)},
        r"`posterior._scale` is 0.5 there and 1.0 here",
    ),
    "query_size": ({}, {"query_size": 5}, r"`query_size` is 4 there and 5 here"),
    "seed": ({}, {"seed": 2}, r"`seed` is 1 there and 2 here"),
    "weights": ({}, {"weights": "last"}, r"`weights` is 'best' there and 'last' here"),
    "task": ({}, {"task": "multiclass"}, r"`task` is None there and 'multiclass' here"),
    "forward": ({}, {"forward": plus}, r"`forward` is None there and tests.doors.test_identity.plus here"),
    "another forward": (
        {"forward": plus},
        {"forward": minus},
        r"`forward` is tests.doors.test_identity.plus there and tests.doors.test_identity.minus here",
    ),
    "a forward of other source": (
        {"forward": (lambda module, batch: module(batch[0]))},
        {"forward": (lambda module, batch: -module(batch[0]))},
        r"`forward.source` is '\w+' there",
    ),
    "a forward that holds another number": (
        {"forward": times(1.0)},
        {"forward": times(2.0)},
        r"`forward.holds.factor` is 1.0 there and 2.0 here",
    ),
    "reset": ({}, {"reset": "fresh"}, r"`reset` is 'initial' there and 'fresh' here"),
    "a factory": (
        {"reset": functools.partial(fresh, hidden=3)},
        {"reset": functools.partial(fresh, hidden=4)},
        r"`reset.keywords.hidden` is 3 there and 4 here",
    ),
    "last_layer": (
        {},
        {"last_layer": LastLayer(dtype="float16")},
        r"`last_layer.dtype` is 'float32' there and 'float16' here",
    ),
    "the datamodule's seed": (of_data(seed=1), of_data(seed=2), r"`datamodule.seed` is 1 there and 2 here"),
    "target": (of_data(target=1), of_data(target=-1), r"`datamodule.target` is 1 there and -1 here"),
    "samples_per_epoch": ({}, of_data(samples_per_epoch=16), r"`datamodule.samples_per_epoch` is None there and 16"),
    "batch_size": ({}, of_data(batch_size=4), r"`datamodule.batch_size` is 8 there and 4 here"),
    "collate_fn": (
        of_data(collate_fn=collate),
        of_data(collate_fn=collate_too),
        r"`datamodule.collate_fn` is tests.doors.test_identity.collate there and .*collate_too here",
    ),
    "val": ({}, of_data(val=points(9, seed=1)), r"`datamodule.val.length` is 8 there and 9 here"),
    "contents of val": ({}, of_data(val=points(8, seed=2)), r"`datamodule.val.contents` is"),
    "no val": ({}, of_data(val=None), r"`datamodule.val` is .*8.* there and None here"),
    "groups": (of_data(groups=range(N)), of_data(groups=[0] * N), r"`data.groups` is"),
    "no groups": (of_data(groups=range(N)), {}, r"`data.groups` is '.*' there and None here"),
    "target_inputs": ({}, of_data(target_inputs="val"), r"`data.target_inputs` is None there and 'val' here"),
    "features": ({}, of_data(features=same_features), r"`datamodule.features` is None there and lightning_al.Encoder"),
    "another encoder": (
        of_data(features=same_features),
        of_data(features=other_features),
        r"`datamodule.features.encoder` is .*same_features there and .*other_features here",
    ),
    "inputs": (
        of_data(features=same_features),
        of_data(features=same_features, inputs="features"),
        r"`datamodule.inputs` is None there and 'features' here",
    ),
    "pool_dataset": ({}, of_data(pool_dataset=points(N, seed=3)), r"`data.contents` is"),
}
FALSE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "keys": ({}, of_data(keys=range(N)), r"`data.length` is \d+ there and None here"),
    "initial": ({}, of_data(initial=range(9)), r"its initial differ"),
    "audit": (of_data(audit=4), of_data(audit=5), r"`datamodule.audit` is 4 there and 5 here"),
    "initial_size": ({}, of_data(initial=None, initial_size=8), r"its initial differ"),
    "balanced": (
        of_data(initial=None, initial_size=8),
        of_data(initial=None, initial_size=8, balanced=True),
        r"its initial differ",
    ),
    "classes": (
        of_data(classes=["cat", "dog", "elk", "fox"]),
        of_data(classes=["ant", "cat", "dog", "elk", "fox"]),
        r"`classes.cat` is 0 there and 1 here; `classes.dog` is 1",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with no arguments but those that all have, which what is refused leaves as it is."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    run(folder, folder.parent)
    return folder


@pytest.mark.parametrize("name", [*OTHERS, *FALSE])
def test_another_one_is_refused_and_named(tmp_path: Path, begun: Path, name: str) -> None:
    before, now, said = {**OTHERS, **FALSE}[name]
    folder = tmp_path / "run" if before else begun
    if before:
        run(folder, tmp_path, **before)
    with pytest.raises(ValueError, match=said) as error:
        run(folder, tmp_path, **{"max_rounds": 2, **now})
    assert (name in FALSE) == ("`force=True` cannot help" in str(error.value))


# By force all resume by the same way.
FORCED = [name if place % 8 == 0 else pytest.param(name, marks=pytest.mark.slow) for place, name in enumerate(OTHERS)]


@pytest.mark.parametrize("name", FORCED)
def test_another_one_resumes_by_force(tmp_path: Path, name: str) -> None:
    before, now, said = OTHERS[name]
    run(tmp_path / "run", tmp_path, **before)
    with pytest.warns(UserWarning, match=said):
        active = run(tmp_path / "run", tmp_path, **{"max_rounds": 2, "force": True, **now})
    assert len(active.history) == 2


def test_every_argument_that_is_recorded_is_tried() -> None:
    from lightning_al.run.identity import OF_ACTIVE_LEARNING, OF_DATA, Recorded

    tried = {key for _, now, _ in {**OTHERS, **FALSE}.values() for key in {**now, **now.get("data", {})}}
    listed = {name for name, one in [*OF_ACTIVE_LEARNING.items(), *OF_DATA.items()] if isinstance(one, Recorded)}
    assert listed - tried == set()


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "a plain class made anew": ({"acquisition": Tilted(1.0)}, {"acquisition": Tilted(1.0)}),
    "a closure made anew": ({"forward": times(1.0)}, {"forward": times(1.0)}),
    "a partial made anew": (
        {"reset": functools.partial(fresh, hidden=3)},
        {"reset": functools.partial(fresh, hidden=3)},
    ),
    "what may change": (
        of_data(classes=["cat", "dog", "elk", "fox"]),
        {
            "budget": 19,
            "rounds_per_fit": 2,
            "test": None,
            "unscorable": "skip",
            "keep_checkpoints": True,
            "oracle": lambda indices: {index: index % 4 for index in indices},
            **of_data(
                pool_batch_size=3,
                test=points(8, seed=5),
                predict=points(8),
                classes=["cat", "dog", "elk", "fox", "gnu"],
            ),
        },
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_and_what_changes_nothing_resume(tmp_path: Path, name: str) -> None:
    before, now = SAME[name]
    run(tmp_path / "run", tmp_path, **before)
    assert len(run(tmp_path / "run", tmp_path, **{"max_rounds": 2, **now}).history) == 2


def test_an_object_that_counts_goes_on_in_the_same_process(tmp_path: Path) -> None:
    acquisition = Tilted(1.0)
    active = ActiveLearning(acquisition, query_size=4, folder=tmp_path / "run", rounds_per_fit=1, max_rounds=3)
    data = ActiveDataModule(points(N), initial=range(8), batch_size=8)
    fit = trainer(tmp_path, callbacks=[active], max_epochs=1)
    module = LitMLP()
    while not active.done:
        fit.fit(module, datamodule=data)
    assert acquisition.calls == 2
    assert len(active.history) == 3


def test_another_number_of_fits_is_refused_where_the_class_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run", tmp_path, posterior=Shaken(0.5))
    monkeypatch.setattr(Shaken, "num_fits", 2)
    with pytest.raises(ValueError, match=r"`posterior.num_fits` is 1 there and 2 here"):
        run(tmp_path / "run", tmp_path, posterior=Shaken(0.5))


def test_what_can_say_nothing_of_itself_is_refused_with_a_folder_alone(tmp_path: Path) -> None:
    with socket.socket() as connection:
        with pytest.raises(
            ValueError,
            match=r"`ActiveLearning\(acquisition=...\)` cannot be recorded in the run folder, .*: connection "
            r"\(`socket.socket`\) can say nothing of itself. Define `config\(self\)` in `Connected`",
        ):
            run(tmp_path / "run", tmp_path, acquisition=Connected(1.0, connection))
        assert len(run(None, tmp_path, acquisition=Connected(1.0, connection)).history) == 1
        run(tmp_path / "run", tmp_path, acquisition=ToldConnected(1.0, connection))
        with pytest.raises(ValueError, match=r"`acquisition\.beta` is 1.0 there and 2.0 here"):
            run(tmp_path / "run", tmp_path, acquisition=ToldConnected(2.0, connection))


def test_another_process_finds_the_same_run(tmp_path: Path) -> None:
    """One with other hashes, in which all is made anew."""
    arguments = "acquisition=t.Mixed(t.Tilted(1.0)), forward=t.times(1.0), reset=t.functools.partial(t.fresh, hidden=3)"
    code = (
        "import sys, json, warnings, pathlib, tests.doors.test_identity as t; warnings.simplefilter('ignore')\n"
        "home = pathlib.Path(sys.argv[1])\n"
        f"active = t.run(home / 'run', home, max_rounds=int(sys.argv[2]), {arguments})\n"
        "print(json.dumps(len(active.history)))"
    )
    done = programs.run("-c", code, tmp_path, 1)
    assert json.loads(done.stdout.splitlines()[-1]) == 1
    given = {"acquisition": Mixed(Tilted(1.0)), "forward": times(1.0), "reset": functools.partial(fresh, hidden=3)}
    assert len(run(tmp_path / "run", tmp_path, max_rounds=2, **given).history) == 2
